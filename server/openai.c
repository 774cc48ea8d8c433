/* /v1: OpenAI's images, as its clients and those of stable-diffusion.cpp's server ask for them.
 *
 * What a picture is made of and OpenAI has no field for (seed, steps, cfg_scale, negative_prompt,
 * shift, width, height) is taken from the request all the same, and from
 * <sd_cpp_extra_args>{...}</sd_cpp_extra_args> in the prompt. quality, style, moderation and user
 * change nothing here; other unknown fields are passed over. There are no tokens that anyone pays
 * for, and so no `usage`. */
#include "server/base64.h"
#include "server/foreign.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REPLY ((size_t)1 << 30)

enum { MOST_PICTURES = 10, MOST_PARTIAL = 3, NAME = 300 };

static const struct {
    const char *name;
    zi_format format;
} formats[] = {{"png", ZI_FORMAT_PNG}, {"jpeg", ZI_FORMAT_JPEG}, {"webp", ZI_FORMAT_WEBP}};

typedef struct {
    const char *prompt, *model, *size, *negative, *said_quality; /* as long as the call's JSON */
    int n, format, response, background, compression, partial;
    int width, height, steps;
    bool stream;
    double seed, cfg, shift; /* cfg and shift 0: not said */
    char quality[16];
    /* Of a stream. */
    zi_server *server;
    uint64_t job;
    bool news, over, failed;
    int sent, shown, level; /* pictures; previews of the next one; how far the latest was */
} wish;

#define AT(field) offsetof(wish, field)
#define MOST_SEED 9007199254740991.0

static const zi_param table[] = {
    {"prompt", ZI_PARAM_TEXT, AT(prompt), 1, 4 * ZI_PROMPT_BYTES, NULL, true, 0},
    {"model", ZI_PARAM_TEXT, AT(model), 0, NAME, NULL, false, 0},
    {"n", ZI_PARAM_INT, AT(n), 1, MOST_PICTURES, NULL, false, 0},
    {"size", ZI_PARAM_TEXT, AT(size), 0, 20, NULL, false, 0},
    {"quality", ZI_PARAM_TEXT, AT(said_quality), 0, 20, NULL, false, 0},
    {"response_format", ZI_PARAM_CHOICE, AT(response), 0, 0, "b64_json|url", false, 0},
    {"output_format", ZI_PARAM_CHOICE, AT(format), 0, 0, "png|jpeg|webp", false, 0},
    {"output_compression", ZI_PARAM_INT, AT(compression), 0, 100, NULL, false, 0},
    {"background", ZI_PARAM_CHOICE, AT(background), 0, 0, "auto|opaque|transparent", false, 0},
    {"stream", ZI_PARAM_BOOL, AT(stream), 0, 0, NULL, false, 0},
    {"partial_images", ZI_PARAM_INT, AT(partial), 0, MOST_PARTIAL, NULL, false, 0},
    {0}};

/* What others have added. */
static const zi_param extras[] = {
    {"negative_prompt", ZI_PARAM_TEXT, AT(negative), 0, ZI_PROMPT_BYTES, NULL, false, 0},
    {"seed", ZI_PARAM_REAL, AT(seed), -1, MOST_SEED, NULL, false, 0},
    {"steps", ZI_PARAM_INT, AT(steps), 1, ZI_MAX_STEPS, NULL, false, 0},
    {"sample_steps", ZI_PARAM_INT, AT(steps), 1, ZI_MAX_STEPS, NULL, false, 0},
    {"cfg_scale", ZI_PARAM_REAL, AT(cfg), 0, 100, NULL, false, 0},
    {"txt_cfg", ZI_PARAM_REAL, AT(cfg), 0, 100, NULL, false, 0},
    {"shift", ZI_PARAM_REAL, AT(shift), 0.01, 100, NULL, false, 0},
    {"flow_shift", ZI_PARAM_REAL, AT(shift), 0.01, 100, NULL, false, 0},
    {"width", ZI_PARAM_INT, AT(width), 16, ZI_MAX_SIDE, NULL, false, 16},
    {"height", ZI_PARAM_INT, AT(height), 16, ZI_MAX_SIDE, NULL, false, 16},
    {"batch_count", ZI_PARAM_INT, AT(n), 1, MOST_PICTURES, NULL, false, 0},
    {0}};

cJSON *zi_openai_error(unsigned status, const char *message, const char *field)
{
    const char *code = status == 401   ? "invalid_api_key"
                       : status == 404 ? field ? "model_not_found" : "not_found"
                       : status == 429 ? "rate_limit_exceeded"
                                       : NULL;
    cJSON *object = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(object, "error");
    cJSON_AddStringToObject(error, "message", message);
    cJSON_AddStringToObject(error, "type",
                            status >= 500   ? "server_error"
                            : status == 429 ? "rate_limit_error"
                                            : "invalid_request_error");
    cJSON_AddItemToObject(error, "param", field ? cJSON_CreateString(field) : cJSON_CreateNull());
    cJSON_AddItemToObject(error, "code", code ? cJSON_CreateString(code) : cJSON_CreateNull());
    return object;
}

/* ---- models ---- */

static cJSON *model_json(const zi_server *server, const char *name)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "id", name);
    cJSON_AddStringToObject(json, "object", "model");
    cJSON_AddNumberToObject(json, "created", (double)(long long)server->began);
    cJSON_AddStringToObject(json, "owned_by", "zimage");
    return json;
}

static zi_answer models(zi_call *call)
{
    zi_registry_list known;
    zi_refusal refusal;
    if (!zi_models_read(call->server, &known, &refusal)) return zi_reply_refusal(call, &refusal);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "object", "list");
    cJSON *data = cJSON_AddArrayToObject(json, "data");
    for (size_t i = 0; i < known.count; i++)
        if (zi_model_generates(&known.entries[i]))
            cJSON_AddItemToArray(data, model_json(call->server, known.entries[i].name));
    zi_registry_list_free(&known);
    return zi_reply_json(call, 200, json);
}

static zi_answer model(zi_call *call)
{
    char *name = zi_foreign_model(call->server, call->parameters[0]);
    if (!name)
        return zi_reply_error(call, 404, "model", "%s: there is no such model; /v1/models has them",
                              call->parameters[0]);
    cJSON *json = model_json(call->server, name);
    free(name);
    return zi_reply_json(call, 200, json);
}

/* ---- reading a request ---- */

static bool read_size(wish *w, zi_refusal *refusal)
{
    char after;
    if (!w->size || !*w->size || !strcmp(w->size, "auto")) return true;
    bool digits = strspn(w->size, "0123456789x") == strlen(w->size) && strlen(w->size) < 12;
    if (!digits || sscanf(w->size, "%dx%d%c", &w->width, &w->height, &after) != 2)
        return zi_refuse(refusal, 400, "size", "size must be auto or like 1024x768");
    if (w->width < 16 || w->height < 16 || w->width > ZI_MAX_SIDE || w->height > ZI_MAX_SIDE ||
        w->width % 16 || w->height % 16)
        return zi_refuse(refusal, 400, "size",
                         "size: width and height must be multiples of 16, from 16 to %d",
                         ZI_MAX_SIDE);
    return true;
}

/* Takes <sd_cpp_extra_args>...</sd_cpp_extra_args> out of the prompt; NULL: there is none. */
static char *cut_extra(char *prompt)
{
    static const char open[] = "<sd_cpp_extra_args>", close[] = "</sd_cpp_extra_args>";
    char *begin = strstr(prompt, open), *end = begin ? strstr(begin, close) : NULL;
    if (!end) return NULL;
    char *inner = begin + sizeof open - 1, *extra = strndup(inner, (size_t)(end - inner));
    end += sizeof close - 1;
    memmove(begin, end, strlen(end) + 1);
    for (size_t size = strlen(prompt); size && strchr(" \t\r\n", prompt[size - 1]); size--)
        prompt[size - 1] = 0;
    return extra;
}

/* The extra arguments are read where the call's JSON keeps them, so that texts live as long. */
static bool read_extra(zi_call *call, wish *w, zi_refusal *refusal)
{
    cJSON *prompt = cJSON_GetObjectItemCaseSensitive(call->json, "prompt");
    char *text = cut_extra(prompt->valuestring);
    if (!text) return true;
    cJSON *json = cJSON_ParseWithOpts(text, NULL, true);
    free(text);
    if (!cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return zi_refuse(refusal, 400, "prompt", "sd_cpp_extra_args must hold an object of JSON");
    }
    cJSON_AddItemToObject(call->json, "<sd_cpp_extra_args>", json);
    const cJSON *sample = cJSON_GetObjectItemCaseSensitive(json, "sample_params");
    const cJSON *guidance = cJSON_GetObjectItemCaseSensitive(sample, "guidance");
    return zi_params_read_known(json, extras, w, refusal) &&
           zi_params_read_known(sample, extras, w, refusal) &&
           zi_params_read_known(guidance, extras, w, refusal);
}

/* OpenAI's own models stand for the one that draws: clients have them built in. */
static bool is_theirs(const char *name)
{
    return !*name || !strncmp(name, "dall-e", 6) || !strncmp(name, "gpt-image", 9) ||
           !strncmp(name, "chatgpt-image", 13);
}

static bool settle_model(zi_call *call, const wish *w, cJSON *params, zi_refusal *refusal)
{
    if (!w->model) return true;
    char *name = zi_foreign_model(call->server, w->model);
    bool ok = name ? zi_params_set(params, "model", cJSON_CreateString(name)) : is_theirs(w->model);
    free(name);
    return ok || zi_refuse(refusal, 404, "model", "%s: there is no such model; /v1/models has them",
                           w->model);
}

static cJSON *job_params(const wish *w)
{
    cJSON *params = cJSON_CreateObject();
    cJSON_AddStringToObject(params, "prompt", w->prompt);
    cJSON_AddNumberToObject(params, "count", w->n);
    if (w->negative) cJSON_AddStringToObject(params, "negative", w->negative);
    if (w->width) cJSON_AddNumberToObject(params, "width", w->width);
    if (w->height) cJSON_AddNumberToObject(params, "height", w->height);
    if (w->steps) cJSON_AddNumberToObject(params, "steps", w->steps);
    if (w->cfg > 1) cJSON_AddNumberToObject(params, "guidance", w->cfg - 1);
    if (w->shift > 0) cJSON_AddNumberToObject(params, "shift", w->shift);
    return params;
}

static bool read_wish(zi_call *call, wish *w, zi_refusal *refusal)
{
    static const char *const known[] = {"low", "medium", "high", "xhigh", "max"};
    if (!zi_params_read_known(call->json, table, w, refusal) ||
        !zi_params_read_known(call->json, extras, w, refusal) || !read_size(w, refusal) ||
        !read_extra(call, w, refusal))
        return false;
    if (w->background == 2)
        return zi_refuse(refusal, 400, "background", "pictures have no transparent background");
    if (w->stream && w->response == 1)
        return zi_refuse(refusal, 400, "response_format", "a stream carries b64_json only");
    if (w->partial && !w->stream)
        return zi_refuse(refusal, 400, "partial_images", "partial_images needs stream");
    if (w->stream) strcpy(w->quality, "auto"); /* which replies without a stream do not have */
    for (size_t i = 0; w->said_quality && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], w->said_quality)) strcpy(w->quality, known[i]);
    return true;
}

/* ---- replies ---- */

static int jpeg_quality(const wish *w)
{
    return w->compression ? w->compression : 1;
}

static void add_common(cJSON *json, const wish *w, int width, int height)
{
    char size[32];
    snprintf(size, sizeof size, "%dx%d", width, height);
    cJSON_AddStringToObject(json, "background", "opaque");
    cJSON_AddStringToObject(json, "output_format", formats[w->format].name);
    if (w->quality[0]) cJSON_AddStringToObject(json, "quality", w->quality);
    cJSON_AddStringToObject(json, "size", size);
}

static int number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valueint : 0;
}

static void put_url(zi_call *call, const wish *w, const char *id, zi_text *out)
{
    const char *host = zi_call_header(call, "Host");
    char url[600];
    snprintf(url, sizeof url, "%s%.400s/api/images/%s/file?format=%s&quality=%d",
             host ? "http://" : "", host ? host : call->server->address, id,
             formats[w->format].name, jpeg_quality(w));
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "url", url);
    zi_foreign_open(json, out);
    zi_text_puts(out, "}");
}

static bool put_data(zi_call *call, const wish *w, const char *id, zi_text *out, zi_error *error)
{
    if (w->response == 1) {
        put_url(call, w, id, out);
        return true;
    }
    zi_text_puts(out, "{\"b64_json\":\"");
    bool ok = zi_foreign_picture(call->server, id, formats[w->format].format, jpeg_quality(w), out,
                                 error);
    zi_text_puts(out, "\"}");
    return ok;
}

static zi_answer reply(zi_call *call, const wish *w, const cJSON *ids)
{
    zi_text out;
    zi_error error = {0};
    const cJSON *id;
    cJSON *json = cJSON_CreateObject(), *first;
    bool ok = zi_history_get(call->server->history, ids->child->valuestring, &first, &error);
    cJSON_AddNumberToObject(json, "created", number(first, "created"));
    add_common(json, w, number(first, "width"), number(first, "height"));
    cJSON_Delete(first);
    zi_text_init(&out, MOST_REPLY);
    zi_foreign_open(json, &out);
    zi_text_puts(&out, ",\"data\":[");
    cJSON_ArrayForEach(id, ids)
    {
        if (id != ids->child) zi_text_puts(&out, ",");
        ok = ok && put_data(call, w, id->valuestring, &out, &error);
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

static zi_answer finish(zi_call *call)
{
    zi_job_state state;
    zi_refusal why;
    zi_answer answer;
    if (!zi_foreign_ended(call, &state, &why, &answer)) return answer;
    cJSON *job = zi_jobs_describe(call->server->jobs, call->job, false);
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(job, "images");
    if (state == ZI_JOB_DONE && !(ids && ids->child)) state = ZI_JOB_UNKNOWN;
    why_not(state, &why);
    answer = state == ZI_JOB_DONE ? reply(call, call->user, ids) : zi_reply_refusal(call, &why);
    cJSON_Delete(job);
    return answer;
}

/* ---- streams ---- */

/* Called with the events locked: only remembers that there is something to say. */
static bool note(void *user, const zi_event *event, zi_text *out)
{
    wish *w = user;
    (void)out;
    w->over = !strcmp(event->name, "done") || !strcmp(event->name, "failed") ||
              !strcmp(event->name, "cancelled");
    w->news |= w->over || !strcmp(event->name, "preview") || !strcmp(event->name, "image");
    return !w->over;
}

static void open_event(const wish *w, const char *type, int index, int width, int height,
                       zi_text *out)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "type", type);
    cJSON_AddNumberToObject(json, "created_at", (double)(long long)zi_wall_seconds());
    add_common(json, w, width, height);
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

static void put_picture(wish *w, const char *id, zi_text *out)
{
    cJSON *row;
    if (!zi_history_get(w->server->history, id, &row, NULL) || !row) return; /* deleted meanwhile */
    open_event(w, "image_generation.completed", -1, number(row, "width"), number(row, "height"),
               out);
    cJSON_Delete(row);
    if (!zi_foreign_picture(w->server, id, formats[w->format].format, jpeg_quality(w), out, NULL))
        out->failed = true; /* in the middle of a line: the stream is cut */
    zi_text_puts(out, "\"}\n\n");
}

/* A preview, a PNG in base64, in the format that was asked for; NULL when memory is short. */
static char *in_format(const wish *w, const char *png)
{
    size_t size;
    uint8_t *data = NULL;
    zi_image *image = NULL;
    zi_error error = {0};
    zi_save_options save = {formats[w->format].format, jpeg_quality(w), NULL};
    if (save.format == ZI_FORMAT_PNG) return strdup(png);
    void *bytes = zi_base64_decode(png, &size);
    bool ok = bytes && zi_image_from_bytes(bytes, size, 0, &image, NULL, &error) &&
              zi_image_to_bytes(image, &save, &data, &size, &error);
    char *text = ok ? zi_base64(data, size) : NULL;
    zi_image_free(image);
    free(bytes);
    free(data);
    return text;
}

/* Of all previews of a picture those are sent that come when a further part of the steps is done.
 * They are an eighth as wide and high as what will be. */
static void put_preview(wish *w, const cJSON *job, zi_text *out)
{
    const cJSON *preview = cJSON_GetObjectItemCaseSensitive(job, "preview");
    const cJSON *progress = cJSON_GetObjectItemCaseSensitive(job, "progress");
    int step = number(preview, "step"), steps = number(progress, "steps");
    if (number(preview, "picture") <= w->sent || steps < 1 || step >= steps) return;
    int level = step * (w->partial + 1) / steps;
    if (level <= w->level) return;
    char *data = in_format(w, cJSON_GetObjectItemCaseSensitive(preview, "data")->valuestring);
    if (!data) return;
    open_event(w, "image_generation.partial_image", w->shown++, number(preview, "width") * 8,
               number(preview, "height") * 8, out);
    zi_text_puts(out, data);
    zi_text_puts(out, "\"}\n\n");
    w->level = level;
    free(data);
}

/* Says what the client has not heard yet of a job as it stands. */
static void put_job(wish *w, const cJSON *job, zi_text *out)
{
    const cJSON *id, *images = cJSON_GetObjectItemCaseSensitive(job, "images");
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(job, "error");
    const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job, "state"));
    int number_of = 0;
    cJSON_ArrayForEach(id, images)
    {
        if (number_of++ < w->sent) continue;
        put_picture(w, id->valuestring, out);
        w->sent = number_of;
        w->shown = w->level = 0;
    }
    put_preview(w, job, out);
    if (w->failed) return; /* said before */
    w->failed = !state || !strcmp(state, "cancelled") || !strcmp(state, "failed");
    if (!state)
        put_error(500, "the job is over and forgotten", out);
    else if (!strcmp(state, "cancelled"))
        put_error(409, "it was cancelled", out);
    else if (!strcmp(state, "failed"))
        put_error(500, cJSON_GetObjectItemCaseSensitive(error, "message")->valuestring, out);
}

static bool snapshot(void *user, zi_server *server, uint64_t id, uint64_t *cursor, zi_text *out)
{
    wish *w = user;
    bool ended = false;
    cJSON *json = zi_jobs_snapshot(server->jobs, id, cursor, &ended);
    put_job(w, cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "jobs"), 0), out);
    cJSON_Delete(json);
    return !ended;
}

static void tell(void *user, zi_text *out)
{
    wish *w = user;
    uint64_t cursor;
    if (w->news) snapshot(w, w->server, w->job, &cursor, out);
    w->news = false;
}

static zi_answer stream(zi_call *call, wish *w, uint64_t cursor)
{
    zi_stream_options options = {.job = call->job,
                                 .cursor = cursor,
                                 .resumes = true,
                                 .cancels_job = true,
                                 .format = note,
                                 .finish = tell,
                                 .snapshot = snapshot,
                                 .user = w,
                                 .free_user = free};
    w->server = call->server;
    w->job = call->job;
    call->user = NULL; /* it is the stream's now */
    call->cancel_job = false;
    return zi_reply_stream(call, &options);
}

/* ---- POST /v1/images/generations ---- */

static zi_answer generate(zi_call *call)
{
    zi_refusal refusal;
    if (call->job) return finish(call);
    wish *w = calloc(1, sizeof *w);
    if (!w) return MHD_NO;
    *w = (wish){.n = 1, .compression = 100, .seed = -1};
    call->user = w;
    call->free_user = free;
    if (!read_wish(call, w, &refusal)) return zi_reply_refusal(call, &refusal);
    uint64_t cursor = zi_events_latest(call->server->events);
    cJSON *params = job_params(w);
    if (!settle_model(call, w, params, &refusal) || !zi_foreign_seed(w->seed, params, &refusal)) {
        cJSON_Delete(params);
        return zi_reply_refusal(call, &refusal);
    }
    if (!zi_foreign_submit(call, "generate", params, &refusal))
        return zi_reply_refusal(call, &refusal);
    return w->stream ? stream(call, w, cursor) : finish(call);
}

const zi_route zi_openai_routes[] = {
    {"GET", "/v1/models", models, 0, 0},
    {"GET", "/v1/models/{name*}", model, 0, 0},
    {"POST", "/v1/images/generations", generate, ZI_ROUTE_JSON, ZI_BODY_JSON},
    {0}};
