/* Streams of server-sent events. */
#include "server/http.h"
#include "server/job_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16 << 10, MAX_PENDING = 64 << 10, MAX_SNAPSHOT = 64 << 20 };

typedef struct {
    zi_server *server;
    zi_event_stream_options options;
    zi_waiter waiter;
    uint64_t cursor;
    zi_text pending; /* to be sent, from offset on */
    size_t offset;
    bool needs_snapshot, ended, was_suspended;
} stream;

static atomic_size_t open_streams;

size_t zi_event_streams_count(void)
{
    return atomic_load(&open_streams);
}

/* Appends an event in the format of text/event-stream. data: one line. */
static void print_event(uint64_t id, const char *name, const char *data, zi_text *out)
{
    zi_text_printf(out, "id: %" PRIu64 "\nevent: %s\ndata: ", id, name);
    zi_text_puts(out, data);
    zi_text_puts(out, "\n\n");
}

/* Whether this is the name of a job's last event. */
static bool is_final_event(const char *name)
{
    return !strcmp(name, "done") || !strcmp(name, "failed") || !strcmp(name, "cancelled");
}

/* The zi_event_formatter of the native API; user: the stream's job id, a uint64_t *. Appends every
 * event. False: it was the last event of the stream's one job; a stream of all jobs (0) goes on. */
static bool format_native(void *user, const zi_event *event, zi_text *out)
{
    uint64_t job = *(uint64_t *)user;
    print_event(event->id, event->name, event->data, out);
    return !job || !is_final_event(event->name);
}

/* zi_event_stream_options.snapshot of the native API. Appends an event "snapshot" with this job or
 * all (0) and the server's start; *cursor becomes the latest event that it includes. False: the
 * stream's job has ended or does not exist. Out of memory: it appends nothing, with the same
 * *cursor and result. */
static bool snapshot_native(void *user, zi_server *server, uint64_t job, uint64_t *cursor,
                            zi_text *out)
{
    (void)user;
    bool ended = false;
    cJSON *json = zi_jobs_snapshot_json(server->jobs, job, cursor, &ended);
    cJSON_AddNumberToObject(json, "began", server->began);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text) print_event(*cursor, "snapshot", text, out);
    cJSON_free(text);
    return !(job && ended);
}

/* A callback of zi_events_read; user: the stream. Appends an event to `pending`. False: stop
 * reading, since the stream ends or enough is pending. */
static bool append_event(void *user, const zi_event *event)
{
    stream *s = user;
    s->ended = !s->options.format(s->options.user, event, &s->pending);
    return !s->ended && s->pending.size < MAX_PENDING;
}

/* Replaces `pending` by new events (possibly none) or, at the start and where events were lost, by
 * a snapshot. Moves the cursor, and sets `ended` when the stream ends with it. Out of memory:
 * pending.failed is set. */
static void read_pending(stream *s)
{
    zi_text_free(&s->pending);
    zi_text_init(&s->pending, MAX_SNAPSHOT);
    s->offset = 0;
    if (!s->needs_snapshot &&
        zi_events_read(s->server->events, s->options.job, &s->cursor, append_event, s)) {
        if (s->options.append_deferred) s->options.append_deferred(s->options.user, &s->pending);
        return;
    }
    s->needs_snapshot = false;
    s->ended =
        !s->options.snapshot(s->options.user, s->server, s->options.job, &s->cursor, &s->pending);
}

/* MHD_ContentReaderCallback; user: the stream. Copies pending bytes to buffer and returns their
 * number. 0: there are none, and the connection is suspended until there are events; when it
 * resumes without any, it sends a keep-alive comment. Ends the stream after its last event or at
 * shutdown. */
static ssize_t read_stream(void *user, uint64_t position, char *buffer, size_t max)
{
    (void)position;
    stream *s = user;
    if (s->offset == s->pending.size && !s->ended) read_pending(s);
    if (s->pending.failed) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (s->offset == s->pending.size) {
        if (s->ended || zi_events_closed(s->server->events))
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (!s->was_suspended) {
            s->was_suspended = zi_waiter_suspend(s->server->events, &s->waiter, s->cursor);
            return 0;
        }
        zi_text_puts(&s->pending, ":\n\n"); /* keep-alive comment */
    }
    s->was_suspended = false;
    size_t size = s->pending.size - s->offset;
    if (size > max) size = max;
    memcpy(buffer, s->pending.data + s->offset, size);
    s->offset += size;
    return (ssize_t)size;
}

/* MHD_ContentReaderFreeCallback: the client has disconnected, or the stream has ended. Cancels
 * options.job if the stream has not ended and options.cancels_job is set; then calls
 * options.free_user, if set, and frees the stream. */
static void free_stream(void *user)
{
    stream *s = user;
    atomic_fetch_sub(&open_streams, 1);
    if (s->waiter.listed) zi_waiter_remove(s->server->events, &s->waiter);
    if (s->options.cancels_job && !s->ended) zi_jobs_cancel(s->server->jobs, s->options.job);
    if (s->options.free_user) s->options.free_user(s->options.user);
    zi_text_free(&s->pending);
    free(s);
}

zi_handler_result zi_reply_event_stream(zi_server_request *req,
                                        const zi_event_stream_options *options)
{
    stream *s = calloc(1, sizeof *s);
    if (!s) {
        if (options->cancels_job) zi_jobs_cancel(req->server->jobs, options->job);
        if (options->free_user) options->free_user(options->user);
        return MHD_NO;
    }
    s->server = req->server;
    s->options = *options;
    if (!s->options.format) {
        s->options.format = format_native;
        s->options.user = &s->options.job;
    }
    if (!s->options.snapshot) s->options.snapshot = snapshot_native;
    s->cursor = options->cursor;
    s->needs_snapshot = !options->resumes;
    s->waiter = (zi_waiter){.connection = req->connection, .job = options->job};
    zi_text_init(&s->pending, MAX_SNAPSHOT);
    atomic_fetch_add(&open_streams, 1);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, s, free_stream);
    if (!response) {
        free_stream(s);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    return zi_reply(req, MHD_HTTP_OK, response);
}
