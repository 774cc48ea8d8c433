#include "server/jobs.h"
#include "server/kinds.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REMEMBERED = 100, MOST_TEXT = 1 << 20 };

static const char *const states[] = {"queued", "running", "done", "failed", "cancelled"};

struct zi_jobs {
    zi_server *server;
    pthread_mutex_t mutex;
    pthread_cond_t added;
    uint64_t latest;           /* id */
    zi_job *queue;             /* of all lanes, as they came */
    zi_job *running[ZI_LANES]; /* NULL: none */
    zi_job *ended;             /* the latest first */
    size_t queued[ZI_LANES], remembered;
    size_t count[ZI_JOB_UNKNOWN]; /* of ended ones, by state, since the start */
    bool closed;
};

zi_jobs *zi_jobs_create(zi_server *server)
{
    zi_jobs *jobs = calloc(1, sizeof *jobs);
    if (!jobs) return NULL;
    jobs->server = server;
    jobs->latest = (uint64_t)(zi_wall_seconds() * 1000) << 8; /* no id comes twice, also later */
    pthread_mutex_init(&jobs->mutex, NULL);
    pthread_cond_init(&jobs->added, NULL);
    return jobs;
}

static void free_job(zi_job *job)
{
    zi_order *o = &job->order;
    char *owned[] = {o->path,           o->other_path, o->vae_path, o->text_encoder_path,
                     o->reference_path, o->place,      o->name};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    cJSON_Delete(job->params);
    cJSON_Delete(job->images);
    cJSON_Delete(job->preview);
    cJSON_Delete(job->result);
    zi_text_free(&job->text);
    free(job->described);
    free(job);
}

static void free_list(zi_job *job)
{
    while (job) {
        zi_job *next = job->next;
        free_job(job);
        job = next;
    }
}

void zi_jobs_free(zi_jobs *jobs)
{
    if (!jobs) return;
    free_list(jobs->queue);
    for (int lane = 0; lane < ZI_LANES; lane++) free_list(jobs->running[lane]);
    free_list(jobs->ended);
    pthread_cond_destroy(&jobs->added);
    pthread_mutex_destroy(&jobs->mutex);
    free(jobs);
}

bool zi_job_id_parse(const char *text, uint64_t *id)
{
    size_t length = strlen(text);
    if (!length || length > 16 || text[strspn(text, "0123456789abcdef")]) return false;
    *id = strtoull(text, NULL, 16);
    return true;
}

cJSON *zi_job_id_json(uint64_t id)
{
    char text[20];
    snprintf(text, sizeof text, "%" PRIx64, id);
    return cJSON_CreateString(text);
}

/* ---- describing; all with the mutex held ---- */

static void add_number(cJSON *to, const char *name, double value, bool known)
{
    if (known)
        cJSON_AddNumberToObject(to, name, value);
    else
        cJSON_AddNullToObject(to, name);
}

static void add_copy(cJSON *to, const char *name, const cJSON *item)
{
    cJSON_AddItemToObject(to, name, item ? cJSON_Duplicate(item, true) : cJSON_CreateNull());
}

/* In the queue of its lane; 0: it does not wait. */
static int position_of(const zi_jobs *jobs, const zi_job *job)
{
    int position = 0;
    for (const zi_job *at = jobs->queue; at; at = at->next) {
        if (at->kind->lane == job->kind->lane) position++;
        if (at == job) return position;
    }
    return 0;
}

static cJSON *progress_json(const zi_job_progress *p)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "stage", p->stage);
    cJSON_AddNumberToObject(json, "picture", p->picture);
    cJSON_AddNumberToObject(json, "pictures", p->pictures);
    cJSON_AddNumberToObject(json, "step", p->step);
    cJSON_AddNumberToObject(json, "steps", p->steps);
    cJSON_AddNumberToObject(json, "fraction", p->fraction);
    add_number(json, "seconds_left", p->seconds_left, p->seconds_left >= 0);
    add_number(json, "bytes_done", (double)p->done, p->size > 0);
    add_number(json, "bytes", (double)p->size, p->size > 0);
    cJSON_AddItemToObject(json, "file",
                          p->file[0] ? cJSON_CreateString(p->file) : cJSON_CreateNull());
    return json;
}

static cJSON *error_json(const zi_refusal *error)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "message", error->text);
    cJSON_AddItemToObject(json, "field",
                          error->field[0] ? cJSON_CreateString(error->field) : cJSON_CreateNull());
    return json;
}

static cJSON *describe(const zi_jobs *jobs, const zi_job *job, bool preview)
{
    cJSON *json = cJSON_CreateObject();
    int position = position_of(jobs, job);
    bool failed = job->state == ZI_JOB_FAILED;
    cJSON_AddItemToObject(json, "id", zi_job_id_json(job->id));
    cJSON_AddStringToObject(json, "kind", job->kind->name);
    cJSON_AddStringToObject(json, "state", states[job->state]);
    add_number(json, "position", position, position > 0);
    cJSON_AddNumberToObject(json, "created", job->created);
    add_number(json, "started", job->started, job->started > 0);
    add_number(json, "finished", job->finished, job->finished > 0);
    add_copy(json, "params", job->params);
    cJSON_AddItemToObject(json, "progress",
                          job->progress.stage ? progress_json(&job->progress) : cJSON_CreateNull());
    add_copy(json, "images", job->images);
    cJSON_AddItemToObject(json, "text",
                          job->text.data ? cJSON_CreateString(job->text.data) : cJSON_CreateNull());
    add_copy(json, "result", job->result);
    cJSON_AddItemToObject(json, "error", failed ? error_json(&job->error) : cJSON_CreateNull());
    if (preview) add_copy(json, "preview", job->preview);
    return json;
}

static zi_job *find(const zi_jobs *jobs, uint64_t id)
{
    zi_job *const lists[] = {jobs->running[ZI_LANE_WORK], jobs->running[ZI_LANE_FETCH], jobs->queue,
                             jobs->ended};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (zi_job *job = lists[i]; job; job = job->next)
            if (job->id == id) return job;
    return NULL;
}

static void add_all(const zi_jobs *jobs, cJSON *array, bool preview)
{
    const zi_job *const lists[] = {jobs->running[ZI_LANE_WORK], jobs->running[ZI_LANE_FETCH],
                                   jobs->queue, jobs->ended};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const zi_job *job = lists[i]; job; job = job->next)
            cJSON_AddItemToArray(array, job->described && !preview ? cJSON_CreateRaw(job->described)
                                                                   : describe(jobs, job, preview));
}

cJSON *zi_jobs_describe(zi_jobs *jobs, uint64_t id, bool preview)
{
    pthread_mutex_lock(&jobs->mutex);
    const zi_job *job = find(jobs, id);
    cJSON *json = job ? describe(jobs, job, preview) : NULL;
    pthread_mutex_unlock(&jobs->mutex);
    return json;
}

cJSON *zi_jobs_list(zi_jobs *jobs)
{
    cJSON *json = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(json, "jobs");
    pthread_mutex_lock(&jobs->mutex);
    add_all(jobs, array, false);
    pthread_mutex_unlock(&jobs->mutex);
    return json;
}

cJSON *zi_jobs_snapshot(zi_jobs *jobs, uint64_t id, uint64_t *cursor, bool *ended)
{
    cJSON *json = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(json, "jobs");
    pthread_mutex_lock(&jobs->mutex);
    const zi_job *job = id ? find(jobs, id) : NULL;
    if (job) cJSON_AddItemToArray(array, describe(jobs, job, true));
    if (!id) add_all(jobs, array, true);
    *ended = id && (!job || job->state > ZI_JOB_RUNNING);
    *cursor = zi_events_latest(jobs->server->events);
    pthread_mutex_unlock(&jobs->mutex);
    return json;
}

zi_job_state zi_jobs_state(zi_jobs *jobs, uint64_t id, zi_refusal *error)
{
    pthread_mutex_lock(&jobs->mutex);
    const zi_job *job = find(jobs, id);
    zi_job_state state = job ? job->state : ZI_JOB_UNKNOWN;
    if (state == ZI_JOB_FAILED && error) *error = job->error;
    pthread_mutex_unlock(&jobs->mutex);
    return state;
}

zi_jobs_counts zi_jobs_count(zi_jobs *jobs)
{
    zi_jobs_counts counts = {0};
    pthread_mutex_lock(&jobs->mutex);
    for (int lane = 0; lane < ZI_LANES; lane++) {
        counts.queued += jobs->queued[lane];
        counts.running += jobs->running[lane] != NULL;
    }
    const zi_job *job = jobs->running[ZI_LANE_WORK];
    counts.at_work = job ? job->id : 0;
    memcpy(counts.ended, jobs->count, sizeof counts.ended);
    pthread_mutex_unlock(&jobs->mutex);
    return counts;
}

/* ---- events; all with the mutex held, so that a snapshot knows which events are in it ---- */

/* Wakes nobody, as others may follow at once. */
static void add(zi_jobs *jobs, const zi_job *job, const char *name, cJSON *data, bool passing)
{
    cJSON_AddItemToObject(data, "job", zi_job_id_json(job->id));
    cJSON_AddStringToObject(data, "kind", job->kind->name);
    zi_events_add(jobs->server->events, job->id, name, data, passing);
}

static void publish(zi_jobs *jobs, const zi_job *job, const char *name, cJSON *data)
{
    add(jobs, job, name, data, false);
    zi_events_wake(jobs->server->events, job->id);
}

static void add_progress(zi_jobs *jobs, const zi_job *job)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddItemToObject(data, "progress", progress_json(&job->progress));
    add(jobs, job, "progress", data, true);
}

static void publish_position(zi_jobs *jobs, const zi_job *job, int position)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddNumberToObject(data, "position", position);
    add_copy(data, "params", job->params);
    publish(jobs, job, "queued", data);
}

static void publish_positions(zi_jobs *jobs, zi_lane lane)
{
    int position = 1;
    for (const zi_job *job = jobs->queue; job; job = job->next)
        if (job->kind->lane == lane) publish_position(jobs, job, position++);
}

static void publish_end(zi_jobs *jobs, const zi_job *job)
{
    cJSON *data = cJSON_CreateObject();
    if (job->state == ZI_JOB_FAILED) {
        cJSON_AddItemToObject(data, "error", error_json(&job->error));
    } else {
        add_copy(data, "images", job->images);
    }
    if (job->state == ZI_JOB_DONE) {
        cJSON_AddItemToObject(
            data, "text", job->text.data ? cJSON_CreateString(job->text.data) : cJSON_CreateNull());
        add_copy(data, "result", job->result);
    }
    publish(jobs, job, states[job->state], data);
}

/* ---- submitting ---- */

static const zi_kind *find_kind(const char *name)
{
    const zi_kind *kind = zi_kinds;
    while (kind->name && strcmp(kind->name, name) != 0) kind++;
    return kind->name ? kind : NULL;
}

static zi_job *make_job(zi_jobs *jobs, const char *name, cJSON *params, zi_refusal *refusal)
{
    zi_job *job = calloc(1, sizeof *job);
    if (!job) {
        cJSON_Delete(params);
        zi_refuse(refusal, 500, NULL, "out of memory");
        return NULL;
    }
    job->params = params;
    job->images = cJSON_CreateArray();
    job->created = zi_wall_seconds();
    zi_text_init(&job->text, MOST_TEXT);
    job->kind = find_kind(name);
    bool ok = job->kind || zi_refuse(refusal, 400, "kind", "there is no such kind of job");
    if (ok && !cJSON_IsObject(params))
        ok = zi_refuse(refusal, 400, "params", "params must be an object");
    ok = ok && zi_params_read(params, job->kind->params, &job->order, refusal) &&
         job->kind->settle(jobs->server, job, refusal);
    if (ok) return job;
    free_job(job);
    return NULL;
}

bool zi_jobs_submit(zi_jobs *jobs, const char *kind, cJSON *params, uint64_t *id,
                    zi_refusal *refusal)
{
    zi_job *job = make_job(jobs, kind, params, refusal), **end = &jobs->queue;
    if (!job) return false;
    size_t *queued = &jobs->queued[job->kind->lane];
    pthread_mutex_lock(&jobs->mutex);
    bool full = *queued >= ZI_QUEUE || jobs->closed;
    if (!full) {
        *id = job->id = ++jobs->latest;
        while (*end) end = &(*end)->next;
        *end = job;
        publish_position(jobs, job, (int)++*queued);
        pthread_cond_broadcast(&jobs->added);
    }
    pthread_mutex_unlock(&jobs->mutex);
    if (!full) return true;
    free_job(job);
    return zi_refuse(refusal, 429, NULL, "the queue is full: %d jobs wait already; try again later",
                     ZI_QUEUE);
}

/* Takes a job out of the queue. With the mutex held. */
static void leave_queue(zi_jobs *jobs, zi_job *job)
{
    zi_job **at = &jobs->queue;
    while (*at != job) at = &(*at)->next;
    *at = job->next;
    job->next = NULL;
    jobs->queued[job->kind->lane]--;
}

/* Puts it before the ended ones and lets go of the oldest. With the mutex held. */
static void retire(zi_jobs *jobs, zi_job *job, zi_job_state state)
{
    job->state = state;
    job->finished = zi_wall_seconds();
    cJSON_Delete(job->preview);
    job->preview = NULL;
    /* It stays so, and clients that poll ask for all that are remembered. */
    cJSON *json = describe(jobs, job, false);
    job->described = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    jobs->count[state]++;
    job->next = jobs->ended;
    jobs->ended = job;
    publish_end(jobs, job);
    if (++jobs->remembered <= REMEMBERED) return;
    zi_job **last = &jobs->ended;
    while ((*last)->next) last = &(*last)->next;
    free_job(*last);
    *last = NULL;
    jobs->remembered--;
}

zi_job_state zi_jobs_cancel(zi_jobs *jobs, uint64_t id)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_job *job = find(jobs, id);
    zi_job_state state = job ? job->state : ZI_JOB_UNKNOWN;
    if (state == ZI_JOB_RUNNING) atomic_store(&job->cancel, true);
    if (state == ZI_JOB_QUEUED) {
        zi_lane lane = job->kind->lane;
        leave_queue(jobs, job);
        retire(jobs, job, ZI_JOB_CANCELLED);
        publish_positions(jobs, lane);
    }
    pthread_mutex_unlock(&jobs->mutex);
    return state;
}

void zi_jobs_skip(zi_jobs *jobs)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_job *job = jobs->running[ZI_LANE_WORK];
    if (job) atomic_store(&job->skip, true);
    pthread_mutex_unlock(&jobs->mutex);
}

/* ---- for the worker ---- */

/* The one that has waited longest; NULL: none does. With the mutex held. */
static zi_job *next_of(const zi_jobs *jobs, zi_lane lane)
{
    zi_job *job = jobs->queue;
    while (job && job->kind->lane != lane) job = job->next;
    return job;
}

zi_job *zi_jobs_take(zi_jobs *jobs, zi_lane lane)
{
    zi_job *job;
    pthread_mutex_lock(&jobs->mutex);
    while (!(job = next_of(jobs, lane)) && !jobs->closed)
        pthread_cond_wait(&jobs->added, &jobs->mutex);
    if (job) {
        leave_queue(jobs, job);
        job->state = ZI_JOB_RUNNING;
        job->started = zi_wall_seconds();
        jobs->running[lane] = job;
        publish(jobs, job, "started", cJSON_CreateObject());
        publish_positions(jobs, lane);
    }
    pthread_mutex_unlock(&jobs->mutex);
    return job;
}

void zi_jobs_end(zi_jobs *jobs, zi_job *job, zi_job_state state, const zi_refusal *error)
{
    pthread_mutex_lock(&jobs->mutex);
    if (error) job->error = *error;
    jobs->running[job->kind->lane] = NULL;
    retire(jobs, job, state);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_report(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress)
{
    pthread_mutex_lock(&jobs->mutex);
    job->progress = *progress;
    add_progress(jobs, job);
    zi_events_wake(jobs->server->events, job->id);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_event(zi_jobs *jobs, zi_job *job, const char *name, cJSON *data)
{
    pthread_mutex_lock(&jobs->mutex);
    publish(jobs, job, name, data);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_step(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress, bool told,
                  cJSON *step, cJSON *preview)
{
    pthread_mutex_lock(&jobs->mutex);
    job->progress = *progress;
    add(jobs, job, "step", step, false);
    if (told) add_progress(jobs, job);
    if (preview) {
        cJSON_Delete(job->preview);
        job->preview = preview;
        cJSON *data = cJSON_CreateObject();
        add_copy(data, "preview", preview);
        add(jobs, job, "preview", data, true);
    }
    zi_events_wake(jobs->server->events, job->id);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_image(zi_jobs *jobs, zi_job *job, int picture, const char *id, cJSON *image)
{
    cJSON *data = cJSON_CreateObject();
    cJSON_AddNumberToObject(data, "picture", picture);
    cJSON_AddItemToObject(data, "image", image);
    pthread_mutex_lock(&jobs->mutex);
    cJSON_AddItemToArray(job->images, cJSON_CreateString(id));
    publish(jobs, job, "image", data);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_text(zi_jobs *jobs, zi_job *job, const char *text, bool all)
{
    pthread_mutex_lock(&jobs->mutex);
    if (all) {
        zi_text_free(&job->text);
        zi_text_init(&job->text, MOST_TEXT);
    }
    zi_text_puts(&job->text, text);
    if (!all) {
        cJSON *data = cJSON_CreateObject();
        cJSON_AddStringToObject(data, "text", text);
        publish(jobs, job, "text", data);
    }
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_result(zi_jobs *jobs, zi_job *job, cJSON *result)
{
    pthread_mutex_lock(&jobs->mutex);
    cJSON_Delete(job->result);
    job->result = result;
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_close(zi_jobs *jobs)
{
    pthread_mutex_lock(&jobs->mutex);
    jobs->closed = true;
    for (int lane = 0; lane < ZI_LANES; lane++)
        if (jobs->running[lane]) atomic_store(&jobs->running[lane]->cancel, true);
    while (jobs->queue) {
        zi_job *job = jobs->queue;
        leave_queue(jobs, job);
        retire(jobs, job, ZI_JOB_CANCELLED);
    }
    pthread_cond_broadcast(&jobs->added);
    pthread_mutex_unlock(&jobs->mutex);
}
