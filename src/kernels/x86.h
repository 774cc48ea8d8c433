/* What the x86 tiers share: eight values at a time, for files compiled with AVX2, FMA and F16C. */
#ifndef ZI_KERNELS_X86_H
#define ZI_KERNELS_X86_H

#include "kernels/quantized.h"
#include "kernels/unroll.h"

#include <immintrin.h>

/* Eight stored values (F32, F16 or BF16) as f32; no alignment needed. */
static inline __m256 load8(zi_dtype type, const char *source)
{
    if (type == ZI_F32) return _mm256_loadu_ps((const float *)(const void *)source);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)source);
    if (type == ZI_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* Rows to columns, in place: r[i][j] becomes r[j][i]. */
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

/* Prefetches the tile c [rows, columns], which is used only after the products: it has long left
 * the cache. Changes nothing; addresses beyond the matrix do no harm. Always inlined, since GCC
 * drops loops of nothing else whose counts it does not know. */
static inline __attribute__((always_inline)) void prefetch_tile(const float *c, size_t ldc,
                                                                size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j += 16)
            _mm_prefetch((const char *)(c + i * ldc + j), _MM_HINT_T0);
}

/* Packs n <= nr rows of w (F32, F16 or BF16; row stride ldw elements), k values each, as f32 into
 * the panel out [k, nr], nr a multiple of eight; missing columns are zero. */
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

/* Packs n <= nr columns of w [k, n] (row stride ldw, f32) into the panel out [k, nr], nr any;
 * missing columns are zero. */
static inline void pack_columns_x86(const float *w, size_t ldw, size_t n, size_t k, size_t nr,
                                    float *out)
{
    for (size_t p = 0; p < k; p++, w += ldw, out += nr) {
        size_t j = 0;
        for (; j + 8 <= n; j += 8) _mm256_storeu_ps(out + j, _mm256_loadu_ps(w + j));
        for (; j < nr; j++) out[j] = j < n ? w[j] : 0;
    }
}

/* Packs eight columns of rows [first, first + rows) of x, rows 8, 6 or 4, to the same places of the
 * panel out [8, mr]; rows from n on are zero. x: the first of these columns in row 0. */
static inline void pack_a8(const float *x, size_t ldx, size_t n, size_t first, size_t rows,
                           size_t mr, float *out)
{
    __m256 block[8];
    for (size_t i = 0; i < 8; i++)
        block[i] = i < rows && first + i < n ? _mm256_loadu_ps(x + (first + i) * ldx)
                                             : _mm256_setzero_ps();
    transpose8(block);
    for (size_t i = 0; i < 8; i++) {
        float *at = out + i * mr + first;
        if (rows == 8) {
            _mm256_storeu_ps(at, block[i]);
            continue;
        }
        _mm_storeu_ps(at, _mm256_castps256_ps128(block[i]));
        if (rows == 6) _mm_storel_pi((__m64 *)(void *)(at + 4), _mm256_extractf128_ps(block[i], 1));
    }
}

/* Packs n <= mr rows of x [n, k] (row stride ldx) into the panel out [k, mr]; missing rows are
 * zero. mr is 6 or 12, k any. */
static inline void pack_a_x86(const float *x, size_t ldx, size_t n, size_t k, size_t mr, float *out)
{
    size_t p = 0;
    for (; p + 8 <= k; p += 8) {
        if (mr == 6) {
            pack_a8(x + p, ldx, n, 0, 6, mr, out + p * mr);
        } else {
            pack_a8(x + p, ldx, n, 0, 8, mr, out + p * mr);
            pack_a8(x + p, ldx, n, 8, 4, mr, out + p * mr);
        }
    }
    for (; p < k; p++)
        for (size_t i = 0; i < mr; i++) out[p * mr + i] = i < n ? x[i * ldx + p] : 0;
}

/* ---- quantized groups; a group is a multiple of 32 ---- */

/* The largest of the eight lanes; unspecified if there is a NaN among them. */
static inline float largest_lane(__m256 x)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
}

/* The sum of the eight lanes. */
static inline float sum_of_lanes(__m256 x)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

/* The largest |x[i]| of `group` values, a multiple of eight, found by comparing bits: a NaN is
 * larger than infinity, and either is returned if there is one. */
static inline float largest_magnitude_x86(const float *x, size_t group)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i max_value = _mm256_setzero_si256();
    for (size_t i = 0; i < group; i += 8) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)(x + i));
        max_value = _mm256_max_epi32(max_value, _mm256_and_si256(bits, magnitude));
    }
    float parts[8];
    _mm256_storeu_ps(parts, _mm256_castsi256_ps(max_value));
    return largest_magnitude(parts, 8);
}

/* The largest sum of the four magnitudes that q_sums_limited limits, of `group` values, a multiple
 * of eight: of values 8i, 8i + 1, 8i + 4, 8i + 5, or of 8i + 2, 8i + 3, 8i + 6, 8i + 7. A NaN or
 * infinity in x gives NaN or infinity. */
static inline float largest_sum_of_four(const float *x, size_t group)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m128i max_value = _mm_setzero_si128();
    for (size_t i = 0; i < group; i += 8) {
        __m256 magnitude = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i));
        __m128 pairs =
            _mm_add_ps(_mm256_castps256_ps128(magnitude), _mm256_extractf128_ps(magnitude, 1));
        pairs = _mm_add_ps(pairs, _mm_shuffle_ps(pairs, pairs, 0xb1));
        max_value = _mm_max_epi32(max_value, _mm_castps_si128(pairs));
    }
    max_value = _mm_max_epi32(max_value, _mm_shuffle_epi32(max_value, 0x4e));
    return _mm_cvtss_f32(_mm_castsi128_ps(max_value));
}

/* Returns 32 values times `inverse`, rounded, as signed bytes in their order, and adds them to
 * *sums: x[i] to lane i % 8. Products must be at most 127 in magnitude. */
static inline __m256i quantize32(const float *x, __m256 inverse, __m256i *sums)
{
    __m256i q[4];
    for (size_t i = 0; i < 4; i++)
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
    for (size_t i = 0; i < 4; i++) *sums = _mm256_add_epi32(*sums, q[i]);
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    /* Packing works within halves of registers. */
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The sum of the eight 32-bit lanes, modulo 2^32: lanes may have any value, since NaNs and
 * infinities become -2^31. */
static inline int32_t sum_of_integers(__m256i x)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtsi128_si32(half);
}

/* Quantizes n <= rows rows of x [n, k] (row stride ldx) into a panel of signed bytes in steps of
 * four (quantized.h); missing rows are zero. k is whole groups of a multiple of 32. fours: the sums
 * of four |q| of q_sums_limited are at most 128, else only |q| at most 127. A NaN or infinity makes
 * the group's scale a NaN or infinite. */
static inline void quantize_x86(const float *x, size_t ldx, size_t n, size_t k, size_t group,
                                size_t rows, bool fours, void *out)
{
    /* Rounding adds at most 2 to a sum of four: 126 keeps it within 128. */
    const float top = fours ? 126 : Q_MAX;
    char *at = out;
    for (size_t begin = 0; begin < k; begin += group) {
        float *scales = (float *)(void *)(at + rows * group), *sums = scales + rows;
        int32_t *whole = (int32_t *)(void *)(sums + rows);
        for (size_t r = 0; r < rows; r++) {
            const float *row = x + r * ldx + begin;
            int32_t q[ZI_MAX_GROUP / 4] = {0};
            float max_value = 0;
            if (r < n)
                max_value =
                    fours ? largest_sum_of_four(row, group) : largest_magnitude_x86(row, group);
            __m256 inverse = _mm256_set1_ps(inverse_scale(max_value, top));
            __m256i total = _mm256_setzero_si256();
            for (size_t i = 0; r < n && i < group; i += 32)
                _mm256_storeu_si256((__m256i *)(void *)(q + i / 4),
                                    quantize32(row + i, inverse, &total));
            scales[r] = max_value / top;
            for (size_t i = 0; i < group / 4; i++)
                memcpy(at + (i * rows + r) * 4, q + i, sizeof *q);
            whole[r] = sum_of_integers(total);
            sums[r] = scales[r] * (float)whole[r];
        }
        at = (char *)(whole + rows);
    }
}

/* Packs one group of n <= columns columns, bytes q [n, group] (row stride ldq) with a scale and a
 * bias each, into a panel (quantized.h) of bytes in steps of four, each of which is stored as one
 * float; missing columns are zero. columns is a multiple of 8, group of 32. */
static inline void pack_group_x86(const uint8_t *q, size_t ldq, size_t n, size_t group,
                                  const float *scales, const float *biases, size_t columns,
                                  float *out)
{
    for (size_t j = 0; j < columns; j += 8)
        for (size_t p = 0; p < group; p += 32) {
            __m256 block[8];
            for (size_t i = 0; i < 8; i++)
                block[i] = j + i < n ? load8(ZI_F32, (const char *)q + (j + i) * ldq + p)
                                     : _mm256_setzero_ps();
            transpose8(block);
            for (size_t i = 0; i < 8; i++)
                _mm256_storeu_ps(out + (p / 4 + i) * columns + j, block[i]);
        }
    place_scales(scales, biases, n, columns, out + group / 4 * columns);
}

/* ---- vectors ---- */

/* exp(x) of each lane to about one unit in the last place: 2^n e^r with |r| <= ln 2 / 2; 0 below
 * -87.3, infinite above 88.3, NaN for NaN. */
static inline __m256 exp8(__m256 x)
{
    const __m256 limit = _mm256_set1_ps(88.3762626647949f);
    __m256 huge = _mm256_cmp_ps(x, limit, _CMP_GT_OQ);
    x = _mm256_min_ps(limit, x); /* in this order a NaN stays one */
    __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3365447504f), _CMP_LT_OQ);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 y = _mm256_set1_ps(1.0f / 5040);
    static const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(terms[i]));
    __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    y = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), power));
    y = _mm256_blendv_ps(y, _mm256_set1_ps(INFINITY), huge);
    return _mm256_andnot_ps(tiny, y);
}

/* Loads n < 8 values from x, and reads no more, into the first lanes; the other lanes are
 * `fill`. */
static inline __m256 load_some(const float *x, size_t n, float fill)
{
    float some[8] = {fill, fill, fill, fill, fill, fill, fill, fill};
    memcpy(some, x, n * sizeof *x);
    return _mm256_loadu_ps(some);
}

/* Stores the first n < 8 lanes; nothing behind them is written. */
static inline void store_some(float *x, size_t n, __m256 value)
{
    float some[8];
    _mm256_storeu_ps(some, value);
    memcpy(x, some, n * sizeof *x);
}

/* x / (1 + exp(-x)) in each lane. */
static inline __m256 silu8(__m256 x)
{
    __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), x));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), e));
}

/* x[i] = silu(x[i]) * y[i], in place, for any n; y may be NULL: ones. */
static inline void silu_mul_x86(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 value = silu8(_mm256_loadu_ps(x + i));
        if (y) value = _mm256_mul_ps(value, _mm256_loadu_ps(y + i));
        _mm256_storeu_ps(x + i, value);
    }
    if (i == n) return;
    __m256 value = silu8(load_some(x + i, n - i, 0));
    if (y) value = _mm256_mul_ps(value, load_some(y + i, n - i, 0));
    store_some(x + i, n - i, value);
}

/* Replaces x[i] by exp((x[i] - max_value) * factor) and returns the sum of these; any n. */
static inline float exp_sum_x86(float *x, float max_value, float factor, size_t n)
{
    __m256 top = _mm256_set1_ps(max_value), by = _mm256_set1_ps(factor), sum = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 value = exp8(_mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), top), by));
        _mm256_storeu_ps(x + i, value);
        sum = _mm256_add_ps(sum, value);
    }
    if (i < n) {
        __m256 rest = load_some(x + i, n - i, -INFINITY);
        __m256 value = exp8(_mm256_mul_ps(_mm256_sub_ps(rest, top), by));
        store_some(x + i, n - i, value);
        sum = _mm256_add_ps(sum, value);
    }
    return sum_of_lanes(sum);
}

/* The largest of n > 0 values; unspecified if there is a NaN among them. */
static inline float max_x86(const float *x, size_t n)
{
    __m256 max_value = _mm256_set1_ps(x[0]);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) max_value = _mm256_max_ps(max_value, _mm256_loadu_ps(x + i));
    if (i < n) max_value = _mm256_max_ps(max_value, load_some(x + i, n - i, x[0]));
    return largest_lane(max_value);
}

/* The sum of x[i]^2, in 32 partial sums; any n, 0 for n = 0. */
static inline float sum_squares_x86(const float *x, size_t n)
{
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                      _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++) {
            __m256 value = _mm256_loadu_ps(x + i + 8 * j);
            sums[j] = _mm256_fmadd_ps(value, value, sums[j]);
        }
    float rest = 0;
    for (; i < n; i++) rest += x[i] * x[i];
    return rest + sum_of_lanes(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]),
                                             _mm256_add_ps(sums[2], sums[3])));
}

/* out[i] = x[i] * factor * weight[i] * (1 + scale[i]), for any n; weight and scale may be NULL
 * (ones and zeros). out may be x. */
static inline void scale_row_x86(const float *x, float factor, const float *weight,
                                 const float *scale, float *out, size_t n)
{
    const __m256 one = _mm256_set1_ps(1);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 value = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));
        if (weight) value = _mm256_mul_ps(value, _mm256_loadu_ps(weight + i));
        if (scale) value = _mm256_mul_ps(value, _mm256_add_ps(one, _mm256_loadu_ps(scale + i)));
        _mm256_storeu_ps(out + i, value);
    }
    for (; i < n; i++) {
        float value = x[i] * factor;
        if (weight) value *= weight[i];
        if (scale) value *= 1.0f + scale[i];
        out[i] = value;
    }
}

/* Overwrites scale_row, sum_squares, silu_mul, exp_sum and max: all vector slots but `scale`, with
 * the same code for every x86 tier. */
static inline void overlay_vectors_x86(zi_kernels *kernels)
{
    kernels->silu_mul = silu_mul_x86;
    kernels->exp_sum = exp_sum_x86;
    kernels->max = max_x86;
    kernels->sum_squares = sum_squares_x86;
    kernels->scale_row = scale_row_x86;
}

#endif
