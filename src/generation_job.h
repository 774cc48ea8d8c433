/* A request that is being run: what the stages of generate.c and denoise.c share. */
#ifndef ZI_GENERATION_JOB_H
#define ZI_GENERATION_JOB_H

#include "base/random.h"
#include "internal.h"

/* A tokenized and encoded prompt. */
typedef struct {
    int32_t *ids;
    size_t count;
    zi_view embeds; /* [count, hidden] */
    zi_sequence sequence;
} zi_conditioning;

typedef struct {
    zi_model *model;
    zi_request request; /* resolved */
    zi_session session;
    zi_conditioning positive, negative; /* negative: only with guidance */
    size_t height, width, size;         /* latents: rows, columns, elements */
    zi_view latents, velocity;          /* [channels, height * width] */
    zi_view negative_velocity;          /* of the negative prompt, only with guidance */
    zi_view first_velocity;             /* of a step's begin, only for Heun */
    zi_view noise;                      /* only for LCM */
    zi_view denoised;                   /* estimate of the final latents, only for previews */
    zi_view image;                      /* [3, 64 * height * width] */
    /* Host memory. */
    float *sigmas;        /* [steps + 1] */
    float *values;        /* [channels, height, width], for what is passed to or from the backend */
    float *history;       /* [steps + 1, channels, height, width] when tracing */
    uint8_t *preview_rgb; /* [height, width, 3] of a preview */
    zi_random random;     /* continues behind what was drawn */
    zi_progress progress;
    double pass_count, passes_done; /* network calls of this stage: total and finished */
} zi_generation_job;

/* Sets the stage, the number of network calls in it, a whole number, and zero finished ones.
 * Reports nothing itself. */
void zi_generation_begin_stage(zi_generation_job *job, zi_stage stage, double pass_count);

/* Sets the latents to noise from the seed and denoises them in request.steps steps of the request's
 * sampler, with progress, history and previews. request.steps becomes less if request.stop ends
 * the steps before. Overwrites sigmas and values. False, with *error
 * set: cancelled (ZI_ERROR_CANCELLED) or failed. */
bool zi_generation_denoise(zi_generation_job *job, zi_error *error) ZI_CHECKED;

#endif
