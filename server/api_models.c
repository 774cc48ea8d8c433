/* /api/models */
#include "server/http.h"
#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_BYTES ((size_t)64 << 30)

static zi_answer list(zi_call *call)
{
    char *loaded = zi_worker_loaded(call->server->worker);
    cJSON *json = zi_shelf_list(call->server->shelf, loaded);
    free(loaded);
    return zi_reply_json(call, 200, json);
}

static bool inspect(zi_call *call, const char *name, cJSON **json, zi_refusal *refusal)
{
    char *loaded = zi_worker_loaded(call->server->worker);
    bool ok = zi_shelf_inspect(call->server->shelf, name, loaded, json, refusal);
    free(loaded);
    return ok;
}

static zi_answer get(zi_call *call)
{
    cJSON *json;
    zi_refusal refusal;
    return inspect(call, call->parameters[0], &json, &refusal) ? zi_reply_json(call, 200, json)
                                                               : zi_reply_refusal(call, &refusal);
}

/* Puts the file that came at its place, if it is one that is known. */
static bool take_in(zi_call *call, char *place, zi_refusal *refusal)
{
    char *json = NULL, *staged;
    zi_error error;
    if (!call->upload)
        return zi_refuse(refusal, 400, NULL, "the body is empty; send a model's file");
    /* What it is shows in its name, too: it gets the extension before it is looked at. */
    size_t size = strlen(call->upload_path) + 16;
    staged = malloc(size);
    if (!staged) return zi_refuse(refusal, 500, NULL, "out of memory");
    snprintf(staged, size, "%s%s", call->upload_path, strrchr(place, '.'));
    bool ok = fflush(call->upload) == 0 && fsync(fileno(call->upload)) == 0 &&
              rename(call->upload_path, staged) == 0;
    if (!ok) zi_refuse(refusal, 500, NULL, "%s: %s", place, strerror(errno));
    if (ok && !zi_inspect(staged, &json, &error))
        ok = zi_refuse_body(refusal, "this is no model's file", &error);
    free(json);
    if (ok && link(staged, place) != 0 && (errno == EEXIST || rename(staged, place) != 0))
        ok =
            zi_refuse(refusal, errno == EEXIST ? 409 : 500, NULL, "%s: %s", place, strerror(errno));
    unlink(staged);
    free(staged);
    return ok;
}

static zi_answer put(zi_call *call)
{
    static const char shelf[] = "comfyui/";
    const char *name = call->parameters[0], *file = name + sizeof shelf - 1;
    const char *dot = strrchr(name, '.');
    char *place = NULL, *called = NULL;
    cJSON *detail;
    zi_refusal refusal;
    bool known = dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".gguf"));
    if (strncmp(name, shelf, sizeof shelf - 1) != 0 || !known)
        return zi_reply_error(call, 400, "name",
                              "the name must be comfyui/NAME.safetensors or comfyui/NAME.gguf");
    bool ok =
        zi_shelf_place(call->server->shelf, "comfyui", file, "name", &place, &called, &refusal) &&
        take_in(call, place, &refusal);
    if (ok) {
        zi_shelf_changed(call->server->shelf);
        zi_events_publish(call->server->events, "models", cJSON_CreateObject());
        ok = inspect(call, called, &detail, &refusal);
    }
    free(place);
    free(called);
    if (!ok) return zi_reply_refusal(call, &refusal);
    cJSON *model = cJSON_DetachItemFromObject(detail, "model");
    cJSON_Delete(detail);
    return zi_reply_json(call, 201, model);
}

const zi_route zi_models_routes[] = {
    {"GET", "/api/models", list, 0, 0},
    {"GET", "/api/models/{name*}", get, 0, 0},
    {"PUT", "/api/models/{name*}", put, ZI_ROUTE_UPLOAD, MOST_BYTES},
    {0}};
