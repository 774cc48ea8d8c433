/* Routes of /api/config, health, metrics, log, login, random-prompt and openapi.json. */
#include "server/client_request.h"
#include "server/http.h"
#include "server/json.h"
#include "server/schema.h"
#include "server/worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* GET /api/openapi.json: the OpenAPI description, sent from server->openapi without a copy. */
static zi_handler_result get_openapi(zi_server_request *req)
{
    char *text = req->server->openapi;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json");
    return zi_reply(req, 200, response);
}

/* ---- /api/config ---- */

/* Adds {"min", "max"} of a generation parameter, which must exist, as `name`; max is the server's
 * limit. Returns the new object, owned by config. Out of memory: NULL, or it lacks members. */
static cJSON *add_range(cJSON *config, const char *name, const char *parameter)
{
    const zi_parameter *p = zi_parameter_find(parameter);
    cJSON *range = cJSON_AddObjectToObject(config, name);
    cJSON_AddNumberToObject(range, "min", p->min);
    cJSON_AddNumberToObject(range, "max", zi_parameter_max(p, true));
    return range;
}

/* Adds {"min", "max", "default"} of the generation parameter `name`, which must exist, under its
 * own name; max is the server's limit. */
static void add_range_with_default(cJSON *config, const char *name)
{
    cJSON *range = add_range(config, name, name);
    cJSON_AddNumberToObject(range, "default", zi_parameter_find(name)->default_value);
}

/* Adds the array "layouts" of model formats, {"name", "precisions"}, each with the precisions that
 * it can have. ZI_LAYOUT_SAME is left out. */
static void add_layouts(cJSON *config)
{
    cJSON *array = cJSON_AddArrayToObject(config, "layouts");
    for (zi_layout_kind layout = ZI_LAYOUT_MLX; zi_layout_names[layout]; layout++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", zi_layout_names[layout]);
        cJSON *precisions = cJSON_AddArrayToObject(item, "precisions");
        for (zi_precision p = ZI_PRECISION_ORIGINAL; zi_precision_names[p]; p++)
            if (zi_layout_check(layout, p, NULL))
                cJSON_AddItemToArray(precisions, cJSON_CreateString(zi_precision_names[p]));
        cJSON_AddItemToArray(array, item);
    }
}

/* Adds the object "limits": the capacity of the job queue, and maximum bytes of a prompt, a JSON
 * body and an image file. */
static void add_limits(cJSON *config)
{
    const zi_parameter *prompt = zi_parameter_find("prompt");
    cJSON *limits = cJSON_AddObjectToObject(config, "limits");
    cJSON_AddNumberToObject(limits, "queue", ZI_QUEUE_CAPACITY);
    cJSON_AddNumberToObject(limits, "prompt_bytes", zi_parameter_max(prompt, true));
    cJSON_AddNumberToObject(limits, "body_bytes", ZI_BODY_JSON);
    cJSON_AddNumberToObject(limits, "picture_bytes", ZI_BODY_IMAGE);
}

/* Replies with the server's limits, choices and defaults for clients. model: name of the default
 * model, "" for none; known: its inspection, or NULL: native_size is then null. */
static zi_handler_result reply_config(zi_server_request *req, const char *model,
                                      const zi_inspection *known)
{
    static const int tiers[] = {512, 768, 1024, 1280};
    static const char *const aspects[] = {"1:1", "5:4", "4:3", "7:5", "3:2", "16:9", "21:9", NULL};
    cJSON *json = cJSON_CreateObject();
    char device[1024];
    zi_engine_device(req->server->engine, device, sizeof device);
    cJSON_AddStringToObject(json, "version", ZI_VERSION);
    cJSON_AddStringToObject(json, "device", *device ? device : "cpu");
    cJSON_AddStringToObject(json, "default_model", model);
    zi_json_add_number(json, "native_size", known ? known->native_size : 0,
                       known && known->native_size);
    cJSON_AddBoolToObject(json, "key_required", zi_access_needs_key(req->server->access));
    cJSON *sizes = add_range(json, "sizes", "width");
    cJSON_AddNumberToObject(sizes, "multiple", zi_parameter_find("width")->multiple);
    cJSON_AddItemToObject(json, "aspects", zi_json_strings(aspects));
    cJSON_AddItemToObject(json, "tiers", cJSON_CreateIntArray(tiers, 4));
    add_range_with_default(json, "steps");
    add_range_with_default(json, "shift");
    add_range_with_default(json, "guidance");
    add_range(json, "count", "count");
    add_limits(json);
    cJSON_AddItemToObject(json, "schedules",
                          zi_json_strings(zi_parameter_find("schedule")->choices));
    cJSON_AddItemToObject(json, "computes", zi_json_strings(zi_parameter_find("compute")->choices));
    add_layouts(json);
    cJSON_AddItemToObject(json, "formats", zi_json_strings(zi_client_formats));
    cJSON_AddItemToObject(json, "parameters", zi_schema_parameters());
    return zi_reply_json(req, 200, json);
}

/* GET /api/config. Suspends the request while the default model is not inspected, since native_size
 * depends on that; 2 seconds after req->began replies with native_size null. */
static zi_handler_result get_config(zi_server_request *req)
{
    uint64_t cursor = zi_events_latest(req->server->events);
    zi_resolved_model model = {0};
    bool found = zi_registry_resolve(req->server->registry, NULL, &model, NULL);
    zi_inspection *known =
        found ? zi_registry_cached_inspection(req->server->registry, model.path) : NULL;
    zi_handler_result result = found && !known && zi_server_request_may_wait(req)
                                   ? zi_server_request_wait(req, cursor)
                                   : reply_config(req, found ? model.name : "", known);
    zi_inspection_free(known);
    zi_resolved_model_free(&model);
    return result;
}

/* ---- health, metrics, log ---- */

void zi_storage_add_json(cJSON *json, const zi_storage *storage)
{
    cJSON *problems = cJSON_AddArrayToObject(json, "problems");
    for (size_t i = 0; i < storage->count; i++) {
        cJSON *problem = cJSON_CreateObject();
        cJSON_AddStringToObject(problem, "kind", zi_storage_kind_name(storage->problems[i].kind));
        cJSON_AddStringToObject(problem, "message", storage->problems[i].message);
        cJSON_AddItemToArray(problems, problem);
    }
    cJSON_AddNumberToObject(json, "unsaved_images", (double)storage->unsaved);
}

/* GET /api/health: status "ok", or "degraded" when images cannot be saved; version, uptime in
 * seconds, number of queued jobs, whether one runs, name of the model in memory (null: none),
 * number of open event streams, and the state of the storage. Needs no API key. */
static zi_handler_result get_health(zi_server_request *req)
{
    zi_server *s = req->server;
    zi_jobs_counts counts = zi_jobs_count(s->jobs);
    char *loaded = zi_worker_loaded_name(s->worker);
    cJSON *json = cJSON_CreateObject();
    zi_storage storage;
    zi_history_check_storage(s->history, &storage);
    cJSON_AddStringToObject(json, "status", storage.count ? "degraded" : "ok");
    cJSON_AddStringToObject(json, "version", ZI_VERSION);
    cJSON_AddNumberToObject(json, "uptime", zi_monotonic_seconds() - s->started);
    cJSON_AddNumberToObject(json, "queued", (double)counts.queued);
    cJSON_AddBoolToObject(json, "running", counts.running > 0);
    zi_json_add_text(json, "loaded", loaded);
    cJSON_AddNumberToObject(json, "listeners", (double)zi_event_streams_count());
    zi_storage_add_json(json, &storage);
    free(loaded);
    return zi_reply_json(req, 200, json);
}

/* Appends a metric "zimage_NAME" in Prometheus' text format; name comes without "zimage_". type:
 * "gauge" or "counter"; about: its help text. Sets text->failed when out of memory. */
static void add_metric(zi_text *text, const char *name, const char *type, const char *about,
                       double value)
{
    zi_text_printf(text, "# HELP zimage_%s %s\n# TYPE zimage_%s %s\nzimage_%s %.15g\n", name, about,
                   name, type, name, value);
}

/* GET /api/metrics: counters and gauges in Prometheus' text format; ended jobs are counted by
 * state. Needs the API key. */
static zi_handler_result get_metrics(zi_server_request *req)
{
    static const char *const ends[] = {"", "", "done", "failed", "cancelled"};
    zi_server *s = req->server;
    zi_jobs_counts counts = zi_jobs_count(s->jobs);
    zi_storage storage;
    zi_text text;
    zi_history_check_storage(s->history, &storage);
    zi_text_init(&text, 1 << 16);
    add_metric(&text, "uptime_seconds", "gauge", "Seconds since the start.",
               zi_monotonic_seconds() - s->started);
    add_metric(&text, "requests_total", "counter", "HTTP requests.",
               (double)atomic_load(&s->requests));
    add_metric(&text, "requests_refused_total", "counter",
               "Requests rejected for their host, origin or API key.",
               (double)atomic_load(&s->rejected));
    add_metric(&text, "requests_failed_total", "counter",
               "Requests answered with status 500 or above.", (double)atomic_load(&s->failures));
    add_metric(&text, "pictures_total", "counter", "Images generated.",
               (double)atomic_load(&s->images));
    add_metric(&text, "unsaved_images", "gauge", "Images that could not be saved yet.",
               (double)storage.unsaved);
    add_metric(&text, "storage_problems", "gauge",
               "Problems that keep the server from saving (output folder, disk, database).",
               (double)storage.count);
    add_metric(&text, "queue_length", "gauge", "Queued jobs.", (double)counts.queued);
    add_metric(&text, "running", "gauge", "Running jobs.", (double)counts.running);
    add_metric(&text, "event_streams", "gauge", "Open event streams.",
               (double)zi_event_streams_count());
    zi_text_puts(&text, "# HELP zimage_jobs_total Jobs that have ended.\n"
                        "# TYPE zimage_jobs_total counter\n");
    for (int i = ZI_JOB_DONE; i < ZI_JOB_UNKNOWN; i++)
        zi_text_printf(&text, "zimage_jobs_total{state=\"%s\"} %zu\n", ends[i], counts.ended[i]);
    size_t size = text.size;
    char *data = zi_text_take(&text);
    return data ? zi_reply_bytes(req, 200, "text/plain; version=0.0.4; charset=utf-8", data, size,
                                 NULL)
                : MHD_NO;
}

/* GET /api/log: the log lines in memory (at most 500), oldest first, as {"lines": [...]}. */
static zi_handler_result get_log(zi_server_request *req)
{
    return zi_reply_json(req, 200, zi_log_json(req->server->log));
}

/* ---- login, random prompt ---- */

/* POST /api/login: if "key" is the API key, or the server has none, replies 204 and sets the login
 * cookie; 400 if "key" is missing, no text, or longer than any API key may be, in either case.
 * Otherwise counts that in server->rejected, logs it (rate-limited) and replies 401, or 429 after
 * too many wrong ones. */
static zi_handler_result post_login(zi_server_request *req)
{
    char cookie[200], address[ZI_IP_TEXT];
    const char *key = NULL;
    zi_http_error http_error;
    zi_fields fields = {0, 0};
    static const zi_parameter params[] = {
        {.name = "key", .type = ZI_PARAMETER_TEXT, .max = ZI_ACCESS_KEY_MAX, .required = true},
        {0}};
    if (!zi_params_read(req->json, params, &key, &fields, &http_error))
        return zi_reply_http_error(req, &http_error);
    const char *token = zi_access_login(req->server->access, key, &req->address, &req->retry_after);
    if (!token) {
        atomic_fetch_add(&req->server->rejected, 1);
        zi_log_rate_limited(req->server->log, "rejected a login from %s: %s",
                            zi_ip_print(&req->address, address),
                            req->retry_after ? "too many wrong keys" : "wrong key");
        if (req->retry_after)
            return zi_reply_error(req, 429, "key", ZI_TOO_MANY_KEYS, req->retry_after);
        return zi_reply_error(req, 401, "key",
                              "the API key is wrong; enter the key that the server was started "
                              "with (zimage serve --api-key KEY)");
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    snprintf(cookie, sizeof cookie, "zimage=%s; Path=/; HttpOnly; SameSite=Strict%s", token,
             req->https ? "; Secure" : "");
    MHD_add_response_header(response, "Set-Cookie", cookie);
    return zi_reply(req, 204, response);
}

/* GET /api/random-prompt: {"prompt", "seed"}, where the prompt follows from the seed (a text of
 * digits): the query's, or a random one of 32 bits. 400 when the query's is not a whole number from
 * 0 to 2^64-1. */
static zi_handler_result get_random_prompt(zi_server_request *req)
{
    const char *text;
    char digits[24];
    zi_handler_result result;
    uint32_t random;
    uint64_t seed;
    if (!zi_server_request_query(req, "seed", &text, &result)) return result;
    if (text && !zi_seed_parse(text, &seed))
        return zi_reply_error(req, 400, "seed",
                              "seed '%s' is not a whole number from 0 to 18446744073709551615; "
                              "leave seed out for a random one",
                              text);
    if (!text) {
        if (getentropy(&random, sizeof random) != 0)
            return zi_reply_error(req, 500, NULL,
                                  "cannot get random numbers from the system; send a seed");
        seed = random;
    }
    char *prompt = zi_random_prompt(seed);
    if (!prompt) return MHD_NO;
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "prompt", prompt);
    cJSON_AddStringToObject(json, "seed", digits);
    free(prompt);
    return zi_reply_json(req, 200, json);
}

const zi_route zi_system_routes[] = {
    {"GET", "/api/config", get_config, 0, 0},
    {"GET", "/api/health", get_health, ZI_ROUTE_KEYLESS, 0},
    {"GET", "/api/metrics", get_metrics, 0, 0},
    {"GET", "/api/log", get_log, 0, 0},
    {"GET", "/api/openapi.json", get_openapi, 0, 0},
    {"GET", "/api/random-prompt", get_random_prompt, 0, 0},
    {"POST", "/api/login", post_login, ZI_ROUTE_JSON | ZI_ROUTE_KEYLESS, ZI_BODY_JSON},
    {0}};
