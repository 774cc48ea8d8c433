/* The integer tile of the tiers with 512-bit registers: the same but for the instruction that
 * multiplies and adds. */
#ifndef ZI_KERNELS_X86_512_H
#define ZI_KERNELS_X86_512_H

#include "kernels/x86.h"

/* AHEAD: steps of a and b that are asked for before they are needed. */
enum { QMR = 12, QNR = 32, AHEAD = 32 };

/* sum + products of the steps in b and a, in each of sixteen columns. */
typedef __m512i (*multiply_add)(__m512i sum, __m512i b, __m512i a);

/* c = c + (sum scale_a) scale_b + sum_a bias_b, sixteen columns. */
static inline __m512 add_group(__m512 c, __m512i sum, __m512 scale, __m512 sum_a, __m512 bias)
{
    c = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, c);
    return _mm512_fmadd_ps(sum_a, bias, c);
}

/* The qtile slot for steps of four bytes; `steps` of them in a group. */
static inline __attribute__((always_inline)) void qtile_512(size_t groups, size_t steps,
                                                            const char *a, const char *b, float *c,
                                                            size_t ldc, bool accumulate,
                                                            multiply_add step)
{
    prefetch_tile(c, ldc, QMR, QNR);
    for (size_t g = 0; g < groups; g++) {
        __m512i low[QMR], high[QMR];
        UNROLL
        for (int i = 0; i < QMR; i++) low[i] = high[i] = _mm512_setzero_si512();
        for (size_t s = 0; s < steps; s++, a += QMR * 4, b += QNR * 4) {
            _mm_prefetch(a + AHEAD * QMR * 4, _MM_HINT_T0);
            _mm_prefetch(b + AHEAD * QNR * 4, _MM_HINT_T0);
            _mm_prefetch(b + AHEAD * QNR * 4 + 64, _MM_HINT_T0);
            __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
            UNROLL
            for (int i = 0; i < QMR; i++) {
                int32_t bits;
                memcpy(&bits, a + i * 4, sizeof bits);
                __m512i value = _mm512_set1_epi32(bits);
                low[i] = step(low[i], b0, value);
                high[i] = step(high[i], b1, value);
                /* Adds at once: otherwise products wait in registers, and sums leave them. */
                __asm__("" : "+v"(low[i]), "+v"(high[i]));
            }
        }
        const float *scales = (const float *)(const void *)a, *sums = scales + QMR;
        const float *columns = (const float *)(const void *)b;
        __m512 scale0 = _mm512_loadu_ps(columns), scale1 = _mm512_loadu_ps(columns + 16);
        __m512 bias0 = _mm512_loadu_ps(columns + QNR), bias1 = _mm512_loadu_ps(columns + QNR + 16);
        UNROLL
        for (size_t i = 0; i < QMR; i++) {
            float *row = c + i * ldc;
            bool fresh = !accumulate && g == 0;
            __m512 c0 = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(row);
            __m512 c1 = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(row + 16);
            __m512 scale = _mm512_set1_ps(scales[i]), sum = _mm512_set1_ps(sums[i]);
            c0 = add_group(c0, low[i], _mm512_mul_ps(scale, scale0), sum, bias0);
            c1 = add_group(c1, high[i], _mm512_mul_ps(scale, scale1), sum, bias1);
            _mm512_storeu_ps(row, c0);
            _mm512_storeu_ps(row + 16, c1);
        }
        a += QMR * 3 * sizeof(float);
        b += QNR * 2 * sizeof(float);
    }
}

/* Multiply-adds of a tile's step, `products` to a column, without its loads. The empty asm keeps
 * the compiler from working a product out only once. */
static inline __attribute__((always_inline)) size_t peak_integer_512(size_t rounds, size_t products,
                                                                     multiply_add step)
{
    enum { SUMS = 24 };
    __m512i sums[SUMS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
    UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = x;
    for (size_t r = 0; r < rounds; r++) UNROLL
    for (int i = 0; i < SUMS; i++) {
        __asm__ volatile("" : "+v"(x));
        sums[i] = step(sums[i], x, y);
    }
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "v"(sums[i]));
    return rounds * SUMS * 16 * products;
}

#endif
