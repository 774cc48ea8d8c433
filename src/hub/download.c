/* zi_download: compares the list of files with the disk, and fetches what is missing. */
#include "hub/download.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "hub/cache.h"
#include "io/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    const zi_download_options *options;
    const zi_download_hooks *hooks; /* NULL: none */
    const zi_hub *hub;
    zi_repo_id id;
    zi_http_client client;
    zi_repo_info info;
    zi_transfer_file *files; /* [info.count]; the missing ones come first */
    size_t missing;
    uint64_t missing_bytes; /* bytes to fetch of them, without what partial files already have */
    /* With hooks, for progress: sizes of the files that earlier transfers have completed, and of
     * all missing files. */
    uint64_t completed_size, missing_size;
} download;

/* Calls the user's progress callback, if any, with a progress of zeros, to ask whether to go on.
 * False: it cancels. user: the download. */
static bool should_continue(void *user)
{
    const download *d = user;
    const zi_hub_progress none = {0};
    return !d->options->progress || d->options->progress(d->options->user, &none);
}

/* ---- paths and URLs ---- */

/* Formats three strings into new memory, to be freed by the caller. NULL: memory is short or the
 * text longer than 8192 bytes. */
static char *format_path(const char *format, const char *a, const char *b, const char *c)
{
    zi_text text;
    zi_text_init(&text, 8192);
    zi_text_printf(&text, format, a, b, c);
    return zi_text_take(&text);
}

/* Returns DIR/.cache/huggingface/download/NAME and a suffix, where huggingface_hub keeps metadata,
 * locks and partial files of a local folder, in new memory. NULL: memory is short or it is too
 * long. */
static char *local_metadata_path(const download *d, const zi_repo_file *file, const char *suffix)
{
    return format_path("%s/.cache/huggingface/download/%s%s", d->options->local_dir, file->name,
                       suffix);
}

/* Sets target, partial and lock path of a file in a local folder, in new memory. False: memory is
 * short or a path too long; those that were made must still be freed. */
static bool set_local_paths(const download *d, const zi_repo_file *file, zi_transfer_file *t)
{
    char suffix[ZI_DIGEST_HEX_SIZE + 16];
    snprintf(suffix, sizeof suffix, ".%s.incomplete", file->digest);
    t->target_path = zi_path_join(d->options->local_dir, file->name);
    t->partial_path = local_metadata_path(d, file, suffix);
    t->lock_path = local_metadata_path(d, file, ".lock");
    return t->target_path && t->partial_path && t->lock_path;
}

/* Sets target (a blob), partial and lock path of a file in the hub's cache, in new memory. False:
 * memory is short or a path too long; those that were made must still be freed. */
static bool set_cache_paths(const download *d, const zi_repo_file *file, zi_transfer_file *t)
{
    t->target_path = zi_hub_cache_blob_path(d->hub, d->id.repo, file->digest);
    t->partial_path =
        t->target_path ? format_path("%s%s%s", t->target_path, ".incomplete", "") : NULL;
    t->lock_path = zi_hub_cache_lock_path(d->hub, d->id.repo, file->digest);
    return t->target_path && t->partial_path && t->lock_path;
}

/* Returns the URL ENDPOINT/OWNER/NAME/resolve/COMMIT/FILE, with the file's name percent-encoded
 * except for its slashes, in new memory. NULL: memory is short or it is too long. */
static char *resolve_url(const download *d, const char *file)
{
    zi_text url;
    zi_text_init(&url, 8192);
    zi_text_printf(&url, "%s/%s/resolve/%s", d->client.endpoint, d->id.repo, d->info.commit);
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

/* Fills *t with the URL and the paths in the local folder or the cache, in new memory; name and
 * digest are borrowed from `file`. Free it with free_transfer_file, also after false (memory is
 * short, or a path or the URL too long; both are ZI_ERROR_NO_MEMORY). */
static bool init_transfer_file(const download *d, const zi_repo_file *file, zi_transfer_file *t,
                               zi_error *error)
{
    *t = (zi_transfer_file){.name = file->name,
                            .size = file->size,
                            .kind = file->kind,
                            .digest = file->digest,
                            .url = resolve_url(d, file->name)};
    bool ok = d->options->local_dir ? set_local_paths(d, file, t) : set_cache_paths(d, file, t);
    return (ok && t->url) || zi_error_no_memory(error, strlen(file->name));
}

/* Frees the URL and the paths, which may be NULL, not the struct itself (not NULL). */
static void free_transfer_file(zi_transfer_file *t)
{
    free(t->url);
    free(t->partial_path);
    free(t->target_path);
    free(t->lock_path);
}

/* ---- what is missing ---- */

/* Returns the size in bytes of the file, or of the one that a link leads to; UINT64_MAX: there is
 * no regular file. */
static uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
}

/* Whether the file, with the right size, is at its target path. In a local folder its digest must
 * be right, too (the file is read; if it cannot be, no), or a hook must say that it was consumed; a
 * partial file beside it means no. A blob in the cache is trusted by its name. */
static bool is_downloaded(const download *d, const zi_transfer_file *t)
{
    char digest[ZI_DIGEST_HEX_SIZE];
    if (file_size(t->target_path) != t->size) return false;
    if (!d->options->local_dir) return true;
    if (d->hooks && d->hooks->is_consumed(d->hooks->user, t)) return true;
    if (file_size(t->partial_path) != UINT64_MAX)
        return false; /* the target is a sparse file with a header */
    return zi_digest_file(t->target_path, t->kind, digest, NULL) && !strcmp(digest, t->digest);
}

/* Copies a file into the local folder from the hub's cache, unchecked but for its size, and without
 * asking progress. True: it was copied. False: no local folder, not in the cache, something at the
 * target path, or an error, which is not reported. */
static bool copy_from_cache(const download *d, const zi_transfer_file *t)
{
    char *blob = d->options->local_dir && d->hub->cache
                     ? zi_hub_cache_blob_path(d->hub, d->id.repo, t->digest)
                     : NULL;
    bool ok = blob && file_size(blob) == t->size && zi_make_parent_folders(t->target_path, NULL) &&
              zi_copy_file(blob, t->target_path, NULL, NULL, NULL);
    free(blob);
    return ok;
}

/* Comparison for qsort of zi_transfer_file: largest first, so that small files fill the gaps at the
 * end; equal sizes by name. */
static int compare_sizes(const void *a, const void *b)
{
    const zi_transfer_file *x = a, *y = b;
    return x->size == y->size ? strcmp(x->name, y->name) : x->size < y->size ? 1 : -1;
}

/* Fills d->files, copies files from the cache that are there, and moves the missing ones to the
 * front, largest first. Sets d->missing (their number) and their `replace`: whether a file is at
 * the target path. False with an error: memory is short, or the user cancelled; the caller frees
 * d->files in any case. */
static bool find_missing(download *d, zi_error *error)
{
    d->files = calloc(d->info.count + 1, sizeof *d->files);
    if (!d->files) return zi_error_no_memory(error, d->info.count * sizeof *d->files);
    for (size_t i = 0; i < d->info.count; i++) {
        zi_transfer_file t;
        bool ok = init_transfer_file(d, &d->info.files[i], &t, error);
        d->files[i] = t;
        if (!ok || !should_continue(d)) return ok && zi_error_cancelled(error);
        if (is_downloaded(d, &t) || copy_from_cache(d, &t)) continue;
        t.replace = file_size(t.target_path) != UINT64_MAX;
        d->files[i] = d->files[d->missing];
        d->files[d->missing++] = t;
    }
    qsort(d->files, d->missing, sizeof *d->files, compare_sizes);
    return true;
}

/* Lowers d->missing so that each target path occurs once among the first d->missing files: files
 * with equal contents are one blob in the cache, to be fetched once. Others move behind them.
 * d->missing_bytes still counts all. */
static void deduplicate_blobs(download *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->missing; i++) {
        bool duplicate = false;
        for (size_t j = 0; j < kept && !duplicate; j++)
            duplicate = !strcmp(d->files[j].target_path, d->files[i].target_path);
        if (duplicate) continue;
        zi_transfer_file t = d->files[i];
        d->files[i] = d->files[kept];
        d->files[kept++] = t;
    }
    d->missing = kept;
}

/* Sets d->missing_bytes to the bytes to fetch of the missing files, without those that their
 * partial files have; one that is too long counts as none. */
static void count_missing_bytes(download *d)
{
    d->missing_bytes = 0;
    for (size_t i = 0; i < d->missing; i++) {
        uint64_t size = d->files[i].size, partial = file_size(d->files[i].partial_path);
        d->missing_bytes += partial <= size ? size - partial : size;
    }
}

/* Fails (ZI_ERROR_IO) when the disk of the local folder or the cache has less space than
 * d->missing_bytes, or when that cannot be found out. */
static bool check_disk_space(const download *d, zi_error *error)
{
    const char *path = d->options->local_dir ? d->options->local_dir : d->hub->cache;
    return zi_disk_check_free(path, d->missing_bytes, "the download", error);
}

/* Makes the folders of all missing files' partial and lock paths. Those of the target paths are not
 * made. */
static bool make_folders(const download *d, zi_error *error)
{
    for (size_t i = 0; i < d->missing; i++)
        if (!zi_make_parent_folders(d->files[i].partial_path, error) ||
            !zi_make_parent_folders(d->files[i].lock_path, error))
            return false;
    return true;
}

/* ---- headers of safetensors files ---- */

/* Bytes of a file that are fetched at first: more than the headers of published models have. */
static const uint64_t usual_header_size = 1 << 20;

/* Reads the first `size` bytes of the file; its position stays. path is for the error. False, with
 * ZI_ERROR_IO: a read failed, or the file is shorter. */
static bool read_prefix(int fd, void *data, uint64_t size, const char *path, zi_error *error)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t n = pread(fd, (char *)data + done, (size_t)(size - done), (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return zi_error_set(error, ZI_ERROR_IO, path,
                                "cannot read: %s; start the download again",
                                n ? strerror(errno) : "the file is shorter than its header says");
        done += (uint64_t)n;
    }
    return true;
}

/* Sets *out to the bytes of the header, its length field of 8 bytes included, of a safetensors file
 * that has, or will have, `size` bytes. Reads only the length field. path is for the error;
 * ZI_ERROR_BAD_FORMAT: no such header, or it is longer than the file. After false *out is of no
 * use. */
static bool read_header_size(int fd, const char *path, uint64_t size, uint64_t *out,
                             zi_error *error)
{
    uint8_t bytes[ZI_SAFETENSORS_LENGTH];
    if (size < sizeof bytes)
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, path,
            "not a safetensors file: it has only %" PRIu64
            " bytes; the file is damaged in the repository: use another repository or revision",
            size);
    if (!read_prefix(fd, bytes, sizeof bytes, path, error)) return false;
    *out = zi_safetensors_data_offset(bytes);
    return (*out && *out <= size) ||
           zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                        "not a safetensors file: its header is longer than the file; it is "
                        "damaged: use another repository or revision of this model");
}

/* Truncates the file to header_size bytes and extends it to `size` bytes again, with a hole. After
 * a failure it may stay truncated. path is for the error. */
static bool replace_data_by_hole(int fd, const char *path, uint64_t header_size, uint64_t size,
                                 zi_error *error)
{
    return (ftruncate(fd, (off_t)header_size) == 0 && ftruncate(fd, (off_t)size) == 0) ||
           zi_error_set(error, ZI_ERROR_IO, path, "cannot write: %s", strerror(errno));
}

/* Deletes the file at path, if any, and writes a sparse one of `size` bytes that has only the
 * header. After a failure there is none, an incomplete one, or, if it cannot be deleted, the old
 * one. */
static bool write_header_file(const char *path, const void *header, uint64_t header_size,
                              uint64_t size, zi_error *error)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool ok = fd >= 0 && pwrite(fd, header, (size_t)header_size, 0) == (ssize_t)header_size;
    if (!ok) zi_file_cannot_write(error, path);
    ok = ok && replace_data_by_hole(fd, path, header_size, size, error);
    if (fd >= 0) close(fd);
    return ok;
}

/* Opens the partial file for reading, and sets t->prefix_size to its safetensors header's size, the
 * 8 bytes of its length included, and t->replace to true. Without one the file is complete: then
 * only replace is set, to false, *fd is below 0, and the result true. The caller closes *fd if it
 * is not below 0, also after false. */
static bool open_partial(zi_transfer_file *t, int *fd, zi_error *error)
{
    *fd = open(t->partial_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    t->replace = *fd >= 0;
    if (*fd < 0 && errno == ENOENT) return true; /* complete */
    if (*fd < 0) return zi_file_cannot_open(error, t->partial_path);
    return read_header_size(*fd, t->name, t->size, &t->prefix_size, error);
}

/* Sets t->prefix_size to the size of the header in the partial file, its length field included, and
 * t->replace to true. Without a partial file the file is complete: sets only replace to false.
 * False with an error: an unreadable file or header. */
static bool set_header_size(zi_transfer_file *t, zi_error *error)
{
    int fd;
    bool ok = open_partial(t, &fd, error);
    if (fd >= 0) close(fd);
    return ok;
}

/* Puts a sparse file with only the header, read from the partial file, at the target path, in place
 * of what is there, and sets t->prefix_size and t->replace to true. Without a partial file the file
 * is complete: sets only replace to false. After a failure the target may be missing or
 * incomplete. */
static bool write_placeholder(zi_transfer_file *t, zi_error *error)
{
    int fd;
    void *data = NULL;
    bool ok = open_partial(t, &fd, error);
    if (ok && t->replace) {
        data = malloc((size_t)t->prefix_size);
        ok = (data || zi_error_no_memory(error, (size_t)t->prefix_size)) &&
             read_prefix(fd, data, t->prefix_size, t->partial_path, error) &&
             zi_make_parent_folders(t->target_path, error) &&
             write_header_file(t->target_path, data, t->prefix_size, t->size, error);
    }
    free(data);
    if (fd >= 0) close(fd);
    return ok;
}

/* Fetches the headers of these safetensors files with the settings of *transfer. Afterwards
 * partial_path has at least the header and target_path a sparse file with it; files below 1 MiB are
 * complete. Sets their `replace`, and prefix_size to 0, and adds to transfer->fetched, also on
 * failure. */
static bool fetch_headers(zi_transfer *transfer, zi_transfer_file *files, size_t count,
                          zi_error *error)
{
    zi_transfer subset = *transfer;
    subset.files = files;
    subset.count = count;
    for (size_t i = 0; i < count; i++) files[i].prefix_size = usual_header_size;
    bool ok = zi_transfer_run(&subset, error);
    for (size_t i = 0; ok && i < count; i++) ok = set_header_size(&files[i], error);
    ok = ok && zi_transfer_run(&subset, error); /* headers that are longer */
    for (size_t i = 0; ok && i < count; i++) ok = write_placeholder(&files[i], error);
    for (size_t i = 0; i < count; i++) files[i].prefix_size = 0;
    transfer->fetched = subset.fetched;
    return ok;
}

bool zi_safetensors_drop_data(const char *path, zi_error *error)
{
    struct stat st;
    uint64_t header_size = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0) {
        zi_file_cannot_open(error, path);
        if (fd >= 0) close(fd);
        return false;
    }
    bool ok = read_header_size(fd, path, (uint64_t)st.st_size, &header_size, error) &&
              replace_data_by_hole(fd, path, header_size, (uint64_t)st.st_size, error);
    close(fd);
    return ok;
}

/* ---- fetching ---- */

/* Progress callback of a transfer of some of the missing files; user: the download. Tells the
 * user's callback bytes done and size of all missing files, the transfer's own files, and 0 as
 * finished. False: it cancels. */
static bool report_partial_transfer(void *user, const zi_hub_progress *progress)
{
    const download *d = user;
    zi_hub_progress all = *progress;
    all.done += d->completed_size;
    all.size = d->missing_size;
    all.finished = 0;
    return !d->options->progress || d->options->progress(d->options->user, &all);
}

/* Moves the safetensors files to the front of the missing ones, in their order; the others' order
 * may change. Returns how many they are. */
static size_t move_weights_first(download *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->missing; i++) {
        zi_transfer_file t = d->files[i];
        if (!zi_is_safetensors_name(t.name)) continue;
        d->files[i] = d->files[count];
        d->files[count++] = t;
    }
    return count;
}

/* Fetches the small files and the headers of the weights (now first in d->files), calls the hook
 * metadata_ready, and checks the disk space unless that sets `streaming`; the error may be the
 * hook's. Also on failure, adds bytes to d->missing_size and (small files, fetched or not)
 * completed_size, both 0 before, and sets *fetched to those received. all: the settings. */
static bool fetch_metadata(download *d, const zi_transfer *all, uint64_t *fetched, zi_error *error)
{
    const zi_download_hooks *hooks = d->hooks;
    size_t weights = move_weights_first(d);
    bool streaming = false;
    zi_transfer subset = *all;
    subset.progress = report_partial_transfer;
    subset.user = d;
    subset.hooks = NULL;
    subset.files = d->files + weights;
    subset.count = d->missing - weights;
    for (size_t i = 0; i < d->missing; i++) d->missing_size += d->files[i].size;
    bool ok = zi_transfer_run(&subset, error);
    for (size_t i = weights; i < d->missing; i++) d->completed_size += d->files[i].size;
    ok = ok && fetch_headers(&subset, d->files, weights, error);
    *fetched = subset.fetched;
    return ok &&
           hooks->metadata_ready(hooks->user, d->options->local_dir, d->files, weights, &streaming,
                                 error) &&
           (streaming || check_disk_space(d, error));
}

/* Makes folders, checks the disk space and fetches the missing files; with hooks, metadata first.
 * Sets *fetched to the bytes received, also when that fails. Does nothing if no file is missing and
 * there are no hooks. Leaves the client's should_continue NULL: the transfer calls progress
 * itself. */
static bool fetch_missing(download *d, uint64_t *fetched, zi_error *error)
{
    const zi_download_options *o = d->options;
    uint64_t metadata_bytes = 0;
    zi_transfer transfer = {.client = &d->client,
                            .repo = d->id.repo,
                            .commit = d->info.commit,
                            .files = d->files,
                            .count = d->missing,
                            .progress = o->progress,
                            .user = o->user,
                            .hooks = d->hooks ? &d->hooks->transfer : NULL};
    if (!d->missing && !d->hooks) return true;
    if ((!d->hooks && !check_disk_space(d, error)) || !make_folders(d, error)) return false;
    d->client.should_continue = NULL; /* the transfer calls progress itself */
    bool ok = (!d->hooks || fetch_metadata(d, &transfer, &metadata_bytes, error)) &&
              zi_transfer_run(&transfer, error);
    *fetched = metadata_bytes + transfer.fetched;
    return ok;
}

/* ---- after the transfer ---- */

/* Links the blobs, which must all be in the cache, into the snapshot's folder, and then writes the
 * ref of the revision. */
static bool link_snapshot(const download *d, zi_error *error)
{
    const zi_repo_info *info = &d->info;
    bool ok = true;
    for (size_t i = 0; ok && i < info->count; i++)
        ok = zi_hub_cache_link_file(d->hub, d->id.repo, info->commit, info->files[i].name,
                                    info->files[i].digest, error);
    return ok && zi_hub_cache_write_ref(d->hub, d->id.repo, d->id.revision, info->commit, error);
}

/* Writes huggingface_hub's metadata files of a local folder (commit, ETag and time in seconds since
 * 1970, a line each), and the folders that they need, for all selected files, each atomically and
 * over an existing one. After a failure those already written stay. */
static bool write_local_metadata(const download *d, zi_error *error)
{
    bool ok = true;
    for (size_t i = 0; ok && i < d->info.count; i++) {
        const zi_repo_file *file = &d->info.files[i];
        char text[200], *path = local_metadata_path(d, file, ".metadata");
        int size = snprintf(text, sizeof text, "%s\n%s\n%lld.0\n", d->info.commit, file->digest,
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

/* Writes the cache's links or the local folder's metadata, and sets out->path, and nothing else, to
 * the folder, or to options->file or the tokenizer in it, in new memory. On failure there is
 * nothing in *out to free. */
static bool finish_download(const download *d, zi_download_result *out, zi_error *error)
{
    const zi_download_options *o = d->options;
    if (!(o->local_dir ? write_local_metadata(d, error) : link_snapshot(d, error))) return false;
    char *folder = o->local_dir ? strdup(o->local_dir)
                                : zi_hub_cache_snapshot_path(d->hub, d->id.repo, d->info.commit);
    const char *part = o->file ? o->file : d->id.tokenizer ? "tokenizer" : NULL;
    out->path = folder && part ? zi_path_join(folder, part) : folder;
    if (out->path != folder) free(folder);
    return out->path || zi_error_no_memory(error, 1);
}

/* Sets *out to a complete snapshot in the cache, or to options->file or the tokenizer in one,
 * without asking the hub: path (new memory) and from_cache, all else 0. False (without an error):
 * there is none, memory is short, or a local folder is wanted; *out is unchanged then. */
static bool take_cached_snapshot(const download *d, zi_download_result *out)
{
    char *snapshot = d->hub->cache ? zi_hub_cache_find_snapshot(d->hub, &d->id) : NULL;
    if (!snapshot || d->options->local_dir) {
        free(snapshot);
        return false;
    }
    const char *file = d->options->file, *part = d->id.tokenizer ? "tokenizer" : file;
    char *path = part ? zi_path_join(snapshot, part) : strdup(snapshot);
    bool ok = path && (d->id.tokenizer ? zi_snapshot_has_tokenizer(snapshot)
                       : file          ? zi_is_file(path)
                                       : zi_snapshot_is_complete(path));
    free(snapshot);
    if (ok)
        *out = (zi_download_result){.path = path, .from_cache = true};
    else
        free(path);
    return ok;
}

/* Fails, offline, for a model that is not in the cache, or is wanted in a local folder. Always
 * returns false. */
static bool fail_offline(const download *d, zi_error *error)
{
    if (d->options->local_dir)
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, d->id.repo,
                            "cannot be downloaded to %s while the environment variable "
                            "HF_HUB_OFFLINE is set; unset it, and start again",
                            d->options->local_dir);
    return zi_error_set(error, ZI_ERROR_NOT_FOUND, d->id.repo,
                        "not complete in the cache %s, and the environment variable HF_HUB_OFFLINE "
                        "is set; unset it to download the model",
                        d->hub->cache);
}

/* Downloads what is missing and sets *out, zeroed before; offline, or when the hub is not reached,
 * takes the cache. error must not be NULL. The caller frees what *d has, also on failure, and
 * closes the client if it has an endpoint; *out then has nothing to free. If hooks->accepts says
 * no, d->hooks becomes NULL. */
static bool run_download(download *d, zi_download_result *out, zi_error *error)
{
    const char *repo = d->id.repo;
    bool reached = false;
    if (d->hub->offline) return take_cached_snapshot(d, out) || fail_offline(d, error);
    if (!zi_http_client_open(&d->client, d->hub, error)) return false;
    d->client.should_continue = should_continue;
    d->client.user = d;
    if (!zi_repo_info_fetch(&d->client, repo, d->id.revision, &d->info, &reached, error))
        return !reached && error->code != ZI_ERROR_CANCELLED && take_cached_snapshot(d, out);
    if (!(d->id.tokenizer ? zi_repo_info_select_tokenizer(&d->info, repo, error)
                          : zi_repo_info_select_files(&d->info, repo, d->options->file, error)))
        return false;
    if (d->hooks && !d->hooks->accepts(d->hooks->user, &d->info)) d->hooks = NULL;
    if (!find_missing(d, error)) return false;
    deduplicate_blobs(d);
    count_missing_bytes(d);
    return fetch_missing(d, &out->fetched, error) && finish_download(d, out, error);
}

bool zi_download_with_hooks(const zi_download_options *options, const zi_download_hooks *hooks,
                            zi_download_result *out, zi_error *error)
{
    download d = {.options = options, .hooks = hooks, .hub = &options->hub};
    zi_error why = {0};
    zi_download_result result = {0};
    if (!options->local_dir && !options->hub.cache)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                            "no folder to download to: neither local_dir nor the cache of Hugging "
                            "Face is set");
    bool ok = zi_repo_id_parse(options->repo, &d.id, &why);
    if (ok && d.id.tokenizer && options->file)
        ok = zi_error_set(&why, ZI_ERROR_INVALID_ARGUMENT, "file",
                          "cannot be used together with the name tokenizer; write the repository "
                          "%s in place of tokenizer",
                          d.id.repo);
    ok = ok && run_download(&d, &result, &why);
    for (size_t i = 0; d.files && i < d.info.count; i++) free_transfer_file(&d.files[i]);
    free(d.files);
    zi_repo_info_free(&d.info);
    if (d.client.endpoint) zi_http_client_close(&d.client);
    zi_repo_id_free(&d.id);
    if (ok)
        *out = result;
    else if (error)
        *error = why;
    return ok;
}

bool zi_download(const zi_download_options *options, zi_download_result *out, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error) || !ZI_CHECK_RESERVED(&options->hub, error))
        return false;
    return zi_download_with_hooks(options, NULL, out, error);
}
