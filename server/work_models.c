/* Jobs about models and texts: convert, quantize, import, download, verify, enhance. */
#include "server/kinds.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool watch(void *user, const zi_progress *p)
{
    zi_watch *w = user;
    if (atomic_load_explicit(&w->job->cancel, memory_order_relaxed)) return false;
    zi_watch_report(w, p->fraction, false);
    return true;
}

static void tell_changed(zi_worker *worker)
{
    zi_scanner_wake(worker->server->scanner);
    zi_events_publish(worker->server->events, "models", cJSON_CreateObject());
}

bool zi_work_convert(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "convert");
    const zi_order *o = &job->order;
    zi_convert_options options = {.source = o->path,
                                  .destination = o->place,
                                  .layout = (zi_layout_kind)o->layout,
                                  .precision = (zi_precision)o->precision,
                                  .vae = o->vae_path,
                                  .text_encoder = o->text_encoder_path,
                                  .reference = o->reference_path,
                                  .threads = worker->server->options.engine.threads,
                                  .progress = watch,
                                  .user = &w};
    if (!zi_convert(&options, error)) return false;
    cJSON *result = cJSON_CreateObject();
    cJSON_AddStringToObject(result, "model", o->name);
    zi_jobs_result(worker->server->jobs, job, result);
    tell_changed(worker);
    return true;
}

/* ---- import ---- */

static bool watch_import(void *user, const zi_progress *p)
{
    zi_watch *w = user;
    zi_progress whole = *p;
    bool turn = w->progress.size > 0; /* a download has ended */
    w->progress.stage = p->stage == ZI_STAGE_COPY ? "copy" : "convert";
    w->progress.size = 0;
    w->progress.file[0] = 0;
    whole.fraction = w->done + (1 - w->done) * p->fraction;
    if (turn) zi_watch_report(w, whole.fraction, true);
    return watch(w, &whole);
}

static zi_import_options import_options(zi_watch *w)
{
    const zi_order *o = &w->job->order;
    const zi_server_options *server = &w->worker->server->options;
    return (zi_import_options){.source = o->path,
                               .name = o->destination,
                               .mode = (zi_import_mode)o->mode,
                               .convert = o->layout || o->precision,
                               .layout = (zi_layout_kind)o->layout,
                               .precision = (zi_precision)o->precision,
                               .reference = server->load.reference,
                               .threads = server->engine.threads,
                               .progress = watch_import,
                               .user = w};
}

/* A new model is at path, which is free()d: models/mlx/NAME is called mlx/NAME. */
static void arrived(zi_watch *w, char *path)
{
    const char *name = path + strlen(path);
    cJSON *result = cJSON_CreateObject();
    for (int slashes = 0; name > path && (name[-1] != '/' || ++slashes < 2);) name--;
    cJSON_AddStringToObject(result, "model", name);
    free(path);
    zi_jobs_result(w->worker->server->jobs, w->job, result);
    tell_changed(w->worker);
}

bool zi_work_import(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "copy");
    zi_import_options options = import_options(&w);
    char *path = NULL;
    if (!zi_registry_import(worker->server->registry, &options, &path, error)) return false;
    arrived(&w, path);
    return true;
}

/* ---- download ---- */

/* How much of the job is fetching, where a conversion follows. */
static const double fetching = 0.8;

/* Names the file that is under way and the most of it there. */
static void name_file(zi_job_progress *progress, const zi_hub_progress *p)
{
    const zi_hub_file *file = NULL;
    for (size_t i = 0; i < p->count; i++)
        if (p->files[i].done < p->files[i].size && (!file || p->files[i].done > file->done))
            file = &p->files[i];
    snprintf(progress->file, sizeof progress->file, "%s", file ? file->name : "");
}

static bool watch_download(void *user, const zi_hub_progress *p)
{
    zi_watch *w = user;
    const zi_order *o = &w->job->order;
    if (atomic_load_explicit(&w->job->cancel, memory_order_relaxed)) return false;
    if (!p->size) return true; /* nothing is known yet */
    w->done = o->layout || o->precision ? fetching : 1;
    double fraction = w->done * (double)p->done / (double)p->size;
    bool begins = !w->progress.size;
    if (begins) {
        w->began = zi_seconds();
        w->first = fraction;
    }
    w->progress.done = p->done;
    w->progress.size = p->size;
    name_file(&w->progress, p);
    zi_watch_report(w, fraction, begins);
    return true;
}

bool zi_work_download(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "download");
    const zi_server_options *server = &worker->server->options;
    zi_download_options options = {.hub = server->registry.hub,
                                   .repo = job->order.repo,
                                   .progress = watch_download,
                                   .user = &w};
    zi_import_options import = import_options(&w);
    zi_downloaded out = {0};
    if (!zi_registry_download(worker->server->registry, &options, &import, &out, error))
        return false;
    arrived(&w, out.path);
    return true;
}

/* A verification does not know how much is still to come: of its progress only time goes on. */
static bool watch_checks(void *user, const zi_progress *p)
{
    zi_watch *w = user;
    if (atomic_load_explicit(&w->job->cancel, memory_order_relaxed)) return false;
    (void)p;
    zi_watch_report(w, 0, false);
    return true;
}

bool zi_work_verify(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "verify");
    zi_model_options options = zi_worker_options(worker, job->order.path);
    zi_verification *verification;
    if (!zi_verify(worker->server->engine, &options, job->order.other_path, watch_checks, &w,
                   &verification, error))
        return false;
    char *json = zi_verification_json(verification);
    cJSON *result = json ? cJSON_Parse(json) : NULL;
    zi_verification_free(verification);
    free(json);
    if (!result) return zi_error_no_memory(error, 1);
    zi_jobs_result(worker->server->jobs, job, result);
    return true;
}

/* ---- enhance ---- */

static bool load(zi_worker *w, const char *path, zi_error *error)
{
    if (w->llm && !strcmp(w->llm_path, path)) return true;
    zi_llm_free(w->llm);
    free(w->llm_path);
    w->llm = NULL;
    w->llm_path = strdup(path);
    if (!w->llm_path) return zi_error_no_memory(error, strlen(path));
    zi_model_options options = zi_worker_options(w, path);
    return zi_llm_load(w->server->engine, &options, &w->llm, error);
}

static bool goes_on(void *user)
{
    const zi_watch *w = user;
    return !atomic_load(&w->job->cancel);
}

static bool hear(void *user, const char *text)
{
    zi_watch *w = user;
    zi_jobs_text(w->worker->server->jobs, w->job, text, false);
    return true;
}

bool zi_work_enhance(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "load");
    const zi_order *o = &job->order;
    zi_enhanced enhanced = {0};
    zi_enhance_request r = zi_enhance_default();
    const cJSON *heat = cJSON_GetObjectItemCaseSensitive(job->params, "temperature");
    if (!load(worker, o->path, error)) return false;
    w.progress.stage = "write";
    zi_watch_report(&w, 0, true);
    r.prompt = o->prompt;
    r.seed = o->seed.value;
    if (cJSON_IsNumber(heat)) r.temperature = heat->valuedouble;
    if (r.temperature == 0) r.penalty = 1;
    if (o->max_tokens) r.max_tokens = o->max_tokens;
    r.text = hear;
    r.goes_on = goes_on;
    r.user = &w;
    if (!zi_enhance(worker->llm, &r, &enhanced, error)) return false;
    zi_jobs_text(worker->server->jobs, job, enhanced.text, true);
    zi_enhanced_free(&enhanced);
    return true;
}
