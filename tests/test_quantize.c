/* Quantization against mx.quantize, bit for bit; products of quantized matrices, exact and fast, in
 * every tier. */
#include "golden.h"
#include "base/matrix.h"
#include "io/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static zi_checkpoint golden;

/* A golden matrix and one way of quantizing it: NAME.w, NAME.bBgG.wq, .scales, .biases. */
typedef struct {
    char name[32], way[48]; /* "normal_f32", "normal_f32.b8g64" */
    int bits;
    size_t group;
    const zi_tensor *w, *wq, *scales, *biases;
} sample;

static bool read_sample(const zi_tensor *wq, sample *s)
{
    const char *dot = strrchr(wq->name, '.');
    if (!dot || strcmp(dot, ".wq") != 0) return false;
    *s = (sample){.wq = wq};
    snprintf(s->way, sizeof s->way, "%.*s", (int)(dot - wq->name), wq->name);
    snprintf(s->name, sizeof s->name, "%.*s", (int)strcspn(s->way, "."), s->way);
    if (sscanf(strrchr(s->way, '.'), ".b%dg%zu", &s->bits, &s->group) != 2) return false;
    s->w = zi_golden_tensor(&golden, "%s.w", s->name);
    s->scales = zi_golden_tensor(&golden, "%s.scales", s->way);
    s->biases = zi_golden_tensor(&golden, "%s.biases", s->way);
    return true;
}

static zi_matrix matrix_of(const sample *s)
{
    return (zi_matrix){.data = s->wq->data,
                       .type = s->w->type,
                       .rows = s->w->shape[0],
                       .columns = s->w->shape[1],
                       .bits = s->bits,
                       .group = s->group,
                       .scales = s->scales->data,
                       .biases = s->biases->data,
                       .scale_type = s->scales->type};
}

static void check_bits(const sample *s)
{
    size_t width = zi_dtype_size(s->w->type), bytes = s->group * (size_t)s->bits / 8;
    for (size_t g = 0; g < s->w->count / s->group; g++) {
        float w[128];
        uint8_t q[128], scale[4], bias[4];
        zi_widen(s->w->type, (const char *)s->w->data + g * s->group * width, w, s->group);
        zi_quantize_group(w, s->group, s->bits, s->w->type, q, scale, bias);
        CHECK_MSG(memcmp(q, (const char *)s->wq->data + g * bytes, bytes) == 0 &&
                      memcmp(scale, (const char *)s->scales->data + g * width, width) == 0 &&
                      memcmp(bias, (const char *)s->biases->data + g * width, width) == 0,
                  "%s: group %zu differs", s->way, g);
    }
}

static void as_mlx(void)
{
    int samples = 0;
    sample s;
    for (size_t i = 0; i < golden.tensor_count; i++) {
        if (!read_sample(&golden.tensors[i], &s)) continue;
        check_bits(&s);
        samples++;
    }
    CHECK_MSG(samples == 32, "%d samples", samples);
}

/* The groups of a matrix as a weight; its memory must stay as long as the fixture. */
static zi_weight weight_of(zi_fixture *fixture, const zi_matrix *m)
{
    size_t groups = m->columns / m->group;
    zi_weight w = zi_fixture_weight(fixture, m->type, m->data, m->rows, m->columns);
    w.bits = m->bits;
    w.group = m->group;
    w.scales = zi_fixture_weight(fixture, m->scale_type, m->scales, m->rows, groups).data;
    w.biases = zi_fixture_weight(fixture, m->scale_type, m->biases, m->rows, groups).data;
    return w;
}

/* x [5, K] times the matrix, as mx.quantized_matmul gives it for f32 inputs. */
static void check_product(zi_fixture *fixture, const sample *s, const zi_tensor *wanted)
{
    zi_matrix m = matrix_of(s);
    const zi_tensor *stored = zi_golden_tensor(&golden, "%s.x", s->name);
    zi_weight w = weight_of(fixture, &m);
    float *x = zi_fixture_random_values(fixture, stored->count); /* files promise no alignment */
    float *reference = zi_fixture_random_values(fixture, wanted->count);
    zi_view out = zi_fixture_view(fixture, NULL, 5, m.rows);
    double max_value = 0, worst = 0;
    zi_widen(ZI_F32, stored->data, x, stored->count);
    zi_widen(ZI_F32, wanted->data, reference, wanted->count);
    zi_linear(fixture->exec, zi_fixture_view(fixture, x, 5, m.columns), &w, NULL, out);
    const float *y = zi_fixture_read(fixture, out);
    for (size_t i = 0; i < wanted->count; i++) {
        max_value = fmax(max_value, fabs(reference[i]));
        worst = fmax(worst, fabs(y[i] - reference[i]));
    }
    CHECK_MSG(worst <= 1e-5 * max_value, "%s: %g of %g", s->way, worst, max_value);
}

static void products(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 2, NULL, false);
    int samples = 0;
    sample s;
    for (size_t i = 0; i < golden.tensor_count; i++) {
        char name[64];
        if (!read_sample(&golden.tensors[i], &s)) continue;
        snprintf(name, sizeof name, "%s.qmm_f32", s.way);
        const zi_tensor *wanted = zi_checkpoint_find(&golden, name);
        if (!wanted) continue;
        check_product(&fixture, &s, wanted);
        samples++;
    }
    CHECK_MSG(samples > 20, "%d samples", samples);
    zi_fixture_stop(&fixture);
}

/* ---- fast products ---- */

static uint32_t state = 7;

static float uniform(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1.0f;
}

typedef struct {
    zi_matrix w;
    float *x, *scales, *biases;
    uint8_t *q;
    size_t T;
} problem;

static problem make_problem(size_t T, size_t N, size_t K, int bits, size_t group)
{
    problem p = {.T = T};
    size_t groups = N * K / group;
    p.x = malloc(T * K * sizeof *p.x);
    p.q = malloc(N * K * (size_t)bits / 8);
    p.scales = malloc(groups * sizeof *p.scales);
    p.biases = malloc(groups * sizeof *p.biases);
    for (size_t i = 0; i < T * K; i++) p.x[i] = uniform() * (i % 97 ? 1 : 20);
    for (size_t i = 0; i < N * K * (size_t)bits / 8; i++) p.q[i] = (uint8_t)(uniform() * 255);
    for (size_t i = 0; i < groups; i++) {
        p.scales[i] = uniform() * 0.01f;
        p.biases[i] = uniform();
    }
    p.w = (zi_matrix){.data = p.q,
                      .type = ZI_F32,
                      .rows = N,
                      .columns = K,
                      .bits = bits,
                      .group = group,
                      .scales = p.scales,
                      .biases = p.biases,
                      .scale_type = ZI_F32};
    return p;
}

static void free_problem(problem *p)
{
    free(p->x);
    free(p->q);
    free(p->scales);
    free(p->biases);
}

static double weight(const problem *p, size_t n, size_t k)
{
    size_t at = n * p->w.columns + k, g = at / p->w.group;
    int q = p->w.bits == 8 ? p->q[at] : p->q[at / 2] >> (at % 2 * 4) & 15;
    return q * (double)p->scales[g] + p->biases[g];
}

/* The result is that of inputs rounded as the tier quantizes them, exact but for f32 rounding. */
static void check_fast(const zi_kernels *kernels, const problem *p, const float *y)
{
    size_t K = p->w.columns, N = p->w.rows, unit = p->w.group < 64 ? p->w.group : 64;
    double *x = malloc(K * sizeof *x);
    for (size_t i = 0; i < p->T * N; i++) {
        double sum = 0, magnitudes = 0;
        if (i % N == 0) zi_test_quantize(kernels, p->x + i / N * K, K, unit, x);
        for (size_t k = 0; k < K; k++) {
            sum += x[k] * weight(p, i % N, k);
            magnitudes += fabs(x[k] * weight(p, i % N, k));
        }
        if (!CHECK_MSG(fabs(y[i] - sum) <= 1e-5 * magnitudes + 1e-30,
                       "bits %d group %zu: y[%zu, %zu] is %g, not %g", p->w.bits, p->w.group, i / N,
                       i % N, y[i], sum))
            break;
    }
    free(x);
}

/* Tiers that round alike give the same bits, with any number of threads. */
static void fast_products(void)
{
    static const struct {
        size_t T, N, K;
        int bits;
        size_t group;
    } cases[] = {{1, 1, 64, 8, 64},   {7, 33, 128, 8, 64},    {13, 130, 640, 4, 64},
                 {37, 65, 96, 8, 32}, {25, 257, 1152, 8, 64}, {6, 16, 256, 8, 128}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem p = make_problem(cases[i].T, cases[i].N, cases[i].K, cases[i].bits, cases[i].group);
        size_t bytes = p.T * p.w.rows * sizeof(float);
        float *first[2] = {NULL}; /* by q_sums_limited */
        const char *tier;
        for (size_t j = 0; (tier = zi_test_next_tier(&j));) {
            zi_fixture fixture;
            zi_fixture_start(&fixture, 1 + j, tier, true);
            zi_weight w = weight_of(&fixture, &p.w);
            zi_view out = zi_fixture_view(&fixture, NULL, p.T, p.w.rows);
            zi_linear(fixture.exec, zi_fixture_view(&fixture, p.x, p.T, p.w.columns), &w, NULL,
                      out);
            const float *y = zi_fixture_read(&fixture, out);
            check_fast(&fixture.kernels, &p, y);
            float **before = &first[fixture.kernels.q_sums_limited];
            if (*before) CHECK_MSG(memcmp(*before, y, bytes) == 0, "%s: other bits", tier);
            if (!*before) *before = memcpy(malloc(bytes), y, bytes);
            zi_fixture_stop(&fixture);
        }
        for (int j = 0; j < 2; j++) free(first[j]);
        free_problem(&p);
    }
}

int main(void)
{
    golden = zi_golden_open("quantize.safetensors");
    RUN(as_mlx);
    RUN(products);
    RUN(fast_products);
    zi_checkpoint_close(&golden);
    return zi_test_result();
}
