/* AVX-512 F, BW, DQ, VL: server machines since 2017, desktop ones since Zen 4. */
#include "kernels/x86.h"

enum { MR = 12, NR = 32 };

/* ROWS is a constant at each use: 2 ROWS sums, two columns and a row's value of 32 registers. */
#define TILE(ROWS)                                                                                 \
    do {                                                                                           \
        __m512 low[ROWS], high[ROWS];                                                              \
        for (int i = 0; i < ROWS; i++) low[i] = high[i] = _mm512_setzero_ps();                     \
        for (size_t p = 0; p < k; p++) {                                                           \
            __m512 b0 = _mm512_loadu_ps(panel + p * NR);                                           \
            __m512 b1 = _mm512_loadu_ps(panel + p * NR + 16);                                      \
            for (int i = 0; i < ROWS; i++) {                                                       \
                __m512 value = _mm512_set1_ps(a[(size_t)i * lda + p]);                             \
                low[i] = _mm512_fmadd_ps(value, b0, low[i]);                                       \
                high[i] = _mm512_fmadd_ps(value, b1, high[i]);                                     \
            }                                                                                      \
        }                                                                                          \
        for (int i = 0; i < ROWS; i++) {                                                           \
            float *row = c + (size_t)i * ldc;                                                      \
            if (accumulate) {                                                                      \
                low[i] = _mm512_add_ps(low[i], _mm512_loadu_ps(row));                              \
                high[i] = _mm512_add_ps(high[i], _mm512_loadu_ps(row + 16));                       \
            }                                                                                      \
            _mm512_storeu_ps(row, low[i]);                                                         \
            _mm512_storeu_ps(row + 16, high[i]);                                                   \
        }                                                                                          \
    } while (0)

static void tile(size_t rows, size_t k, const float *a, size_t lda, const float *panel, float *c,
                 size_t ldc, bool accumulate)
{
    if (rows == MR) {
        TILE(MR);
        return;
    }
    for (; rows >= 4; rows -= 4, a += 4 * lda, c += 4 * ldc) TILE(4);
    for (; rows; rows--, a += lda, c += ldc) TILE(1);
}

void zi_kernels_avx512(zi_kernels *kernels)
{
    kernels->tier = "avx512";
    kernels->mr = MR;
    kernels->nr = NR;
    kernels->pack_rows = pack_rows_x86;
    kernels->tile = tile;
}
