/* Products with weights of every kind, and their rows. */
#include "calls.h"
#include "ops.h"
#include "stored.h"

#include <math.h>
#include <string.h>

#define ULP 0x1p-24 /* the largest relative error of rounding to f32 */

/* ---- what is right ---- */

/* Rotates each run of `size` values, in double precision. */
static void rotate(double *x, size_t n, size_t size)
{
    for (size_t step = 1; step < size; step *= 4)
        for (size_t i = 0; i < n; i++) {
            if (i / step % 4) continue;
            double *at = x + i, half = (at[0] + at[step] + at[2 * step] + at[3 * step]) / 2;
            double four[] = {half - at[3 * step], half - at[2 * step], half - at[step],
                             half - at[0]};
            for (size_t j = 0; j < 4; j++) at[j * step] = four[j];
        }
}

/* One row of a product, for a row of weights: the sum, the bound of rounding errors, and what
 * rounding to eight bits adds: at most, and as a mean square. */
typedef struct {
    double sum, exact_bound, fast_bound, squares, magnitudes;
} oracle;

enum { RUN = 64 }; /* values that are quantized together, at most */

static double largest(const double *x, size_t n)
{
    double max_value = 0;
    for (size_t i = 0; i < n; i++)
        if (fabs(x[i]) > max_value) max_value = fabs(x[i]);
    return max_value;
}

/* x [K]: rotated as w is; w [K]: as stored. loss: what a weight may be off by in fast products, as
 * a share of the largest in a run. */
static oracle multiply(const double *x, const float *w, size_t K, double bias, double loss)
{
    oracle o = {.sum = bias};
    double magnitudes = fabs(bias);
    for (size_t run = 0; run < K; run += RUN) {
        size_t end = run + RUN < K ? run + RUN : K;
        double max_x = largest(x + run, end - run), max_w = 0;
        for (size_t k = run; k < end; k++) max_w = fmax(max_w, fabs(w[k]));
        /* Half a step of the largest over 127; where sums of pairs are limited, four times. */
        double error_x = 2.1 * max_x / 126, error_w = loss * max_w;
        for (size_t k = run; k < end; k++) {
            double product = x[k] * w[k];
            o.sum += product;
            magnitudes += fabs(product);
            o.squares += product * product;
            o.fast_bound += error_x * (fabs(w[k]) + error_w) + fabs(x[k]) * error_w;
        }
    }
    o.exact_bound = 4 * fmin((double)K + 1, sqrt((double)K) + 8) * ULP * magnitudes + 1e-30;
    o.fast_bound += 4 * o.exact_bound;
    o.magnitudes = magnitudes;
    return o;
}

/* ---- a case ---- */

typedef struct {
    const zi_stored *w;
    const float *x;
    size_t T;
    const float *bias; /* NULL: none */
    bool fast;
} product;

/* How much weights of a kind lose in fast products: see zi_codes_to_bytes. */
static double loss_of(const zi_stored_kind *kind)
{
    return kind->bits && kind->codes != ZI_CODES_INTEGER ? 1.6 / 190 : 0;
}

/* How many of n rows of w are compared. */
static size_t rows_compared(const product *p)
{
    size_t budget = 1500000 / (p->T * p->w->matrix.columns) + 6, rows = p->w->matrix.rows;
    return budget < rows ? budget : rows;
}

/* Compares y [T, N] with double precision: of many rows of w, some from first to last. All the
 * errors of fast products together are compared with what rounding to eight bits makes. */
static void compare(zi_rig *rig, const product *p, const float *y)
{
    const zi_matrix *m = &p->w->matrix;
    size_t N = m->rows, K = m->columns, rows = rows_compared(p);
    double *x = zi_rig_alloc(rig, p->T * K, sizeof *x), errors = 0, squares = 0;
    float *w = zi_rig_alloc(rig, K, sizeof *w);
    bool fast = p->fast && zi_weight_quantized(&p->w->weight);
    for (size_t i = 0; i < p->T * K; i++) x[i] = p->x[i];
    if (m->rotation) rotate(x, p->T * K, m->rotation);
    for (size_t i = 0; i < rows; i++) {
        size_t n = rows > 1 ? i * (N - 1) / (rows - 1) : 0;
        zi_matrix_stored_values(m, n, 0, K, w);
        for (size_t t = 0; t < p->T; t++) {
            oracle o = multiply(x + t * K, w, K, p->bias ? p->bias[n] : 0, loss_of(p->w->kind));
            if (!zi_rig_near(rig, "y", t * N + n, y[t * N + n], o.sum,
                             (fast ? o.fast_bound : o.exact_bound) +
                                 rig->operand_error * o.magnitudes))
                return;
            errors += (y[t * N + n] - o.sum) * (y[t * N + n] - o.sum);
            squares += o.squares;
        }
    }
    if (fast && p->T * rows >= 16)
        CHECK_MSG(sqrt(errors / squares) < 0.05, "%s: fast products are off by %g of their size",
                  rig->what, sqrt(errors / squares));
    for (size_t i = 0; i < p->T * N; i++)
        if (!CHECK_MSG(isfinite(y[i]), "%s: y %zu is %g", rig->what, i, y[i])) return;
}

/* Inputs of which a few are far larger than the others. */
static float *inputs(zi_rig *rig, size_t n)
{
    float *x = zi_rig_values(rig, n);
    for (size_t i = 0; i < n; i++)
        if (zi_rig_below(rig, 97) == 0) x[i] *= 20;
    return x;
}

/* Inputs of about the same size but one, which is a hundred times as large. */
static float *one_large_input(zi_rig *rig, size_t n)
{
    float *x = zi_rig_values(rig, n);
    x[n / 2] = 100;
    return x;
}

/* Runs a case with inputs that a function makes. */
static void run_with(zi_rig *rig, const zi_stored_kind *kind, size_t T, size_t N, size_t K,
                     bool biased, bool fast, float *(*make_inputs)(zi_rig *, size_t))
{
    zi_rig_case(rig, fast, "%s linear, %s, T %zu N %zu K %zu", fast ? "fast" : "exact", kind->name,
                T, N, K);
    size_t first = kind->swizzled ? zi_rig_below(rig, 3) * 65 : 0;
    product p = {.w = zi_stored_make(rig, kind, N, K, first),
                 .x = make_inputs(rig, T * K),
                 .T = T,
                 .bias = biased ? zi_rig_values(rig, N) : NULL,
                 .fast = fast};
    const zi_weight *bias = biased ? zi_rig_vector(rig, p.bias, N) : NULL;
    /* A single row may be part of a wider one. */
    zi_view x = zi_rig_in(rig, p.x, T, K, T == 1 ? 5 : 0);
    zi_view y = zi_rig_out(rig, T, N, T == 1 ? 3 : 0);
    zi_rig_start(rig);
    zi_linear(rig->exec, x, &p.w->weight, bias, y);
    if (zi_rig_finish(rig)) compare(rig, &p, zi_rig_result(rig, y));
}

static void run(zi_rig *rig, const zi_stored_kind *kind, size_t T, size_t N, size_t K, bool biased,
                bool fast)
{
    run_with(rig, kind, T, N, K, biased, fast, inputs);
}

/* ---- tests ---- */

/* The i-th of some ragged numbers of columns that a kind can have. */
static size_t ragged_columns(const zi_stored_kind *kind, size_t i)
{
    static const size_t any[] = {1, 3, 17, 63, 65, 129, 257, 515};
    static const size_t swizzled[] = {16, 32, 100, 136, 160, 272, 65, 544};
    static const size_t runs_of_32[] = {1, 3, 5, 7, 9, 17, 2, 35};
    static const size_t runs[] = {1, 2, 3, 5, 7, 9, 4, 11};
    static const size_t blocks[] = {1, 2, 3, 5, 1, 3, 2, 1};
    size_t unit = zi_stored_unit(kind);
    if (kind->swizzled) return swizzled[i % 8];
    if (unit == 1) return any[i % 8];
    return unit * (unit <= 32 ? runs_of_32 : unit <= 128 ? runs : blocks)[i % 8];
}

/* Every kind of weights, at ragged shapes. Quantized ones in fast sessions, too, and others in some
 * of them, where they are as exact. */
void zi_ops_linear(zi_rig *rig)
{
    static const struct {
        size_t T, N;
    } shapes[] = {{1, 1},  {3, 17},  {65, 5},  {5, 129}, {1, 257}, {17, 63}, {2, 65},
                  {4, 33}, {63, 17}, {129, 3}, {33, 66}, {6, 7},   {1, 130}};
    enum { SHAPES = sizeof shapes / sizeof *shapes, PER_KIND = 5 };
    size_t count, next = 0;
    const zi_stored_kind *kinds = zi_stored_kinds(&count);
    for (size_t i = 0; i < count; i++) {
        if (kinds[i].extra && zi_rig_is_short(rig)) continue;
        for (size_t j = 0; j < PER_KIND; j++, next++) {
            size_t T = shapes[next % SHAPES].T, N = shapes[next % SHAPES].N;
            size_t K = ragged_columns(&kinds[i], i + j);
            bool both = kinds[i].bits || kinds[i].type >= ZI_I8 || j == 0;
            run(rig, &kinds[i], T, N, K, (i + j) % 2, false);
            if (both) run(rig, &kinds[i], T, N, K, (i + j) % 2, true);
        }
    }
}

/* A product of x [T, K] with a weight [N, K] of a kind. */
typedef struct {
    const char *kind;
    size_t T, N, K;
} shape;

static void run_shape(zi_rig *rig, const shape *s, bool with_bias, bool fast)
{
    run(rig, zi_stored_kind_find(s->kind), s->T, s->N, s->K, with_bias, fast);
}

/* Many and few rows, around the sizes at which a backend may cut or change its way. */
void zi_ops_linear_rows(zi_rig *rig)
{
    static const size_t rows[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 127, 128, 255, 1200};
    static const char *const names[] = {"F32", "BF16", "Q8_0", "4 bits in 64, BF16", "MLX nvfp4"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof names / sizeof *names; j++)
            for (int fast = 0; fast < 2; fast++)
                run(rig, zi_stored_kind_find(names[j]), rows[i], 36 + i, 64, i % 2, fast);
}

/* Weights of integer codes in fast sessions, which a backend may multiply as such: shapes around
 * its tiles; and one input far larger than those that may be quantized with it. */
void zi_ops_linear_codes(zi_rig *rig)
{
    static const shape rows[] = {{"I8, factors of rows", 70, 67, 103},
                                 {"I8 rotated by 64", 66, 130, 192},
                                 {"8 bits in 64, BF16", 9, 65, 320},
                                 {"4 bits in 32, F16", 65, 64, 96},
                                 {"3 bits in 128, F32", 12, 9, 128},
                                 {"Q8_0", 1160, 1290, 64},
                                 {"Q4_0", 17, 68, 160},
                                 {"Q5_1", 33, 70, 96},
                                 {"Q4_K", 20, 66, 512},
                                 {"IQ4_NL", 10, 70, 64},
                                 {"Q8_0", 2060, 6, 10240}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) run_shape(rig, &rows[i], i % 2, true);
    run_with(rig, zi_stored_kind_find("Q8_0"), 10, 70, 256, false, true, one_large_input);
}

/* Values far beyond what f16 has: from row to row of x and w, and rising along the depth. */
void zi_ops_linear_range(zi_rig *rig)
{
    enum { T = 77, N = 70, K = 131 };
    for (int fast = 0; fast < 2; fast++) {
        zi_rig_case(rig, fast, "%s linear of a wide range", fast ? "fast" : "exact");
        float *x = zi_rig_values(rig, T * K), *w = zi_rig_values(rig, N * K);
        for (size_t i = 0; i < T * K; i++) x[i] *= powf(10, 8 * (float)(i / K % 7) - 24);
        for (size_t i = 0; i < N * K; i++)
            w[i] *= powf(10, 6 * (float)(i / K / 32) - 6 + (float)(i % K / 25));
        zi_weight weight = *zi_rig_vector(rig, w, N * K);
        weight.data = zi_view_reshape(weight.data, N, K);
        zi_view in = zi_rig_in(rig, x, T, K, 0), out = zi_rig_out(rig, T, N, 0);
        zi_rig_start(rig);
        zi_linear(rig->exec, in, &weight, NULL, out);
        if (!zi_rig_finish(rig)) return;
        const float *y = zi_rig_result(rig, out);
        for (size_t i = 0; i < T * N; i++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < K; k++) {
                sum += (double)x[i / N * K + k] * w[i % N * K + k];
                size += fabs((double)x[i / N * K + k] * w[i % N * K + k]);
            }
            if (!zi_rig_near(rig, "y", i, y[i], sum, (64 * ULP + rig->operand_error) * size))
                return;
        }
    }
}

/* Shapes of the real model: its transformer, its text encoder, its VAE. */
void zi_ops_linear_model(zi_rig *rig)
{
    static const shape rows[] = {{"BF16", 3, 3840, 3840},
                                 {"BF16", 17, 512, 512},
                                 {"F8_E4M3, a factor", 2, 3840, 2560},
                                 {"Q4_K", 5, 3840, 10240},
                                 {"Q6_K", 2, 2560, 4096},
                                 {"4 bits in 64, BF16", 6, 2560, 9728},
                                 {"8 bits in 64, F16", 7, 10240, 3840},
                                 {"NVFP4", 5, 3840, 3840},
                                 {"MXFP8", 4, 4096, 2560},
                                 {"I8 rotated by 256", 5, 1024, 10240},
                                 {"BF16", 1, 15360, 256}};
    if (zi_rig_is_short(rig)) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const zi_stored_kind *kind = zi_stored_kind_find(rows[i].kind);
        run_shape(rig, &rows[i], i % 2, false);
        if (kind->bits || kind->type >= ZI_I8) run_shape(rig, &rows[i], i % 2, true);
    }
}

/* ---- rows ---- */

static void run_embed(zi_rig *rig, const zi_stored_kind *kind, size_t N, size_t K, size_t n,
                      bool fast)
{
    zi_rig_case(rig, fast, "embed, %s, N %zu K %zu n %zu", kind->name, N, K, n);
    const zi_stored *w = zi_stored_make(rig, kind, N, K, kind->swizzled ? 131 : 0);
    int32_t *rows = zi_rig_alloc(rig, n, sizeof *rows);
    float *wanted = zi_rig_alloc(rig, K, sizeof *wanted);
    for (size_t i = 0; i < n; i++) rows[i] = (int32_t)zi_rig_below(rig, N);
    rows[n - 1] = (int32_t)N - 1;
    rows[n / 2] = 0;
    zi_view y = zi_rig_out(rig, n, K, n == 1 ? 7 : 0);
    zi_rig_start(rig);
    zi_call_embed(rig->exec, &w->weight, rows, n, y);
    if (!zi_rig_finish(rig)) return;
    const float *got = zi_rig_result(rig, y);
    /* Plain values have nothing to round. */
    bool exact = !kind->bits && !kind->factors && zi_dtype_block(kind->type) == 1;
    double share = exact ? 0 : kind->rotation ? 64 * ULP : 8 * ULP;
    for (size_t i = 0; i < n; i++) {
        double max_value = 0;
        zi_matrix_row(&w->matrix, (size_t)rows[i], wanted);
        for (size_t k = 0; k < K; k++) max_value = fmax(max_value, fabs(wanted[k]));
        for (size_t k = 0; k < K; k++)
            if (!zi_rig_near(rig, "y", i * K + k, got[i * K + k], wanted[k], share * max_value))
                return;
    }
}

void zi_ops_embed(zi_rig *rig)
{
    static const size_t numbers[] = {1, 5, 65};
    size_t count;
    const zi_stored_kind *kinds = zi_stored_kinds(&count);
    for (size_t i = 0; i < count; i++) {
        run_embed(rig, &kinds[i], 37, ragged_columns(&kinds[i], i), numbers[i % 3], i % 2);
        run_embed(rig, &kinds[i], 150, ragged_columns(&kinds[i], i + 5), numbers[(i + 1) % 3],
                  false);
    }
    run_embed(rig, zi_stored_kind_find("BF16"), 2000, 2560, 33, false);
    run_embed(rig, zi_stored_kind_find("Q6_K"), 1500, 2560, 33, false);
    run_embed(rig, zi_stored_kind_find("Q8_0"), 151936, 32, 70, true); /* a vocabulary */
}
