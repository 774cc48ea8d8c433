/* What the integer tiles of the tiers with 512-bit registers share. */
#ifndef ZI_KERNELS_X86_512_H
#define ZI_KERNELS_X86_512_H

#include "kernels/x86.h"

enum { QNR = 32 }; /* columns of a tile */

/* Four bytes of a row, one step, repeated in all sixteen places. */
static inline __m512i load_step(const char *a)
{
    int32_t bits;
    memcpy(&bits, a, sizeof bits);
    return _mm512_set1_epi32(bits);
}

/* Returns c + sum * scale + sum_a * bias in each of sixteen columns, two fused multiply-adds.
 * scale: scale_a * scale_b; sum_a: the row's scaled sum of q; bias: of the columns. */
static inline __m512 add_sum(__m512 c, __m512i sum, __m512 scale, __m512 sum_a, __m512 bias)
{
    c = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, c);
    return _mm512_fmadd_ps(sum_a, bias, c);
}

/* Begins a tile c [rows, QNR]: prefetches it, and sets it to zeros unless `accumulate`. */
static inline __attribute__((always_inline)) void begin_tile(float *c, size_t ldc, size_t rows,
                                                             bool accumulate)
{
    prefetch_tile(c, ldc, rows, QNR);
    for (size_t i = 0; i < rows && !accumulate; i++) {
        _mm512_storeu_ps(c + i * ldc, _mm512_setzero_ps());
        _mm512_storeu_ps(c + i * ldc + 16, _mm512_setzero_ps());
    }
}

/* Adds a group's integer sums [rows], scaled, to c [rows, QNR]: low of columns 0 to 15, high of 16
 * to 31. a and b are the ends of the group's values in the two panels, where scales and sums, and
 * scales and biases, follow (quantized.h). */
static inline __attribute__((always_inline)) void add_sums(const __m512i *low, const __m512i *high,
                                                           size_t rows, const char *a,
                                                           const char *b, float *c, size_t ldc)
{
    const float *scales = (const float *)(const void *)a, *sums = scales + rows;
    const float *columns = (const float *)(const void *)b;
    __m512 scale0 = _mm512_loadu_ps(columns), scale1 = _mm512_loadu_ps(columns + 16);
    __m512 bias0 = _mm512_loadu_ps(columns + QNR), bias1 = _mm512_loadu_ps(columns + QNR + 16);
    UNROLL
    for (size_t i = 0; i < rows; i++) {
        float *row = c + i * ldc;
        __m512 scale = _mm512_set1_ps(scales[i]), sum = _mm512_set1_ps(sums[i]);
        __m512 c0 = _mm512_loadu_ps(row), c1 = _mm512_loadu_ps(row + 16);
        c0 = add_sum(c0, low[i], _mm512_mul_ps(scale, scale0), sum, bias0);
        c1 = add_sum(c1, high[i], _mm512_mul_ps(scale, scale1), sum, bias1);
        _mm512_storeu_ps(row, c0);
        _mm512_storeu_ps(row + 16, c1);
    }
}

#endif
