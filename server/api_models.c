/* Routes of /api/models. */
#include "server/http.h"
#include "server/json.h"
#include "server/models.h"
#include "server/scanner.h"
#include "server/worker.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MODEL_BYTES ((size_t)64 << 30)

/* ---- GET ---- */

/* {"models", "default", "loaded", "enhance_problem"} in new JSON: the list's entries as schema
 * Model, except those of kind ZI_MODEL_OTHER, the names of the default model and of that in memory
 * (null: none), and why prompts cannot be enhanced (null: they can). Out of memory: NULL, or
 * members are missing. */
static cJSON *models_json(zi_server_request *req, const zi_registry_list *list)
{
    char *loaded = zi_worker_loaded_name(req->server->worker),
         *name = zi_models_default_name(req->server);
    zi_http_error why;
    cJSON *json = cJSON_CreateObject(), *models = cJSON_AddArrayToObject(json, "models");
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i].kind != ZI_MODEL_OTHER)
            cJSON_AddItemToArray(models, zi_model_json(&list->entries[i], loaded));
    zi_json_add_text(json, "default", name);
    zi_json_add_text(json, "loaded", loaded);
    bool can_enhance = zi_models_can_enhance(req->server, list, &why);
    zi_json_add_text(json, "enhance_problem", can_enhance ? NULL : why.text);
    free(loaded);
    free(name);
    return json;
}

/* GET /api/models: all models, as models_json has them. Suspends the request for up to 2 seconds
 * while there are models that are not inspected yet, then replies with what is known. */
static zi_handler_result list_models(zi_server_request *req)
{
    uint64_t cursor = zi_events_latest(req->server->events);
    zi_registry_list list;
    zi_http_error http_error;
    if (!zi_models_list(req->server, &list, &http_error))
        return zi_reply_http_error(req, &http_error);
    zi_handler_result result = list.unknown && zi_server_request_may_wait(req)
                                   ? zi_server_request_wait(req, cursor)
                                   : zi_reply_json(req, 200, models_json(req, &list));
    zi_registry_list_free(&list);
    return result;
}

/* Replies with a model as it is known now: with status 200 as schema ModelDetail, in which
 * "inspect" is {} while it is not inspected; with 201 as Model. */
static zi_handler_result reply_model(zi_server_request *req, const zi_registry_entry *entry,
                                     unsigned status)
{
    char *loaded = zi_worker_loaded_name(req->server->worker);
    cJSON *json =
        status == 200 ? zi_model_detail_json(entry, loaded) : zi_model_json(entry, loaded);
    free(loaded);
    return zi_reply_json(req, status, json);
}

/* Replies with the model of that name, 404 if there is none. Suspends the request while it is not
 * inspected, until 2 seconds after req->began, then replies without the inspection. status 200:
 * schema ModelDetail; 201: Model. */
static zi_handler_result reply_model_when_inspected(zi_server_request *req, const char *name,
                                                    unsigned status)
{
    uint64_t cursor = zi_events_latest(req->server->events);
    zi_registry_list list;
    zi_http_error http_error;
    zi_handler_result result;
    if (!zi_models_list(req->server, &list, &http_error))
        return zi_reply_http_error(req, &http_error);
    const zi_registry_entry *entry = zi_models_find_entry(&list, name);
    if (!entry)
        result = zi_reply_error(req, 404, NULL,
                                "%s: no such model; GET /api/models lists the models", name);
    else if (!entry->inspection && zi_server_request_may_wait(req))
        result = zi_server_request_wait(req, cursor);
    else
        result = reply_model(req, entry, status);
    zi_registry_list_free(&list);
    return result;
}

/* GET /api/models/{name*}: a model with its inspection, as schema ModelDetail; 404 if there is
 * none. Waits up to 2 seconds for the inspection (reply_model_when_inspected). */
static zi_handler_result get_model(zi_server_request *req)
{
    return reply_model_when_inspected(req, req->parameters[0], 200);
}

/* ---- PUT ---- */

/* req->free_user for uploads: drops the request's reference to a zi_upload; NULL is allowed. A
 * pending upload goes on. */
static void release_upload(void *upload)
{
    if (upload) zi_upload_release(upload);
}

/* Hands the uploaded temporary file to the scanner, to be inspected and moved to path; sets
 * req->user to the zi_upload and restarts req->began. Takes ownership of path and name, on failure,
 * too. False: *http_error is filled (500; 507: the disk is full; 503 at shutdown), req->user is
 * NULL, and the file is removed now or with the request. */
static bool submit_upload(zi_server_request *req, char *path, char *name, zi_http_error *http_error)
{
    /* Inspection depends on the extension, so that the temporary file gets it first. */
    size_t size = strlen(req->upload_path) + 16;
    char *staged = malloc(size);
    if (staged) snprintf(staged, size, "%s%s", req->upload_path, strrchr(path, '.'));
    bool ok = staged || zi_http_error_no_memory(http_error);
    if (ok && (fflush(req->upload) != 0 || rename(req->upload_path, staged) != 0))
        ok = zi_http_error_not_stored(http_error, errno);
    if (!ok) {
        free(staged);
        free(path);
        free(name);
        return false;
    }
    req->user = zi_upload_submit(req->server->scanner, staged, path, name, http_error);
    req->free_user = release_upload;
    req->began = zi_monotonic_seconds();
    return req->user != NULL;
}

/* Called once per PUT. Checks in this order that the name is comfyui/NAME.safetensors or .gguf and
 * that there is a body (400), that no such model exists (409), then submits the upload
 * (submit_upload). False: *http_error is filled. */
static bool check_and_submit_upload(zi_server_request *req, zi_http_error *http_error)
{
    static const char section[] = "comfyui/";
    const char *full = req->parameters[0];
    char *path = NULL, *name = NULL;
    if (strncmp(full, section, sizeof section - 1) != 0 || !zi_weights_extension(full))
        return zi_http_error_set(http_error, 400, "name",
                                 "the model name in the URL is '%s', but must be "
                                 "comfyui/NAME.safetensors or comfyui/NAME.gguf; send PUT "
                                 "/api/models/comfyui/NAME.safetensors, for example",
                                 full);
    if (!req->upload)
        return zi_http_error_set(http_error, 400, NULL,
                                 "the request has no body; send the bytes of the model file as the "
                                 "body (curl --upload-file FILE URL)");
    return zi_models_destination(req->server, ZI_SECTION_COMFYUI, full + sizeof section - 1, "name",
                                 &path, &name, http_error) &&
           submit_upload(req, path, name, http_error);
}

/* PUT /api/models/{name*}: submits the uploaded file on the first call, waits (suspended) until it
 * is installed, and up to 2 more seconds for its inspection; replies 201 with schema Model, not
 * inspected if that takes longer. 400: bad name, no body or no model file; 409: the name exists. */
static zi_handler_result put_model(zi_server_request *req)
{
    uint64_t cursor = zi_events_latest(req->server->events);
    const char *name;
    zi_http_error http_error;
    if (!req->user && !check_and_submit_upload(req, &http_error))
        return zi_reply_http_error(req, &http_error);
    if (!zi_upload_ended(req->user, &name, &http_error)) return zi_server_request_wait(req, cursor);
    return name ? reply_model_when_inspected(req, name, 201)
                : zi_reply_http_error(req, &http_error);
}

const zi_route zi_models_routes[] = {
    {"GET", "/api/models", list_models, 0, 0},
    {"GET", "/api/models/{name*}", get_model, 0, 0},
    {"PUT", "/api/models/{name*}", put_model, ZI_ROUTE_UPLOAD, MAX_MODEL_BYTES},
    {0}};
