#include "server/events.h"
#include "server/log.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { RING_SIZE = 2048, MAX_BYTES = 8 << 20, MAX_SUSPEND_SECONDS = 15 };

typedef struct {
    uint64_t job;
    const char *name;
    char *data; /* NULL: superseded or dropped */
    size_t size;
    bool transient;
} entry;

struct zi_events {
    pthread_mutex_t mutex;
    entry ring[RING_SIZE];   /* the event with this id is at id % RING_SIZE */
    uint64_t oldest, latest; /* ids in the ring; none when oldest > latest */
    size_t bytes;
    zi_waiter *waiters;
    bool closed;
};

zi_events *zi_events_create(void)
{
    zi_events *events = calloc(1, sizeof *events);
    if (!events) return NULL;
    pthread_mutex_init(&events->mutex, NULL);
    /* Ids of an earlier run are smaller, or if the clock was set back, larger than all of this run:
     * a client that resumes from one gets a snapshot. */
    events->latest = (uint64_t)(zi_wall_seconds() * 1000) * 1000;
    events->oldest = events->latest + 1;
    return events;
}

/* Frees an event's JSON, if it has any, and subtracts it from events->bytes; the event keeps its
 * id, but readers skip it. The mutex is held, or nobody else uses the ring. */
static void drop_event_data(zi_events *events, entry *e)
{
    if (e->data) events->bytes -= e->size;
    free(e->data);
    e->data = NULL;
}

void zi_events_free(zi_events *events)
{
    if (!events) return;
    for (size_t i = 0; i < RING_SIZE; i++) drop_event_data(events, &events->ring[i]);
    pthread_mutex_destroy(&events->mutex);
    free(events);
}

/* Resumes a connection, which must be suspended, and clears `suspended`; the waiter stays in the
 * list. The mutex is held. */
static void resume_waiter(zi_waiter *waiter)
{
    waiter->suspended = false;
    MHD_resume_connection(waiter->connection);
}

/* Drops the data of the earlier transient event of this name and job (0: of none), if there is one;
 * at most one has data. The mutex is held. */
static void drop_superseded(zi_events *events, uint64_t job, const char *name)
{
    for (uint64_t id = events->latest; id >= events->oldest; id--) {
        entry *e = &events->ring[id % RING_SIZE];
        if (e->transient && e->job == job && e->data && !strcmp(e->name, name)) {
            drop_event_data(events, e);
            return;
        }
    }
}

/* Drops the oldest events until there is room for one more with size bytes: fewer than RING_SIZE
 * events, and at most MAX_BYTES together with it. A larger one drops all. The mutex is held. */
static void drop_oldest_for_room(zi_events *events, size_t size)
{
    while (events->oldest <= events->latest &&
           (events->latest - events->oldest + 1 >= RING_SIZE || events->bytes + size > MAX_BYTES))
        drop_event_data(events, &events->ring[events->oldest++ % RING_SIZE]);
}

void zi_events_add(zi_events *events, uint64_t job, const char *name, cJSON *data, bool transient)
{
    char *text = data ? cJSON_PrintUnformatted(data) : strdup("{}");
    cJSON_Delete(data);
    if (!text) return; /* out of memory: the event is lost */
    size_t size = strlen(text);
    pthread_mutex_lock(&events->mutex);
    if (transient) drop_superseded(events, job, name);
    drop_oldest_for_room(events, size);
    events->ring[++events->latest % RING_SIZE] = (entry){job, name, text, size, transient};
    events->bytes += size;
    pthread_mutex_unlock(&events->mutex);
}

void zi_events_wake(zi_events *events, uint64_t job)
{
    pthread_mutex_lock(&events->mutex);
    for (zi_waiter *s = events->waiters; s; s = s->next)
        if (s->suspended && (!s->job || s->job == job)) resume_waiter(s);
    pthread_mutex_unlock(&events->mutex);
}

void zi_events_publish(zi_events *events, const char *name, cJSON *data)
{
    zi_events_add(events, 0, name, data, false);
    zi_events_wake(events, 0);
}

uint64_t zi_events_latest(zi_events *events)
{
    pthread_mutex_lock(&events->mutex);
    uint64_t latest = events->latest;
    pthread_mutex_unlock(&events->mutex);
    return latest;
}

bool zi_events_read(zi_events *events, uint64_t job, uint64_t *cursor,
                    bool (*each)(void *user, const zi_event *event), void *user)
{
    pthread_mutex_lock(&events->mutex);
    bool known = *cursor + 1 >= events->oldest && *cursor <= events->latest, more = true;
    while (known && more && *cursor < events->latest) {
        uint64_t id = ++*cursor;
        const entry *e = &events->ring[id % RING_SIZE];
        zi_event event = {id, e->job, e->name, e->data};
        if (e->data && (!job || e->job == job)) more = each(user, &event);
    }
    pthread_mutex_unlock(&events->mutex);
    return known;
}

/* Whether there is an event above cursor (of job; 0: of all) that was not replaced since; also true
 * if any event above cursor was dropped for room, or cursor is above all ids. The mutex is held. */
static bool has_new_event(const zi_events *events, uint64_t job, uint64_t cursor)
{
    if (cursor + 1 < events->oldest || cursor > events->latest) return true;
    for (uint64_t id = cursor + 1; id <= events->latest; id++) {
        const entry *e = &events->ring[id % RING_SIZE];
        if (e->data && (!job || e->job == job)) return true;
    }
    return false;
}

/* The file descriptor of a connection, which still owns it; -1: unknown. */
static int connection_socket(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

bool zi_socket_peer_closed(int socket)
{
    char byte;
    ssize_t size = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool zi_waiter_suspend(zi_events *events, zi_waiter *waiter, uint64_t cursor)
{
    pthread_mutex_lock(&events->mutex);
    bool suspends = !events->closed && !has_new_event(events, waiter->job, cursor);
    if (!waiter->listed) {
        waiter->listed = true;
        waiter->next = events->waiters;
        events->waiters = waiter;
    }
    if (suspends) {
        waiter->suspended = true;
        waiter->suspended_at = zi_monotonic_seconds();
        waiter->socket = connection_socket(waiter->connection);
        MHD_suspend_connection(waiter->connection);
    }
    pthread_mutex_unlock(&events->mutex);
    return suspends;
}

void zi_waiter_remove(zi_events *events, zi_waiter *waiter)
{
    pthread_mutex_lock(&events->mutex);
    for (zi_waiter **at = &events->waiters; *at; at = &(*at)->next)
        if (*at == waiter) {
            *at = waiter->next;
            break;
        }
    pthread_mutex_unlock(&events->mutex);
}

void zi_events_tick(zi_events *events)
{
    double now = zi_monotonic_seconds();
    pthread_mutex_lock(&events->mutex);
    for (zi_waiter *s = events->waiters; s; s = s->next)
        if (s->suspended &&
            (now - s->suspended_at >= MAX_SUSPEND_SECONDS || zi_socket_peer_closed(s->socket)))
            resume_waiter(s);
    pthread_mutex_unlock(&events->mutex);
}

void zi_events_close(zi_events *events)
{
    pthread_mutex_lock(&events->mutex);
    events->closed = true;
    for (zi_waiter *s = events->waiters; s; s = s->next)
        if (s->suspended) resume_waiter(s);
    pthread_mutex_unlock(&events->mutex);
}

bool zi_events_closed(zi_events *events)
{
    pthread_mutex_lock(&events->mutex);
    bool closed = events->closed;
    pthread_mutex_unlock(&events->mutex);
    return closed;
}
