/* Operations of the CPU backend against plain loops in double precision, at ragged shapes. */
#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static zi_fixture fixture;
static const char *tier; /* of the fixture */
static const zi_view none;

/* n values; every test gives them back. */
static float *values(size_t n)
{
    return zi_fixture_random_values(&fixture, n);
}

static zi_view view(const float *x, size_t rows, size_t columns)
{
    return zi_fixture_view(&fixture, x, rows, columns);
}

/* |got - sum| within c (n + 1) u times the sum of magnitudes. */
static bool close_to(double got, double sum, double magnitudes, size_t n)
{
    return fabs(got - sum) <= 4 * ((double)n + 1) * 0x1p-24 * magnitudes + 1e-30;
}

static void check_linear(zi_dtype type, size_t T, size_t N, size_t K, bool biased)
{
    zi_fixture_position mark = zi_fixture_mark(&fixture);
    float *w, *x = values(T * K), *bias = values(N), *y = values(T * N + 1);
    zi_weight weight = zi_fixture_weight(&fixture, type,
                                         zi_fixture_random_stored(&fixture, type, N * K, &w), N, K);
    zi_weight biases = zi_fixture_vector(&fixture, bias, N);
    zi_view out = view(y, 1, T * N + 1);
    zi_linear(fixture.exec, view(x, T, K), &weight, biased ? &biases : NULL,
              zi_view_reshape(out, T, N));
    float *got = zi_fixture_read(&fixture, out);
    for (size_t t = 0; t < T; t++)
        for (size_t n = 0; n < N; n++) {
            double sum = biased ? bias[n] : 0, magnitudes = fabs(sum);
            for (size_t k = 0; k < K; k++) {
                sum += (double)x[t * K + k] * w[n * K + k];
                magnitudes += fabs((double)x[t * K + k] * w[n * K + k]);
            }
            if (!CHECK_MSG(close_to(got[t * N + n], sum, magnitudes, K),
                           "%s T %zu N %zu K %zu: y[%zu, %zu] is %g, not %g", zi_dtype_name(type),
                           T, N, K, t, n, got[t * N + n], sum))
                return;
        }
    CHECK(got[T * N] == y[T * N]); /* nothing is written behind the result */
    zi_fixture_reset(&fixture, mark);
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

static void embedding(void)
{
    enum { ROWS = 37, COLUMNS = 21, N = 5 };
    static const int32_t rows[N] = {36, 0, 7, 7, 12};
    zi_fixture_position mark = zi_fixture_mark(&fixture);
    float *w;
    void *data = zi_fixture_random_stored(&fixture, ZI_BF16, ROWS * COLUMNS, &w);
    zi_weight weight = zi_fixture_weight(&fixture, ZI_BF16, data, ROWS, COLUMNS);
    zi_view y = view(NULL, N, COLUMNS);
    zi_embed(fixture.exec, &weight, rows, N, y);
    const float *got = zi_fixture_read(&fixture, y);
    for (size_t i = 0; i < N; i++)
        CHECK(!memcmp(got + i * COLUMNS, w + rows[i] * COLUMNS, COLUMNS * sizeof *got));
    zi_fixture_reset(&fixture, mark);
}

static void check_attention(size_t T, size_t S, size_t heads, size_t kv_heads, size_t dim,
                            bool causal)
{
    zi_fixture_position mark = zi_fixture_mark(&fixture);
    size_t group = heads / kv_heads;
    float *q = values(T * heads * dim), *k = values(S * kv_heads * dim);
    float *v = values(S * kv_heads * dim);
    double *weights = zi_fixture_alloc(&fixture, S, sizeof *weights);
    zi_view out = view(NULL, T, heads * dim);
    for (size_t i = 0; i < T * heads * dim; i++) q[i] *= 8; /* sharp and flat rows */
    zi_attention(fixture.exec, &(zi_attention_args){.q = view(q, T, heads * dim),
                                                    .k = view(k, S, kv_heads * dim),
                                                    .v = view(v, S, kv_heads * dim),
                                                    .out = out,
                                                    .heads = heads,
                                                    .kv_heads = kv_heads,
                                                    .dim = dim,
                                                    .causal = causal});
    const float *result = zi_fixture_read(&fixture, out);
    for (size_t t = 0; t < T; t++)
        for (size_t h = 0; h < heads; h++) {
            size_t seen = causal ? S - T + t + 1 : S;
            double max_value = -INFINITY, total = 0;
            for (size_t s = 0; s < seen; s++) {
                double score = 0;
                for (size_t d = 0; d < dim; d++)
                    score += (double)q[(t * heads + h) * dim + d] *
                             k[(s * kv_heads + h / group) * dim + d];
                weights[s] = score / sqrt((double)dim);
                if (weights[s] > max_value) max_value = weights[s];
            }
            for (size_t s = 0; s < seen; s++) total += weights[s] = exp(weights[s] - max_value);
            for (size_t d = 0; d < dim; d++) {
                double sum = 0;
                for (size_t s = 0; s < seen; s++)
                    sum += weights[s] / total * v[(s * kv_heads + h / group) * dim + d];
                float got = result[(t * heads + h) * dim + d];
                if (!CHECK_MSG(fabs(got - sum) < 2e-5, "T %zu S %zu dim %zu causal %d: %g, not %g",
                               T, S, dim, causal, got, sum))
                    return;
            }
        }
    zi_fixture_reset(&fixture, mark);
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

enum { LOST_KEYS = 130, LOST_DIM = 128 };

/* Fast attention of one head with these keys; returns the result [LOST_KEYS, LOST_DIM]. */
static float *attend_fast(zi_fixture *fast, const float *k)
{
    float *q = zi_fixture_random_values(fast, LOST_KEYS * LOST_DIM);
    float *v = zi_fixture_random_values(fast, LOST_KEYS * LOST_DIM);
    zi_view out = zi_fixture_view(fast, NULL, LOST_KEYS, LOST_DIM);
    zi_attention(fast->exec,
                 &(zi_attention_args){.q = zi_fixture_view(fast, q, LOST_KEYS, LOST_DIM),
                                      .k = zi_fixture_view(fast, k, LOST_KEYS, LOST_DIM),
                                      .v = zi_fixture_view(fast, v, LOST_KEYS, LOST_DIM),
                                      .out = out,
                                      .heads = 1,
                                      .kv_heads = 1,
                                      .dim = LOST_DIM,
                                      .fast = true});
    return zi_fixture_read(fast, out);
}

/* Quantizing keys hides no value that is not finite, and takes those that have no inverse for
 * zero. */
static void odd_keys(void)
{
    static const float odd[] = {NAN, -NAN, INFINITY, -INFINITY};
    static const size_t places[] = {0, 63, 64 + 7, 129 * LOST_DIM + 127};
    zi_fixture fast;
    zi_fixture_start(&fast, 3, tier, true);
    float *k = zi_fixture_random_values(&fast, LOST_KEYS * LOST_DIM);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        for (size_t j = 0; j < sizeof places / sizeof *places; j++) {
            zi_fixture_position mark = zi_fixture_mark(&fast);
            float kept = k[places[j]];
            k[places[j]] = odd[i];
            const float *got = attend_fast(&fast, k);
            for (size_t n = 0; n < LOST_KEYS * LOST_DIM; n++)
                if (!CHECK_MSG(!isfinite(got[n]), "%g at %zu is lost: %g", odd[i], places[j],
                               got[n]))
                    break;
            k[places[j]] = kept;
            zi_fixture_reset(&fast, mark);
        }
    for (int exponent = -149; exponent < -118; exponent++) {
        zi_fixture_position mark = zi_fixture_mark(&fast);
        for (size_t n = 0; n < LOST_KEYS * LOST_DIM; n++)
            k[n] = ldexpf(zi_fixture_random(&fast), exponent);
        const float *got = attend_fast(&fast, k);
        for (size_t n = 0; n < LOST_KEYS * LOST_DIM; n++)
            if (!CHECK_MSG(fabsf(got[n]) < 0.5f, "keys of 2^%d: %g", exponent, got[n])) break;
        zi_fixture_reset(&fast, mark);
    }
    zi_fixture_stop(&fast);
}

static double mean_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

/* The root of the mean square of deviations from a mean. */
static double deviation(const float *x, size_t n, double mean, double eps)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean) / (double)n;
    return sqrt(squares + eps);
}

static void row_norms(void)
{
    enum { T = 33, D = 19 };
    zi_fixture_position mark = zi_fixture_mark(&fixture);
    float *x = values(T * D), *weight = values(D), *scale = values(D), *before = values(T * D);
    zi_weight w = zi_fixture_vector(&fixture, weight, D);
    zi_view scales = view(scale, 1, D), in = view(x, T, D), rms = view(NULL, T, D);
    zi_view layer = view(NULL, T, D), sum = view(before, T, D), plain = view(before, T, D);
    zi_rms_norm(fixture.exec, in, &w, 1e-5f, scales, rms);
    zi_layer_norm(fixture.exec, in, 1e-6f, scales, layer);
    zi_rms_norm_add(fixture.exec, view(x, T, D), &w, 1e-5f, scales, sum);
    zi_rms_norm_add(fixture.exec, view(x, T, D), &w, 1e-5f, none, plain);
    zi_rms_norm(fixture.exec, in, &w, 1e-5f, none, in); /* in place */
    const float *got_rms = zi_fixture_read(&fixture, rms),
                *got_layer = zi_fixture_read(&fixture, layer);
    const float *got_sum = zi_fixture_read(&fixture, sum),
                *got_plain = zi_fixture_read(&fixture, plain);
    const float *in_place = zi_fixture_read(&fixture, in);
    for (size_t i = 0; i < T * D; i++) {
        const float *row = x + i / D * D;
        double mean = mean_of(row, D), s = scale[i % D];
        double normed = x[i] / deviation(row, D, 0, 1e-5) * weight[i % D];
        CHECK(fabs(got_rms[i] - normed * (1 + s)) < 1e-5);
        CHECK(fabs(got_layer[i] - (x[i] - mean) / deviation(row, D, mean, 1e-6) * (1 + s)) < 1e-5);
        CHECK(fabs(got_sum[i] - (before[i] + s * normed)) < 1e-5);
        CHECK(fabs(got_plain[i] - (before[i] + normed)) < 1e-5);
        CHECK(fabs(in_place[i] - normed) < 1e-5);
    }
    zi_fixture_reset(&fixture, mark);
}

static void turning_pairs(void)
{
    enum { T = 5, HEADS = 3, DIM = 8, HALF = DIM / 2 };
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        zi_fixture_position mark = zi_fixture_mark(&fixture);
        float *x = values(T * HEADS * DIM);
        float *cosines = values(T * HALF), *sines = values(T * HALF);
        zi_view turned = view(x, T, HEADS * DIM);
        zi_rope(fixture.exec, &(zi_rope_args){turned, HEADS, DIM, view(cosines, T, HALF),
                                              view(sines, T, HALF), interleaved});
        const float *got = zi_fixture_read(&fixture, turned);
        for (size_t t = 0; t < T; t++)
            for (size_t h = 0; h < HEADS; h++)
                for (size_t i = 0; i < HALF; i++) {
                    size_t row = (t * HEADS + h) * DIM;
                    size_t a = row + (interleaved ? 2 * i : i);
                    size_t b = row + (interleaved ? 2 * i + 1 : i + HALF);
                    float c = cosines[t * HALF + i], s = sines[t * HALF + i];
                    CHECK(fabsf(got[a] - (x[a] * c - x[b] * s)) < 1e-6f);
                    CHECK(fabsf(got[b] - (x[a] * s + x[b] * c)) < 1e-6f);
                }
        zi_fixture_reset(&fixture, mark);
    }
}

static double element(zi_elementwise_kind kind, double x, double y, double a, double b)
{
    switch (kind) {
    case ZI_ADD:
        return x + y;
    case ZI_ADD_SCALED:
        return x + a * y;
    case ZI_EXTRAPOLATE:
        return x + a * (x - y);
    case ZI_SILU:
        return x / (1 + exp(-x));
    case ZI_SILU_MUL:
        return x / (1 + exp(-x)) * y;
    case ZI_TANH:
        return tanh(x);
    case ZI_DIVIDE_ADD:
        return x / a + b;
    case ZI_ELEMENTWISE_COUNT:
        break;
    }
    return NAN;
}

/* Rows of more than one task each, without gaps and with. */
static void elementwise(void)
{
    enum { ROWS = 2, COLUMNS = 70001, STRIDE = COLUMNS + 3 };
    const float a = 0.7f, b = -0.3f;
    for (int kind = 0; kind < ZI_ELEMENTWISE_COUNT; kind++)
        for (size_t stride = COLUMNS; stride <= STRIDE; stride += 3) {
            zi_fixture_position mark = zi_fixture_mark(&fixture);
            float *x = values(ROWS * stride), *y = values(ROWS * COLUMNS);
            zi_view all = view(x, ROWS, stride), part = zi_view_columns(all, 0, COLUMNS);
            bool alone = kind == ZI_SILU || kind == ZI_TANH || kind == ZI_DIVIDE_ADD;
            fixture.exec->ops->elementwise(fixture.exec, (zi_elementwise_kind)kind, part,
                                           alone ? none : view(y, ROWS, COLUMNS), a, b);
            const float *got = zi_fixture_read(&fixture, all);
            for (size_t i = 0; i < ROWS * stride; i++) {
                size_t row = i / stride, column = i % stride;
                double wanted = column < COLUMNS ? element((zi_elementwise_kind)kind, x[i],
                                                           y[row * COLUMNS + column], a, b)
                                                 : x[i];
                if (!CHECK_MSG(fabs(got[i] - wanted) < 1e-6, "kind %d at %zu: %g, not %g", kind, i,
                               got[i], wanted))
                    break;
            }
            zi_fixture_reset(&fixture, mark);
        }
}

static void permute(void)
{
    enum { A = 70, B = 3, C = 29 };
    zi_fixture_position mark = zi_fixture_mark(&fixture);
    float *x = values(A * B * C);
    zi_view to = view(NULL, C * A, B), repeated = view(NULL, A, C);
    zi_permute(fixture.exec, &(zi_permute_args){.from = view(x, A * B, C),
                                                .to = to,
                                                .dims = 3,
                                                .extents = {A, B, C},
                                                .from_strides = {B * C, C, 1},
                                                .to_strides = {B, 1, A * B}});
    zi_view row = view(x, 1, C);
    row.stride = 0;
    zi_copy_rows(fixture.exec, row, repeated);
    const float *got = zi_fixture_read(&fixture, to), *rows = zi_fixture_read(&fixture, repeated);
    for (size_t i = 0; i < A * B * C; i++)
        CHECK(got[i % C * A * B + i / (B * C) * B + i / C % B] == x[i]);
    for (size_t i = 0; i < A; i++) CHECK(!memcmp(rows + i * C, x, C * sizeof *x));
    zi_fixture_reset(&fixture, mark);
}

/* What is not finite is reported once, by the first name, and from then on. */
static void finite_values(void)
{
    enum { ROWS = 130, COLUMNS = 33 };
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        zi_fixture other;
        zi_error error = {0};
        zi_fixture_start(&other, 3, NULL, false);
        float *x = zi_fixture_random_values(&other, ROWS * COLUMNS), y;
        zi_view good = zi_fixture_view(&other, x, ROWS, COLUMNS);
        zi_check_finite(other.exec, good, "good");
        CHECK_OK(zi_submit(other.exec, &error), error);
        x[ROWS * COLUMNS - 1] = odd[i];
        zi_view bad = zi_fixture_view(&other, x, ROWS, COLUMNS);
        zi_check_finite(other.exec, zi_view_columns(bad, 0, COLUMNS - 1), "good, too");
        CHECK_OK(zi_submit(other.exec, &error), error);
        zi_check_finite(other.exec, bad, "layers.3");
        zi_check_finite(other.exec, bad, "layers.4");
        CHECK(!zi_submit(other.exec, &error) && error.code == ZI_ERROR_BAD_FORMAT &&
              !strcmp(error.subject, "layers.3"));
        CHECK(!zi_read(other.exec, zi_view_rows(zi_view_columns(good, 0, 1), 0, 1), &y, &error));
        zi_fixture_stop(&other);
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
    for (size_t i = 0; (tier = zi_test_next_tier(&i));) {
        zi_fixture_start(&fixture, 3, tier, false);
        RUN(linear);
        RUN(embedding);
        RUN(attention);
        RUN(odd_keys);
        RUN(row_norms);
        RUN(turning_pairs);
        RUN(elementwise);
        RUN(permute);
        zi_fixture_stop(&fixture);
    }
    RUN(finite_values);
    RUN(half_precision);
    RUN(unknown_tiers);
    return zi_test_result();
}
