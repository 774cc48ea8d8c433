/* AVX2 with FMA and F16C: x86-64 machines since 2013. */
#include "kernels/x86.h"

enum { MR = 6, NR = 16 };

/* ROWS is a constant at each use: 2 ROWS sums, two columns and a row's value fill 16 registers. */
#define TILE(ROWS)                                                                                 \
    do {                                                                                           \
        __m256 low[ROWS], high[ROWS];                                                              \
        for (int i = 0; i < ROWS; i++) low[i] = high[i] = _mm256_setzero_ps();                     \
        for (size_t p = 0; p < k; p++) {                                                           \
            __m256 b0 = _mm256_loadu_ps(panel + p * NR);                                           \
            __m256 b1 = _mm256_loadu_ps(panel + p * NR + 8);                                       \
            for (int i = 0; i < ROWS; i++) {                                                       \
                __m256 value = _mm256_broadcast_ss(a + (size_t)i * lda + p);                       \
                low[i] = _mm256_fmadd_ps(value, b0, low[i]);                                       \
                high[i] = _mm256_fmadd_ps(value, b1, high[i]);                                     \
            }                                                                                      \
        }                                                                                          \
        for (int i = 0; i < ROWS; i++) {                                                           \
            float *row = c + (size_t)i * ldc;                                                      \
            if (accumulate) {                                                                      \
                low[i] = _mm256_add_ps(low[i], _mm256_loadu_ps(row));                              \
                high[i] = _mm256_add_ps(high[i], _mm256_loadu_ps(row + 8));                        \
            }                                                                                      \
            _mm256_storeu_ps(row, low[i]);                                                         \
            _mm256_storeu_ps(row + 8, high[i]);                                                    \
        }                                                                                          \
    } while (0)

static void tile(size_t rows, size_t k, const float *a, size_t lda, const float *panel, float *c,
                 size_t ldc, bool accumulate)
{
    switch (rows) {
    case 6:
        TILE(6);
        break;
    case 5:
        TILE(5);
        break;
    case 4:
        TILE(4);
        break;
    case 3:
        TILE(3);
        break;
    case 2:
        TILE(2);
        break;
    default:
        TILE(1);
    }
}

void zi_kernels_avx2(zi_kernels *kernels)
{
    kernels->tier = "avx2";
    kernels->mr = MR;
    kernels->nr = NR;
    kernels->pack_rows = pack_rows_x86;
    kernels->tile = tile;
}
