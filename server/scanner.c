#include "server/scanner.h"
#include "server/internal.h"

#include "base/file.h"
#include "base/filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Minimum seconds between "models" events while models are inspected. */
static const double event_interval = 1;

struct zi_upload {
    zi_scanner *scanner;
    char *staged, *path, *name;
    bool ended, rejected;
    zi_http_error http_error;
    int references; /* held by the thread until it has finished, and by the request */
    zi_upload *next;
};

struct zi_scanner {
    zi_server *server;
    pthread_t thread;
    bool started, joined;
    double published_at; /* by the thread only: zi_monotonic_seconds() of the last "models" event */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping, scan_requested;
    zi_upload *uploads; /* pending ones, oldest first */
};

/* Publishes the event "models" and notes the time in s->published_at. For the scanner's thread. */
static void publish_models_event(zi_scanner *s)
{
    s->published_at = zi_monotonic_seconds();
    zi_events_publish(s->server->events, "models", cJSON_CreateObject());
}

/* ---- inspecting ---- */

/* Whether inspection should stop: for shutdown, or for a waiting upload, since its client waits.
 * Takes the mutex. */
static bool should_stop_inspecting(zi_scanner *s)
{
    pthread_mutex_lock(&s->mutex);
    bool stops = s->stopping || s->uploads;
    pthread_mutex_unlock(&s->mutex);
    return stops;
}

typedef struct {
    zi_scanner *scanner;
    size_t count;
} scan_progress;

/* A callback of zi_registry_inspect_all; user: the scan_progress. Counts the model, and publishes
 * "models" at most once a second. False: stop inspecting. */
static bool on_model_inspected(void *user)
{
    scan_progress *it = user;
    it->count++;
    if (zi_monotonic_seconds() - it->scanner->published_at >= event_interval)
        publish_models_event(it->scanner);
    return !should_stop_inspecting(it->scanner);
}

/* Inspects all models that are not known yet, until done or should_stop_inspecting. Publishes
 * "models" if it has inspected any; logs an error. */
static void inspect_all(zi_scanner *s)
{
    scan_progress it = {.scanner = s};
    zi_error error = {0};
    if (!zi_registry_inspect_all(s->server->registry, on_model_inspected, &it, &error) &&
        error.code != ZI_ERROR_CANCELLED)
        zi_log_line(s->server->log, ZI_LOG_ERROR, "models: %s", error.text);
    if (it.count) publish_models_event(s);
}

/* ---- model hashes ---- */

/* A callback of zi_registry_model_hash; user: the zi_scanner. Waits while a job runs, so that it
 * has processors and disk for itself. False: stop, for shutdown or other work. */
static bool continue_hashing(void *user)
{
    zi_scanner *s = user;
    for (;;) {
        pthread_mutex_lock(&s->mutex);
        bool stops = s->stopping || s->uploads || s->scan_requested;
        pthread_mutex_unlock(&s->mutex);
        if (stops) return false;
        if (!zi_jobs_count(s->server->jobs).running) return true;
        struct timespec pause = {0, 200 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
}

/* Computes the hashes of image models that are not known yet, one after the other, until all are or
 * continue_hashing says no; the next scan goes on. Errors are ignored. */
static void hash_models(zi_scanner *s)
{
    zi_registry_list list;
    char hash[ZI_MODEL_HASH];
    if (!zi_registry_read(s->server->registry, &list, NULL)) return;
    for (size_t i = 0; i < list.count; i++)
        if (list.entries[i].kind == ZI_MODEL_IMAGE &&
            (!continue_hashing(s) ||
             !zi_registry_model_hash(s->server->registry, list.entries[i].path, true,
                                     continue_hashing, s, hash, NULL)))
            break;
    zi_registry_list_free(&list);
}

/* ---- uploads ---- */

/* Waits until a file's data is on the disk (fsync). False: *http_error is a 500, or 507 for a full
 * disk. */
static bool sync_file(const char *path, zi_http_error *http_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok) zi_http_error_not_stored(http_error, errno);
    if (fd >= 0) close(fd);
    return ok;
}

/* Whether the file is a safetensors or GGUF file with an intact header. What its tensors are is not
 * looked at: a LoRA, or a model of another kind, counts, too. False: *http_error is filled: a 400
 * when the format is unknown or its header is damaged, else 404 or 500. */
static bool is_tensor_file(const char *path, zi_http_error *http_error)
{
    zi_error error;
    zi_inspection *inspection;
    if (!zi_inspect(path, &inspection, &error))
        return zi_http_error_from_body(http_error,
                                       error.code == ZI_ERROR_BAD_FORMAT ||
                                               error.code == ZI_ERROR_UNSUPPORTED
                                           ? "not a model file"
                                           : "the uploaded file",
                                       &error);
    zi_inspection_free(inspection);
    return true;
}

/* Moves or hard-links u->staged to u->path, synced to the disk, if it is a tensor file; the caller
 * removes u->staged. False: *http_error is filled (409 when the path exists), and nothing was
 * written to u->path. Only a file system without hard links may overwrite. */
static bool install_upload(zi_upload *u, zi_http_error *http_error)
{
    if (!is_tensor_file(u->staged, http_error) || !sync_file(u->staged, http_error)) return false;
    if (link(u->staged, u->path) == 0 || (errno != EEXIST && rename(u->staged, u->path) == 0)) {
        zi_sync_parent_folder(u->path);
        return true;
    }
    return errno == EEXIST
               ? zi_http_error_set(http_error, 409, "name",
                                   "%s exists already; choose another name", u->name)
               : zi_http_error_set(http_error, zi_http_status_of_errno(errno), NULL,
                                   "%s: nothing was stored, since the file cannot be moved to the "
                                   "server's models folder: %s; %s",
                                   u->name, strerror(errno),
                                   errno == EXDEV
                                       ? "start the server with its output folder and models "
                                         "folder on the same disk"
                                       : "make that folder writable for the server, or free space "
                                         "on its disk");
}

void zi_upload_release(void *upload)
{
    zi_upload *u = upload;
    pthread_mutex_lock(&u->scanner->mutex);
    bool last = --u->references == 0;
    pthread_mutex_unlock(&u->scanner->mutex);
    if (!last) return;
    free(u->staged);
    free(u->path);
    free(u->name);
    free(u);
}

/* Removes the staged file, sets an upload's result (*http_error, which is read only if not ok),
 * drops the thread's reference, with which u may be freed, and publishes "models", which resumes
 * the waiting client. */
static void end_upload(zi_upload *u, bool ok, const zi_http_error *http_error)
{
    zi_scanner *s = u->scanner;
    unlink(u->staged);
    pthread_mutex_lock(&s->mutex);
    u->ended = true;
    u->rejected = !ok;
    if (!ok) u->http_error = *http_error;
    pthread_mutex_unlock(&s->mutex);
    zi_upload_release(u);
    publish_models_event(s); /* this also resumes the request that waits */
}

/* Installs an upload that is in no list any more, and ends it with the result. */
static void run_upload(zi_upload *u)
{
    zi_http_error http_error;
    bool ok = install_upload(u, &http_error);
    end_upload(u, ok, &http_error);
}

zi_upload *zi_upload_submit(zi_scanner *scanner, char *staged, char *path, char *name,
                            zi_http_error *http_error)
{
    zi_upload *u = calloc(1, sizeof *u), **end = &scanner->uploads;
    pthread_mutex_lock(&scanner->mutex);
    bool begins = u && !scanner->stopping;
    if (begins) {
        *u = (zi_upload){
            .scanner = scanner, .staged = staged, .path = path, .name = name, .references = 2};
        while (*end) end = &(*end)->next;
        *end = u;
        pthread_cond_signal(&scanner->changed);
    }
    pthread_mutex_unlock(&scanner->mutex);
    if (begins) return u;
    if (u)
        zi_http_error_shutting_down(http_error);
    else
        zi_http_error_no_memory(http_error);
    unlink(staged);
    free(staged);
    free(path);
    free(name);
    free(u);
    return NULL;
}

bool zi_upload_ended(zi_upload *upload, const char **name, zi_http_error *http_error)
{
    pthread_mutex_lock(&upload->scanner->mutex);
    bool ended = upload->ended;
    if (ended) *name = upload->rejected ? NULL : upload->name;
    if (ended && upload->rejected) *http_error = upload->http_error;
    pthread_mutex_unlock(&upload->scanner->mutex);
    return ended;
}

/* ---- the thread ---- */

/* Waits for work and takes it: *upload becomes the oldest upload, or NULL for a request to scan.
 * False: the thread is to stop; *upload is NULL. */
static bool wait_for_work(zi_scanner *s, zi_upload **upload)
{
    pthread_mutex_lock(&s->mutex);
    while (!s->stopping && !s->scan_requested && !s->uploads)
        pthread_cond_wait(&s->changed, &s->mutex);
    bool should_continue = !s->stopping;
    *upload = should_continue ? s->uploads : NULL;
    if (*upload)
        s->uploads = (*upload)->next;
    else
        s->scan_requested = false;
    pthread_mutex_unlock(&s->mutex);
    return should_continue;
}

/* The thread: installs uploads, and inspects and hashes new models, also after each upload, until
 * it is to stop. user: the zi_scanner. */
static void *scanner_main(void *user)
{
    zi_scanner *s = user;
    zi_upload *upload;
    while (wait_for_work(s, &upload)) {
        if (upload) run_upload(upload);
        inspect_all(s);
        hash_models(s);
    }
    return NULL;
}

bool zi_scanner_start(zi_server *server, zi_scanner **out, zi_error *error)
{
    zi_scanner *s = *out = calloc(1, sizeof *s);
    if (!s) return zi_error_no_memory(error, sizeof *s);
    s->server = server;
    s->scan_requested = true;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->started = pthread_create(&s->thread, NULL, scanner_main, s) == 0;
    return s->started || zi_error_set(error, ZI_ERROR_IO, NULL,
                                      "cannot start a thread; stop other programs, or raise the "
                                      "limit of processes and threads (ulimit -u)");
}

void zi_scanner_wake(zi_scanner *scanner)
{
    pthread_mutex_lock(&scanner->mutex);
    scanner->scan_requested = true;
    pthread_cond_signal(&scanner->changed);
    pthread_mutex_unlock(&scanner->mutex);
}

void zi_scanner_stop(zi_scanner *s)
{
    zi_http_error http_error;
    if (!s || !s->started || s->joined) return;
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    s->joined = true;
    zi_http_error_shutting_down(&http_error);
    while (s->uploads) {
        zi_upload *u = s->uploads;
        s->uploads = u->next;
        end_upload(u, false, &http_error);
    }
}

void zi_scanner_free(zi_scanner *scanner)
{
    if (!scanner) return;
    pthread_cond_destroy(&scanner->changed);
    pthread_mutex_destroy(&scanner->mutex);
    free(scanner);
}
