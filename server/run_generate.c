/* Runs generate, load and unload jobs. */
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

/* ---- progress of an image ---- */

/* Whether the job, or its current image, is to end with the current step. */
static bool ends_early(zi_job *job)
{
    return atomic_load_explicit(&job->interrupt, memory_order_relaxed) ||
           atomic_load_explicit(&job->skip, memory_order_relaxed);
}

/* zi_request.stop, called in every step; user: the zi_job_reporter. */
static bool on_stop(void *user, int step)
{
    zi_job_reporter *reporter = user;
    if (!ends_early(reporter->job)) return false;
    reporter->stopped_at = step;
    return true;
}

/* zi_request.progress, called after every layer; user: the zi_job_reporter. Publishes the job's
 * progress: at once when the stage (encode, step, decode) changes, else at most four times a
 * second. Publishes "encoded" once per image. False stops: the job is cancelled, or the
 * image is to end early and has no step yet. */
static bool on_progress(void *user, const zi_progress *p)
{
    static const char *const stages[] = {
        [ZI_STAGE_ENCODE] = "encode", [ZI_STAGE_STEP] = "step", [ZI_STAGE_DECODE] = "decode"};
    zi_job_reporter *reporter = user;
    if (atomic_load_explicit(&reporter->job->cancel, memory_order_relaxed)) return false;
    if (p->stage == ZI_STAGE_ENCODE && ends_early(reporter->job)) return false;
    if (p->stage != ZI_STAGE_ENCODE && !reporter->encoded) {
        reporter->encoded = true;
        zi_jobs_publish_encoded(reporter->worker->server->jobs, reporter->job,
                                reporter->progress.image, p->cached);
    }
    bool new_stage = strcmp(reporter->progress.stage, stages[p->stage]) != 0;
    double in_image = p->stage == ZI_STAGE_ENCODE ? p->fraction
                      : p->stage == ZI_STAGE_STEP ? 1 + p->fraction * p->steps
                                                  : 1 + p->steps + p->fraction;
    reporter->progress.stage = stages[p->stage];
    reporter->progress.step = p->step;
    reporter->progress.steps = p->steps;
    reporter->units = (p->steps + 2.0) * reporter->progress.images;
    reporter->done = (p->steps + 2.0) * (reporter->progress.image - 1) + in_image;
    zi_job_reporter_update(reporter, reporter->done / reporter->units, new_stage);
    return true;
}

/* Sets step, fraction of the job and time left in reporter->progress to the end of a step, counted
 * from 1. Publishes nothing. */
static void set_step_progress(zi_job_reporter *reporter, int step)
{
    zi_job_progress *p = &reporter->progress;
    p->step = step;
    p->fraction = ((p->steps + 2.0) * (p->image - 1) + 1 + step) / reporter->units;
    p->seconds_left = (zi_monotonic_seconds() - reporter->began) / p->fraction * (1 - p->fraction);
}

/* zi_request.preview, called after every step, which are counted from 1; user: the zi_job_reporter.
 * Publishes the step with the image as PNG; without it when it cannot be encoded. */
static void on_preview(void *user, int step, const zi_image *image)
{
    zi_job_reporter *reporter = user;
    zi_save_options save = {.format = ZI_FORMAT_PNG};
    zi_job_preview p = {.image = reporter->progress.image,
                        .step = step,
                        .width = image->width,
                        .height = image->height};
    if (!zi_image_encode(image, &save, &p.png, &p.size, NULL)) p.png = NULL;
    set_step_progress(reporter, step);
    /* With short steps, publish progress with the step rather than between steps. */
    zi_jobs_set_step(reporter->worker->server->jobs, reporter->job, &reporter->progress,
                     zi_job_reporter_is_due(reporter, 0.1), &p);
}

/* ---- an image ---- */

/* The infotext of an image, in new memory; of one that was ended early it says at which step. NULL:
 * out of memory. */
static char *create_infotext(const zi_job_reporter *reporter, const zi_request *request)
{
    zi_text text;
    char *infotext = zi_infotext_create(reporter->worker->model, request);
    if (!infotext || !reporter->stopped_at) return infotext;
    zi_text_init(&text, strlen(infotext) + 100);
    zi_text_printf(&text, "%s, Interrupted: step %d of %d", infotext, reporter->stopped_at,
                   reporter->progress.steps);
    free(infotext);
    return zi_text_take(&text);
}

/* Adds the image with its infotext to the history and then to the job. seconds: how long it took.
 * False: *error is set; the image may be in the history already. */
static bool save_image(zi_job_reporter *reporter, const zi_request *request, const zi_image *image,
                       double seconds, zi_error *error)
{
    char id[ZI_IMAGE_ID];
    zi_server *s = reporter->worker->server;
    zi_request used = *request;
    used.width = image->width;
    used.height = image->height;
    used.model_hash = reporter->worker->model_hash;
    char *infotext = create_infotext(reporter, &used);
    if (!infotext) return zi_error_no_memory(error, strlen(request->prompt));
    bool ok = zi_history_add_image(s->history, image, infotext, seconds, id, error) &&
              zi_jobs_add_image(s->jobs, reporter->job, reporter->progress.image, id, error);
    free(infotext);
    if (ok) atomic_fetch_add(&s->images, 1);
    return ok;
}

/* Lowers the guidance of a request to the server's limit, if there is one for the worker's model,
 * and logs that for the job's first image. False: the request is not valid; *error is set. */
static bool cap_guidance(zi_job_reporter *reporter, zi_request *request, zi_error *error)
{
    const zi_server *s = reporter->worker->server;
    const zi_model *model = reporter->worker->model;
    const double max = s->options.max_guidance;
    zi_request used;
    if (!s->options.cap_guidance || zi_model_variant(model) == ZI_VARIANT_BASE) return true;
    if (!zi_request_resolve(model, request, &used, error)) return false;
    if (used.guidance <= max) return true;
    request->guidance = max;
    request->guidance_given = true;
    if (reporter->progress.image == 1)
        zi_log_line(s->log, ZI_LOG_WARNING, "generate %llx: guidance %g was lowered to %g",
                    (unsigned long long)reporter->job->id, used.guidance, max);
    return true;
}

/* Generates and saves image number reporter->progress.image of the job, with the job's seed plus
 * that number - 1 (modulo 2^64). False: *error is set; ZI_ERROR_CANCELLED: the job was cancelled
 * (job->cancel), or the image was to end early and had no step (job->interrupt, job->skip). */
static bool generate_image(zi_job_reporter *reporter, zi_error *error)
{
    double began = zi_monotonic_seconds();
    zi_image *image = NULL;
    zi_request request = reporter->job->params.generate.request;
    request.seed += (uint64_t)(reporter->progress.image - 1);
    request.progress = on_progress;
    request.preview = on_preview;
    request.stop = on_stop;
    request.user = reporter;
    reporter->encoded = false;
    reporter->stopped_at = 0;
    bool ok = cap_guidance(reporter, &request, error) &&
              zi_generate(reporter->worker->model, &request, &image, error);
    if (ok) {
        reporter->progress.stage = "save";
        ok = save_image(reporter, &request, image, zi_monotonic_seconds() - began, error);
    }
    zi_image_free(image);
    return ok;
}

/* ---- jobs ---- */

bool zi_run_generate_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_generation generation = job->params.generate;
    zi_generation_fill_defaults(&generation);
    zi_job_reporter reporter = zi_job_reporter_start(worker, job, "load");
    if (!zi_worker_load_model(worker, generation.model, job->paths.model, error)) return false;
    if (!zi_registry_model_hash(worker->server->registry, job->paths.model, false, NULL, NULL,
                                worker->model_hash, error))
        return false;
    reporter.began = zi_monotonic_seconds();
    reporter.progress.images = generation.count;
    for (reporter.progress.image = 1; reporter.progress.image <= generation.count;
         reporter.progress.image++) {
        if (atomic_load(&job->cancel) || atomic_load(&job->interrupt))
            return zi_error_cancelled(error);
        atomic_store(&job->skip, false);
        bool ok = generate_image(&reporter, error);
        if (ok && reporter.stopped_at && atomic_load(&job->interrupt))
            return zi_error_cancelled(error);
        if (ok) continue;
        bool skipped = error->code == ZI_ERROR_CANCELLED && atomic_exchange(&job->skip, false);
        if (!skipped || atomic_load(&job->cancel) || atomic_load(&job->interrupt)) return false;
        *error = (zi_error){0};
    }
    return true;
}

bool zi_run_load_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_job_reporter_start(worker, job, "load");
    return zi_worker_load_model(worker, job->params.load.model, job->paths.model, error);
}

bool zi_run_unload_job(zi_worker *worker, zi_job *job, zi_error *error)
{
    (void)job;
    (void)error;
    zi_worker_unload_model(worker);
    return true;
}
