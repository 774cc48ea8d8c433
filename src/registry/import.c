/* Imports models into the models folder: detects their section, copies, links, moves or converts.
 */
#include "base/file.h"
#include "base/filesystem.h"
#include "base/folder.h"
#include "base/temporary.h"
#include "base/text.h"
#include "hub/repo.h"
#include "io/gguf_split.h"
#include "registry/registry.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- detecting the section ---- */

/* Whether path loads as a language model; its weights are only checked. False also when that fails
 * for another reason. */
static bool is_language_model(const char *path)
{
    zi_inspection *inspection = NULL;
    bool is = zi_inspect_llm(path, &inspection, NULL);
    zi_inspection_free(is ? inspection : NULL);
    return is;
}

/* Sets *section by layout: mlx for MLX or mflux, else pytorch for a folder and comfyui for a file.
 * Fails for a damaged or unsupported model, with the text of its first problem. */
static bool section_of_image_model(const zi_inspection *in, zi_section *section, zi_error *error)
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

bool zi_registry_detect_section(const char *path, zi_section *section, zi_error *error)
{
    zi_inspection *in = NULL;
    zi_error why = {0};
    bool ok = zi_inspect(path, &in, &why);
    bool is_image_model = ok && in->components[ZI_COMPONENT_TRANSFORMER].present;
    ok = ok && section_of_image_model(in, section, &why);
    /* A text encoder with a tokenizer is a language model, too. */
    if (!is_image_model && is_language_model(path)) {
        *section = ZI_SECTION_PROMPT_ENHANCER;
        ok = true;
    }
    if (!ok && error) *error = why;
    zi_inspection_free(in);
    return ok;
}

/* ---- copying, linking, moving ---- */

typedef struct {
    const char *from;
    zi_output_folder *folder; /* the copy; NULL: a single file is copied */
    const zi_import_options *options;
    bool hidden; /* copy names that begin with a dot, too */
    uint64_t done, total;
} copy_job;

/* zi_copy_progress_fn; user: the copy_job. Adds bytes to c->done and reports the fraction to the
 * caller's callback, if any. False, when that returns false, cancels the copy. */
static bool report_copied(void *user, uint64_t bytes)
{
    copy_job *c = user;
    c->done += bytes;
    zi_progress progress = {.stage = ZI_STAGE_COPY,
                            .fraction = c->total ? (double)c->done / (double)c->total : 1};
    return !c->options->progress || c->options->progress(c->options->user, &progress);
}

/* Makes the missing subfolders of the copy that the file `name` (relative to it) needs, and
 * registers them for removal if the copy is discarded. */
static bool make_subfolders(copy_job *c, const char *name, zi_error *error)
{
    for (const char *slash = name; (slash = strchr(slash, '/')); slash++) {
        size_t length = (size_t)(slash - name);
        char dir[1024];
        if (length >= sizeof dir)
            return zi_error_set(
                error, ZI_ERROR_UNSUPPORTED, name,
                "the name of the folder of this file has %zu bytes, but at most %zu are possible, "
                "so nothing was imported; give folders in the model shorter names",
                length, sizeof dir - 1);
        snprintf(dir, sizeof dir, "%.*s", (int)length, name);
        const char *path = zi_output_folder_add_path(c->folder, dir, error);
        if (!path) return false;
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return zi_error_set(
                error, ZI_ERROR_IO, path,
                "nothing was imported, since this folder cannot be made: %s; check the "
                "permissions and the free space there",
                strerror(errno));
    }
    return true;
}

/* zi_walk_files_fn; user: the copy_job. Copies the file `name` ("vae/config.json") of the source
 * folder to the same place in the copy, makes the subfolders for it, and reports progress. */
static bool copy_walked_file(void *user, const char *name, const struct stat *st, zi_error *error)
{
    copy_job *c = user;
    (void)st;
    char *from = zi_path_join(c->from, name);
    bool ok = from || zi_error_no_memory(error, strlen(name));
    ok = ok && make_subfolders(c, name, error);
    const char *to = ok ? zi_output_folder_add_path(c->folder, name, error) : NULL;
    ok = to && zi_copy_file(from, to, report_copied, c, error);
    free(from);
    return ok;
}

/* Copies the files of the folder c->from (hidden ones only if c->hidden) to `to`, atomically and
 * with links followed. Fails if `to` exists and is not an empty folder. */
static bool copy_folder(copy_job *c, const char *to, zi_error *error)
{
    zi_output_folder folder;
    if (!zi_output_folder_open(&folder, to, error)) return false;
    c->folder = &folder;
    if (zi_walk_files(c->from, c->hidden, copy_walked_file, c, error))
        return zi_output_folder_commit(&folder, error);
    zi_output_folder_discard(&folder);
    return false;
}

/* zi_walk_files_fn: adds the file's size to c->total. */
static bool add_size(void *user, const char *name, const struct stat *st, zi_error *error)
{
    copy_job *c = user;
    (void)name, (void)error;
    c->total += (uint64_t)st->st_size;
    return true;
}

/* Copies options->source, a file or folder, to the target path, atomically; names that begin with a
 * dot only if `hidden`. First removes stale temporaries of this target and checks the free disk
 * space. */
static bool copy_source(const zi_import_options *o, const char *to, bool hidden, zi_error *error)
{
    copy_job c = {.from = o->source, .options = o, .hidden = hidden};
    zi_remove_stale_temporaries(to);
    if (!zi_walk_files(o->source, hidden, add_size, &c, error)) return false;
    return zi_disk_check_free(to, c.total, "the copy", error) &&
           (zi_is_dir(o->source) ? copy_folder(&c, to, error)
                                 : zi_copy_file(o->source, to, report_copied, &c, error));
}

/* Creates a symbolic link at `to` to the absolute, resolved path of `from`. Fails if `from` is
 * missing or `to` exists. */
static bool make_link(const char *from, const char *to, zi_error *error)
{
    char *whole = realpath(from, NULL);
    bool ok = whole && symlink(whole, to) == 0;
    if (!ok && !whole)
        zi_file_cannot_open(error, from);
    else if (!ok)
        zi_error_set(error, ZI_ERROR_IO, to,
                     "cannot create this link: %s; import the model as a copy instead",
                     strerror(errno));
    free(whole);
    return ok;
}

bool zi_import_move_source(const zi_import_options *options, const char *to, zi_error *error)
{
    struct stat st;
    if (lstat(options->source, &st) == 0 && S_ISLNK(st.st_mode))
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "source",
                               "%s is a symbolic link, which is not moved; name what it points to",
                               options->source);
    if (rename(options->source, to) == 0) {
        zi_sync_parent_folder(to);
        return true;
    }
    if (errno != EXDEV)
        return zi_error_set(error, ZI_ERROR_IO, options->source,
                            "cannot be moved and stays where it is: %s; check the permissions of "
                            "its folder and of the models folder",
                            strerror(errno));
    return copy_source(options, to, true, error) && zi_remove_tree(options->source, error);
}

/* ---- import ---- */

zi_section zi_section_of_layout(zi_layout_kind layout)
{
    return layout == ZI_LAYOUT_MLX         ? ZI_SECTION_MLX
           : layout == ZI_LAYOUT_DIFFUSERS ? ZI_SECTION_PYTORCH
                                           : ZI_SECTION_COMFYUI;
}

/* Returns the extension of the imported model, with its dot: that of its layout, or of the source,
 * into which it then points, if it keeps that one's. "" for folders. */
static const char *target_extension(const zi_import_options *o)
{
    if (!o->convert || o->layout == ZI_LAYOUT_SAME) {
        const char *extension = zi_is_dir(o->source) ? NULL : zi_weights_extension(o->source);
        return extension ? extension : "";
    }
    return o->layout == ZI_LAYOUT_COMFYUI ? ".safetensors"
           : o->layout == ZI_LAYOUT_GGUF  ? ".gguf"
                                          : "";
}

/* Returns the source's base name in new memory: of a folder the whole name, else without the
 * extension of a file of weights, or any extension of a file that is converted. NULL: out of
 * memory. */
static char *source_name(const zi_import_options *o)
{
    char *base = zi_path_basename(o->source);
    if (!base || zi_is_dir(o->source)) return base;
    char *dot = o->convert && zi_is_file(o->source) ? strrchr(base, '.') : NULL;
    const char *extension = zi_weights_extension(base);
    if (dot && dot != base)
        *dot = 0;
    else if (extension)
        base[extension - base] = 0;
    return base;
}

char *zi_import_target_name(const zi_import_options *options)
{
    zi_text text;
    char *base = options->name ? strdup(options->name) : source_name(options);
    if (!base) return NULL;
    zi_text_init(&text, 1024);
    zi_text_puts(&text, base);
    if (!options->name && options->convert && options->precision)
        zi_text_printf(&text, "-%s", zi_precision_name(options->precision));
    const char *own = zi_weights_extension(base);
    if (strcasecmp(own ? own : "", target_extension(options)) != 0)
        zi_text_puts(&text, target_extension(options));
    free(base);
    return zi_text_take(&text);
}

/* Fails with ZI_ERROR_EXISTS if something, or a dangling link, is at path, whose last component is
 * name. The error proposes a free name: NAME-2, NAME-3, ..., before a file's extension, at the end
 * of a folder's name. */
static bool check_name_free(const char *path, const char *name, zi_error *error)
{
    struct stat st;
    if (lstat(path, &st) != 0) return true;
    for (int n = 2; n < 1000; n++) {
        const char *dot = zi_is_dir(path) ? NULL : strrchr(name, '.');
        size_t stem = dot && dot != name ? (size_t)(dot - name) : strlen(name);
        char *dir = zi_path_dirname(path), other[512];
        snprintf(other, sizeof other, "%.*s-%d%s", (int)stem, name, n, name + stem);
        char *candidate = dir ? zi_path_join(dir, other) : NULL;
        bool is_free = candidate && lstat(candidate, &st) != 0;
        free(candidate);
        free(dir);
        if (is_free)
            return zi_error_set_in(error, ZI_ERROR_EXISTS, path, "name",
                                   "is there already; choose another name, such as %s", other);
    }
    return zi_error_set_in(error, ZI_ERROR_EXISTS, path, "name",
                           "is there already; choose another name");
}

bool zi_import_target_path(const zi_registry *registry, const zi_import_options *options,
                           zi_section section, char **path, zi_error *error)
{
    char *name = zi_import_target_name(options),
         *dir = zi_path_join(registry->options.folder, zi_section_name(section));
    char *to = name && dir ? zi_path_join(dir, name) : NULL;
    bool ok = to || zi_error_no_memory(error, 64);
    ok = ok && zi_check_model_name(options->name ? options->name : name, error) &&
         zi_check_model_name(name, error) && check_name_free(to, name, error);
    free(dir);
    free(name);
    if (ok)
        *path = to;
    else
        free(to);
    return ok;
}

/* Converts, links, moves or copies the source to the target path, as the options say; with convert,
 * the mode is ignored. tokenizer: for a model without one; NULL: none. After a failure nothing is
 * there, but a copy if the source of a move could not be removed. */
static bool write_target(const zi_import_options *o, const char *tokenizer, const char *to,
                         zi_error *error)
{
    zi_convert_options convert = {.source = o->source,
                                  .destination = to,
                                  .layout = o->layout,
                                  .precision = o->precision,
                                  .reference = o->reference,
                                  .tokenizer = tokenizer,
                                  .threads = o->threads,
                                  .progress = o->progress,
                                  .remark = o->remark,
                                  .user = o->user};
    if (o->convert) return zi_convert(&convert, error);
    return o->mode == ZI_IMPORT_LINK   ? make_link(o->source, to, error)
           : o->mode == ZI_IMPORT_MOVE ? zi_import_move_source(o, to, error)
                                       : copy_source(o, to, false, error);
}

/* Fails with ZI_ERROR_EXISTS if the folder prompt_enhancer is itself a language model (it has a
 * config.json): then it cannot hold another one. */
static bool check_no_language_model(const zi_registry *registry, zi_error *error)
{
    char *config = NULL, *dir = zi_path_join(registry->options.folder, "prompt_enhancer");
    if (dir) config = zi_path_join(dir, "config.json");
    bool taken = config && zi_is_file(config);
    if (taken)
        zi_error_set_in(error, ZI_ERROR_EXISTS, dir, "prompt_enhancer",
                        "holds a language model already, with the file config.json; remove it "
                        "first");
    free(config);
    free(dir);
    return !taken;
}

/* Fails with ZI_ERROR_UNSUPPORTED if the source is one of several GGUF files that make a model
 * together, of which a copy or link would bring only one. Converting reads all of them. */
static bool check_no_shard(const zi_import_options *o, zi_error *error)
{
    int number = 1, count = 1;
    if (o->convert || !zi_gguf_shard_parse(o->source, &number, &count) || count == 1) return true;
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, o->source,
                        "is one of %d files that make a model together, which cannot be imported "
                        "one by one; put all of them into the folder comfyui (an image model) or "
                        "prompt_enhancer (a language model) of the models folder",
                        count);
}

bool zi_registry_import(zi_registry *registry, const zi_import_options *options, char **path,
                        zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    zi_section section;
    char *to = NULL;
    if (!check_no_shard(options, error)) return false;
    if (!zi_registry_detect_section(options->source, &section, error)) return false;
    if (options->convert && section == ZI_SECTION_PROMPT_ENHANCER)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, options->source, "conversion",
                               "is a language model, which cannot be converted; import it without "
                               "conversion");
    if (section == ZI_SECTION_PROMPT_ENHANCER && !check_no_language_model(registry, error))
        return false;
    if (options->convert && options->layout != ZI_LAYOUT_SAME)
        section = zi_section_of_layout(options->layout);
    if (!zi_import_target_path(registry, options, section, &to, error)) return false;
    char *tokenizer = NULL;
    bool ok = zi_hub_find_cached(&registry->options.hub, "tokenizer", &tokenizer, error) &&
              zi_make_parent_folders(to, error) && write_target(options, tokenizer, to, error);
    free(tokenizer);
    if (ok)
        *path = to;
    else
        free(to);
    return ok;
}
