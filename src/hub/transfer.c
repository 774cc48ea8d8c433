#include "hub/transfer.h"
#include "base/folder.h"
#include "hub/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ACTIVE = 6, BUFFER = 512 << 10 };

/* What is asked for at a time, and what an interruption costs at most. */
static const uint64_t part_size = 64 << 20;
static const double lock_interval = 0.5, report_interval = 0.05; /* seconds */

typedef enum {
    WAITING, /* for its turn, for a lock, or for the server to have rested */
    ACTIVE,
    CHECKING, /* all bytes are there; the digest is not known yet */
    DONE
} stage;

typedef struct {
    const zi_transfer_file *file;
    zi_transfer *transfer;
    zi_http_request ask;
    stage stage;
    int fd, lock;
    zi_hash_writer *hasher;
    char *url; /* where a redirect of the file's own URL led; NULL: nowhere yet */
    int hops, tries;
    double not_before;
    uint64_t done, end; /* bytes in the file; where the part that was asked for ends */
    bool resumed;       /* some of the bytes are an earlier call's */
    bool accepted;      /* the answer is the one that was asked for, and bytes are the file's */
    zi_error error;     /* what the callback found wrong */
} job;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- a file's begin and end ---- */

/* Takes the lock if no one has it. */
static bool take_lock(job *j, bool *taken, zi_error *error)
{
    *taken = false;
    if (j->lock < 0) j->lock = open(j->file->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->lock < 0)
        return zi_error_set(error, ZI_ERROR_IO, j->file->lock, "cannot write here: %s",
                            strerror(errno));
    *taken = flock(j->lock, LOCK_EX | LOCK_NB) == 0;
    return *taken || errno == EWOULDBLOCK || errno == EINTR ||
           zi_error_set(error, ZI_ERROR_IO, j->file->lock, "cannot be locked: %s", strerror(errno));
}

static void close_file(job *j)
{
    zi_hash_writer_stop(j->hasher);
    j->hasher = NULL;
    if (j->fd >= 0) close(j->fd);
    if (j->lock >= 0) close(j->lock);
    j->fd = j->lock = -1;
}

static bool start_hashing(job *j, zi_error *error)
{
    zi_hash_writer_stop(j->hasher);
    j->hasher = NULL;
    return zi_hash_writer_start(j->fd, j->done, j->file->size, j->file->kind, &j->hasher, error);
}

/* Opens what there is of the file. */
static bool open_partial(job *j, zi_error *error)
{
    struct stat st;
    j->fd = open(j->file->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (j->fd < 0 || fstat(j->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return zi_error_set(error, ZI_ERROR_IO, j->file->partial, "cannot write here: %s",
                            strerror(errno));
    j->done = (uint64_t)st.st_size;
    if (j->done > j->file->size) {
        j->done = 0;
        if (ftruncate(j->fd, 0) != 0)
            return zi_error_set(error, ZI_ERROR_IO, j->file->partial, "cannot write: %s",
                                strerror(errno));
    }
    j->resumed = j->done > 0;
    return start_hashing(j, error);
}

static bool start_over(job *j, zi_error *error)
{
    zi_hash_writer_stop(j->hasher);
    j->hasher = NULL;
    j->done = 0;
    j->resumed = false;
    if (ftruncate(j->fd, 0) != 0)
        return zi_error_set(error, ZI_ERROR_IO, j->file->partial, "cannot write: %s",
                            strerror(errno));
    return start_hashing(j, error);
}

/* ---- answers ---- */

/* "bytes 10-19/100" for what was asked for. The part may end earlier, not later. */
static bool check_range(job *j, zi_error *error)
{
    uint64_t first, last, total;
    const zi_transfer_file *f = j->file;
    char rest;
    if (sscanf(j->ask.answer.range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64 "%c", &first, &last,
               &total, &rest) != 3)
        return zi_error_set(error, ZI_ERROR_NETWORK, f->name,
                            "%s does not say which bytes it sends", j->ask.host);
    if (total != f->size)
        return zi_error_set(error, ZI_ERROR_NETWORK, f->name,
                            "%s has %" PRIu64 " bytes of it where the hub says %" PRIu64,
                            j->ask.host, total, f->size);
    if (first != j->done || last < first || last >= j->end)
        return zi_error_set(error, ZI_ERROR_NETWORK, f->name,
                            "%s sends other bytes than those asked for", j->ask.host);
    return true;
}

/* An answer that is all of the file, as servers give that know no ranges. */
static bool take_whole(job *j, zi_error *error)
{
    curl_off_t length = -1;
    const zi_transfer_file *f = j->file;
    curl_easy_getinfo(j->ask.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length >= 0 && (uint64_t)length != f->size)
        return zi_error_set(error, ZI_ERROR_NETWORK, f->name,
                            "%s has %" PRId64 " bytes of it where the hub says %" PRIu64,
                            j->ask.host, (int64_t)length, f->size);
    j->end = f->size;
    return !j->done || start_over(j, error);
}

/* Puts an etag's bare text into out: W/"abc" is abc. */
static void bare_etag(const char *etag, char *out, size_t size)
{
    if (!strncmp(etag, "W/", 2)) etag += 2;
    if (*etag == '"') etag++;
    snprintf(out, size, "%.*s", (int)strcspn(etag, "\""), etag);
}

/* What the hub itself says of the file it leads to must be what its list said. */
static bool check_claims(job *j, zi_error *error)
{
    const zi_answer *a = &j->ask.answer;
    const zi_transfer_file *f = j->file;
    char etag[160];
    if (!j->ask.to_endpoint) return true;
    bare_etag(a->linked_etag[0] ? a->linked_etag : a->etag, etag, sizeof etag);
    /* An etag of another form is a server's own, not the hub's. */
    bool tells = a->linked_etag[0] || zi_digest_valid(f->kind, etag);
    if (tells && strcmp(etag, f->digest) != 0)
        return zi_error_set(error, ZI_ERROR_NETWORK, f->name,
                            "the hub lists it as %s and sends %s; try again later", f->digest,
                            etag);
    if (a->commit[0] && strcmp(a->commit, j->transfer->commit) != 0)
        return zi_error_set(error, ZI_ERROR_NETWORK, f->name,
                            "the hub sends it of commit %s, not of %s", a->commit,
                            j->transfer->commit);
    return true;
}

static bool accept_answer(job *j, zi_error *error)
{
    long status = zi_http_request_status(&j->ask);
    j->accepted = status == 206 || status == 200;
    if (!j->accepted) return true; /* its text is of no interest */
    return check_claims(j, error) && (status == 206 ? check_range(j, error) : take_whole(j, error));
}

static size_t take_bytes(char *data, size_t one, size_t count, void *user)
{
    job *j = user;
    size_t size = one * count;
    if (!j->accepted && !accept_answer(j, &j->error)) return 0;
    if (!j->accepted) return size;
    if (size > j->end - j->done) {
        zi_error_set(&j->error, ZI_ERROR_NETWORK, j->file->name,
                     "%s sends more bytes than it announced", j->ask.host);
        return 0;
    }
    if (!zi_hash_writer_write(j->hasher, data, size)) {
        zi_error_set(&j->error, ZI_ERROR_IO, j->file->partial,
                     "cannot write: %s; what is there stays, run it again", strerror(errno));
        return 0;
    }
    j->done += size;
    j->transfer->fetched += size;
    j->tries = 0;
    return size;
}

/* ---- requests ---- */

/* So much of a file is there before its turn. */
static uint64_t bytes_there(const zi_transfer_file *file)
{
    struct stat st;
    if (!file->replace && stat(file->target, &st) == 0 && (uint64_t)st.st_size == file->size)
        return file->size;
    return stat(file->partial, &st) == 0 && (uint64_t)st.st_size <= file->size
               ? (uint64_t)st.st_size
               : 0;
}

static bool begin_job(job *j, const zi_transfer_file *file, zi_transfer *transfer, zi_error *error)
{
    *j = (job){.file = file, .transfer = transfer, .fd = -1, .lock = -1, .done = bytes_there(file)};
    if (!zi_http_request_init(transfer->client, &j->ask, error)) return false;
    curl_easy_setopt(j->ask.easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(j->ask.easy, CURLOPT_WRITEDATA, j);
    curl_easy_setopt(j->ask.easy, CURLOPT_BUFFERSIZE, (long)BUFFER);
    curl_easy_setopt(j->ask.easy, CURLOPT_PRIVATE, j);
    return true;
}

static uint64_t limit_of(const job *j)
{
    const zi_transfer_file *f = j->file;
    return f->upto && f->upto < f->size ? f->upto : f->size;
}

static void end_job(job *j)
{
    const zi_transfer_hooks *gate = j->transfer->gate;
    close_file(j);
    j->stage = DONE;
    if (gate) gate->arrived(gate->user, j->file);
}

/* Asks for the next part, or goes on to the check where there is none. */
static bool ask_for_part(job *j, CURLM *multi, zi_error *error)
{
    char range[64];
    uint64_t limit = limit_of(j);
    if (j->done >= limit) {
        j->stage = limit < j->file->size ? DONE : CHECKING;
        if (j->stage == DONE) close_file(j);
        return true;
    }
    j->end = limit - j->done > part_size ? j->done + part_size : limit;
    j->accepted = false;
    if (!zi_http_request_set_url(&j->ask, j->url ? j->url : j->file->url, error)) return false;
    snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, j->done, j->end - 1);
    if (curl_easy_setopt(j->ask.easy, CURLOPT_RANGE, range) != CURLE_OK ||
        curl_multi_add_handle(multi, j->ask.easy) != CURLM_OK)
        return zi_error_no_memory(error, sizeof range);
    j->stage = ACTIVE;
    return true;
}

/* A job whose time has come: locks and opens its file, unless it has. */
static bool start(job *j, CURLM *multi, zi_error *error)
{
    bool taken = true;
    struct stat st;
    if (j->fd >= 0) return ask_for_part(j, multi, error);
    if (!take_lock(j, &taken, error)) return false;
    j->not_before = now() + lock_interval;
    if (!taken) return true;
    if (!j->file->replace && stat(j->file->target, &st) == 0 &&
        (uint64_t)st.st_size == j->file->size) {
        j->done = j->file->size; /* whoever had the lock has fetched it */
        end_job(j);
        return true;
    }
    return open_partial(j, error) && ask_for_part(j, multi, error);
}

/* Later again, unless that was tried often enough; why says what was wrong. */
static bool try_later(job *j, const zi_error *why, zi_error *error)
{
    double wait = zi_http_request_retry_delay(&j->ask, j->tries);
    free(j->url); /* it may have been valid for a while only */
    j->url = NULL;
    j->hops = 0;
    if (++j->tries >= ZI_MAX_ATTEMPTS || wait < 0) {
        *error = *why;
        return false;
    }
    j->not_before = now() + wait;
    j->stage = WAITING;
    return true;
}

static bool follow_redirect(job *j, CURLM *multi, zi_error *error)
{
    if (!check_claims(j, error)) return false;
    char *url = zi_http_request_redirect_url(&j->ask, error);
    if (!url) return false;
    free(j->url);
    j->url = url;
    if (++j->hops > ZI_MAX_REDIRECTS)
        return zi_error_set(error, ZI_ERROR_NETWORK, j->file->name, "too many redirects");
    return ask_for_part(j, multi, error);
}

/* What to do when a request has ended. */
static bool should_continue(job *j, CURLcode code, CURLM *multi, zi_error *error)
{
    zi_error why = {0};
    long status = zi_http_request_status(&j->ask);
    if (j->error.code) {
        *error = j->error;
        return false;
    }
    if (code) {
        zi_http_request_transport_error(&j->ask, code, &why);
        if (zi_http_request_is_retryable(&j->ask, code)) return try_later(j, &why, error);
        *error = why;
        return false;
    }
    if (status == 200 || status == 206) {
        if (!j->accepted && !accept_answer(j, error)) return false; /* it was empty */
        zi_error_set(&why, ZI_ERROR_NETWORK, j->file->name, "%s sends less than it announced",
                     j->ask.host);
        if (j->done < j->end) return try_later(j, &why, error);
        return ask_for_part(j, multi, error);
    }
    if (status >= 300 && status < 400) return follow_redirect(j, multi, error);
    zi_http_request_status_error(&j->ask, j->transfer->repo, j->file->name, &why);
    bool again = status == 429 || status >= 500 || !j->ask.to_endpoint;
    if (again) return try_later(j, &why, error);
    *error = why;
    return false;
}

/* The digest, when it is known: the file is whole, or begun anew, or refused. */
static bool check(job *j, CURLM *multi, zi_error *error)
{
    const zi_transfer_file *f = j->file;
    char digest[ZI_DIGEST_HEX_SIZE];
    if (!zi_hash_writer_finished(j->hasher, digest)) return true;
    if (!*digest)
        return zi_error_set(error, ZI_ERROR_IO, f->partial,
                            "cannot write: %s; what is there stays, run it again", strerror(errno));
    if (strcmp(digest, f->digest) != 0) {
        if (j->resumed) return start_over(j, error) && ask_for_part(j, multi, error);
        unlink(f->partial);
        return zi_error_set(error, ZI_ERROR_NETWORK, f->name,
                            "what came has the digest %s where the hub says %s, and was removed; "
                            "try again",
                            digest, f->digest);
    }
    if (!zi_make_parent_folders(f->target, error)) return false;
    if (rename(f->partial, f->target) != 0)
        return zi_error_set(error, ZI_ERROR_IO, f->target, "cannot write: %s", strerror(errno));
    zi_sync_parent_folder(f->target);
    end_job(j);
    return true;
}

/* ---- all of them ---- */

static bool report(zi_transfer *t, const job *jobs, zi_hub_file *rows, double *last)
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

static bool may_begin(const zi_transfer *t, const job *j)
{
    return !t->gate || t->gate->may_begin(t->gate->user, j->file);
}

/* Starts what may start and checks what may be checked. Files come in their order. */
static bool push(zi_transfer *t, job *jobs, CURLM *multi, size_t *left, bool *checking,
                 zi_error *error)
{
    size_t active = 0;
    bool ok = true;
    *left = 0;
    *checking = false;
    for (size_t i = 0; ok && i < t->count; i++) {
        if (jobs[i].stage == CHECKING) ok = check(&jobs[i], multi, error);
        /* A job that rests keeps its place: it has its file open. */
        bool begun = jobs[i].stage == ACTIVE || (jobs[i].stage == WAITING && jobs[i].fd >= 0);
        active += begun;
    }
    for (size_t i = 0; ok && i < t->count; i++) {
        job *j = &jobs[i];
        bool open = j->fd >= 0;
        if (j->stage == WAITING && j->not_before <= now() &&
            (open || (active < MAX_ACTIVE && may_begin(t, j)))) {
            ok = start(j, multi, error);
            active += !open && j->fd >= 0;
        }
        *left += j->stage != DONE;
        *checking |= j->stage == CHECKING;
    }
    return ok;
}

static bool pull(CURLM *multi, zi_error *error)
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
        ok = should_continue(j, code, multi, error);
    }
    return ok;
}

static bool run(zi_transfer *t, job *jobs, zi_hub_file *rows, CURLM *multi, zi_error *error)
{
    size_t left = t->count;
    bool checking = false;
    double last = 0;
    while (left) {
        if (!push(t, jobs, multi, &left, &checking, error)) return false;
        if (!report(t, jobs, rows, &last)) return zi_error_cancelled(error);
        if (!left) break;
        curl_multi_poll(multi, NULL, 0, checking ? 2 : 50, NULL);
        if (!pull(multi, error)) return false;
    }
    return true;
}

bool zi_transfer_run(zi_transfer *t, zi_error *error)
{
    job *jobs = calloc(t->count + 1, sizeof *jobs);
    zi_hub_file *rows = calloc(t->count + 1, sizeof *rows);
    CURLM *multi = curl_multi_init();
    size_t begun = 0;
    bool ok = (jobs && rows && multi) || zi_error_no_memory(error, t->count * sizeof *jobs);
    for (; ok && begun < t->count; begun++)
        ok = begin_job(&jobs[begun], &t->files[begun], t, error);
    ok = ok && run(t, jobs, rows, multi, error);
    for (size_t i = 0; i < begun; i++) {
        if (multi && jobs[i].stage == ACTIVE) curl_multi_remove_handle(multi, jobs[i].ask.easy);
        close_file(&jobs[i]);
        zi_http_request_cleanup(&jobs[i].ask);
        free(jobs[i].url);
    }
    if (multi) curl_multi_cleanup(multi);
    free(rows);
    free(jobs);
    return ok;
}
