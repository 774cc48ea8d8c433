/* The integer tile of the tiers with 256-bit registers: the same but for the instruction that
 * multiplies and adds. */
#ifndef ZI_KERNELS_X86_256_H
#define ZI_KERNELS_X86_256_H

#include "kernels/x86.h"

/* AHEAD: steps of a and b that are asked for before they are needed. */
enum { QMR = 6, QNR = 16, AHEAD = 64 };

/* sum + products of the steps in b and a, in each of eight columns. */
typedef __m256i (*multiply_add)(__m256i sum, __m256i b, __m256i a);

/* c = c + (sum scale_a) scale_b + sum_a bias_b, eight columns. */
static inline __m256 add_group(__m256 c, __m256i sum, __m256 scale, __m256 sum_a, __m256 bias)
{
    c = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, c);
    return _mm256_fmadd_ps(sum_a, bias, c);
}

/* The qtile slot for steps of four bytes; `steps` of them in a group. */
static inline __attribute__((always_inline)) void qtile_256(size_t groups, size_t steps,
                                                            const char *a, const char *b, float *c,
                                                            size_t ldc, bool accumulate,
                                                            multiply_add step)
{
    prefetch_tile(c, ldc, QMR, QNR);
    for (size_t g = 0; g < groups; g++) {
        __m256i low[QMR], high[QMR];
        UNROLL
        for (int i = 0; i < QMR; i++) low[i] = high[i] = _mm256_setzero_si256();
        for (size_t s = 0; s < steps; s++, a += QMR * 4, b += QNR * 4) {
            _mm_prefetch(a + AHEAD * QMR * 4, _MM_HINT_T0);
            _mm_prefetch(b + AHEAD * QNR * 4, _MM_HINT_T0);
            __m256i b0 = _mm256_loadu_si256((const __m256i *)(const void *)b);
            __m256i b1 = _mm256_loadu_si256((const __m256i *)(const void *)(b + 32));
            UNROLL
            for (int i = 0; i < QMR; i++) {
                __m256i value = _mm256_castps_si256(
                    _mm256_broadcast_ss((const float *)(const void *)(a + i * 4)));
                low[i] = step(low[i], b0, value);
                high[i] = step(high[i], b1, value);
                /* Adds at once: otherwise products wait in registers, and sums leave them. */
                __asm__("" : "+x"(low[i]), "+x"(high[i]));
            }
        }
        const float *scales = (const float *)(const void *)a, *sums = scales + QMR;
        const float *columns = (const float *)(const void *)b;
        __m256 scale0 = _mm256_loadu_ps(columns), scale1 = _mm256_loadu_ps(columns + 8);
        __m256 bias0 = _mm256_loadu_ps(columns + QNR), bias1 = _mm256_loadu_ps(columns + QNR + 8);
        UNROLL
        for (size_t i = 0; i < QMR; i++) {
            float *row = c + i * ldc;
            bool fresh = !accumulate && g == 0;
            __m256 c0 = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(row);
            __m256 c1 = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(row + 8);
            __m256 scale = _mm256_broadcast_ss(scales + i), sum = _mm256_broadcast_ss(sums + i);
            c0 = add_group(c0, low[i], _mm256_mul_ps(scale, scale0), sum, bias0);
            c1 = add_group(c1, high[i], _mm256_mul_ps(scale, scale1), sum, bias1);
            _mm256_storeu_ps(row, c0);
            _mm256_storeu_ps(row + 8, c1);
        }
        a += QMR * 3 * sizeof(float);
        b += QNR * 2 * sizeof(float);
    }
}

/* Multiply-adds of a tile's step, `products` to a column, without its loads. The empty asm keeps
 * the compiler from working a product out only once. */
static inline __attribute__((always_inline)) size_t peak_integer_256(size_t rounds, size_t products,
                                                                     multiply_add step)
{
    enum { SUMS = 12 };
    __m256i sums[SUMS], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
    UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = x;
    for (size_t r = 0; r < rounds; r++) UNROLL
    for (int i = 0; i < SUMS; i++) {
        __asm__ volatile("" : "+x"(x));
        sums[i] = step(sums[i], x, y);
    }
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "x"(sums[i]));
    return rounds * SUMS * 8 * products;
}

#endif
