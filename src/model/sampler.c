#include "model/sampler.h"

/* shift * sigma / (1 + (shift - 1) * sigma), in f32; 0 and 1 stay as they are. */
static float shift_sigma(float sigma, double shift)
{
    return (float)shift * sigma / (1.0f + ((float)shift - 1.0f) * sigma);
}

void zi_sampler_sigmas(zi_schedule schedule, int steps, double shift, float *sigmas)
{
    double last = schedule == ZI_SCHEDULE_DIFFUSERS ? 1.0 / steps : shift_sigma(0.001f, shift);
    for (int i = 0; i < steps; i++) {
        double sigma = steps > 1 ? 1.0 + (last - 1.0) * i / (steps - 1) : 1.0;
        sigmas[i] = shift_sigma((float)sigma, shift);
    }
    sigmas[steps] = 0;
}

float zi_model_time(float sigma)
{
    float timestep = sigma * 1000.0f;
    return (1000.0f - timestep) / 1000.0f;
}

void zi_euler_step(zi_exec *exec, zi_view latents, zi_view velocity, float sigma, float next)
{
    zi_add_scaled(exec, latents, -(next - sigma), velocity);
}
