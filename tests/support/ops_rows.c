/* Operations that work on rows or elements alone: norms, rope, elementwise. */
#include "calls.h"
#include "ops.h"

#include <math.h>
#include <string.h>

#define ULP 0x1p-24

/* ---- norms ---- */

typedef struct {
    zi_norm_kind kind;
    size_t T, D;
    bool in_place, scaled; /* scaled: with a scale or a gate */
    float eps;
} norm_case;

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

/* Rows of ordinary size, of zeros, tiny and large ones, and some far from 0. */
static float *norm_inputs(zi_rig *rig, size_t T, size_t D)
{
    static const float sizes[] = {1, 0, 1e-4f, 1e6f, 30};
    float *x = zi_rig_values(rig, T * D);
    for (size_t i = 0; i < T * D; i++) {
        x[i] *= sizes[i / D % 5];
        if (i / D % 5 == 4) x[i] += 100;
    }
    return x;
}

/* Checks y against x, what y held before, weight and scale (or gate). */
static void check_norm(zi_rig *rig, const norm_case *c, const float *x, const float *before,
                       const float *weight, const float *scale, const float *y)
{
    double share = 2 * (sqrt((double)c->D) + 8) * ULP;
    for (size_t t = 0; t < c->T; t++) {
        const float *row = x + t * c->D;
        double mean = c->kind == ZI_LAYER_NORM ? mean_of(row, c->D) : 0;
        double size = deviation(row, c->D, mean, c->eps);
        for (size_t i = 0; i < c->D; i++) {
            double s = c->scaled ? scale[i] : c->kind == ZI_ADD_RMS_NORM ? 1 : 0;
            double factor = c->kind == ZI_LAYER_NORM ? 1 : weight[i], base = 0;
            factor *= c->kind == ZI_ADD_RMS_NORM ? s : 1 + s;
            if (c->kind == ZI_ADD_RMS_NORM) base = before[t * c->D + i];
            double wanted = base + (row[i] - mean) / size * factor;
            double bound = share * ((fabs(row[i]) + fabs(mean)) / size *
                                        (fabs(factor) + (c->scaled ? 0.1 : 0)) +
                                    fabs(base));
            if (!zi_rig_near(rig, "y", t * c->D + i, y[t * c->D + i], wanted, bound)) return;
        }
    }
}

static void run_norm(zi_rig *rig, const norm_case *c)
{
    static const char *const names[] = {"rms norm", "add rms norm", "layer norm"};
    zi_rig_case(rig, false, "%s, T %zu D %zu%s%s", names[c->kind], c->T, c->D,
                c->in_place ? " in place" : "", c->scaled ? " scaled" : "");
    bool adds = c->kind == ZI_ADD_RMS_NORM, single = c->T == 1;
    float *x = norm_inputs(rig, c->T, c->D), *before = zi_rig_values(rig, c->T * c->D);
    float *weight = zi_rig_values(rig, c->D), *scale = zi_rig_values(rig, c->D);
    zi_norm_args args = {.kind = c->kind, .eps = c->eps};
    args.x = c->in_place || adds ? zi_rig_inout(rig, x, c->T, c->D, single ? 9 : 0)
                                 : zi_rig_in(rig, x, c->T, c->D, single ? 9 : 0);
    args.y = c->in_place ? args.x
             : adds      ? zi_rig_inout(rig, before, c->T, c->D, 0)
                         : zi_rig_out(rig, c->T, c->D, single ? 1 : 0);
    if (c->kind != ZI_LAYER_NORM) args.weight = zi_rig_vector(rig, weight, c->D);
    zi_view factors = zi_rig_in(rig, scale, 1, c->D, 3 * c->D); /* part of a wider row */
    if (c->scaled) *(adds ? &args.gate : &args.scale) = factors;
    zi_rig_start(rig);
    zi_call_norm(rig->exec, &args);
    if (zi_rig_finish(rig))
        check_norm(rig, c, x, before, weight, scale, zi_rig_result(rig, args.y));
}

void zi_ops_norm(zi_rig *rig)
{
    static const struct {
        size_t T, D;
    } shapes[] = {{1, 1},    {3, 17},   {33, 19},   {65, 129}, {5, 63},    {17, 65}, {1, 3840},
                  {6, 3840}, {5, 2560}, {330, 128}, {7, 512},  {2, 10240}, {129, 3}, {65601, 2}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = ZI_RMS_NORM; kind <= ZI_LAYER_NORM; kind++)
            for (int variant = 0; variant < 4; variant++) {
                norm_case c = {(zi_norm_kind)kind, shapes[i].T, shapes[i].D,
                               variant & 1,        variant & 2, i % 2 ? 1e-5f : 1e-6f};
                if (c.in_place && kind != ZI_RMS_NORM) continue;
                run_norm(rig, &c);
            }
}

/* ---- rope ---- */

static void run_rope(zi_rig *rig, size_t T, size_t heads, size_t dim, bool interleaved)
{
    zi_rig_case(rig, false, "rope, T %zu heads %zu dim %zu interleaved %d", T, heads, dim,
                interleaved);
    size_t half = dim / 2;
    float *x = zi_rig_values(rig, T * heads * dim);
    float *cosines = zi_rig_values(rig, T * half), *sines = zi_rig_values(rig, T * half);
    zi_rope_args args = {.x = zi_rig_inout(rig, x, T, heads * dim, T == 1 ? 4 : 0),
                         .heads = heads,
                         .dim = dim,
                         .cosines = zi_rig_in(rig, cosines, T, half, T == 1 ? 6 : 0),
                         .sines = zi_rig_in(rig, sines, T, half, 0),
                         .interleaved = interleaved};
    zi_rig_start(rig);
    zi_call_rope(rig->exec, &args);
    if (!zi_rig_finish(rig)) return;
    const float *got = zi_rig_result(rig, args.x);
    for (size_t i = 0; i < T * heads * half; i++) {
        size_t pair = i % half, row = i / half * dim, t = i / (half * heads);
        size_t a = row + (interleaved ? 2 * pair : pair);
        size_t b = row + (interleaved ? 2 * pair + 1 : pair + half);
        double c = cosines[t * half + pair], s = sines[t * half + pair];
        double u = x[a], v = x[b], bound = 4 * ULP * (fabs(u) + fabs(v));
        if (!zi_rig_near(rig, "x", a, got[a], u * c - v * s, bound) ||
            !zi_rig_near(rig, "x", b, got[b], u * s + v * c, bound))
            return;
    }
}

void zi_ops_rope(zi_rig *rig)
{
    static const struct {
        size_t T, heads, dim;
    } shapes[] = {{1, 1, 2},     {3, 1, 6},    {5, 3, 8},    {17, 63, 10},
                  {65, 30, 128}, {129, 8, 64}, {1, 32, 128}, {65601, 1, 4}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int interleaved = 0; interleaved < 2; interleaved++)
            run_rope(rig, shapes[i].T, shapes[i].heads, shapes[i].dim, interleaved);
}

/* ---- elementwise ---- */

/* The result of a kind, and the magnitudes whose rounding errors add up in it. */
static double element(zi_elementwise_kind kind, double x, double y, double a, double b,
                      double *magnitudes)
{
    double silu = x / (1 + exp(-x));
    switch (kind) {
    case ZI_ADD:
        *magnitudes = fabs(x) + fabs(y);
        return x + y;
    case ZI_ADD_SCALED:
        *magnitudes = fabs(x) + fabs(a * y);
        return x + a * y;
    case ZI_EXTRAPOLATE:
        *magnitudes = fabs(x) + fabs(a) * (fabs(x) + fabs(y));
        return x + a * (x - y);
    case ZI_SILU:
        *magnitudes = fmax(1, fabs(silu)) * 4;
        return silu;
    case ZI_SILU_MUL:
        *magnitudes = fmax(1, fabs(silu)) * 4 * fabs(y);
        return silu * y;
    case ZI_TANH:
        *magnitudes = 4;
        return tanh(x);
    case ZI_DIVIDE_ADD:
        *magnitudes = fabs(x / a) + fabs(b);
        return x / a + b;
    case ZI_ELEMENTWISE_COUNT:
        break;
    }
    return NAN;
}

/* Whether a kind has no y. */
static bool alone(zi_elementwise_kind kind)
{
    return kind == ZI_SILU || kind == ZI_TANH || kind == ZI_DIVIDE_ADD;
}

/* Values of all sizes that activations have; the exponential of some is not finite. */
static float *element_inputs(zi_rig *rig, size_t n)
{
    static const float sizes[] = {1, 10, 100, 1e-5f, 0};
    float *x = zi_rig_values(rig, n);
    for (size_t i = 0; i < n; i++) x[i] *= sizes[zi_rig_below(rig, 5)];
    return x;
}

/* repeated: all rows of y are one. */
static void run_elementwise(zi_rig *rig, zi_elementwise_kind kind, size_t rows, size_t columns,
                            size_t gap_x, size_t gap_y, bool repeated)
{
    zi_rig_case(rig, false, "elementwise %d, %zux%zu, gaps of %zu and %zu%s", (int)kind, rows,
                columns, gap_x, gap_y, repeated ? ", one row" : "");
    const float a = zi_rig_uniform(rig) + (alone(kind) ? 2 : 0), b = zi_rig_uniform(rig);
    size_t rows_y = repeated ? 1 : rows;
    float *x = element_inputs(rig, rows * columns), *y = zi_rig_values(rig, rows_y * columns);
    zi_view to = zi_rig_inout(rig, x, rows, columns, gap_x), from = {0};
    if (!alone(kind)) from = zi_rig_in(rig, y, rows_y, columns, gap_y);
    if (repeated) {
        from.rows = rows;
        from.stride = 0;
    }
    zi_rig_start(rig);
    rig->exec->ops->elementwise(rig->exec, kind, to, from, a, b);
    if (!zi_rig_finish(rig)) return;
    const float *got = zi_rig_result(rig, to);
    for (size_t i = 0; i < rows * columns; i++) {
        double magnitudes;
        size_t j = repeated ? i % columns : i;
        double wanted = element(kind, x[i], alone(kind) ? 0 : y[j], a, b, &magnitudes);
        if (!zi_rig_near(rig, "x", i, got[i], wanted, 4 * ULP * magnitudes)) return;
    }
}

void zi_ops_elementwise(zi_rig *rig)
{
    static const struct {
        size_t rows, columns;
    } shapes[] = {{1, 1},     {3, 17},    {65, 129}, {63, 1},   {1, 65},
                  {2, 70001}, {6, 10240}, {257, 3},  {65601, 1}};
    for (int kind = 0; kind < ZI_ELEMENTWISE_COUNT; kind++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            size_t rows = shapes[i].rows, columns = shapes[i].columns;
            zi_elementwise_kind k = (zi_elementwise_kind)kind;
            run_elementwise(rig, k, rows, columns, 0, 0, false);
            run_elementwise(rig, k, rows, columns, 3, 0, false);
            if (alone(k)) continue;
            run_elementwise(rig, k, rows, columns, 0, 5, false);
            run_elementwise(rig, k, rows, columns, 4, 1, false);
            run_elementwise(rig, k, rows, columns, 1, 0, true);
        }
}
