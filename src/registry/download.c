/* zi_registry_download: downloads a model from a hub into the models folder. */
#include "base/file.h"
#include "base/filesystem.h"
#include "hub/cache.h"
#include "registry/partial_download.h"
#include "registry/registry.h"
#include "registry/streaming_conversion.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    zi_registry *registry;
    const zi_download_options *options;
    zi_import_options import; /* as given, with source, name and convert set */
    char *base;               /* base name of the repository */
    char *name;               /* of the result in the models folder */
    char *tokenizer;          /* folder of the hub's, for a model without; NULL: none */
    zi_partial_download partial;
    zi_streaming_conversion *conversion;
} model_download;

/* ---- names ---- */

/* Returns NAME of options->repo (OWNER/NAME[@REVISION], a short name, or NULL for the default
 * repository), in new memory. NULL, with an error: repo is no such name, or out of memory. */
static char *repo_base_name(const zi_download_options *options, zi_error *error)
{
    zi_repo_id id;
    if (!zi_repo_id_parse(options->repo, &id, error)) return NULL;
    char *base = zi_path_basename(id.repo);
    if (!base) zi_error_no_memory(error, strlen(id.repo));
    zi_repo_id_free(&id);
    return base;
}

/* Sets base, name and the paths of the partial download, which the caller frees, after a failure,
 * too; and the import's source and name, which are borrowed from these, and convert. Creates
 * nothing. False: the repository's name is not valid, or memory is short. */
static bool set_names(model_download *d, zi_error *error)
{
    d->base = repo_base_name(d->options, error);
    if (!d->base ||
        !zi_partial_download_init(d->registry->options.folder, d->base, &d->partial, error))
        return false;
    /* Not d->base: a file of that name in the current folder has nothing to do with it. */
    d->import.source = d->partial.path;
    d->import.convert = d->import.layout || d->import.precision;
    d->name = zi_import_target_name(&d->import);
    d->import.name = d->name;
    return d->name || zi_error_no_memory(error, strlen(d->base));
}

/* Sets *path to the target of the result, in new memory; its section's folder may be missing.
 * Without a conversion it is a guess (section pytorch): the section is known only after the
 * download. ZI_ERROR_EXISTS: the target exists. After a failure *path is unchanged. */
static bool make_result_path(const model_download *d, char **path, zi_error *error)
{
    zi_layout_kind layout = d->import.layout ? d->import.layout : ZI_LAYOUT_DIFFUSERS;
    return zi_import_target_path(d->registry, &d->import, zi_section_of_layout(layout), path,
                                 error);
}

/* ---- downloading ---- */

/* Download callback: passes progress on to the caller's callback. False, which cancels the
 * download: that callback returned false, or the conversion has failed. */
static bool report_download(void *user, const zi_hub_progress *progress)
{
    const model_download *d = user;
    const zi_download_options *o = d->options;
    return !zi_streaming_conversion_failed(d->conversion) &&
           (!o->progress || o->progress(o->user, progress));
}

/* Locks the partial download's folder and downloads into it, converting on the way if possible.
 * *converted: the converted model, owned by d->conversion, or NULL if `original`, which is set, is
 * to be imported; undefined after a failure. The caller frees original->path, after a failure,
 * too. */
static bool download_files(model_download *d, zi_download_result *original, const char **converted,
                           zi_error *error)
{
    zi_download_options o = *d->options;
    o.local_dir = d->partial.path;
    o.progress = report_download;
    o.user = d;
    if (!zi_partial_download_lock(&d->partial, error) ||
        !zi_hub_find_cached(&d->registry->options.hub, "tokenizer", &d->tokenizer, error) ||
        !zi_streaming_conversion_create(d->partial.path, &d->import, d->tokenizer, &d->conversion,
                                        error))
        return false;
    bool ok =
        zi_download_with_hooks(&o, zi_streaming_conversion_hooks(d->conversion), original, error);
    return zi_streaming_conversion_finish(d->conversion, ok, converted, error);
}

/* ---- putting the result into its place ---- */

/* Imports the downloaded model, with a conversion if wanted: moves it, or copies it if it lies in
 * the hub's cache. *path: where it is, in new memory; unchanged after a failure. */
static bool import_original(const model_download *d, const zi_download_result *original,
                            char **path, zi_error *error)
{
    zi_import_options o = d->import;
    o.source = original->path;
    o.mode = original->from_cache ? ZI_IMPORT_COPY : ZI_IMPORT_MOVE;
    return zi_registry_import(d->registry, &o, path, error);
}

/* Moves the converted model to its place, which must be free. *path: where that is, in new memory;
 * unchanged after a failure. */
static bool move_converted(const model_download *d, const char *converted, char **path,
                           zi_error *error)
{
    zi_import_options o = d->import;
    char *to = NULL;
    o.source = converted;
    if (!make_result_path(d, &to, error)) return false;
    if (zi_make_parent_folders(to, error) && zi_import_move_source(&o, to, error)) {
        *path = to;
        return true;
    }
    free(to);
    return false;
}

/* Takes the model from the hub's cache or downloads it, converts it if wanted, and moves it to its
 * place. Then deletes the partial download, which stays after a failure. False also when that
 * cannot be deleted. The caller frees out->path, the model's place, after false, too. */
static bool run_download(model_download *d, zi_download_result *out, zi_error *error)
{
    const zi_download_options *o = d->options;
    const char *converted = NULL;
    char *path = NULL;
    if (!set_names(d, error) || !make_result_path(d, &path, error)) return false;
    free(path);
    path = NULL;
    bool ok = o->file || zi_hub_find_cached(&o->hub, o->repo, &out->path, error);
    out->from_cache = ok && out->path;
    if (ok && !out->from_cache) ok = download_files(d, out, &converted, error);
    ok = ok &&
         (converted ? move_converted(d, converted, &path, error)
                    : import_original(d, out, &path, error)) &&
         (out->from_cache || zi_partial_download_delete_files(&d->partial, error));
    free(out->path);
    out->path = path;
    return ok;
}

/* Downloads a tokenizer, which stays in the hub's cache: it is no model, and models without one
 * find it there. Fails with ZI_ERROR_INVALID_ARGUMENT for a conversion or a name. */
static bool download_tokenizer(const zi_download_options *options, const zi_import_options *import,
                               zi_download_result *out, zi_error *error)
{
    if (import->layout || import->precision || import->name)
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                               import->layout      ? "layout"
                               : import->precision ? "precision"
                                                   : "name",
                               "does not apply to a tokenizer, which is not converted and stays in "
                               "the cache of Hugging Face; leave it out");
    if (!zi_download(options, out, error)) return false;
    out->tokenizer = true;
    return true;
}

/* Whether options->repo names the tokenizer alone. */
static bool is_tokenizer(const zi_download_options *options)
{
    zi_repo_id id;
    if (!zi_repo_id_parse(options->repo, &id, NULL)) return false;
    bool is = id.tokenizer;
    zi_repo_id_free(&id);
    return is;
}

bool zi_registry_download(zi_registry *registry, const zi_download_options *options,
                          const zi_import_options *import, zi_download_result *out, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error) || !ZI_CHECK_RESERVED(import, error)) return false;
    if (is_tokenizer(options)) return download_tokenizer(options, import, out, error);
    model_download d = {
        .registry = registry, .options = options, .import = *import, .partial.lock = -1};
    zi_download_result result = {0};
    bool had_folder = zi_is_dir(registry->options.folder);
    bool ok = run_download(&d, &result, error);
    if (ok)
        *out = result;
    else
        free(result.path);
    if (d.partial.lock >= 0 && !zi_is_dir(d.partial.path)) { /* nothing to resume */
        (void)!zi_partial_download_delete_files(&d.partial, NULL);
        if (!had_folder) rmdir(registry->options.folder); /* fails unless it is empty */
    }
    zi_streaming_conversion_free(d.conversion);
    zi_partial_download_free(&d.partial);
    free(d.tokenizer);
    free(d.name);
    free(d.base);
    return ok;
}
