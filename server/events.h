/* Events: a ring of recent ones, and connections that sleep until there are new ones. */
#ifndef ZI_SERVER_EVENTS_H
#define ZI_SERVER_EVENTS_H

#include "base/error.h"
#include "base/text.h"

#include <cJSON.h>

struct MHD_Connection;

typedef struct zi_events zi_events;

typedef struct {
    uint64_t id;  /* counts on, also over restarts */
    uint64_t job; /* 0: of none */
    const char *name;
    const char *data; /* JSON */
} zi_event;

/* A connection that waits for events. Zeroed but for connection and job before its first use. */
typedef struct zi_waiter {
    struct MHD_Connection *connection;
    uint64_t job; /* wakes for this one's events only; 0: for all */
    bool suspended, listed;
    double suspended_at; /* when it fell asleep */
    int socket;
    struct zi_waiter *next;
} zi_waiter;

zi_events *zi_events_create(void); /* NULL when memory is short */
void zi_events_free(zi_events *events);

/* Adds an event, which is seen by who is woken after it; takes data over, of which NULL means {}. A
 * passing event replaces the earlier one of the same name and job, so that it takes no room: what
 * counts is the latest. name is a constant. */
void zi_events_add(zi_events *events, uint64_t job, const char *name, cJSON *data, bool transient);

/* Wakes who waits for events of the job. */
void zi_events_wake(zi_events *events, uint64_t job);

/* Adds an event of no job that does not pass, and wakes who waits for it. */
void zi_events_publish(zi_events *events, const char *name, cJSON *data);

/* The number of the latest event. */
uint64_t zi_events_latest(zi_events *events);

/* Calls each for every event behind *cursor (of the job; 0: of all), which moves on; it stops when
 * each returns false. False: events behind *cursor are gone. */
bool zi_events_read(zi_events *events, uint64_t job, uint64_t *cursor,
                    bool (*each)(void *user, const zi_event *event), void *user);

/* Suspends the connection until there is an event behind cursor, for 15 seconds at most; false:
 * there is one already, or the server ends, and it goes on at once. */
bool zi_waiter_suspend(zi_events *events, zi_waiter *waiter, uint64_t cursor);

/* Before the sleeper is freed; its connection is gone. */
void zi_waiter_remove(zi_events *events, zi_waiter *waiter);

/* Wakes who slept long enough for a sign of life, and those whose client has gone; to be called
 * about once a second. */
void zi_events_tick(zi_events *events);

/* Whether the client at the other end closed the connection, which is not noticed in sleep. */
bool zi_socket_peer_closed(int socket);

/* Wakes all and lets nobody sleep any more. */
void zi_events_close(zi_events *events);
bool zi_events_closed(zi_events *events);

#endif
