/* Operations against plain loops in double precision, at awkward shapes. */
#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDEST_HEAD = 256, DEEPEST = 1100 };

static zi_test_engine engine;

/* n values in the arena; every test starts it anew. */
static float *values(size_t n)
{
    return zi_test_values(&engine, n);
}

static void *stored(zi_dtype type, size_t n, float **meaning)
{
    return zi_test_stored(&engine, type, n, meaning);
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
            size_t seen = causal ? S - T + t + 1 : S;
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
    check_attention(1, 300, 4, 2, 64, true);
    check_attention(4, 600, 3, 1, 22, true);
    check_attention(2, 257, 2, 2, 34, false);
    check_attention(150, 700, 2, 1, 16, true);
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
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "cpu");
    CHECK(strstr(error.text, "sse9") && strstr(error.text, "ref"));
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
        RUN(row_norms);
        RUN(turning_pairs);
        RUN(gates_and_sums);
        zi_test_engine_stop(&engine);
    }
    RUN(half_precision);
    RUN(unknown_tiers);
    return zi_test_result();
}
