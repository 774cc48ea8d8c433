/* Operations against plain loops in double precision, at awkward shapes. */
#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDEST_HEAD = 256, DEEPEST = 1100 };

static zi_test_engine engine;
static uint32_t state = 12345;

static float uniform(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1.0f;
}

/* n values in the arena; every test starts it anew. */
static float *values(size_t n)
{
    float *x = zi_arena_floats(&engine.arena, n);
    for (size_t i = 0; i < n; i++) x[i] = uniform();
    return x;
}

/* Values of a stored type: what is stored, and what it means. */
static void *stored(zi_dtype type, size_t n, float **meaning)
{
    float *x = values(n);
    char *data = zi_arena_alloc(&engine.arena, n * zi_dtype_size(type) + 1, 1);
    data++; /* nothing promises alignment */
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        uint16_t half = (uint16_t)(bits >> 16);
        if (type == ZI_F16)
            half = (uint16_t)((state >> (i % 13) & 0xbfff) % 0x7c00 | (i & 1) << 15);
        if (type == ZI_F32)
            memcpy(data + 4 * i, &x[i], 4);
        else
            memcpy(data + 2 * i, &half, 2);
    }
    zi_widen(type, data, x, n);
    *meaning = x;
    return data;
}

/* |got - sum| within c (n + 1) u times the sum of magnitudes. */
static bool close_to(double got, double sum, double magnitudes, size_t n)
{
    return fabs(got - sum) <= 4 * ((double)n + 1) * 0x1p-24 * magnitudes + 1e-30;
}

static void check_linear(zi_dtype type, size_t T, size_t N, size_t K, bool biased)
{
    size_t mark = zi_arena_mark(&engine.arena);
    float *w, *x = values(T * K), *bias = values(N), *y = values(T * N + 1);
    zi_matrix matrix = {.data = stored(type, N * K, &w), .type = type, .rows = N, .columns = K};
    y[T * N] = 42;
    zi_linear(&engine.ops, x, T, &matrix, biased ? bias : NULL, y);
    for (size_t t = 0; t < T; t++)
        for (size_t n = 0; n < N; n++) {
            double sum = biased ? bias[n] : 0, magnitudes = fabs(sum);
            for (size_t k = 0; k < K; k++) {
                sum += (double)x[t * K + k] * w[n * K + k];
                magnitudes += fabs((double)x[t * K + k] * w[n * K + k]);
            }
            if (!CHECK_MSG(close_to(y[t * N + n], sum, magnitudes, K),
                           "%s T %zu N %zu K %zu: y[%zu, %zu] is %g, not %g", zi_dtype_name(type),
                           T, N, K, t, n, y[t * N + n], sum))
                return;
        }
    CHECK(y[T * N] == 42);
    zi_arena_reset(&engine.arena, mark);
}

static void linear(void)
{
    static const size_t sides[] = {1, 2, 3, 5, 8, 31, 64, 65, 100};
    static const size_t depths[] = {1, 7, 64, 511, 512, 513, 1100};
    static const zi_dtype types[] = {ZI_F32, ZI_F16, ZI_BF16};
    for (size_t i = 0; i < 9; i++)
        for (size_t j = 0; j < 9; j++)
            for (size_t k = 0; k < 7; k++)
                check_linear(types[(i + j + k) % 3], sides[i], sides[j], depths[k], (i + j) % 2);
}

static void check_attention(size_t T, size_t S, size_t heads, size_t kv_heads, size_t dim,
                            bool causal)
{
    size_t mark = zi_arena_mark(&engine.arena), group = heads / kv_heads;
    float *q = values(T * heads * dim), *k = values(S * kv_heads * dim);
    float *v = values(S * kv_heads * dim), *out = values(T * heads * dim);
    double *weights = zi_arena_alloc(&engine.arena, S, sizeof *weights);
    for (size_t i = 0; i < T * heads * dim; i++) q[i] *= 8; /* sharp and flat rows */
    zi_attention(&engine.ops,
                 &(zi_attention_args){q, k, v, out, T, S, heads, kv_heads, dim, causal, false});
    for (size_t t = 0; t < T; t++)
        for (size_t h = 0; h < heads; h++) {
            size_t seen = causal ? t + 1 : S;
            double most = -INFINITY, total = 0;
            for (size_t s = 0; s < seen; s++) {
                double score = 0;
                for (size_t d = 0; d < dim; d++)
                    score += (double)q[(t * heads + h) * dim + d] *
                             k[(s * kv_heads + h / group) * dim + d];
                weights[s] = score / sqrt((double)dim);
                if (weights[s] > most) most = weights[s];
            }
            for (size_t s = 0; s < seen; s++) total += weights[s] = exp(weights[s] - most);
            for (size_t d = 0; d < dim; d++) {
                double sum = 0;
                for (size_t s = 0; s < seen; s++)
                    sum += weights[s] / total * v[(s * kv_heads + h / group) * dim + d];
                float got = out[(t * heads + h) * dim + d];
                if (!CHECK_MSG(fabs(got - sum) < 2e-5, "T %zu S %zu dim %zu causal %d: %g, not %g",
                               T, S, dim, causal, got, sum))
                    return;
            }
        }
    zi_arena_reset(&engine.arena, mark);
}

static void attention(void)
{
    check_attention(1, 1, 1, 1, 2, false);
    check_attention(5, 7, 2, 1, 6, false);
    check_attention(64, 256, 2, 2, 64, false);
    check_attention(65, 257, 3, 3, 20, false);
    check_attention(130, 600, 4, 2, 34, false);
    check_attention(3, 3, 4, 2, 8, true);
    check_attention(300, 300, 4, 1, 16, true);
    check_attention(257, 257, 2, 2, 10, true);
}

static void check_conv(zi_dtype type, size_t H, size_t W, size_t in, size_t out)
{
    size_t mark = zi_arena_mark(&engine.arena), stride = (W + 2) * in;
    float *w, *x = values(H * W * in), *padded = values((H + 2) * stride), *bias = values(out);
    float *panels = values(zi_conv3x3_workspace(&engine.ops, in, out)),
          *y = values(H * W * out + 1);
    zi_conv conv = {stored(type, out * in * 9, &w), type, out, in, 3, bias};
    y[H * W * out] = 42;
    zi_pad(&engine.ops, x, H, W, in, padded);
    zi_conv3x3(&engine.ops, &conv, padded, H, W, panels, y);
    for (size_t p = 0; p < H * W; p++)
        for (size_t o = 0; o < out; o++) {
            double sum = bias[o], magnitudes = fabs(sum);
            for (size_t tap = 0; tap < 9; tap++) {
                size_t row = p / W + tap / 3, column = p % W + tap % 3; /* with a border of one */
                if (row < 1 || row > H || column < 1 || column > W) continue;
                for (size_t c = 0; c < in; c++) {
                    double product = (double)x[((row - 1) * W + column - 1) * in + c] *
                                     w[(o * in + c) * 9 + tap];
                    sum += product;
                    magnitudes += fabs(product);
                }
            }
            if (!CHECK_MSG(close_to(y[p * out + o], sum, magnitudes, in * 9),
                           "%zux%zu in %zu out %zu: pixel %zu channel %zu is %g, not %g", H, W, in,
                           out, p, o, y[p * out + o], sum))
                return;
        }
    CHECK(y[H * W * out] == 42);
    zi_arena_reset(&engine.arena, mark);
}

static void convolution(void)
{
    check_conv(ZI_F32, 1, 1, 1, 1);
    check_conv(ZI_BF16, 2, 3, 4, 3);
    check_conv(ZI_F16, 5, 9, 3, 20);
    check_conv(ZI_BF16, 8, 8, 16, 16);
    check_conv(ZI_F32, 7, 13, 33, 17);
}

static void upsampling(void)
{
    size_t mark = zi_arena_mark(&engine.arena);
    float *x = values(2 * 3 * 5), *y = values(6 * 8 * 5);
    zi_upsample_pad(&engine.ops, x, 2, 3, 5, y);
    for (size_t row = 0; row < 6; row++)
        for (size_t column = 0; column < 8; column++)
            for (size_t c = 0; c < 5; c++) {
                bool border = row == 0 || row == 5 || column == 0 || column == 7;
                float wanted = border ? 0 : x[((row - 1) / 2 * 3 + (column - 1) / 2) * 5 + c];
                CHECK(y[(row * 8 + column) * 5 + c] == wanted);
            }
    zi_arena_reset(&engine.arena, mark);
}

static void group_norm(void)
{
    enum { H = 9, W = 11, C = 12, GROUPS = 3, PER = C / GROUPS };
    size_t mark = zi_arena_mark(&engine.arena);
    float *x = values(H * W * C), *y = values(H * W * C), *weight = values(C), *bias = values(C);
    float *padded = values((H + 2) * (W + 2) * C);
    for (size_t i = 0; i < H * W * C; i++) x[i] += 30; /* a mean that dwarfs the deviation */
    zi_group_norm norm = {weight, bias, C, GROUPS, 1e-6f};
    zi_group_norm_apply(&engine.ops, &norm, x, H * W, y);
    zi_group_norm_silu_pad(&engine.ops, &norm, x, H, W, padded);
    for (size_t c = 0; c < C; c++) {
        double mean = 0, variance = 0;
        for (size_t p = 0; p < H * W; p++)
            for (size_t i = 0; i < PER; i++) mean += x[p * C + c / PER * PER + i];
        mean /= H * W * PER;
        for (size_t p = 0; p < H * W; p++)
            for (size_t i = 0; i < PER; i++) {
                double d = x[p * C + c / PER * PER + i] - mean;
                variance += d * d / (H * W * PER);
            }
        for (size_t p = 0; p < H * W; p++) {
            double wanted = (x[p * C + c] - mean) / sqrt(variance + 1e-6) * weight[c] + bias[c];
            float got = y[p * C + c];
            float inside = padded[((p / W + 1) * (W + 2) + p % W + 1) * C + c];
            CHECK_MSG(fabs(got - wanted) < 1e-4, "%g, not %g", got, wanted);
            CHECK(fabs(inside - wanted / (1 + exp(-wanted))) < 1e-4);
        }
    }
    for (size_t i = 0; i < (W + 2) * C; i++)
        CHECK(padded[i] == 0 && padded[(H + 1) * (W + 2) * C + i] == 0);
    for (size_t row = 0; row < H + 2; row++)
        CHECK(padded[row * (W + 2) * C] == 0 && padded[(row * (W + 2) + W + 1) * C] == 0);
    zi_arena_reset(&engine.arena, mark);
}

static void row_norms(void)
{
    enum { T = 33, D = 19 };
    float *x = values(T * D), *y = values(T * D), *weight = values(D), *scale = values(D);
    float *residual = values(T * D), *before = values(T * D);
    memcpy(before, residual, T * D * sizeof *before);
    zi_rms_norm(&engine.ops, x, T, D, weight, 1e-5f, scale, y);
    for (size_t t = 0; t < T; t++) {
        double squares = 0, mean = 0, variance = 0;
        for (size_t i = 0; i < D; i++) squares += (double)x[t * D + i] * x[t * D + i] / D;
        for (size_t i = 0; i < D; i++) mean += x[t * D + i] / (double)D;
        for (size_t i = 0; i < D; i++) variance += pow(x[t * D + i] - mean, 2) / D;
        for (size_t i = 0; i < D; i++) {
            double wanted = x[t * D + i] / sqrt(squares + 1e-5) * weight[i] * (1 + scale[i]);
            CHECK(fabs(y[t * D + i] - wanted) < 1e-5);
        }
    }
    zi_layer_norm(&engine.ops, x, T, D, 1e-6f, scale, y);
    for (size_t t = 0; t < T; t++) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < D; i++) mean += x[t * D + i] / (double)D;
        for (size_t i = 0; i < D; i++) variance += pow(x[t * D + i] - mean, 2) / D;
        for (size_t i = 0; i < D; i++) {
            double wanted = (x[t * D + i] - mean) / sqrt(variance + 1e-6) * (1 + scale[i]);
            CHECK(fabs(y[t * D + i] - wanted) < 1e-5);
        }
    }
    memcpy(y, x, T * D * sizeof *y);
    zi_add_rms_norm(&engine.ops, residual, y, T, D, weight, 1e-5f, scale);
    zi_rms_norm(&engine.ops, x, T, D, weight, 1e-5f, NULL, x);
    for (size_t i = 0; i < T * D; i++)
        CHECK(fabs(residual[i] - (before[i] + (double)scale[i % D] * x[i])) < 1e-5);
}

static void turning_pairs(void)
{
    enum { T = 5, HEADS = 3, DIM = 8, HALF = DIM / 2 };
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        float *x = values(T * HEADS * DIM), *kept = values(T * HEADS * DIM);
        float *cosines = values(T * HALF), *sines = values(T * HALF);
        memcpy(kept, x, T * HEADS * DIM * sizeof *x);
        zi_rope(&engine.ops, x, T, HEADS, DIM, cosines, sines, interleaved);
        for (size_t t = 0; t < T; t++)
            for (size_t h = 0; h < HEADS; h++)
                for (size_t i = 0; i < HALF; i++) {
                    size_t row = (t * HEADS + h) * DIM;
                    size_t a = row + (interleaved ? 2 * i : i);
                    size_t b = row + (interleaved ? 2 * i + 1 : i + HALF);
                    float c = cosines[t * HALF + i], s = sines[t * HALF + i];
                    CHECK(fabsf(x[a] - (kept[a] * c - kept[b] * s)) < 1e-6f);
                    CHECK(fabsf(x[b] - (kept[a] * s + kept[b] * c)) < 1e-6f);
                }
    }
}

static void gates_and_sums(void)
{
    enum { N = 70001 }; /* more than one task each */
    float *x = values(N), *y = values(N), *gated = values(N), *sum = values(N);
    memcpy(gated, x, N * sizeof *x);
    memcpy(sum, x, N * sizeof *x);
    zi_silu_mul(&engine.ops, gated, y, N);
    zi_add(&engine.ops, sum, y, N);
    for (size_t i = 0; i < N; i++) {
        CHECK(fabs(gated[i] - x[i] / (1 + exp(-x[i])) * y[i]) < 1e-6);
        CHECK(sum[i] == x[i] + y[i]);
    }
}

static void unknown_tiers(void)
{
    zi_kernels kernels;
    zi_error error = {0};
    CHECK(!zi_kernels_select("sse9", &kernels, &error));
    CHECK(error.status == ZI_MISUSE && strstr(error.text, "sse9") && strstr(error.text, "ref"));
}

/* All 65,536 halves, by their definition. */
static void half_precision(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        int exponent = bits >> 10 & 31, mantissa = bits & 1023;
        double wanted = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        if (exponent == 31) wanted = mantissa ? NAN : INFINITY;
        if (bits >> 15) wanted = -wanted;
        float got = zi_f16_to_f32((uint16_t)bits);
        CHECK_MSG(isnan(wanted) ? isnan(got) : got == wanted, "0x%x is %g, not %g", bits, got,
                  wanted);
    }
}

int main(void)
{
    const char *tier;
    for (size_t i = 0; (tier = zi_next_tier(&i));) {
        zi_error error = {0};
        zi_test_engine_start(&engine, 3);
        CHECK_OK(zi_kernels_select(tier, &engine.ops.kernels, &error), error);
        zi_ops_plan(&engine.ops, &engine.arena, (zi_ops_limits){WIDEST_HEAD, DEEPEST});
        RUN(linear);
        RUN(attention);
        RUN(convolution);
        RUN(upsampling);
        RUN(group_norm);
        RUN(row_norms);
        RUN(turning_pairs);
        RUN(gates_and_sums);
        zi_test_engine_stop(&engine);
    }
    RUN(half_precision);
    RUN(unknown_tiers);
    return zi_test_result();
}
