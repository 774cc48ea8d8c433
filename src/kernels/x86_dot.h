/* The dot_rows slot of the x86 tiers: rows of stored weights come from memory once and are used at
 * once, so that what counts is to ask for them early. Numbers are rounded as zi_widen rounds them,
 * and all types are summed alike: numbers that mean the same give the same bits. */
#ifndef ZI_KERNELS_X86_DOT_H
#define ZI_KERNELS_X86_DOT_H

#include "kernels/x86.h"

enum { DOT_AHEAD = 1024 }; /* bytes of weights that are asked for before they are needed */

typedef float (*dot_fn)(const char *w, const float *x, size_t k);

/* Bytes of 32 numbers: of blocks these are one. A constant where the type is one. */
static inline __attribute__((always_inline)) size_t bytes_of_32(zi_dtype type)
{
    return type == ZI_F32    ? 128
           : type == ZI_Q8_0 ? 34
           : type == ZI_Q4_0 ? 18
           : type == ZI_Q4_1 ? 20
                             : 64;
}

static inline float half_at(const char *source)
{
    uint16_t bits;
    memcpy(&bits, source, sizeof bits);
    return _cvtsh_ss(bits);
}

/* A block's 32 bytes, signed, in two halves. */
static inline __attribute__((always_inline)) void block_bytes(zi_dtype type, const char *w,
                                                              __m128i q[2])
{
    if (type == ZI_Q8_0) {
        q[0] = _mm_loadu_si128((const __m128i *)(const void *)(w + 2));
        q[1] = _mm_loadu_si128((const __m128i *)(const void *)(w + 18));
        return;
    }
    const __m128i mask = _mm_set1_epi8(15), zero = _mm_set1_epi8(type == ZI_Q4_0 ? 8 : 0);
    __m128i nibbles =
        _mm_loadu_si128((const __m128i *)(const void *)(w + (type == ZI_Q4_1 ? 4 : 2)));
    q[0] = _mm_sub_epi8(_mm_and_si128(nibbles, mask), zero);
    q[1] = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(nibbles, 4), mask), zero);
}

/* 32 numbers as f32. */
static inline __attribute__((always_inline)) void load32_256(zi_dtype type, const char *w,
                                                             __m256 out[4])
{
    if (zi_dtype_computes(type)) {
        UNROLL
        for (size_t j = 0; j < 4; j++) out[j] = load8(type, w + j * bytes_of_32(type) / 4);
        return;
    }
    __m128i q[2];
    if (type != ZI_Q8_0) block_bytes(type, w, q);
    __m256 scale = _mm256_set1_ps(half_at(w));
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m128i bytes; /* eight of them: loading them again is cheaper than moving them */
        if (type == ZI_Q8_0)
            bytes = _mm_loadl_epi64((const __m128i *)(const void *)(w + 2 + 8 * j));
        else
            bytes = j % 2 ? _mm_unpackhi_epi64(q[j / 2], q[j / 2]) : q[j / 2];
        out[j] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale);
        if (type == ZI_Q4_1) out[j] = _mm256_add_ps(out[j], _mm256_set1_ps(half_at(w + 2)));
    }
}

static inline __attribute__((always_inline)) float dot_256(zi_dtype type, const char *w,
                                                           const float *x, size_t k)
{
    size_t i = 0;
    __m256 sums[4], values[4];
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm256_setzero_ps();
    for (; i + 32 <= k; i += 32, w += bytes_of_32(type)) {
        _mm_prefetch(w + DOT_AHEAD, _MM_HINT_T0);
        if (type == ZI_F32) _mm_prefetch(w + DOT_AHEAD + 64, _MM_HINT_T0);
        load32_256(type, w, values);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            sums[j] = _mm256_fmadd_ps(values[j], _mm256_loadu_ps(x + i + 8 * j), sums[j]);
    }
    float rest = 0;
    if (i < k) { /* of no block type */
        size_t width = bytes_of_32(type) / 32;
        for (; i + 8 <= k; i += 8, w += 8 * width)
            sums[0] = _mm256_fmadd_ps(load8(type, w), _mm256_loadu_ps(x + i), sums[0]);
        for (; i < k; i++, w += width) {
            float value;
            zi_widen(type, w, &value, 1);
            rest += value * x[i];
        }
    }
    return rest +
           total(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
}

#ifdef __AVX512F__

static inline __m512 load16(zi_dtype type, const char *source)
{
    if (type == ZI_F32) return _mm512_loadu_ps(source);
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)source);
    if (type == ZI_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static inline __attribute__((always_inline)) void load32_512(zi_dtype type, const char *w,
                                                             __m512 out[2])
{
    if (zi_dtype_computes(type)) {
        out[0] = load16(type, w);
        out[1] = load16(type, w + bytes_of_32(type) / 2);
        return;
    }
    __m128i q[2];
    block_bytes(type, w, q);
    __m512 scale = _mm512_set1_ps(half_at(w));
    UNROLL
    for (int j = 0; j < 2; j++) {
        out[j] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q[j])), scale);
        if (type == ZI_Q4_1) out[j] = _mm512_add_ps(out[j], _mm512_set1_ps(half_at(w + 2)));
    }
}

static inline __attribute__((always_inline)) float dot_512(zi_dtype type, const char *w,
                                                           const float *x, size_t k)
{
    size_t i = 0;
    __m512 sums[4], values[4];
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm512_setzero_ps();
    for (; i + 64 <= k; i += 64, w += 2 * bytes_of_32(type)) {
        for (size_t line = 0; line < 2 * bytes_of_32(type); line += 64)
            _mm_prefetch(w + DOT_AHEAD + line, _MM_HINT_T0);
        load32_512(type, w, values);
        load32_512(type, w + bytes_of_32(type), values + 2);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            sums[j] = _mm512_fmadd_ps(values[j], _mm512_loadu_ps(x + i + 16 * j), sums[j]);
    }
    if (i + 32 <= k) {
        load32_512(type, w, values);
        for (size_t j = 0; j < 2; j++)
            sums[j] = _mm512_fmadd_ps(values[j], _mm512_loadu_ps(x + i + 16 * j), sums[j]);
        i += 32;
        w += bytes_of_32(type);
    }
    float rest = i < k ? dot_256(type, w, x + i, k - i) : 0; /* of no block type */
    __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    return rest + _mm512_reduce_add_ps(sum);
}

#define DOT(type, w, x, k) dot_512(type, w, x, k)
#else
#define DOT(type, w, x, k) dot_256(type, w, x, k)
#endif

static float dot_f32(const char *w, const float *x, size_t k)
{
    return DOT(ZI_F32, w, x, k);
}

static float dot_f16(const char *w, const float *x, size_t k)
{
    return DOT(ZI_F16, w, x, k);
}

static float dot_bf16(const char *w, const float *x, size_t k)
{
    return DOT(ZI_BF16, w, x, k);
}

static float dot_q8_0(const char *w, const float *x, size_t k)
{
    return DOT(ZI_Q8_0, w, x, k);
}

static float dot_q4_0(const char *w, const float *x, size_t k)
{
    return DOT(ZI_Q4_0, w, x, k);
}

static float dot_q4_1(const char *w, const float *x, size_t k)
{
    return DOT(ZI_Q4_1, w, x, k);
}

#undef DOT

/* The dot_rows slot, in registers as wide as the file is compiled for. */
static inline void dot_rows_x86(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x,
                                size_t k, float *y)
{
    static const dot_fn by_type[ZI_DTYPE_COUNT] = {
        [ZI_F32] = dot_f32,   [ZI_F16] = dot_f16,   [ZI_BF16] = dot_bf16,
        [ZI_Q8_0] = dot_q8_0, [ZI_Q4_0] = dot_q4_0, [ZI_Q4_1] = dot_q4_1};
    for (size_t j = 0; j < n; j++) y[j] = by_type[type]((const char *)w + j * ldw, x, k);
}

#endif
