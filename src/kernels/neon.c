/* Advanced SIMD, which every arm64 machine has. */
#include "kernels/neon.h"

/* 24 sums, four vectors of columns and two of rows' values of 32 registers. */
enum { MR = 6, NR = 16, VECTORS = NR / 4 };

/* ---- packing ---- */

/* Four stored numbers as f32; no alignment needed. */
static inline float32x4_t load4(zi_dtype type, const char *source)
{
    if (type == ZI_F32) return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)source));
    uint8x8_t half = vld1_u8((const uint8_t *)source);
    if (type == ZI_F16) return vcvt_f32_f16(vreinterpret_f16_u8(half));
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(half), 16));
}

/* Rows to columns: r[i][j] becomes r[j][i]. */
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

/* Four columns of the rows from `first` on, rows past n zero: r[j] is column j. */
static inline void load_block(zi_dtype type, const char *rows, size_t stride, size_t first,
                              size_t n, float32x4_t r[4])
{
    for (size_t i = 0; i < 4; i++)
        r[i] = first + i < n ? load4(type, rows + (first + i) * stride) : vdupq_n_f32(0);
    transpose4(r);
}

/* The columns that are left over from blocks of four: [p, k). */
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

static void quantize(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_rows(x, ldx, n, k, group, QMR, 1, 2, quantize_numbers_neon, out);
}

static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_columns(q, ldq, n, group, scales, biases, QNR, 1, 2, out);
}

/* Adds the products of a number of each row, 12 bytes, and of each column. */
static inline void step(const char *a, const char *b, int32x4_t sum[QMR][QNR / 4])
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

static void qtile(size_t groups, size_t group, const void *panel_a, const void *panel_b, float *c,
                  size_t ldc, bool accumulate)
{
    const char *a = panel_a, *b = panel_b;
    for (size_t g = 0; g < groups; g++) {
        int32x4_t sum[QMR][QNR / 4];
        UNROLL
        for (int i = 0; i < QMR * QNR / 4; i++) sum[i / 4][i % 4] = vdupq_n_s32(0);
        for (size_t p = 0; p < group; p++, a += QMR * 2, b += QNR * 2) step(a, b, sum);
        trailers t = trailers_at(a, b);
        UNROLL
        for (size_t i = 0; i < QMR * QNR / 4; i++)
            add_group(c, ldc, !accumulate && g == 0, sum[i / 4][i % 4], &t, i / 4, i % 4 * 4);
        a += QMR * 3 * sizeof(float);
        b += QNR * 2 * sizeof(float);
    }
}

/* ---- rows ---- */

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
    return zi_f16_to_f32(bits);
}

/* A block's 32 bytes, signed, in two halves. */
static inline __attribute__((always_inline)) void block_bytes(zi_dtype type, const char *w,
                                                              int8x16_t q[2])
{
    const uint8_t *bytes = (const uint8_t *)w;
    if (type == ZI_Q8_0) {
        q[0] = vreinterpretq_s8_u8(vld1q_u8(bytes + 2));
        q[1] = vreinterpretq_s8_u8(vld1q_u8(bytes + 18));
        return;
    }
    uint8x16_t nibbles = vld1q_u8(bytes + (type == ZI_Q4_1 ? 4 : 2));
    int8x16_t zero = vdupq_n_s8(type == ZI_Q4_0 ? 8 : 0);
    q[0] = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(nibbles, vdupq_n_u8(15))), zero);
    q[1] = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(nibbles, 4)), zero);
}

/* 32 numbers as f32, rounded as zi_widen rounds them. */
static inline __attribute__((always_inline)) void load32(zi_dtype type, const char *w,
                                                         float32x4_t out[8])
{
    if (zi_dtype_computes(type)) {
        UNROLL
        for (size_t j = 0; j < 8; j++) out[j] = load4(type, w + j * bytes_of_32(type) / 8);
        return;
    }
    int8x16_t q[2];
    block_bytes(type, w, q);
    float scale = half_at(w);
    UNROLL
    for (int j = 0; j < 8; j++) {
        int16x8_t half = j % 4 < 2 ? vmovl_s8(vget_low_s8(q[j / 4])) : vmovl_high_s8(q[j / 4]);
        int16x4_t four = j % 2 ? vget_high_s16(half) : vget_low_s16(half);
        out[j] = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(four)), scale);
        if (type == ZI_Q4_1) out[j] = vaddq_f32(out[j], vdupq_n_f32(half_at(w + 2)));
    }
}

/* All types are summed alike: numbers that mean the same give the same bits. */
static inline __attribute__((always_inline)) float dot(zi_dtype type, const char *w, const float *x,
                                                       size_t k)
{
    size_t i = 0;
    float32x4_t sums[4], values[8];
    UNROLL
    for (int j = 0; j < 4; j++) sums[j] = vdupq_n_f32(0);
    for (; i + 32 <= k; i += 32, w += bytes_of_32(type)) {
        load32(type, w, values);
        UNROLL
        for (size_t j = 0; j < 8; j++)
            sums[j % 4] = vfmaq_f32(sums[j % 4], values[j], vld1q_f32(x + i + 4 * j));
    }
    float rest = 0;
    if (i < k) { /* of no block type */
        size_t width = bytes_of_32(type) / 32;
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

static float dot_row(zi_dtype type, const char *w, const float *x, size_t k)
{
    switch (type) {
    case ZI_F16:
        return dot(ZI_F16, w, x, k);
    case ZI_BF16:
        return dot(ZI_BF16, w, x, k);
    case ZI_Q8_0:
        return dot(ZI_Q8_0, w, x, k);
    case ZI_Q4_0:
        return dot(ZI_Q4_0, w, x, k);
    case ZI_Q4_1:
        return dot(ZI_Q4_1, w, x, k);
    default:
        return dot(ZI_F32, w, x, k);
    }
}

static void dot_rows(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x, size_t k,
                     float *y)
{
    for (size_t j = 0; j < n; j++) y[j] = dot_row(type, (const char *)w + j * ldw, x, k);
}

/* ---- vectors ---- */

/* exp(x) to about one unit in the last place: 2^n e^r with |r| <= ln 2 / 2; 0 below -87.3, infinite
 * above 88.3. */
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

/* n < 4 numbers, the others `fill`. */
static inline float32x4_t load_some(const float *x, size_t n, float fill)
{
    float some[4] = {fill, fill, fill, fill};
    memcpy(some, x, n * sizeof *x);
    return vld1q_f32(some);
}

static inline void store_some(float *x, size_t n, float32x4_t value)
{
    float some[4];
    vst1q_f32(some, value);
    memcpy(x, some, n * sizeof *x);
}

static inline float32x4_t silu4(float32x4_t x)
{
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), exp4(vnegq_f32(x))));
}

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

static float exp_sum(float *x, float most, float factor, size_t n)
{
    float32x4_t top = vdupq_n_f32(most), sum = vdupq_n_f32(0);
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

static float max(const float *x, size_t n)
{
    float32x4_t most = vdupq_n_f32(x[0]);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) most = vmaxq_f32(most, vld1q_f32(x + i));
    if (i < n) most = vmaxq_f32(most, load_some(x + i, n - i, x[0]));
    return vmaxvq_f32(most);
}

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

/* The empty asm keeps the compiler from working a round out only once. */
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

void zi_kernels_neon(zi_kernels *kernels)
{
    kernels->tier = "neon";
    kernels->mr = MR;
    kernels->nr = NR;
    kernels->pack_a = pack_a;
    kernels->pack_rows = pack_rows;
    kernels->tile = tile;
    kernels->dot_rows = dot_rows;
    kernels->qmr = QMR;
    kernels->qnr = QNR;
    kernels->q_step = 1;
    kernels->q_width = 2;
    kernels->quantize = quantize;
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
