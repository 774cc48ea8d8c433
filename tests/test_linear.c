/* Matrix products with weights in block formats, fp8 and int8, with and without scales per row:
 * exact and fast, in every tier, with the same bits for any number of threads. */
#include "base/blocks.h"
#include "base/matrix.h"
#include "fixture.h"
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 99;

static uint32_t bits32(void)
{
    return state = state * 1664525u + 1013904223u;
}

static float uniform(void)
{
    return (float)(bits32() >> 8) * 0x1p-23f - 1.0f;
}

typedef struct {
    zi_matrix w;
    size_t T;
    float *x, *scales, *values; /* values [N, K]: what w means */
    uint8_t *data;
} problem;

/* Random numbers under small scales: what is at one of a block type's `halves` is set to one. */
static void fill(uint8_t *data, zi_dtype type, size_t count)
{
    static const struct {
        zi_dtype type;
        int halves[2];
    } rows[] = {
        {ZI_Q4_0, {0, 0}}, {ZI_Q4_1, {0, 2}},     {ZI_Q5_0, {0, 0}},     {ZI_Q5_1, {0, 2}},
        {ZI_Q8_0, {0, 0}}, {ZI_Q2_K, {80, 82}},   {ZI_Q3_K, {108, 108}}, {ZI_Q4_K, {0, 2}},
        {ZI_Q5_K, {0, 2}}, {ZI_Q6_K, {208, 208}}, {ZI_IQ4_NL, {0, 0}},   {ZI_IQ4_XS, {0, 0}},
    };
    size_t bytes = zi_dtype_bytes(type, count), size = zi_dtype_size(type);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)(bits32() >> 24);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t i = 0; rows[r].type == type && i < bytes; i += size)
            for (int h = 0; h < 2; h++) {
                float scale = uniform() * 0.1f;
                zi_narrow(ZI_F16, &scale, data + i + rows[r].halves[h], 1);
            }
    if (type == ZI_F8_E4M3 || type == ZI_F8_E5M2) /* no NaN, no infinity */
        for (size_t i = 0; i < bytes; i++) data[i] &= 0xbf;
    if (type == ZI_F16)
        for (size_t i = 0; i < count; i++) {
            float value = uniform();
            zi_narrow(ZI_F16, &value, data + 2 * i, 1);
        }
}

static problem make_problem(zi_dtype type, size_t T, size_t N, size_t K, size_t scales)
{
    problem p = {.T = T};
    p.data = malloc(zi_dtype_bytes(type, N * K) + 1);
    p.x = malloc(T * K * sizeof *p.x);
    p.scales = malloc((scales + 1) * sizeof *p.scales);
    p.values = malloc(N * K * sizeof *p.values);
    uint8_t *data = p.data + 1; /* nothing promises alignment */
    fill(data, type, N * K);
    for (size_t i = 0; i < T * K; i++) p.x[i] = uniform() * (i % 97 ? 1 : 20);
    for (size_t i = 0; i < scales; i++) p.scales[i] = uniform() * 0.1f;
    zi_widen(type, data, p.values, N * K);
    for (size_t i = 0; scales && i < N * K; i++) p.values[i] *= p.scales[scales == 1 ? 0 : i / K];
    p.w = (zi_matrix){.data = data,
                      .type = type,
                      .rows = N,
                      .columns = K,
                      .row_scale = scales ? p.scales : NULL,
                      .row_scales = scales};
    return p;
}

static void free_problem(problem *p)
{
    free(p->data);
    free(p->x);
    free(p->scales);
    free(p->values);
}

static void check_exact(const problem *p, const float *y)
{
    size_t N = p->w.rows, K = p->w.columns;
    for (size_t i = 0; i < p->T * N; i++) {
        const float *x = p->x + i / N * K, *w = p->values + i % N * K;
        double sum = 0, magnitudes = 0;
        for (size_t k = 0; k < K; k++) {
            sum += (double)x[k] * w[k];
            magnitudes += fabs((double)x[k] * w[k]);
        }
        if (!CHECK_MSG(fabs(y[i] - sum) <= 4 * ((double)K + 1) * 0x1p-24 * magnitudes + 1e-30,
                       "%s K %zu: y[%zu] is %g, not %g", zi_dtype_name(p->w.type), K, i, y[i], sum))
            return;
    }
}

static const struct {
    zi_dtype type;
    size_t unit; /* of fast products; 0: they are exact, too */
    bool scaled;
} types[] = {
    {ZI_Q4_0, 32, false},   {ZI_Q4_1, 32, false},   {ZI_Q5_0, 32, false}, {ZI_Q5_1, 32, false},
    {ZI_Q8_0, 32, false},   {ZI_Q2_K, 0, false},    {ZI_Q3_K, 0, false},  {ZI_Q4_K, 32, false},
    {ZI_IQ4_NL, 32, false}, {ZI_IQ4_XS, 32, false}, {ZI_Q5_K, 32, false}, {ZI_Q6_K, 0, false},
    {ZI_F8_E4M3, 0, true},  {ZI_F8_E5M2, 0, true},  {ZI_I8, 64, true},    {ZI_F16, 0, true},
};

/* K is in blocks of 256 or, where a block is smaller, of seven times 32. */
static const struct {
    size_t T, N, blocks;
} sizes[] = {{1, 1, 2},   {5, 35, 5},  {13, 130, 1}, {37, 65, 1},
             {9, 257, 2}, {1, 700, 2}, {4, 33, 3}};

enum { TYPES = sizeof types / sizeof *types, SIZES = sizeof sizes / sizeof *sizes, KEPT = 2000 };

static float *kept[KEPT]; /* what the first fixture of a tier made of each product */

static void run_product(zi_fixture *fixture, const problem *p, size_t unit, float **before)
{
    zi_fixture_position mark = zi_fixture_mark(fixture);
    bool fast = fixture->exec->fast;
    size_t N = p->w.rows, K = p->w.columns, bytes = p->T * N * sizeof(float);
    zi_weight w = zi_fixture_weight(fixture, p->w.type, p->w.data, N, K);
    if (p->w.row_scale)
        w.factors = zi_fixture_vector(fixture, p->w.row_scale, p->w.row_scales).data;
    zi_view out = zi_fixture_view(fixture, NULL, p->T, N);
    zi_linear(fixture->exec, zi_fixture_view(fixture, p->x, p->T, K), &w, NULL, out);
    const float *y = zi_fixture_read(fixture, out);
    if (*before) {
        CHECK_MSG(memcmp(*before, y, bytes) == 0, "%s K %zu fast %d: other bits by threads",
                  zi_dtype_name(p->w.type), K, fast);
    } else {
        *before = memcpy(malloc(bytes), y, bytes);
        if (fast && unit && K % unit == 0)
            zi_test_check_fast(&fixture->kernels, zi_dtype_name(p->w.type),
                               &(zi_test_product){p->x, p->values, p->T, N, K, unit, 0}, y);
        else
            check_exact(p, y);
    }
    zi_fixture_reset(fixture, mark);
}

static void run_all(zi_fixture *fixture)
{
    size_t next = 0;
    state = 99; /* the same numbers each time */
    for (size_t t = 0; t < TYPES; t++)
        for (size_t s = 0; s < SIZES; s++)
            for (size_t scales = 0; scales <= (types[t].scaled ? 2u : 0u); scales++) {
                zi_dtype type = types[t].type;
                size_t block = zi_dtype_block(type), N = sizes[s].N;
                size_t K = block == 256 ? sizes[s].blocks * 256 : sizes[s].blocks * 7 * 32;
                if (block == 1) K += s % 2 ? 5 : 0; /* I8: then nothing divides it */
                problem p = make_problem(type, sizes[s].T, N, K, scales == 2 ? N : scales);
                for (int fast = 0; fast < 2; fast++) {
                    fixture->exec->fast = fast;
                    if (CHECK(next < KEPT)) run_product(fixture, &p, types[t].unit, &kept[next++]);
                }
                free_problem(&p);
            }
}

static const char *tier;

static void products(void)
{
    static const size_t threads[] = {1, 2, 8};
    for (int i = 0; i < 3; i++) {
        zi_fixture fixture;
        zi_fixture_start(&fixture, threads[i], tier, false);
        run_all(&fixture);
        zi_fixture_stop(&fixture);
    }
    for (size_t i = 0; i < KEPT; i++) {
        free(kept[i]);
        kept[i] = NULL;
    }
}

int main(void)
{
    for (size_t i = 0; (tier = zi_test_next_tier(&i));) RUN(products);
    return zi_test_result();
}
