/* Routes of /v1: OpenAI's images API, with the extensions of stable-diffusion.cpp's server.
 *
 * Parameters that OpenAI has no field for (seed, steps, cfg_scale, negative_prompt, shift, width,
 * height) are read from the request and from <sd_cpp_extra_args>{...}</sd_cpp_extra_args> in the
 * prompt. quality, style, moderation and user have no effect; other unknown fields are ignored.
 * There is no token accounting, so replies have no `usage`. */
#include "server/openai.h"
#include "server/json.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IMAGES = 10, MAX_PARTIAL_IMAGES = 3, MAX_NAME = 300 };

static const char *const response_formats[] = {"b64_json", "url", NULL};
const char *const zi_openai_formats[] = {"png", "jpeg", "webp", NULL};
static const char *const backgrounds[] = {"auto", "opaque", "transparent", NULL};
enum { TRANSPARENT = 2 };

#define AT(field) offsetof(zi_openai_request, field)
#define IMAGE_COUNT(name_)                                                                         \
    {                                                                                              \
        .name = name_, .type = ZI_PARAMETER_INT, .offset = AT(generation.count), .min = 1,         \
        .max = MAX_IMAGES                                                                          \
    }

static const zi_parameter openai_fields[] = {
    {.name = "prompt",
     .type = ZI_PARAMETER_TEXT,
     .offset = AT(generation.request.prompt),
     .min = 1,
     .max = 4 * ZI_PROMPT_BYTES, /* with sd_cpp_extra_args, which are cut out */
     .required = true},
    {.name = "model", .type = ZI_PARAMETER_TEXT, .offset = AT(model), .max = MAX_NAME},
    IMAGE_COUNT("n"),
    {.name = "size", .type = ZI_PARAMETER_TEXT, .offset = AT(size), .max = 20},
    {.name = "quality", .type = ZI_PARAMETER_TEXT, .offset = AT(requested_quality), .max = 20},
    {.name = "response_format",
     .type = ZI_PARAMETER_CHOICE,
     .offset = AT(response),
     .choices = response_formats},
    {.name = "output_format",
     .type = ZI_PARAMETER_CHOICE,
     .offset = AT(format),
     .choices = zi_openai_formats},
    {.name = "output_compression", .type = ZI_PARAMETER_INT, .offset = AT(compression), .max = 100},
    {.name = "background",
     .type = ZI_PARAMETER_CHOICE,
     .offset = AT(background),
     .choices = backgrounds},
    {.name = "stream", .type = ZI_PARAMETER_BOOL, .offset = AT(stream)},
    {.name = "partial_images",
     .type = ZI_PARAMETER_INT,
     .offset = AT(partial),
     .max = MAX_PARTIAL_IMAGES},
    {0}};

/* Fields that stable-diffusion.cpp and others have added. */
static const zi_parameter extension_fields[] = {
    ZI_COMPAT_SEED(AT(seed)), IMAGE_COUNT("batch_count"), {0}};
static const zi_parameter_alias extension_parameters[] = {
    {"negative_prompt", "negative", AT(generation.request.negative), false},
    {"steps", "steps", AT(generation.request.steps), false},
    {"sample_steps", "steps", AT(generation.request.steps), false},
    {"cfg_scale", "guidance", AT(cfg), false},
    {"txt_cfg", "guidance", AT(cfg), false},
    {"shift", "shift", AT(generation.request.shift), false},
    {"flow_shift", "shift", AT(generation.request.shift), false},
    {"width", "width", AT(generation.request.width), false},
    {"height", "height", AT(generation.request.height), false},
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

/* Sets *out to a width or height (name: which of them) in the parameter's range. False: it is out
 * of that; *http_error is a 400 for the field "size". */
static bool set_side(const char *name, long side, int *out, zi_http_error *http_error)
{
    const zi_parameter *p = zi_parameter_find(name);
    zi_error error;
    if (!zi_parameter_check(p, (double)side, zi_parameter_max(p, true), &error))
        return zi_http_error_from(http_error, NULL, "size", &error);
    *out = (int)side;
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
    zi_request *request = &r->generation.request;
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

/* Removes the first <sd_cpp_extra_args>...</sd_cpp_extra_args> and then white space at the end from
 * the prompt, in place, and returns what was between the tags in new memory. NULL: there is none,
 * or it has no closing tag, and the prompt is unchanged; or out of memory, and it is cut all the
 * same. */
static char *cut_extra_args(char *prompt)
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

/* Reads the extension fields of an object into r, which borrows its texts; ignores others, and
 * anything that is not an object (NULL, too). False: a value is not valid; *http_error is a 400,
 * and r may be partly filled. */
static bool read_extension_fields(const cJSON *json, zi_openai_request *r,
                                  zi_http_error *http_error)
{
    return zi_params_read_known(json, extension_fields, r, http_error) &&
           zi_params_read_aliases(json, extension_parameters, r, http_error);
}

/* Cuts sd_cpp_extra_args out of the prompt in req->json and reads their fields, also those in
 * sample_params and its guidance, into r; true when there are none. req->json then owns their JSON,
 * from which r borrows texts. False: no JSON object, or a value is not valid; *http_error is a 400,
 * the prompt is cut and r may be partly filled. */
static bool read_extra_args(zi_server_request *req, zi_openai_request *r, zi_http_error *http_error)
{
    cJSON *prompt = cJSON_GetObjectItemCaseSensitive(req->json, "prompt");
    char *text = cut_extra_args(prompt->valuestring);
    if (!text) return true;
    cJSON *json = cJSON_ParseWithOpts(text, NULL, true);
    free(text);
    if (!cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return zi_http_error_set(
            http_error, 400, "prompt",
            "prompt: the text between <sd_cpp_extra_args> and </sd_cpp_extra_args> must be a JSON "
            "object, such as {\"steps\": 9}");
    }
    cJSON_AddItemToObject(req->json, "<sd_cpp_extra_args>", json);
    const cJSON *sample = cJSON_GetObjectItemCaseSensitive(json, "sample_params");
    const cJSON *guidance = cJSON_GetObjectItemCaseSensitive(sample, "guidance");
    return read_extension_fields(json, r, http_error) &&
           read_extension_fields(sample, r, http_error) &&
           read_extension_fields(guidance, r, http_error);
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

/* Reads and checks the body, except for the model, into r, which borrows its texts from req->json,
 * and cuts sd_cpp_extra_args out of the prompt there. Unknown fields are ignored. False:
 * *http_error is a 400, and r may be partly filled. */
static bool read_request(zi_server_request *req, zi_openai_request *r, zi_http_error *http_error)
{
    static const char *const known[] = {"low", "medium", "high", "xhigh", "max"};
    if (!zi_params_read_known(req->json, openai_fields, r, http_error) ||
        !read_extension_fields(req->json, r, http_error) || !read_size(r, http_error) ||
        !read_extra_args(req, r, http_error))
        return false;
    zi_compat_set_seed(r->seed, &r->generation);
    zi_compat_set_cfg_scale(r->cfg, &r->generation);
    if (r->background == TRANSPARENT)
        return zi_http_error_set(http_error, 400, "background",
                                 "a transparent background is not supported; use auto or opaque");
    if (r->stream && r->response == ZI_OPENAI_URL)
        return zi_http_error_set(http_error, 400, "response_format",
                                 "response_format url is not supported with stream; use b64_json");
    if (r->partial && !r->stream)
        return zi_http_error_set(http_error, 400, "partial_images",
                                 "partial_images is %d, but stream is not true; set stream to true",
                                 r->partial);
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
    zi_generation generation = r->generation;
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
    *r = (zi_openai_request){.generation.count = 1, .compression = 100, .seed = -1, .cfg = -1};
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
