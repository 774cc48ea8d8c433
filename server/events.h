/* Server-sent events: a ring of the latest ones, and suspended connections that wait for new ones.
 */
#ifndef ZI_SERVER_EVENTS_H
#define ZI_SERVER_EVENTS_H

#include "base/error.h"
#include "base/text.h"

#include <cJSON.h>

struct MHD_Connection;

typedef struct zi_events zi_events;

typedef struct {
    uint64_t id;  /* increases by 1; also larger than all ids before a restart */
    uint64_t job; /* id of the job it belongs to; 0: none */
    const char *name;
    const char *data; /* JSON */
} zi_event;

/* A connection that is suspended until there are new events. Set connection and job, and zero the
 * rest, before the first use. Owned by the caller. */
typedef struct zi_waiter {
    struct MHD_Connection *connection;
    uint64_t job; /* resumes for events of this job only; 0: for all events */
    bool suspended, listed;
    double suspended_at; /* zi_monotonic_seconds() when it was suspended */
    int socket;
    struct zi_waiter *next;
} zi_waiter;

/* Creates an empty ring. Its first id follows from the clock, so that ids are larger than before a
 * restart. NULL: out of memory. */
zi_events *zi_events_create(void);

/* Frees the ring and its events. NULL is allowed. No connection may be suspended any more. */
void zi_events_free(zi_events *events);

/* Appends an event to the ring without resuming waiters. Deletes data, of which NULL means {};
 * name is not copied, so that it must be a constant. A transient event replaces the earlier one of
 * the same name and job. Out of memory: the event is lost. */
void zi_events_add(zi_events *events, uint64_t job, const char *name, cJSON *data, bool transient);

/* Resumes the suspended waiters for this job and those for all events; job 0: the latter alone.
 * Adds no event. */
void zi_events_wake(zi_events *events, uint64_t job);

/* Appends an event that is not transient and belongs to no job, and resumes the waiters for all
 * events. Deletes data; NULL means {}. */
void zi_events_publish(zi_events *events, const char *name, cJSON *data);

/* The id of the latest event; before the first one, the id that precedes it. */
uint64_t zi_events_latest(zi_events *events);

/* Calls `each` for every kept event of this job, or of all (0), above *cursor, until it returns
 * false; *cursor becomes the last id read. The ring is locked: `each` must not call functions of
 * this file. Returns false, without reading, when such events were dropped or *cursor is above all
 * ids. */
bool zi_events_read(zi_events *events, uint64_t job, uint64_t *cursor,
                    bool (*each)(void *user, const zi_event *event), void *user);

/* Suspends the connection until there is an event of waiter->job above cursor, the client
 * disconnects, or 15 seconds pass. False, without suspending: there is one already, or the ring is
 * closed. Lists the waiter in both cases, so that zi_waiter_remove must follow. */
bool zi_waiter_suspend(zi_events *events, zi_waiter *waiter, uint64_t cursor);

/* Takes the waiter out of the list of waiters, without freeing or resuming it. Must be called
 * before it is freed. Its connection must have ended. */
void zi_waiter_remove(zi_events *events, zi_waiter *waiter);

/* Resumes waiters that were suspended for 15 seconds, and those whose client has disconnected. Call
 * once a second. */
void zi_events_tick(zi_events *events);

/* Whether the client has closed this socket, or it has an error. Does not block and reads nothing
 * away. libmicrohttpd does not notice while a connection is suspended. */
bool zi_socket_peer_closed(int socket);

/* Resumes all waiters and lets none be suspended any more: the server is shutting down. Events can
 * still be added and read. */
void zi_events_close(zi_events *events);

/* Whether zi_events_close was called. */
bool zi_events_closed(zi_events *events);

#endif
