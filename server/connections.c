#include "server/connections.h"
#include "server/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    MOST = 16384,
    OTHER_FILES = 200, /* that the program has open beside connections */
    HEADER_SECONDS = 20,
    BODY_SECONDS = 60
};

struct zi_connection {
    int socket;
    zi_stage_of_connection stage;
    double since; /* when the stage began */
    bool ended;
    zi_connection *before, *after;
};

struct zi_connections {
    pthread_mutex_t mutex;
    unsigned limit;
    size_t count;
    /* In the order in which their stages began: the first waits longest. */
    zi_connection *first, *last;
};

static unsigned choose_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return 256;
    rlim_t wanted = MOST + OTHER_FILES;
    if (files.rlim_cur < wanted) {
        files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_NOFILE, &files) != 0)
            return 256;
    }
    if (files.rlim_cur >= wanted) return MOST;
    return files.rlim_cur > 2 * OTHER_FILES ? (unsigned)files.rlim_cur - OTHER_FILES
                                            : (unsigned)files.rlim_cur / 2;
}

zi_connections *zi_connections_create(void)
{
    zi_connections *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    pthread_mutex_init(&c->mutex, NULL);
    c->limit = choose_limit();
    return c;
}

void zi_connections_free(zi_connections *connections)
{
    if (!connections) return;
    pthread_mutex_destroy(&connections->mutex);
    free(connections);
}

unsigned zi_connections_limit(const zi_connections *connections)
{
    return connections->limit;
}

static void take_out(zi_connections *all, zi_connection *c)
{
    *(c->before ? &c->before->after : &all->first) = c->after;
    *(c->after ? &c->after->before : &all->last) = c->before;
}

static void put_last(zi_connections *all, zi_connection *c)
{
    c->before = all->last;
    c->after = NULL;
    *(all->last ? &all->last->after : &all->first) = c;
    all->last = c;
    c->since = zi_monotonic_seconds();
}

zi_connection *zi_connection_add(zi_connections *connections, int socket)
{
    zi_connection *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->socket = socket;
    pthread_mutex_lock(&connections->mutex);
    put_last(connections, c);
    connections->count++;
    pthread_mutex_unlock(&connections->mutex);
    return c;
}

void zi_connection_stage(zi_connections *connections, zi_connection *connection,
                         zi_stage_of_connection stage)
{
    if (!connection) return;
    pthread_mutex_lock(&connections->mutex);
    connection->stage = stage;
    take_out(connections, connection);
    put_last(connections, connection);
    pthread_mutex_unlock(&connections->mutex);
}

void zi_connection_remove(zi_connections *connections, zi_connection *connection)
{
    if (!connection) return;
    pthread_mutex_lock(&connections->mutex);
    take_out(connections, connection);
    connections->count--;
    pthread_mutex_unlock(&connections->mutex);
    free(connection);
}

/* The thread that owns the connection notices and closes it. */
static void end(zi_connection *c)
{
    c->ended = true;
    shutdown(c->socket, SHUT_RDWR);
}

void zi_connections_tick(zi_connections *connections)
{
    double now = zi_monotonic_seconds();
    pthread_mutex_lock(&connections->mutex);
    size_t room = connections->limit / 4 * 3, left = connections->count;
    for (zi_connection *c = connections->first; c; c = c->after) {
        double waited = now - c->since;
        bool headers = c->stage == ZI_WAITS_FOR_HEADERS;
        bool late = (headers && waited > HEADER_SECONDS) ||
                    (c->stage == ZI_WAITS_FOR_BODY && waited > BODY_SECONDS);
        bool crowded = headers && left > room;
        if (!late && !crowded) continue;
        if (!c->ended) end(c);
        left--;
    }
    pthread_mutex_unlock(&connections->mutex);
}
