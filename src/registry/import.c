/* Models that come into the models folder from elsewhere. */
#include "base/draft.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/text.h"
#include "hub/address.h"
#include "hub/disk.h"
#include "registry/registry.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what it is ---- */

static bool is_language_model(const char *path)
{
    zi_inspection *inspection = NULL;
    bool is = zi_inspect_llm(path, &inspection, NULL);
    zi_inspection_free(is ? inspection : NULL);
    return is;
}

static bool section_of(const zi_inspection *in, zi_section *section, zi_error *error)
{
    const char *layout = in->layout ? in->layout : "";
    bool unsupported = in->health == ZI_HEALTH_UNSUPPORTED;
    if (in->health == ZI_HEALTH_DAMAGED || unsupported)
        return zi_error_set_in(error, unsupported ? ZI_ERROR_UNSUPPORTED : ZI_ERROR_BAD_FORMAT,
                               NULL, in->path, "%s", in->problems[0].text);
    *section = !strcmp(layout, "MLX") || !strcmp(layout, "mflux") ? ZI_SECTION_MLX
               : zi_is_dir(in->path)                              ? ZI_SECTION_PYTORCH
                                                                  : ZI_SECTION_COMFYUI;
    return true;
}

bool zi_registry_detect(const char *path, zi_section *section, zi_error *error)
{
    zi_inspection *in = NULL;
    zi_error why = {0};
    bool ok = zi_inspect(path, &in, &why);
    bool whole = ok && in->components[ZI_COMPONENT_TRANSFORMER].present;
    ok = ok && section_of(in, section, &why);
    /* A text encoder that comes with a tokenizer is a language model, too. */
    if (!whole && is_language_model(path)) {
        *section = ZI_SECTION_PROMPT_ENHANCER;
        ok = true;
    }
    if (!ok && error) *error = why;
    zi_inspection_free(in);
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

static bool copy_one(void *user, const char *name, const struct stat *st, zi_error *error)
{
    copying *c = user;
    (void)st;
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
    zi_file_state state;
    zi_drafts_sweep(to);
    if (!zi_file_state_read(o->source, &state, error)) return false;
    c.total = state.bytes;
    return zi_disk_has(to, c.total, "the copy", error) &&
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

bool zi_import_move(const zi_import_options *o, const char *to, zi_error *error)
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

zi_section zi_section_of_layout(zi_layout_kind layout)
{
    return layout == ZI_LAYOUT_MLX         ? ZI_SECTION_MLX
           : layout == ZI_LAYOUT_DIFFUSERS ? ZI_SECTION_PYTORCH
                                           : ZI_SECTION_COMFYUI;
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

char *zi_import_name(const zi_import_options *o)
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

bool zi_import_place(const zi_registry *registry, const zi_import_options *o, zi_section section,
                     char **path, zi_error *error)
{
    char *name = zi_import_name(o),
         *dir = zi_path_join(registry->options.folder, zi_section_name(section));
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
           : o->mode == ZI_IMPORT_MOVE ? zi_import_move(o, to, error)
                                       : copy(o, to, error);
}

/* A folder that is the language model itself has no room for others. */
static bool check_room_for_language(const zi_registry *registry, zi_error *error)
{
    char *config = NULL, *dir = zi_path_join(registry->options.folder, "prompt_enhancer");
    if (dir) config = zi_path_join(dir, "config.json");
    bool taken = config && zi_is_file(config);
    if (taken)
        zi_error_set_in(error, ZI_ERROR_EXISTS, dir, "prompt_enhancer",
                        "holds a language model already; remove it first");
    free(config);
    free(dir);
    return !taken;
}

bool zi_registry_import(zi_registry *registry, const zi_import_options *options, char **path,
                        zi_error *error)
{
    zi_section section;
    char *to = NULL;
    if (!zi_registry_detect(options->source, &section, error)) return false;
    if (options->convert && section == ZI_SECTION_PROMPT_ENHANCER)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, options->source,
                            "a language model is used as it is, not converted");
    if (section == ZI_SECTION_PROMPT_ENHANCER && !check_room_for_language(registry, error))
        return false;
    if (options->convert && options->layout != ZI_LAYOUT_SAME)
        section = zi_section_of_layout(options->layout);
    if (!zi_import_place(registry, options, section, &to, error)) return false;
    if (!put(options, to, error)) {
        free(to);
        return false;
    }
    *path = to;
    return true;
}
