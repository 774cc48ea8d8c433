/* Flow matching: sigma schedules, and the steps of diffusers' FlowMatchEulerDiscreteScheduler,
 * FlowMatchHeunDiscreteScheduler and FlowMatchLCMScheduler. */
#ifndef ZI_MODEL_SAMPLER_H
#define ZI_MODEL_SAMPLER_H

#include "backend/backend.h"

/* Sets sigmas [steps + 1], from 1 down to the last, 0; steps is 1 or more. ZI_SCHEDULE_DIFFUSERS:
 * linspace(1, 1/steps, steps), shifted once, then stretched to end at `terminal` (below 1; 0: not).
 * The other families of diffusers start and end as that one. ZI_SCHEDULE_MLX: set_timesteps(steps)
 * of the MLX port, which shifts the smallest sigma, 0.001, twice and knows no terminal. */
void zi_sampler_sigmas(zi_schedule schedule, int steps, double shift, double terminal,
                       float *sigmas);

/* The timestep that the transformer receives for a sigma, 0 for noise and 1 for the image: (1000 -
 * 1000 sigma) / 1000, computed in f32 as diffusers does. */
float zi_model_time(float sigma);

/* One Euler step from sigma to next: latents += (next - sigma) * -velocity, in place. velocity:
 * towards the image, as zi_transformer_step gives it. */
void zi_euler_step(zi_exec *exec, zi_view latents, zi_view velocity, float sigma, float next);

/* The second half of a Heun step from sigma to next: turns latents after an Euler step with the
 * velocity `first` into those after a step with the mean of `first` and `second`, the velocity at
 * those latents and next. Velocities are towards the image, as in zi_euler_step: latents +=
 * (next - sigma) / 2 * (first - second). */
void zi_heun_correct(zi_exec *exec, zi_view latents, zi_view first, zi_view second, float sigma,
                     float next);

/* One LCM step from sigma to next: latents = (1 - next) x0 + next * noise, where x0 is the image
 * that latents and velocity point to. noise is not read if next is 0. */
void zi_lcm_step(zi_exec *exec, zi_view latents, zi_view velocity, zi_view noise, float sigma,
                 float next);

#endif
