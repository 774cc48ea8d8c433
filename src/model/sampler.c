#include "model/sampler.h"

static float shifted(float sigma, double shift)
{
    return (float)shift * sigma / (1.0f + ((float)shift - 1.0f) * sigma);
}

void zi_sigmas(zi_schedule schedule, int steps, double shift, float *sigmas)
{
    double last = schedule == ZI_SCHEDULE_DIFFUSERS ? 1.0 / steps : shifted(0.001f, shift);
    for (int i = 0; i < steps; i++) {
        double sigma = steps > 1 ? 1.0 + (last - 1.0) * i / (steps - 1) : 1.0;
        sigmas[i] = shifted((float)sigma, shift);
    }
    sigmas[steps] = 0;
}

float zi_model_time(float sigma)
{
    float timestep = sigma * 1000.0f;
    return (1000.0f - timestep) / 1000.0f;
}

void zi_euler_step(float *latents, const float *velocity, size_t n, float sigma, float next)
{
    float dt = next - sigma;
    for (size_t i = 0; i < n; i++) latents[i] += dt * -velocity[i];
}

void zi_guide(float *positive, const float *negative, size_t n, float guidance)
{
    for (size_t i = 0; i < n; i++) positive[i] += guidance * (positive[i] - negative[i]);
}
