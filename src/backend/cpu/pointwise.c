#include "backend/cpu/internal.h"

#include <math.h>

/* ---- element by element ---- */

/* A run of elements without gaps, numbered from 0; y may be NULL for functions without y. */
typedef struct {
    const zi_kernels *kernels;
    float *x;
    const float *y;
    float a, b;
} element_job;

/* A row_fn on an element_job: x += y for elements [begin, end). */
static void add_elements(const void *context, size_t begin, size_t end)
{
    const element_job *job = context;
    for (size_t i = begin; i < end; i++) job->x[i] += job->y[i];
}

/* A row_fn on an element_job: x += a y for elements [begin, end). */
static void add_scaled_elements(const void *context, size_t begin, size_t end)
{
    const element_job *job = context;
    for (size_t i = begin; i < end; i++) job->x[i] += job->a * job->y[i];
}

/* A row_fn on an element_job: x += a (x - y) for elements [begin, end). */
static void extrapolate_elements(const void *context, size_t begin, size_t end)
{
    const element_job *job = context;
    for (size_t i = begin; i < end; i++) job->x[i] += job->a * (job->x[i] - job->y[i]);
}

/* A row_fn on an element_job: x = silu(x) y for elements [begin, end); without y: silu(x). */
static void silu_elements(const void *context, size_t begin, size_t end)
{
    const element_job *job = context;
    job->kernels->silu_mul(job->x + begin, job->y ? job->y + begin : NULL, end - begin);
}

/* A row_fn on an element_job: x = tanh(x) for elements [begin, end). */
static void tanh_elements(const void *context, size_t begin, size_t end)
{
    const element_job *job = context;
    for (size_t i = begin; i < end; i++) job->x[i] = tanhf(job->x[i]);
}

/* A row_fn on an element_job: x = x / a + b for elements [begin, end). */
static void divide_add_elements(const void *context, size_t begin, size_t end)
{
    const element_job *job = context;
    for (size_t i = begin; i < end; i++) job->x[i] = job->x[i] / job->a + job->b;
}

/* Changes x in place as `kind` says, with y of the same shape (no buffer, for kinds without y) and
 * the numbers a and b where the kind has them. All are f32. Rows of x and y may have gaps, and
 * those of y may all be the same (stride 0). Complete on return. */
void cpu_elementwise(zi_exec *base, zi_elementwise_kind kind, zi_view x, zi_view y, float a,
                     float b)
{
    enum { GRAIN = 4096, CHEAP_GRAIN = 8 * GRAIN };
    static const struct {
        row_fn run;
        size_t grain;
    } rows[ZI_ELEMENTWISE_COUNT] = {
        [ZI_ADD] = {add_elements, CHEAP_GRAIN},
        [ZI_ADD_SCALED] = {add_scaled_elements, CHEAP_GRAIN},
        [ZI_EXTRAPOLATE] = {extrapolate_elements, CHEAP_GRAIN},
        [ZI_SILU] = {silu_elements, GRAIN},
        [ZI_SILU_MUL] = {silu_elements, GRAIN},
        [ZI_TANH] = {tanh_elements, GRAIN},
        [ZI_DIVIDE_ADD] = {divide_add_elements, CHEAP_GRAIN},
    };
    cpu_exec *exec = exec_of(base);
    bool flat = zi_view_contiguous(x) && (!y.buffer || zi_view_contiguous(y));
    size_t runs = flat ? 1 : x.rows, n = flat ? x.rows * x.columns : x.columns;
    for (size_t i = 0; i < runs; i++) {
        element_job job = {exec->kernels, floats_of(zi_view_rows(x, i, 1)),
                           floats_of(zi_view_rows(y, i, 1)), a, b};
        run_rows(exec, n, rows[kind].grain, rows[kind].run, &job);
    }
}

/* ---- rope ---- */

typedef struct {
    float *x;
    const float *cosines, *sines;
    size_t heads, dim;
    bool interleaved;
} rope_job;

/* A row_fn: rotates the pairs (u, v) of each head in rows [begin, end) of x, in place, to (u cos -
 * v sin, u sin + v cos), by the row's cosines and sines [dim / 2]. interleaved: pairs (0, 1), (2,
 * 3), ...; otherwise (i, i + dim / 2). */
static void rope_rows(const void *context, size_t begin, size_t end)
{
    const rope_job *job = context;
    size_t half = job->dim / 2;
    size_t step = job->interleaved ? 2 : 1, apart = job->interleaved ? 1 : half;
    for (size_t t = begin; t < end; t++) {
        const float *cosines = job->cosines + t * half, *sines = job->sines + t * half;
        for (size_t h = 0; h < job->heads; h++) {
            float *x = job->x + (t * job->heads + h) * job->dim;
            for (size_t i = 0; i < half; i++) {
                float re = x[i * step], im = x[i * step + apart];
                x[i * step] = re * cosines[i] - im * sines[i];
                x[i * step + apart] = re * sines[i] + im * cosines[i];
            }
        }
    }
}

/* Rotates pairs of values of each head of x, in place, by each row's angles, given as cosines and
 * sines (rotary position embedding); see zi_rope_args. Rows in parallel; complete on return. */
void cpu_rope(zi_exec *exec, const zi_rope_args *args)
{
    enum { ROW_GRAIN = 16 };
    rope_job job = {.x = floats_of(args->x),
                    .cosines = floats_of(args->cosines),
                    .sines = floats_of(args->sines),
                    .heads = args->heads,
                    .dim = args->dim,
                    .interleaved = args->interleaved};
    run_rows(exec_of(exec), args->x.rows, ROW_GRAIN, rope_rows, &job);
}

/* ---- permute ---- */

typedef struct {
    const float *from;
    float *to;
    const zi_permute_args *args;
} permute_job;

/* Copies the elements of dimensions `dim` (from 0) and up, with all their indices; from and to are
 * where those begin. */
static void permute_below(const permute_job *job, int dim, const float *from, float *to)
{
    const zi_permute_args *args = job->args;
    size_t n = args->extents[dim], a = args->from_strides[dim], b = args->to_strides[dim];
    if (dim + 1 < args->dims && dim + 1 < ZI_PERMUTE_DIMS) {
        for (size_t i = 0; i < n; i++) permute_below(job, dim + 1, from + i * a, to + i * b);
    } else if (a == 1 && b == 1) {
        memcpy(to, from, n * sizeof *to);
    } else {
        for (size_t i = 0; i < n; i++) to[i * b] = from[i * a];
    }
}

/* A row_fn: copies the elements with indices [begin, end) of the first dimension. */
static void permute_rows(const void *context, size_t begin, size_t end)
{
    const permute_job *job = context;
    const zi_permute_args *args = job->args;
    for (size_t i = begin; i < end; i++)
        permute_below(job, 1, job->from + i * args->from_strides[0],
                      job->to + i * args->to_strides[0]);
}

/* Copies f32 elements from one order of dimensions to another, as extents and strides (in elements)
 * say; from and to do not overlap. Needs 2 to ZI_PERMUTE_DIMS dimensions, which is not checked;
 * threads share the first. Complete on return. */
void cpu_permute(zi_exec *exec, const zi_permute_args *args)
{
    enum { GRAIN = 1 << 15 }; /* elements */
    permute_job job = {floats_of(args->from), floats_of(args->to), args};
    size_t below = 1;
    for (int i = 1; i < args->dims; i++) below *= args->extents[i];
    run_rows(exec_of(exec), args->extents[0], GRAIN / (below ? below : 1), permute_rows, &job);
}
