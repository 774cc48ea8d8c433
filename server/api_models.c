/* /api/models */
#include "server/http.h"
#include "server/models.h"
#include "server/scanner.h"
#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)64 << 30)

/* ---- GET ---- */

static cJSON *list_json(zi_call *call, const zi_registry_list *list)
{
    char *loaded = zi_worker_loaded(call->server->worker), *name = zi_models_default(call->server);
    cJSON *json = cJSON_CreateObject(), *models = cJSON_AddArrayToObject(json, "models");
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i].kind != ZI_MODEL_OTHER)
            cJSON_AddItemToArray(models, zi_model_json(&list->entries[i], loaded));
    cJSON_AddItemToObject(json, "default", name ? cJSON_CreateString(name) : cJSON_CreateNull());
    cJSON_AddItemToObject(json, "loaded", loaded ? cJSON_CreateString(loaded) : cJSON_CreateNull());
    free(loaded);
    free(name);
    return json;
}

static zi_answer list(zi_call *call)
{
    uint64_t cursor = zi_events_latest(call->server->events);
    zi_registry_list list;
    zi_refusal refusal;
    if (!zi_models_read(call->server, &list, &refusal)) return zi_reply_refusal(call, &refusal);
    zi_answer answer = list.unknown && zi_call_waits_for_models(call)
                           ? zi_call_wait(call, cursor)
                           : zi_reply_json(call, 200, list_json(call, &list));
    zi_registry_list_free(&list);
    return answer;
}

static zi_answer send_entry(zi_call *call, const zi_registry_entry *entry, unsigned status)
{
    char *loaded = zi_worker_loaded(call->server->worker);
    cJSON *json =
        status == 200 ? zi_model_detail_json(entry, loaded) : zi_model_json(entry, loaded);
    free(loaded);
    return zi_reply_json(call, status, json);
}

/* Answers with what is known about a model, when it is known. */
static zi_answer describe(zi_call *call, const char *name, unsigned status)
{
    uint64_t cursor = zi_events_latest(call->server->events);
    zi_registry_list list;
    zi_refusal refusal;
    zi_answer answer;
    if (!zi_models_read(call->server, &list, &refusal)) return zi_reply_refusal(call, &refusal);
    const zi_registry_entry *entry = zi_models_entry(&list, name);
    if (!entry)
        answer = zi_reply_error(call, 404, NULL, "%s: there is no such model", name);
    else if (!entry->inspection && zi_call_waits_for_models(call))
        answer = zi_call_wait(call, cursor);
    else
        answer = send_entry(call, entry, status);
    zi_registry_list_free(&list);
    return answer;
}

static zi_answer get(zi_call *call)
{
    return describe(call, call->parameters[0], 200);
}

/* ---- PUT ---- */

static void release(void *upload)
{
    if (upload) zi_upload_release(upload);
}

/* Hands the file that has come to the scanner. */
static bool begin(zi_call *call, char *place, char *name, zi_refusal *refusal)
{
    /* What it is shows in its name, too: it gets the extension before it is inspected. */
    size_t size = strlen(call->upload_path) + 16;
    char *staged = malloc(size);
    if (staged) snprintf(staged, size, "%s%s", call->upload_path, strrchr(place, '.'));
    bool ok = staged || zi_refuse(refusal, 500, NULL, "out of memory");
    if (ok && (fflush(call->upload) != 0 || rename(call->upload_path, staged) != 0))
        ok = zi_refuse(refusal, 500, NULL, "%s: %s", name, strerror(errno));
    if (!ok) {
        free(staged);
        free(place);
        free(name);
        return false;
    }
    call->user = zi_upload_begin(call->server->scanner, staged, place, name);
    call->free_user = release;
    call->began = zi_monotonic_seconds();
    return call->user || zi_refuse(refusal, 500, NULL, "out of memory, or the server ends");
}

static bool submit(zi_call *call, zi_refusal *refusal)
{
    static const char section[] = "comfyui/";
    const char *full = call->parameters[0], *dot = strrchr(full, '.');
    char *place = NULL, *name = NULL;
    bool known = dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".gguf"));
    if (strncmp(full, section, sizeof section - 1) != 0 || !known)
        return zi_refuse(refusal, 400, "name",
                         "the name must be comfyui/NAME.safetensors or comfyui/NAME.gguf");
    if (!call->upload)
        return zi_refuse(refusal, 400, NULL, "the body is empty; send a model's file");
    return zi_models_place(call->server, ZI_SECTION_COMFYUI, full + sizeof section - 1, "name",
                           &place, &name, refusal) &&
           begin(call, place, name, refusal);
}

static zi_answer put(zi_call *call)
{
    uint64_t cursor = zi_events_latest(call->server->events);
    const char *name;
    zi_refusal refusal;
    if (!call->user && !submit(call, &refusal)) return zi_reply_refusal(call, &refusal);
    if (!zi_upload_ended(call->user, &name, &refusal)) return zi_call_wait(call, cursor);
    return name ? describe(call, name, 201) : zi_reply_refusal(call, &refusal);
}

const zi_route zi_models_routes[] = {
    {"GET", "/api/models", list, 0, 0},
    {"GET", "/api/models/{name*}", get, 0, 0},
    {"PUT", "/api/models/{name*}", put, ZI_ROUTE_UPLOAD, MAX_BYTES},
    {0}};
