/* Jobs that generate images, and that load the model for them. */
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

/* ---- progress of an image ---- */

/* The callback of zi_request.progress: called in every layer. */
static bool watch(void *user, const zi_progress *p)
{
    static const char *const stages[] = {
        [ZI_STAGE_ENCODE] = "encode", [ZI_STAGE_STEP] = "step", [ZI_STAGE_DECODE] = "decode"};
    zi_watch *w = user;
    if (atomic_load_explicit(&w->job->cancel, memory_order_relaxed) ||
        atomic_load_explicit(&w->job->skip, memory_order_relaxed))
        return false;
    if (p->stage != ZI_STAGE_ENCODE && !w->encoded) {
        w->encoded = true;
        zi_jobs_encoded(w->worker->server->jobs, w->job, w->progress.image, p->cached);
    }
    bool new_stage = strcmp(w->progress.stage, stages[p->stage]) != 0;
    double in_image = p->stage == ZI_STAGE_ENCODE ? p->fraction
                      : p->stage == ZI_STAGE_STEP ? 1 + p->fraction * p->steps
                                                  : 1 + p->steps + p->fraction;
    w->progress.stage = stages[p->stage];
    w->progress.step = p->step;
    w->progress.steps = p->steps;
    w->units = (p->steps + 2.0) * w->progress.images;
    w->done = (p->steps + 2.0) * (w->progress.image - 1) + in_image;
    zi_watch_report(w, w->done / w->units, new_stage);
    return true;
}

/* The progress when a step has just ended. */
static void count_step(zi_watch *w, int step)
{
    zi_job_progress *p = &w->progress;
    p->step = step;
    p->fraction = ((p->steps + 2.0) * (p->image - 1) + 1 + step) / w->units;
    p->seconds_left = (zi_monotonic_seconds() - w->began) / p->fraction * (1 - p->fraction);
}

/* The callback of zi_request.preview: called after every step. */
static void preview(void *user, int step, const zi_image *image)
{
    zi_watch *w = user;
    zi_save_options save = {.format = ZI_FORMAT_PNG};
    zi_job_preview p = {
        .image = w->progress.image, .step = step, .width = image->width, .height = image->height};
    if (!zi_image_to_bytes(image, &save, &p.png, &p.size, NULL)) p.png = NULL;
    count_step(w, step);
    /* Where steps are short, progress comes with them rather than between them. */
    zi_jobs_step(w->worker->server->jobs, w->job, &w->progress, zi_watch_is_due(w, 0.1), &p);
}

/* ---- an image ---- */

static bool save_image(zi_watch *w, const zi_request *request, const zi_image *image,
                       double seconds, zi_error *error)
{
    char id[ZI_IMAGE_ID];
    zi_server *s = w->worker->server;
    zi_request used = *request;
    used.width = image->width;
    used.height = image->height;
    char *infotext = zi_infotext(w->worker->model, &used);
    if (!infotext) return zi_error_no_memory(error, strlen(request->prompt));
    bool ok = zi_history_add(s->history, image, infotext, seconds, id, error) &&
              zi_jobs_add_image(s->jobs, w->job, w->progress.image, id, error);
    free(infotext);
    if (ok) atomic_fetch_add(&s->images, 1);
    return ok;
}

/* Generates image number w->progress.image of the job. */
static bool generate_image(zi_watch *w, zi_error *error)
{
    double began = zi_monotonic_seconds();
    zi_image *image = NULL;
    zi_request request = w->job->params.generate.request;
    request.seed += (uint64_t)(w->progress.image - 1);
    request.progress = watch;
    request.preview = preview;
    request.user = w;
    w->encoded = false;
    bool ok = zi_generate(w->worker->model, &request, &image, error);
    if (ok) {
        w->progress.stage = "save";
        ok = save_image(w, &request, image, zi_monotonic_seconds() - began, error);
    }
    zi_image_free(image);
    return ok;
}

/* ---- jobs ---- */

bool zi_work_generate(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_generation generation = job->params.generate;
    zi_generation_fill_defaults(&generation);
    zi_watch w = zi_watch_start(worker, job, "load");
    if (!zi_worker_load(worker, generation.model, job->paths.model, error)) return false;
    w.began = zi_monotonic_seconds();
    w.progress.images = generation.count;
    for (w.progress.image = 1; w.progress.image <= generation.count; w.progress.image++) {
        if (atomic_load(&job->cancel)) return zi_error_cancelled(error);
        atomic_store(&job->skip, false);
        if (generate_image(&w, error)) continue;
        bool skipped = error->code == ZI_ERROR_CANCELLED && atomic_exchange(&job->skip, false);
        if (!skipped || atomic_load(&job->cancel)) return false;
        *error = (zi_error){0};
    }
    return true;
}

bool zi_work_load(zi_worker *worker, zi_job *job, zi_error *error)
{
    zi_watch_start(worker, job, "load");
    return zi_worker_load(worker, job->params.load.model, job->paths.model, error);
}

bool zi_work_unload(zi_worker *worker, zi_job *job, zi_error *error)
{
    (void)job;
    (void)error;
    zi_worker_unload(worker);
    return true;
}
