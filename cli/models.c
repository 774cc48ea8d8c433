/* zimage models and zimage import: manage the models folder. */
#include "cli.h"
#include "base/tables.h"

#include "base/text.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *folder;
    bool json, yes, dry_run, quiet;
    zi_user_registry models;
} models_args;

/* ---- list ---- */

/* Whether a file in a folder of components is the component that it should be, and good. */
static bool is_good_component(const zi_registry_entry *entry)
{
    const zi_inspection *in = entry->inspection;
    return !in->problem_count &&
           ((entry->kind == ZI_MODEL_TEXT_ENCODER &&
             in->components[ZI_COMPONENT_TEXT_ENCODER].present) ||
            (entry->kind == ZI_MODEL_VAE && in->components[ZI_COMPONENT_VAE].present));
}

/* The health of a model of the list for people, for free(): "good", "damaged", "unsupported"; or,
 * if it is incomplete, "needs a reference" when it has problems, "with NAME, ..." when the registry
 * has all that it lacks, else "lacks vae, ..." with the components that are nowhere. NULL: out of
 * memory. */
static char *health_text(const zi_registry_entry *entry)
{
    const zi_inspection *in = entry->inspection;
    zi_text text;
    int count = 0;
    zi_text_init(&text, 1 << 12);
    if (is_good_component(entry)) {
        zi_text_puts(&text, zi_health_name(ZI_HEALTH_GOOD));
        return zi_text_take(&text);
    }
    if (entry->usable && !in->usable) {
        const char *parts[] = {entry->text_encoder, entry->vae, entry->tokenizer};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (parts[i]) zi_text_printf(&text, "%s%s", count++ ? ", " : "with ", parts[i]);
        return zi_text_take(&text);
    }
    if (in->health != ZI_HEALTH_INCOMPLETE) {
        zi_text_puts(&text, zi_health_name(in->health));
        return zi_text_take(&text);
    }
    if (in->problem_count) {
        zi_text_puts(&text, "needs a reference");
        return zi_text_take(&text);
    }
    for (int i = 0; i < ZI_COMPONENTS; i++)
        if (entry->lacks[i])
            zi_text_printf(&text, "%s%s", count++ ? ", " : "lacks ",
                           zi_component_name((zi_component)i));
    if (!count) zi_text_puts(&text, zi_health_name(in->health));
    return zi_text_take(&text);
}

/* Writes a size in decimal units, from 10^9 bytes on as "1.5 GB", else as "0.3 MB"; cut to `size`
 * bytes. */
static void format_size(uint64_t bytes, char *out, size_t size)
{
    double number = (double)bytes;
    if (number < 1e9)
        snprintf(out, size, "%.1f MB", number / 1e6);
    else
        snprintf(out, size, "%.1f GB", number / 1e9);
}

/* text, or "-" for NULL. */
static const char *or_dash(const char *text)
{
    return text ? text : "-";
}

/* Prints a model of the list as a line: a star if it is the default, name, layout, precision, size,
 * health and first problem, if any. widest: width of the column of names in bytes. The entry must
 * have an inspection. */
static void print_entry(const zi_registry_entry *entry, int widest)
{
    char size[32];
    const zi_inspection *in = entry->inspection;
    char *health = health_text(entry);
    format_size(entry->bytes, size, sizeof size);
    printf("%c ", entry->is_default ? '*' : ' ');
    int length = zi_print_text(entry->name);
    printf("%*s  %-14s  %-24s  %9s  %s%s", length < widest ? widest - length : 0, "",
           or_dash(in->layout), or_dash(in->precision), size, or_dash(health),
           in->problem_count ? ": " : "");
    zi_print_text(in->problem_count ? in->problems[0].text : "");
    putchar('\n');
    free(health);
}

/* Prints the name and size of an unfinished download or import as a line. */
static void print_partial(const zi_partial_model *partial)
{
    char size[32];
    format_size(partial->bytes, size, sizeof size);
    printf("  ");
    zi_print_text(partial->name);
    printf(": %s of a %s\n", size,
           partial->download ? "download that is not complete"
                             : "model that was not completely written");
}

/* Whether the list shows the entry: not the demo model, which is part of the program, nor a model
 * without inspection, such as one that changed while it was inspected. */
static bool is_shown(const zi_registry_entry *entry)
{
    return entry->inspection && entry->section != ZI_SECTION_DEMO;
}

/* Prints the models that are shown, one per line with columns aligned, then unfinished downloads
 * and imports. Nothing, no heading either, if there are none. */
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

/* Adds a text member to object; does nothing when text is NULL, or memory is short. */
static void add_text(cJSON *object, const char *name, const char *text)
{
    if (text) cJSON_AddStringToObject(object, name, text);
}

/* A model of the list as a new JSON object, owned by the caller. The entry must have an inspection.
 * When memory is short, it lacks members or is NULL. */
static cJSON *entry_json(const zi_registry_entry *entry)
{
    const zi_inspection *in = entry->inspection;
    char *health = health_text(entry);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", entry->name);
    cJSON_AddStringToObject(json, "path", entry->path);
    cJSON_AddStringToObject(json, "kind", zi_model_kind_name(entry->kind));
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

/* The list as a new JSON object, owned by the caller: "folder", "default" (its name; absent if
 * there is none), "models" (those that are shown) and "incomplete". When memory is short, it lacks
 * members or is NULL. */
static cJSON *list_json(const models_args *args, const zi_registry_list *list)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "folder", args->models.options.folder);
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

/* Prints formatted JSON and a newline, and deletes it in any case. False, with *error set: out of
 * memory, as which NULL counts. */
static bool print_json(cJSON *json, zi_error *error)
{
    char *text = cJSON_Print(json);
    cJSON_Delete(json);
    if (text) puts(text);
    cJSON_free(text);
    return text || zi_error_no_memory(error, 1 << 16);
}

/* Prints a note, unless --quiet, that there are no models or, with `any`, no complete image model,
 * where they were looked for, and how to download one. */
static void print_no_models(const models_args *args, bool any)
{
    char *hint = zi_download_hint(args->models.registry);
    char *folder = zi_models_folder_path(&args->models);
    zi_print_note(args->quiet, "no %s in %s, and none in the cache of Hugging Face; %s",
                  any ? "complete image model" : "models",
                  folder ? folder : args->models.options.folder,
                  hint ? hint : "see zimage download --help");
    free(folder);
    free(hint);
}

/* `models list`: inspects the models that are new or changed and prints the list; without --json
 * notes if no image model in it is usable, and on models outside of the sections. False, with
 * *error set: a name is given, the folders cannot be read, or memory is short. */
static bool list_models(models_args *args, const char *name, zi_error *error)
{
    zi_registry_list list;
    if (name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "'%s': models list takes no name; it lists all models", name);
    if (!zi_registry_inspect_all(args->models.registry, NULL, NULL, error) ||
        !zi_registry_read(args->models.registry, &list, error))
        return false;
    bool ok = true, any = false, usable = false;
    for (size_t i = 0; i < list.count; i++) {
        bool shown = is_shown(&list.entries[i]);
        any |= shown;
        usable |= shown && list.entries[i].kind == ZI_MODEL_IMAGE && list.entries[i].usable;
    }
    if (args->json)
        ok = print_json(list_json(args, &list), error);
    else
        print_list(&list);
    if (!args->json) zi_print_misplaced_models(&args->models, args->quiet);
    if (!args->json && !usable) print_no_models(args, any);
    zi_registry_list_free(&list);
    return ok;
}

/* ---- default, remove, migrate ---- */

/* `models default [NAME]`: makes NAME the default model, lastingly. name NULL: prints the path of
 * the model that is used by default, or a note if that is the demo model. False: *error is set. */
static bool set_or_print_default(models_args *args, const char *name, zi_error *error)
{
    zi_resolved_model found = {0};
    if (name) {
        bool ok = zi_registry_set_default(args->models.registry, name, true, error);
        if (!ok && error->code == ZI_ERROR_UNSUPPORTED)
            zi_error_set_in(error, error->code, NULL, error->subject,
                            "%s (`zimage models` lists them)", error->text);
        return ok;
    }
    if (!zi_registry_resolve(args->models.registry, NULL, &found, error)) return false;
    if (found.as == ZI_RESOLVED_DEMO)
        zi_print_note(args->quiet,
                      "no default model is set, and no complete model was found, so the small demo "
                      "model is used; `zimage models` tells how to get Z-Image-Turbo");
    else
        puts(found.path);
    zi_resolved_model_free(&found);
    return true;
}

/* True if --yes was given or the user answers with y or Y, on standard input, to the question on
 * standard error. Else false, and *error, about name, is set: ZI_ERROR_CANCELLED, or without a
 * terminal ZI_ERROR_INVALID_ARGUMENT. path: what the question names. */
static bool confirm_removal(const models_args *args, const char *name, const char *path,
                            zi_error *error)
{
    char answer[16] = "";
    if (args->yes) return true;
    if (!isatty(STDIN_FILENO))
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, name, NULL,
                               "not removed, since standard input is no terminal to ask for "
                               "confirmation; add --yes to remove it without a question");
    fputs("remove ", stderr);
    for (const char *c = path; *c; c++) fputc((unsigned char)*c < 0x20 ? '?' : *c, stderr);
    fputs("? [y/N] ", stderr);
    if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
        return zi_error_set(error, ZI_ERROR_CANCELLED, name, "not removed");
    return true;
}

/* `models remove NAME`: removes a model with its files (of a link, only the link), or an unfinished
 * download, after confirmation. False, with *error set: name is NULL or unknown, the user declined,
 * or removing failed. */
static bool remove_model(models_args *args, const char *name, zi_error *error)
{
    char *path = NULL;
    if (!name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "models remove: NAME is missing; `zimage models` lists the names");
    bool ok = zi_registry_find_removable(args->models.registry, name, &path, error) &&
              confirm_removal(args, name, path, error) &&
              zi_registry_remove(args->models.registry, name, error);
    free(path);
    return ok;
}

/* The moves as a new JSON array, owned by the caller, of objects with "from" and either "to" or
 * "problem". When memory is short, it lacks members or is NULL. */
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

/* `models migrate`: moves models to the folders of their layouts (--dry-run: does not) and prints
 * the moves (--json: as an array), and as notes what could not be moved, which is no failure.
 * False, with *error set: a name is given, or zi_registry_migrate or printing failed. */
static bool migrate_models(models_args *args, const char *name, zi_error *error)
{
    zi_migration migration;
    if (name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "'%s': models migrate takes no name; it moves all models", name);
    if (!zi_registry_migrate(args->models.registry, args->dry_run, &migration, error)) return false;
    bool ok = !args->json || print_json(migration_json(&migration), error);
    for (size_t i = 0; i < migration.count; i++) {
        const zi_migrated_model *model = &migration.models[i];
        if (model->problem)
            zi_print_note(args->quiet, "not moved: %s", model->problem);
        else if (!args->json)
            printf("%s -> %s\n", model->from, model->to);
    }
    if (!migration.count)
        zi_print_note(args->quiet,
                      "nothing to move: no model is in the models folder outside its subfolders");
    zi_migration_free(&migration);
    return ok;
}

/* Fails when --dry-run is on the command line of another action than migrate: it would not be dry.
 * A setting of it is ignored there. */
static bool check_dry_run(const char *action, zi_error *error)
{
    return !zi_option_on_command_line("dry-run") || !strcmp(action, "migrate") ||
           zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "dry-run",
                        "applies only to models migrate, not to models %s; leave it out", action);
}

static const struct {
    const char *name;
    bool (*run)(models_args *args, const char *name, zi_error *error);
} actions[] = {{"list", list_models},
               {"default", set_or_print_default},
               {"remove", remove_model},
               {"migrate", migrate_models}};
enum { ACTIONS = sizeof actions / sizeof *actions };

int cmd_models(int argc, char **argv)
{
    models_args args = {0};
    const char *words[2] = {"list", NULL};
    zi_error error = {0};
    int code;
    const zi_option options[] = {
        zi_models_option(&args.folder),
        {"dry-run", 0, ZI_OPTION_FLAG, &args.dry_run, 0, 0, NULL,
         "migrate: only print what would be moved", NULL},
        {"yes", 'y', ZI_OPTION_FLAG, &args.yes, 0, 0, NULL, "remove: do not ask for confirmation",
         NULL},
        {"json", 0, ZI_OPTION_FLAG, &args.json, 0, 0, NULL, "list and migrate: print JSON", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &args.quiet, 0, 0, NULL, "no notes", NULL},
        {0},
    };
    const zi_command command = {
        "models",
        "Lists the models in the models folder and the cache of Hugging Face (a star: the "
        "default).\n"
        "default NAME makes one the default, remove NAME removes one, and migrate moves models "
        "from\n"
        "the folder itself to its subfolders mlx, pytorch, comfyui and prompt_enhancer.",
        "[list|default|remove|migrate] [NAME]", options};
    if (!zi_options_parse(&command, argc, argv, words, &code)) return code;
    int action = 0;
    while (action < ACTIONS && strcmp(words[0], actions[action].name) != 0) action++;
    if (action == ACTIONS) {
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                     "models: '%s' is no action; the actions are list, default, remove and migrate",
                     words[0]);
        return zi_report_error(&command, &error);
    }
    if (!zi_user_registry_open(args.folder, NULL, &args.models, &error))
        return zi_report_error(&command, &error);
    bool ok = check_dry_run(words[0], &error) && actions[action].run(&args, words[1], &error);
    zi_user_registry_close(&args.models);
    return ok ? 0 : zi_report_error(&command, &error);
}

/* ---- import ---- */

/* Imports the model o->source into args->folder with a progress bar and prints its new path. Sets
 * callbacks and user of *o, which are invalid after the call, and installs the signal handlers.
 * False: *error is set. */
static bool import_model(models_args *args, zi_import_options *o, zi_error *error)
{
    char *path = NULL;
    zi_user_registry models;
    zi_model_options load = {.reference = o->reference};
    zi_used_parts parts = {0};
    if (!zi_user_registry_open(args->folder, NULL, &models, error)) return false;
    bool ok = zi_resolve_parts(&models, &load, &parts, error);
    o->reference = load.reference;
    zi_progress_printer printer = zi_progress_printer_start(!args->quiet, false, 1);
    o->progress = zi_progress_printer_update;
    o->remark = args->quiet ? NULL : zi_progress_printer_remark;
    o->user = &printer;
    zi_interrupt_install();
    ok = ok && zi_registry_import(models.registry, o, &path, error);
    zi_progress_printer_clear(&printer);
    if (ok) puts(path);
    free(path);
    zi_user_registry_close(&models);
    zi_used_parts_free(&parts);
    return ok;
}

int cmd_import(int argc, char **argv)
{
    models_args args = {0};
    zi_import_options o = {0};
    zi_error error = {0};
    int layout = 0, precision = 0, code;
    bool link = false, move = false, has_layout = false, has_precision = false;
    char layouts[64], precisions[ZI_CHOICES_SIZE];
    zi_join_choices(zi_layout_names + ZI_LAYOUT_MLX, layouts, sizeof layouts);
    zi_join_choices(zi_precision_names, precisions, sizeof precisions);
    const zi_option options[] = {
        {"name", 0, ZI_OPTION_TEXT, &o.name, 0, 0, "NAME", "name of the model (PATH's)", NULL},
        {"to", 0, ZI_OPTION_CHOICE, &layout, 0, 0, layouts, "convert to this layout", &has_layout},
        {"precision", 0, ZI_OPTION_CHOICE, &precision, 0, 0, precisions,
         "convert to this precision", &has_precision},
        {"reference", 0, ZI_OPTION_TEXT, &o.reference, 0, 0, "MODEL",
         "with conversion: model, or folder of a tokenizer, to take missing components from", NULL},
        {"link", 0, ZI_OPTION_FLAG, &link, 0, 0, NULL, "create a symbolic link instead of a copy",
         NULL},
        {"move", 0, ZI_OPTION_FLAG, &move, 0, 0, NULL, "move instead of copying", NULL},
        zi_models_option(&args.folder),
        {"quiet", 'q', ZI_OPTION_FLAG, &args.quiet, 0, 0, NULL, "no progress bar", NULL},
        {0},
    };
    const zi_command command = {
        "import",
        "Copies a model, or components of one, into the models folder and prints its path.", "PATH",
        options};
    if (!zi_options_parse(&command, argc, argv, &o.source, &code)) return code;
    o.mode = link ? ZI_IMPORT_LINK : move ? ZI_IMPORT_MOVE : ZI_IMPORT_COPY;
    o.convert = has_layout || has_precision;
    o.layout = has_layout ? (zi_layout_kind)(ZI_LAYOUT_MLX + layout) : ZI_LAYOUT_SAME;
    o.precision = (zi_precision)precision;
    if (!o.convert) o.reference = NULL;
    if (link + move + o.convert > 1)
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                     "--link, --move and conversion (--to, --precision) cannot be used together; "
                     "keep one of the three");
    else if (!o.convert && zi_option_on_command_line("reference"))
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, "reference",
                     "applies only to an import with conversion; add --to or --precision, or leave "
                     "--reference out");
    else if (import_model(&args, &o, &error))
        return 0;
    return zi_report_error(&command, &error);
}
