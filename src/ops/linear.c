/* The matrix product behind every linear layer. The input is packed (or quantized) once into panels
 * of a tile's height. A task then owns a block of the output: it packs a slice of the weights to
 * panels that stay in its cache, and runs its rows over them. */
#include "ops/internal.h"

enum {
    BLOCK_N = 64,   /* columns of a task */
    BLOCK_K = 1024, /* depth of the weights packed at once, a multiple of every group */
};

/* Panels of one arithmetic: dense f32, or integers in groups. A unit of depth is one number of each
 * row, or one group. */
typedef struct {
    bool integer;
    size_t mr, nr, unit;
    size_t a_bytes, b_bytes; /* of a panel, per unit */
} layout;

typedef struct {
    const zi_ops *ops;
    const float *x; /* [T, K] */
    const zi_matrix *w;
    const float *bias;
    float *y; /* [T, N] */
    size_t T, column_blocks, rows_per_task;
    layout panels;
} linear_job;

/* Groups of 128 are taken as two of 64 with the same scale. */
static size_t unit_of(const zi_matrix *w)
{
    return smaller(w->group, ZI_MAX_GROUP);
}

static layout layout_for(const zi_ops *ops, const zi_matrix *w)
{
    const zi_kernels *k = &ops->kernels;
    size_t unit = unit_of(w);
    if (!w->bits || !ops->fast) return (layout){false, k->mr, k->nr, 1, k->mr * 4, k->nr * 4};
    return (layout){true, k->qmr, k->qnr, unit, zi_qa_bytes(k, unit), zi_qb_bytes(k, unit)};
}

size_t linear_scratch(const zi_kernels *kernels)
{
    size_t nr = kernels->nr > kernels->qnr ? kernels->nr : kernels->qnr;
    return BLOCK_K * (round_up(BLOCK_N, nr) + nr) + round_up(BLOCK_N, nr) * (BLOCK_K / 32 * 2);
}

size_t linear_packed(const zi_kernels *kernels, size_t depth)
{
    size_t mr = kernels->mr > kernels->qmr ? kernels->mr : kernels->qmr;
    return (MAX_ROWS + mr) * depth;
}

/* ---- the input ---- */

static char *input_panel(const linear_job *job, size_t row)
{
    const layout *p = &job->panels;
    return (char *)job->ops->packed + row / p->mr * (job->w->columns / p->unit) * p->a_bytes;
}

static void pack_input(const void *context, size_t begin, size_t end)
{
    const linear_job *job = context;
    const zi_kernels *kernels = &job->ops->kernels;
    size_t K = job->w->columns, mr = job->panels.mr;
    for (size_t tile = begin; tile < end; tile++) {
        size_t row = tile * mr, rows = smaller(mr, job->T - row);
        void *panel = input_panel(job, row);
        if (job->panels.integer)
            kernels->quantize(job->x + row * K, K, rows, K, job->panels.unit, panel);
        else
            kernels->pack_a(job->x + row * K, K, rows, K, panel);
    }
}

/* ---- the weights ---- */

/* Scales or biases at a column, for rows [row, row + n) of w. */
static void group_scales(const zi_matrix *w, const void *stored, size_t row, size_t n,
                         size_t column, float *out)
{
    size_t groups = w->columns / w->group, width = zi_dtype_size(w->scale_type);
    const char *first = (const char *)stored + (row * groups + column / w->group) * width;
    for (size_t j = 0; j < n; j++) zi_widen(w->scale_type, first + j * groups * width, out + j, 1);
}

/* One unit of depth of n rows of w. */
typedef struct {
    const uint8_t *q; /* [n, unit] with row stride ldq */
    size_t ldq;
    float scales[ZI_MAX_NR], biases[ZI_MAX_NR];
    uint8_t space[ZI_MAX_NR * ZI_MAX_GROUP]; /* for nibbles */
} weight_group;

static void read_group(const zi_matrix *w, size_t row, size_t n, size_t column, weight_group *out)
{
    size_t unit = unit_of(w);
    const uint8_t *first =
        (const uint8_t *)w->data + (row * w->columns + column) * (size_t)w->bits / 8;
    group_scales(w, w->scales, row, n, column, out->scales);
    group_scales(w, w->biases, row, n, column, out->biases);
    out->q = w->bits == 8 ? first : out->space;
    out->ldq = w->bits == 8 ? w->columns : unit;
    for (size_t j = 0; w->bits == 4 && j < n; j++)
        for (size_t i = 0; i < unit; i++)
            out->space[j * unit + i] = first[j * w->columns / 2 + i / 2] >> (i % 2 * 4) & 15;
}

/* q scale + bias of rows [row, row + n) and columns [depth, depth + k): out [n, k] */
static void dequantize(const zi_matrix *w, size_t row, size_t n, size_t depth, size_t k, float *out)
{
    weight_group group;
    size_t unit = unit_of(w);
    for (size_t p = 0; p < k; p += unit) {
        read_group(w, row, n, depth + p, &group);
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < unit; i++)
                out[j * k + p + i] =
                    (float)group.q[j * group.ldq + i] * group.scales[j] + group.biases[j];
    }
}

/* Rows [row, row + n) of w, n <= nr, from column `depth` on, into a panel of k numbers a column.
 * `plain` [nr, BLOCK_K] is used on the way. */
static void pack_weights(const linear_job *job, size_t row, size_t n, size_t depth, size_t k,
                         float *plain, char *panel)
{
    const zi_kernels *kernels = &job->ops->kernels;
    const zi_matrix *w = job->w;
    size_t unit = job->panels.unit;
    if (job->panels.integer) {
        weight_group group;
        for (size_t p = 0; p < k; p += unit, panel += job->panels.b_bytes) {
            read_group(w, row, n, depth + p, &group);
            kernels->pack_group(group.q, group.ldq, n, unit, group.scales, group.biases, panel);
        }
    } else if (w->bits) {
        dequantize(w, row, n, depth, k, plain);
        kernels->pack_rows(ZI_F32, plain, k, n, k, kernels->nr, (float *)(void *)panel);
    } else {
        const char *source =
            (const char *)w->data + (row * w->columns + depth) * zi_dtype_size(w->type);
        kernels->pack_rows(w->type, source, w->columns, n, k, kernels->nr, (float *)(void *)panel);
    }
}

/* ---- the product ---- */

/* The tile of y at (row, column), through a small buffer where some of it does not exist. */
static void tile_at(const linear_job *job, const char *panel, size_t row, size_t column,
                    size_t depth, size_t k)
{
    const zi_kernels *kernels = &job->ops->kernels;
    const layout *p = &job->panels;
    size_t N = job->w->rows;
    const char *input = input_panel(job, row) + depth / p->unit * p->a_bytes;
    part c;
    part_begin(&c, job->y + row * N + column, N, smaller(p->mr, job->T - row),
               smaller(p->nr, N - column), p->mr, p->nr, depth > 0);
    if (p->integer)
        kernels->qtile(k / p->unit, p->unit, input, panel, c.c, c.ldc, depth > 0);
    else
        kernels->tile(k, (const float *)(const void *)input, (const float *)(const void *)panel,
                      c.c, c.ldc, depth > 0);
    part_end(&c);
}

static void add_bias(const linear_job *job, size_t row0, size_t row1, size_t column0,
                     size_t column1)
{
    size_t N = job->w->rows;
    for (size_t i = row0; i < row1; i++)
        for (size_t j = column0; j < column1; j++) job->y[i * N + j] += job->bias[j];
}

static void linear_task(void *context, size_t task, size_t worker)
{
    const linear_job *job = context;
    const layout *p = &job->panels;
    size_t N = job->w->rows, K = job->w->columns;
    size_t column0 = task % job->column_blocks * BLOCK_N, column1 = smaller(column0 + BLOCK_N, N);
    size_t row0 = task / job->column_blocks * job->rows_per_task;
    size_t row1 = smaller(row0 + job->rows_per_task, job->T);
    float *plain = worker_scratch(job->ops, worker);
    char *panels = (char *)(plain + BLOCK_K * p->nr);

    for (size_t depth = 0; depth < K; depth += BLOCK_K) {
        size_t k = smaller(BLOCK_K, K - depth), bytes = k / p->unit * p->b_bytes;
        for (size_t j = column0; j < column1; j += p->nr)
            pack_weights(job, j, smaller(p->nr, column1 - j), depth, k, plain,
                         panels + (j - column0) / p->nr * bytes);
        for (size_t i = row0; i < row1; i += p->mr)
            for (size_t j = column0; j < column1; j += p->nr)
                tile_at(job, panels + (j - column0) / p->nr * bytes, i, j, depth, k);
    }
    if (job->bias) add_bias(job, row0, row1, column0, column1);
}

/* At most MAX_ROWS rows of x. */
static void linear_rows(linear_job *job)
{
    zi_ops *ops = (zi_ops *)job->ops;
    size_t mr = job->panels.mr, T = job->T;
    run_rows(ops, (T + mr - 1) / mr, 4, pack_input, job);
    job->column_blocks = (job->w->rows + BLOCK_N - 1) / BLOCK_N;
    /* Few columns (a small model) leave threads idle: split the rows, too, but keep enough of them
     * together to pay for the packing. */
    size_t wanted = 8 * zi_pool_threads(ops->pool);
    size_t splits = job->column_blocks < wanted ? wanted / job->column_blocks : 1;
    size_t least = round_up(64, mr), rows = round_up((T + splits - 1) / splits, mr);
    job->rows_per_task = rows < least ? least : rows;
    size_t row_blocks = (T + job->rows_per_task - 1) / job->rows_per_task;
    zi_pool_run(ops->pool, job->column_blocks * row_blocks, linear_task, job);
}

void zi_linear(zi_ops *ops, const float *x, size_t T, const zi_matrix *w, const float *bias,
               float *y)
{
    size_t chunks = (T + MAX_ROWS - 1) / MAX_ROWS, rows = (T + chunks - 1) / chunks;
    for (size_t begin = 0; begin < T; begin += rows) {
        linear_job job = {.ops = ops,
                          .x = x + begin * w->columns,
                          .w = w,
                          .bias = bias,
                          .y = y + begin * w->rows,
                          .T = smaller(rows, T - begin),
                          .panels = layout_for(ops, w)};
        linear_rows(&job);
    }
}
