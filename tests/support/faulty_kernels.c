#include "faulty_kernels.h"
#include "kernel_checks.h"
#include "kernels/quantized.h"

#include <math.h>

static zi_kernels right; /* the correct kernels, called by the faulty ones */

static void read_one(const volatile float *x)
{
    (void)*x;
}

/* ---- packing ---- */

static void pack_a_drops_last(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    right.pack_a(x, ldx, n, k, out);
    if (k % 8 == 1) memset(out + (k - 1) * right.mr, 0, right.mr * sizeof *out);
}

static void pack_a_leaves_rows(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < n; i++) out[p * right.mr + i] = x[i * ldx + p];
}

static void pack_a_reads_ahead(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    right.pack_a(x, ldx, n, k, out);
    if (n > 0) read_one(x + (n - 1) * ldx + k);
}

static void pack_rows_reads_row_n(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k,
                                  size_t nr, float *out)
{
    right.pack_rows(type, w, ldw, n, k, nr, out);
    if (n > 0 && n < nr && k > 0) (void)*((const volatile char *)w + n * ldw * zi_dtype_size(type));
}

static void pack_rows_flushes(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k,
                              size_t nr, float *out)
{
    right.pack_rows(type, w, ldw, n, k, nr, out);
    for (size_t i = 0; type == ZI_F16 && i < k * nr; i++)
        if (fabsf(out[i]) < 0x1p-14f) out[i] = 0;
}

static void pack_rows_writes_behind(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k,
                                    size_t nr, float *out)
{
    right.pack_rows(type, w, ldw, n, k, nr, out);
    if (k % 8 != 0) out[k * nr] = 0;
}

static void pack_columns_leaves_columns(const float *w, size_t ldw, size_t n, size_t k, size_t nr,
                                        float *out)
{
    for (size_t p = 0; p < k; p++) memcpy(out + p * nr, w + p * ldw, n * sizeof *out);
}

static void pack_columns_writes_before(const float *w, size_t ldw, size_t n, size_t k, size_t nr,
                                       float *out)
{
    right.pack_columns(w, ldw, n, k, nr, out);
    out[-1] = 0;
}

/* ---- tiles ---- */

static void tile_drops_last(size_t k, const float *a, const float *b, float *c, size_t ldc,
                            bool accumulate)
{
    right.tile(k > 16 ? k - 1 : k, a, b, c, ldc, accumulate);
}

static void tile_overwrites(size_t k, const float *a, const float *b, float *c, size_t ldc,
                            bool accumulate)
{
    (void)accumulate;
    right.tile(k, a, b, c, ldc, false);
}

/* An error of twice the bound for two roundings. */
static void tile_is_inexact(size_t k, const float *a, const float *b, float *c, size_t ldc,
                            bool accumulate)
{
    right.tile(k, a, b, c, ldc, accumulate);
    if (k == 1 && !accumulate) c[ldc + 3] *= 1 + 4 * 0x1p-23f;
}

static void tile_writes_gaps(size_t k, const float *a, const float *b, float *c, size_t ldc,
                             bool accumulate)
{
    right.tile(k, a, b, c, ldc, accumulate);
    if (ldc > right.nr) c[right.nr] = 0;
}

static void tile_reads_ahead(size_t k, const float *a, const float *b, float *c, size_t ldc,
                             bool accumulate)
{
    right.tile(k, a, b, c, ldc, accumulate);
    read_one(b + k * right.nr);
}

static void tile_hides_nan(size_t k, const float *a, const float *b, float *c, size_t ldc,
                           bool accumulate)
{
    right.tile(k, a, b, c, ldc, accumulate);
    for (size_t i = 0; i < right.mr; i++)
        for (size_t j = 0; j < right.nr; j++)
            if (isnan(c[i * ldc + j])) c[i * ldc + j] = 0;
}

/* ---- rows ---- */

static void dot_rows_drops_last(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x,
                                size_t k, float *y)
{
    right.dot_rows(type, w, ldw, n, x, type != ZI_Q8_0 && k % 8 == 7 ? k - 1 : k, y);
}

static void dot_rows_forgets_block(zi_dtype type, const void *w, size_t ldw, size_t n,
                                   const float *x, size_t k, float *y)
{
    right.dot_rows(type, w, ldw, n, x, type == ZI_Q8_0 && k % 64 == 32 ? k - 32 : k, y);
}

static void dot_rows_forgets_minima(zi_dtype type, const void *w, size_t ldw, size_t n,
                                    const float *x, size_t k, float *y)
{
    char blocks[4096];
    size_t bytes = zi_dtype_bytes(type, k);
    right.dot_rows(type, w, ldw, n, x, k, y);
    if (type != ZI_Q4_1 || n == 0 || bytes > sizeof blocks) return;
    memcpy(blocks, w, bytes);
    for (size_t i = 0; i < bytes; i += zi_dtype_size(type)) memset(blocks + i + 2, 0, 2);
    right.dot_rows(type, blocks, bytes, 1, x, k, y);
}

/* Ignores that the upper bits of the last four of eight scales are stored elsewhere. */
static void dot_rows_mistakes_sixes(zi_dtype type, const void *w, size_t ldw, size_t n,
                                    const float *x, size_t k, float *y)
{
    char blocks[4096];
    size_t bytes = zi_dtype_bytes(type, k);
    right.dot_rows(type, w, ldw, n, x, k, y);
    if (type != ZI_Q4_K || n == 0 || bytes > sizeof blocks) return;
    memcpy(blocks, w, bytes);
    for (size_t i = 0; i < bytes; i += zi_dtype_size(type))
        for (size_t j = i + 4; j < i + 8; j++) blocks[j] &= 63;
    right.dot_rows(type, blocks, bytes, 1, x, k, y);
}

/* Ignores that the upper two bits of an IQ4_XS scale are stored elsewhere. */
static void dot_rows_mistakes_iq4_scales(zi_dtype type, const void *w, size_t ldw, size_t n,
                                         const float *x, size_t k, float *y)
{
    char blocks[4096];
    size_t bytes = zi_dtype_bytes(type, k);
    right.dot_rows(type, w, ldw, n, x, k, y);
    if (type != ZI_IQ4_XS || n == 0 || bytes > sizeof blocks) return;
    memcpy(blocks, w, bytes);
    for (size_t i = 0; i < bytes; i += zi_dtype_size(type)) memset(blocks + i + 2, 0, 2);
    right.dot_rows(type, blocks, bytes, 1, x, k, y);
}

/* Takes the codes of IQ4_NL for values as in Q4_0, which has blocks of the same size. */
static void dot_rows_lacks_table(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x,
                                 size_t k, float *y)
{
    right.dot_rows(type == ZI_IQ4_NL ? ZI_Q4_0 : type, w, ldw, n, x, k, y);
}

/* Scales the sum of a block instead of its values. */
static void dot_rows_rounds_by_type(zi_dtype type, const void *w, size_t ldw, size_t n,
                                    const float *x, size_t k, float *y)
{
    right.dot_rows(type, w, ldw, n, x, k, y);
    for (size_t i = 0; type == ZI_Q8_0 && i < n; i++) y[i] = nextafterf(y[i], INFINITY);
}

static void dot_rows_ignores_stride(zi_dtype type, const void *w, size_t ldw, size_t n,
                                    const float *x, size_t k, float *y)
{
    (void)ldw;
    right.dot_rows(type, w, zi_dtype_bytes(type, k), n, x, k, y);
}

static void dot_rows_reads_ahead(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x,
                                 size_t k, float *y)
{
    right.dot_rows(type, w, ldw, n, x, k, y);
    if (n > 0) read_one(x + k);
}

static void dot_rows_writes_behind(zi_dtype type, const void *w, size_t ldw, size_t n,
                                   const float *x, size_t k, float *y)
{
    right.dot_rows(type, w, ldw, n, x, k, y);
    if (n > 0) y[n] = 0;
}

static float dot_groups_forgets_bias(int bits, const void *w, size_t group, const float *scales,
                                     const float *biases, const float *x, size_t k)
{
    float zeros[256] = {0};
    if (k / group > 1) biases = zeros;
    return right.dot_groups(bits, w, group, scales, biases, x, k);
}

static float dot_groups_swaps_nibbles(int bits, const void *w, size_t group, const float *scales,
                                      const float *biases, const float *x, size_t k)
{
    uint8_t bytes[4096];
    memcpy(bytes, w, k * (size_t)bits / 8);
    for (size_t i = 0; bits == 4 && i < k / 2; i++)
        bytes[i] = (uint8_t)(bytes[i] << 4 | bytes[i] >> 4);
    return right.dot_groups(bits, bytes, group, scales, biases, x, k);
}

static float dot_groups_rounds_once(int bits, const void *w, size_t group, const float *scales,
                                    const float *biases, const float *x, size_t k)
{
    float row[4096], sum;
    const uint8_t *q = w;
    for (size_t i = 0; i < k; i++) {
        int number = bits == 8 ? q[i] : q[i / 2] >> i % 2 * 4 & 15;
        row[i] = fmaf((float)number, scales[i / group], biases[i / group]);
    }
    right.dot_rows(ZI_F32, row, 0, 1, x, k, &sum);
    return sum;
}

static float dot_groups_reads_ahead(int bits, const void *w, size_t group, const float *scales,
                                    const float *biases, const float *x, size_t k)
{
    read_one(scales + k / group);
    return right.dot_groups(bits, w, group, scales, biases, x, k);
}

/* ---- integers ---- */

static float round_away(const float *x, size_t group, int16_t *q, int32_t *sum)
{
    float scale = quantize_values(x, group, q, sum);
    float inverse = inverse_scale(scale * Q_MAX, Q_MAX);
    *sum = 0;
    for (size_t i = 0; i < group; i++) *sum += q[i] = (int16_t)roundf(x[i] * inverse);
    return scale;
}

static void quantize_rounds_away(const float *x, size_t ldx, size_t n, size_t k, size_t group,
                                 void *out)
{
    quantize_rows(x, ldx, n, k, group, right.qmr, right.q_step, right.q_width, round_away, out);
}

static void quantize_mistakes_sums(const float *x, size_t ldx, size_t n, size_t k, size_t group,
                                   void *out)
{
    right.quantize(x, ldx, n, k, group, out);
    int32_t *sums = (int32_t *)(void *)((char *)out + right.qmr * (group * right.q_width + 8));
    if (n > 0) sums[n - 1] -= sums[n - 1] > 0;
}

static void pack_group_leaves_columns(const uint8_t *q, size_t ldq, size_t n, size_t group,
                                      const float *scales, const float *biases, void *out)
{
    right.pack_group(q, ldq, n, group, scales, biases, out);
    if (n < right.qnr) memset(out, 1, right.q_width * right.q_step * right.qnr);
}

static void pack_group_is_signed(const uint8_t *q, size_t ldq, size_t n, size_t group,
                                 const float *scales, const float *biases, void *out)
{
    right.pack_group(q, ldq, n, group, scales, biases, out);
    for (size_t i = 0; right.q_width == 2 && i < right.qnr * group; i++)
        if (((int16_t *)out)[i] > 127) ((int16_t *)out)[i] -= 256;
}

static void *trailer(const void *group, size_t rows, size_t size, size_t which)
{
    return (char *)(void *)group + rows * (size * right.q_width + which * 4);
}

/* Sum of products of one group: exact, or with pairs saturated to 16 bits as pmaddubsw does. */
static int32_t group_sum(const void *a, const void *b, size_t group, size_t i, size_t j,
                         bool saturating)
{
    int32_t sum = 0;
    for (size_t p = 0; p < group; p += 2) {
        int32_t pair = panel_value_a(&right, a, i, p) * panel_value_b(&right, b, j, p) +
                       panel_value_a(&right, a, i, p + 1) * panel_value_b(&right, b, j, p + 1);
        if (saturating && pair > INT16_MAX) pair = INT16_MAX;
        if (saturating && pair < INT16_MIN) pair = INT16_MIN;
        sum += pair;
    }
    return sum;
}

static void qtile_wrong(size_t groups, size_t group, const char *a, const char *b, float *c,
                        size_t ldc, bool accumulate, bool saturating, bool fused)
{
    for (size_t g = 0; g < groups; g++) {
        const float *scale_a = trailer(a, right.qmr, group, 0), *scale_b, *bias;
        const float *sum_a = trailer(a, right.qmr, group, 1);
        scale_b = trailer(b, right.qnr, group, 0);
        bias = trailer(b, right.qnr, group, 1);
        for (size_t i = 0; i < right.qmr; i++)
            for (size_t j = 0; j < right.qnr; j++) {
                float *at = c + i * ldc + j, before = accumulate || g > 0 ? *at : 0;
                float sum = (float)group_sum(a, b, group, i, j, saturating);
                float scale = scale_a[i] * scale_b[j];
                *at = fused ? fmaf(sum_a[i], bias[j], fmaf(sum, scale, before))
                            : sum_a[i] * bias[j] + (sum * scale + before);
            }
        a += zi_qa_bytes(&right, group);
        b += zi_qb_bytes(&right, group);
    }
}

static void qtile_saturates(size_t groups, size_t group, const void *a, const void *b, float *c,
                            size_t ldc, bool accumulate)
{
    qtile_wrong(groups, group, a, b, c, ldc, accumulate, true, true);
}

static void qtile_rounds_twice(size_t groups, size_t group, const void *a, const void *b, float *c,
                               size_t ldc, bool accumulate)
{
    qtile_wrong(groups, group, a, b, c, ldc, accumulate, false, false);
}

static void qtile_overwrites(size_t groups, size_t group, const void *a, const void *b, float *c,
                             size_t ldc, bool accumulate)
{
    (void)accumulate;
    right.qtile(groups, group, a, b, c, ldc, false);
}

/* ---- vectors ---- */

static void scale_row_forgets_one(const float *x, float factor, const float *weight,
                                  const float *scale, float *out, size_t n)
{
    right.scale_row(x, factor, weight, scale, out, n);
    if (scale && n % 8 == 7) right.scale_row(x + n - 1, factor, weight, NULL, out + n - 1, 1);
}

static float sum_squares_drops_last(const float *x, size_t n)
{
    return right.sum_squares(x, n > 32 ? n - 1 : n);
}

static float sum_squares_reads_ahead(const float *x, size_t n)
{
    read_one(x + n);
    return right.sum_squares(x, n);
}

static void silu_mul_ignores_y(float *x, const float *y, size_t n)
{
    right.silu_mul(x, n > 100 ? NULL : y, n);
}

static void silu_mul_is_inexact(float *x, const float *y, size_t n)
{
    right.silu_mul(x, y, n);
    for (size_t i = 0; i < n; i++) x[i] *= 1 + 4 * 0x1p-23f;
}

/* Clamps the exponent, so that silu(-1e16) is not 0. */
static void silu_mul_clamps(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = x[i] / (1 + expf(fminf(-x[i], 88)));
        x[i] = y ? value * y[i] : value;
    }
}

static float exp_sum_drops_last(float *x, float max_value, float factor, size_t n)
{
    float last = n ? x[n - 1] : 0, total = right.exp_sum(x, max_value, factor, n);
    if (n % 8 != 5) return total;
    return total - expf((last - max_value) * factor);
}

/* Clamps with a minimum that turns NaN into the limit. */
static float exp_sum_hides_nan(float *x, float max_value, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i])) x[i] = max_value;
    return right.exp_sum(x, max_value, factor, n);
}

static float exp_sum_writes_behind(float *x, float max_value, float factor, size_t n)
{
    x[n] = 0;
    return right.exp_sum(x, max_value, factor, n);
}

static float max_starts_at_zero(const float *x, size_t n)
{
    return fmaxf(right.max(x, n), 0);
}

static float max_drops_last(const float *x, size_t n)
{
    return right.max(x, n > 1 ? n - 1 : n);
}

static void scale_drops_last(float *x, float factor, size_t n)
{
    right.scale(x, factor, n > 4 ? n - 1 : n);
}

static size_t peak_is_constant(size_t rounds)
{
    (void)rounds;
    return right.peak_f32(1);
}

#define SLOT(slot) offsetof(zi_kernels, slot)
#define FAULT(slot, name)                                                                          \
    {                                                                                              \
#name, SLOT(slot), (void (*)(void))name                                                    \
    }
const faulty_kernel faulty_kernels[] = {
    FAULT(pack_a, pack_a_drops_last),
    FAULT(pack_a, pack_a_leaves_rows),
    FAULT(pack_a, pack_a_reads_ahead),
    FAULT(pack_rows, pack_rows_reads_row_n),
    FAULT(pack_rows, pack_rows_flushes),
    FAULT(pack_rows, pack_rows_writes_behind),
    FAULT(pack_columns, pack_columns_leaves_columns),
    FAULT(pack_columns, pack_columns_writes_before),
    FAULT(tile, tile_drops_last),
    FAULT(tile, tile_overwrites),
    FAULT(tile, tile_is_inexact),
    FAULT(tile, tile_writes_gaps),
    FAULT(tile, tile_reads_ahead),
    FAULT(tile, tile_hides_nan),
    FAULT(dot_rows, dot_rows_drops_last),
    FAULT(dot_rows, dot_rows_forgets_block),
    FAULT(dot_rows, dot_rows_forgets_minima),
    FAULT(dot_rows, dot_rows_mistakes_sixes),
    FAULT(dot_rows, dot_rows_mistakes_iq4_scales),
    FAULT(dot_rows, dot_rows_lacks_table),
    FAULT(dot_rows, dot_rows_rounds_by_type),
    FAULT(dot_rows, dot_rows_ignores_stride),
    FAULT(dot_rows, dot_rows_reads_ahead),
    FAULT(dot_rows, dot_rows_writes_behind),
    FAULT(dot_groups, dot_groups_forgets_bias),
    FAULT(dot_groups, dot_groups_swaps_nibbles),
    FAULT(dot_groups, dot_groups_rounds_once),
    FAULT(dot_groups, dot_groups_reads_ahead),
    FAULT(quantize, quantize_rounds_away),
    FAULT(quantize, quantize_mistakes_sums),
    FAULT(pack_group, pack_group_leaves_columns),
    FAULT(pack_group, pack_group_is_signed),
    FAULT(qtile, qtile_saturates),
    FAULT(qtile, qtile_rounds_twice),
    FAULT(qtile, qtile_overwrites),
    FAULT(scale_row, scale_row_forgets_one),
    FAULT(sum_squares, sum_squares_drops_last),
    FAULT(sum_squares, sum_squares_reads_ahead),
    FAULT(silu_mul, silu_mul_ignores_y),
    FAULT(silu_mul, silu_mul_is_inexact),
    FAULT(silu_mul, silu_mul_clamps),
    FAULT(exp_sum, exp_sum_drops_last),
    FAULT(exp_sum, exp_sum_hides_nan),
    FAULT(exp_sum, exp_sum_writes_behind),
    FAULT(max, max_starts_at_zero),
    FAULT(max, max_drops_last),
    FAULT(scale, scale_drops_last),
    FAULT(peak_f32, peak_is_constant),
    FAULT(peak_integer, peak_is_constant),
};
const size_t faulty_kernel_count = sizeof faulty_kernels / sizeof *faulty_kernels;

zi_kernels kernels_with_fault(const faulty_kernel *fault, const zi_kernels *kernels)
{
    zi_kernels wrong = right = *kernels;
    memcpy((char *)&wrong + fault->slot, &fault->kernel, sizeof fault->kernel);
    return wrong;
}
