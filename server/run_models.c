/* Runs jobs on models and prompts: convert, quantize, import, download, verify, enhance. */
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A zi_progress_fn; user: the zi_job_reporter. Publishes the stage's fraction as that of the job,
 * at most four times a second. False stops: the job is cancelled. */
static bool on_progress(void *user, const zi_progress *p)
{
    zi_job_reporter *reporter = user;
    if (atomic_load_explicit(&reporter->job->cancel, memory_order_relaxed)) return false;
    zi_job_reporter_update(reporter, p->fraction, false);
    return true;
}

/* Makes the scanner inspect new models, and publishes "models". */
static void publish_models_changed(zi_worker *worker)
{
    zi_scanner_wake(worker->server->scanner);
    zi_events_publish(worker->server->events, "models", NULL);
}

/* Records the name of the model that the job made, of which this takes ownership (NULL, when out of
 * memory: the job's result stays null), has the model inspected and publishes "models". */
static void set_new_model(zi_worker *worker, zi_job *job, char *name)
{
    zi_jobs_set_model(worker->server->jobs, job, name);
    publish_models_changed(worker);
}

/* zi_convert_options.remark, also of an import; user: the zi_job_reporter. Logs the remark. */
static void log_remark(void *user, const char *text)
{
    const zi_job_reporter *reporter = user;
    zi_log_line(reporter->worker->server->log, ZI_LOG_WARNING, "%s", text);
}

bool zi_run_convert_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_job_reporter reporter = zi_job_reporter_start(worker, job, "convert");
    const zi_convert_params *p = &job->params.convert;
    zi_convert_options options = {.source = job->paths.model,
                                  .destination = job->paths.new_model,
                                  .layout = p->layout,
                                  .precision = p->precision,
                                  .vae = job->paths.vae,
                                  .text_encoder = job->paths.text_encoder,
                                  .reference = job->paths.reference,
                                  .threads = worker->server->options.engine.threads,
                                  .progress = on_progress,
                                  .remark = log_remark,
                                  .user = &reporter};
    zi_model_parts parts;
    if (!zi_registry_find_parts(worker->server->registry,
                                &(zi_model_options){.path = job->paths.model}, &parts, error))
        return false;
    options.tokenizer = parts.tokenizer;
    bool ok = zi_convert(&options, error);
    zi_model_parts_free(&parts);
    if (!ok) return false;
    set_new_model(worker, job, strdup(job->paths.new_name));
    return true;
}

/* ---- import ---- */

/* zi_import_options.progress, also of the conversion after a download; user: the zi_job_reporter.
 * Publishes the stage, "copy" or "convert", and the fraction of the job, of which a download before
 * it took the part reporter->done (0: there was none). False stops: the job is cancelled. */
static bool on_import_progress(void *user, const zi_progress *p)
{
    zi_job_reporter *reporter = user;
    zi_progress whole = *p;
    bool download_ended = reporter->progress.size > 0; /* the first call after a download */
    reporter->progress.stage = p->stage == ZI_STAGE_COPY ? "copy" : "convert";
    reporter->progress.size = 0;
    reporter->progress.file[0] = 0;
    whole.fraction = reporter->done + (1 - reporter->done) * p->fraction;
    if (download_ended) zi_job_reporter_update(reporter, whole.fraction, true);
    return on_progress(reporter, &whole);
}

/* Returns import options that convert unless layout is "same" and precision "original" (both 0),
 * and report to reporter; the caller sets the source, name and mode. */
static zi_import_options import_options(zi_job_reporter *reporter, zi_layout_kind layout,
                                        zi_precision precision)
{
    const zi_server_options *server = &reporter->worker->server->options;
    return (zi_import_options){.convert = layout || precision,
                               .layout = layout,
                               .precision = precision,
                               .reference = server->load.reference,
                               .threads = server->engine.threads,
                               .progress = on_import_progress,
                               .remark = log_remark,
                               .user = reporter};
}

/* Returns the name of a model in the registry in new memory: the last two components of its path,
 * which ends without a slash (models/mlx/NAME: mlx/NAME). NULL: out of memory. */
static char *registry_name(const char *path)
{
    const char *name = path + strlen(path);
    for (int slashes = 0; name > path && (name[-1] != '/' || ++slashes < 2);) name--;
    return strdup(name);
}

bool zi_run_import_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_job_reporter reporter = zi_job_reporter_start(worker, job, "copy");
    const zi_import_params *p = &job->params.import;
    zi_import_options options = import_options(&reporter, p->layout, p->precision);
    options.source = job->paths.model;
    options.name = p->name;
    options.mode = p->mode;
    char *path = NULL;
    if (!zi_registry_import(worker->server->registry, &options, &path, error)) return false;
    set_new_model(worker, job, registry_name(path));
    free(path);
    return true;
}

/* ---- download ---- */

/* The fraction of the job that the download takes when a conversion follows. */
static const double download_share = 0.8;

/* Sets progress->file to the name (path in the repository) of the unfinished file with the most
 * bytes downloaded, cut to 403 bytes, even within a character; "": none. */
static void set_current_file(zi_job_progress *progress, const zi_hub_progress *p)
{
    const zi_hub_file *file = NULL;
    for (size_t i = 0; i < p->count; i++)
        if (p->files[i].done < p->files[i].size && (!file || p->files[i].done > file->done))
            file = &p->files[i];
    snprintf(progress->file, sizeof progress->file, "%s", file ? file->name : "");
}

/* zi_download_options.progress; user: the zi_job_reporter. Publishes bytes, current file and
 * fraction of the job; a conversion that follows has the last 0.2 of it. False stops: the job is
 * cancelled. */
static bool on_download_progress(void *user, const zi_hub_progress *p)
{
    zi_job_reporter *reporter = user;
    const zi_download_params *params = &reporter->job->params.download;
    if (atomic_load_explicit(&reporter->job->cancel, memory_order_relaxed)) return false;
    if (!p->size) return true; /* sizes are not known yet */
    reporter->done = params->layout || params->precision ? download_share : 1;
    double fraction = reporter->done * (double)p->done / (double)p->size;
    bool begins = !reporter->progress.size;
    if (begins) {
        reporter->began = zi_monotonic_seconds();
        reporter->first = fraction;
    }
    reporter->progress.done = p->done;
    reporter->progress.size = p->size;
    set_current_file(&reporter->progress, p);
    zi_job_reporter_update(reporter, fraction, begins);
    return true;
}

bool zi_run_download_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_job_reporter reporter = zi_job_reporter_start(worker, job, "download");
    const zi_download_params *p = &job->params.download;
    const zi_server_options *server = &worker->server->options;
    zi_download_options options = {.hub = server->registry.hub,
                                   .repo = p->repo,
                                   .progress = on_download_progress,
                                   .user = &reporter};
    zi_import_options import = import_options(&reporter, p->layout, p->precision);
    import.name = p->name;
    zi_download_result out = {0};
    if (!zi_registry_download(worker->server->registry, &options, &import, &out, error))
        return false;
    set_new_model(worker, job, out.tokenizer ? NULL : registry_name(out.path));
    free(out.path);
    return true;
}

/* ---- verify ---- */

/* A zi_progress_fn; user: the zi_job_reporter. Publishes the stage "verify" at most four times a
 * second, always with fraction 0, since a verification cannot estimate its progress. False stops:
 * the job is cancelled. */
static bool on_verify_progress(void *user, const zi_progress *p)
{
    zi_job_reporter *reporter = user;
    if (atomic_load_explicit(&reporter->job->cancel, memory_order_relaxed)) return false;
    (void)p;
    zi_job_reporter_update(reporter, 0, false);
    return true;
}

bool zi_run_verify_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_job_reporter reporter = zi_job_reporter_start(worker, job, "verify");
    zi_model_options options;
    zi_model_parts parts;
    zi_verification *verification;
    if (!zi_worker_model_options(worker, job->paths.model, &options, &parts, error)) return false;
    bool ok = zi_verify(worker->server->engine, &options, job->paths.against, on_verify_progress,
                        &reporter, &verification, error);
    zi_model_parts_free(&parts);
    if (!ok) return false;
    zi_jobs_set_verification(worker->server->jobs, job, verification);
    return true;
}

/* ---- enhance ---- */

/* Loads the language model at path into worker->llm unless it is there already; frees any other
 * first. False: *error is set and none is loaded. */
static bool load_llm(zi_worker *worker, const char *path, zi_error *error)
{
    if (worker->llm && !strcmp(worker->llm_path, path)) return true;
    zi_llm_free(worker->llm);
    free(worker->llm_path);
    worker->llm = NULL;
    worker->llm_path = strdup(path);
    if (!worker->llm_path) return zi_error_no_memory(error, strlen(path));
    zi_model_options options;
    zi_model_parts parts;
    if (!zi_worker_model_options(worker, path, &options, &parts, error)) return false;
    bool ok = zi_llm_load(worker->server->engine, &options, &worker->llm, error);
    zi_model_parts_free(&parts);
    return ok;
}

/* zi_enhance_request.should_continue; user: the zi_job_reporter. False: the job is cancelled. */
static bool should_continue(void *user)
{
    const zi_job_reporter *reporter = user;
    return !atomic_load(&reporter->job->cancel);
}

/* zi_enhance_request.text; user: the zi_job_reporter. Appends a piece of the answer to the job and
 * publishes it. Always returns true. */
static bool on_text(void *user, const char *text)
{
    zi_job_reporter *reporter = user;
    zi_jobs_add_text(reporter->worker->server->jobs, reporter->job, text);
    return true;
}

/* Returns the request of an enhance job, with the library's defaults for what is not given; a
 * temperature of 0 also switches the repetition penalty off. Borrows the job's prompt; the
 * callbacks get reporter. */
static zi_enhance_request enhance_request(zi_job_reporter *reporter)
{
    const zi_enhance_params *p = &reporter->job->params.enhance;
    zi_enhance_request r = zi_enhance_default();
    r.prompt = p->prompt;
    r.seed = p->seed;
    if (p->temperature_given) r.temperature = p->temperature;
    if (r.temperature == 0) r.penalty = 1;
    if (p->max_tokens) r.max_tokens = p->max_tokens;
    r.text = on_text;
    r.should_continue = should_continue;
    r.user = reporter;
    return r;
}

bool zi_run_enhance_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_job_reporter reporter = zi_job_reporter_start(worker, job, "load");
    zi_enhance_request request = enhance_request(&reporter);
    zi_enhance_result enhanced = {0};
    if (!load_llm(worker, job->paths.model, error)) return false;
    reporter.progress.stage = "write";
    zi_job_reporter_update(&reporter, 0, true);
    if (!zi_enhance(worker->llm, &request, &enhanced, error)) return false;
    zi_jobs_set_text(worker->server->jobs, job, enhanced.text);
    zi_enhance_result_free(&enhanced);
    return true;
}
