/* Models that come into the models folder from elsewhere, and from its own old place. */
#include "base/draft.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/text.h"
#include "hub/address.h"
#include "hub/disk.h"
#include "hub/store.h"
#include "io/json.h"
#include "model/lm.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what it is ---- */

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = zi_json_find(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static bool has_part(const cJSON *inspected, const char *part)
{
    const cJSON *component = zi_json_find(zi_json_find(inspected, "components"), part);
    return cJSON_IsTrue(zi_json_find(component, "present"));
}

static bool is_language_model(const char *path)
{
    zi_lm lm;
    bool is = zi_lm_load(&(zi_model_options){.path = path}, NULL, &lm, NULL);
    if (is) zi_lm_free(&lm);
    return is;
}

static bool sort_out(const char *path, const cJSON *inspected, zi_store_kind *kind, zi_error *error)
{
    const cJSON *problems = zi_json_find(inspected, "problems");
    const char *layout = text_of(inspected, "layout"), *health = text_of(inspected, "health");
    bool damaged = !strcmp(health, "damaged"), unsupported = !strcmp(health, "unsupported");
    if (damaged || unsupported)
        return zi_error_set_in(error, damaged ? ZI_ERROR_BAD_FORMAT : ZI_ERROR_UNSUPPORTED, NULL,
                               path, "%s", problems->child->valuestring);
    *kind = !strcmp(layout, "MLX") || !strcmp(layout, "mflux") ? ZI_SHELF_MLX
            : zi_is_dir(path)                                  ? ZI_SHELF_PYTORCH
                                                               : ZI_SHELF_COMFYUI;
    return true;
}

bool zi_store_detect(const char *path, zi_store_kind *kind, zi_error *error)
{
    char *json = NULL;
    zi_error why = {0};
    bool ok = zi_inspect(path, &json, &why);
    cJSON *inspected = ok ? cJSON_Parse(json) : NULL;
    bool whole = has_part(inspected, "transformer");
    ok = ok && sort_out(path, inspected, kind, &why);
    /* A text encoder that comes with a tokenizer is a language model, too. */
    if (!whole && is_language_model(path)) {
        *kind = ZI_SHELF_LANGUAGE;
        ok = true;
    }
    if (!ok && error) *error = why;
    cJSON_Delete(inspected);
    free(json);
    return ok;
}

/* ---- copying ---- */

typedef struct {
    const char *from;
    zi_folder *folder; /* NULL: a file alone */
    const zi_import_options *options;
    uint64_t done, total;
} copying;

static bool count_copied(void *user, uint64_t bytes)
{
    copying *c = user;
    c->done += bytes;
    zi_progress progress = {.stage = ZI_STAGE_COPY,
                            .fraction = c->total ? (double)c->done / (double)c->total : 1};
    return !c->options->progress || c->options->progress(c->options->user, &progress);
}

/* Makes the folders of NAME that are not there yet. */
static bool add_folders(copying *c, const char *name, zi_error *error)
{
    for (const char *slash = name; (slash = strchr(slash, '/')); slash++) {
        size_t length = (size_t)(slash - name);
        char dir[1024];
        if (length >= sizeof dir)
            return zi_error_set(error, ZI_ERROR_UNSUPPORTED, name, "the name is too long");
        snprintf(dir, sizeof dir, "%.*s", (int)length, name);
        const char *path = zi_folder_file(c->folder, dir, error);
        if (!path) return false;
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return zi_error_set(error, ZI_ERROR_IO, path, "cannot make this folder: %s",
                                strerror(errno));
    }
    return true;
}

static bool copy_one(void *user, const char *name, uint64_t size, zi_error *error)
{
    copying *c = user;
    (void)size;
    char *from = zi_path_join(c->from, name);
    bool ok = from || zi_error_no_memory(error, strlen(name));
    ok = ok && add_folders(c, name, error);
    const char *to = ok ? zi_folder_file(c->folder, name, error) : NULL;
    ok = to && zi_copy_file(from, to, count_copied, c, error);
    free(from);
    return ok;
}

static bool copy_folder(copying *c, const char *to, zi_error *error)
{
    zi_folder folder;
    if (!zi_folder_open(&folder, to, error)) return false;
    c->folder = &folder;
    if (zi_walk(c->from, copy_one, c, error)) return zi_folder_commit(&folder, error);
    zi_folder_discard(&folder);
    return false;
}

static bool copy(const zi_import_options *o, const char *to, zi_error *error)
{
    copying c = {.from = o->source, .options = o};
    zi_drafts_sweep(to);
    return zi_store_bytes(o->source, &c.total, error) &&
           zi_disk_has(to, c.total, "the copy", error) &&
           (zi_is_dir(o->source) ? copy_folder(&c, to, error)
                                 : zi_copy_file(o->source, to, count_copied, &c, error));
}

static bool make_link(const char *from, const char *to, zi_error *error)
{
    char *whole = realpath(from, NULL);
    bool ok = whole && symlink(whole, to) == 0;
    if (!ok) zi_error_set(error, ZI_ERROR_IO, to, "cannot make this link: %s", strerror(errno));
    free(whole);
    return ok;
}

bool zi_store_move(const zi_import_options *o, const char *to, zi_error *error)
{
    struct stat st;
    if (lstat(o->source, &st) == 0 && S_ISLNK(st.st_mode))
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "source",
                               "%s is a link; name what it leads to", o->source);
    if (rename(o->source, to) == 0) {
        zi_sync_folder_of(to);
        return true;
    }
    if (errno != EXDEV)
        return zi_error_set(error, ZI_ERROR_IO, o->source, "cannot be moved: %s", strerror(errno));
    return copy(o, to, error) && zi_remove_all(o->source, error);
}

/* ---- import ---- */

zi_store_kind zi_store_kind_of(zi_layout_kind layout)
{
    return layout == ZI_LAYOUT_MLX         ? ZI_SHELF_MLX
           : layout == ZI_LAYOUT_DIFFUSERS ? ZI_SHELF_PYTORCH
                                           : ZI_SHELF_COMFYUI;
}

/* Converted models are files in two layouts, and their names tell them. */
static const char *ending_of(zi_layout_kind layout)
{
    return layout == ZI_LAYOUT_COMFYUI ? ".safetensors" : layout == ZI_LAYOUT_GGUF ? ".gguf" : "";
}

/* The source's own name, without the ending of a file where that is to become something else. */
static char *own_name(const zi_import_options *o)
{
    char *base = zi_path_base(o->source);
    char *dot = base && o->convert && !zi_is_dir(o->source) ? strrchr(base, '.') : NULL;
    if (dot && dot != base) *dot = 0;
    return base;
}

char *zi_store_name(const zi_import_options *o)
{
    zi_text text;
    char *base = o->name ? strdup(o->name) : own_name(o);
    if (!base || !o->convert) return base;
    zi_text_init(&text, 1024);
    zi_text_puts(&text, base);
    if (!o->name && o->precision) zi_text_printf(&text, "-%s", zi_precision_names[o->precision]);
    size_t length = strlen(base), tail = strlen(ending_of(o->layout));
    bool has_ending = length > tail && !strcmp(base + length - tail, ending_of(o->layout));
    if (!has_ending) zi_text_puts(&text, ending_of(o->layout));
    free(base);
    return zi_text_take(&text);
}

/* Refuses a name that is taken, and says one that is free. */
static bool check_free(const char *path, const char *name, zi_error *error)
{
    struct stat st;
    if (lstat(path, &st) != 0) return true;
    for (int n = 2; n < 1000; n++) {
        const char *dot = zi_is_dir(path) ? NULL : strrchr(name, '.');
        size_t stem = dot && dot != name ? (size_t)(dot - name) : strlen(name);
        char *dir = zi_path_folder(path), other[512];
        snprintf(other, sizeof other, "%.*s-%d%s", (int)stem, name, n, name + stem);
        char *candidate = dir ? zi_path_join(dir, other) : NULL;
        bool is_free = candidate && lstat(candidate, &st) != 0;
        free(candidate);
        free(dir);
        if (is_free)
            return zi_error_set_in(error, ZI_ERROR_EXISTS, path, "name",
                                   "is there already; give the new one another name, as %s", other);
    }
    return zi_error_set_in(error, ZI_ERROR_EXISTS, path, "name", "is there already");
}

bool zi_store_settle(const zi_store *store, const zi_import_options *o, zi_store_kind kind,
                     char **path, zi_error *error)
{
    char *name = zi_store_name(o), *dir = zi_path_join(store->folder, zi_store_kind_name(kind));
    char *to = name && dir ? zi_path_join(dir, name) : NULL;
    bool ok = to || zi_error_no_memory(error, 64);
    if (ok && (!zi_file_name_valid(name) || strchr(name, '/') || name[0] == '.'))
        ok = zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "name",
                          "'%s' is no name for a model; use letters, digits, - and .", name);
    ok = ok && check_free(to, name, error) && zi_make_folders(dir, error);
    free(dir);
    free(name);
    if (ok)
        *path = to;
    else
        free(to);
    return ok;
}

static bool put(const zi_import_options *o, const char *to, zi_error *error)
{
    zi_convert_options convert = {.source = o->source,
                                  .destination = to,
                                  .layout = o->layout,
                                  .precision = o->precision,
                                  .reference = o->reference,
                                  .threads = o->threads,
                                  .progress = o->progress,
                                  .user = o->user};
    if (o->convert) return zi_convert(&convert, error);
    return o->mode == ZI_IMPORT_LINK   ? make_link(o->source, to, error)
           : o->mode == ZI_IMPORT_MOVE ? zi_store_move(o, to, error)
                                       : copy(o, to, error);
}

/* A folder that is the language model itself has no room for others. */
static bool check_room_for_language(const zi_store *store, zi_error *error)
{
    char *config = NULL, *dir = zi_path_join(store->folder, "prompt_enhancer");
    if (dir) config = zi_path_join(dir, "config.json");
    bool taken = config && zi_is_file(config);
    if (taken)
        zi_error_set_in(error, ZI_ERROR_EXISTS, dir, "prompt_enhancer",
                        "holds a language model already; remove it first");
    free(config);
    free(dir);
    return !taken;
}

bool zi_store_import(const zi_store *store, const zi_import_options *options, char **path,
                     zi_error *error)
{
    zi_store_kind kind;
    char *to = NULL;
    if (!zi_store_detect(options->source, &kind, error)) return false;
    if (options->convert && kind == ZI_SHELF_LANGUAGE)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, options->source,
                            "a language model is used as it is, not converted");
    if (kind == ZI_SHELF_LANGUAGE && !check_room_for_language(store, error)) return false;
    if (options->convert && options->layout != ZI_LAYOUT_SAME)
        kind = zi_store_kind_of(options->layout);
    if (!zi_store_settle(store, options, kind, &to, error)) return false;
    if (!put(options, to, error)) {
        free(to);
        return false;
    }
    *path = to;
    return true;
}

/* ---- the old flat layout ---- */

static bool is_shelf(const char *name)
{
    for (int kind = 0; kind < ZI_SHELVES; kind++)
        if (!strcmp(name, zi_store_kind_name((zi_store_kind)kind))) return true;
    return false;
}

/* Moves FOLDER/NAME to its shelf, or says why not. */
static void migrate_one(const zi_store *store, const char *path, const char *name, bool dry,
                        cJSON *rows)
{
    zi_error why = {0};
    zi_store_kind kind;
    char *dir = NULL, *to = NULL;
    struct stat st;
    bool ok = zi_store_detect(path, &kind, &why);
    if (ok) {
        dir = zi_path_join(store->folder, zi_store_kind_name(kind));
        to = dir ? zi_path_join(dir, name) : NULL;
        ok = to || zi_error_no_memory(&why, strlen(name));
    }
    if (ok && lstat(to, &st) == 0) ok = zi_error_set(&why, ZI_ERROR_EXISTS, to, "is there already");
    if (ok && !dry)
        ok = zi_make_folders(dir, &why) &&
             (rename(path, to) == 0 ||
              zi_error_set(&why, ZI_ERROR_IO, path, "cannot be moved: %s", strerror(errno)));
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "from", path);
    cJSON_AddStringToObject(row, ok ? "to" : "problem", ok ? to : why.text);
    cJSON_AddItemToArray(rows, row);
    free(to);
    free(dir);
}

bool zi_store_migrate(const zi_store *store, bool dry, char **json, zi_error *error)
{
    DIR *dir = opendir(store->folder);
    if (!dir)
        return zi_error_set(error, zi_error_code_of_errno(), store->folder,
                            "cannot read this folder: %s", strerror(errno));
    cJSON *rows = cJSON_CreateArray();
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char *path = zi_path_join(store->folder, entry->d_name);
        if (path && !is_shelf(entry->d_name) && zi_store_may_be_model(path, entry->d_name))
            migrate_one(store, path, entry->d_name, dry, rows);
        free(path);
    }
    closedir(dir);
    char *text = cJSON_Print(rows);
    cJSON_Delete(rows);
    if (!text) return zi_error_no_memory(error, 1 << 16);
    *json = text;
    return true;
}
