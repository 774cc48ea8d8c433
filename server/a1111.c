/* Routes of /sdapi/v1, the API of AUTOMATIC1111's web UI, except txt2img. Features that do not
 * exist here (LoRAs, upscalers, styles, scripts and so on) have empty lists, so that clients that
 * query them keep working. Other paths (img2img, extras, interrogate, training) answer 404. */
#include "server/a1111.h"
#include "server/base64.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* 422 has FastAPI's form, {"detail": [{"loc": ["body", field], "msg", "type"}]}; others have that
 * of A1111's middleware, {"error", "detail", "body", "errors"}, with the message as detail and
 * errors. */
cJSON *zi_a1111_error(unsigned status, const char *message, const char *field)
{
    cJSON *json = cJSON_CreateObject();
    if (status == 422) {
        const char *const place[] = {"body", field ? field : ""};
        cJSON *one = cJSON_CreateObject();
        cJSON_AddItemToObject(one, "loc", cJSON_CreateStringArray(place, field ? 2 : 1));
        cJSON_AddStringToObject(one, "msg", message);
        cJSON_AddStringToObject(one, "type", "value_error");
        cJSON_AddItemToArray(cJSON_AddArrayToObject(json, "detail"), one);
        return json;
    }
    cJSON_AddStringToObject(json, "error", "HTTPException");
    cJSON_AddStringToObject(json, "detail", message);
    cJSON_AddStringToObject(json, "body", "");
    cJSON_AddStringToObject(json, "errors", message);
    return json;
}

zi_handler_result zi_a1111_reply_error(zi_server_request *req, const zi_http_error *http_error)
{
    zi_http_error as = *http_error;
    if (as.status == 400) as.status = 422;
    return zi_reply_http_error(req, &as);
}

void zi_a1111_timestamp(double when, char text[20])
{
    time_t seconds = (time_t)when;
    struct tm parts;
    snprintf(text, 20, "0");
    if (when > 0 && localtime_r(&seconds, &parts)) strftime(text, 20, "%Y%m%d%H%M%S", &parts);
}

/* Replies 200 with the JSON value null. */
static zi_handler_result reply_null(zi_server_request *req)
{
    return zi_reply_json(req, 200, cJSON_CreateNull());
}

/* ---- constant replies ---- */

static const char samplers_json[] =
    "[{\"name\":\"Euler\",\"aliases\":[\"k_euler\",\"euler\"],\"options\":{}},"
    "{\"name\":\"Heun\",\"aliases\":[\"k_heun\",\"heun\"],\"options\":{}},"
    "{\"name\":\"LCM\",\"aliases\":[\"k_lcm\",\"lcm\"],\"options\":{}}]";
static const char upscalers_json[] = "[{\"name\":\"None\",\"model_name\":null,\"model_path\":null,"
                                     "\"model_url\":null,\"scale\":4}]";

static const struct {
    const char *path, *json;
} constant_replies[] = {
    {"/sdapi/v1/samplers", samplers_json},
    {"/sdapi/v1/upscalers", upscalers_json},
    {"/sdapi/v1/scripts", "{\"txt2img\":[],\"img2img\":[]}"},
    {"/sdapi/v1/embeddings", "{\"loaded\":{},\"skipped\":{}}"},
};

const char *zi_a1111_sampler_name(const char *choice)
{
    return choice && !strcmp(choice, "heun")  ? "Heun"
           : choice && !strcmp(choice, "lcm") ? "LCM"
                                              : "Euler";
}

/* Replies 200 with the JSON that constant_replies has for the route's path, or else with []. */
static zi_handler_result reply_constant(zi_server_request *req)
{
    const char *json = "[]";
    for (size_t i = 0; i < sizeof constant_replies / sizeof *constant_replies; i++)
        if (!strcmp(constant_replies[i].path, req->route->path)) json = constant_replies[i].json;
    return zi_reply_json(req, 200, cJSON_Parse(json));
}

/* GET schedulers: an array of objects. Their names are "automatic", which clients expect and which
 * means the default, then the other choices of --schedule; the other members are constant. */
static zi_handler_result get_schedulers(zi_server_request *req)
{
    cJSON *list = cJSON_CreateArray();
    const char *const *schedule = zi_parameter_find("schedule")->choices + 1; /* without auto */
    for (const char *name = "automatic"; name; name = *schedule++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", name);
        cJSON_AddStringToObject(item, "label", name);
        cJSON_AddNullToObject(item, "aliases");
        cJSON_AddNumberToObject(item, "default_rho", -1);
        cJSON_AddFalseToObject(item, "need_inner_model");
        cJSON_AddItemToArray(list, item);
    }
    return zi_reply_json(req, 200, list);
}

/* ---- models ---- */

/* GET sd-models: an array of the image models that are usable, or not inspected yet. title and
 * filename: full name; model_name: last path component without extension; all else is null. */
static zi_handler_result get_models(zi_server_request *req)
{
    zi_registry_list known;
    zi_http_error http_error;
    if (!zi_models_list(req->server, &known, &http_error))
        return zi_a1111_reply_error(req, &http_error);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < known.count; i++) {
        const char *name = known.entries[i].name;
        if (!zi_model_can_generate(&known.entries[i])) continue;
        char *brief = zi_compat_short_name(name);
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "title", name);
        cJSON_AddStringToObject(item, "model_name", brief ? brief : name);
        cJSON_AddNullToObject(item, "hash");
        cJSON_AddNullToObject(item, "sha256");
        cJSON_AddStringToObject(item, "filename", name);
        cJSON_AddNullToObject(item, "config");
        cJSON_AddItemToArray(list, item);
        free(brief);
    }
    zi_registry_list_free(&known);
    return zi_reply_json(req, 200, list);
}

bool zi_a1111_find_model(zi_server_request *req, const char *requested, const char *field,
                         char **name, zi_http_error *http_error)
{
    *name = NULL;
    if (!requested || !*requested) return true;
    *name = zi_compat_find_model(req->server, requested);
    return *name || zi_http_error_set(http_error, 404, field,
                                      "sd_model_checkpoint: no model '%s'; GET /sdapi/v1/sd-models "
                                      "lists the models",
                                      requested);
}

/* POST refresh-*: makes the scanner's thread look for new models and replies null at once, without
 * waiting for it. */
static zi_handler_result refresh_models(zi_server_request *req)
{
    zi_scanner_wake(req->server->scanner);
    return reply_null(req);
}

/* Submits a job of this kind, without parameters, on the first call (req->job is 0); 429: the queue
 * is full. Suspends the request until the job ends, then replies with its error if it failed, else
 * {}, also if it was cancelled or its record discarded. A client that disconnects cancels it. */
static zi_handler_result submit_and_wait(zi_server_request *req, const char *kind)
{
    zi_job_state state;
    zi_http_error http_error;
    zi_handler_result result;
    zi_job_request request = {.kind = zi_job_kind_find(kind)};
    if (!req->job && !zi_compat_submit(req, &request, &http_error))
        return zi_a1111_reply_error(req, &http_error);
    if (!zi_compat_job_ended(req, &state, &http_error, &result)) return result;
    return state == ZI_JOB_FAILED ? zi_a1111_reply_error(req, &http_error)
                                  : zi_reply_json(req, 200, cJSON_CreateObject());
}

/* POST reload-checkpoint: loads the default model with a job; replies as submit_and_wait does. */
static zi_handler_result load_model(zi_server_request *req)
{
    return submit_and_wait(req, "load");
}

/* POST unload-checkpoint: unloads the model in memory with a job, after all that were queued
 * before; replies as submit_and_wait does. */
static zi_handler_result unload_model(zi_server_request *req)
{
    return submit_and_wait(req, "unload");
}

/* ---- options ---- */

/* GET options: sd_model_checkpoint is the full name of the default model, "" if there is none; all
 * other options are constants, whatever clients set. */
static zi_handler_result get_options(zi_server_request *req)
{
    char *model = zi_models_default_name(req->server);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "sd_model_checkpoint", model ? model : "");
    cJSON_AddNullToObject(json, "sd_checkpoint_hash");
    cJSON_AddStringToObject(json, "sd_vae", "Automatic");
    cJSON_AddNumberToObject(json, "CLIP_stop_at_last_layers", 1);
    cJSON_AddNumberToObject(json, "eta_noise_seed_delta", 0);
    cJSON_AddBoolToObject(json, "samples_save", true);
    cJSON_AddStringToObject(json, "samples_format", "png");
    cJSON_AddBoolToObject(json, "return_grid", false);
    cJSON_AddBoolToObject(json, "enable_pnginfo", true);
    cJSON_AddBoolToObject(json, "live_previews_enable", true);
    cJSON_AddNumberToObject(json, "show_progress_every_n_steps", 1);
    free(model);
    return zi_reply_json(req, 200, json);
}

/* POST options: makes sd_model_checkpoint, a name as for zi_compat_find_model, the default model
 * until the server stops; it is loaded for the next image, not now. Replies null, 404 if there is
 * no such model, 422 for a setting that is not supported or unknown. null, "" (which GET options
 * has if there is no model) or absent changes nothing. */
static zi_handler_result set_options(zi_server_request *req)
{
    char *name = NULL;
    zi_http_error http_error;
    zi_a1111_request settings = {.model = NULL};
    bool ok = zi_client_fields_read(req->json, zi_a1111_settings, true, &settings, &http_error) &&
              zi_a1111_find_model(req, settings.model, "sd_model_checkpoint", &name, &http_error);
    ok = ok &&
         (!name || zi_models_set_default(req->server, name, "sd_model_checkpoint", &http_error));
    free(name);
    return ok ? reply_null(req) : zi_a1111_reply_error(req, &http_error);
}

/* GET cmd-flags: the port, whether a host to listen on was given (listen, a bool). */
static zi_handler_result get_cmd_flags(zi_server_request *req)
{
    zi_server *s = req->server;
    cJSON *json = cJSON_CreateObject();
    const char *port = strrchr(s->url, ':');
    cJSON_AddBoolToObject(json, "api", true);
    cJSON_AddNullToObject(json, "api_auth");
    cJSON_AddBoolToObject(json, "listen", s->options.host != NULL);
    cJSON_AddNumberToObject(json, "port", port ? atoi(port + 1) : 0);
    cJSON_AddNullToObject(json, "ckpt_dir"); /* clients must not see folders of the server */
    return zi_reply_json(req, 200, json);
}

/* ---- progress ---- */

/* Adds the member "state" of /sdapi/v1/progress to json. A status that is not ZI_JOB_RUNNING must
 * be zero otherwise (zi_job_status_free); it gives the state of an idle server. job_no counts from
 * 0; job_count is -1 while a running job's is unknown, 0 when idle. */
static void add_progress_state(cJSON *json, const zi_job_status *status)
{
    char timestamp[20];
    const zi_job_progress *p = &status->progress;
    bool running = status->state == ZI_JOB_RUNNING;
    cJSON *state = cJSON_AddObjectToObject(json, "state");
    zi_a1111_timestamp(status->started, timestamp);
    cJSON_AddBoolToObject(state, "skipped", status->skipped);
    cJSON_AddBoolToObject(state, "interrupted", status->interrupted);
    cJSON_AddBoolToObject(state, "stopping_generation", false);
    cJSON_AddStringToObject(state, "job", running ? "scripts_txt2img" : "");
    cJSON_AddNumberToObject(state, "job_count", running && p->images < 1 ? -1 : p->images);
    cJSON_AddStringToObject(state, "job_timestamp", timestamp);
    cJSON_AddNumberToObject(state, "job_no", p->image > 0 ? p->image - 1 : 0);
    cJSON_AddNumberToObject(state, "sampling_step", p->step);
    cJSON_AddNumberToObject(state, "sampling_steps", p->steps);
}

/* The preview's PNG file in base64, as a new JSON string; a JSON null: there is no preview, or out
 * of memory (which may also give a NULL pointer). */
static cJSON *preview_json(const zi_job_preview *preview)
{
    char *data = preview->png ? zi_base64_encode(preview->png, preview->size) : NULL;
    cJSON *json = data ? cJSON_CreateString(data) : cJSON_CreateNull();
    free(data);
    return json;
}

/* GET progress: progress of all images (0 to 1), seconds left (0: unknown) and state of the running
 * generate job that a client of this API has sent, with its preview unless the query has
 * skip_current_image=true or 1. An idle server has progress 0 and no image. */
static zi_handler_result get_progress(zi_server_request *req)
{
    const char *skip;
    zi_handler_result result;
    zi_job_status status = {.state = ZI_JOB_UNKNOWN};
    if (!zi_server_request_query(req, "skip_current_image", &skip, &result)) return result;
    bool shows = !skip || (strcmp(skip, "true") != 0 && strcmp(skip, "1") != 0);
    uint64_t id = zi_jobs_count(req->server->jobs).a1111;
    if (id) zi_jobs_status(req->server->jobs, id, &status, NULL);
    if (status.state != ZI_JOB_RUNNING)
        zi_job_status_free(&status); /* it has just ended: report an idle server */
    double left = status.progress.seconds_left;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "progress", status.progress.fraction);
    cJSON_AddNumberToObject(json, "eta_relative", left > 0 ? left : 0);
    add_progress_state(json, &status);
    cJSON_AddItemToObject(json, "current_image",
                          shows ? preview_json(&status.preview) : cJSON_CreateNull());
    cJSON_AddNullToObject(json, "textinfo");
    zi_job_status_free(&status);
    return zi_reply_json(req, 200, json);
}

/* POST interrupt: ends the running generate job with its current step, whichever client of this API
 * sent it, whose txt2img returns the images so far; queued jobs stay. Replies {} in any case. */
static zi_handler_result interrupt_job(zi_server_request *req)
{
    zi_jobs_interrupt(req->server->jobs);
    return zi_reply_json(req, 200, cJSON_CreateObject());
}

/* POST skip: ends the current image of the running generate job of this API with its current step,
 * and keeps the image so far; the job goes on with its next image. Replies null in any case. */
static zi_handler_result skip_image(zi_server_request *req)
{
    zi_jobs_skip_image(req->server->jobs);
    return reply_null(req);
}

/* Resident bytes of this process; where /proc/self/statm does not exist (macOS), their peak since
 * the start; 0: unknown. */
static double resident_bytes(void)
{
    long long pages = 0;
    struct rusage usage;
    FILE *file = fopen("/proc/self/statm", "r");
    int found = file ? fscanf(file, "%*s %lld", &pages) : 0;
    if (file) fclose(file);
    if (found == 1) return (double)pages * (double)sysconf(_SC_PAGESIZE);
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss : 0;
}

/* GET memory: ram in bytes, where used is the resident memory of this process alone (its peak where
 * only that is known; 0: unknown), and free is the machine's total minus that. cuda is an error in
 * any case. */
static zi_handler_result get_memory(zi_server_request *req)
{
    double used = resident_bytes();
    double total = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    cJSON *json = cJSON_CreateObject(), *ram = cJSON_AddObjectToObject(json, "ram");
    cJSON_AddNumberToObject(ram, "free", total - used);
    cJSON_AddNumberToObject(ram, "used", used);
    cJSON_AddNumberToObject(ram, "total", total);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(json, "cuda"), "error", "unavailable");
    return zi_reply_json(req, 200, json);
}

/* ---- png-info ---- */

/* Whether text is WIDTHxHEIGHT in digits. */
static bool is_size(const char *text)
{
    static const char digits[] = "0123456789";
    size_t width = strspn(text, digits);
    size_t height = text[width] == 'x' ? strspn(text + width + 1, digits) : 0;
    return width && height && !text[width + 1 + height];
}

/* Adds a setting as text to json, a JSON object; not at all when out of memory. Like A1111, adds
 * KEY-1 and KEY-2 in place of a KEY whose value is a size. */
static void add_infotext_setting(cJSON *json, const char *key, const char *value)
{
    char name[200];
    if (!is_size(value)) {
        cJSON_AddStringToObject(json, key, value);
        return;
    }
    snprintf(name, sizeof name, "%.190s-1", key);
    cJSON *item = cJSON_AddStringToObject(json, name, value);
    if (item) *strchr(item->valuestring, 'x') = 0;
    snprintf(name, sizeof name, "%.190s-2", key);
    cJSON_AddStringToObject(json, name, strchr(value, 'x') + 1);
}

/* The prompts and settings of an image description (zi_infotext_json) as A1111 names them, as a new
 * JSON object; {} when it has no infotext. Out of memory: NULL, {} or some members are missing. */
static cJSON *infotext_json(const cJSON *described)
{
    cJSON *json = cJSON_CreateObject();
    const cJSON *fields = cJSON_GetObjectItemCaseSensitive(described, "fields"), *setting;
    if (!cJSON_IsObject(fields)) return json;
    static const char *const prompts[][2] = {{"Prompt", "prompt"}, {"Negative prompt", "negative"}};
    for (int i = 0; i < 2; i++) {
        const char *text =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(fields, prompts[i][1]));
        cJSON_AddStringToObject(json, prompts[i][0], text ? text : "");
    }
    cJSON_ArrayForEach(setting, cJSON_GetObjectItemCaseSensitive(described, "settings"))
        add_infotext_setting(json, setting->string, setting->valuestring);
    return json;
}

/* The texts of an image description, without its infotext, as a new JSON object. Out of memory:
 * NULL, {} or some members are missing. */
static cJSON *other_texts_json(const cJSON *described, const char *infotext)
{
    cJSON *json = cJSON_CreateObject();
    const cJSON *text;
    cJSON_ArrayForEach(
        text, cJSON_GetObjectItemCaseSensitive(
                  described, "texts")) if (cJSON_IsString(text) &&
                                           (!infotext || strcmp(text->valuestring, infotext) != 0))
        cJSON_AddStringToObject(json, text->string, text->valuestring);
    return json;
}

static const zi_client_field png_info_fields[] = {
    ZI_FIELD_OWN("image", 0, .type = ZI_PARAMETER_TEXT, .max = ZI_BODY_IMAGE),
    ZI_FIELD_WITHOUT_EFFECT("*"),
    {0}};

/* POST png-info: the infotext of an image (PNG, JPEG or WebP) in base64, which may be a data: URL,
 * as text (info, "" if it has none) and parsed (parameters, {} if it has none), and the file's
 * other texts (items). Other fields are ignored. 422: no base64 (or no memory to decode it), or no
 * such image, damaged or too large. */
static zi_handler_result post_png_info(zi_server_request *req)
{
    const char *text = NULL;
    zi_http_error http_error;
    zi_error error = {0};
    if (!zi_client_fields_read(req->json, png_info_fields, false, &text, &http_error))
        return zi_a1111_reply_error(req, &http_error);
    if (!text) return zi_reply_error(req, 422, "image", "image: is missing");
    const char *comma = strncmp(text, "data:", 5) ? NULL : strchr(text, ',');
    size_t size = 0;
    void *data = zi_base64_decode(comma ? comma + 1 : text, &size);
    if (!data)
        return zi_reply_error(req, 422, "image",
                              "image is not base64; send the bytes of a PNG, JPEG or WebP file in "
                              "base64, alone or as a data: URL");
    cJSON *described = zi_infotext_json(data, size, &error);
    free(data);
    if (!described) {
        zi_http_error_from_body(&http_error, "the image", &error);
        snprintf(http_error.field, sizeof http_error.field, "image");
        return zi_a1111_reply_error(req, &http_error);
    }
    const char *infotext =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(described, "recipe"));
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "info", infotext ? infotext : "");
    cJSON_AddItemToObject(json, "items", other_texts_json(described, infotext));
    cJSON_AddItemToObject(json, "parameters", infotext_json(described));
    cJSON_Delete(described);
    return zi_reply_json(req, 200, json);
}

#define CONSTANT_ROUTE(name)                                                                       \
    {                                                                                              \
        "GET", "/sdapi/v1/" name, reply_constant, 0, 0                                             \
    }
#define JSON ZI_ROUTE_JSON

const zi_route zi_a1111_routes[] = {
    {"POST", "/sdapi/v1/txt2img", zi_a1111_txt2img, JSON, ZI_BODY_JSON},
    {"GET", "/sdapi/v1/progress", get_progress, 0, 0},
    {"POST", "/sdapi/v1/interrupt", interrupt_job, 0, 0},
    {"POST", "/sdapi/v1/skip", skip_image, 0, 0},
    {"GET", "/sdapi/v1/options", get_options, 0, 0},
    {"POST", "/sdapi/v1/options", set_options, JSON, ZI_BODY_JSON},
    {"GET", "/sdapi/v1/cmd-flags", get_cmd_flags, 0, 0},
    {"GET", "/sdapi/v1/sd-models", get_models, 0, 0},
    {"GET", "/sdapi/v1/memory", get_memory, 0, 0},
    {"POST", "/sdapi/v1/png-info", post_png_info, JSON, ZI_BODY_IMAGE},
    {"POST", "/sdapi/v1/refresh-checkpoints", refresh_models, 0, 0},
    {"POST", "/sdapi/v1/refresh-vae", refresh_models, 0, 0},
    {"POST", "/sdapi/v1/refresh-loras", refresh_models, 0, 0},
    {"POST", "/sdapi/v1/unload-checkpoint", unload_model, 0, 0},
    {"POST", "/sdapi/v1/reload-checkpoint", load_model, 0, 0},
    CONSTANT_ROUTE("samplers"),
    {"GET", "/sdapi/v1/schedulers", get_schedulers, 0, 0},
    CONSTANT_ROUTE("upscalers"),
    CONSTANT_ROUTE("scripts"),
    CONSTANT_ROUTE("embeddings"),
    CONSTANT_ROUTE("script-info"),
    CONSTANT_ROUTE("extensions"),
    CONSTANT_ROUTE("sd-vae"),
    CONSTANT_ROUTE("loras"),
    CONSTANT_ROUTE("latent-upscale-modes"),
    CONSTANT_ROUTE("hypernetworks"),
    CONSTANT_ROUTE("face-restorers"),
    CONSTANT_ROUTE("realesrgan-models"),
    CONSTANT_ROUTE("prompt-styles"),
    {0}};
