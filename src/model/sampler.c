#include "model/sampler.h"

float zi_model_time(float sigma)
{
    float timestep = sigma * 1000.0f;
    return (1000.0f - timestep) / 1000.0f;
}

void zi_euler_step(zi_exec *exec, zi_view latents, zi_view velocity, float sigma, float next)
{
    zi_add_scaled(exec, latents, -(next - sigma), velocity);
}

void zi_heun_correct(zi_exec *exec, zi_view latents, zi_view first, zi_view second, float sigma,
                     float next)
{
    float half = 0.5f * (next - sigma);
    zi_add_scaled(exec, latents, half, first);
    zi_add_scaled(exec, latents, -half, second);
}

void zi_lcm_step(zi_exec *exec, zi_view latents, zi_view velocity, zi_view noise, float sigma,
                 float next)
{
    zi_euler_step(exec, latents, velocity, sigma, 0);
    if (next > 0) zi_extrapolate(exec, latents, -next, noise);
}
