/* The steps from noise to latents of an image. */
#include "generation_job.h"
#include "model/sampler.h"

#include <math.h>

/* ---- the transformer ---- */

/* Whether the transformer call at this sigma has guidance: not where the time is above
 * cfg_truncation. */
static bool is_guided(const zi_generation_job *j, float sigma)
{
    return j->request.guidance > 0 && (double)zi_model_time(sigma) <= j->request.cfg_truncation;
}

/* The norm of values [n]. */
static double norm_of(const float *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)values[i] * values[i];
    return sqrt(sum);
}

/* Scales j->velocity, the prediction with guidance, if its norm is above cfg_normalization times
 * `norm`, that of the one without. Overwrites j->values. False: an operation failed. */
static bool limit_norm(zi_generation_job *j, double norm, zi_error *error)
{
    zi_exec *exec = j->session.exec;
    double max = norm * j->request.cfg_normalization;
    if (!zi_read(exec, j->velocity, j->values, error)) return false;
    double guided = norm_of(j->values, j->size);
    if (guided <= max) return true;
    for (size_t i = 0; i < j->size; i++) j->values[i] *= (float)(max / guided);
    zi_write(exec, j->velocity, j->values);
    return true;
}

/* Adds guidance to j->velocity, that of the prompt: calls the transformer for the negative prompt,
 * extrapolates, and limits the norm if requested. Counts one network call as done. False, with
 * *error set: cancelled or failed. */
static bool add_guidance(zi_generation_job *j, float time, zi_error *error)
{
    zi_exec *exec = j->session.exec;
    bool limited = j->request.cfg_normalization > 0;
    double norm = 0;
    if (!zi_transformer_step(&j->session.run, &j->model->transformer, &j->negative.sequence,
                             j->latents, time, j->negative_velocity, error))
        return false;
    j->passes_done++;
    if (limited && !zi_read(exec, j->velocity, j->values, error)) return false;
    if (limited) norm = norm_of(j->values, j->size);
    zi_extrapolate(exec, j->velocity, (float)j->request.guidance, j->negative_velocity);
    return !limited || limit_norm(j, norm, error);
}

/* Sets j->velocity to the transformer's velocity, towards the image, at the latents, with guidance
 * where it applies; does not wait for it. sigma: noise level, 1 to 0. Counts one network call, or
 * two, as done. False, with *error set: cancelled or failed. */
static bool predict_velocity(zi_generation_job *j, float sigma, zi_error *error)
{
    float time = zi_model_time(sigma);
    if (!zi_transformer_step(&j->session.run, &j->model->transformer, &j->positive.sequence,
                             j->latents, time, j->velocity, error))
        return false;
    j->passes_done++;
    return !is_guided(j, sigma) || add_guidance(j, time, error);
}

/* Whether step i has a second transformer call, at the sigma of its end. */
static bool has_second_call(const zi_generation_job *j, int i)
{
    return j->request.sampler == ZI_SAMPLER_HEUN && j->sigmas[i + 1] > 0;
}

/* The number of network calls of all steps. */
static double count_calls(const zi_generation_job *j)
{
    double calls = 0;
    for (int i = 0; i < j->request.steps; i++) {
        calls += is_guided(j, j->sigmas[i]) ? 2 : 1;
        if (has_second_call(j, i)) calls += is_guided(j, j->sigmas[i + 1]) ? 2 : 1;
    }
    return calls;
}

/* ---- results of a step ---- */

/* Copies the latents to row `step` (0: the noise) of the trace's history. Without a trace it does
 * nothing and returns true. */
static bool record_latents(zi_generation_job *j, size_t step, zi_error *error)
{
    return !j->history || zi_read(j->session.exec, j->latents, j->history + step * j->size, error);
}

/* Calls the preview callback, if there is one, with an image of what the latents, now at sigma
 * after `step` (from 1) steps, are heading for by the latest velocity. The map must be fitted.
 * Overwrites denoised, values and preview_rgb. False, with *error set: an operation failed; the
 * callback cannot cancel. */
static bool report_preview(zi_generation_job *j, int step, float sigma, zi_error *error)
{
    zi_exec *exec = j->session.exec;
    zi_model *m = j->model;
    zi_image image = {j->request.width / 8, j->request.height / 8, j->preview_rgb};
    if (!j->request.preview) return true;
    zi_copy_rows(exec, j->latents, j->denoised);
    zi_euler_step(exec, j->denoised, j->velocity, sigma, 0);
    if (!zi_read(exec, j->denoised, j->values, error)) return false;
    pthread_mutex_lock(&m->mutex);
    zi_preview_render(&m->preview, j->values, j->height * j->width, j->preview_rgb);
    pthread_mutex_unlock(&m->mutex);
    j->request.preview(j->request.user, step, &image);
    return true;
}

/* ---- steps ---- */

/* Writes the next values of the seed's noise to a view as large as the latents. Overwrites
 * j->values. */
static void draw_noise(zi_generation_job *j, zi_view to)
{
    zi_random_normal(&j->random, j->values, j->size);
    zi_write(j->session.exec, to, j->values);
}

/* Makes step i the last one, which goes to sigma 0, if the caller wants to stop. */
static void stop_if_wanted(zi_generation_job *j, int i)
{
    zi_request *r = &j->request;
    if (i + 1 == r->steps || !r->stop || !r->stop(r->user, i + 1)) return;
    r->steps = i + 1;
    j->sigmas[i + 1] = 0;
}

/* Takes the latents from sigmas[i] to sigmas[i + 1] by the request's sampler, or to 0 if the caller
 * wants to stop. False, with *error set: cancelled or failed. */
static bool run_step(zi_generation_job *j, int i, zi_error *error)
{
    zi_exec *exec = j->session.exec;
    if (!predict_velocity(j, j->sigmas[i], error)) return false;
    stop_if_wanted(j, i);
    float sigma = j->sigmas[i], next = j->sigmas[i + 1];
    if (j->request.sampler == ZI_SAMPLER_LCM) {
        if (next > 0) draw_noise(j, j->noise);
        zi_lcm_step(exec, j->latents, j->velocity, j->noise, sigma, next);
        return true;
    }
    bool heun = has_second_call(j, i);
    if (heun) zi_copy_rows(exec, j->velocity, j->first_velocity);
    zi_euler_step(exec, j->latents, j->velocity, sigma, next);
    if (!heun) return true;
    if (!predict_velocity(j, next, error)) return false;
    zi_heun_correct(exec, j->latents, j->first_velocity, j->velocity, sigma, next);
    return true;
}

bool zi_generation_denoise(zi_generation_job *j, zi_error *error)
{
    const zi_request *r = &j->request;
    zi_random_seed(&j->random, r->seed);
    draw_noise(j, j->latents);
    zi_sampler_sigmas(r->schedule, r->steps, r->shift, j->model->config.scheduler.terminal,
                      j->sigmas);
    zi_generation_begin_stage(j, ZI_STAGE_STEP, count_calls(j));
    if (!record_latents(j, 0, error)) return false;
    for (int i = 0; i < r->steps; i++) {
        j->progress.step = i;
        if (!run_step(j, i, error) || !record_latents(j, (size_t)i + 1, error) ||
            !report_preview(j, i + 1, j->sigmas[i + 1], error))
            return false;
    }
    j->progress.step = r->steps;
    return true;
}
