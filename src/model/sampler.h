/* Flow matching with Euler steps (diffusers' FlowMatchEulerDiscreteScheduler). */
#ifndef ZI_MODEL_SAMPLER_H
#define ZI_MODEL_SAMPLER_H

#include "backend/backend.h"

/* Sets sigmas [steps + 1], from 1 down to the last, 0; steps is 1 or more. ZI_SCHEDULE_DIFFUSERS:
 * linspace(1, 1/steps, steps), shifted once. ZI_SCHEDULE_MLX: set_timesteps(steps) of the MLX port,
 * which shifts the smallest sigma, 0.001, twice. */
void zi_sampler_sigmas(zi_schedule schedule, int steps, double shift, float *sigmas);

/* The timestep that the transformer receives for a sigma, 0 for noise and 1 for the image: (1000 -
 * 1000 sigma) / 1000, computed in f32 as diffusers does. */
float zi_model_time(float sigma);

/* One Euler step from sigma to next: latents += (next - sigma) * -velocity, in place. velocity:
 * towards the image, as zi_transformer_step gives it. */
void zi_euler_step(zi_exec *exec, zi_view latents, zi_view velocity, float sigma, float next);

#endif
