#include "server/connections.h"
#include "server/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    MAX_CONNECTIONS = 16384,
    OTHER_FILES = 200, /* file descriptors that are not connections */
    HEADER_SECONDS = 20,
    BODY_SECONDS = 60
};

struct zi_connection {
    int socket;
    zi_connection_state state;
    double state_began; /* zi_monotonic_seconds() of the change of state */
    bool shut_down_sent;
    zi_connection *previous, *next;
};

struct zi_connections {
    pthread_mutex_t mutex;
    unsigned limit;
    size_t count;
    /* In order of state_began: the first has waited longest. */
    zi_connection *first, *last;
};

/* Raises RLIMIT_NOFILE of the process if needed and possible. Returns the number of connections
 * that fit beside OTHER_FILES (200) other files, at most MAX_CONNECTIONS; half the limit if that is
 * 400 or less; 256 if the limit is unknown or setting it failed. */
static unsigned raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return 256;
    rlim_t wanted = MAX_CONNECTIONS + OTHER_FILES;
    if (files.rlim_cur < wanted) {
        files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_NOFILE, &files) != 0)
            return 256;
    }
    if (files.rlim_cur >= wanted) return MAX_CONNECTIONS;
    return files.rlim_cur > 2 * OTHER_FILES ? (unsigned)files.rlim_cur - OTHER_FILES
                                            : (unsigned)files.rlim_cur / 2;
}

zi_connections *zi_connections_create(void)
{
    zi_connections *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    pthread_mutex_init(&c->mutex, NULL);
    c->limit = raise_file_limit();
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

/* Takes a connection out of the list, without freeing or counting it. The mutex is held. */
static void unlink_connection(zi_connections *all, zi_connection *c)
{
    *(c->previous ? &c->previous->next : &all->first) = c->next;
    *(c->next ? &c->next->previous : &all->last) = c->previous;
}

/* Puts a connection, which must not be in the list, at its end, without counting it, and restarts
 * its time limit. The mutex is held. */
static void append_connection(zi_connections *all, zi_connection *c)
{
    c->previous = all->last;
    c->next = NULL;
    *(all->last ? &all->last->next : &all->first) = c;
    all->last = c;
    c->state_began = zi_monotonic_seconds();
}

zi_connection *zi_connection_add(zi_connections *connections, int socket)
{
    zi_connection *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->socket = socket;
    pthread_mutex_lock(&connections->mutex);
    append_connection(connections, c);
    connections->count++;
    pthread_mutex_unlock(&connections->mutex);
    return c;
}

void zi_connection_set_state(zi_connections *connections, zi_connection *connection,
                             zi_connection_state state)
{
    if (!connection) return;
    pthread_mutex_lock(&connections->mutex);
    connection->state = state;
    unlink_connection(connections, connection);
    append_connection(connections, connection);
    pthread_mutex_unlock(&connections->mutex);
}

void zi_connection_remove(zi_connections *connections, zi_connection *connection)
{
    if (!connection) return;
    pthread_mutex_lock(&connections->mutex);
    unlink_connection(connections, connection);
    connections->count--;
    pthread_mutex_unlock(&connections->mutex);
    free(connection);
}

/* Shuts the socket down for both directions and sets shut_down_sent. libmicrohttpd's thread then
 * notices, closes the connection and removes c. The mutex is held. */
static void shut_socket_down(zi_connection *c)
{
    c->shut_down_sent = true;
    shutdown(c->socket, SHUT_RDWR);
}

void zi_connections_close_slow(zi_connections *connections)
{
    double now = zi_monotonic_seconds();
    pthread_mutex_lock(&connections->mutex);
    size_t room = connections->limit / 4 * 3, left = connections->count;
    for (zi_connection *c = connections->first; c; c = c->next) {
        double waited = now - c->state_began;
        bool headers = c->state == ZI_CONNECTION_HEADERS;
        bool late = (headers && waited > HEADER_SECONDS) ||
                    (c->state == ZI_CONNECTION_BODY && waited > BODY_SECONDS);
        bool crowded = headers && left > room;
        if (!late && !crowded) continue;
        if (!c->shut_down_sent) shut_socket_down(c);
        left--;
    }
    pthread_mutex_unlock(&connections->mutex);
}
