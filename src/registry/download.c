/* zi_registry_download: models that come into the models folder from a hub. */
#include "base/file.h"
#include "hub/address.h"
#include "hub/cache.h"
#include "registry/arrival.h"
#include "registry/incoming.h"
#include "registry/registry.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    zi_registry *registry;
    const zi_download_options *options;
    zi_import_options import; /* with a name */
    char *base;               /* of the repository */
    char *name;
    zi_partial_download incoming; /* where an interrupted one goes on */
    zi_streaming_conversion *arrival;
} fetching;

/* ---- names ---- */

/* The name that a repository's model gets, if none was given. */
static char *repo_base(const zi_download_options *options, zi_error *error)
{
    zi_repo_id name;
    if (!zi_repo_id_parse(options->repo, &name, error)) return NULL;
    char *base = zi_path_basename(name.repo);
    if (!base) zi_error_no_memory(error, strlen(name.repo));
    zi_repo_id_free(&name);
    return base;
}

static bool name_all(fetching *f, zi_error *error)
{
    f->base = repo_base(f->options, error);
    if (!f->base) return false;
    f->import.source = f->base;
    f->import.convert = f->import.layout || f->import.precision;
    f->name = zi_import_target_name(&f->import);
    f->import.name = f->name;
    return zi_partial_download_init(f->registry->options.folder, f->base, &f->incoming, error) &&
           (f->name || zi_error_no_memory(error, strlen(f->base)));
}

/* Where the result is to be, in new memory; known before anything is fetched. A model as it is
 * finds its shelf when it is there. */
static bool settle(const fetching *f, char **path, zi_error *error)
{
    zi_layout_kind layout = f->import.layout ? f->import.layout : ZI_LAYOUT_DIFFUSERS;
    return zi_import_target_path(f->registry, &f->import, zi_section_of_layout(layout), path,
                                 error);
}

/* ---- fetching ---- */

static bool watch(void *user, const zi_hub_progress *progress)
{
    const fetching *f = user;
    const zi_download_options *o = f->options;
    return !zi_streaming_conversion_failed(f->arrival) &&
           (!o->progress || o->progress(o->user, progress));
}

/* *made is what was converted on the way, if it was. */
static bool fetch(fetching *f, zi_download_result *original, const char **made, zi_error *error)
{
    zi_download_options o = *f->options;
    o.local_dir = f->incoming.path;
    o.progress = watch;
    o.user = f;
    if (!zi_partial_download_lock(&f->incoming, error) ||
        !zi_streaming_conversion_create(f->incoming.path, &f->import, &f->arrival, error))
        return false;
    bool ok =
        zi_download_with_hooks(&o, zi_streaming_conversion_hooks(f->arrival), original, error);
    return zi_streaming_conversion_finish(f->arrival, ok, made, error);
}

/* ---- what is made of it ---- */

/* What lies in the cache stays there. */
static bool put_original(const fetching *f, const zi_download_result *original, char **path,
                         zi_error *error)
{
    zi_import_options o = f->import;
    o.source = original->path;
    o.mode = original->from_cache ? ZI_IMPORT_COPY : ZI_IMPORT_MOVE;
    return zi_registry_import(f->registry, &o, path, error);
}

static bool put_made(const fetching *f, const char *made, char **path, zi_error *error)
{
    zi_import_options o = f->import;
    char *to = NULL;
    o.source = made;
    if (!settle(f, &to, error)) return false;
    if (zi_import_move_source(&o, to, error)) {
        *path = to;
        return true;
    }
    free(to);
    return false;
}

static bool run(fetching *f, zi_download_result *out, zi_error *error)
{
    const zi_download_options *o = f->options;
    const char *made = NULL;
    char *path = NULL;
    if (!name_all(f, error) || !settle(f, &path, error)) return false;
    free(path);
    path = NULL;
    bool ok = o->file || zi_hub_find_cached(&o->hub, o->repo, &out->path, error);
    out->from_cache = ok && out->path;
    if (ok && !out->from_cache) ok = fetch(f, out, &made, error);
    ok = ok && (made ? put_made(f, made, &path, error) : put_original(f, out, &path, error)) &&
         (out->from_cache || zi_partial_download_delete_files(&f->incoming, error));
    free(out->path);
    out->path = path;
    return ok;
}

bool zi_registry_download(zi_registry *registry, const zi_download_options *options,
                          const zi_import_options *import, zi_download_result *out, zi_error *error)
{
    fetching f = {.registry = registry, .options = options, .import = *import, .incoming.lock = -1};
    zi_download_result result = {0};
    bool ok = run(&f, &result, error);
    if (ok)
        *out = result;
    else
        free(result.path);
    if (f.incoming.lock >= 0 && !zi_is_dir(f.incoming.path)) /* it goes on nowhere */
        (void)!zi_partial_download_delete_files(&f.incoming, NULL);
    zi_streaming_conversion_free(f.arrival);
    zi_partial_download_free(&f.incoming);
    free(f.name);
    free(f.base);
    return ok;
}
