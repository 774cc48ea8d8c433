/* zimage models and zimage import: the models folder. */
#include "cli.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *folder;
    bool json, yes, dry, quiet;
    zi_place place;
} call;

static const char *text_of(const cJSON *row, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row, name);
    return cJSON_IsString(item) ? item->valuestring : "-";
}

/* ---- the list ---- */

static void size_of(const cJSON *row, char *out, size_t size)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row, "bytes");
    double bytes = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (bytes < 1e9)
        snprintf(out, size, "%.1f MB", bytes / 1e6);
    else
        snprintf(out, size, "%.1f GB", bytes / 1e9);
}

static void print_row(const cJSON *row, int widest)
{
    char size[32], problem[400] = "";
    const cJSON *problems = cJSON_GetObjectItemCaseSensitive(row, "problems");
    const char *health = text_of(row, "health");
    const cJSON *chosen = cJSON_GetObjectItemCaseSensitive(row, "default");
    if (problems && problems->child)
        snprintf(problem, sizeof problem, ": %s", problems->child->valuestring);
    size_of(row, size, sizeof size);
    printf("%c %-*s  %-14s  %-24s  %9s  %s%s\n", cJSON_IsTrue(chosen) ? '*' : ' ', widest,
           text_of(row, "name"), text_of(row, "layout"), text_of(row, "precision"), size, health,
           problem);
}

static void print_incomplete(const cJSON *row)
{
    char size[32];
    size_of(row, size, sizeof size);
    bool download = !strcmp(text_of(row, "kind"), "download");
    printf("  %s: %s of a %s\n", text_of(row, "name"), size,
           download ? "download that has not ended" : "model that was not written to its end");
}

static bool list(call *c, const char *name, zi_error *error)
{
    char *json = NULL;
    if (name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "'%s': models list takes no name", name);
    if (!zi_store_list(&c->place.store, &json, error)) return false;
    cJSON *root = c->json ? NULL : cJSON_Parse(json), *row;
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(root, "models");
    int widest = 4;
    cJSON_ArrayForEach(row, rows)
    {
        int length = (int)strlen(text_of(row, "name"));
        if (length > widest) widest = length;
    }
    if (c->json) puts(json);
    cJSON_ArrayForEach(row, rows) print_row(row, widest);
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(root, "incomplete"))
        print_incomplete(row);
    if (!c->json && cJSON_GetArraySize(rows) == 0) {
        char *advice = zi_models_advice(&c->place.store);
        zi_note(c->quiet, "no models in %s, and none in the hub's cache; %s", c->place.store.folder,
                advice ? advice : "see zimage download --help");
        free(advice);
    }
    cJSON_Delete(root);
    free(json);
    return true;
}

/* ---- actions ---- */

static bool choose(call *c, const char *name, zi_error *error)
{
    zi_found found = {0};
    if (name) return zi_store_choose(&c->place.store, name, error);
    if (!zi_store_find(&c->place.store, NULL, &found, error)) return false;
    if (found.path)
        puts(found.path);
    else
        zi_note(c->quiet, "no default was chosen; zimage models default NAME does it");
    free(found.path);
    return true;
}

/* Asks on the terminal. */
static bool confirm(const call *c, const char *name, const char *path, zi_error *error)
{
    char answer[16] = "";
    if (c->yes) return true;
    if (!isatty(STDIN_FILENO))
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, name, NULL,
                               "removing it needs a yes: add --yes");
    fprintf(stderr, "remove %s? [y/N] ", path);
    if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
        return zi_error_set(error, ZI_ERROR_CANCELLED, name, "kept");
    return true;
}

static bool drop(call *c, const char *name, zi_error *error)
{
    zi_found found = {0};
    if (!name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "models remove: NAME is missing");
    /* A snapshot that is not whole is found by its name alone. */
    bool known = zi_store_find(&c->place.store, name, &found, NULL);
    bool ok = confirm(c, name, known ? found.path : name, error) &&
              zi_store_remove(&c->place.store, name, error);
    free(found.path);
    return ok;
}

static bool migrate(call *c, const char *name, zi_error *error)
{
    char *json = NULL;
    size_t problems = 0;
    if (name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "'%s': models migrate takes no name", name);
    if (!zi_store_migrate(&c->place.store, c->dry, &json, error)) return false;
    cJSON *rows = cJSON_Parse(json), *row;
    if (c->json) puts(json);
    cJSON_ArrayForEach(row, rows)
    {
        const cJSON *problem = cJSON_GetObjectItemCaseSensitive(row, "problem");
        problems += problem != NULL;
        if (problem) zi_note(c->quiet, "stays where it is: %s", problem->valuestring);
        if (!problem && !c->json) printf("%s -> %s\n", text_of(row, "from"), text_of(row, "to"));
    }
    if (!cJSON_GetArraySize(rows)) zi_note(c->quiet, "nothing to move");
    cJSON_Delete(rows);
    free(json);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(call *c, const char *name, zi_error *error);
} actions[] = {{"list", list}, {"default", choose}, {"remove", drop}, {"migrate", migrate}};
enum { ACTIONS = sizeof actions / sizeof *actions };

int cmd_models(int argc, char **argv)
{
    call c = {0};
    const char *words[2] = {"list", NULL};
    zi_error error = {0};
    int code;
    const zi_option options[] = {
        {"models", 0, ZI_OPTION_TEXT, &c.folder, 0, 0, "DIR", "the models folder (./models)", NULL},
        {"dry-run", 0, ZI_OPTION_FLAG, &c.dry, 0, 0, NULL, "migrate: only say what it would do",
         NULL},
        {"yes", 'y', ZI_OPTION_FLAG, &c.yes, 0, 0, NULL, "remove: do not ask", NULL},
        {"json", 0, ZI_OPTION_FLAG, &c.json, 0, 0, NULL, "list and migrate: as JSON", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &c.quiet, 0, 0, NULL, "no remarks", NULL},
        {0},
    };
    const zi_command command = {
        "models",
        "Lists the models in the models folder and in the hub's cache (the default with a star).\n"
        "default NAME makes one the default, remove NAME removes one, migrate moves models that "
        "lie\n"
        "in the folder itself to mlx, pytorch, comfyui or prompt_enhancer in it.",
        "[list|default|remove|migrate] [NAME]", options};
    if (!zi_options_parse(&command, argc, argv, words, &code)) return code;
    int action = 0;
    while (action < ACTIONS && strcmp(words[0], actions[action].name) != 0) action++;
    if (action == ACTIONS) {
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                     "models: '%s' is none of list, default, remove, migrate", words[0]);
        return zi_report(&command, &error);
    }
    if (!zi_place_read(c.folder, &c.place, &error)) return zi_report(&command, &error);
    bool ok = actions[action].run(&c, words[1], &error);
    zi_place_free(&c.place);
    return ok ? 0 : zi_report(&command, &error);
}

/* ---- import ---- */

static bool import(call *c, zi_import_options *o, zi_error *error)
{
    char *path = NULL;
    zi_place place;
    if (!zi_place_read(c->folder, &place, error)) return false;
    zi_reporter reporter = zi_reporter_start(!c->quiet && isatty(STDERR_FILENO), false, 1, 1);
    o->progress = zi_reporter_progress;
    o->user = &reporter;
    zi_interrupt_install();
    bool ok = zi_store_import(&place.store, o, &path, error);
    zi_reporter_clear(&reporter);
    if (ok) puts(path);
    free(path);
    zi_place_free(&place);
    return ok;
}

int cmd_import(int argc, char **argv)
{
    call c = {0};
    zi_import_options o = {0};
    zi_error error = {0};
    int layout = 0, precision = 0, code;
    bool link = false, move = false, has_layout = false, has_precision = false;
    char layouts[64], precisions[64];
    zi_join_words(zi_layout_names + ZI_LAYOUT_MLX, layouts, sizeof layouts);
    zi_join_words(zi_precision_names, precisions, sizeof precisions);
    const zi_option options[] = {
        {"name", 0, ZI_OPTION_TEXT, &o.name, 0, 0, "NAME", "how it is to be called (as PATH)",
         NULL},
        {"to", 0, ZI_OPTION_CHOICE, &layout, 0, 0, layouts, "convert it to this layout",
         &has_layout},
        {"precision", 0, ZI_OPTION_CHOICE, &precision, 0, 0, precisions,
         "convert it to this precision", &has_precision},
        {"reference", 0, ZI_OPTION_TEXT, &o.reference, 0, 0, "DIR",
         "converting: a diffusers or MLX folder that lends what PATH lacks", NULL},
        {"link", 0, ZI_OPTION_FLAG, &link, 0, 0, NULL, "only link to it", NULL},
        {"move", 0, ZI_OPTION_FLAG, &move, 0, 0, NULL, "move it there", NULL},
        {"models", 0, ZI_OPTION_TEXT, &c.folder, 0, 0, "DIR", "the models folder (./models)", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &c.quiet, 0, 0, NULL, "no bar", NULL},
        {0},
    };
    const zi_command command = {
        "import", "Copies a model, or a part of one, into the models folder and prints its path.",
        "PATH", options};
    if (!zi_options_parse(&command, argc, argv, &o.source, &code)) return code;
    o.mode = link ? ZI_IMPORT_LINK : move ? ZI_IMPORT_MOVE : ZI_IMPORT_COPY;
    o.convert = has_layout || has_precision;
    o.layout = has_layout ? (zi_layout_kind)(ZI_LAYOUT_MLX + layout) : ZI_LAYOUT_SAME;
    o.precision = (zi_precision)precision;
    if (link + move + o.convert > 1)
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                     "--link, --move and converting (--to, --precision) exclude each other");
    else if (import(&c, &o, &error))
        return 0;
    return zi_report(&command, &error);
}
