/* zi_download: what a repository holds, what of it is there, and the rest of it fetched. */
#include "base/file.h"
#include "base/text.h"
#include "hub/cache.h"
#include "hub/disk.h"
#include "hub/guide.h"
#include "hub/headers.h"
#include "hub/listing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct {
    const zi_download_options *options;
    const zi_download_hooks *guide; /* NULL: none */
    const zi_hub *hub;
    zi_repo_id name;
    zi_http_client client;
    zi_repo_info listing;
    zi_transfer_file *wanted; /* [listing.count]; those that are not there come first */
    size_t missing;
    uint64_t bytes;        /* still to come */
    uint64_t before, size; /* of what is missing: what came before the transfer, and all of it */
} download;

static bool should_continue(void *user)
{
    const download *d = user;
    const zi_hub_progress none = {0};
    return !d->options->progress || d->options->progress(d->options->user, &none);
}

/* ---- where files go ---- */

static char *format_path(const char *format, const char *a, const char *b, const char *c)
{
    zi_text text;
    zi_text_init(&text, 8192);
    zi_text_printf(&text, format, a, b, c);
    return zi_text_take(&text);
}

/* DIR/.cache/huggingface/download/NAME and what is said of it: huggingface_hub keeps there what it
 * knows of files in a folder. */
static char *local_record(const download *d, const zi_repo_file *file, const char *end)
{
    return format_path("%s/.cache/huggingface/download/%s%s", d->options->local_dir, file->name,
                       end);
}

static bool name_local(const download *d, const zi_repo_file *file, zi_transfer_file *w)
{
    char end[ZI_DIGEST_HEX_SIZE + 16];
    snprintf(end, sizeof end, ".%s.incomplete", file->digest);
    w->target = zi_path_join(d->options->local_dir, file->name);
    w->partial = local_record(d, file, end);
    w->lock = local_record(d, file, ".lock");
    return w->target && w->partial && w->lock;
}

static bool name_cached(const download *d, const zi_repo_file *file, zi_transfer_file *w)
{
    w->target = zi_hub_cache_blob_path(d->hub, d->name.repo, file->digest);
    w->partial = w->target ? format_path("%s%s%s", w->target, ".incomplete", "") : NULL;
    w->lock = zi_hub_cache_lock_path(d->hub, d->name.repo, file->digest);
    return w->target && w->partial && w->lock;
}

/* ENDPOINT/OWNER/NAME/resolve/COMMIT/FILE */
static char *resolve_url(const download *d, const char *file)
{
    zi_text url;
    zi_text_init(&url, 8192);
    zi_text_printf(&url, "%s/%s/resolve/%s", d->client.endpoint, d->name.repo, d->listing.commit);
    for (const char *at = file; *at;) {
        size_t length = strcspn(at, "/");
        char *escaped = curl_easy_escape(NULL, at, (int)length);
        if (!escaped) url.failed = true;
        zi_text_printf(&url, "/%s", escaped ? escaped : "");
        curl_free(escaped);
        at += length + (at[length] == '/');
    }
    return zi_text_take(&url);
}

static bool name_file(const download *d, const zi_repo_file *file, zi_transfer_file *w,
                      zi_error *error)
{
    *w = (zi_transfer_file){.name = file->name,
                            .size = file->size,
                            .kind = file->kind,
                            .digest = file->digest,
                            .url = resolve_url(d, file->name)};
    bool named = d->options->local_dir ? name_local(d, file, w) : name_cached(d, file, w);
    return (named && w->url) || zi_error_no_memory(error, strlen(file->name));
}

static void free_wanted(zi_transfer_file *w)
{
    free(w->url);
    free(w->partial);
    free(w->target);
    free(w->lock);
}

/* ---- what is there ---- */

static uint64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
}

/* Whether a file of a local folder is the one that is wanted. A blob of the cache is by its name.
 */
static bool is_there(const download *d, const zi_transfer_file *w)
{
    char digest[ZI_DIGEST_HEX_SIZE];
    if (size_of(w->target) != w->size) return false;
    if (!d->options->local_dir) return true;
    if (d->guide && d->guide->is_used(d->guide->user, w)) return true;
    if (size_of(w->partial) != UINT64_MAX) return false; /* at its target is only its header */
    return zi_digest_file(w->target, w->kind, digest, NULL) && !strcmp(digest, w->digest);
}

/* Takes a file for a local folder out of the cache, if it has it. */
static bool take_from_cache(const download *d, const zi_transfer_file *w)
{
    char *blob = d->options->local_dir && d->hub->cache
                     ? zi_hub_cache_blob_path(d->hub, d->name.repo, w->digest)
                     : NULL;
    bool ok = blob && size_of(blob) == w->size && zi_make_parent_folders(w->target, NULL) &&
              zi_copy_file(blob, w->target, NULL, NULL, NULL);
    free(blob);
    return ok;
}

/* Largest first: the last one to end is then a small one. */
static int by_size(const void *a, const void *b)
{
    const zi_transfer_file *x = a, *y = b;
    return x->size == y->size ? strcmp(x->name, y->name) : x->size < y->size ? 1 : -1;
}

static bool plan(download *d, zi_error *error)
{
    d->wanted = calloc(d->listing.count + 1, sizeof *d->wanted);
    if (!d->wanted) return zi_error_no_memory(error, d->listing.count * sizeof *d->wanted);
    for (size_t i = 0; i < d->listing.count; i++) {
        zi_transfer_file w;
        bool ok = name_file(d, &d->listing.files[i], &w, error);
        d->wanted[i] = w;
        if (!ok || !should_continue(d)) return ok && zi_error_cancelled(error);
        if (is_there(d, &w) || take_from_cache(d, &w)) continue;
        w.replace = size_of(w.target) != UINT64_MAX;
        uint64_t part = size_of(w.partial);
        d->bytes += part <= w.size ? w.size - part : w.size;
        d->wanted[i] = d->wanted[d->missing];
        d->wanted[d->missing++] = w;
    }
    qsort(d->wanted, d->missing, sizeof *d->wanted, by_size);
    return true;
}

/* Two names with the same content are one blob. */
static void drop_twins(download *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->missing; i++) {
        bool twin = false;
        for (size_t j = 0; j < kept && !twin; j++)
            twin = !strcmp(d->wanted[j].target, d->wanted[i].target);
        if (twin) continue;
        zi_transfer_file w = d->wanted[i];
        d->wanted[i] = d->wanted[kept];
        d->wanted[kept++] = w;
    }
    d->missing = kept;
}

static bool has_room(const download *d, zi_error *error)
{
    const char *place = d->options->local_dir ? d->options->local_dir : d->hub->cache;
    return zi_disk_check_free(place, d->bytes, "what is to be fetched", error);
}

static bool make_folders(const download *d, zi_error *error)
{
    for (size_t i = 0; i < d->missing; i++)
        if (!zi_make_parent_folders(d->wanted[i].partial, error) ||
            !zi_make_parent_folders(d->wanted[i].lock, error))
            return false;
    return true;
}

/* Of a transfer that is a part of all. */
static bool report_part(void *user, const zi_hub_progress *progress)
{
    const download *d = user;
    zi_hub_progress all = *progress;
    all.done += d->before;
    all.size = d->size;
    all.finished = 0;
    return !d->options->progress || d->options->progress(d->options->user, &all);
}

/* Puts the weights before the rest; returns how many there are. */
static size_t weights_first(download *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->missing; i++) {
        zi_transfer_file w = d->wanted[i];
        if (!zi_is_safetensors_name(w.name)) continue;
        d->wanted[i] = d->wanted[count];
        d->wanted[count++] = w;
    }
    return count;
}

/* Headers and small files before all others, for the guide to know what comes. */
static bool fetch_foreword(download *d, const zi_transfer *all, uint64_t *fetched, zi_error *error)
{
    const zi_download_hooks *guide = d->guide;
    size_t weights = weights_first(d);
    bool lean = false;
    zi_transfer part = *all;
    part.progress = report_part;
    part.user = d;
    part.gate = NULL;
    part.files = d->wanted + weights;
    part.count = d->missing - weights;
    for (size_t i = 0; i < d->missing; i++) d->size += d->wanted[i].size;
    bool ok = zi_transfer_run(&part, error);
    for (size_t i = weights; i < d->missing; i++) d->before += d->wanted[i].size;
    ok = ok && zi_headers_fetch(&part, d->wanted, weights, error);
    *fetched = part.fetched;
    return ok &&
           guide->begin(guide->user, d->options->local_dir, d->wanted, weights, &lean, error) &&
           (lean || has_room(d, error));
}

static bool fetch(download *d, uint64_t *fetched, zi_error *error)
{
    const zi_download_options *o = d->options;
    uint64_t before = 0;
    zi_transfer transfer = {.client = &d->client,
                            .repo = d->name.repo,
                            .commit = d->listing.commit,
                            .files = d->wanted,
                            .count = d->missing,
                            .progress = o->progress,
                            .user = o->user,
                            .gate = d->guide ? &d->guide->gate : NULL};
    if (!d->missing && !d->guide) return true;
    if ((!d->guide && !has_room(d, error)) || !make_folders(d, error)) return false;
    d->client.should_continue = NULL; /* the transfer asks itself */
    bool ok = (!d->guide || fetch_foreword(d, &transfer, &before, error)) &&
              zi_transfer_run(&transfer, error);
    *fetched = before + transfer.fetched;
    return ok;
}

/* ---- what is made of it ---- */

/* A snapshot gets its files when all are there, so that one that is there is whole. */
static bool link_snapshot(const download *d, zi_error *error)
{
    const zi_repo_info *listing = &d->listing;
    bool ok = true;
    for (size_t i = 0; ok && i < listing->count; i++)
        ok = zi_hub_cache_link_file(d->hub, d->name.repo, listing->commit, listing->files[i].name,
                                    listing->files[i].digest, error);
    return ok &&
           zi_hub_cache_write_ref(d->hub, d->name.repo, d->name.revision, listing->commit, error);
}

/* Three lines: commit, etag and when that was so. */
static bool record_local(const download *d, zi_error *error)
{
    bool ok = true;
    for (size_t i = 0; ok && i < d->listing.count; i++) {
        const zi_repo_file *file = &d->listing.files[i];
        char text[200], *path = local_record(d, file, ".metadata");
        int size = snprintf(text, sizeof text, "%s\n%s\n%lld.0\n", d->listing.commit, file->digest,
                            (long long)time(NULL));
        zi_output output = {0};
        ok = path || zi_error_no_memory(error, strlen(file->name));
        ok = ok && zi_make_parent_folders(path, error) && zi_output_open(&output, path, error) &&
             zi_output_write(&output, text, (size_t)size, error) &&
             zi_output_commit(&output, error);
        zi_output_discard(&output);
        free(path);
    }
    return ok;
}

static bool finish(const download *d, zi_download_result *out, zi_error *error)
{
    const zi_download_options *o = d->options;
    if (!(o->local_dir ? record_local(d, error) : link_snapshot(d, error))) return false;
    char *folder = o->local_dir
                       ? strdup(o->local_dir)
                       : zi_hub_cache_snapshot_path(d->hub, d->name.repo, d->listing.commit);
    out->path = folder && o->file ? zi_path_join(folder, o->file) : folder;
    if (out->path != folder) free(folder);
    return out->path || zi_error_no_memory(error, 1);
}

/* What the cache has, when the hub cannot be asked. False: nothing that would do. */
static bool use_cache(const download *d, zi_download_result *out)
{
    char *snapshot = d->hub->cache ? zi_hub_cache_find_snapshot(d->hub, &d->name) : NULL;
    if (!snapshot || d->options->local_dir) {
        free(snapshot);
        return false;
    }
    const char *file = d->options->file;
    char *path = file ? zi_path_join(snapshot, file) : strdup(snapshot);
    bool ok = path && (file ? zi_is_file(path) : zi_snapshot_is_complete(path));
    free(snapshot);
    if (ok)
        *out = (zi_download_result){.path = path, .from_cache = true};
    else
        free(path);
    return ok;
}

static bool run(download *d, zi_download_result *out, zi_error *error)
{
    const char *repo = d->name.repo;
    bool reached = false;
    if (d->hub->offline)
        return use_cache(d, out) ||
               zi_error_set(error, ZI_ERROR_NOT_FOUND, repo,
                            "not in the cache %s as a whole, and HF_HUB_OFFLINE is set",
                            d->hub->cache);
    if (!zi_http_client_open(&d->client, d->hub, error)) return false;
    d->client.should_continue = should_continue;
    d->client.user = d;
    if (!zi_repo_info_fetch(&d->client, repo, d->name.revision, &d->listing, &reached, error))
        return !reached && error->code != ZI_ERROR_CANCELLED && use_cache(d, out);
    if (!zi_repo_info_select_files(&d->listing, repo, d->options->file, error)) return false;
    if (d->guide && !d->guide->suits(d->guide->user, &d->listing)) d->guide = NULL;
    if (!plan(d, error)) return false;
    drop_twins(d);
    return fetch(d, &out->fetched, error) && finish(d, out, error);
}

bool zi_download_with_hooks(const zi_download_options *options, const zi_download_hooks *guide,
                            zi_download_result *out, zi_error *error)
{
    download d = {.options = options, .guide = guide, .hub = &options->hub};
    zi_error why = {0};
    zi_download_result result = {0};
    if (!options->local_dir && !options->hub.cache)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "neither a cache nor a folder was named to put files in");
    bool ok = zi_repo_id_parse(options->repo, &d.name, &why) && run(&d, &result, &why);
    for (size_t i = 0; d.wanted && i < d.listing.count; i++) free_wanted(&d.wanted[i]);
    free(d.wanted);
    zi_repo_info_free(&d.listing);
    if (d.client.endpoint) zi_http_client_close(&d.client);
    zi_repo_id_free(&d.name);
    if (ok)
        *out = result;
    else if (error)
        *error = why;
    return ok;
}

bool zi_download(const zi_download_options *options, zi_download_result *out, zi_error *error)
{
    return zi_download_with_hooks(options, NULL, out, error);
}
