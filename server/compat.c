#include "server/compat.h"
#include "server/base64.h"
#include "server/worker.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- jobs ---- */

bool zi_compat_submit(zi_server_request *req, const zi_job_request *request,
                      zi_http_error *http_error)
{
    zi_job_request own = *request;
    own.a1111 = !strcmp(req->api->prefix, "/sdapi/");
    req->cancel_job = true;
    return zi_jobs_submit(req->server->jobs, &own, &req->job, http_error);
}

/* Gives an error of the field `negative`, whose text begins with that name, the name that both APIs
 * have for it. */
static void rename_negative(zi_http_error *http_error)
{
    zi_http_error own = *http_error;
    zi_http_error_set(http_error, own.status, "negative_prompt", "negative_prompt%s",
                      own.text + strlen("negative"));
}

bool zi_compat_submit_generate(zi_server_request *req, const zi_generation *generation,
                               zi_http_error *http_error)
{
    zi_job_request request = {.kind = zi_job_kind_find("generate"),
                              .params.generate = *generation,
                              .fields = zi_params_nonzero_fields(zi_parameters, generation)};
    if (generation->request.guidance_given)
        zi_fields_add(&request.fields, zi_parameters, "guidance");
    bool ok = zi_compat_submit(req, &request, http_error);
    if (!ok && !strcmp(http_error->field, "negative")) rename_negative(http_error);
    return ok;
}

bool zi_compat_job_ended(zi_server_request *req, zi_job_state *state, zi_http_error *http_error,
                         zi_handler_result *result)
{
    uint64_t cursor = zi_events_latest(req->server->events);
    *state = zi_jobs_state(req->server->jobs, req->job, http_error);
    if (*state > ZI_JOB_RUNNING) {
        req->cancel_job = false;
        return true;
    }
    *result = zi_server_request_wait(req, cursor);
    return false;
}

/* ---- images ---- */

/* Appends bytes in base64; sets out->failed when out of memory. */
static void append_base64(const void *data, size_t size, zi_text *out)
{
    char *text = zi_base64_encode(data, size);
    if (text)
        zi_text_puts(out, text);
    else
        out->failed = true;
    free(text);
}

/* Sets ZI_ERROR_NOT_FOUND, "the image was deleted before the reply was sent; send the request again
 * to generate a new one", with id as its subject; returns false. */
static bool set_deleted_error(const char *id, zi_error *error)
{
    return zi_error_set(error, ZI_ERROR_NOT_FOUND, id,
                        "the image was deleted before the reply was sent; send the request again "
                        "to generate a new one");
}

/* Appends the image's PNG file in base64. False: *error is set and out unchanged;
 * ZI_ERROR_NOT_FOUND if it has none. A lack of memory for base64 sets out->failed alone. */
static bool append_file(zi_server *server, const char *id, zi_text *out, zi_error *error)
{
    uint8_t *data;
    size_t size;
    if (!zi_history_read_file(server->history, id, &data, &size, error)) return false;
    if (!data) return set_deleted_error(id, error);
    append_base64(data, size, out);
    free(data);
    return true;
}

/* Appends the stored image in the format and quality of options in base64, with its stored infotext
 * in place of options->infotext. False: *error is set and out unchanged; ZI_ERROR_NOT_FOUND if it
 * has no file. A lack of memory for base64 sets out->failed alone. */
static bool append_converted(zi_server *server, const char *id, const zi_save_options *options,
                             zi_text *out, zi_error *error)
{
    zi_image *image = NULL;
    char *infotext = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    zi_save_options save = *options;
    bool ok = zi_history_load_image(server->history, id, &image, &infotext, error);
    if (ok && !image) ok = set_deleted_error(id, error);
    save.infotext = infotext;
    ok = ok && zi_image_encode(image, &save, &data, &size, error);
    if (ok) append_base64(data, size, out);
    zi_image_free(image);
    free(infotext);
    free(data);
    return ok;
}

bool zi_compat_append_image(zi_server *server, const char *id, zi_format format, int quality,
                            zi_text *out, zi_error *error)
{
    zi_save_options options = {.format = format, .quality = quality};
    return format == ZI_FORMAT_PNG ? append_file(server, id, out, error)
                                   : append_converted(server, id, &options, out, error);
}

/* ---- replies with images ---- */

void zi_compat_append_open_object(cJSON *object, zi_text *out)
{
    char *text = cJSON_PrintUnformatted(object);
    if (text)
        zi_text_append(out, text, strlen(text) - 1);
    else
        out->failed = true;
    cJSON_free(text);
    cJSON_Delete(object);
}

zi_handler_result zi_compat_reply_json_text(zi_server_request *req, zi_text *out)
{
    size_t size = out->size;
    char *data = zi_text_take(out);
    return data ? zi_reply_bytes(req, 200, "application/json", data, size, NULL) : MHD_NO;
}

/* ---- models ---- */

char *zi_compat_short_name(const char *name)
{
    char *base = zi_path_basename(name);
    const char *extension = base ? zi_weights_extension(base) : NULL;
    if (extension) base[extension - base] = 0;
    return base;
}

/* Whether a client may mean the model `name` by `requested`: its full name, what follows its last
 * slash, or that without .safetensors or .gguf. */
static bool name_matches(const char *requested, const char *name)
{
    const char *slash = strrchr(name, '/');
    char *brief = zi_compat_short_name(name);
    bool same = !strcmp(requested, name) || (slash && !strcmp(requested, slash + 1)) ||
                (brief && !strcmp(requested, brief));
    free(brief);
    return same;
}

/* Whether a client means the default model by a name. */
static bool means_default(const char *name)
{
    return !strcasecmp(name, "default") || !strcmp(name, "sd-cpp-local");
}

char *zi_compat_find_model(zi_server *server, const char *requested)
{
    zi_registry_list list;
    zi_http_error http_error;
    char *text = strdup(requested), *found = NULL;
    char *hash = text ? strrchr(text, '[') : NULL;
    if (hash > text && hash[-1] == ' ' && hash[strlen(hash) - 1] == ']') hash[-1] = 0;
    if (!text || !zi_models_list(server, &list, &http_error)) {
        free(text);
        return NULL;
    }
    for (size_t i = 0; i < list.count && !found; i++)
        if (zi_model_can_generate(&list.entries[i]) && name_matches(text, list.entries[i].name))
            found = strdup(list.entries[i].name);
    zi_registry_list_free(&list);
    if (!found && means_default(text)) found = zi_models_default_name(server);
    free(text);
    return found;
}
