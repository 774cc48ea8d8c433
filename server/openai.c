/* Routes of /v1: OpenAI's images API, with the extensions of stable-diffusion.cpp's server.
 *
 * Parameters that OpenAI has no field for (seed, steps, cfg_scale, negative_prompt and so on) are
 * read from the request and from <sd_cpp_extra_args>{...}</sd_cpp_extra_args> in the prompt. The
 * table below has all fields; others are refused. There is no token accounting, so replies have no
 * `usage`. */
#include "server/openai.h"
#include "server/json.h"
#include "server/params.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTIAL_IMAGES = 3, MAX_NAME = 300 };

static const char *const response_formats[] = {"b64_json", "url", NULL};
static const char *const backgrounds[] = {"auto", "opaque", "transparent", NULL};
enum { TRANSPARENT = 2 };

#define AT(field) offsetof(zi_openai_request, field)
#define TEXT(name_, field, max_)                                                                   \
    ZI_FIELD_OWN(name_, AT(field), .type = ZI_PARAMETER_TEXT, .max = max_)
#define CHOICE(name_, field, choices_)                                                             \
    ZI_FIELD_OWN(name_, AT(field), .type = ZI_PARAMETER_CHOICE, .choices = choices_)

/* All fields of POST /v1/images/generations: OpenAI's own, and those that other servers of this API
 * have added. */
static const zi_client_field openai_fields[] = {
    ZI_CLIENT_PROMPT("prompt"),
    TEXT("model", model, MAX_NAME),
    ZI_CLIENT_COUNT("n"),
    ZI_CLIENT_COUNT("batch_count"),
    ZI_CLIENT_COUNT("batch_size"),
    TEXT("size", size, 20),
    {.name = "response_format",
     .role = ZI_FIELD_USED,
     .own = &(const zi_parameter){.type = ZI_PARAMETER_CHOICE, .choices = response_formats},
     .offset = AT(response),
     .given = AT(response_given)},
    CHOICE("output_format", client.format, zi_client_formats),
    ZI_FIELD_OWN("output_compression", AT(client.compression), .type = ZI_PARAMETER_INT,
                 .max = 100),
    CHOICE("background", background, backgrounds),
    ZI_FIELD_OWN("stream", AT(stream), .type = ZI_PARAMETER_BOOL),
    ZI_FIELD_OWN("partial_images", AT(partial), .type = ZI_PARAMETER_INT,
                 .max = MAX_PARTIAL_IMAGES),
    ZI_CLIENT_GENERATION_FIELDS,
    ZI_CLIENT_SAMPLER_FIELDS,
    ZI_CLIENT_EXTRA_ARGS,
    ZI_CLIENT_UNSUPPORTED_FIELDS,
    TEXT("quality", requested_quality, 20), /* without an effect on the image */
    ZI_FIELD_WITHOUT_EFFECT("style"),
    ZI_FIELD_WITHOUT_EFFECT("moderation"),
    ZI_FIELD_WITHOUT_EFFECT("user"),
    ZI_FIELD_WITHOUT_EFFECT("safety_identifier"),
    ZI_FIELD_WITHOUT_EFFECT("metadata"),
    ZI_FIELD_WITHOUT_EFFECT("input_fidelity"), /* a setting of images as input */
    ZI_FIELD_WITHOUT_EFFECT("strength"),       /* this, too */
    ZI_FIELD_WITHOUT_EFFECT("clip_skip"),      /* there is no CLIP */
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
    zi_json_add_text(error, "param", field);
    zi_json_add_text(error, "code", code);
    return object;
}

/* ---- models ---- */

/* Describes a model as new JSON, an object of OpenAI's list of models. "created" is when the server
 * started. Out of memory: NULL, or members are missing. */
static cJSON *model_json(const zi_server *server, const char *name)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "id", name);
    cJSON_AddStringToObject(json, "object", "model");
    cJSON_AddNumberToObject(json, "created", (double)(long long)server->began);
    cJSON_AddStringToObject(json, "owned_by", "zimage");
    return json;
}

/* GET /v1/models: replies with the image models that can generate. */
static zi_handler_result list_models(zi_server_request *req)
{
    zi_registry_list known;
    zi_http_error http_error;
    if (!zi_models_list(req->server, &known, &http_error))
        return zi_reply_http_error(req, &http_error);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "object", "list");
    cJSON *data = cJSON_AddArrayToObject(json, "data");
    for (size_t i = 0; i < known.count; i++)
        if (zi_model_can_generate(&known.entries[i]))
            cJSON_AddItemToArray(data, model_json(req->server, known.entries[i].name));
    zi_registry_list_free(&known);
    return zi_reply_json(req, 200, json);
}

/* Whether a name (not NULL) is empty or begins like that of an image model of OpenAI (dall-e,
 * gpt-image, chatgpt-image, in lower case), which clients have built in. It means the default model
 * here. */
static bool is_openai_model_name(const char *name)
{
    return !*name || !strncmp(name, "dall-e", 6) || !strncmp(name, "gpt-image", 9) ||
           !strncmp(name, "chatgpt-image", 13);
}

/* GET /v1/models/{name}: replies with the image model that zi_compat_find_model finds, or the
 * default model for a name of OpenAI's, or 404. */
static zi_handler_result get_model(zi_server_request *req)
{
    char *name = zi_compat_find_model(req->server, req->parameters[0]);
    if (!name && is_openai_model_name(req->parameters[0]))
        name = zi_models_default_name(req->server);
    if (!name)
        return zi_reply_error(req, 404, "model",
                              "%s: no such model; GET /v1/models lists the models",
                              req->parameters[0]);
    cJSON *json = model_json(req->server, name);
    free(name);
    return zi_reply_json(req, 200, json);
}

/* ---- reading a request ---- */

/* Sets *out to a width or height (name: which of them) in the parameter's range, rounded as a field
 * of that name is. False: out of range, or a field of that name has another value; *http_error is a
 * 400 for the field "size" or that field. */
static bool set_side(const char *name, long side, int *out, zi_http_error *http_error)
{
    int rounded;
    zi_parameter row = *zi_parameter_find(name);
    const cJSON number = {.type = cJSON_Number, .valuedouble = (double)side};
    row.name = "size";
    row.offset = 0;
    if (!zi_params_read_field(&row, &number, &rounded, http_error)) return false;
    if (*out && *out != rounded)
        return zi_http_error_set(
            http_error, 400, name,
            "%s: is %d, but size asks for %ld; send either size, or width and height", name, *out,
            side);
    *out = rounded;
    return true;
}

/* Parses the digits at the start of text and returns what follows them; NULL: there are none. A
 * number that is too large becomes LONG_MAX. */
static const char *parse_digits(const char *text, long *number)
{
    char *end;
    if (*text < '0' || *text > '9') return NULL;
    *number = strtol(text, &end, 10);
    return end;
}

/* Parses `size`, "WxH" or "auto", into the request's width and height; auto, "" and NULL leave them
 * unchanged. False: malformed or out of range; *http_error is a 400, and width and height may have
 * changed. */
static bool read_size(zi_openai_request *r, zi_http_error *http_error)
{
    long width, height;
    zi_request *request = &r->client.generation.request;
    if (!r->size || !*r->size || !strcmp(r->size, "auto")) return true;
    const char *end = parse_digits(r->size, &width);
    end = end && *end == 'x' ? parse_digits(end + 1, &height) : NULL;
    if (!end || *end)
        return zi_http_error_set(http_error, 400, "size",
                                 "size '%s' is neither auto nor WIDTHxHEIGHT, such as 1024x768",
                                 r->size);
    return set_side("width", width, &request->width, http_error) &&
           set_side("height", height, &request->height, http_error);
}

/* Sets *name to the full name of the model in r->model, in new memory. NULL: the default model,
 * since r names none or one of OpenAI's. False: it names an unknown one, or out of memory;
 * *http_error is a 404 and *name is NULL. */
static bool find_model(zi_server_request *req, const zi_openai_request *r, char **name,
                       zi_http_error *http_error)
{
    *name = r->model ? zi_compat_find_model(req->server, r->model) : NULL;
    return *name || !r->model || is_openai_model_name(r->model) ||
           zi_http_error_set(http_error, 404, "model",
                             "%s: no such model; GET /v1/models lists the models", r->model);
}

/* Makes URLs the form of images if the request names a model dall-e-* and no response_format, and
 * wants no stream: such clients expect URLs, as OpenAI's server sends them, all others base64. */
static void set_default_response(zi_openai_request *r)
{
    if (!r->response_given && !r->stream && r->model && !strncmp(r->model, "dall-e", 6))
        r->response = ZI_OPENAI_URL;
}

/* Checks what fields ask for together, or alone, and is not possible. False: *http_error is a 400
 * that names the field. */
static bool check_request(const zi_openai_request *r, zi_http_error *http_error)
{
    if (r->background == TRANSPARENT)
        return zi_http_error_set(http_error, 400, "background",
                                 "a transparent background is not supported; use auto or opaque");
    if (r->stream && r->response == ZI_OPENAI_URL)
        return zi_http_error_set(http_error, 400, "response_format",
                                 "response_format url is not supported with stream; use b64_json");
    return !r->partial || r->stream ||
           zi_http_error_set(http_error, 400, "partial_images",
                             "partial_images is %d, but stream is not true; set stream to true",
                             r->partial);
}

/* Reads and checks the body, except for the model, into r, which borrows its texts from req->json,
 * and cuts sd_cpp_extra_args out of the prompt there. False: *http_error is a 400, and r may be
 * partly filled. */
static bool read_request(zi_server_request *req, zi_openai_request *r, zi_http_error *http_error)
{
    static const char *const known[] = {"low", "medium", "high", "xhigh", "max"};
    if (!zi_client_request_read(req->json, openai_fields, false, &r->client, http_error) ||
        !read_size(r, http_error) ||
        !zi_client_request_read_extra_args(req->json, false, &r->client, http_error) ||
        !check_request(r, http_error))
        return false;
    set_default_response(r);
    if (r->stream) strcpy(r->quality, "auto"); /* only replies of streams have it */
    for (size_t i = 0; r->requested_quality && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], r->requested_quality)) strcpy(r->quality, known[i]);
    return true;
}

/* ---- POST /v1/images/generations ---- */

/* Reads the request into r, which borrows texts from req->json, and submits a generate job: its id
 * is in req->job, and req->cancel_job has it cancelled if the client disconnects. False:
 * *http_error is filled and there is no job. */
static bool submit_job(zi_server_request *req, zi_openai_request *r, zi_http_error *http_error)
{
    char *model;
    if (!read_request(req, r, http_error) || !find_model(req, r, &model, http_error)) return false;
    zi_generation generation = r->client.generation;
    generation.model = model;
    bool ok = zi_compat_submit_generate(req, &generation, http_error);
    free(model);
    return ok;
}

/* POST /v1/images/generations: submits the job on the first call, then waits for it and replies
 * with all images, or at once with a stream. */
static zi_handler_result post_generations(zi_server_request *req)
{
    zi_http_error http_error;
    if (req->job) return zi_openai_reply_when_done(req);
    zi_openai_request *r = calloc(1, sizeof *r);
    if (!r) return MHD_NO;
    *r = (zi_openai_request){.client = ZI_CLIENT_REQUEST_NONE};
    req->user = r;
    req->free_user = free;
    uint64_t cursor = zi_events_latest(req->server->events);
    if (!submit_job(req, r, &http_error)) return zi_reply_http_error(req, &http_error);
    return r->stream ? zi_openai_reply_stream(req, cursor) : zi_openai_reply_when_done(req);
}

const zi_route zi_openai_routes[] = {
    {"GET", "/v1/models", list_models, 0, 0},
    {"GET", "/v1/models/{name*}", get_model, 0, 0},
    {"POST", "/v1/images/generations", post_generations, ZI_ROUTE_JSON, ZI_BODY_JSON},
    {0}};
