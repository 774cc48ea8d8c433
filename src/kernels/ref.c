/* Every kernel in portable C: what each one means, and what runs where no tier fits. Written so
 * that compilers can use the vectors that every CPU of an architecture has. */
#include "kernels/quantized.h"
#include "kernels/unroll.h"

enum { MR = 4, NR = 8 };

/* Packs n <= nr rows of w (F32, F16 or BF16; row stride ldw elements), k values each, as f32 into
 * the panel out [k, nr]; missing columns are zero. */
static void pack_rows(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k, size_t nr,
                      float *out)
{
    enum { CHUNK = 256 };
    float row[CHUNK];
    size_t width = zi_dtype_size(type);
    if (n < nr) memset(out, 0, k * nr * sizeof *out);
    for (size_t j = 0; j < n; j++) {
        const char *source = (const char *)w + j * ldw * width;
        for (size_t p = 0; p < k; p += CHUNK) {
            size_t count = k - p < CHUNK ? k - p : CHUNK;
            zi_widen(type, source + p * width, row, count);
            for (size_t i = 0; i < count; i++) out[(p + i) * nr + j] = row[i];
        }
    }
}

/* Packs n <= MR rows of x [n, k] (row stride ldx) into the panel out [k, MR]; missing rows are
 * zero. */
static void pack_a(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    pack_rows(ZI_F32, x, ldx, n, k, MR, out);
}

/* Packs n <= nr columns of w [k, n] (row stride ldw) into the panel out [k, nr]; missing columns
 * are zero. */
static void pack_columns(const float *w, size_t ldw, size_t n, size_t k, size_t nr, float *out)
{
    for (size_t p = 0; p < k; p++) {
        for (size_t j = 0; j < n; j++) out[p * nr + j] = w[p * ldw + j];
        for (size_t j = n; j < nr; j++) out[p * nr + j] = 0;
    }
}

/* Four floats that GCC and Clang keep in one register on every 64-bit machine. */
typedef float quad __attribute__((vector_size(16)));

/* Loads four floats from an address of any alignment. */
static quad load_quad(const float *x)
{
    quad value;
    memcpy(&value, x, sizeof value);
    return value;
}

/* c [MR, NR] (row stride ldc) = the product a^T b of panels a [k, MR] and b [k, NR], all of it;
 * accumulate: added to c instead. */
static void tile(size_t k, const float *restrict a, const float *restrict b, float *restrict c,
                 size_t ldc, bool accumulate)
{
    quad sum[MR][NR / 4] = {{{0}}};
    for (size_t p = 0; p < k; p++)
        for (int i = 0; i < MR; i++)
            for (int j = 0; j < NR / 4; j++)
                sum[i][j] += a[p * MR + i] * load_quad(b + p * NR + j * 4);
    for (int i = 0; i < MR; i++)
        for (int j = 0; j < NR / 4; j++) {
            float *at = c + i * ldc + j * 4;
            if (accumulate) sum[i][j] += load_quad(at);
            memcpy(at, &sum[i][j], sizeof sum[i][j]);
        }
}

/* y[j] = the product of row j of w (k values of `type`, whole blocks; rows ldw bytes apart) and x
 * [k], for n rows. type: one of zi_kernels_dot. Sums in eight parts, of a stretch that is widened
 * at once. */
static void dot_rows(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x, size_t k,
                     float *y)
{
    enum { CHUNK = 256 };
    float row[CHUNK];
    for (size_t j = 0; j < n; j++) {
        const char *source = (const char *)w + j * ldw;
        quad low = {0}, high = {0};
        float rest = 0;
        for (size_t p = 0; p < k; p += CHUNK) {
            size_t count = k - p < CHUNK ? k - p : CHUNK, i = 0;
            zi_widen(type, source + zi_dtype_bytes(type, p), row, count);
            for (; i + 8 <= count; i += 8) {
                low += load_quad(row + i) * load_quad(x + p + i);
                high += load_quad(row + i + 4) * load_quad(x + p + i + 4);
            }
            for (; i < count; i++) rest += row[i] * x[p + i];
        }
        low += high;
        y[j] = (low[0] + low[1]) + (low[2] + low[3]) + rest;
    }
}

/* Returns the product of x [k] and a row of values q * scale + bias, where `group` values share
 * scale and bias. q: 8 bits, or 4 bits, two to a byte, low one first. k is whole groups. */
static float dot_groups(int bits, const void *w, size_t group, const float *scales,
                        const float *biases, const float *x, size_t k)
{
    const uint8_t *q = w;
    quad low = {0}, high = {0};
    float row[8];
    for (size_t p = 0; p < k; p += 8) {
        float scale = scales[p / group], bias = biases[p / group];
        for (size_t i = p; i < p + 8; i++)
            row[i - p] = (float)(bits == 8 ? q[i] : q[i / 2] >> i % 2 * 4 & 15) * scale + bias;
        low += load_quad(row) * load_quad(x + p);
        high += load_quad(row + 4) * load_quad(x + p + 4);
    }
    low += high;
    return (low[0] + low[1]) + (low[2] + low[3]);
}

/* ---- integers ---- */

enum { QMR = 4, QNR = 8 };

/* Quantizes n <= QMR rows of x [n, k] (row stride ldx), in groups with a scale each, into a panel
 * (quantized.h) of 16-bit integers, |q| at most 127, in steps of one; missing rows are zero. k is
 * whole groups of any size up to ZI_MAX_GROUP. A NaN or infinity makes its group's scale a NaN or
 * infinite. */
static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_rows(x, ldx, n, k, group, QMR, 1, 2, quantize_values, out);
}

/* Packs one group of n <= QNR columns, bytes q [n, group] (row stride ldq) with a scale and a bias
 * each, into a panel (quantized.h) of 16-bit integers in steps of one; missing columns are zero. */
static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_columns(q, ldq, n, group, scales, biases, QNR, 1, 2, out);
}

/* c [QMR, QNR] (row stride ldc) = the product of quantized panels a and b (quantized.h) of `groups`
 * (> 0) groups; accumulate: added to c. Sums of a group are exact integers, then scaled and added
 * in f32. */
static void qtile(size_t groups, size_t group, const void *a, const void *b, float *c, size_t ldc,
                  bool accumulate)
{
    for (size_t g = 0; g < groups; g++) {
        const int16_t *qa = a, *qb = b;
        const float *scales_a = (const float *)(const void *)(qa + QMR * group);
        const float *scales_b = (const float *)(const void *)(qb + QNR * group);
        const float *sums = scales_a + QMR, *biases = scales_b + QNR;
        for (size_t i = 0; i < QMR; i++)
            for (size_t j = 0; j < QNR; j++) {
                int32_t sum = 0;
                for (size_t p = 0; p < group; p++) sum += qa[p * QMR + i] * qb[p * QNR + j];
                float *at = &c[i * ldc + j], before = accumulate || g > 0 ? *at : 0.0f;
                *at = fmaf(sums[i], biases[j], fmaf((float)sum, scales_a[i] * scales_b[j], before));
            }
        a = sums + 2 * QMR;
        b = biases + QNR;
    }
}

/* ---- vectors ---- */

/* out[i] = x[i] * factor * weight[i] * (1 + scale[i]); weight and scale may be NULL (ones and
 * zeros). out may be x. */
static void scale_row(const float *x, float factor, const float *weight, const float *scale,
                      float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = x[i] * factor;
        if (weight) value *= weight[i];
        if (scale) value *= 1.0f + scale[i];
        out[i] = value;
    }
}

/* The sum of x[i]^2, in sixteen partial sums; 0 for n = 0. */
static float sum_squares(const float *x, size_t n)
{
    float sums[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) sums[j] += x[i + (size_t)j] * x[i + (size_t)j];
    float total = 0;
    for (; i < n; i++) total += x[i] * x[i];
    for (int j = 0; j < 16; j++) total += sums[j];
    return total;
}

/* x[i] = silu(x[i]) * y[i], in place; y may be NULL: ones. */
static void silu_mul(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = x[i] / (1.0f + expf(-x[i]));
        x[i] = y ? value * y[i] : value;
    }
}

/* Replaces x[i] by exp((x[i] - max_value) * factor) and returns the sum of these; 0 for n = 0. */
static float exp_sum(float *x, float max_value, float factor, size_t n)
{
    float total = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = expf((x[i] - max_value) * factor);
        total += x[i];
    }
    return total;
}

/* The largest of n > 0 values; unspecified if there is a NaN among them. */
static float max(const float *x, size_t n)
{
    float max_value = x[0];
    for (size_t i = 1; i < n; i++)
        if (x[i] > max_value) max_value = x[i];
    return max_value;
}

/* x[i] *= factor, in place. */
static void scale(float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

/* ---- peak ---- */

enum { PEAK_SUMS = 12 };

/* Runs `rounds` rounds of independent f32 multiply-adds in variables, for a benchmark that takes
 * the time; returns how many multiply-adds these are. */
static size_t peak_f32(size_t rounds)
{
    quad sums[PEAK_SUMS] = {{0}}, x = {1, 1, 1, 1}, y = {0.5f, 0.5f, 0.5f, 0.5f};
    __asm__ volatile("" : "+m"(sums)); /* it must not see that they are alike */
    for (size_t r = 0; r < rounds; r++) {
        UNROLL
        for (int i = 0; i < PEAK_SUMS; i++) sums[i] = sums[i] * y + x;
    }
    __asm__ volatile("" : : "m"(sums));
    return rounds * PEAK_SUMS * 4;
}

/* Runs `rounds` rounds of independent 32-bit integer multiply-adds, for a benchmark that takes the
 * time; returns how many these are. The empty asm keeps the compiler from working a product out
 * only once. */
static size_t peak_integer(size_t rounds)
{
    int32_t sums[PEAK_SUMS] = {0}, x = 3, y = 5;
    for (size_t r = 0; r < rounds; r++) {
        UNROLL
        for (int i = 0; i < PEAK_SUMS; i++) {
            __asm__ volatile("" : "+r"(x));
            sums[i] += x * y;
        }
    }
    __asm__ volatile("" : : "m"(sums));
    return rounds * PEAK_SUMS;
}

void zi_kernels_ref(zi_kernels *kernels)
{
    *kernels = (zi_kernels){
        .tier = "ref",
        .mr = MR,
        .nr = NR,
        .pack_a = pack_a,
        .pack_rows = pack_rows,
        .pack_columns = pack_columns,
        .tile = tile,
        .dot_rows = dot_rows,
        .dot_groups = dot_groups,
        .qmr = QMR,
        .qnr = QNR,
        .q_step = 1,
        .q_width = 2,
        .quantize = quantize_panel,
        .pack_group = pack_group,
        .qtile = qtile,
        .scale_row = scale_row,
        .sum_squares = sum_squares,
        .silu_mul = silu_mul,
        .exp_sum = exp_sum,
        .max = max,
        .scale = scale,
        .peak_f32 = peak_f32,
        .peak_integer = peak_integer,
    };
}
