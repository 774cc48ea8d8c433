/* /v1: OpenAI's images, as its clients and those of stable-diffusion.cpp's server ask for them.
 *
 * What a picture is made of and OpenAI has no field for (seed, steps, cfg_scale, negative_prompt,
 * shift, width, height) is taken from the request all the same, and from
 * <sd_cpp_extra_args>{...}</sd_cpp_extra_args> in the prompt. quality, style, moderation and user
 * change nothing here; other unknown fields are passed over. There are no tokens that anyone pays
 * for, and so no `usage`. */
#include "server/openai.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PICTURES = 10, MOST_PARTIAL = 3, NAME = 300 };

static const char *const response_formats[] = {"b64_json", "url", NULL};
const char *const zi_openai_formats[] = {"png", "jpeg", "webp", NULL};
static const char *const backgrounds[] = {"auto", "opaque", "transparent", NULL};
enum { TRANSPARENT = 2 };

#define AT(field) offsetof(zi_openai_request, field)
#define PICTURES(name_)                                                                            \
    {                                                                                              \
        .name = name_, .type = ZI_PARAMETER_INT, .offset = AT(generation.count), .min = 1,         \
        .max = MOST_PICTURES                                                                       \
    }

static const zi_parameter table[] = {
    {.name = "prompt",
     .type = ZI_PARAMETER_TEXT,
     .offset = AT(generation.request.prompt),
     .min = 1,
     .max = 4 * ZI_PROMPT_BYTES, /* with extra arguments, which are cut out */
     .required = true},
    {.name = "model", .type = ZI_PARAMETER_TEXT, .offset = AT(model), .max = NAME},
    PICTURES("n"),
    {.name = "size", .type = ZI_PARAMETER_TEXT, .offset = AT(size), .max = 20},
    {.name = "quality", .type = ZI_PARAMETER_TEXT, .offset = AT(said_quality), .max = 20},
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
     .max = MOST_PARTIAL},
    {0}};

/* What others have added. */
static const zi_parameter extras[] = {ZI_FOREIGN_SEED(AT(seed)), PICTURES("batch_count"), {0}};
static const zi_alias aliases[] = {
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

static bool check_side(const char *name, int side, zi_refusal *refusal)
{
    const zi_parameter *p = zi_parameter_find(name);
    zi_error error;
    return zi_parameter_check(p, side, zi_parameter_max(p, true), &error) ||
           zi_refuse_error(refusal, NULL, "size", &error);
}

static bool read_size(zi_openai_request *r, zi_refusal *refusal)
{
    char after;
    zi_request *side = &r->generation.request;
    if (!r->size || !*r->size || !strcmp(r->size, "auto")) return true;
    bool digits = strspn(r->size, "0123456789x") == strlen(r->size) && strlen(r->size) < 12;
    if (!digits || sscanf(r->size, "%dx%d%c", &side->width, &side->height, &after) != 2)
        return zi_refuse(refusal, 400, "size", "size must be auto or like 1024x768");
    return check_side("width", side->width, refusal) && check_side("height", side->height, refusal);
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

static bool read_extras(const cJSON *json, zi_openai_request *r, zi_refusal *refusal)
{
    return zi_params_read_known(json, extras, r, refusal) &&
           zi_params_read_aliases(json, aliases, r, refusal);
}

/* The extra arguments are read where the call's JSON keeps them, so that texts live as long. */
static bool read_extra(zi_call *call, zi_openai_request *r, zi_refusal *refusal)
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
    return read_extras(json, r, refusal) && read_extras(sample, r, refusal) &&
           read_extras(guidance, r, refusal);
}

/* OpenAI's own models stand for the one that draws: clients have them built in. */
static bool is_theirs(const char *name)
{
    return !*name || !strncmp(name, "dall-e", 6) || !strncmp(name, "gpt-image", 9) ||
           !strncmp(name, "chatgpt-image", 13);
}

/* *name, in new memory; NULL: the default model is meant. */
static bool find_model(zi_call *call, const zi_openai_request *r, char **name, zi_refusal *refusal)
{
    *name = r->model ? zi_foreign_model(call->server, r->model) : NULL;
    return *name || !r->model || is_theirs(r->model) ||
           zi_refuse(refusal, 404, "model", "%s: there is no such model; /v1/models has them",
                     r->model);
}

static bool read_request(zi_call *call, zi_openai_request *r, zi_refusal *refusal)
{
    static const char *const known[] = {"low", "medium", "high", "xhigh", "max"};
    if (!zi_params_read_known(call->json, table, r, refusal) ||
        !read_extras(call->json, r, refusal) || !read_size(r, refusal) ||
        !read_extra(call, r, refusal))
        return false;
    zi_foreign_seed(r->seed, &r->generation);
    zi_foreign_cfg(r->cfg, &r->generation);
    if (r->background == TRANSPARENT)
        return zi_refuse(refusal, 400, "background", "pictures have no transparent background");
    if (r->stream && r->response == ZI_OPENAI_URL)
        return zi_refuse(refusal, 400, "response_format", "a stream carries b64_json only");
    if (r->partial && !r->stream)
        return zi_refuse(refusal, 400, "partial_images", "partial_images needs stream");
    if (r->stream) strcpy(r->quality, "auto"); /* which replies without a stream do not have */
    for (size_t i = 0; r->said_quality && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], r->said_quality)) strcpy(r->quality, known[i]);
    return true;
}

/* ---- POST /v1/images/generations ---- */

static bool submit(zi_call *call, zi_openai_request *r, zi_refusal *refusal)
{
    char *model;
    if (!read_request(call, r, refusal) || !find_model(call, r, &model, refusal)) return false;
    zi_generation generation = r->generation;
    generation.model = model;
    bool ok = zi_foreign_generate(call, &generation, refusal);
    free(model);
    return ok;
}

static zi_answer generate(zi_call *call)
{
    zi_refusal refusal;
    if (call->job) return zi_openai_finish(call);
    zi_openai_request *r = calloc(1, sizeof *r);
    if (!r) return MHD_NO;
    *r = (zi_openai_request){.generation.count = 1, .compression = 100, .seed = -1};
    call->user = r;
    call->free_user = free;
    uint64_t cursor = zi_events_latest(call->server->events);
    if (!submit(call, r, &refusal)) return zi_reply_refusal(call, &refusal);
    return r->stream ? zi_openai_stream(call, cursor) : zi_openai_finish(call);
}

const zi_route zi_openai_routes[] = {
    {"GET", "/v1/models", models, 0, 0},
    {"GET", "/v1/models/{name*}", model, 0, 0},
    {"POST", "/v1/images/generations", generate, ZI_ROUTE_JSON, ZI_BODY_JSON},
    {0}};
