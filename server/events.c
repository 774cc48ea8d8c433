#include "server/events.h"
#include "server/log.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { RING = 2048, MAX_BYTES = 8 << 20, PATIENCE = 15 };

typedef struct {
    uint64_t job;
    const char *name;
    char *data; /* NULL: replaced by a later one, or dropped */
    size_t size;
    bool passing;
} entry;

struct zi_events {
    pthread_mutex_t mutex;
    entry ring[RING];        /* event number id is at id % RING */
    uint64_t oldest, latest; /* numbers: what is in the ring; none when oldest > latest */
    size_t bytes;
    zi_sleeper *sleepers;
    bool closed;
};

zi_events *zi_events_create(void)
{
    zi_events *events = calloc(1, sizeof *events);
    if (!events) return NULL;
    pthread_mutex_init(&events->mutex, NULL);
    /* Numbers of an earlier run are smaller: who continues one gets a snapshot. */
    events->latest = (uint64_t)(zi_wall_seconds() * 1000) * 1000;
    events->oldest = events->latest + 1;
    return events;
}

static void drop(zi_events *events, entry *e)
{
    if (e->data) events->bytes -= e->size;
    free(e->data);
    e->data = NULL;
}

void zi_events_free(zi_events *events)
{
    if (!events) return;
    for (size_t i = 0; i < RING; i++) drop(events, &events->ring[i]);
    pthread_mutex_destroy(&events->mutex);
    free(events);
}

static void wake(zi_sleeper *sleeper)
{
    sleeper->asleep = false;
    MHD_resume_connection(sleeper->connection);
}

static void supersede(zi_events *events, uint64_t job, const char *name)
{
    for (uint64_t id = events->latest; id >= events->oldest; id--) {
        entry *e = &events->ring[id % RING];
        if (e->passing && e->job == job && e->data && !strcmp(e->name, name)) {
            drop(events, e);
            return;
        }
    }
}

/* The oldest leave the ring until there is room for one more of that size. */
static void make_room(zi_events *events, size_t size)
{
    while (events->oldest <= events->latest &&
           (events->latest - events->oldest + 1 >= RING || events->bytes + size > MAX_BYTES))
        drop(events, &events->ring[events->oldest++ % RING]);
}

void zi_events_add(zi_events *events, uint64_t job, const char *name, cJSON *data, bool passing)
{
    char *text = data ? cJSON_PrintUnformatted(data) : strdup("{}");
    cJSON_Delete(data);
    if (!text) return; /* memory is short: a stream that misses something is better than none */
    size_t size = strlen(text);
    pthread_mutex_lock(&events->mutex);
    if (passing) supersede(events, job, name);
    make_room(events, size);
    events->ring[++events->latest % RING] = (entry){job, name, text, size, passing};
    events->bytes += size;
    pthread_mutex_unlock(&events->mutex);
}

void zi_events_wake(zi_events *events, uint64_t job)
{
    pthread_mutex_lock(&events->mutex);
    for (zi_sleeper *s = events->sleepers; s; s = s->next)
        if (s->asleep && (!s->job || s->job == job)) wake(s);
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
        const entry *e = &events->ring[id % RING];
        zi_event event = {id, e->job, e->name, e->data};
        if (e->data && (!job || e->job == job)) more = each(user, &event);
    }
    pthread_mutex_unlock(&events->mutex);
    return known;
}

static bool is_news(const zi_events *events, uint64_t job, uint64_t cursor)
{
    if (cursor + 1 < events->oldest || cursor > events->latest) return true;
    for (uint64_t id = cursor + 1; id <= events->latest; id++) {
        const entry *e = &events->ring[id % RING];
        if (e->data && (!job || e->job == job)) return true;
    }
    return false;
}

static int socket_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

bool zi_peer_gone(int socket)
{
    char byte;
    ssize_t size = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool zi_sleep(zi_events *events, zi_sleeper *sleeper, uint64_t cursor)
{
    pthread_mutex_lock(&events->mutex);
    bool sleeps = !events->closed && !is_news(events, sleeper->job, cursor);
    if (!sleeper->listed) {
        sleeper->listed = true;
        sleeper->next = events->sleepers;
        events->sleepers = sleeper;
    }
    if (sleeps) {
        sleeper->asleep = true;
        sleeper->since = zi_monotonic_seconds();
        sleeper->socket = socket_of(sleeper->connection);
        MHD_suspend_connection(sleeper->connection);
    }
    pthread_mutex_unlock(&events->mutex);
    return sleeps;
}

void zi_sleeper_remove(zi_events *events, zi_sleeper *sleeper)
{
    pthread_mutex_lock(&events->mutex);
    for (zi_sleeper **at = &events->sleepers; *at; at = &(*at)->next)
        if (*at == sleeper) {
            *at = sleeper->next;
            break;
        }
    pthread_mutex_unlock(&events->mutex);
}

void zi_events_tick(zi_events *events)
{
    double now = zi_monotonic_seconds();
    pthread_mutex_lock(&events->mutex);
    for (zi_sleeper *s = events->sleepers; s; s = s->next)
        if (s->asleep && (now - s->since >= PATIENCE || zi_peer_gone(s->socket))) wake(s);
    pthread_mutex_unlock(&events->mutex);
}

void zi_events_close(zi_events *events)
{
    pthread_mutex_lock(&events->mutex);
    events->closed = true;
    for (zi_sleeper *s = events->sleepers; s; s = s->next)
        if (s->asleep) wake(s);
    pthread_mutex_unlock(&events->mutex);
}

bool zi_events_closed(zi_events *events)
{
    pthread_mutex_lock(&events->mutex);
    bool closed = events->closed;
    pthread_mutex_unlock(&events->mutex);
    return closed;
}
