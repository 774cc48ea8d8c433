/* What OpenAI's clients read: a reply with all images, or a stream. */
#include "server/openai.h"
#include "server/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REPLY ((size_t)1 << 30)

/* ---- replies ---- */

static zi_format format_of(const zi_openai_request *r)
{
    return (zi_format)(ZI_FORMAT_PNG + r->format);
}

static int jpeg_quality(const zi_openai_request *r)
{
    return r->compression ? r->compression : 1;
}

static void add_common(cJSON *json, const zi_openai_request *r, int width, int height)
{
    char size[32];
    snprintf(size, sizeof size, "%dx%d", width, height);
    cJSON_AddStringToObject(json, "background", "opaque");
    cJSON_AddStringToObject(json, "output_format", zi_openai_formats[r->format]);
    if (r->quality[0]) cJSON_AddStringToObject(json, "quality", r->quality);
    cJSON_AddStringToObject(json, "size", size);
}

static int number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valueint : 0;
}

static void put_url(zi_call *call, const zi_openai_request *r, const char *id, zi_text *out)
{
    const char *host = zi_call_header(call, "Host");
    char url[600];
    snprintf(url, sizeof url, "%s%.400s/api/images/%s/file?format=%s&quality=%d",
             host ? "http://" : "", host ? host : call->server->address, id,
             zi_openai_formats[r->format], jpeg_quality(r));
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "url", url);
    zi_foreign_open(json, out);
    zi_text_puts(out, "}");
}

static bool put_data(zi_call *call, const zi_openai_request *r, const char *id, zi_text *out,
                     zi_error *error)
{
    if (r->response == ZI_OPENAI_URL) {
        put_url(call, r, id, out);
        return true;
    }
    zi_text_puts(out, "{\"b64_json\":\"");
    bool ok = zi_foreign_picture(call->server, id, format_of(r), jpeg_quality(r), out, error);
    zi_text_puts(out, "\"}");
    return ok;
}

static zi_answer reply(zi_call *call, const zi_openai_request *r, const zi_job_status *status)
{
    zi_text out;
    zi_error error = {0};
    cJSON *json = cJSON_CreateObject(), *first;
    bool ok = zi_history_get(call->server->history, status->images[0], &first, &error);
    cJSON_AddNumberToObject(json, "created", number(first, "created"));
    add_common(json, r, number(first, "width"), number(first, "height"));
    cJSON_Delete(first);
    zi_text_init(&out, MOST_REPLY);
    zi_foreign_open(json, &out);
    zi_text_puts(&out, ",\"data\":[");
    for (size_t i = 0; i < status->image_count; i++) {
        if (i) zi_text_puts(&out, ",");
        ok = ok && put_data(call, r, status->images[i], &out, &error);
    }
    zi_text_puts(&out, "]}");
    if (ok) return zi_foreign_reply(call, &out);
    zi_text_free(&out);
    return zi_reply_error(call, 500, NULL, "%s", error.text);
}

/* What ended without pictures. */
static void why_not(zi_job_state state, zi_refusal *why)
{
    if (state == ZI_JOB_CANCELLED) zi_refuse(why, 409, NULL, "it was cancelled");
    if (state == ZI_JOB_UNKNOWN) zi_refuse(why, 500, NULL, "the job is over and forgotten");
}

zi_answer zi_openai_finish(zi_call *call)
{
    zi_job_status status;
    zi_job_state state;
    zi_refusal why;
    zi_answer answer;
    if (!zi_foreign_ended(call, &state, &why, &answer)) return answer;
    zi_jobs_status(call->server->jobs, call->job, &status, NULL);
    if (state == ZI_JOB_DONE && !status.image_count) state = ZI_JOB_UNKNOWN;
    why_not(state, &why);
    answer = state == ZI_JOB_DONE ? reply(call, call->user, &status) : zi_reply_refusal(call, &why);
    zi_job_status_free(&status);
    return answer;
}

/* ---- streams ---- */

/* Called with the events locked: only remembers that there is something to say. */
static bool note(void *user, const zi_event *event, zi_text *out)
{
    zi_openai_request *r = user;
    (void)out;
    r->over = !strcmp(event->name, "done") || !strcmp(event->name, "failed") ||
              !strcmp(event->name, "cancelled");
    r->news |= r->over || !strcmp(event->name, "preview") || !strcmp(event->name, "image");
    return !r->over;
}

static void open_event(const zi_openai_request *r, const char *type, int index, int width,
                       int height, zi_text *out)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "type", type);
    cJSON_AddNumberToObject(json, "created_at", (double)(long long)zi_wall_seconds());
    add_common(json, r, width, height);
    if (index >= 0) cJSON_AddNumberToObject(json, "partial_image_index", index);
    zi_text_printf(out, "event: %s\ndata: ", type);
    zi_foreign_open(json, out);
    zi_text_puts(out, ",\"b64_json\":\"");
}

static void put_error(unsigned status, const char *message, zi_text *out)
{
    cJSON *json = zi_openai_error(status, message, NULL);
    cJSON_AddStringToObject(json, "type", "error");
    zi_text_puts(out, "event: error\ndata: ");
    zi_foreign_open(json, out);
    zi_text_puts(out, "}\n\n");
}

static void put_picture(zi_openai_request *r, const char *id, zi_text *out)
{
    cJSON *row;
    if (!zi_history_get(r->server->history, id, &row, NULL) || !row) return; /* deleted meanwhile */
    open_event(r, "image_generation.completed", -1, number(row, "width"), number(row, "height"),
               out);
    cJSON_Delete(row);
    if (!zi_foreign_picture(r->server, id, format_of(r), jpeg_quality(r), out, NULL))
        out->failed = true; /* in the middle of a line: the stream is cut */
    zi_text_puts(out, "\"}\n\n");
}

/* A preview in the format that was asked for, in base64; NULL when memory is short. */
static char *in_format(const zi_openai_request *r, const zi_job_preview *preview)
{
    size_t size;
    uint8_t *data = NULL;
    zi_image *image = NULL;
    zi_error error = {0};
    zi_save_options save = {.format = format_of(r), .quality = jpeg_quality(r)};
    if (save.format == ZI_FORMAT_PNG) return zi_base64(preview->png, preview->size);
    bool ok = zi_image_decode(preview->png, preview->size, 0, &image, NULL, &error) &&
              zi_image_encode(image, &save, &data, &size, &error);
    char *text = ok ? zi_base64(data, size) : NULL;
    zi_image_free(image);
    free(data);
    return text;
}

/* Of all previews of a picture those are sent that come when a further part of the steps is done.
 * They are an eighth as wide and high as what will be. */
static void put_preview(zi_openai_request *r, const zi_job_status *status, zi_text *out)
{
    const zi_job_preview *preview = &status->preview;
    int steps = status->progress.steps;
    if (!preview->png || (size_t)preview->image <= r->sent || steps < 1 || preview->step >= steps)
        return;
    int level = preview->step * (r->partial + 1) / steps;
    if (level <= r->level) return;
    char *data = in_format(r, preview);
    if (!data) return;
    open_event(r, "image_generation.partial_image", r->shown++, preview->width * 8,
               preview->height * 8, out);
    zi_text_puts(out, data);
    zi_text_puts(out, "\"}\n\n");
    r->level = level;
    free(data);
}

static void put_failure(const zi_job_status *status, zi_text *out)
{
    if (status->state == ZI_JOB_UNKNOWN)
        put_error(500, "the job is over and forgotten", out);
    else if (status->state == ZI_JOB_CANCELLED)
        put_error(409, "it was cancelled", out);
    else
        put_error(500, status->error.text, out);
}

/* Says what the client has not heard yet of a job as it stands. */
static void put_job(zi_openai_request *r, const zi_job_status *status, zi_text *out)
{
    while (r->sent < status->image_count) {
        put_picture(r, status->images[r->sent++], out);
        r->shown = r->level = 0;
    }
    put_preview(r, status, out);
    if (r->failed) return; /* said before */
    r->failed = status->state > ZI_JOB_DONE;
    if (r->failed) put_failure(status, out);
}

static bool snapshot(void *user, zi_server *server, uint64_t id, uint64_t *cursor, zi_text *out)
{
    zi_job_status status;
    zi_jobs_status(server->jobs, id, &status, cursor);
    bool ended = status.state > ZI_JOB_RUNNING;
    put_job(user, &status, out);
    zi_job_status_free(&status);
    return !ended;
}

static void tell(void *user, zi_text *out)
{
    zi_openai_request *r = user;
    uint64_t cursor;
    if (r->news) snapshot(r, r->server, r->job, &cursor, out);
    r->news = false;
}

zi_answer zi_openai_stream(zi_call *call, uint64_t cursor)
{
    zi_openai_request *r = call->user;
    zi_stream_options options = {.job = call->job,
                                 .cursor = cursor,
                                 .resumes = true,
                                 .cancels_job = true,
                                 .format = note,
                                 .finish = tell,
                                 .snapshot = snapshot,
                                 .user = r,
                                 .free_user = free};
    r->server = call->server;
    r->job = call->job;
    call->user = NULL; /* it is the stream's now */
    call->cancel_job = false;
    return zi_reply_stream(call, &options);
}
