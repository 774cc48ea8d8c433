/* Starts the server's components and frees them in reverse order. */
#include "server/hide_paths.h"
#include "server/http.h"
#include "server/schema.h"
#include "server/worker.h"

#include "base/file.h"
#include "base/filesystem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The server, and a thread that checks time limits and suspended connections once a second. */
typedef struct {
    zi_server server; /* first, so that a zi_server * can be cast */
    pthread_t ticker;
    bool has_ticker;
    atomic_bool stopping;
} running_server;

/* Publishes the event "storage" with the state of the history's storage. */
static void publish_storage(zi_server *s)
{
    zi_storage storage;
    zi_history_check_storage(s->history, &storage);
    cJSON *json = cJSON_CreateObject();
    zi_storage_add_json(json, &storage);
    zi_events_publish(s->events, "storage", json);
}

/* The ticker thread; user: the running_server. Once a second it closes slow connections, resumes
 * suspended ones that are due, and has the history store what it could not store before. It checks
 * `stopping` four times a second, so that it stops soon. */
static void *ticker_main(void *user)
{
    running_server *running = user;
    struct timespec pause = {0, 250000000};
    for (int i = 1; !atomic_load(&running->stopping); i++) {
        nanosleep(&pause, NULL);
        if (i % 4) continue;
        zi_connections_close_slow(running->server.connections);
        zi_events_tick(running->server.events);
        if (zi_history_tick(running->server.history)) publish_storage(&running->server);
    }
    return NULL;
}

/* zi_engine_options.remark; user: the log. */
static void log_remark(void *user, const char *text)
{
    zi_log_line(user, ZI_LOG_WARNING, "%s", text);
}

/* Creates s->engine by the server's options; prompt embeddings are cached in the output folder.
 * False: *error is set, and s->engine stays NULL. */
static bool create_engine(zi_server *s, zi_error *error)
{
    zi_engine_options options = s->options.engine;
    char *folder = zi_path_join(s->options.output, ".encodings");
    options.embeddings = folder;
    options.remark = log_remark;
    options.user = s->log;
    bool ok = folder ? zi_engine_create(&options, &s->engine, error)
                     : zi_error_no_memory(error, strlen(s->options.output));
    free(folder);
    return ok;
}

/* Has messages to clients leave out the folders and files of the options. False: out of memory;
 * *error is set. */
static bool hide_own_folders(const zi_server_options *o, zi_error *error)
{
    const char *const paths[] = {o->output,         o->registry.folder, o->registry.hub.cache,
                                 o->import,         o->engine.scratch,  o->registry.model,
                                 o->registry.demo,  o->load.vae,        o->load.text_encoder,
                                 o->load.reference, o->load.tokenizer};
    size_t count = sizeof paths / sizeof *paths;
    return zi_hide_folders(paths, count) || zi_error_no_memory(error, count * sizeof *paths);
}

/* Creates the server's components and starts its threads, the HTTP server last. False: *error is
 * set; what was started is left for zi_server_stop. */
static bool start_components(running_server *running, zi_error *error)
{
    zi_server *s = &running->server;
    const zi_server_options *o = &s->options;
    if (!zi_access_create(o, &s->access, error) || !zi_assets_create(&s->assets, error))
        return false;
    s->events = zi_events_create();
    s->log = s->events ? zi_log_create(s->events) : NULL;
    s->connections = zi_connections_create();
    s->jobs = zi_jobs_create(s);
    s->openapi = zi_schema_openapi();
    if (!s->log || !s->connections || !s->jobs || !s->openapi)
        return zi_error_no_memory(error, sizeof *running);
    if (!zi_make_folders(o->registry.folder, error) || !hide_own_folders(o, error) ||
        !zi_registry_open(&o->registry, &s->registry, error) ||
        !zi_history_open(o->output, s->log, &s->history, error) ||
        !zi_links_create(o->output, s->log, &s->links, error) || !create_engine(s, error) ||
        !zi_scanner_start(s, &s->scanner, error) || !zi_worker_start(s, &s->worker, error) ||
        !zi_http_start(s, error))
        return false;
    running->has_ticker = pthread_create(&running->ticker, NULL, ticker_main, running) == 0;
    return running->has_ticker ||
           zi_error_set(error, ZI_ERROR_IO, NULL,
                        "cannot start a thread; stop other programs, or raise the limit of "
                        "processes and threads (ulimit -u)");
}

bool zi_server_start(const zi_server_options *options, zi_server **out, zi_error *error)
{
    running_server *running = calloc(1, sizeof *running);
    if (!running) return zi_error_no_memory(error, sizeof *running);
    running->server.options = *options;
    running->server.began = zi_wall_seconds();
    running->server.started = zi_monotonic_seconds();
    if (!start_components(running, error)) {
        zi_server_stop(&running->server);
        return false;
    }
    *out = &running->server;
    return true;
}

const char *zi_server_url(const zi_server *server)
{
    return server->url;
}

/* Closes the ring, and waits until the streams have sent their last events and ended; at most one
 * second, for clients that do not read. */
static void end_event_streams(zi_events *events)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    zi_events_close(events);
    for (int i = 0; i < 200 && zi_event_streams_count(); i++) nanosleep(&pause, NULL);
}

void zi_server_stop(zi_server *server)
{
    running_server *running = (running_server *)server;
    if (!server) return;
    atomic_store(&running->stopping, true);
    if (running->has_ticker) pthread_join(running->ticker, NULL);
    /* Clients can tell jobs that are cancelled now from those that somebody cancelled. */
    if (server->events) zi_events_publish(server->events, "stopping", NULL);
    if (server->jobs) zi_jobs_close(server->jobs);
    zi_worker_join(server->worker);
    zi_scanner_stop(server->scanner);
    if (server->events) end_event_streams(server->events);
    zi_http_stop(server);
    zi_worker_free(server->worker);
    zi_engine_free(server->engine);
    zi_links_free(server->links);
    zi_history_close(server->history);
    zi_scanner_free(server->scanner);
    zi_registry_close(server->registry);
    zi_jobs_free(server->jobs);
    zi_connections_free(server->connections);
    zi_log_free(server->log);
    zi_events_free(server->events);
    zi_access_free(server->access);
    zi_assets_free(server->assets);
    free(server->openapi);
    free(running);
}
