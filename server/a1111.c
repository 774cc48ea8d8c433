/* /sdapi/v1: the API of AUTOMATIC1111's web UI. What does not exist here (LoRAs, upscalers, styles,
 * scripts and so on) has empty lists, so that clients that look there go on; the rest of its paths
 * (img2img, extras, interrogate, training) answers 404. */
#include "server/a1111.h"
#include "server/base64.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* As FastAPI and A1111's middleware say it. */
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

zi_answer zi_a1111_refuse(zi_call *call, const zi_refusal *refusal)
{
    zi_refusal as = *refusal;
    if (as.status == 400) as.status = 422;
    return zi_reply_refusal(call, &as);
}

void zi_a1111_timestamp(double when, char text[20])
{
    time_t seconds = (time_t)when;
    struct tm parts;
    snprintf(text, 20, "0");
    if (when > 0 && localtime_r(&seconds, &parts)) strftime(text, 20, "%Y%m%d%H%M%S", &parts);
}

static zi_answer reply_null(zi_call *call)
{
    return zi_reply_json(call, 200, cJSON_CreateNull());
}

/* ---- what does not change ---- */

static const char sampler[] =
    "[{\"name\":\"Euler\",\"aliases\":[\"k_euler\",\"euler\"],\"options\":{}}]";
static const char upscaler[] = "[{\"name\":\"None\",\"model_name\":null,\"model_path\":null,"
                               "\"model_url\":null,\"scale\":4}]";

static const struct {
    const char *path, *json;
} constants[] = {
    {"/sdapi/v1/samplers", sampler},
    {"/sdapi/v1/upscalers", upscaler},
    {"/sdapi/v1/scripts", "{\"txt2img\":[],\"img2img\":[]}"},
    {"/sdapi/v1/embeddings", "{\"loaded\":{},\"skipped\":{}}"},
};

static zi_answer constant(zi_call *call)
{
    const char *json = "[]";
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (!strcmp(constants[i].path, call->route->path)) json = constants[i].json;
    return zi_reply_json(call, 200, cJSON_Parse(json));
}

/* The schedules; automatic, for clients that expect it, is the default. */
static zi_answer schedulers(zi_call *call)
{
    cJSON *list = cJSON_CreateArray();
    const char *const *schedule = zi_parameter_find("schedule")->choices;
    for (const char *name = "automatic"; name; name = *schedule++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", name);
        cJSON_AddStringToObject(item, "label", name);
        cJSON_AddNullToObject(item, "aliases");
        cJSON_AddNumberToObject(item, "default_rho", -1);
        cJSON_AddFalseToObject(item, "need_inner_model");
        cJSON_AddItemToArray(list, item);
    }
    return zi_reply_json(call, 200, list);
}

/* ---- models ---- */

static zi_answer models(zi_call *call)
{
    zi_registry_list known;
    zi_refusal refusal;
    if (!zi_models_read(call->server, &known, &refusal)) return zi_reply_refusal(call, &refusal);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < known.count; i++) {
        const char *name = known.entries[i].name;
        if (!zi_model_generates(&known.entries[i])) continue;
        char *brief = zi_foreign_short(name);
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
    return zi_reply_json(call, 200, list);
}

static zi_answer refresh(zi_call *call)
{
    zi_scanner_wake(call->server->scanner);
    return reply_null(call);
}

/* Waits for a job without a result. */
static zi_answer work(zi_call *call, const char *kind)
{
    zi_job_state state;
    zi_refusal refusal;
    zi_answer answer;
    zi_job_request request = {.kind = zi_kind_find(kind)};
    if (!call->job && !zi_foreign_submit(call, &request, &refusal))
        return zi_a1111_refuse(call, &refusal);
    if (!zi_foreign_ended(call, &state, &refusal, &answer)) return answer;
    return state == ZI_JOB_FAILED ? zi_a1111_refuse(call, &refusal)
                                  : zi_reply_json(call, 200, cJSON_CreateObject());
}

static zi_answer load(zi_call *call)
{
    return work(call, "load");
}

static zi_answer unload(zi_call *call)
{
    return work(call, "unload");
}

/* ---- options ---- */

static zi_answer options(zi_call *call)
{
    char *model = zi_models_default(call->server);
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
    return zi_reply_json(call, 200, json);
}

/* The model can be switched, and is loaded for the next picture; other options are passed over. */
static zi_answer set_options(zi_call *call)
{
    zi_refusal refusal;
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(call->json, "sd_model_checkpoint");
    if (!said || cJSON_IsNull(said)) return reply_null(call);
    if (!cJSON_IsString(said))
        return zi_reply_error(call, 422, "sd_model_checkpoint", "it must be text");
    char *name = zi_foreign_model(call->server, said->valuestring);
    bool ok = name ? zi_models_choose(call->server, name, "sd_model_checkpoint", &refusal)
                   : zi_refuse(&refusal, 404, "sd_model_checkpoint", "model '%s' not found",
                               said->valuestring);
    free(name);
    return ok ? reply_null(call) : zi_reply_refusal(call, &refusal);
}

static zi_answer flags(zi_call *call)
{
    zi_server *s = call->server;
    cJSON *json = cJSON_CreateObject();
    const char *port = strrchr(s->address, ':');
    cJSON_AddBoolToObject(json, "api", true);
    cJSON_AddNullToObject(json, "api_auth");
    cJSON_AddBoolToObject(json, "listen", s->options.host != NULL);
    cJSON_AddNumberToObject(json, "port", port ? atoi(port + 1) : 0);
    cJSON_AddStringToObject(json, "ckpt_dir", s->options.registry.folder);
    return zi_reply_json(call, 200, json);
}

/* ---- how it goes ---- */

/* The job that generates images; 0: none does. */
static uint64_t generating(zi_call *call)
{
    return zi_jobs_count(call->server->jobs).generating;
}

static void add_state(cJSON *json, const zi_job_status *status)
{
    char timestamp[20];
    const zi_job_progress *p = &status->progress;
    bool running = status->state == ZI_JOB_RUNNING;
    cJSON *state = cJSON_AddObjectToObject(json, "state");
    zi_a1111_timestamp(status->started, timestamp);
    cJSON_AddBoolToObject(state, "skipped", false);
    cJSON_AddBoolToObject(state, "interrupted", false);
    cJSON_AddBoolToObject(state, "stopping_generation", false);
    cJSON_AddStringToObject(state, "job", running ? "scripts_txt2img" : "");
    cJSON_AddNumberToObject(state, "job_count", running && p->images < 1 ? -1 : p->images);
    cJSON_AddStringToObject(state, "job_timestamp", timestamp);
    cJSON_AddNumberToObject(state, "job_no", p->image > 0 ? p->image - 1 : 0);
    cJSON_AddNumberToObject(state, "sampling_step", p->step);
    cJSON_AddNumberToObject(state, "sampling_steps", p->steps);
}

/* The latest preview in base64. */
static cJSON *preview_json(const zi_job_preview *preview)
{
    char *data = preview->png ? zi_base64(preview->png, preview->size) : NULL;
    cJSON *json = data ? cJSON_CreateString(data) : cJSON_CreateNull();
    free(data);
    return json;
}

static zi_answer progress(zi_call *call)
{
    const char *skip;
    zi_answer answer;
    zi_job_status status = {.state = ZI_JOB_UNKNOWN};
    if (!zi_call_query(call, "skip_current_image", &skip, &answer)) return answer;
    bool shows = !skip || (strcmp(skip, "true") != 0 && strcmp(skip, "1") != 0);
    uint64_t id = generating(call);
    if (id) zi_jobs_status(call->server->jobs, id, &status, NULL);
    if (status.state != ZI_JOB_RUNNING) zi_job_status_free(&status); /* it has just ended */
    double left = status.progress.seconds_left;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "progress", status.progress.fraction);
    cJSON_AddNumberToObject(json, "eta_relative", left > 0 ? left : 0);
    add_state(json, &status);
    cJSON_AddItemToObject(json, "current_image",
                          shows ? preview_json(&status.preview) : cJSON_CreateNull());
    cJSON_AddNullToObject(json, "textinfo");
    zi_job_status_free(&status);
    return zi_reply_json(call, 200, json);
}

static zi_answer interrupt(zi_call *call)
{
    uint64_t id = generating(call);
    if (id) zi_jobs_cancel(call->server->jobs, id);
    return zi_reply_json(call, 200, cJSON_CreateObject());
}

static zi_answer skip(zi_call *call)
{
    if (generating(call)) zi_jobs_skip(call->server->jobs);
    return reply_null(call);
}

/* Bytes of this process that are in memory; the most there ever were, where the system does not
 * tell. */
static double resident(void)
{
    long long pages = 0;
    struct rusage usage;
    FILE *file = fopen("/proc/self/statm", "r");
    int found = file ? fscanf(file, "%*s %lld", &pages) : 0;
    if (file) fclose(file);
    if (found == 1) return (double)pages * (double)sysconf(_SC_PAGESIZE);
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss : 0;
}

static zi_answer memory(zi_call *call)
{
    double used = resident();
    double total = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    cJSON *json = cJSON_CreateObject(), *ram = cJSON_AddObjectToObject(json, "ram");
    cJSON_AddNumberToObject(ram, "free", total - used);
    cJSON_AddNumberToObject(ram, "used", used);
    cJSON_AddNumberToObject(ram, "total", total);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(json, "cuda"), "error", "unavailable");
    return zi_reply_json(call, 200, json);
}

/* ---- png-info ---- */

/* A1111 cuts a size into two settings. */
static void add_setting(void *user, const char *key, const char *value)
{
    size_t width = strcspn(value, "x");
    if (strcmp(key, "Size") != 0 || !value[width]) {
        cJSON_AddStringToObject(user, key, value);
        return;
    }
    cJSON *item = cJSON_AddStringToObject(user, "Size-1", value);
    if (item) item->valuestring[width] = 0;
    cJSON_AddStringToObject(user, "Size-2", value + width + 1);
}

static cJSON *describe_infotext(const char *infotext)
{
    zi_infotext_fields fields;
    char *storage = NULL;
    cJSON *json = cJSON_CreateObject();
    if (!infotext || !zi_infotext_parse(infotext, &fields, &storage, NULL)) return json;
    cJSON_AddStringToObject(json, "Prompt", fields.prompt);
    cJSON_AddStringToObject(json, "Negative prompt", fields.negative);
    free(storage);
    if (zi_infotext_each(infotext, add_setting, json)) return json;
    cJSON_Delete(json);
    return NULL;
}

static zi_answer png_info(zi_call *call)
{
    const char *text = NULL;
    zi_refusal refusal;
    zi_error error = {0};
    static const zi_parameter table[] = {
        {.name = "image", .type = ZI_PARAMETER_TEXT, .max = ZI_BODY_PICTURE, .required = true},
        {0}};
    if (!zi_params_read_known(call->json, table, &text, &refusal))
        return zi_a1111_refuse(call, &refusal);
    const char *comma = strncmp(text, "data:", 5) ? NULL : strchr(text, ',');
    size_t size = 0;
    char *infotext = NULL;
    zi_image *image = NULL;
    void *data = zi_base64_decode(comma ? comma + 1 : text, &size);
    bool ok = data && zi_image_decode(data, size, ZI_MOST_PIXELS, &image, &infotext, &error);
    free(data);
    zi_image_free(image);
    if (!ok) return zi_reply_error(call, 422, "image", "Invalid encoded image");
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "info", infotext ? infotext : "");
    cJSON_AddObjectToObject(json, "items");
    cJSON_AddItemToObject(json, "parameters", describe_infotext(infotext));
    free(infotext);
    return zi_reply_json(call, 200, json);
}

#define CONSTANT(name)                                                                             \
    {                                                                                              \
        "GET", "/sdapi/v1/" name, constant, 0, 0                                                   \
    }
#define JSON ZI_ROUTE_JSON

const zi_route zi_a1111_routes[] = {
    {"POST", "/sdapi/v1/txt2img", zi_a1111_txt2img, JSON, ZI_BODY_JSON},
    {"GET", "/sdapi/v1/progress", progress, 0, 0},
    {"POST", "/sdapi/v1/interrupt", interrupt, 0, 0},
    {"POST", "/sdapi/v1/skip", skip, 0, 0},
    {"GET", "/sdapi/v1/options", options, 0, 0},
    {"POST", "/sdapi/v1/options", set_options, JSON, ZI_BODY_JSON},
    {"GET", "/sdapi/v1/cmd-flags", flags, 0, 0},
    {"GET", "/sdapi/v1/sd-models", models, 0, 0},
    {"GET", "/sdapi/v1/memory", memory, 0, 0},
    {"POST", "/sdapi/v1/png-info", png_info, JSON, ZI_BODY_PICTURE},
    {"POST", "/sdapi/v1/refresh-checkpoints", refresh, 0, 0},
    {"POST", "/sdapi/v1/refresh-vae", refresh, 0, 0},
    {"POST", "/sdapi/v1/refresh-loras", refresh, 0, 0},
    {"POST", "/sdapi/v1/unload-checkpoint", unload, 0, 0},
    {"POST", "/sdapi/v1/reload-checkpoint", load, 0, 0},
    CONSTANT("samplers"),
    {"GET", "/sdapi/v1/schedulers", schedulers, 0, 0},
    CONSTANT("upscalers"),
    CONSTANT("scripts"),
    CONSTANT("embeddings"),
    CONSTANT("script-info"),
    CONSTANT("extensions"),
    CONSTANT("sd-vae"),
    CONSTANT("loras"),
    CONSTANT("latent-upscale-modes"),
    CONSTANT("hypernetworks"),
    CONSTANT("face-restorers"),
    CONSTANT("realesrgan-models"),
    CONSTANT("prompt-styles"),
    {0}};
