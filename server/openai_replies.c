/* Replies of OpenAI's images API: one with all images, or a stream of events. */
#include "server/openai.h"
#include "server/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REPLY ((size_t)1 << 30)

/* ---- replies ---- */

/* The file format that output_format stands for: PNG if it was not given. */
static zi_format format_of(const zi_openai_request *r)
{
    return (zi_format)(ZI_FORMAT_PNG + r->client.format);
}

/* output_compression as quality of JPEG and WebP, 1 to 100: 0 becomes 1. */
static int jpeg_quality(const zi_openai_request *r)
{
    return r->client.compression ? r->client.compression : 1;
}

/* Adds the members that replies and events share to json: background (always "opaque"),
 * output_format, quality if it is known, and size, "WxH" in pixels. */
static void add_common(cJSON *json, const zi_openai_request *r, int width, int height)
{
    char size[32];
    snprintf(size, sizeof size, "%dx%d", width, height);
    cJSON_AddStringToObject(json, "background", "opaque");
    cJSON_AddStringToObject(json, "output_format", zi_client_formats[r->client.format]);
    if (r->quality[0]) cJSON_AddStringToObject(json, "quality", r->quality);
    cJSON_AddStringToObject(json, "size", size);
}

/* The value of an integer member, without its fraction and within the range of int; 0 when it is
 * missing or no number, or object is NULL. */
static int json_int(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valueint : 0;
}

/* Appends {"url": ...} of an image in the requested format on this server, which needs no API
 * key. */
static void append_url(zi_server_request *req, const zi_openai_request *r, const char *id,
                       zi_text *out)
{
    zi_text url;
    bool png = format_of(r) == ZI_FORMAT_PNG;
    zi_text_init(&url, 1 << 12);
    zi_server_request_image_link(req, id, zi_client_formats[r->client.format],
                                 png ? 0 : jpeg_quality(r), &url);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "url", url.failed ? "" : url.data);
    zi_text_free(&url);
    zi_compat_append_open_object(json, out);
    zi_text_puts(out, "}");
}

/* Appends {"url": ...}, even of a deleted image, or {"b64_json": ...}, as requested. False: the
 * image cannot be read; *error is filled, and `out` has an incomplete one. A lack of memory may
 * show in out->failed alone. */
static bool append_image_data(zi_server_request *req, const zi_openai_request *r, const char *id,
                              zi_text *out, zi_error *error)
{
    if (r->response == ZI_OPENAI_URL) {
        append_url(req, r, id, out);
        return true;
    }
    zi_text_puts(out, "{\"b64_json\":\"");
    bool ok = zi_compat_append_image(req->server, id, format_of(r), jpeg_quality(r), out, error);
    zi_text_puts(out, "\"}");
    return ok;
}

/* Replies 200 with all images of a job that has at least one; "created" and "size" are the first
 * one's. With b64_json it replies 500 when one cannot be read, such as when it was deleted
 * meanwhile; URLs are not checked. */
static zi_handler_result reply_with_images(zi_server_request *req, const zi_openai_request *r,
                                           const zi_job_status *status)
{
    zi_text out;
    zi_error error = {0};
    cJSON *json = cJSON_CreateObject(), *first;
    bool ok = zi_history_get_row(req->server->history, status->images[0], &first, &error);
    cJSON_AddNumberToObject(json, "created", json_int(first, "created"));
    add_common(json, r, json_int(first, "width"), json_int(first, "height"));
    cJSON_Delete(first);
    zi_text_init(&out, MAX_REPLY);
    zi_compat_append_open_object(json, &out);
    zi_text_puts(&out, ",\"data\":[");
    for (size_t i = 0; i < status->image_count; i++) {
        if (i) zi_text_puts(&out, ",");
        ok = ok && append_image_data(req, r, status->images[i], &out, &error);
    }
    zi_text_puts(&out, "]}");
    if (ok) return zi_compat_reply_json_text(req, &out);
    zi_text_free(&out);
    return zi_reply_library_error(req, 500, &error);
}

/* Fills *why for a job that has ended without images, by its state: it was cancelled (409), its
 * images were deleted (ZI_JOB_DONE, 409), or it has no record any more (ZI_JOB_UNKNOWN, 500). For a
 * failed job *why stays as it is: its error is there. */
static void set_no_images_error(zi_job_state state, zi_http_error *why)
{
    if (state == ZI_JOB_CANCELLED)
        zi_http_error_set(
            why, 409, NULL,
            "the job was cancelled before its first image was finished; send the request again");
    if (state == ZI_JOB_DONE)
        zi_http_error_set(
            why, 409, NULL,
            "the images of this request were deleted before they could be sent; send the "
            "request again");
    if (state == ZI_JOB_UNKNOWN) zi_http_error_forgotten_job(why);
}

zi_handler_result zi_openai_reply_when_done(zi_server_request *req)
{
    zi_job_status status;
    zi_job_state state;
    zi_http_error why;
    zi_handler_result result;
    if (!zi_compat_job_ended(req, &state, &why, &result)) return result;
    zi_jobs_status(req->server->jobs, req->job, &status, NULL);
    if (state == ZI_JOB_DONE) state = status.state; /* forgotten meanwhile, or out of memory */
    if (state == ZI_JOB_DONE && status.image_count) {
        result = reply_with_images(req, req->user, &status);
    } else {
        set_no_images_error(state, &why);
        result = zi_reply_http_error(req, &why);
    }
    zi_job_status_free(&status);
    return result;
}

/* ---- streams ---- */

/* A zi_event_formatter; user: the zi_openai_request. Appends nothing, since the events are locked:
 * it notes in `pending` and `ended` that there is something to send. False: the job has ended. */
static bool note_event(void *user, const zi_event *event, zi_text *out)
{
    zi_openai_request *r = user;
    (void)out;
    r->ended = !strcmp(event->name, "done") || !strcmp(event->name, "failed") ||
               !strcmp(event->name, "cancelled");
    r->pending |= r->ended || !strcmp(event->name, "preview") || !strcmp(event->name, "image");
    return !r->ended;
}

/* Appends an event of this type up to the opening quote of its b64_json; the caller appends the
 * data and closes it. index: of a partial image, from 0; -1: none. width, height: in pixels. */
static void append_open_event(const zi_openai_request *r, const char *type, int index, int width,
                              int height, zi_text *out)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "type", type);
    cJSON_AddNumberToObject(json, "created_at", (double)(long long)zi_wall_seconds());
    add_common(json, r, width, height);
    if (index >= 0) cJSON_AddNumberToObject(json, "partial_image_index", index);
    zi_text_printf(out, "event: %s\ndata: ", type);
    zi_compat_append_open_object(json, out);
    zi_text_puts(out, ",\"b64_json\":\"");
}

/* Appends an event "error", whose data is OpenAI's error object for this HTTP status. */
static void append_error_event(unsigned status, const char *message, zi_text *out)
{
    cJSON *json = zi_openai_error(status, message, NULL);
    cJSON_AddStringToObject(json, "type", "error");
    zi_text_puts(out, "event: error\ndata: ");
    zi_compat_append_open_object(json, out);
    zi_text_puts(out, "}\n\n");
}

/* Appends the event "image_generation.completed" of a finished image; nothing when the image was
 * deleted. When its file cannot be read, out->failed is set, which ends the stream. */
static void append_image_event(zi_openai_request *r, const char *id, zi_text *out)
{
    cJSON *row;
    if (!zi_history_get_row(r->server->history, id, &row, NULL) || !row)
        return; /* it was deleted */
    append_open_event(r, "image_generation.completed", -1, json_int(row, "width"),
                      json_int(row, "height"), out);
    cJSON_Delete(row);
    if (!zi_compat_append_image(r->server, id, format_of(r), jpeg_quality(r), out, NULL))
        out->failed = true; /* the line is incomplete: close the stream */
    zi_text_puts(out, "\"}\n\n");
}

/* Returns a preview in the requested format, in base64, in new memory; NULL: it could not be
 * converted, or out of memory. */
static char *preview_base64(const zi_openai_request *r, const zi_job_preview *preview)
{
    size_t size;
    uint8_t *data = NULL;
    zi_image *image = NULL;
    zi_error error = {0};
    zi_save_options save = {.format = format_of(r), .quality = jpeg_quality(r)};
    if (save.format == ZI_FORMAT_PNG) return zi_base64_encode(preview->png, preview->size);
    bool ok = zi_image_decode(preview->png, preview->size, 0, &image, NULL, &error) &&
              zi_image_encode(image, &save, &data, &size, &error);
    char *text = ok ? zi_base64_encode(data, size) : NULL;
    zi_image_free(image);
    free(data);
    return text;
}

/* Appends an event with the latest preview if one is due, and notes that in r. Due is the first
 * preview in each of the `partial_images + 1` equal parts of an image's steps, except the first
 * part. The event's size is the preview's own. Nothing if the preview cannot be converted. */
static void append_due_preview_event(zi_openai_request *r, const zi_job_status *status,
                                     zi_text *out)
{
    const zi_job_preview *preview = &status->preview;
    int steps = status->progress.steps;
    if (!preview->png || (size_t)preview->image <= r->images_sent || steps < 1 ||
        preview->step >= steps)
        return;
    int level = preview->step * (r->partial + 1) / steps;
    if (level <= r->preview_level) return;
    char *data = preview_base64(r, preview);
    if (!data) return;
    append_open_event(r, "image_generation.partial_image", r->previews_sent++, preview->width,
                      preview->height, out);
    zi_text_puts(out, data);
    zi_text_puts(out, "\"}\n\n");
    r->preview_level = level;
    free(data);
}

/* Appends the event "error": with status 409 for a cancelled job, 500 for one whose record is gone;
 * any other state counts as failed, with status 500 and the text of status->error. */
static void append_failure_event(const zi_job_status *status, zi_text *out)
{
    zi_http_error why = status->error; /* of a failed job */
    why.status = 500;
    set_no_images_error(status->state, &why);
    append_error_event(why.status, why.text, out);
}

/* Appends events for the images, preview and failure in status that were not sent yet, and notes in
 * r that they were. */
static void append_unsent_events(zi_openai_request *r, const zi_job_status *status, zi_text *out)
{
    while (r->images_sent < status->image_count) {
        append_image_event(r, status->images[r->images_sent++], out);
        r->previews_sent = r->preview_level = 0;
    }
    append_due_preview_event(r, status, out);
    if (r->failed) return; /* already sent */
    r->failed = status->state > ZI_JOB_DONE;
    if (r->failed) append_failure_event(status, out);
}

/* zi_event_stream_options.snapshot; user: the zi_openai_request. Appends what was not sent yet of
 * job `id`; *cursor becomes the latest event that this includes. False: the job has ended, or has
 * no record any more, which is an event "error". */
static bool append_snapshot(void *user, zi_server *server, uint64_t id, uint64_t *cursor,
                            zi_text *out)
{
    zi_job_status status;
    zi_jobs_status(server->jobs, id, &status, cursor);
    bool ended = status.state > ZI_JOB_RUNNING;
    append_unsent_events(user, &status, out);
    zi_job_status_free(&status);
    return !ended;
}

/* zi_event_stream_options.append_deferred; user: the zi_openai_request. Appends what was not sent
 * yet if note_event has noted that there is something. */
static void append_noted_events(void *user, zi_text *out)
{
    zi_openai_request *r = user;
    uint64_t cursor;
    if (r->pending) append_snapshot(r, r->server, r->job, &cursor, out);
    r->pending = false;
}

zi_handler_result zi_openai_reply_stream(zi_server_request *req, uint64_t cursor)
{
    zi_openai_request *r = req->user;
    zi_event_stream_options options = {.job = req->job,
                                       .cursor = cursor,
                                       .resumes = true,
                                       .cancels_job = true,
                                       .format = note_event,
                                       .append_deferred = append_noted_events,
                                       .snapshot = append_snapshot,
                                       .user = r,
                                       .free_user = free};
    r->server = req->server;
    r->job = req->job;
    req->user = NULL; /* it is the stream's now */
    req->cancel_job = false;
    return zi_reply_event_stream(req, &options);
}
