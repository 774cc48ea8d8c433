/* Who is connected, and for how long they may keep the server waiting. */
#ifndef ZI_SERVER_CONNECTIONS_H
#define ZI_SERVER_CONNECTIONS_H

#include "base/error.h"

typedef struct zi_connections zi_connections;

/* What a client is about to send or receive; each has its time, however slowly bytes drip. */
typedef enum {
    ZI_CONNECTION_HEADERS, /* 20 s for all of a request's headers, and between requests */
    ZI_CONNECTION_BODY,    /* 60 s */
    ZI_CONNECTION_UPLOAD,  /* no limit but that something comes */
    ZI_CONNECTION_RESPONSE /* the same */
} zi_connection_state;

/* Raises the limit of open files as far as it goes. */
zi_connections *zi_connections_create(void); /* NULL when memory is short */
void zi_connections_free(zi_connections *connections);

/* How many there may be at a time. */
unsigned zi_connections_limit(const zi_connections *connections);

/* A connection of socket; NULL when memory is short: it is served without a limit of time. */
typedef struct zi_connection zi_connection;
zi_connection *zi_connection_add(zi_connections *connections, int socket);
void zi_connection_set_state(zi_connections *connections, zi_connection *connection,
                             zi_connection_state state);
void zi_connection_remove(zi_connections *connections, zi_connection *connection);

/* Ends those whose time is over; and, when most places are taken, the ones that have been waiting
 * longest, so that others are served. To be called about once a second. */
void zi_connections_close_slow(zi_connections *connections);

#endif
