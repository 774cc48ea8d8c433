/* What the integer tiles of the tiers with 256-bit registers share. */
#ifndef ZI_KERNELS_X86_256_H
#define ZI_KERNELS_X86_256_H

#include "kernels/x86.h"

enum { QNR = 16 }; /* columns of a tile */

/* Four bytes of a row, one step, repeated in all eight places. */
static inline __m256i load_step(const char *a)
{
    return _mm256_castps_si256(_mm256_broadcast_ss((const float *)(const void *)a));
}

/* 32 bytes, one step of four of each of eight columns; no alignment needed. */
static inline __m256i load_columns(const char *b)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)b);
}

/* Returns c + sum * scale + sum_a * bias in each of eight columns, two fused multiply-adds. scale:
 * scale_a * scale_b; sum_a: the row's scaled sum of q; bias: of the columns. */
static inline __m256 add_sum(__m256 c, __m256i sum, __m256 scale, __m256 sum_a, __m256 bias)
{
    c = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, c);
    return _mm256_fmadd_ps(sum_a, bias, c);
}

/* Begins a tile c [rows, QNR]: prefetches it, and sets it to zeros unless `accumulate`. */
static inline __attribute__((always_inline)) void begin_tile(float *c, size_t ldc, size_t rows,
                                                             bool accumulate)
{
    prefetch_tile(c, ldc, rows, QNR);
    for (size_t i = 0; i < rows && !accumulate; i++) {
        _mm256_storeu_ps(c + i * ldc, _mm256_setzero_ps());
        _mm256_storeu_ps(c + i * ldc + 8, _mm256_setzero_ps());
    }
}

/* Adds a group's integer sums [rows], scaled, to c [rows, QNR]: low of columns 0 to 7, high of 8 to
 * 15. a and b are the ends of the group's values in the two panels, where scales and sums, and
 * scales and biases, follow (quantized.h). */
static inline __attribute__((always_inline)) void add_sums(const __m256i *low, const __m256i *high,
                                                           size_t rows, const char *a,
                                                           const char *b, float *c, size_t ldc)
{
    const float *scales = (const float *)(const void *)a, *sums = scales + rows;
    const float *columns = (const float *)(const void *)b;
    __m256 scale0 = _mm256_loadu_ps(columns), scale1 = _mm256_loadu_ps(columns + 8);
    __m256 bias0 = _mm256_loadu_ps(columns + QNR), bias1 = _mm256_loadu_ps(columns + QNR + 8);
    UNROLL
    for (size_t i = 0; i < rows; i++) {
        float *row = c + i * ldc;
        __m256 scale = _mm256_broadcast_ss(scales + i), sum = _mm256_broadcast_ss(sums + i);
        __m256 c0 = _mm256_loadu_ps(row), c1 = _mm256_loadu_ps(row + 8);
        c0 = add_sum(c0, low[i], _mm256_mul_ps(scale, scale0), sum, bias0);
        c1 = add_sum(c1, high[i], _mm256_mul_ps(scale, scale1), sum, bias1);
        _mm256_storeu_ps(row, c0);
        _mm256_storeu_ps(row + 8, c1);
    }
}

#endif
