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
 * restart unless the clock was set back. NULL: out of memory. */
zi_events *zi_events_create(void);

/* Frees the ring and its events. NULL is allowed. All waiters must have been removed. */
void zi_events_free(zi_events *events);

/* Appends an event of this job (0: of none) to the ring without resuming waiters. Deletes data, of
 * which NULL means {}; name is not copied, so that it must be a constant. A transient event gets a
 * new id and removes the earlier one of the same name and job. Out of memory: it is lost, and takes
 * no id. */
void zi_events_add(zi_events *events, uint64_t job, const char *name, cJSON *data, bool transient);

/* Resumes the suspended waiters for this job and those for all events; job 0: the latter alone.
 * Call it after zi_events_add, which resumes none. */
void zi_events_wake(zi_events *events, uint64_t job);

/* Appends an event that is not transient and belongs to no job, as zi_events_add does, and resumes
 * the waiters for all events. Deletes data; NULL means {}. name must be a constant. */
void zi_events_publish(zi_events *events, const char *name, cJSON *data);

/* The id of the latest event; before the first one, the id that precedes it. */
uint64_t zi_events_latest(zi_events *events);

/* Calls `each` for every kept event of this job, or of all (0), above *cursor, until it returns
 * false; *cursor becomes that event's id, else the latest. The ring is locked: `each` must not call
 * functions of this file, and the event is valid during the call. Returns false, *cursor unchanged,
 * when events above *cursor were dropped for room or it is above all ids. */
bool zi_events_read(zi_events *events, uint64_t job, uint64_t *cursor,
                    bool (*each)(void *user, const zi_event *event), void *user);

/* Suspends the connection until there is an event of waiter->job above cursor, the client
 * disconnects, or 15 seconds pass; may be called again after each. False, without suspending: there
 * is such an event already, or the ring is closed. Lists the waiter in both cases, so that
 * zi_waiter_remove must follow. */
bool zi_waiter_suspend(zi_events *events, zi_waiter *waiter, uint64_t cursor);

/* Takes the waiter out of the list of waiters, without freeing or resuming it; does nothing if it
 * is not in it. Must be called before it is freed, if it was ever in it. Its connection must have
 * ended. It cannot be used again. */
void zi_waiter_remove(zi_events *events, zi_waiter *waiter);

/* Resumes waiters that were suspended for 15 seconds, and those whose client has disconnected. Call
 * once a second. */
void zi_events_tick(zi_events *events);

/* Whether the client has closed this socket, or its sending side alone, or it has an error. Unread
 * data hides that. Does not block and reads nothing away. libmicrohttpd does not notice while a
 * connection is suspended. */
bool zi_socket_peer_closed(int socket);

/* Resumes all waiters and lets none be suspended any more: the server is shutting down. Events can
 * still be added and read. */
void zi_events_close(zi_events *events);

/* Whether zi_events_close was called. */
bool zi_events_closed(zi_events *events);

#endif
