/* What the x86 tiers share: eight numbers at a time, for files compiled with AVX2, FMA and F16C. */
#ifndef ZI_KERNELS_X86_H
#define ZI_KERNELS_X86_H

#include "kernels/kernels.h"

#include <immintrin.h>

/* Eight stored numbers as f32; no alignment needed. */
static inline __m256 load8(zi_dtype type, const char *source)
{
    if (type == ZI_F32) return _mm256_loadu_ps((const float *)(const void *)source);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)source);
    if (type == ZI_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* Rows to columns: r[i][j] becomes r[j][i]. */
static inline void transpose8(__m256 r[8])
{
    __m256 t[8], s[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        s[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        s[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        s[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        s[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(s[i], s[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(s[i], s[i + 4], 0x31);
    }
}

/* The pack_rows slot for an nr that is a multiple of eight. */
static inline void pack_rows_x86(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k,
                                 size_t nr, float *out)
{
    size_t width = zi_dtype_size(type);
    const char *rows = w;
    for (size_t j = 0; j < nr; j += 8) {
        size_t p = 0;
        for (; p + 8 <= k; p += 8) {
            __m256 block[8];
            for (size_t i = 0; i < 8; i++)
                block[i] = j + i < n ? load8(type, rows + ((j + i) * ldw + p) * width)
                                     : _mm256_setzero_ps();
            transpose8(block);
            for (size_t i = 0; i < 8; i++) _mm256_storeu_ps(out + (p + i) * nr + j, block[i]);
        }
        for (; p < k; p++)
            for (size_t i = j; i < j + 8; i++) {
                out[p * nr + i] = 0;
                if (i < n) zi_widen(type, rows + (i * ldw + p) * width, &out[p * nr + i], 1);
            }
    }
}

#endif
