#include "hub/transfer.h"
#include "base/file.h"
#include "base/filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ACTIVE = 6 /* files at a time */, RECEIVE_BUFFER = 512 << 10 /* bytes */ };

/* Bytes per range request. */
static const uint64_t max_range = 64 << 20;
/* Seconds between attempts to lock a file, and between progress reports. */
static const double lock_interval = 0.5, report_interval = 0.05;

typedef enum {
    WAITING,  /* to start, for a lock, or for the retry delay */
    ACTIVE,   /* a request is under way */
    CHECKING, /* all bytes have been received; the digest is being computed */
    DONE
} stage;

typedef struct {
    const zi_transfer_file *file;
    zi_transfer *transfer;
    zi_http_request request;
    stage stage;
    int fd, lock;
    zi_hash_writer *hasher;
    char *redirect_url;      /* to which the file's URL redirected; NULL: not known (any more) */
    int redirects, attempts; /* since the last retry; without progress */
    double not_before;       /* of now(): when a waiting job may start */
    uint64_t done;           /* bytes in the file */
    uint64_t range_end;      /* offset at which the requested range ends */
    bool resumed;            /* some of the bytes were there when the file was opened */
    bool accepted;  /* the response was checked: its body is the range that was requested */
    zi_error error; /* set by the write callback */
} job;

/* Returns seconds on the monotonic clock. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- opening and closing a file ---- */

/* Opens the lock file (j->lock), creating it if missing, and attempts to lock it, without blocking.
 * *taken false: another process has the lock, which is no error; j->lock stays open. False with
 * ZI_ERROR_IO: it cannot be opened, or its file system has no flock. */
static bool take_lock(job *j, bool *taken, zi_error *error)
{
    *taken = false;
    if (j->lock < 0) j->lock = open(j->file->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->lock < 0) return zi_file_cannot_write(error, j->file->lock_path);
    *taken = flock(j->lock, LOCK_EX | LOCK_NB) == 0;
    return *taken || errno == EWOULDBLOCK || errno == EINTR ||
           zi_error_set(error, ZI_ERROR_IO, j->file->lock_path,
                        "cannot be locked: %s; download to a folder on another disk",
                        strerror(errno));
}

/* Ends hashing, writes what is buffered (errors are ignored), closes the file and releases the lock
 * of a job (not NULL). Does nothing for what is not open; the job's stage stays. No request may be
 * under way. */
static void close_file(job *j)
{
    zi_hash_writer_stop(j->hasher);
    j->hasher = NULL;
    if (j->fd >= 0) close(j->fd);
    if (j->lock >= 0) close(j->lock);
    j->fd = j->lock = -1;
}

/* Ends j->hasher, if any, and starts a new one that writes at j->done and hashes what is before
 * from the file. After false j->hasher is NULL. */
static bool restart_writer(job *j, zi_error *error)
{
    zi_hash_writer_stop(j->hasher);
    j->hasher = NULL;
    return zi_hash_writer_start(j->fd, j->done, j->file->size, j->file->kind, &j->hasher, error);
}

/* Opens or creates the partial file, sets j->fd, j->done (its size) and j->resumed (not empty), and
 * starts the writer. One that is larger than the file is truncated to nothing. After false the
 * caller closes what is open (close_file). */
static bool open_partial(job *j, zi_error *error)
{
    struct stat st;
    j->fd = open(j->file->partial_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (j->fd < 0 || fstat(j->fd, &st) != 0)
        return zi_file_cannot_write(error, j->file->partial_path);
    if (!S_ISREG(st.st_mode))
        return zi_error_set(error, ZI_ERROR_IO, j->file->partial_path,
                            "cannot write here: something that is no file has this name; remove "
                            "it, then start the download again");
    j->done = (uint64_t)st.st_size;
    if (j->done > j->file->size) {
        j->done = 0;
        if (ftruncate(j->fd, 0) != 0)
            return zi_error_set(error, ZI_ERROR_IO, j->file->partial_path, "cannot write: %s",
                                strerror(errno));
    }
    j->resumed = j->done > 0;
    return restart_writer(j, error);
}

/* Discards what has been received: truncates the partial file to nothing, sets j->done to 0 and
 * j->resumed to false, and starts the writer anew. transfer->fetched stays. After false j->hasher
 * is NULL. */
static bool restart_from_zero(job *j, zi_error *error)
{
    zi_hash_writer_stop(j->hasher);
    j->hasher = NULL;
    j->done = 0;
    j->resumed = false;
    if (ftruncate(j->fd, 0) != 0)
        return zi_error_set(error, ZI_ERROR_IO, j->file->partial_path, "cannot write: %s",
                            strerror(errno));
    return restart_writer(j, error);
}

/* ---- responses ---- */

/* Checks Content-Range ("bytes 10-19/100") of a 206: it must begin at j->done and have the file's
 * size. The range may end before range_end, not after. False with ZI_ERROR_NETWORK. */
static bool check_content_range(job *j, zi_error *error)
{
    uint64_t first, last, total;
    const zi_transfer_file *file = j->file;
    char rest;
    if (sscanf(j->request.headers.content_range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64 "%c",
               &first, &last, &total, &rest) != 3)
        return zi_error_set(error, ZI_ERROR_NETWORK, file->name,
                            "%s does not say which part of the file it sends; try again later",
                            j->request.host);
    if (total != file->size)
        return zi_error_set(error, ZI_ERROR_NETWORK, file->name,
                            "%s has %" PRIu64 " bytes of it, but the hub lists %" PRIu64
                            "; try again later",
                            j->request.host, total, file->size);
    if (first != j->done || last < first || last >= j->range_end)
        return zi_error_set(error, ZI_ERROR_NETWORK, file->name,
                            "%s sends another part of the file than requested; try again later",
                            j->request.host);
    return true;
}

/* Handles a 200: the server ignores ranges and sends the complete file, so what was received is
 * discarded and range_end is the file's size, even if only a prefix is wanted. Fails when
 * Content-Length, if any, is not that size, or the partial file cannot be truncated. */
static bool accept_complete_file(job *j, zi_error *error)
{
    curl_off_t length = -1;
    const zi_transfer_file *file = j->file;
    curl_easy_getinfo(j->request.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length >= 0 && (uint64_t)length != file->size)
        return zi_error_set(error, ZI_ERROR_NETWORK, file->name,
                            "%s has %" PRId64 " bytes of it, but the hub lists %" PRIu64
                            "; try again later",
                            j->request.host, (int64_t)length, file->size);
    j->range_end = file->size;
    return !j->done || restart_from_zero(j, error);
}

/* Copies an ETag without quotes and weakness prefix to out, truncated to size - 1 characters:
 * W/"abc" becomes abc. */
static void strip_etag(const char *etag, char *out, size_t size)
{
    if (!strncmp(etag, "W/", 2)) etag += 2;
    if (*etag == '"') etag++;
    snprintf(out, size, "%.*s", (int)strcspn(etag, "\""), etag);
}

/* Checks that the endpoint's ETag and commit, if it sends them, are those of the list of files.
 * False with ZI_ERROR_NETWORK. Other hosts are not checked: their bytes are, by the digest. */
static bool check_etag_and_commit(job *j, zi_error *error)
{
    const zi_http_response_headers *headers = &j->request.headers;
    const zi_transfer_file *file = j->file;
    char etag[160];
    if (!j->request.to_endpoint) return true;
    strip_etag(headers->linked_etag[0] ? headers->linked_etag : headers->etag, etag, sizeof etag);
    /* An ETag that is no digest of this kind is not the hub's, but its web server's. */
    bool is_digest = headers->linked_etag[0] || zi_digest_valid(file->kind, etag);
    if (is_digest && strcmp(etag, file->digest) != 0)
        return zi_error_set(error, ZI_ERROR_NETWORK, file->name,
                            "the hub lists the checksum %s, but sends a file with %s; try again "
                            "later",
                            file->digest, etag);
    if (headers->commit[0] && strcmp(headers->commit, j->transfer->commit) != 0)
        return zi_error_set(error, ZI_ERROR_NETWORK, file->name,
                            "the hub sends it from commit %s, not from %s: the repository has "
                            "changed; try again",
                            headers->commit, j->transfer->commit);
    return true;
}

/* Sets j->accepted: the status is 200 or 206. False with an error when such a response is not what
 * was requested. Other statuses pass, not accepted: their bodies are discarded. A 200 starts the
 * file from 0. */
static bool check_response(job *j, zi_error *error)
{
    long status = zi_http_request_status(&j->request);
    j->accepted = status == 206 || status == 200;
    if (!j->accepted) return true;
    return check_etag_and_commit(j, error) &&
           (status == 206 ? check_content_range(j, error) : accept_complete_file(j, error));
}

/* Fails because the partial file could not be written, by errno. Always returns false. */
static bool fail_partial_write(const zi_transfer_file *file, zi_error *error)
{
    return zi_error_set(
        error, ZI_ERROR_IO, file->partial_path,
        "cannot write: %s; what has arrived is kept: put this right, then start the download again",
        errno == ENOSPC ? "the disk is full" : strerror(errno));
}

/* CURLOPT_WRITEFUNCTION; user: the job. Checks the response first, then writes the bytes, counts
 * them in j->done and transfer->fetched, and sets j->attempts to 0. Drops bodies of other statuses
 * than 200 and 206. Returns 0, with j->error set, to abort the transfer. */
static size_t receive_body(char *data, size_t one, size_t count, void *user)
{
    job *j = user;
    size_t size = one * count;
    if (!j->accepted && !check_response(j, &j->error)) return 0;
    if (!j->accepted) return size;
    if (size > j->range_end - j->done) {
        zi_error_set(&j->error, ZI_ERROR_NETWORK, j->file->name,
                     "%s sends more bytes than it announced; try again later", j->request.host);
        return 0;
    }
    if (!zi_hash_writer_write(j->hasher, data, size)) {
        fail_partial_write(j->file, &j->error);
        return 0;
    }
    j->done += size;
    j->transfer->fetched += size;
    j->attempts = 0;
    return size;
}

/* ---- requests ---- */

/* Returns the bytes of a file on the disk before its job starts, for progress: its size if it is at
 * target_path (and not to be replaced), else that of the partial file; 0 if that is missing or too
 * large. */
static uint64_t bytes_on_disk(const zi_transfer_file *file)
{
    struct stat st;
    if (!file->replace && stat(file->target_path, &st) == 0 && (uint64_t)st.st_size == file->size)
        return file->size;
    return stat(file->partial_path, &st) == 0 && (uint64_t)st.st_size <= file->size
               ? (uint64_t)st.st_size
               : 0;
}

/* Sets *j to a job that waits to start, with a curl handle, to be freed with
 * zi_http_request_cleanup, whose callbacks point to j: it must not move. file and transfer are
 * borrowed. Opens no file and sends nothing. After false there is nothing to free. */
static bool init_job(job *j, const zi_transfer_file *file, zi_transfer *transfer, zi_error *error)
{
    *j = (job){
        .file = file, .transfer = transfer, .fd = -1, .lock = -1, .done = bytes_on_disk(file)};
    if (!zi_http_request_init(transfer->client, &j->request, error)) return false;
    curl_easy_setopt(j->request.easy, CURLOPT_WRITEFUNCTION, receive_body);
    curl_easy_setopt(j->request.easy, CURLOPT_WRITEDATA, j);
    curl_easy_setopt(j->request.easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    curl_easy_setopt(j->request.easy, CURLOPT_PRIVATE, j);
    return true;
}

/* Returns the bytes that partial_path is to have: prefix_size if that is set and smaller than the
 * file, else the file's size. */
static uint64_t target_size(const job *j)
{
    const zi_transfer_file *file = j->file;
    return file->prefix_size && file->prefix_size < file->size ? file->prefix_size : file->size;
}

/* Closes the file, releases its lock, makes the job DONE and calls the hook `completed`. The file
 * must be at target_path. */
static void complete_job(job *j)
{
    const zi_transfer_hooks *hooks = j->transfer->hooks;
    close_file(j);
    j->stage = DONE;
    if (hooks) hooks->completed(hooks->user, j->file);
}

/* Requests the next range from j->done on, at most 64 MiB, from the redirected URL if there is one:
 * the job is ACTIVE. When all bytes are there it sends nothing, and the job is CHECKING, or, after
 * a prefix, DONE and closed, without a digest or the hook `completed`. After false the stage
 * stays. */
static bool request_range(job *j, CURLM *multi, zi_error *error)
{
    char range[64];
    uint64_t limit = target_size(j);
    if (j->done >= limit) {
        j->stage = limit < j->file->size ? DONE : CHECKING;
        if (j->stage == DONE) close_file(j);
        return true;
    }
    j->range_end = limit - j->done > max_range ? j->done + max_range : limit;
    j->accepted = false;
    if (!zi_http_request_set_url(&j->request, j->redirect_url ? j->redirect_url : j->file->url,
                                 error))
        return false;
    snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, j->done, j->range_end - 1);
    if (curl_easy_setopt(j->request.easy, CURLOPT_RANGE, range) != CURLE_OK ||
        curl_multi_add_handle(multi, j->request.easy) != CURLM_OK)
        return zi_error_no_memory(error, sizeof range);
    j->stage = ACTIVE;
    return true;
}

/* Locks and opens the file, unless it is open, and sends the next request. Stays WAITING, and
 * returns true, when another process has the lock. If the file is at target_path by now (and not to
 * be replaced), the job is completed. After false the caller closes what is open (close_file). */
static bool start_job(job *j, CURLM *multi, zi_error *error)
{
    bool taken = true;
    struct stat st;
    if (j->fd >= 0) return request_range(j, multi, error);
    if (!take_lock(j, &taken, error)) return false;
    j->not_before = now() + lock_interval;
    if (!taken) return true;
    if (!j->file->replace && stat(j->file->target_path, &st) == 0 &&
        (uint64_t)st.st_size == j->file->size) {
        j->done = j->file->size; /* another process has just fetched it */
        complete_job(j);
        return true;
    }
    return open_partial(j, error) && request_range(j, multi, error);
}

/* Counts the attempt, forgets the redirect, and makes the job WAITING until the retry delay is
 * over; file and lock stay open. False, with *why copied to *error (not NULL): it was the last
 * attempt, or the server wants too long a delay. */
static bool schedule_retry(job *j, const zi_error *why, zi_error *error)
{
    double wait = zi_http_request_retry_delay(&j->request, j->attempts);
    free(j->redirect_url); /* signed URLs expire */
    j->redirect_url = NULL;
    j->redirects = 0;
    if (++j->attempts >= ZI_MAX_ATTEMPTS || wait < 0) {
        *error = *why;
        return false;
    }
    j->not_before = now() + wait;
    j->stage = WAITING;
    return true;
}

/* Checks ETag and commit, then requests the same range from the Location of the response, which
 * later requests use, too. False with an error (ZI_ERROR_NETWORK): a wrong ETag or commit, no
 * Location, one that is refused, or more than ZI_MAX_REDIRECTS since the last retry. */
static bool follow_redirect(job *j, CURLM *multi, zi_error *error)
{
    if (!check_etag_and_commit(j, error)) return false;
    char *url = zi_http_request_redirect_url(&j->request, error);
    if (!url) return false;
    free(j->redirect_url);
    j->redirect_url = url;
    if (++j->redirects > ZI_MAX_REDIRECTS)
        return zi_error_set(error, ZI_ERROR_NETWORK, j->file->name,
                            "too many redirects, more than %d; try again later", ZI_MAX_REDIRECTS);
    return request_range(j, multi, error);
}

/* Handles the end of a request, with curl's code: next range, redirect, retry (also when another
 * host refuses, as signed URLs expire), or failure (false, with an error, which must not be NULL;
 * the caller closes the file). The handle must have been removed from `multi`. */
static bool handle_response(job *j, CURLcode code, CURLM *multi, zi_error *error)
{
    zi_error why = {0};
    long status = zi_http_request_status(&j->request);
    if (j->error.code) {
        *error = j->error;
        return false;
    }
    if (code) {
        zi_http_request_transport_error(&j->request, code, &why);
        if (zi_http_request_is_retryable(&j->request, code)) return schedule_retry(j, &why, error);
        *error = why;
        return false;
    }
    if (status == 200 || status == 206) {
        if (!j->accepted && !check_response(j, error)) return false; /* the body was empty */
        zi_error_set(&why, ZI_ERROR_NETWORK, j->file->name,
                     "%s sends fewer bytes than it announced; try again, what has arrived is kept",
                     j->request.host);
        if (j->done < j->range_end) return schedule_retry(j, &why, error);
        return request_range(j, multi, error);
    }
    if (status >= 300 && status < 400) return follow_redirect(j, multi, error);
    zi_http_request_status_error(&j->request, j->transfer->repo, j->file->name, &why);
    bool retryable = status == 429 || status >= 500 || !j->request.to_endpoint;
    if (retryable) return schedule_retry(j, &why, error);
    *error = why;
    return false;
}

/* If the digest of the received bytes is known and right, renames the partial file to target_path,
 * over what is there, and completes the job. If it is wrong, fetches a resumed file again from 0,
 * or else removes it and fails (ZI_ERROR_NETWORK). Other failures keep it. True also while the
 * digest is not known yet. After false the job stays open. */
static bool finish_checked_file(job *j, CURLM *multi, zi_error *error)
{
    const zi_transfer_file *file = j->file;
    char digest[ZI_DIGEST_HEX_SIZE];
    if (!zi_hash_writer_finished(j->hasher, digest)) return true;
    if (!*digest) return fail_partial_write(file, error);
    if (strcmp(digest, file->digest) != 0) {
        if (j->resumed) return restart_from_zero(j, error) && request_range(j, multi, error);
        unlink(file->partial_path);
        return zi_error_set(
            error, ZI_ERROR_NETWORK, file->name,
            "damaged on the way: its checksum (digest) is %s, but the hub lists %s; "
            "it was removed, try again",
            digest, file->digest);
    }
    if (!zi_make_parent_folders(file->target_path, error)) return false;
    if (rename(file->partial_path, file->target_path) != 0)
        return zi_error_set(error, ZI_ERROR_IO, file->target_path, "cannot write: %s",
                            strerror(errno));
    zi_sync_parent_folder(file->target_path);
    complete_job(j);
    return true;
}

/* ---- the transfer ---- */

/* Fills rows (a buffer for all files) and calls the progress callback, if any, at most every
 * report_interval seconds after *last, which it updates, and always when all files are finished.
 * False: the callback cancels; no error is set. */
static bool report_progress(zi_transfer *t, const job *jobs, zi_hub_file *rows, double *last)
{
    double time = now();
    zi_hub_progress progress = {.files = rows, .count = t->count};
    for (size_t i = 0; i < t->count; i++) {
        rows[i] = (zi_hub_file){jobs[i].file->name, jobs[i].done, jobs[i].file->size};
        progress.done += rows[i].done;
        progress.size += rows[i].size;
        progress.finished += jobs[i].stage == DONE;
    }
    if (progress.finished < t->count && time - *last < report_interval) return true;
    *last = time;
    return !t->progress || t->progress(t->user, &progress);
}

/* Whether the hook, if there is one, lets this file's download start now. */
static bool may_start(const zi_transfer *t, const job *j)
{
    return !t->hooks || t->hooks->may_start(t->hooks->user, j->file);
}

/* Finishes jobs whose digest is known, and starts waiting ones whose delay is over, in their order,
 * up to MAX_ACTIVE open files. Sets *left to the number of jobs that are not DONE, and *checking to
 * whether a digest is awaited. False with an error: a job failed; then *left and *checking are not
 * valid. */
static bool advance_jobs(zi_transfer *t, job *jobs, CURLM *multi, size_t *left, bool *checking,
                         zi_error *error)
{
    size_t active = 0;
    bool ok = true;
    *left = 0;
    *checking = false;
    for (size_t i = 0; ok && i < t->count; i++) {
        if (jobs[i].stage == CHECKING) ok = finish_checked_file(&jobs[i], multi, error);
        /* A job that waits for a retry has its file open and counts as active. */
        active += jobs[i].stage == ACTIVE || (jobs[i].stage == WAITING && jobs[i].fd >= 0);
    }
    for (size_t i = 0; ok && i < t->count; i++) {
        job *j = &jobs[i];
        bool open = j->fd >= 0;
        if (j->stage == WAITING && j->not_before <= now() &&
            (open || (active < MAX_ACTIVE && may_start(t, j)))) {
            ok = start_job(j, multi, error);
            active += !open && j->fd >= 0;
        }
        *left += j->stage != DONE;
        *checking |= j->stage == CHECKING;
    }
    return ok;
}

/* Lets curl send and receive without waiting, and handles requests that have ended. False with an
 * error when a job failed. */
static bool process_network(CURLM *multi, zi_error *error)
{
    int running, queued;
    bool ok = true;
    curl_multi_perform(multi, &running);
    for (CURLMsg *message; ok && (message = curl_multi_info_read(multi, &queued));) {
        if (message->msg != CURLMSG_DONE) continue;
        job *j = NULL;
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&j);
        curl_multi_remove_handle(multi, easy);
        ok = handle_response(j, code, multi, error);
    }
    return ok;
}

/* Runs the jobs until all are DONE, reporting progress. False with an error: a job failed or the
 * user cancelled; requests may then still be in `multi` and files open. rows: a buffer for all
 * files. */
static bool run_jobs(zi_transfer *t, job *jobs, zi_hub_file *rows, CURLM *multi, zi_error *error)
{
    size_t left = t->count;
    bool checking = false;
    double last = 0;
    while (left) {
        if (!advance_jobs(t, jobs, multi, &left, &checking, error)) return false;
        if (!report_progress(t, jobs, rows, &last)) return zi_error_cancelled(error);
        if (!left) break;
        curl_multi_poll(multi, NULL, 0, checking ? 2 : 50, NULL);
        if (!process_network(multi, error)) return false;
    }
    return true;
}

bool zi_transfer_run(zi_transfer *transfer, zi_error *error)
{
    job *jobs = calloc(transfer->count + 1, sizeof *jobs);
    zi_hub_file *rows = calloc(transfer->count + 1, sizeof *rows);
    CURLM *multi = curl_multi_init();
    size_t initialized = 0;
    bool ok = (jobs && rows && multi) || zi_error_no_memory(error, transfer->count * sizeof *jobs);
    for (; ok && initialized < transfer->count; initialized++)
        ok = init_job(&jobs[initialized], &transfer->files[initialized], transfer, error);
    ok = ok && run_jobs(transfer, jobs, rows, multi, error);
    for (size_t i = 0; i < initialized; i++) {
        if (multi && jobs[i].stage == ACTIVE) curl_multi_remove_handle(multi, jobs[i].request.easy);
        close_file(&jobs[i]);
        zi_http_request_cleanup(&jobs[i].request);
        free(jobs[i].redirect_url);
    }
    if (multi) curl_multi_cleanup(multi);
    free(rows);
    free(jobs);
    return ok;
}
