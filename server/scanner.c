#include "server/scanner.h"
#include "server/internal.h"

#include "base/file.h"
#include "base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* While much is inspected, clients hear of it that often, in seconds. */
static const double interval = 1;

struct zi_upload {
    zi_scanner *scanner;
    char *staged, *path, *name;
    bool ended, refused;
    zi_refusal refusal;
    int owners; /* the thread until it has ended, and the call */
    zi_upload *next;
};

struct zi_scanner {
    zi_server *server;
    pthread_t thread;
    bool started, joined;
    double told; /* for the thread alone: when clients were told last */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool ends, awake;
    zi_upload *uploads; /* that wait, in order */
};

static void tell(zi_scanner *s)
{
    s->told = zi_monotonic_seconds();
    zi_events_publish(s->server->events, "models", cJSON_CreateObject());
}

/* ---- inspecting ---- */

/* For the end, and for uploads, whose clients wait. */
static bool should_stop(zi_scanner *s)
{
    pthread_mutex_lock(&s->mutex);
    bool stops = s->ends || s->uploads;
    pthread_mutex_unlock(&s->mutex);
    return stops;
}

typedef struct {
    zi_scanner *scanner;
    size_t count;
} scan;

static bool inspected(void *user)
{
    scan *it = user;
    it->count++;
    if (zi_monotonic_seconds() - it->scanner->told >= interval) tell(it->scanner);
    return !should_stop(it->scanner);
}

static void inspect_all(zi_scanner *s)
{
    scan it = {.scanner = s};
    zi_error error = {0};
    if (!zi_registry_inspect_all(s->server->registry, inspected, &it, &error) &&
        error.code != ZI_ERROR_CANCELLED)
        zi_log_line(s->server->log, ZI_LOG_ERROR, "models: %s", error.text);
    if (it.count) tell(s);
}

/* ---- uploads ---- */

static bool sync_file(const char *path, zi_refusal *refusal)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok) zi_refuse(refusal, 500, NULL, "the file cannot be kept: %s", strerror(errno));
    if (fd >= 0) close(fd);
    return ok;
}

static bool is_model(const char *path, zi_refusal *refusal)
{
    zi_error error;
    zi_inspection *inspection;
    if (!zi_inspect(path, &inspection, &error))
        return zi_refuse_body(refusal, "this is no model's file", &error);
    zi_inspection_free(inspection);
    return true;
}

/* Puts the file at its place, where nothing is, if it is a model's. */
static bool take_in(zi_upload *u, zi_refusal *refusal)
{
    if (!is_model(u->staged, refusal) || !sync_file(u->staged, refusal)) return false;
    if (link(u->staged, u->path) == 0 || (errno != EEXIST && rename(u->staged, u->path) == 0)) {
        zi_sync_folder_of(u->path);
        return true;
    }
    return errno == EEXIST ? zi_refuse(refusal, 409, "name",
                                       "%s is there already; choose another name", u->name)
                           : zi_refuse(refusal, 500, NULL, "%s cannot be written: %s", u->name,
                                       strerror(errno));
}

void zi_upload_release(void *upload)
{
    zi_upload *u = upload;
    pthread_mutex_lock(&u->scanner->mutex);
    bool last = --u->owners == 0;
    pthread_mutex_unlock(&u->scanner->mutex);
    if (!last) return;
    free(u->staged);
    free(u->path);
    free(u->name);
    free(u);
}

static void end_upload(zi_upload *u, bool ok, const zi_refusal *refusal)
{
    zi_scanner *s = u->scanner;
    unlink(u->staged);
    pthread_mutex_lock(&s->mutex);
    u->ended = true;
    u->refused = !ok;
    if (!ok) u->refusal = *refusal;
    pthread_mutex_unlock(&s->mutex);
    zi_upload_release(u);
    tell(s); /* which wakes the call, too */
}

static void run_upload(zi_upload *u)
{
    zi_refusal refusal;
    bool ok = take_in(u, &refusal);
    end_upload(u, ok, &refusal);
}

zi_upload *zi_upload_begin(zi_scanner *s, char *staged, char *path, char *name)
{
    zi_upload *u = calloc(1, sizeof *u), **end = &s->uploads;
    pthread_mutex_lock(&s->mutex);
    bool begins = u && !s->ends;
    if (begins) {
        *u = (zi_upload){.scanner = s, .staged = staged, .path = path, .name = name, .owners = 2};
        while (*end) end = &(*end)->next;
        *end = u;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    if (begins) return u;
    unlink(staged);
    free(staged);
    free(path);
    free(name);
    free(u);
    return NULL;
}

bool zi_upload_ended(zi_upload *u, const char **name, zi_refusal *refusal)
{
    pthread_mutex_lock(&u->scanner->mutex);
    bool ended = u->ended;
    if (ended) *name = u->refused ? NULL : u->name;
    if (ended && u->refused) *refusal = u->refusal;
    pthread_mutex_unlock(&u->scanner->mutex);
    return ended;
}

/* ---- the thread ---- */

/* Waits for something to do. *upload: the next one, or NULL: inspect. False: end. */
static bool wait_for_work(zi_scanner *s, zi_upload **upload)
{
    pthread_mutex_lock(&s->mutex);
    while (!s->ends && !s->awake && !s->uploads) pthread_cond_wait(&s->changed, &s->mutex);
    bool should_continue = !s->ends;
    *upload = should_continue ? s->uploads : NULL;
    if (*upload)
        s->uploads = (*upload)->next;
    else
        s->awake = false;
    pthread_mutex_unlock(&s->mutex);
    return should_continue;
}

static void *work(void *user)
{
    zi_scanner *s = user;
    zi_upload *upload;
    while (wait_for_work(s, &upload)) {
        if (upload) run_upload(upload);
        inspect_all(s);
    }
    return NULL;
}

bool zi_scanner_start(zi_server *server, zi_scanner **out, zi_error *error)
{
    zi_scanner *s = *out = calloc(1, sizeof *s);
    if (!s) return zi_error_no_memory(error, sizeof *s);
    s->server = server;
    s->awake = true;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->started = pthread_create(&s->thread, NULL, work, s) == 0;
    return s->started ||
           zi_error_set(error, ZI_ERROR_IO, NULL, "no thread could be started to inspect models");
}

void zi_scanner_wake(zi_scanner *s)
{
    pthread_mutex_lock(&s->mutex);
    s->awake = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

void zi_scanner_end(zi_scanner *s)
{
    zi_refusal refusal;
    if (!s || !s->started || s->joined) return;
    pthread_mutex_lock(&s->mutex);
    s->ends = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    s->joined = true;
    zi_refuse(&refusal, 500, NULL, "the server ends");
    while (s->uploads) {
        zi_upload *u = s->uploads;
        s->uploads = u->next;
        end_upload(u, false, &refusal);
    }
}

void zi_scanner_free(zi_scanner *s)
{
    if (!s) return;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
