/* Sigma schedules. */
#include "base/beta.h"
#include "model/sampler.h"

#include <math.h>

/* shift * sigma / (1 + (shift - 1) * sigma), in f32; 0 and 1 stay as they are. */
static float shift_sigma(float sigma, double shift)
{
    return (float)shift * sigma / (1.0f + ((float)shift - 1.0f) * sigma);
}

/* Stretches 1 - sigma such that the last of `steps` sigmas becomes `terminal`, in f32. A single
 * step, of sigma 1, stays as it is. */
static void stretch_to_terminal(float *sigmas, int steps, double terminal)
{
    float factor = (1.0f - sigmas[steps - 1]) / (float)(1.0 - terminal);
    for (int i = 0; i < steps && factor > 0; i++) sigmas[i] = 1.0f - (1.0f - sigmas[i]) / factor;
}

/* The sigma at `part` (0: max, 1: min) of the way of a family. */
static double sigma_of_family(zi_schedule schedule, double part, double max, double min)
{
    const double rho = 7;
    if (schedule == ZI_SCHEDULE_KARRAS) {
        double from = pow(max, 1 / rho), to = pow(min, 1 / rho);
        return pow(from + part * (to - from), rho);
    }
    if (schedule == ZI_SCHEDULE_EXPONENTIAL) return exp(log(max) + part * (log(min) - log(max)));
    return min + zi_beta_quantile(1 - part, 0.6, 0.6) * (max - min);
}

/* Replaces the sigmas, above 0, by those of a family between the first and the last of them. */
static void convert_to_family(zi_schedule schedule, float *sigmas, int steps)
{
    double max = sigmas[0], min = sigmas[steps - 1];
    for (int i = 0; i < steps; i++)
        sigmas[i] =
            (float)sigma_of_family(schedule, steps > 1 ? (double)i / (steps - 1) : 0, max, min);
}

void zi_sampler_sigmas(zi_schedule schedule, int steps, double shift, double terminal,
                       float *sigmas)
{
    bool mlx = schedule == ZI_SCHEDULE_MLX;
    double last = mlx ? shift_sigma(0.001f, shift) : 1.0 / steps;
    for (int i = 0; i < steps; i++) {
        double sigma = steps > 1 ? 1.0 + (last - 1.0) * i / (steps - 1) : 1.0;
        sigmas[i] = shift_sigma((float)sigma, shift);
    }
    if (!mlx && terminal > 0) stretch_to_terminal(sigmas, steps, terminal);
    if (schedule > ZI_SCHEDULE_DIFFUSERS) convert_to_family(schedule, sigmas, steps);
    sigmas[steps] = 0;
}
