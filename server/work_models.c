/* Jobs about models and texts: convert, quantize, import, download, verify, enhance. */
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
    zi_events_publish(worker->server->events, "models", NULL);
}

/* The job has made a model of that name, which is taken over. */
static void set_new_model(zi_worker *worker, zi_job *job, char *name)
{
    zi_jobs_set_model(worker->server->jobs, job, name);
    tell_changed(worker);
}

bool zi_work_convert(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "convert");
    const zi_convert_params *p = &job->params.convert;
    zi_convert_options options = {.source = job->paths.model,
                                  .destination = job->paths.new_model,
                                  .layout = p->layout,
                                  .precision = p->precision,
                                  .vae = job->paths.vae,
                                  .text_encoder = job->paths.text_encoder,
                                  .reference = job->paths.reference,
                                  .threads = worker->server->options.engine.threads,
                                  .progress = watch,
                                  .user = &w};
    if (!zi_convert(&options, error)) return false;
    set_new_model(worker, job, strdup(job->paths.new_name));
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

/* Options for a model that becomes one of this layout and precision; its source is missing. */
static zi_import_options import_options(zi_watch *w, zi_layout_kind layout, zi_precision precision)
{
    const zi_server_options *server = &w->worker->server->options;
    return (zi_import_options){.convert = layout || precision,
                               .layout = layout,
                               .precision = precision,
                               .reference = server->load.reference,
                               .threads = server->engine.threads,
                               .progress = watch_import,
                               .user = w};
}

/* The last two parts of a path in new memory: models/mlx/NAME is called mlx/NAME. */
static char *name_of(const char *path)
{
    const char *name = path + strlen(path);
    for (int slashes = 0; name > path && (name[-1] != '/' || ++slashes < 2);) name--;
    return strdup(name);
}

bool zi_work_import(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "copy");
    const zi_import_params *p = &job->params.import;
    zi_import_options options = import_options(&w, p->layout, p->precision);
    options.source = job->paths.model;
    options.name = p->name;
    options.mode = p->mode;
    char *path = NULL;
    if (!zi_registry_import(worker->server->registry, &options, &path, error)) return false;
    set_new_model(worker, job, name_of(path));
    free(path);
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
    const zi_download_params *params = &w->job->params.download;
    if (atomic_load_explicit(&w->job->cancel, memory_order_relaxed)) return false;
    if (!p->size) return true; /* nothing is known yet */
    w->done = params->layout || params->precision ? fetching : 1;
    double fraction = w->done * (double)p->done / (double)p->size;
    bool begins = !w->progress.size;
    if (begins) {
        w->began = zi_monotonic_seconds();
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
    const zi_download_params *p = &job->params.download;
    const zi_server_options *server = &worker->server->options;
    zi_download_options options = {
        .hub = server->registry.hub, .repo = p->repo, .progress = watch_download, .user = &w};
    zi_import_options import = import_options(&w, p->layout, p->precision);
    import.name = p->name;
    zi_downloaded out = {0};
    if (!zi_registry_download(worker->server->registry, &options, &import, &out, error))
        return false;
    set_new_model(worker, job, name_of(out.path));
    free(out.path);
    return true;
}

/* ---- verify ---- */

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
    zi_model_options options = zi_worker_options(worker, job->paths.model);
    zi_verification *verification;
    if (!zi_verify(worker->server->engine, &options, job->paths.against, watch_checks, &w,
                   &verification, error))
        return false;
    zi_jobs_set_verification(worker->server->jobs, job, verification);
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

static bool should_continue(void *user)
{
    const zi_watch *w = user;
    return !atomic_load(&w->job->cancel);
}

static bool hear(void *user, const char *text)
{
    zi_watch *w = user;
    zi_jobs_add_text(w->worker->server->jobs, w->job, text);
    return true;
}

static zi_enhance_request enhance_request(zi_watch *w)
{
    const zi_enhance_params *p = &w->job->params.enhance;
    zi_enhance_request r = zi_enhance_default();
    r.prompt = p->prompt;
    r.seed = p->seed;
    if (p->temperature_given) r.temperature = p->temperature;
    if (r.temperature == 0) r.penalty = 1;
    if (p->max_tokens) r.max_tokens = p->max_tokens;
    r.text = hear;
    r.should_continue = should_continue;
    r.user = w;
    return r;
}

bool zi_work_enhance(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch w = zi_watch_start(worker, job, "load");
    zi_enhance_request request = enhance_request(&w);
    zi_enhanced enhanced = {0};
    if (!load(worker, job->paths.model, error)) return false;
    w.progress.stage = "write";
    zi_watch_report(&w, 0, true);
    if (!zi_enhance(worker->llm, &request, &enhanced, error)) return false;
    zi_jobs_set_text(worker->server->jobs, job, enhanced.text);
    zi_enhanced_free(&enhanced);
    return true;
}
