/* Every kernel in portable C: what each one means, and what runs where no tier fits. Written so
 * that compilers can use the vectors that every CPU of an architecture has. */
#include "kernels/quantized.h"
#include "kernels/unroll.h"

enum { MR = 4, NR = 8 };

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

static void pack_a(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    pack_rows(ZI_F32, x, ldx, n, k, MR, out);
}

static void pack_columns(const float *w, size_t ldw, size_t n, size_t k, size_t nr, float *out)
{
    for (size_t p = 0; p < k; p++) {
        for (size_t j = 0; j < n; j++) out[p * nr + j] = w[p * ldw + j];
        for (size_t j = n; j < nr; j++) out[p * nr + j] = 0;
    }
}

/* Four floats that GCC and Clang keep in one register on every 64-bit machine. */
typedef float quad __attribute__((vector_size(16)));

static quad load(const float *x)
{
    quad value;
    memcpy(&value, x, sizeof value);
    return value;
}

static void tile(size_t k, const float *restrict a, const float *restrict b, float *restrict c,
                 size_t ldc, bool accumulate)
{
    quad sum[MR][NR / 4] = {{{0}}};
    for (size_t p = 0; p < k; p++)
        for (int i = 0; i < MR; i++)
            for (int j = 0; j < NR / 4; j++) sum[i][j] += a[p * MR + i] * load(b + p * NR + j * 4);
    for (int i = 0; i < MR; i++)
        for (int j = 0; j < NR / 4; j++) {
            float *at = c + i * ldc + j * 4;
            if (accumulate) sum[i][j] += load(at);
            memcpy(at, &sum[i][j], sizeof sum[i][j]);
        }
}

/* Sums in eight parts, of a stretch that is widened at once. */
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
                low += load(row + i) * load(x + p + i);
                high += load(row + i + 4) * load(x + p + i + 4);
            }
            for (; i < count; i++) rest += row[i] * x[p + i];
        }
        low += high;
        y[j] = (low[0] + low[1]) + (low[2] + low[3]) + rest;
    }
}

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
        low += load(row) * load(x + p);
        high += load(row + 4) * load(x + p + 4);
    }
    low += high;
    return (low[0] + low[1]) + (low[2] + low[3]);
}

/* ---- integers ---- */

enum { QMR = 4, QNR = 8 };

static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_rows(x, ldx, n, k, group, QMR, 1, 2, quantize_values, out);
}

static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_columns(q, ldq, n, group, scales, biases, QNR, 1, 2, out);
}

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

/* y may be NULL: ones. */
static void silu_mul(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = x[i] / (1.0f + expf(-x[i]));
        x[i] = y ? value * y[i] : value;
    }
}

static float exp_sum(float *x, float most, float factor, size_t n)
{
    float total = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = expf((x[i] - most) * factor);
        total += x[i];
    }
    return total;
}

static float max(const float *x, size_t n)
{
    float most = x[0];
    for (size_t i = 1; i < n; i++)
        if (x[i] > most) most = x[i];
    return most;
}

static void scale(float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

/* ---- peak ---- */

enum { PEAK_SUMS = 12 };

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

/* The empty asm keeps the compiler from working a product out only once. */
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
