/* zimage models and zimage import: the models folder. */
#include "cli.h"

#include "base/text.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *folder;
    bool json, yes, dry, quiet;
    zi_user_registry models;
} call;

/* ---- the list ---- */

/* "good", "damaged", "unsupported", "needs a reference", or what a file of some parts lacks:
 * "lacks vae". In new memory; NULL when that is short. */
static char *health_of(const zi_inspection *in)
{
    zi_text text;
    int count = 0;
    zi_text_init(&text, 1000);
    if (in->health != ZI_HEALTH_INCOMPLETE) {
        zi_text_puts(&text, zi_health_name(in->health));
        return zi_text_take(&text);
    }
    if (in->problem_count) {
        zi_text_puts(&text, "needs a reference");
        return zi_text_take(&text);
    }
    for (int i = 0; i < ZI_COMPONENTS; i++)
        if (in->components[i].missing)
            zi_text_printf(&text, "%s%s", count++ ? ", " : "lacks ",
                           zi_component_name((zi_component)i));
    return zi_text_take(&text);
}

static void size_of(uint64_t bytes, char *out, size_t size)
{
    double number = (double)bytes;
    if (number < 1e9)
        snprintf(out, size, "%.1f MB", number / 1e6);
    else
        snprintf(out, size, "%.1f GB", number / 1e9);
}

static const char *or_dash(const char *text)
{
    return text ? text : "-";
}

static void print_entry(const zi_registry_entry *entry, int widest)
{
    char size[32];
    const zi_inspection *in = entry->inspection;
    char *health = health_of(in);
    size_of(entry->bytes, size, sizeof size);
    printf("%c %-*s  %-14s  %-24s  %9s  %s%s%s\n", entry->is_default ? '*' : ' ', widest,
           entry->name, or_dash(in->layout), or_dash(in->precision), size, or_dash(health),
           in->problem_count ? ": " : "", in->problem_count ? in->problems[0].text : "");
    free(health);
}

static void print_partial(const zi_partial_model *partial)
{
    char size[32];
    size_of(partial->bytes, size, sizeof size);
    printf("  %s: %s of a %s\n", partial->name, size,
           partial->download ? "download that has not ended"
                             : "model that was not written to its end");
}

/* The demo model is the program's own. A model that changes while it is inspected is left out. */
static bool is_shown(const zi_registry_entry *entry)
{
    return entry->inspection && entry->section != ZI_SECTION_DEMO;
}

static void print_list(const zi_registry_list *list)
{
    int widest = 4;
    for (size_t i = 0; i < list->count; i++) {
        int length = is_shown(&list->entries[i]) ? (int)strlen(list->entries[i].name) : 0;
        if (length > widest) widest = length;
    }
    for (size_t i = 0; i < list->count; i++)
        if (is_shown(&list->entries[i])) print_entry(&list->entries[i], widest);
    for (size_t i = 0; i < list->partial_count; i++) print_partial(&list->partial[i]);
}

static void add_text(cJSON *object, const char *name, const char *text)
{
    if (text) cJSON_AddStringToObject(object, name, text);
}

static cJSON *entry_json(const zi_registry_entry *entry)
{
    const zi_inspection *in = entry->inspection;
    char *health = health_of(in);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", entry->name);
    cJSON_AddStringToObject(json, "path", entry->path);
    cJSON_AddStringToObject(json, "kind", entry->kind == ZI_MODEL_LANGUAGE ? "language" : "image");
    cJSON_AddNumberToObject(json, "bytes", (double)entry->bytes);
    cJSON_AddBoolToObject(json, "default", entry->is_default);
    add_text(json, "layout", in->layout);
    add_text(json, "architecture", in->architecture);
    add_text(json, "precision", in->precision);
    add_text(json, "health", health);
    cJSON *problems = cJSON_AddArrayToObject(json, "problems");
    for (size_t i = 0; i < in->problem_count; i++)
        cJSON_AddItemToArray(problems, cJSON_CreateString(in->problems[i].text));
    free(health);
    return json;
}

static cJSON *list_json(const call *c, const zi_registry_list *list)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "folder", c->models.options.folder);
    add_text(root, "default", list->default_name);
    cJSON *rows = cJSON_AddArrayToObject(root, "models");
    for (size_t i = 0; i < list->count; i++)
        if (is_shown(&list->entries[i])) cJSON_AddItemToArray(rows, entry_json(&list->entries[i]));
    rows = cJSON_AddArrayToObject(root, "incomplete");
    for (size_t i = 0; i < list->partial_count; i++) {
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "name", list->partial[i].name);
        cJSON_AddStringToObject(row, "kind", list->partial[i].download ? "download" : "leftover");
        cJSON_AddNumberToObject(row, "bytes", (double)list->partial[i].bytes);
        cJSON_AddItemToArray(rows, row);
    }
    return root;
}

static bool print_json(cJSON *json, zi_error *error)
{
    char *text = cJSON_Print(json);
    cJSON_Delete(json);
    if (text) puts(text);
    cJSON_free(text);
    return text || zi_error_no_memory(error, 1 << 16);
}

static bool list(call *c, const char *name, zi_error *error)
{
    zi_registry_list list;
    if (name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "'%s': models list takes no name", name);
    if (!zi_registry_inspect_all(c->models.registry, NULL, NULL, error) ||
        !zi_registry_read(c->models.registry, &list, error))
        return false;
    bool ok = true, any = false;
    for (size_t i = 0; i < list.count; i++) any |= is_shown(&list.entries[i]);
    if (c->json)
        ok = print_json(list_json(c, &list), error);
    else
        print_list(&list);
    if (!c->json && !any) {
        char *hint = zi_download_hint(c->models.registry);
        zi_note(c->quiet, "no models in %s, and none in the hub's cache; %s",
                c->models.options.folder, hint ? hint : "see zimage download --help");
        free(hint);
    }
    zi_registry_list_free(&list);
    return ok;
}

/* ---- actions ---- */

static bool choose(call *c, const char *name, zi_error *error)
{
    zi_resolved_model found = {0};
    if (name) return zi_registry_set_default(c->models.registry, name, true, error);
    if (!zi_registry_resolve(c->models.registry, NULL, &found, error)) return false;
    if (found.as == ZI_RESOLVED_DEMO)
        zi_note(c->quiet, "no default was chosen; zimage models default NAME does it");
    else
        puts(found.path);
    zi_resolved_model_free(&found);
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
    zi_resolved_model found = {0};
    if (!name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "models remove: NAME is missing");
    /* A snapshot that is not whole is found by its name alone. */
    bool known = zi_registry_resolve(c->models.registry, name, &found, NULL);
    bool ok = confirm(c, name, known ? found.path : name, error) &&
              zi_registry_remove(c->models.registry, name, error);
    zi_resolved_model_free(&found);
    return ok;
}

static cJSON *migration_json(const zi_migration *migration)
{
    cJSON *rows = cJSON_CreateArray();
    for (size_t i = 0; i < migration->count; i++) {
        const zi_migrated_model *model = &migration->models[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "from", model->from);
        cJSON_AddStringToObject(row, model->problem ? "problem" : "to",
                                model->problem ? model->problem : model->to);
        cJSON_AddItemToArray(rows, row);
    }
    return rows;
}

static bool migrate(call *c, const char *name, zi_error *error)
{
    zi_migration migration;
    if (name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "'%s': models migrate takes no name", name);
    if (!zi_registry_migrate(c->models.registry, c->dry, &migration, error)) return false;
    bool ok = !c->json || print_json(migration_json(&migration), error);
    for (size_t i = 0; i < migration.count; i++) {
        const zi_migrated_model *model = &migration.models[i];
        if (model->problem)
            zi_note(c->quiet, "stays where it is: %s", model->problem);
        else if (!c->json)
            printf("%s -> %s\n", model->from, model->to);
    }
    if (!migration.count) zi_note(c->quiet, "nothing to move");
    zi_migration_free(&migration);
    return ok;
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
    if (!zi_user_registry_open(c.folder, &c.models, &error)) return zi_report(&command, &error);
    bool ok = actions[action].run(&c, words[1], &error);
    zi_user_registry_close(&c.models);
    return ok ? 0 : zi_report(&command, &error);
}

/* ---- import ---- */

static bool import(call *c, zi_import_options *o, zi_error *error)
{
    char *path = NULL;
    zi_user_registry models;
    if (!zi_user_registry_open(c->folder, &models, error)) return false;
    zi_reporter reporter = zi_reporter_start(!c->quiet && isatty(STDERR_FILENO), false, 1, 1);
    o->progress = zi_reporter_progress;
    o->user = &reporter;
    zi_interrupt_install();
    bool ok = zi_registry_import(models.registry, o, &path, error);
    zi_reporter_clear(&reporter);
    if (ok) puts(path);
    free(path);
    zi_user_registry_close(&models);
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
