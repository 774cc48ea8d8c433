/* What the arm64 tiers share: integer tiles of 6 rows and 16 columns, which with four vectors of b
 * and the rows' values take 30 of 32 registers. */
#ifndef ZI_KERNELS_NEON_H
#define ZI_KERNELS_NEON_H

#include "kernels/quantized.h"
#include "kernels/unroll.h"

#include <arm_neon.h>

enum { QMR = 6, QNR = 16 };

/* Sets q [group] to round(x / scale), at most 127 in magnitude, and *sum to the sum of q; returns
 * the scale, the largest magnitude / 127. group is a multiple of 8. Below 2^-120 all q are 0. A NaN
 * or infinity in x makes the scale a NaN or infinite; q is unspecified then. */
static inline float quantize_numbers_neon(const float *x, size_t group, int16_t *q, int32_t *sum)
{
    uint32x4_t largest = vdupq_n_u32(0);
    for (size_t i = 0; i < group; i += 4) {
        uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(x + i));
        largest = vmaxq_u32(largest, vbicq_u32(bits, vdupq_n_u32(0x80000000)));
    }
    float parts[4];
    vst1q_f32(parts, vreinterpretq_f32_u32(largest));
    float max_value = largest_magnitude(parts, 4), inverse = inverse_scale(max_value, Q_MAX);
    int32x4_t sums = vdupq_n_s32(0);
    for (size_t i = 0; i < group; i += 8) {
        int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inverse));
        int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4), inverse));
        vst1q_s16(q + i, vcombine_s16(vmovn_s32(low), vmovn_s32(high)));
        sums = vaddq_s32(sums, vaddq_s32(low, high));
    }
    *sum = vaddvq_s32(sums);
    return max_value / Q_MAX;
}

/* What follows the values of a group. */
typedef struct {
    const float *scales_a, *sums_a; /* [QMR] */
    const int32_t *whole_a;
    const float *scales_b, *biases_b; /* [QNR] */
} trailers;

/* Finds scales, sums and biases, borrowed, behind the values of a group (quantized.h); a and b are
 * the first bytes after the values in each panel. */
static inline trailers trailers_at(const char *a, const char *b)
{
    trailers t = {.scales_a = (const float *)(const void *)a,
                  .scales_b = (const float *)(const void *)b};
    t.sums_a = t.scales_a + QMR;
    t.whole_a = (const int32_t *)(const void *)(t.sums_a + QMR);
    t.biases_b = t.scales_b + QNR;
    return t;
}

/* Adds a group's integer sums, scaled, to row i, columns j to j + 3, of c: += (sum scale_a) scale_b
 * + sum_a bias_b. fresh: overwrites c instead. */
static inline void add_group(float *c, size_t ldc, bool fresh, int32x4_t sum, const trailers *t,
                             size_t i, size_t j)
{
    float32x4_t value = fresh ? vdupq_n_f32(0) : vld1q_f32(c + i * ldc + j);
    float32x4_t scale = vmulq_n_f32(vld1q_f32(t->scales_b + j), t->scales_a[i]);
    value = vfmaq_f32(value, vcvtq_f32_s32(sum), scale);
    value = vfmaq_n_f32(value, vld1q_f32(t->biases_b + j), t->sums_a[i]);
    vst1q_f32(c + i * ldc + j, value);
}

#endif
