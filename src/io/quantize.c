#include "io/quantize.h"

#include <math.h>

enum { LANES = 8 };

/* Smallest and largest of n values (one or more), in LANES lanes so that compilers vectorize it. */
static void find_range(const float *w, size_t n, float *low, float *high)
{
    float lows[LANES], highs[LANES];
    for (size_t j = 0; j < LANES; j++) lows[j] = highs[j] = w[0];
    for (size_t i = 0; i < n; i += LANES)
        for (size_t j = 0; j < LANES && i + j < n; j++) {
            lows[j] = w[i + j] < lows[j] ? w[i + j] : lows[j];
            highs[j] = w[i + j] > highs[j] ? w[i + j] : highs[j];
        }
    *low = lows[0];
    *high = highs[0];
    for (size_t j = 1; j < LANES; j++) {
        *low = lows[j] < *low ? lows[j] : *low;
        *high = highs[j] > *high ? highs[j] : *high;
    }
}

/* Clamps to 0..max and rounds half to even, by adding 2^23, whose last mantissa bit has value 1.
 * NaN becomes 0. */
static inline uint8_t quantize_value(float value, float max)
{
    value = value > 0 ? value : 0;
    value = value < max ? value : max;
    return (uint8_t)(int)((value + 0x1p23f) - 0x1p23f);
}

/* Computes in f32 whatever the type; only the final scale and bias are rounded to it. */
void zi_quantize_group(const float *w, size_t n, int bits, zi_dtype type, uint8_t *q, void *scale,
                       void *bias)
{
    float low, high, max = (float)((1 << bits) - 1);
    find_range(w, n, &low, &high);
    float step = fmaxf((high - low) / max, 1e-7f), edge = low, base = 0;
    if (!(fabsf(low) > fabsf(high))) {
        step = -step;
        edge = high;
    }
    float whole = rintf(edge / step); /* the edge of larger magnitude is kept exactly */
    if (whole != 0) {
        step = edge / whole;
        base = edge;
    }
    if (bits == 8)
        for (size_t i = 0; i < n; i++) q[i] = quantize_value((w[i] - base) / step, max);
    else
        for (size_t i = 0; i < n; i += 2)
            q[i / 2] = (uint8_t)(quantize_value((w[i] - base) / step, max) |
                                 quantize_value((w[i + 1] - base) / step, max) << 4);
    zi_narrow(type, &step, scale, 1);
    zi_narrow(type, &base, bias, 1);
}
