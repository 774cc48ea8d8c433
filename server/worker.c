#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

/* ---- progress ---- */

zi_job_reporter zi_job_reporter_start(zi_worker *worker, zi_job *job, const char *stage)
{
    zi_job_reporter reporter = {.worker = worker, .job = job, .began = zi_monotonic_seconds()};
    reporter.progress = (zi_job_progress){.stage = stage, .seconds_left = -1};
    zi_jobs_set_progress(worker->server->jobs, job, &reporter.progress);
    return reporter;
}

bool zi_job_reporter_is_due(zi_job_reporter *reporter, double seconds)
{
    double time = zi_monotonic_seconds();
    if (time - reporter->reported < seconds) return false;
    reporter->reported = time;
    return true;
}

void zi_job_reporter_update(zi_job_reporter *reporter, double fraction, bool now)
{
    if (!zi_job_reporter_is_due(reporter, now ? 0 : 0.25)) return;
    double spent = reporter->reported - reporter->began;
    reporter->progress.fraction = fraction;
    double done = fraction - reporter->first;
    reporter->progress.seconds_left = done > 0.02 ? spent / done * (1 - fraction) : -1;
    zi_jobs_set_progress(reporter->worker->server->jobs, reporter->job, &reporter->progress);
}

/* ---- models in memory ---- */

char *zi_worker_loaded_name(zi_worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    char *name = worker->loaded ? strdup(worker->loaded) : NULL;
    pthread_mutex_unlock(&worker->mutex);
    return name;
}

/* Sets the name that clients see as loaded to a copy of name (NULL, or out of memory: none);
 * publishes "models". */
static void set_loaded(zi_worker *worker, const char *name)
{
    pthread_mutex_lock(&worker->mutex);
    free(worker->loaded);
    worker->loaded = name ? strdup(name) : NULL;
    pthread_mutex_unlock(&worker->mutex);
    zi_events_publish(worker->server->events, "models", NULL);
}

bool zi_worker_model_options(const zi_worker *worker, const char *path, zi_model_options *options,
                             zi_model_parts *parts, zi_error *error)
{
    const char *own = worker->server->options.registry.model;
    *options = worker->server->options.load;
    if (!own || strcmp(own, path) != 0) options->vae = options->text_encoder = NULL;
    options->path = path;
    if (!zi_registry_find_parts(worker->server->registry, options, parts, error)) return false;
    if (parts->text_encoder) options->text_encoder = parts->text_encoder;
    if (parts->vae) options->vae = parts->vae;
    options->tokenizer = parts->tokenizer;
    if (parts->note) zi_log_line(worker->server->log, ZI_LOG_INFO, "%s: %s", path, parts->note);
    return true;
}

void zi_worker_unload_model(zi_worker *worker)
{
    if (!worker->model) return;
    zi_model_free(worker->model);
    free(worker->model_path);
    worker->model = NULL;
    worker->model_path = NULL;
    set_loaded(worker, NULL);
}

bool zi_worker_load_model(zi_worker *worker, const char *name, const char *path, zi_error *error)
{
    if (worker->model && !strcmp(worker->model_path, path)) return true;
    zi_worker_unload_model(worker);
    zi_model_options options;
    zi_model_parts parts;
    double began = zi_monotonic_seconds();
    if (!zi_worker_model_options(worker, path, &options, &parts, error)) return false;
    bool ok = zi_model_load(worker->server->engine, &options, &worker->model, error);
    zi_model_parts_free(&parts);
    if (!ok) return false;
    worker->model_path = strdup(path);
    if (!worker->model_path) {
        zi_model_free(worker->model);
        worker->model = NULL;
        return zi_error_no_memory(error, strlen(path));
    }
    set_loaded(worker, name);
    zi_log_line(worker->server->log, ZI_LOG_INFO, "model %s: loaded in %.1f s", name,
                zi_monotonic_seconds() - began);
    const char *warning = zi_model_warning(worker->model);
    if (warning) zi_log_line(worker->server->log, ZI_LOG_WARNING, "%s", warning);
    return true;
}

/* ---- the threads ---- */

/* Converts the error of a failed job to *why, as zi_http_error_from does. If a component other than
 * the transformer is missing, and the error is about no field, it appends to the text how to start
 * the server with one. */
static void set_job_error(const zi_job *job, const zi_error *error, zi_http_error *why)
{
    bool can_be_lent =
        error->code == ZI_ERROR_INCOMPLETE && strcmp(error->subject, "transformer") != 0;
    zi_http_error_from(why, job->kind->params, NULL, error);
    if (can_be_lent && !why->field[0])
        zi_http_error_append(why, ": start the server with --reference DIR, the folder of a "
                                  "complete Z-Image model");
}

/* Logs a job's result and ends it: as done if ok, as cancelled for ZI_ERROR_CANCELLED, else as
 * failed with *error. The caller must not use the job afterwards. */
static void end_job(zi_worker *worker, zi_job *job, bool ok, const zi_error *error)
{
    zi_http_error why;
    zi_server *s = worker->server;
    bool cancelled = !ok && error->code == ZI_ERROR_CANCELLED;
    if (ok || cancelled) {
        zi_log_line(s->log, ZI_LOG_INFO, "%s %llx: %s in %.1f s", job->kind->name,
                    (unsigned long long)job->id, ok ? "done" : "cancelled",
                    zi_job_time(job) - job->status.started);
        zi_jobs_finish(s->jobs, job, ok ? ZI_JOB_DONE : ZI_JOB_CANCELLED, NULL);
        return;
    }
    set_job_error(job, error, &why);
    zi_log_line(s->log, ZI_LOG_ERROR, "%s %llx: %s", job->kind->name, (unsigned long long)job->id,
                error->text);
    zi_jobs_finish(s->jobs, job, ZI_JOB_FAILED, &why);
}

/* A thread that runs the jobs of one queue, one after the other, until zi_jobs_close. user: its
 * zi_worker_thread. */
static void *worker_thread_main(void *user)
{
    const zi_worker_thread *worker_thread = user;
    zi_worker *worker = worker_thread->worker;
    zi_job *job;
    while ((job = zi_jobs_take_next(worker->server->jobs, worker_thread->queue))) {
        zi_error error = {0};
        bool ok = job->kind->run(worker, job, &error);
        end_job(worker, job, ok, &error);
    }
    return NULL;
}

bool zi_worker_start(zi_server *server, zi_worker **out, zi_error *error)
{
    zi_worker *worker = *out = calloc(1, sizeof *worker);
    if (!worker) return zi_error_no_memory(error, sizeof *worker);
    worker->server = server;
    pthread_mutex_init(&worker->mutex, NULL);
    for (int queue = 0; queue < ZI_QUEUES; queue++) {
        zi_worker_thread *worker_thread = &worker->threads[queue];
        *worker_thread = (zi_worker_thread){.worker = worker, .queue = (zi_job_queue)queue};
        worker_thread->started =
            pthread_create(&worker_thread->thread, NULL, worker_thread_main, worker_thread) == 0;
        if (!worker_thread->started)
            return zi_error_set(error, ZI_ERROR_IO, NULL,
                                "cannot start a thread; stop other programs, or raise the limit of "
                                "processes and threads (ulimit -u)");
    }
    return true;
}

void zi_worker_join(zi_worker *worker)
{
    for (int queue = 0; worker && queue < ZI_QUEUES; queue++)
        if (worker->threads[queue].started) pthread_join(worker->threads[queue].thread, NULL);
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
