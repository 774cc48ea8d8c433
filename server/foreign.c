#include "server/foreign.h"
#include "server/base64.h"
#include "server/worker.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- waiting ---- */

bool zi_foreign_submit(zi_call *call, const zi_job_request *request, zi_refusal *refusal)
{
    call->cancel_job = true;
    return zi_jobs_submit(call->server->jobs, request, &call->job, refusal);
}

bool zi_foreign_generate(zi_call *call, const zi_generation *generation, zi_refusal *refusal)
{
    zi_job_request request = {.kind = zi_kind_find("generate"),
                              .params.generate = *generation,
                              .fields = zi_params_fields(zi_parameters, generation)};
    return zi_foreign_submit(call, &request, refusal);
}

bool zi_foreign_ended(zi_call *call, zi_job_state *state, zi_refusal *why, zi_answer *answer)
{
    uint64_t cursor = zi_events_latest(call->server->events);
    *state = zi_jobs_state(call->server->jobs, call->job, why);
    if (*state > ZI_JOB_RUNNING) {
        call->cancel_job = false;
        return true;
    }
    *answer = zi_call_wait(call, cursor);
    return false;
}

/* ---- pictures ---- */

static void put_base64(const void *data, size_t size, zi_text *out)
{
    char *text = zi_base64(data, size);
    if (text)
        zi_text_puts(out, text);
    else
        out->failed = true;
    free(text);
}

/* The file as it stands. */
static bool put_file(int fd, const char *id, zi_text *out, zi_error *error)
{
    struct stat st;
    char *data = NULL;
    bool ok = fstat(fd, &st) == 0 && (data = malloc((size_t)st.st_size + 1)) != NULL;
    size_t size = 0;
    while (ok && size < (size_t)st.st_size) {
        ssize_t count = read(fd, data + size, (size_t)st.st_size - size);
        ok = count > 0;
        if (ok) size += (size_t)count;
    }
    close(fd);
    if (ok) put_base64(data, size, out);
    free(data);
    return ok || zi_error_set(error, ZI_ERROR_IO, id, "the image's file cannot be read");
}

static bool gone(const char *id, zi_error *error)
{
    return zi_error_set(error, ZI_ERROR_NOT_FOUND, id, "the image was deleted meanwhile");
}

static bool put_converted(zi_server *server, const char *id, const zi_save_options *how,
                          zi_text *out, zi_error *error)
{
    zi_image *image = NULL;
    char *infotext = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    zi_save_options save = *how;
    bool ok = zi_history_load(server->history, id, &image, &infotext, error);
    if (ok && !image) ok = gone(id, error);
    save.infotext = infotext;
    ok = ok && zi_image_encode(image, &save, &data, &size, error);
    if (ok) put_base64(data, size, out);
    zi_image_free(image);
    free(infotext);
    free(data);
    return ok;
}

bool zi_foreign_picture(zi_server *server, const char *id, zi_format format, int quality,
                        zi_text *out, zi_error *error)
{
    zi_save_options how = {.format = format, .quality = quality};
    if (format != ZI_FORMAT_PNG) return put_converted(server, id, &how, out, error);
    int fd = zi_history_file(server->history, id);
    return fd < 0 ? gone(id, error) : put_file(fd, id, out, error);
}

/* ---- replies that hold pictures ---- */

void zi_foreign_open(cJSON *object, zi_text *out)
{
    char *text = cJSON_PrintUnformatted(object);
    if (text)
        zi_text_append(out, text, strlen(text) - 1);
    else
        out->failed = true;
    cJSON_free(text);
    cJSON_Delete(object);
}

zi_answer zi_foreign_reply(zi_call *call, zi_text *out)
{
    size_t size = out->size;
    char *data = zi_text_take(out);
    return data ? zi_reply_bytes(call, 200, "application/json", data, size, NULL) : MHD_NO;
}

/* ---- models ---- */

char *zi_foreign_short(const char *name)
{
    char *base = zi_path_basename(name), *dot = base ? strrchr(base, '.') : NULL;
    if (dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".gguf"))) *dot = 0;
    return base;
}

static bool means(const char *said, const char *name)
{
    const char *slash = strrchr(name, '/');
    char *brief = zi_foreign_short(name);
    bool same = !strcmp(said, name) || (slash && !strcmp(said, slash + 1)) ||
                (brief && !strcmp(said, brief));
    free(brief);
    return same;
}

char *zi_foreign_model(zi_server *server, const char *said)
{
    zi_registry_list list;
    zi_refusal refusal;
    char *text = strdup(said), *found = NULL;
    char *hash = text ? strrchr(text, '[') : NULL;
    if (hash > text && hash[-1] == ' ' && hash[strlen(hash) - 1] == ']') hash[-1] = 0;
    if (!text || !zi_models_read(server, &list, &refusal)) {
        free(text);
        return NULL;
    }
    for (size_t i = 0; i < list.count && !found; i++)
        if (zi_model_generates(&list.entries[i]) && means(text, list.entries[i].name))
            found = strdup(list.entries[i].name);
    zi_registry_list_free(&list);
    free(text);
    return found;
}

/* ---- numbers ---- */

void zi_foreign_seed(double seed, zi_generation *generation)
{
    if (seed < 0) return;
    generation->request.seed = (uint64_t)rint(seed);
    generation->seed_given = true;
}

void zi_foreign_cfg(double cfg, zi_generation *generation)
{
    if (cfg > 1) generation->request.guidance = cfg - 1;
}
