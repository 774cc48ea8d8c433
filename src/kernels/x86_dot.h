/* The dot_rows slot of the x86 tiers: rows of stored weights come from memory once and are used at
 * once, so that what counts is to ask for them early. */
#ifndef ZI_KERNELS_X86_DOT_H
#define ZI_KERNELS_X86_DOT_H

#include "kernels/x86.h"

/* Bytes of weights that are asked for before they are needed, and of a block of Q8_0: a half and 32
 * numbers. */
enum { DOT_AHEAD = 1024, DOT_BLOCK = 34 };

typedef float (*dot_fn)(const char *w, const float *x, size_t k);

static inline __attribute__((always_inline)) float dot_plain_256(zi_dtype type, const char *w,
                                                                 const float *x, size_t k)
{
    size_t width = zi_dtype_size(type), i = 0;
    __m256 sums[4];
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm256_setzero_ps();
    for (; i + 32 <= k; i += 32) {
        _mm_prefetch(w + i * width + DOT_AHEAD, _MM_HINT_T0);
        if (width == 4) _mm_prefetch(w + i * width + DOT_AHEAD + 64, _MM_HINT_T0);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            sums[j] = _mm256_fmadd_ps(load8(type, w + (i + 8 * j) * width),
                                      _mm256_loadu_ps(x + i + 8 * j), sums[j]);
    }
    for (; i + 8 <= k; i += 8)
        sums[0] = _mm256_fmadd_ps(load8(type, w + i * width), _mm256_loadu_ps(x + i), sums[0]);
    float rest = 0;
    for (; i < k; i++) {
        float value;
        zi_widen(type, w + i * width, &value, 1);
        rest += value * x[i];
    }
    return rest +
           total(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
}

static float dot_f32_256(const char *w, const float *x, size_t k)
{
    return dot_plain_256(ZI_F32, w, x, k);
}

static float dot_f16_256(const char *w, const float *x, size_t k)
{
    return dot_plain_256(ZI_F16, w, x, k);
}

static float dot_bf16_256(const char *w, const float *x, size_t k)
{
    return dot_plain_256(ZI_BF16, w, x, k);
}

static inline float block_scale(const char *block)
{
    uint16_t bits;
    memcpy(&bits, block, sizeof bits);
    return _cvtsh_ss(bits);
}

static inline __m256 bytes8(const char *q)
{
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)q);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* One block's sum by the eight lanes, its scale yet to come. */
static inline __m256 block_256(const char *q, const float *x)
{
    __m256 a = _mm256_mul_ps(bytes8(q), _mm256_loadu_ps(x));
    __m256 b = _mm256_mul_ps(bytes8(q + 8), _mm256_loadu_ps(x + 8));
    a = _mm256_fmadd_ps(bytes8(q + 16), _mm256_loadu_ps(x + 16), a);
    b = _mm256_fmadd_ps(bytes8(q + 24), _mm256_loadu_ps(x + 24), b);
    return _mm256_add_ps(a, b);
}

static float dot_q8_0_256(const char *w, const float *x, size_t k)
{
    __m256 even = _mm256_setzero_ps(), odd = even;
    size_t i = 0;
    for (; i + 64 <= k; i += 64, w += 2 * DOT_BLOCK) {
        _mm_prefetch(w + DOT_AHEAD, _MM_HINT_T0);
        _mm_prefetch(w + DOT_AHEAD + DOT_BLOCK, _MM_HINT_T0);
        even = _mm256_fmadd_ps(block_256(w + 2, x + i), _mm256_set1_ps(block_scale(w)), even);
        odd = _mm256_fmadd_ps(block_256(w + DOT_BLOCK + 2, x + i + 32),
                              _mm256_set1_ps(block_scale(w + DOT_BLOCK)), odd);
    }
    if (i < k)
        even = _mm256_fmadd_ps(block_256(w + 2, x + i), _mm256_set1_ps(block_scale(w)), even);
    return total(_mm256_add_ps(even, odd));
}

/* Sixteen nibbles in bytes times scale, plus minimum, times x: rounded as zi_widen does it. */
static inline __m256 nibbles16(__m128i bytes, __m256 scale, __m256 minimum, const float *x,
                               __m256 sum)
{
    __m128i halves[2] = {bytes, _mm_unpackhi_epi64(bytes, bytes)};
    UNROLL
    for (int i = 0; i < 2; i++) {
        __m256 q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(halves[i]));
        __m256 value = _mm256_add_ps(_mm256_mul_ps(q, scale), minimum);
        sum = _mm256_fmadd_ps(value, _mm256_loadu_ps(x + 8 * i), sum);
    }
    return sum;
}

/* Blocks of a half, another one where there are minima, and 16 bytes: the low nibbles are the first
 * numbers. zero is what nibbles are counted from. */
static inline __attribute__((always_inline)) float dot_nibbles_256(const char *w, const float *x,
                                                                   size_t k, bool minima, int zero)
{
    const __m128i mask = _mm_set1_epi8(15), shift = _mm_set1_epi8((char)zero);
    const size_t head = minima ? 4 : 2;
    __m256 low = _mm256_setzero_ps(), high = low;
    for (size_t i = 0; i < k; i += 32, w += head + 16) {
        _mm_prefetch(w + DOT_AHEAD, _MM_HINT_T0);
        __m256 scale = _mm256_set1_ps(block_scale(w));
        __m256 minimum = minima ? _mm256_set1_ps(block_scale(w + 2)) : _mm256_setzero_ps();
        __m128i q = _mm_loadu_si128((const __m128i *)(const void *)(w + head));
        __m128i first = _mm_sub_epi8(_mm_and_si128(q, mask), shift);
        __m128i second = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(q, 4), mask), shift);
        low = nibbles16(first, scale, minimum, x + i, low);
        high = nibbles16(second, scale, minimum, x + i + 16, high);
    }
    return total(_mm256_add_ps(low, high));
}

static float dot_q4_0_256(const char *w, const float *x, size_t k)
{
    return dot_nibbles_256(w, x, k, false, 8);
}

static float dot_q4_1_256(const char *w, const float *x, size_t k)
{
    return dot_nibbles_256(w, x, k, true, 0);
}

/* The dot_rows slot by one function a type. */
static inline void dot_each_row(const dot_fn *by_type, zi_dtype type, const void *w, size_t ldw,
                                size_t n, const float *x, size_t k, float *y)
{
    for (size_t j = 0; j < n; j++) y[j] = by_type[type]((const char *)w + j * ldw, x, k);
}

static inline void dot_rows_256(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x,
                                size_t k, float *y)
{
    static const dot_fn by_type[ZI_DTYPE_COUNT] = {
        [ZI_F32] = dot_f32_256,   [ZI_F16] = dot_f16_256,   [ZI_BF16] = dot_bf16_256,
        [ZI_Q8_0] = dot_q8_0_256, [ZI_Q4_0] = dot_q4_0_256, [ZI_Q4_1] = dot_q4_1_256};
    dot_each_row(by_type, type, w, ldw, n, x, k, y);
}

#ifdef __AVX512F__

static inline __m512 load16(zi_dtype type, const char *source)
{
    if (type == ZI_F32) return _mm512_loadu_ps(source);
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)source);
    if (type == ZI_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static inline __attribute__((always_inline)) float dot_plain_512(zi_dtype type, const char *w,
                                                                 const float *x, size_t k)
{
    size_t width = zi_dtype_size(type), i = 0;
    __m512 sums[4];
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm512_setzero_ps();
    for (; i + 64 <= k; i += 64) {
        for (size_t line = 0; line < width; line++)
            _mm_prefetch(w + i * width + DOT_AHEAD + 64 * line, _MM_HINT_T0);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            sums[j] = _mm512_fmadd_ps(load16(type, w + (i + 16 * j) * width),
                                      _mm512_loadu_ps(x + i + 16 * j), sums[j]);
    }
    for (; i + 16 <= k; i += 16)
        sums[0] = _mm512_fmadd_ps(load16(type, w + i * width), _mm512_loadu_ps(x + i), sums[0]);
    float rest = dot_plain_256(type, w + i * width, x + i, k - i);
    __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    return rest + _mm512_reduce_add_ps(sum);
}

static float dot_f32_512(const char *w, const float *x, size_t k)
{
    return dot_plain_512(ZI_F32, w, x, k);
}

static float dot_f16_512(const char *w, const float *x, size_t k)
{
    return dot_plain_512(ZI_F16, w, x, k);
}

static float dot_bf16_512(const char *w, const float *x, size_t k)
{
    return dot_plain_512(ZI_BF16, w, x, k);
}

static inline __m512 block_512(const char *q, const float *x)
{
    __m512 low =
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)q)));
    __m512 high = _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(q + 16))));
    return _mm512_fmadd_ps(high, _mm512_loadu_ps(x + 16), _mm512_mul_ps(low, _mm512_loadu_ps(x)));
}

static float dot_q8_0_512(const char *w, const float *x, size_t k)
{
    __m512 even = _mm512_setzero_ps(), odd = even;
    size_t i = 0;
    for (; i + 64 <= k; i += 64, w += 2 * DOT_BLOCK) {
        _mm_prefetch(w + DOT_AHEAD, _MM_HINT_T0);
        _mm_prefetch(w + DOT_AHEAD + DOT_BLOCK, _MM_HINT_T0);
        even = _mm512_fmadd_ps(block_512(w + 2, x + i), _mm512_set1_ps(block_scale(w)), even);
        odd = _mm512_fmadd_ps(block_512(w + DOT_BLOCK + 2, x + i + 32),
                              _mm512_set1_ps(block_scale(w + DOT_BLOCK)), odd);
    }
    if (i < k)
        even = _mm512_fmadd_ps(block_512(w + 2, x + i), _mm512_set1_ps(block_scale(w)), even);
    return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

static inline void dot_rows_512(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x,
                                size_t k, float *y)
{
    static const dot_fn by_type[ZI_DTYPE_COUNT] = {
        [ZI_F32] = dot_f32_512,   [ZI_F16] = dot_f16_512,   [ZI_BF16] = dot_bf16_512,
        [ZI_Q8_0] = dot_q8_0_512, [ZI_Q4_0] = dot_q4_0_256, [ZI_Q4_1] = dot_q4_1_256};
    dot_each_row(by_type, type, w, ldw, n, x, k, y);
}

#endif

#endif
