#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

/* ---- progress ---- */

zi_watch zi_watch_start(zi_worker *worker, zi_job *job, const char *stage)
{
    zi_watch w = {.worker = worker, .job = job, .began = zi_monotonic_seconds()};
    w.progress = (zi_job_progress){.stage = stage, .seconds_left = -1};
    zi_jobs_report(worker->server->jobs, job, &w.progress);
    return w;
}

bool zi_watch_is_due(zi_watch *watch, double seconds)
{
    double time = zi_monotonic_seconds();
    if (time - watch->reported < seconds) return false;
    watch->reported = time;
    return true;
}

void zi_watch_report(zi_watch *watch, double fraction, bool now)
{
    if (!zi_watch_is_due(watch, now ? 0 : 0.25)) return;
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
    zi_events_publish(w->server->events, "models", NULL);
}

zi_model_options zi_worker_options(const zi_worker *worker, const char *path)
{
    zi_model_options options = worker->server->options.load;
    const char *own = worker->server->options.registry.model;
    if (!own || strcmp(own, path) != 0) options.vae = options.text_encoder = NULL;
    options.path = path;
    return options;
}

void zi_worker_unload(zi_worker *worker)
{
    if (!worker->model) return;
    zi_model_free(worker->model);
    free(worker->model_path);
    worker->model = NULL;
    worker->model_path = NULL;
    set_loaded(worker, NULL);
}

bool zi_worker_load(zi_worker *w, const char *name, const char *path, zi_error *error)
{
    if (w->model && !strcmp(w->model_path, path)) return true;
    zi_worker_unload(w);
    zi_model_options options = zi_worker_options(w, path);
    double began = zi_monotonic_seconds();
    if (!zi_model_load(w->server->engine, &options, &w->model, error)) return false;
    w->model_path = strdup(path);
    if (!w->model_path) {
        zi_model_free(w->model);
        w->model = NULL;
        return zi_error_no_memory(error, strlen(path));
    }
    set_loaded(w, name);
    zi_log_line(w->server->log, ZI_LOG_INFO, "model %s: loaded in %.1f s", name,
                zi_monotonic_seconds() - began);
    const char *remark;
    for (size_t i = 0; (remark = zi_model_remark(w->model, i)); i++)
        zi_log_line(w->server->log, ZI_LOG_WARNING, "%s", remark);
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

/* Logs how a job has ended, and ends it. */
static void end_job(zi_worker *w, zi_job *job, bool ok, const zi_error *error)
{
    zi_refusal why;
    zi_server *s = w->server;
    bool cancelled = !ok && error->code == ZI_ERROR_CANCELLED;
    if (ok || cancelled) {
        zi_log_line(s->log, ZI_LOG_INFO, "%s %llx: %s in %.1f s", job->kind->name,
                    (unsigned long long)job->id, ok ? "done" : "cancelled",
                    zi_wall_seconds() - job->status.started);
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
        end_job(w, job, ok, &error);
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
