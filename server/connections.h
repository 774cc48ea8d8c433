/* Open TCP connections and their time limits. */
#ifndef ZI_SERVER_CONNECTIONS_H
#define ZI_SERVER_CONNECTIONS_H

#include "base/error.h"

typedef struct zi_connections zi_connections;

/* What the server does with a connection. A limit counts from the change of state, however slowly
 * bytes arrive. */
typedef enum {
    ZI_CONNECTION_HEADERS, /* waits for request headers, also between requests: at most 20 s */
    ZI_CONNECTION_BODY,    /* receives a request body: at most 60 s */
    ZI_CONNECTION_UPLOAD, /* receives an uploaded file: no limit beside libmicrohttpd's idle timeout
                           */
    ZI_CONNECTION_RESPONSE /* sends a response: no limit beside the idle timeout */
} zi_connection_state;

/* Creates an empty list. Also raises RLIMIT_NOFILE of this process, for good, as far as allowed and
 * needed; if that fails, zi_connections_limit is less. NULL: out of memory. */
zi_connections *zi_connections_create(void);

/* Frees the list, from which all connections must have been removed. NULL is allowed. */
void zi_connections_free(zi_connections *connections);

/* The maximum number of simultaneous connections, from RLIMIT_NOFILE; at most 16384. It does not
 * change after zi_connections_create. */
unsigned zi_connections_limit(const zi_connections *connections);

typedef struct zi_connection zi_connection;

/* Registers an accepted socket, which stays the caller's, in state ZI_CONNECTION_HEADERS, until
 * zi_connection_remove. NULL when out of memory: the connection is then served without time limits,
 * and not counted. */
zi_connection *zi_connection_add(zi_connections *connections, int socket);

/* Sets what the server does with a connection and restarts its time limit, even if the state stays
 * the same. Does nothing when connection is NULL. */
void zi_connection_set_state(zi_connections *connections, zi_connection *connection,
                             zi_connection_state state);

/* Removes a connection that has ended and frees it; its socket is not closed here. NULL is
 * allowed. */
void zi_connection_remove(zi_connections *connections, zi_connection *connection);

/* Shuts down the sockets of connections over the time limit of their state. When more than 3/4 of
 * all places are taken, also of those that have waited longest for headers, idle ones included,
 * until 3/4 are taken. Call once a second. */
void zi_connections_close_slow(zi_connections *connections);

#endif
