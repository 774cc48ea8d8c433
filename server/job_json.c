#include "server/job_json.h"
#include "server/base64.h"
#include "server/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const states[] = {"queued", "running", "done", "failed", "cancelled"};

/* ---- requests ---- */

/* Sets the error that there is no such kind of job, which lists the kinds; returns false. */
static bool set_kind_error(const char *kind, zi_http_error *http_error)
{
    char all[200] = "";
    for (const zi_job_kind *k = zi_job_kinds; k->name; k++) {
        size_t length = strlen(all);
        snprintf(all + length, sizeof all - length, "%s%s", length ? ", " : "", k->name);
    }
    return zi_http_error_set(http_error, 400, "kind", "kind: '%s' is unknown; it can be %s", kind,
                             all);
}

bool zi_job_params_read(const char *kind, const cJSON *params, zi_job_request *out,
                        zi_http_error *http_error)
{
    *out = (zi_job_request){.kind = zi_job_kind_find(kind)};
    if (!out->kind) return set_kind_error(kind, http_error);
    if (!cJSON_IsObject(params))
        return zi_http_error_set(http_error, 400, "params",
                                 "params: must be a JSON object, {} if there are none");
    return zi_params_read(params, out->kind->params, &out->params, &out->fields, http_error);
}

bool zi_job_request_read(const cJSON *body, zi_job_request *out, zi_http_error *http_error)
{
    const cJSON *item, *kind = NULL, *params = NULL;
    cJSON_ArrayForEach(item, body)
    {
        const cJSON **part = !strcmp(item->string, "kind")     ? &kind
                             : !strcmp(item->string, "params") ? &params
                                                               : NULL;
        if (!part)
            return zi_http_error_set(http_error, 400, item->string,
                                     "%s: unknown field; a job has kind and params", item->string);
        if (*part)
            return zi_http_error_set(http_error, 400, item->string,
                                     "%s: appears twice; send it once", item->string);
        *part = item;
    }
    if (!kind)
        return zi_http_error_set(
            http_error, 400, "kind",
            "kind: is missing; send the kind of job as text, such as generate");
    if (!cJSON_IsString(kind))
        return zi_http_error_set(http_error, 400, "kind", "kind: must be text, such as generate");
    if (!params)
        return zi_http_error_set(
            http_error, 400, "params",
            "params: is missing; send a JSON object with the job's parameters, or {} for none");
    return zi_job_params_read(kind->valuestring, params, out, http_error);
}

/* ---- ids ---- */

bool zi_job_id_parse(const char *text, uint64_t *id)
{
    size_t length = strlen(text);
    if (!length || length > 16 || text[strspn(text, "0123456789abcdef")]) return false;
    *id = strtoull(text, NULL, 16);
    return *id != 0;
}

cJSON *zi_job_id_json(uint64_t id)
{
    char text[20];
    snprintf(text, sizeof text, "%" PRIx64, id);
    return cJSON_CreateString(text);
}

/* ---- members of a description ---- */

/* Returns schema Progress as new JSON; JSON's null before the job has started (p->stage NULL). Time
 * left (negative), bytes (size 0) and file ("") are null when they are unknown. */
static cJSON *progress_json(const zi_job_progress *p)
{
    if (!p->stage) return cJSON_CreateNull();
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "stage", p->stage);
    cJSON_AddNumberToObject(json, "picture", p->image);
    cJSON_AddNumberToObject(json, "pictures", p->images);
    cJSON_AddNumberToObject(json, "step", p->step);
    cJSON_AddNumberToObject(json, "steps", p->steps);
    cJSON_AddNumberToObject(json, "fraction", p->fraction);
    zi_json_add_number(json, "seconds_left", p->seconds_left, p->seconds_left >= 0);
    zi_json_add_number(json, "bytes_done", (double)p->done, p->size > 0);
    zi_json_add_number(json, "bytes", (double)p->size, p->size > 0);
    zi_json_add_text(json, "file", p->file[0] ? p->file : NULL);
    return json;
}

/* Returns the ids of the finished images as a new JSON array of strings. Out of memory: NULL, or
 * ids are missing. */
static cJSON *images_json(const zi_job_status *status)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < status->image_count; i++)
        cJSON_AddItemToArray(array, cJSON_CreateString(status->images[i]));
    return array;
}

/* Returns schema Preview, with the PNG in base64, as new JSON; JSON's null when there is none, or
 * out of memory. */
static cJSON *preview_json(const zi_job_preview *p)
{
    char *data = p->png ? zi_base64_encode(p->png, p->size) : NULL;
    if (!data) return cJSON_CreateNull();
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "picture", p->image);
    cJSON_AddNumberToObject(json, "step", p->step);
    cJSON_AddNumberToObject(json, "width", p->width);
    cJSON_AddNumberToObject(json, "height", p->height);
    cJSON_AddStringToObject(json, "mime", "image/png");
    cJSON_AddStringToObject(json, "data", data);
    free(data);
    return json;
}

/* Returns the result, which must not be NULL, as `zimage verify --json` prints it, but without the
 * server's folders, as new JSON; JSON's null when out of memory. */
static cJSON *verification_json(const zi_verification *verification)
{
    char *text = zi_verification_json(verification);
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    free(text);
    cJSON_DeleteItemFromObjectCaseSensitive(json, "path");
    zi_json_hide_paths(json);
    return json ? json : cJSON_CreateNull();
}

/* Returns the member `result` of a job as new JSON: the checks of a verify job, {"model": name} of
 * a job that made a model; JSON's null: neither, or not yet. */
static cJSON *result_json(const zi_job *job)
{
    if (job->verification) return verification_json(job->verification);
    if (!job->model) return cJSON_CreateNull();
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "model", job->model);
    return json;
}

/* Returns {"message", "field"} of a failed job as new JSON, where field is null when the error has
 * none; JSON's null in other states. */
static cJSON *error_json(const zi_job_status *status)
{
    const zi_http_error *error = &status->error;
    if (status->state != ZI_JOB_FAILED) return cJSON_CreateNull();
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "message", error->text);
    zi_json_add_text(json, "field", error->field[0] ? error->field : NULL);
    return json;
}

/* ---- descriptions ---- */

/* Describes a job as new JSON: schema Job, or with `preview` schema JobWithPreview. position: in
 * its queue, from 1; 0: not queued, null in the JSON. The caller holds the mutex of zi_jobs. Out of
 * memory: NULL, or members are missing. */
static cJSON *job_json(const zi_job *job, int position, bool preview)
{
    const zi_job_status *s = &job->status;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "id", zi_job_id_json(job->id));
    cJSON_AddStringToObject(json, "kind", job->kind->name);
    cJSON_AddStringToObject(json, "state", states[s->state]);
    zi_json_add_number(json, "position", position, position > 0);
    cJSON_AddNumberToObject(json, "created", s->created);
    zi_json_add_number(json, "started", s->started, s->started > 0);
    zi_json_add_number(json, "finished", s->finished, s->finished > 0);
    cJSON_AddItemToObject(json, "params",
                          zi_params_json(job->kind->params, &job->params, &job->fields));
    cJSON_AddItemToObject(json, "progress", progress_json(&s->progress));
    cJSON_AddItemToObject(json, "images", images_json(s));
    zi_json_add_text(json, "text", job->text.data);
    cJSON_AddItemToObject(json, "result", result_json(job));
    cJSON_AddItemToObject(json, "error", error_json(s));
    if (preview) cJSON_AddItemToObject(json, "preview", preview_json(&s->preview));
    return json;
}

char *zi_job_json_text(const zi_job *job)
{
    cJSON *json = job_json(job, 0, false);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

/* A zi_job_visitor that makes the job's JSON, without preview, and sets *user, a cJSON *, to it
 * (NULL: out of memory), which the caller deletes. */
static void store_job_json(void *user, const zi_job *job, int position)
{
    *(cJSON **)user = job_json(job, position, false);
}

/* A zi_job_visitor that makes the job's JSON, with its preview, and sets *user, a cJSON *, to it
 * (NULL: out of memory), which the caller deletes. */
static void store_job_json_with_preview(void *user, const zi_job *job, int position)
{
    *(cJSON **)user = job_json(job, position, true);
}

cJSON *zi_jobs_find_json(zi_jobs *jobs, uint64_t id, bool preview)
{
    cJSON *json = NULL;
    zi_jobs_visit(jobs, id, preview ? store_job_json_with_preview : store_job_json, &json);
    return json;
}

/* A zi_job_visitor that appends the job, without preview, to the cJSON array `user`, unless out of
 * memory. Of an ended job it appends the JSON text that was made at its end. */
static void add_to_list(void *user, const zi_job *job, int position)
{
    cJSON_AddItemToArray(user,
                         job->json ? cJSON_CreateRaw(job->json) : job_json(job, position, false));
}

cJSON *zi_jobs_list_json(zi_jobs *jobs)
{
    cJSON *json = cJSON_CreateObject();
    zi_jobs_visit(jobs, 0, add_to_list, cJSON_AddArrayToObject(json, "jobs"));
    return json;
}

typedef struct {
    cJSON *array;
    zi_job_state state; /* of the last job */
} snapshot;

/* A zi_job_visitor that appends the job, with its preview, to the array of the snapshot `user`,
 * unless out of memory, and notes the job's state there. */
static void add_to_snapshot(void *user, const zi_job *job, int position)
{
    snapshot *s = user;
    cJSON_AddItemToArray(s->array, job_json(job, position, true));
    s->state = job->status.state;
}

cJSON *zi_jobs_snapshot_json(zi_jobs *jobs, uint64_t id, uint64_t *cursor, bool *ended)
{
    cJSON *json = cJSON_CreateObject();
    snapshot s = {cJSON_AddArrayToObject(json, "jobs"), ZI_JOB_UNKNOWN};
    *cursor = zi_jobs_visit(jobs, id, add_to_snapshot, &s);
    *ended = id && s.state > ZI_JOB_RUNNING;
    return json;
}

/* ---- events ---- */

/* Adds the job's id and kind to the object data, and appends it as an event of the job, without
 * resuming waiters. Takes ownership of data; NULL, as from a lack of memory, gives an event without
 * members. transient: it replaces the job's earlier event of that name. */
static void add_event(zi_events *events, const zi_job *job, const char *name, cJSON *data,
                      bool transient)
{
    cJSON_AddItemToObject(data, "job", zi_job_id_json(job->id));
    cJSON_AddStringToObject(data, "kind", job->kind->name);
    zi_events_add(events, job->id, name, data, transient);
}

/* Appends an event that is not transient, with data and the job's id and kind, and resumes those
 * that wait for events of this job or of all jobs. Takes ownership of data; NULL, as from a lack of
 * memory, gives an event without members. */
static void publish_event(zi_events *events, const zi_job *job, const char *name, cJSON *data)
{
    add_event(events, job, name, data, false);
    zi_events_wake(events, job->id);
}

/* Appends the transient event "progress" with job->status.progress, without resuming waiters. */
static void add_progress_event(zi_events *events, const zi_job *job)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddItemToObject(data, "progress", progress_json(&job->status.progress));
    add_event(events, job, "progress", data, true);
}

void zi_publish_queued(zi_events *events, const zi_job *job, int position)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddNumberToObject(data, "position", position);
    cJSON_AddItemToObject(data, "params",
                          zi_params_json(job->kind->params, &job->params, &job->fields));
    publish_event(events, job, "queued", data);
}

void zi_publish_started(zi_events *events, const zi_job *job)
{
    publish_event(events, job, "started", cJSON_CreateObject());
}

void zi_publish_encoded(zi_events *events, const zi_job *job, int image, bool cached)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddNumberToObject(data, "picture", image);
    cJSON_AddBoolToObject(data, "cached", cached);
    publish_event(events, job, "encoded", data);
}

void zi_publish_progress(zi_events *events, const zi_job *job)
{
    add_progress_event(events, job);
    zi_events_wake(events, job->id);
}

void zi_publish_step(zi_events *events, const zi_job *job, bool progress, bool preview)
{
    const zi_job_progress *p = &job->status.progress;
    cJSON *data = cJSON_CreateObject();
    cJSON_AddNumberToObject(data, "picture", p->image);
    cJSON_AddNumberToObject(data, "pictures", p->images);
    cJSON_AddNumberToObject(data, "step", p->step);
    cJSON_AddNumberToObject(data, "steps", p->steps);
    cJSON_AddNumberToObject(data, "fraction", p->fraction);
    cJSON_AddNumberToObject(data, "seconds_left", p->seconds_left);
    add_event(events, job, "step", data, false);
    if (progress) add_progress_event(events, job);
    if (preview) {
        data = cJSON_CreateObject();
        cJSON_AddItemToObject(data, "preview", preview_json(&job->status.preview));
        add_event(events, job, "preview", data, true);
    }
    zi_events_wake(events, job->id);
}

void zi_publish_image(zi_events *events, const zi_job *job, int image, cJSON *row)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddNumberToObject(data, "picture", image);
    cJSON_AddItemToObject(data, "image", row);
    publish_event(events, job, "image", data);
}

void zi_publish_text(zi_events *events, const zi_job *job, const char *text)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddStringToObject(data, "text", text);
    publish_event(events, job, "text", data);
}

void zi_publish_end(zi_events *events, const zi_job *job)
{
    const zi_job_status *s = &job->status;
    cJSON *data = cJSON_CreateObject();
    if (s->state == ZI_JOB_FAILED)
        cJSON_AddItemToObject(data, "error", error_json(s));
    else
        cJSON_AddItemToObject(data, "images", images_json(s));
    if (s->state == ZI_JOB_DONE) {
        zi_json_add_text(data, "text", job->text.data);
        cJSON_AddItemToObject(data, "result", result_json(job));
    }
    publish_event(events, job, states[s->state], data);
}
