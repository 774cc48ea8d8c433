/* The dot_rows and dot_groups slots of the x86 tiers: rows of stored weights come from memory once
 * and are used at once, so that what counts is to ask for them early and to spend few instructions
 * on each number. Numbers are rounded as zi_widen rounds them, and all types are summed alike:
 * values that mean the same give the same bits. */
#ifndef ZI_KERNELS_X86_DOT_H
#define ZI_KERNELS_X86_DOT_H

#include "kernels/dot.h"
#include "kernels/x86.h"

enum { DOT_AHEAD = 1024 }; /* prefetch distance in bytes of weights */

/* 16 bytes from any address, in both halves of the register. */
INLINE __m256i load_twice(const char *source)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)source));
}

/* 32 bits from any address, in the byte order of the machine. */
INLINE uint32_t word_at(const char *source)
{
    uint32_t word;
    memcpy(&word, source, sizeof word);
    return word;
}

/* 16 bits from any address, in the byte order of the machine. */
INLINE uint16_t short_at(const char *source)
{
    uint16_t word;
    memcpy(&word, source, sizeof word);
    return word;
}

/* The f16 number at `source`, as f32 in all eight lanes. */
INLINE __m256 half_everywhere(const char *source)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((int16_t)short_at(source)));
}

/* ---- values: 16 of them as signed bytes, in both halves of a register, since bytes are cheap to
 * move about within a half ---- */

/* The low four bits of each byte. */
INLINE __m256i low_nibbles(__m256i bytes)
{
    return _mm256_and_si256(bytes, _mm256_set1_epi8(15));
}

/* The high four bits of each byte, moved down: 0 to 15. */
INLINE __m256i high_nibbles(__m256i bytes)
{
    return low_nibbles(_mm256_srli_epi16(bytes, 4));
}

/* Bits 16h to 16h + 15 of the 32 at `source` as 16 bytes of 0 or 16, in both halves of the
 * register. */
INLINE __m256i fifth_bits(const char *source, size_t h)
{
    const __m256i bits = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    const __m256i places = _mm256_broadcastsi128_si256(
        _mm_set_epi64x((int64_t)(h ? 0x0303030303030303 : 0x0101010101010101),
                       (int64_t)(h ? 0x0202020202020202 : 0)));
    __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)word_at(source)), places);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bits), bits);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

/* Shifts bytes so that bit `bit` becomes bit `to`, and keeps only the bits in `mask`, the lowest of
 * which is bit `to`. */
INLINE __m256i move_bits(__m256i bytes, int bit, int to, char mask)
{
    bytes = bit < to ? _mm256_slli_epi16(bytes, to - bit) : _mm256_srli_epi16(bytes, bit - to);
    return _mm256_and_si256(bytes, _mm256_set1_epi8(mask));
}

/* Half h (16 values) of part p (32 values) of a Q6_K block as signed bytes, -32 to 31, in both
 * halves of the register. */
INLINE __m256i q6_k_values(const char *block, size_t p, size_t h)
{
    __m256i low = load_twice(block + p / 4 * 64 + p % 2 * 32 + 16 * h);
    __m256i high = load_twice(block + 128 + p / 4 * 32 + 16 * h);
    low = p % 4 < 2 ? low_nibbles(low) : high_nibbles(low);
    high = move_bits(high, (int)p % 4 * 2, 4, 48);
    return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
}

/* Half h (16 values) of part p (32 values) of the nibbles of Q4_K or Q5_K, which begin at `from`,
 * as bytes 0 to 15 in both halves of the register. */
INLINE __m256i q4_k_values(const char *from, size_t p, size_t h)
{
    __m256i bytes = load_twice(from + p / 2 * 32 + 16 * h);
    return p % 2 ? high_nibbles(bytes) : low_nibbles(bytes);
}

/* Half h (16 values) of the nibbles of a block of 32, which begin at `from`, as bytes 0 to 15 in
 * both halves of the register. */
INLINE __m256i nibbles(const char *from, size_t h)
{
    return h ? high_nibbles(load_twice(from)) : low_nibbles(load_twice(from));
}

/* Half h (16 values) of a group of IQ4_NL or IQ4_XS, whose nibbles begin at `from`, as the table's
 * values in both halves of the register. */
INLINE __m256i table_values(const char *from, size_t h)
{
    return _mm256_shuffle_epi8(load_twice((const char *)zi_iq4_values), nibbles(from, h));
}

/* Half h (16 values) of part p (32 values) of a block as signed bytes in both halves of the
 * register, without scale: q less what stands for zero, which is 8 (Q4_0), 16 (Q5_0), 32 (Q6_K) or
 * else 0. type: a block type of zi_kernels_dot. */
INLINE __m256i half_bytes(zi_dtype type, const char *block, size_t p, size_t h)
{
    switch (type) {
    case ZI_Q8_0:
        return load_twice(block + 2 + 16 * h);
    case ZI_Q4_0:
        return _mm256_sub_epi8(nibbles(block + 2, h), _mm256_set1_epi8(8));
    case ZI_Q4_1:
        return nibbles(block + 4, h);
    case ZI_Q5_0:
        return _mm256_sub_epi8(_mm256_or_si256(nibbles(block + 6, h), fifth_bits(block + 2, h)),
                               _mm256_set1_epi8(16));
    case ZI_Q5_1:
        return _mm256_or_si256(nibbles(block + 8, h), fifth_bits(block + 4, h));
    case ZI_Q4_K:
        return q4_k_values(block + 16, p, h);
    case ZI_Q5_K:
        return _mm256_or_si256(q4_k_values(block + 48, p, h),
                               move_bits(load_twice(block + 16 + 16 * h), (int)p, 4, 16));
    case ZI_IQ4_NL:
        return table_values(block + 2, h);
    case ZI_IQ4_XS:
        return table_values(block + 8 + 16 * p, h);
    default:
        return q6_k_values(block, p, h);
    }
}

/* Eight of the 16 bytes that both halves of `bytes` hold, from number `first` (0 or 8) on, as f32.
 * with_sign: bytes are signed, and results are 2^24 times them, which the caller takes back;
 * otherwise bytes are unsigned and results their values. */
INLINE __m256 widen8(__m256i bytes, size_t first, bool with_sign)
{
    int64_t at = (int64_t)(0x0101010101010101 * first);
    const __m256i zero_extended =
        _mm256_setr_epi64x((int64_t)0xffffff01ffffff00, (int64_t)0xffffff03ffffff02,
                           (int64_t)0xffffff05ffffff04, (int64_t)0xffffff07ffffff06);
    const __m256i on_top = _mm256_setr_epi64x(0x01ffffff00ffffff, 0x03ffffff02ffffff,
                                              0x05ffffff04ffffff, 0x07ffffff06ffffff);
    __m256i places = _mm256_or_si256(with_sign ? on_top : zero_extended, _mm256_set1_epi64x(at));
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, places));
}

/* ---- scales ---- */

/* Of the 32s of a block, or of its 16s. */
typedef struct {
    float scales[16], minima[8];
} block_scales;

/* Eight unsigned bytes, lowest first, as f32. */
INLINE __m256 bytes8(uint64_t bytes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes)));
}

/* Whether values of a block type are q * scale + minimum. False: they are q * scale; also for types
 * without blocks. */
INLINE bool has_minima(zi_dtype type)
{
    return type == ZI_Q4_1 || type == ZI_Q5_1 || type == ZI_Q4_K || type == ZI_Q5_K;
}

/* Sets the eight scales and eight (negated) minima of a Q4_K or Q5_K block, six bits each, times
 * the factors of the block. */
INLINE void read_six_bit_scales(const char *block, block_scales *out)
{
    const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x30303030;
    uint32_t s = word_at(block + 4), m = word_at(block + 8), both = word_at(block + 12);
    uint64_t scales = (both & four) | (s >> 2 & two), minima = (both >> 4 & four) | (m >> 2 & two);
    __m256 factor = half_everywhere(block), minus = _mm256_set1_ps(-0.0f);
    _mm256_storeu_ps(out->scales, _mm256_mul_ps(factor, bytes8(scales << 32 | (s & six))));
    factor = _mm256_xor_ps(half_everywhere(block + 2), minus);
    _mm256_storeu_ps(out->minima, _mm256_mul_ps(factor, bytes8(minima << 32 | (m & six))));
}

/* Sets the eight scales of an IQ4_XS block, six bits each of which the upper two are apart, less
 * 32, times the factor of the block. */
INLINE void read_iq4_xs_scales(const char *block, block_scales *out)
{
    const __m256i by_four = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    __m256i low = _mm256_set1_epi32((int32_t)word_at(block + 4));
    __m256i high = _mm256_set1_epi32((int32_t)(word_at(block) >> 16));
    low = _mm256_and_si256(_mm256_srlv_epi32(low, by_four), _mm256_set1_epi32(15));
    high = _mm256_srlv_epi32(high, _mm256_srli_epi32(by_four, 1));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i scales = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    _mm256_storeu_ps(out->scales,
                     _mm256_mul_ps(half_everywhere(block), _mm256_cvtepi32_ps(scales)));
}

/* Sets what *out has of a block of Q4_K, Q5_K (8 scales, 8 minima), Q6_K (16 scales) or IQ4_XS (8
 * scales); sets nothing for other types, whose scales are read from the block where they are
 * used. */
INLINE void read_scales(zi_dtype type, const char *block, block_scales *out)
{
    if (type == ZI_Q4_K || type == ZI_Q5_K) read_six_bit_scales(block, out);
    if (type == ZI_IQ4_XS) read_iq4_xs_scales(block, out);
    if (type != ZI_Q6_K) return;
    __m256 factor = half_everywhere(block + 208);
    for (size_t i = 0; i < 16; i += 8) {
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(block + 192 + i));
        __m256 scales = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
        _mm256_storeu_ps(out->scales + i, _mm256_mul_ps(factor, scales));
    }
}

/* The scale of half h of part p of a block (h counts only for Q6_K), in all lanes, without the 2^24
 * of widen8; s is as read_scales left it. */
INLINE __m256 scale_of(zi_dtype type, const char *block, const block_scales *s, size_t p, size_t h)
{
    if (type == ZI_Q4_K || type == ZI_Q5_K || type == ZI_IQ4_XS)
        return _mm256_broadcast_ss(&s->scales[p]);
    if (type == ZI_Q6_K) return _mm256_broadcast_ss(&s->scales[2 * p + h]);
    return half_everywhere(block);
}

/* The minimum of part p of a block, to be added, in all lanes; 0 for types without minima. s is as
 * read_scales left it. */
INLINE __m256 minimum_of(zi_dtype type, const char *block, const block_scales *s, size_t p)
{
    if (type == ZI_Q4_K || type == ZI_Q5_K) return _mm256_broadcast_ss(&s->minima[p]);
    return has_minima(type) ? half_everywhere(block + 2) : _mm256_setzero_ps();
}

/* ---- a row ---- */

/* Part p (32 values) of a block as f32, or the 32 stored values at `block` of a type without blocks
 * (s and p are ignored). Scales have so few bits that q * scale is exact: so the minimum may be
 * added in one fused operation, and where there is none, the factor 2^24 of widen8 and its inverse
 * change nothing. */
INLINE void load32_256(zi_dtype type, const char *block, const block_scales *s, size_t p,
                       __m256 out[4])
{
    if (zi_dtype_computes(type)) {
        UNROLL
        for (size_t j = 0; j < 4; j++) out[j] = load8(type, block + j * block_bytes(type) / 4);
        return;
    }
    bool minima = has_minima(type);
    __m256 minimum = minimum_of(type, block, s, p);
    UNROLL
    for (size_t j = 0; j < 4; j++) {
        __m256 q = widen8(half_bytes(type, block, p, j / 2), j % 2 * 8, !minima);
        __m256 scale = scale_of(type, block, s, p, j / 2);
        if (!minima) scale = _mm256_mul_ps(scale, _mm256_set1_ps(0x1p-24f));
        out[j] = minima ? _mm256_fmadd_ps(q, scale, minimum) : _mm256_mul_ps(q, scale);
    }
}

/* The product of the last k < 32 values of a row of F32, F16 or BF16, which begin at w, and x: adds
 * it to *sum eight at a time, and returns only the part of what is left over. */
INLINE float dot_rest(zi_dtype type, const char *w, const float *x, size_t k, __m256 *sum)
{
    size_t i = 0, width = block_bytes(type) / 32;
    float rest = 0;
    for (; i + 8 <= k; i += 8, w += 8 * width)
        *sum = _mm256_fmadd_ps(load8(type, w), _mm256_loadu_ps(x + i), *sum);
    for (; i < k; i++, w += width) {
        float value;
        zi_widen(type, w, &value, 1);
        rest += value * x[i];
    }
    return rest;
}

/* Prefetches `bytes` bytes of weights that lie DOT_AHEAD bytes after w, even past the end of
 * them. */
INLINE void prefetch_ahead(const char *w, size_t bytes)
{
    for (size_t line = 0; line < bytes; line += 64) _mm_prefetch(w + DOT_AHEAD + line, _MM_HINT_T0);
}

/* Returns the product of a row w of k values of `type` (whole blocks; any k for types without
 * blocks) and x [k], in 256-bit registers. Types of zi_kernels_dot only. */
INLINE float dot_256(zi_dtype type, const char *w, const float *x, size_t k)
{
    size_t i = 0, step = block_numbers(type);
    __m256 sums[4], values[4];
    block_scales scales;
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm256_setzero_ps();
    for (; i + step <= k; i += step, w += block_bytes(type)) {
        prefetch_ahead(w, block_bytes(type));
        read_scales(type, w, &scales);
        UNROLL
        for (size_t p = 0; p < step / 32; p++) {
            load32_256(type, w, &scales, p, values);
            UNROLL
            for (size_t j = 0; j < 4; j++)
                sums[j] =
                    _mm256_fmadd_ps(values[j], _mm256_loadu_ps(x + i + 32 * p + 8 * j), sums[j]);
        }
    }
    float rest = i < k ? dot_rest(type, w, x + i, k - i, &sums[0]) : 0;
    return rest + sum_of_lanes(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]),
                                             _mm256_add_ps(sums[2], sums[3])));
}

/* ---- a row in MLX's groups ---- */

/* Half h (16) of 32 values of `bits` 8 or 4 at w as unsigned bytes, in both halves of the register;
 * of 4 bits, a byte holds two, the low one first. */
INLINE __m256i group_bytes(int bits, const char *w, size_t h)
{
    if (bits == 8) return load_twice(w + 16 * h);
    __m256i both = load_twice(w), low = low_nibbles(both), high = high_nibbles(both);
    return h ? _mm256_unpackhi_epi8(low, high) : _mm256_unpacklo_epi8(low, high);
}

/* Returns the product of x [k], whole groups, and a row of values q * scale + bias (q of `bits` 8
 * or 4; `group` values, a multiple of 32, share both). Scales are of any precision: products are
 * rounded before the bias is added. */
INLINE float dot_groups_256(int bits, const char *w, size_t group, const float *scales,
                            const float *biases, const float *x, size_t k)
{
    __m256 sums[4];
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm256_setzero_ps();
    for (size_t i = 0; i < k; scales++, biases++) {
        __m256 scale = _mm256_broadcast_ss(scales), bias = _mm256_broadcast_ss(biases);
        for (size_t end = i + group; i < end; i += 32, w += 4 * bits) {
            _mm_prefetch(w + DOT_AHEAD, _MM_HINT_T0);
            UNROLL
            for (size_t j = 0; j < 4; j++) {
                __m256 q = widen8(group_bytes(bits, w, j / 2), j % 2 * 8, false);
                __m256 value = _mm256_add_ps(_mm256_mul_ps(q, scale), bias);
                sums[j] = _mm256_fmadd_ps(value, _mm256_loadu_ps(x + i + 8 * j), sums[j]);
            }
        }
    }
    return sum_of_lanes(
        _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
}

#ifdef __AVX512F__

/* Sixteen stored values (F32, F16 or BF16) as f32; no alignment needed. */
static inline __m512 load16(zi_dtype type, const char *source)
{
    if (type == ZI_F32) return _mm512_loadu_ps(source);
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)source);
    if (type == ZI_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* Part p (32 values) of a block as f32, or the 32 stored values at `block` of a type without blocks
 * (s and p are ignored), in 512-bit registers; the same values as load32_256 gives. */
INLINE void load32_512(zi_dtype type, const char *block, const block_scales *s, size_t p,
                       __m512 out[2])
{
    if (zi_dtype_computes(type)) {
        out[0] = load16(type, block);
        out[1] = load16(type, block + block_bytes(type) / 2);
        return;
    }
    __m512 minimum = _mm512_set1_ps(_mm256_cvtss_f32(minimum_of(type, block, s, p)));
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        __m128i bytes = _mm256_castsi256_si128(half_bytes(type, block, p, h));
        __m512 q = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
        __m512 scale = _mm512_set1_ps(_mm256_cvtss_f32(scale_of(type, block, s, p, h)));
        out[h] = has_minima(type) ? _mm512_fmadd_ps(q, scale, minimum) : _mm512_mul_ps(q, scale);
    }
}

/* Returns the product of a row w of k values of `type` (whole blocks; any k for types without
 * blocks) and x [k], in 512-bit registers. Types of zi_kernels_dot only. Runs of 32 values are
 * added to two pairs of sums in turn. */
INLINE float dot_512(zi_dtype type, const char *w, const float *x, size_t k)
{
    size_t i = 0, numbers = block_numbers(type), bytes = block_bytes(type);
    size_t step = numbers < 64 ? 64 : numbers;
    __m512 sums[4], values[2];
    block_scales scales;
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm512_setzero_ps();
    for (; i + step <= k; i += step, w += step / numbers * bytes) {
        prefetch_ahead(w, step / numbers * bytes);
        read_scales(type, w, &scales);
        UNROLL
        for (size_t p = 0; p < step / 32; p++) {
            load32_512(type, numbers < 64 ? w + p * bytes : w, &scales, p, values);
            UNROLL
            for (size_t j = 0; j < 2; j++)
                sums[p % 2 * 2 + j] = _mm512_fmadd_ps(
                    values[j], _mm512_loadu_ps(x + i + 32 * p + 16 * j), sums[p % 2 * 2 + j]);
        }
    }
    if (i + 32 <= k) { /* of no block of 256 */
        load32_512(type, w, &scales, 0, values);
        for (size_t j = 0; j < 2; j++)
            sums[j] = _mm512_fmadd_ps(values[j], _mm512_loadu_ps(x + i + 16 * j), sums[j]);
        i += 32;
        w += bytes;
    }
    float rest = i < k ? dot_256(type, w, x + i, k - i) : 0; /* of no block type */
    __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    return rest + _mm512_reduce_add_ps(sum);
}

/* Returns the product of x [k], whole groups, and a row of values q * scale + bias (q of `bits` 8
 * or 4; `group` values, a multiple of 32, share both), in 512-bit registers. Values are those of
 * dot_groups_256, but their sums are in another order. */
INLINE float dot_groups_512(int bits, const char *w, size_t group, const float *scales,
                            const float *biases, const float *x, size_t k)
{
    __m512 sums[4]; /* those of this 32, and of the next */
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = _mm512_setzero_ps();
    for (size_t i = 0; i < k; i += 32, w += 4 * bits) {
        __m512 scale = _mm512_set1_ps(scales[i / group]);
        __m512 bias = _mm512_set1_ps(biases[i / group]);
        _mm_prefetch(w + DOT_AHEAD, _MM_HINT_T0);
        UNROLL
        for (size_t h = 0; h < 2; h++) {
            __m128i bytes = _mm256_castsi256_si128(group_bytes(bits, w, h));
            __m512 q = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
            __m512 value = _mm512_add_ps(_mm512_mul_ps(q, scale), bias);
            __m512 sum = _mm512_fmadd_ps(value, _mm512_loadu_ps(x + i + 16 * h), sums[h]);
            sums[h] = sums[2 + h];
            sums[2 + h] = sum;
        }
    }
    __m512 this = _mm512_add_ps(sums[0], sums[1]), next = _mm512_add_ps(sums[2], sums[3]);
    return _mm512_reduce_add_ps(_mm512_add_ps(this, next)); /* of which one is first is the same */
}

#define DOT dot_512
#define DOT_GROUPS dot_groups_512
#else
#define DOT dot_256
#define DOT_GROUPS dot_groups_256
#endif

/* y[j] = the product of row j of w (k values of `type`: whole blocks, or any k for types without;
 * rows ldw bytes apart) and x [k], for n rows, in registers as wide as the file is compiled for.
 * Leaves y as it is for types that zi_kernels_dot excludes. */
static inline void dot_rows_x86(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x,
                                size_t k, float *y)
{
    DOT_EACH_ROW(DOT, type, w, ldw, n, x, k, y)
}

/* Returns the product of x [k], whole groups, and a row of values q * scale + bias, where `group`
 * values, a multiple of 32, share both. q: 8 bits, or 4 bits, two to a byte, low one first. */
static inline float dot_groups_x86(int bits, const void *w, size_t group, const float *scales,
                                   const float *biases, const float *x, size_t k)
{
    return bits == 8 ? DOT_GROUPS(8, w, group, scales, biases, x, k)
                     : DOT_GROUPS(4, w, group, scales, biases, x, k);
}

#undef DOT
#undef DOT_GROUPS

#endif
