/* Advanced SIMD, which every arm64 machine has. */
#include "kernels/neon.h"
#include "kernels/dot.h"

/* 24 sums, four vectors of columns and two of rows' values of 32 registers. */
enum { MR = 6, NR = 16, VECTORS = NR / 4 };

/* ---- packing ---- */

/* Four stored values (F32, F16 or BF16) as f32; no alignment needed. */
static inline float32x4_t load4(zi_dtype type, const char *source)
{
    if (type == ZI_F32) return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)source));
    uint8x8_t half = vld1_u8((const uint8_t *)source);
    if (type == ZI_F16) return vcvt_f32_f16(vreinterpret_f16_u8(half));
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(half), 16));
}

/* Rows to columns, in place: r[i][j] becomes r[j][i]. */
static inline void transpose4(float32x4_t r[4])
{
    float64x2_t t0 = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1]));
    float64x2_t t1 = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
    float64x2_t t2 = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3]));
    float64x2_t t3 = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
    r[0] = vreinterpretq_f32_f64(vtrn1q_f64(t0, t2));
    r[1] = vreinterpretq_f32_f64(vtrn1q_f64(t1, t3));
    r[2] = vreinterpretq_f32_f64(vtrn2q_f64(t0, t2));
    r[3] = vreinterpretq_f32_f64(vtrn2q_f64(t1, t3));
}

/* Loads four columns of the rows from `first` on, `stride` bytes apart, as f32: r[j] is column j of
 * four rows. rows: these columns in row 0. Rows from n on are zero. */
static inline void load_block(zi_dtype type, const char *rows, size_t stride, size_t first,
                              size_t n, float32x4_t r[4])
{
    for (size_t i = 0; i < 4; i++)
        r[i] = first + i < n ? load4(type, rows + (first + i) * stride) : vdupq_n_f32(0);
    transpose4(r);
}

/* Packs columns [p, k), which are left over from blocks of four, of n rows into the panel out [k,
 * nr], one by one; missing rows are zero. rows: column 0 of row 0; rows lie `stride` bytes
 * apart. */
static void pack_rest(zi_dtype type, const char *rows, size_t stride, size_t n, size_t p, size_t k,
                      size_t nr, float *out)
{
    size_t width = zi_dtype_size(type);
    for (; p < k; p++)
        for (size_t i = 0; i < nr; i++) {
            out[p * nr + i] = 0;
            if (i < n) zi_widen(type, rows + i * stride + p * width, &out[p * nr + i], 1);
        }
}

/* Packs n <= nr rows of w (F32, F16 or BF16; row stride ldw elements), k values each, as f32 into
 * the panel out [k, nr], nr a multiple of four; missing columns are zero. */
static void pack_rows(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k, size_t nr,
                      float *out)
{
    size_t width = zi_dtype_size(type), p = 0;
    const char *rows = w;
    for (; p + 4 <= k; p += 4)
        for (size_t j = 0; j < nr; j += 4) {
            float32x4_t block[4];
            load_block(type, rows + p * width, ldw * width, j, n, block);
            for (size_t i = 0; i < 4; i++) vst1q_f32(out + (p + i) * nr + j, block[i]);
        }
    pack_rest(type, rows, ldw * width, n, p, k, nr, out);
}

/* Packs n <= MR (6) rows of x [n, k] (row stride ldx) into the panel out [k, MR]; missing rows are
 * zero. */
static void pack_a(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    size_t stride = ldx * sizeof *x, p = 0;
    const char *rows = (const char *)x;
    for (; p + 4 <= k; p += 4) {
        float32x4_t low[4], high[4];
        load_block(ZI_F32, rows + p * sizeof *x, stride, 0, n, low);
        load_block(ZI_F32, rows + p * sizeof *x, stride, 4, n, high);
        for (size_t i = 0; i < 4; i++) {
            vst1q_f32(out + (p + i) * MR, low[i]);
            vst1_f32(out + (p + i) * MR + 4, vget_low_f32(high[i]));
        }
    }
    pack_rest(ZI_F32, rows, stride, n, p, k, MR, out);
}

/* ---- the f32 tile ---- */

/* Adds a row's value, lane `lane` (a constant) of `values`, times all columns. */
#define ADD_ROW(i, lane_of, values, lane)                                                          \
    UNROLL                                                                                         \
    for (int j = 0; j < VECTORS; j++) sum[i][j] = lane_of(sum[i][j], columns[j], values, lane)

/* c [MR, NR] = [6, 16] (row stride ldc) = the product a^T b of panels a [k, MR] and b [k, NR], all
 * of it; accumulate: added to c instead. */
static void tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool accumulate)
{
    float32x4_t sum[MR][VECTORS];
    UNROLL
    for (int i = 0; i < MR * VECTORS; i++) sum[i / VECTORS][i % VECTORS] = vdupq_n_f32(0);
    for (size_t p = 0; p < k; p++, a += MR, b += NR) {
        float32x4_t columns[VECTORS], low = vld1q_f32(a);
        float32x2_t high = vld1_f32(a + 4);
        UNROLL
        for (int j = 0; j < VECTORS; j++) columns[j] = vld1q_f32(b + 4 * j);
        ADD_ROW(0, vfmaq_laneq_f32, low, 0);
        ADD_ROW(1, vfmaq_laneq_f32, low, 1);
        ADD_ROW(2, vfmaq_laneq_f32, low, 2);
        ADD_ROW(3, vfmaq_laneq_f32, low, 3);
        ADD_ROW(4, vfmaq_lane_f32, high, 0);
        ADD_ROW(5, vfmaq_lane_f32, high, 1);
    }
    UNROLL
    for (size_t i = 0; i < MR * VECTORS; i++) {
        float *at = c + i / VECTORS * ldc + i % VECTORS * 4;
        float32x4_t value = sum[i / VECTORS][i % VECTORS];
        vst1q_f32(at, accumulate ? vaddq_f32(value, vld1q_f32(at)) : value);
    }
}

/* ---- integers of 16 bits, one at a time: products and sums (below 2^24) are exact ---- */

/* Quantizes n <= QMR (6) rows of x [n, k] (row stride ldx), in groups with a scale each, into a
 * panel (quantized.h) of 16-bit integers in steps of one; missing rows are zero. k is whole groups
 * of a multiple of 8 values. A NaN or infinity makes its group's scale a NaN or infinite. */
static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_rows(x, ldx, n, k, group, QMR, 1, 2, quantize_numbers_neon, out);
}

/* Packs one group of n <= QNR (16) columns, bytes q [n, group] (row stride ldq) with a scale and a
 * bias each, into a panel (quantized.h) of 16-bit integers in steps of one; missing columns are
 * zero. */
static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_columns(q, ldq, n, group, scales, biases, QNR, 1, 2, out);
}

/* Adds the products of one number of each row (a: six of 16 bits) and one of each column (b:
 * sixteen of 16 bits) to the tile's sums. */
static inline void add_products(const char *a, const char *b, int32x4_t sum[QMR][QNR / 4])
{
    int16x8_t low = vld1q_s16((const int16_t *)(const void *)b);
    int16x8_t high = vld1q_s16((const int16_t *)(const void *)b + 8);
    int16x4_t rows = vld1_s16((const int16_t *)(const void *)a);
    int16x4_t more = vreinterpret_s16_s32(vld1_dup_s32((const int32_t *)(const void *)(a + 8)));
#define ADD_INTEGERS(i, values, lane)                                                              \
    sum[i][0] = vmlal_lane_s16(sum[i][0], vget_low_s16(low), values, lane);                        \
    sum[i][1] = vmlal_high_lane_s16(sum[i][1], low, values, lane);                                 \
    sum[i][2] = vmlal_lane_s16(sum[i][2], vget_low_s16(high), values, lane);                       \
    sum[i][3] = vmlal_high_lane_s16(sum[i][3], high, values, lane)
    ADD_INTEGERS(0, rows, 0);
    ADD_INTEGERS(1, rows, 1);
    ADD_INTEGERS(2, rows, 2);
    ADD_INTEGERS(3, rows, 3);
    ADD_INTEGERS(4, more, 0);
    ADD_INTEGERS(5, more, 1);
}

/* c [QMR, QNR] = [6, 16] (row stride ldc) = the product of quantized panels a and b (quantized.h)
 * of `groups` (> 0) groups of any size; accumulate: added to c. Sums of a group are exact
 * integers. */
static void qtile(size_t groups, size_t group, const void *panel_a, const void *panel_b, float *c,
                  size_t ldc, bool accumulate)
{
    const char *a = panel_a, *b = panel_b;
    for (size_t g = 0; g < groups; g++) {
        int32x4_t sum[QMR][QNR / 4];
        UNROLL
        for (int i = 0; i < QMR * QNR / 4; i++) sum[i / 4][i % 4] = vdupq_n_s32(0);
        for (size_t p = 0; p < group; p++, a += QMR * 2, b += QNR * 2) add_products(a, b, sum);
        trailers t = trailers_at(a, b);
        UNROLL
        for (size_t i = 0; i < QMR * QNR / 4; i++)
            add_group(c, ldc, !accumulate && g == 0, sum[i / 4][i % 4], &t, i / 4, i % 4 * 4);
        a += QMR * 3 * sizeof(float);
        b += QNR * 2 * sizeof(float);
    }
}

/* ---- rows ---- */

/* The f16 number at `source`, any alignment, as f32. */
static inline float half_at(const uint8_t *source)
{
    uint16_t bits;
    memcpy(&bits, source, sizeof bits);
    return zi_f16_to_f32(bits);
}

/* ---- values: 16 of them as bytes ---- */

/* The low four bits of each of 16 bytes, or the high ones, moved down: 0 to 15. */
INLINE uint8x16_t nibbles(const uint8_t *from, bool high)
{
    uint8x16_t bytes = vld1q_u8(from);
    return high ? vshrq_n_u8(bytes, 4) : vandq_u8(bytes, vdupq_n_u8(15));
}

/* Bits 16h to 16h + 15 of the 32 at `from` as 16 bytes of 0 or 16. */
INLINE uint8x16_t fifth_bits(const uint8_t *from, size_t h)
{
    uint8x16_t bits = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    uint8x16_t spread = vcombine_u8(vdup_n_u8(from[2 * h]), vdup_n_u8(from[2 * h + 1]));
    return vandq_u8(vtstq_u8(spread, bits), vdupq_n_u8(16));
}

/* Shifts 16 bytes so that bit `bit` becomes bit 4, and keeps only the bits in `mask`, the lowest of
 * which is bit 4. */
INLINE uint8x16_t high_bits(const uint8_t *from, size_t bit, uint8_t mask)
{
    return vandq_u8(vshlq_u8(vld1q_u8(from), vdupq_n_s8((int8_t)(4 - (int)bit))), vdupq_n_u8(mask));
}

/* Half h (16 values) of a group of IQ4_NL or IQ4_XS, whose nibbles begin at `from`, as the table's
 * values, signed. */
INLINE uint8x16_t table_values(const uint8_t *from, size_t h)
{
    return vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(zi_iq4_values), nibbles(from, h)));
}

/* Half h (16 values) of part p (32 values) of a block as bytes, without scale; sets *zero to what
 * is to be subtracted from them, after which they are signed: 8 (Q4_0), 16 (Q5_0), 32 (Q6_K) or
 * else 0. type: a block type of zi_kernels_dot. */
INLINE uint8x16_t half_bytes(zi_dtype type, const uint8_t *block, size_t p, size_t h, uint8_t *zero)
{
    const uint8_t *at = block + p / 2 * 32 + 16 * h; /* where two parts share bytes */
    *zero = type == ZI_Q4_0 ? 8 : type == ZI_Q5_0 ? 16 : type == ZI_Q6_K ? 32 : 0;
    switch (type) {
    case ZI_Q8_0:
        return vld1q_u8(block + 2 + 16 * h);
    case ZI_Q4_0:
        return nibbles(block + 2, h);
    case ZI_Q4_1:
        return nibbles(block + 4, h);
    case ZI_Q5_0:
        return vorrq_u8(nibbles(block + 6, h), fifth_bits(block + 2, h));
    case ZI_Q5_1:
        return vorrq_u8(nibbles(block + 8, h), fifth_bits(block + 4, h));
    case ZI_Q4_K:
        return nibbles(at + 16, p % 2);
    case ZI_Q5_K:
        return vorrq_u8(nibbles(at + 48, p % 2), high_bits(block + 16 + 16 * h, p, 16));
    case ZI_IQ4_NL:
        return table_values(block + 2, h);
    case ZI_IQ4_XS:
        return table_values(block + 8 + 16 * p, h);
    default:
        return vorrq_u8(nibbles(block + p / 4 * 64 + p % 2 * 32 + 16 * h, p % 4 > 1),
                        high_bits(block + 128 + p / 4 * 32 + 16 * h, p % 4 * 2, 48));
    }
}

/* ---- scales ---- */

/* Whether values of a block type are q * scale + minimum. False: they are q * scale; also for types
 * without blocks. */
INLINE bool has_minima(zi_dtype type)
{
    return type == ZI_Q4_1 || type == ZI_Q5_1 || type == ZI_Q4_K || type == ZI_Q5_K;
}

/* Of the 32s of a block, or of its 16s. */
typedef struct {
    float scales[16], minima[8];
} block_scales;

/* Sets the scales and minima that a block of this type has: Q4_K and Q5_K eight of each, of six
 * bits, Q6_K sixteen scales in bytes, IQ4_XS eight of six bits, other blocks one. Sets nothing for
 * F32, F16 and BF16. */
INLINE void read_scales(zi_dtype type, const uint8_t *block, block_scales *out)
{
    const uint8_t *s = block + 4;
    if (type == ZI_Q6_K) {
        float scale = half_at(block + 208);
        for (size_t i = 0; i < 16; i++)
            out->scales[i] = scale * (float)((const int8_t *)block)[192 + i];
    } else if (type == ZI_Q4_K || type == ZI_Q5_K) {
        float scale = half_at(block), minimum = -half_at(block + 2);
        for (size_t i = 0; i < 4; i++) {
            out->scales[i] = scale * (float)(s[i] & 63);
            out->minima[i] = minimum * (float)(s[i + 4] & 63);
            out->scales[i + 4] = scale * (float)((s[i + 8] & 15) | (s[i] >> 2 & 48));
            out->minima[i + 4] = minimum * (float)(s[i + 8] >> 4 | (s[i + 4] >> 2 & 48));
        }
    } else if (type == ZI_IQ4_XS) {
        float scale = half_at(block);
        for (size_t i = 0; i < 8; i++) {
            int low = s[i / 2] >> i % 2 * 4 & 15, high = block[2 + i / 4] >> i % 4 * 2 & 3;
            out->scales[i] = scale * (float)((low | high << 4) - 32);
        }
    } else if (!zi_dtype_computes(type)) {
        out->scales[0] = half_at(block);
        if (has_minima(type)) out->minima[0] = half_at(block + 2);
    }
}

/* ---- a row ---- */

/* Four of 16 signed bytes, from number 4j on, as f32. */
INLINE float32x4_t widen4(int8x16_t bytes, size_t j)
{
    int16x8_t half = j < 2 ? vmovl_s8(vget_low_s8(bytes)) : vmovl_high_s8(bytes);
    return vcvtq_f32_s32(vmovl_s16(j % 2 ? vget_high_s16(half) : vget_low_s16(half)));
}

/* Part p (32 values) of a block as f32, rounded as zi_widen rounds them, or the 32 stored values at
 * w of a type without blocks (s and p are ignored). s is as read_scales left it. */
INLINE void load32(zi_dtype type, const char *w, const block_scales *s, size_t p,
                   float32x4_t out[8])
{
    const uint8_t *block = (const uint8_t *)w;
    UNROLL
    for (size_t j = 0; j < 8; j++) {
        if (zi_dtype_computes(type)) {
            out[j] = load4(type, w + j * block_bytes(type) / 8);
            continue;
        }
        uint8_t zero;
        uint8x16_t bytes = half_bytes(type, block, p, j / 4, &zero);
        int8x16_t q = vreinterpretq_s8_u8(vsubq_u8(bytes, vdupq_n_u8(zero)));
        out[j] = vmulq_n_f32(widen4(q, j % 4), s->scales[type == ZI_Q6_K ? 2 * p + j / 4 : p]);
        if (has_minima(type)) out[j] = vaddq_f32(out[j], vdupq_n_f32(s->minima[p]));
    }
}

/* Returns the product of a row w of k values of `type` (whole blocks; any k for types without
 * blocks) and x [k]; types of zi_kernels_dot only. All types are summed alike: values that mean the
 * same give the same bits. */
INLINE float dot(zi_dtype type, const char *w, const float *x, size_t k)
{
    size_t i = 0, step = block_numbers(type);
    float32x4_t sums[4], values[8];
    block_scales scales;
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = vdupq_n_f32(0);
    for (; i + step <= k; i += step, w += block_bytes(type)) {
        read_scales(type, (const uint8_t *)w, &scales);
        UNROLL
        for (size_t p = 0; p < step / 32; p++) {
            load32(type, w, &scales, p, values);
            UNROLL
            for (size_t j = 0; j < 8; j++)
                sums[j % 4] = vfmaq_f32(sums[j % 4], values[j], vld1q_f32(x + i + 32 * p + 4 * j));
        }
    }
    float rest = 0;
    if (i < k) { /* of no block type */
        size_t width = block_bytes(type) / 32;
        for (; i + 4 <= k; i += 4, w += 4 * width)
            sums[0] = vfmaq_f32(sums[0], load4(type, w), vld1q_f32(x + i));
        for (; i < k; i++, w += width) {
            float value;
            zi_widen(type, w, &value, 1);
            rest += value * x[i];
        }
    }
    return rest + vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
}

/* y[j] = the product of row j of w (k values of `type`, whole blocks; rows ldw bytes apart) and x
 * [k], for n rows. Leaves y as it is for types that zi_kernels_dot excludes. */
static void dot_rows(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x, size_t k,
                     float *y){DOT_EACH_ROW(dot, type, w, ldw, n, x, k, y)}

/* Half h (16) of 32 values of `bits` 8 or 4 at w as unsigned bytes; of 4 bits, a byte holds two,
 * the low one first. */
INLINE uint8x16_t group_bytes(int bits, const uint8_t *w, size_t h)
{
    if (bits == 8) return vld1q_u8(w + 16 * h);
    uint8x16_t low = nibbles(w, false), high = nibbles(w, true);
    return h ? vzip2q_u8(low, high) : vzip1q_u8(low, high);
}

/* Returns the product of x [k], whole groups, and a row of values q * scale + bias (q of `bits` 8,
 * or 4, two to a byte, low one first; `group` values, a multiple of 32, share both). bits: a
 * constant in each call, so that each is compiled apart. */
INLINE float dot_grouped(int bits, const uint8_t *w, size_t group, const float *scales,
                         const float *biases, const float *x, size_t k)
{
    float32x4_t sums[4];
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = vdupq_n_f32(0);
    for (size_t i = 0; i < k; i += 32, w += 4 * bits) {
        float scale = scales[i / group];
        float32x4_t bias = vdupq_n_f32(biases[i / group]);
        UNROLL
        for (size_t j = 0; j < 8; j++) {
            uint8x16_t bytes = group_bytes(bits, w, j / 4);
            uint16x8_t half = j % 4 < 2 ? vmovl_u8(vget_low_u8(bytes)) : vmovl_high_u8(bytes);
            uint16x4_t four = j % 2 ? vget_high_u16(half) : vget_low_u16(half);
            float32x4_t q = vcvtq_f32_u32(vmovl_u16(four));
            float32x4_t value = vaddq_f32(vmulq_n_f32(q, scale), bias);
            sums[j % 4] = vfmaq_f32(sums[j % 4], value, vld1q_f32(x + i + 4 * j));
        }
    }
    return vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
}

/* Returns the product of x [k], whole groups, and a row of values q * scale + bias, where `group`
 * values, a multiple of 32, share both. q: 8 bits, or 4 bits, two to a byte, low one first. */
static float dot_groups(int bits, const void *w, size_t group, const float *scales,
                        const float *biases, const float *x, size_t k)
{
    return bits == 8 ? dot_grouped(8, w, group, scales, biases, x, k)
                     : dot_grouped(4, w, group, scales, biases, x, k);
}

/* ---- vectors ---- */

/* exp(x) of each lane to about one unit in the last place: 2^n e^r with |r| <= ln 2 / 2; 0 below
 * -87.3, infinite above 88.3, NaN for NaN. */
static inline float32x4_t exp4(float32x4_t x)
{
    const float32x4_t limit = vdupq_n_f32(88.3762626647949f);
    uint32x4_t huge = vcgtq_f32(x, limit);
    uint32x4_t tiny = vcltq_f32(x, vdupq_n_f32(-87.3365447504f));
    x = vminq_f32(x, limit); /* a NaN stays one */
    float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504088896341f));
    float32x4_t r = vfmsq_n_f32(x, n, 0.693359375f);
    r = vfmsq_n_f32(r, n, -2.12194440e-4f);
    float32x4_t y = vdupq_n_f32(1.0f / 5040);
    static const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        y = vfmaq_f32(vdupq_n_f32(terms[i]), y, r);
    uint32x4_t power = vshlq_n_u32(vreinterpretq_u32_s32(vcvtnq_s32_f32(n)), 23);
    uint32x4_t bits = vaddq_u32(vreinterpretq_u32_f32(y), power); /* what overflows is tiny */
    bits = vbslq_u32(huge, vreinterpretq_u32_f32(vdupq_n_f32(INFINITY)), bits);
    return vreinterpretq_f32_u32(vbicq_u32(bits, tiny));
}

/* Loads n < 4 values from x, and reads no more, into the first lanes; the other lanes are
 * `fill`. */
static inline float32x4_t load_some(const float *x, size_t n, float fill)
{
    float some[4] = {fill, fill, fill, fill};
    memcpy(some, x, n * sizeof *x);
    return vld1q_f32(some);
}

/* Stores the first n < 4 lanes; nothing behind them is written. */
static inline void store_some(float *x, size_t n, float32x4_t value)
{
    float some[4];
    vst1q_f32(some, value);
    memcpy(x, some, n * sizeof *x);
}

/* x / (1 + exp(-x)) in each lane. */
static inline float32x4_t silu4(float32x4_t x)
{
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), exp4(vnegq_f32(x))));
}

/* x[i] = silu(x[i]) * y[i], in place, for any n; y may be NULL: ones. */
static void silu_mul(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t value = silu4(vld1q_f32(x + i));
        vst1q_f32(x + i, y ? vmulq_f32(value, vld1q_f32(y + i)) : value);
    }
    if (i == n) return;
    float32x4_t value = silu4(load_some(x + i, n - i, 0));
    store_some(x + i, n - i, y ? vmulq_f32(value, load_some(y + i, n - i, 0)) : value);
}

/* Replaces x[i] by exp((x[i] - max_value) * factor) and returns the sum of these; any n. */
static float exp_sum(float *x, float max_value, float factor, size_t n)
{
    float32x4_t top = vdupq_n_f32(max_value), sum = vdupq_n_f32(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t value = exp4(vmulq_n_f32(vsubq_f32(vld1q_f32(x + i), top), factor));
        vst1q_f32(x + i, value);
        sum = vaddq_f32(sum, value);
    }
    if (i < n) {
        float32x4_t rest = load_some(x + i, n - i, -INFINITY);
        float32x4_t value = exp4(vmulq_n_f32(vsubq_f32(rest, top), factor));
        store_some(x + i, n - i, value);
        sum = vaddq_f32(sum, value);
    }
    return vaddvq_f32(sum);
}

/* The largest of n > 0 values; NaN if there is one among them. */
static float max(const float *x, size_t n)
{
    float32x4_t max_value = vdupq_n_f32(x[0]);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) max_value = vmaxq_f32(max_value, vld1q_f32(x + i));
    if (i < n) max_value = vmaxq_f32(max_value, load_some(x + i, n - i, x[0]));
    return vmaxvq_f32(max_value);
}

/* The sum of x[i]^2, in 16 partial sums; any n, 0 for n = 0. */
static float sum_squares(const float *x, size_t n)
{
    float32x4_t sums[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 4; j++) {
            float32x4_t value = vld1q_f32(x + i + 4 * j);
            sums[j] = vfmaq_f32(sums[j], value, value);
        }
    float rest = 0;
    for (; i < n; i++) rest += x[i] * x[i];
    return rest + vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
}

/* out[i] = x[i] * factor * weight[i] * (1 + scale[i]), for any n; weight and scale may be NULL
 * (ones and zeros). out may be x. */
static void scale_row(const float *x, float factor, const float *weight, const float *scale,
                      float *out, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t value = vmulq_n_f32(vld1q_f32(x + i), factor);
        if (weight) value = vmulq_f32(value, vld1q_f32(weight + i));
        if (scale) value = vmulq_f32(value, vaddq_f32(vdupq_n_f32(1), vld1q_f32(scale + i)));
        vst1q_f32(out + i, value);
    }
    for (; i < n; i++) {
        float value = x[i] * factor;
        if (weight) value *= weight[i];
        if (scale) value *= 1.0f + scale[i];
        out[i] = value;
    }
}

/* ---- peak ---- */

enum { PEAK_SUMS = 24 };

/* Runs `rounds` rounds of independent f32 multiply-adds in registers, for a benchmark that takes
 * the time; returns how many multiply-adds (of single numbers) these are. The empty asm keeps the
 * compiler from working a round out only once. */
static size_t peak_f32(size_t rounds)
{
    float32x4_t sums[PEAK_SUMS], x = vdupq_n_f32(0.5f);
    UNROLL
    for (int i = 0; i < PEAK_SUMS; i++) sums[i] = x;
    for (size_t r = 0; r < rounds; r++) {
        UNROLL
        for (int i = 0; i < PEAK_SUMS; i++) {
            __asm__ volatile("" : "+w"(x));
            sums[i] = vfmaq_f32(sums[i], x, x);
        }
    }
    UNROLL
    for (int i = 0; i < PEAK_SUMS; i++) __asm__ volatile("" : : "w"(sums[i]));
    return rounds * PEAK_SUMS * 4;
}

/* Runs `rounds` rounds of a tile's integer multiply-adds without its loads, for a benchmark that
 * takes the time; returns how many multiply-adds (of single numbers) these are. */
static size_t peak_integer(size_t rounds)
{
    int32x4_t sums[PEAK_SUMS];
    int16x8_t x = vdupq_n_s16(3);
    UNROLL
    for (int i = 0; i < PEAK_SUMS; i++) sums[i] = vdupq_n_s32(0);
    for (size_t r = 0; r < rounds; r++) {
        UNROLL
        for (int i = 0; i < PEAK_SUMS; i++) {
            __asm__ volatile("" : "+w"(x));
            sums[i] = vmlal_high_s16(sums[i], x, x);
        }
    }
    UNROLL
    for (int i = 0; i < PEAK_SUMS; i++) __asm__ volatile("" : : "w"(sums[i]));
    return rounds * PEAK_SUMS * 4;
}

/* Overwrites the name, the sizes and all slots of ref but pack_columns and `scale`. */
void zi_kernels_neon(zi_kernels *kernels)
{
    kernels->tier = "neon";
    kernels->mr = MR;
    kernels->nr = NR;
    kernels->pack_a = pack_a;
    kernels->pack_rows = pack_rows;
    kernels->tile = tile;
    kernels->dot_rows = dot_rows;
    kernels->dot_groups = dot_groups;
    kernels->qmr = QMR;
    kernels->qnr = QNR;
    kernels->q_step = 1;
    kernels->q_width = 2;
    kernels->quantize = quantize_panel;
    kernels->pack_group = pack_group;
    kernels->qtile = qtile;
    kernels->silu_mul = silu_mul;
    kernels->exp_sum = exp_sum;
    kernels->max = max;
    kernels->sum_squares = sum_squares;
    kernels->scale_row = scale_row;
    kernels->peak_f32 = peak_f32;
    kernels->peak_integer = peak_integer;
}
