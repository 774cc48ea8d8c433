#include "server/worker.h"
#include "server/base64.h"
#include "server/kinds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- progress ---- */

zi_watch zi_watch_start(zi_worker *worker, zi_job *job, const char *stage)
{
    zi_watch w = {.worker = worker, .job = job, .began = zi_seconds()};
    w.progress = (zi_job_progress){.stage = stage, .seconds_left = -1};
    zi_jobs_report(worker->server->jobs, job, &w.progress);
    return w;
}

/* Whether the latest report is that many seconds old; then the next one counts as made. */
static bool is_due(zi_watch *watch, double seconds)
{
    double time = zi_seconds();
    if (time - watch->reported < seconds) return false;
    watch->reported = time;
    return true;
}

void zi_watch_report(zi_watch *watch, double fraction, bool now)
{
    if (!is_due(watch, now ? 0 : 0.25)) return;
    double spent = watch->reported - watch->began;
    watch->progress.fraction = fraction;
    double gone = fraction - watch->first;
    watch->progress.seconds_left = gone > 0.02 ? spent / gone * (1 - fraction) : -1;
    zi_jobs_report(watch->worker->server->jobs, watch->job, &watch->progress);
}

/* ---- models ---- */

char *zi_worker_loaded(zi_worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    char *name = worker->loaded ? strdup(worker->loaded) : NULL;
    pthread_mutex_unlock(&worker->mutex);
    return name;
}

static void set_loaded(zi_worker *w, const char *name)
{
    pthread_mutex_lock(&w->mutex);
    free(w->loaded);
    w->loaded = name ? strdup(name) : NULL;
    pthread_mutex_unlock(&w->mutex);
    zi_events_publish(w->server->events, "models", cJSON_CreateObject());
}

zi_model_options zi_worker_options(const zi_worker *worker, const char *path)
{
    zi_model_options options = worker->server->options.load;
    const char *own = worker->server->options.registry.model;
    if (!own || strcmp(own, path) != 0) options.vae = options.text_encoder = NULL;
    options.path = path;
    return options;
}

static void unload(zi_worker *w)
{
    if (!w->model) return;
    zi_model_free(w->model);
    free(w->model_path);
    w->model = NULL;
    w->model_path = NULL;
    set_loaded(w, NULL);
}

/* Makes the model at path the one in memory. */
static bool load(zi_worker *w, const char *name, const char *path, zi_error *error)
{
    if (w->model && !strcmp(w->model_path, path)) return true;
    unload(w);
    zi_model_options options = zi_worker_options(w, path);
    double began = zi_seconds();
    if (!zi_model_load(w->server->engine, &options, &w->model, error)) return false;
    w->model_path = strdup(path);
    if (!w->model_path) {
        zi_model_free(w->model);
        w->model = NULL;
        return zi_error_no_memory(error, strlen(path));
    }
    set_loaded(w, name);
    zi_log_line(w->server->log, ZI_LOG_INFO, "model %s: loaded in %.1f s", name,
                zi_seconds() - began);
    const char *remark;
    for (size_t i = 0; (remark = zi_model_remark(w->model, i)); i++)
        zi_log_line(w->server->log, ZI_LOG_WARNING, "%s", remark);
    return true;
}

/* ---- generating ---- */

static void report_encoded(zi_watch *w, bool cached)
{
    cJSON *data = cJSON_CreateObject();
    w->encoded = true;
    cJSON_AddNumberToObject(data, "picture", w->progress.picture);
    cJSON_AddBoolToObject(data, "cached", cached);
    zi_jobs_event(w->worker->server->jobs, w->job, "encoded", data);
}

/* Called in every layer. */
static bool watch(void *user, const zi_progress *p)
{
    static const char *const stages[] = {"encode", "step", "decode", "convert"};
    zi_watch *w = user;
    if (atomic_load_explicit(&w->job->cancel, memory_order_relaxed) ||
        atomic_load_explicit(&w->job->skip, memory_order_relaxed))
        return false;
    if (p->stage != ZI_STAGE_ENCODE && !w->encoded) report_encoded(w, p->cached);
    bool turn = strcmp(w->progress.stage, stages[p->stage]) != 0;
    double in_picture = p->stage == ZI_STAGE_ENCODE ? p->fraction
                        : p->stage == ZI_STAGE_STEP ? 1 + p->fraction * p->steps
                                                    : 1 + p->steps + p->fraction;
    w->progress.stage = stages[p->stage];
    w->progress.step = p->step;
    w->progress.steps = p->steps;
    w->units = (p->steps + 2.0) * w->progress.pictures;
    w->done = (p->steps + 2.0) * (w->progress.picture - 1) + in_picture;
    zi_watch_report(w, w->done / w->units, turn);
    return true;
}

static cJSON *step_json(zi_watch *w, int step)
{
    cJSON *data = cJSON_CreateObject();
    zi_job_progress *p = &w->progress;
    p->step = step;
    p->fraction = ((p->steps + 2.0) * (p->picture - 1) + 1 + step) / w->units;
    p->seconds_left = (zi_seconds() - w->began) / p->fraction * (1 - p->fraction);
    cJSON_AddNumberToObject(data, "picture", p->picture);
    cJSON_AddNumberToObject(data, "pictures", p->pictures);
    cJSON_AddNumberToObject(data, "step", step);
    cJSON_AddNumberToObject(data, "steps", p->steps);
    cJSON_AddNumberToObject(data, "fraction", p->fraction);
    cJSON_AddNumberToObject(data, "seconds_left", p->seconds_left);
    return data;
}

/* What fits as a PNG into an event; nothing when memory is short. */
static cJSON *preview_json(const zi_watch *w, int step, const zi_image *image)
{
    uint8_t *data = NULL;
    size_t size = 0;
    zi_save_options save = {.format = ZI_FORMAT_PNG};
    if (!zi_image_to_bytes(image, &save, &data, &size, NULL)) return NULL;
    char *text = zi_base64(data, size);
    free(data);
    if (!text) return NULL;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "picture", w->progress.picture);
    cJSON_AddNumberToObject(json, "step", step);
    cJSON_AddNumberToObject(json, "width", image->width);
    cJSON_AddNumberToObject(json, "height", image->height);
    cJSON_AddStringToObject(json, "mime", "image/png");
    cJSON_AddStringToObject(json, "data", text);
    free(text);
    return json;
}

static void preview(void *user, int step, const zi_image *image)
{
    zi_watch *w = user;
    cJSON *done = step_json(w, step), *json = preview_json(w, step, image);
    /* Where steps are short, progress comes with them rather than between them. */
    zi_jobs_step(w->worker->server->jobs, w->job, &w->progress, is_due(w, 0.1), done, json);
}

static bool save(zi_worker *w, zi_job *job, const zi_request *request, const zi_image *image,
                 int picture, double seconds, zi_error *error)
{
    char id[ZI_IMAGE_ID];
    zi_server *s = w->server;
    zi_request said = *request;
    said.width = image->width;
    said.height = image->height;
    char *recipe = zi_recipe(w->model, &said);
    if (!recipe) return zi_error_no_memory(error, strlen(request->prompt));
    bool ok = zi_history_add(s->history, image, recipe, seconds, id, error);
    free(recipe);
    cJSON *described;
    if (!ok || !zi_history_get(s->history, id, &described, error)) return false;
    if (!described) return zi_error_set(error, ZI_ERROR_NOT_FOUND, id, "the image is gone already");
    zi_jobs_image(s->jobs, job, picture, id, described);
    atomic_fetch_add(&s->pictures, 1);
    return true;
}

static bool draw(zi_watch *w, int picture, zi_error *error)
{
    zi_worker *worker = w->worker;
    const zi_order *o = &w->job->order;
    double began = zi_seconds();
    zi_image *image = NULL;
    zi_request r = zi_request_default();
    r.prompt = o->prompt;
    r.original = o->original;
    r.negative = o->negative;
    r.width = o->width;
    r.height = o->height;
    r.steps = o->steps;
    r.shift = o->shift;
    r.guidance = o->guidance;
    r.seed = o->seed.value + (uint64_t)(picture - 1);
    r.schedule = (zi_schedule)o->schedule;
    r.compute = (zi_compute)o->compute;
    r.progress = watch;
    r.preview = preview;
    r.user = w;
    w->encoded = false;
    w->progress.picture = picture;
    atomic_store(&w->job->skip, false);
    bool ok = zi_generate(worker->model, &r, &image, error);
    if (ok) {
        w->progress.stage = "save";
        ok = save(worker, w->job, &r, image, picture, zi_seconds() - began, error);
    }
    zi_image_free(image);
    return ok;
}

bool zi_work_generate(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "load");
    if (!load(worker, job->order.model, job->order.path, error)) return false;
    w.began = zi_seconds();
    w.progress.pictures = job->order.count;
    for (int i = 1; i <= job->order.count; i++) {
        if (atomic_load(&job->cancel)) return zi_error_cancelled(error);
        if (draw(&w, i, error)) continue;
        bool skipped = error->code == ZI_ERROR_CANCELLED && atomic_exchange(&job->skip, false);
        if (!skipped || atomic_load(&job->cancel)) return false;
        *error = (zi_error){0};
    }
    return true;
}

bool zi_work_load(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch_start(worker, job, "load");
    return load(worker, job->order.model, job->order.path, error);
}

bool zi_work_unload(zi_worker *worker, zi_job *job, zi_error *error)
{
    (void)job;
    (void)error;
    unload(worker);
    return true;
}

/* ---- the threads ---- */

/* What no field of the request can lend, the server can be started with. */
static void refuse(const zi_job *job, const zi_error *error, zi_refusal *why)
{
    bool lent = error->code == ZI_ERROR_INCOMPLETE && strcmp(error->subject, "transformer") != 0;
    zi_refuse_error(why, job->kind->params, NULL, error);
    if (lent && !why->field[0])
        zi_refuse(why, why->status, NULL, "%s; a server started with --reference DIR lends it",
                  error->text);
}

static void settle(zi_worker *w, zi_job *job, bool ok, const zi_error *error)
{
    zi_refusal why;
    zi_server *s = w->server;
    bool cancelled = !ok && error->code == ZI_ERROR_CANCELLED;
    if (ok || cancelled) {
        zi_log_line(s->log, ZI_LOG_INFO, "%s %llx: %s in %.1f s", job->kind->name,
                    (unsigned long long)job->id, ok ? "done" : "cancelled",
                    zi_wall_seconds() - job->started);
        zi_jobs_end(s->jobs, job, ok ? ZI_JOB_DONE : ZI_JOB_CANCELLED, NULL);
        return;
    }
    refuse(job, error, &why);
    zi_log_line(s->log, ZI_LOG_ERROR, "%s %llx: %s", job->kind->name, (unsigned long long)job->id,
                error->text);
    zi_jobs_end(s->jobs, job, ZI_JOB_FAILED, &why);
}

static void *work(void *user)
{
    const zi_hand *hand = user;
    zi_worker *w = hand->worker;
    zi_job *job;
    while ((job = zi_jobs_take(w->server->jobs, hand->lane))) {
        zi_error error = {0};
        bool ok = job->kind->run(w, job, &error);
        settle(w, job, ok, &error);
    }
    return NULL;
}

bool zi_worker_start(zi_server *server, zi_worker **out, zi_error *error)
{
    zi_worker *w = *out = calloc(1, sizeof *w);
    if (!w) return zi_error_no_memory(error, sizeof *w);
    w->server = server;
    pthread_mutex_init(&w->mutex, NULL);
    for (int lane = 0; lane < ZI_LANES; lane++) {
        zi_hand *hand = &w->hands[lane];
        *hand = (zi_hand){.worker = w, .lane = (zi_lane)lane};
        hand->started = pthread_create(&hand->thread, NULL, work, hand) == 0;
        if (!hand->started)
            return zi_error_set(error, ZI_ERROR_IO, NULL,
                                "no thread could be started for the work");
    }
    return true;
}

void zi_worker_end(zi_worker *worker)
{
    for (int lane = 0; worker && lane < ZI_LANES; lane++)
        if (worker->hands[lane].started) pthread_join(worker->hands[lane].thread, NULL);
}

void zi_worker_free(zi_worker *worker)
{
    if (!worker) return;
    zi_model_free(worker->model);
    zi_llm_free(worker->llm);
    pthread_mutex_destroy(&worker->mutex);
    free(worker->model_path);
    free(worker->llm_path);
    free(worker->loaded);
    free(worker);
}
