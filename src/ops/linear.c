/* The matrix product behind every linear layer. A task owns a block of the output: it packs a slice
 * of the weights to f32 panels that stay in its cache, and runs all its rows over them. */
#include "ops/internal.h"

typedef struct {
    const zi_ops *ops;
    const float *x; /* [T, K] */
    const zi_matrix *w;
    const float *bias;
    float *y; /* [T, N] */
    size_t T, column_blocks, rows_per_task;
} linear_job;

/* One tile of y at (row, column), through a small buffer where the last columns are missing. */
static void tile_at(const linear_job *job, const float *panel, size_t row, size_t rows,
                    size_t column, size_t depth, size_t k, float *edge)
{
    const zi_kernels *kernels = &job->ops->kernels;
    size_t N = job->w->rows, K = job->w->columns, nr = kernels->nr;
    const float *a = job->x + row * K + depth;
    float *c = job->y + row * N + column;
    if (column + nr <= N) {
        kernels->tile(rows, k, a, K, panel, c, N, depth > 0);
        return;
    }
    kernels->tile(rows, k, a, K, panel, edge, nr, false);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; column + j < N; j++)
            c[i * N + j] = depth > 0 ? c[i * N + j] + edge[i * nr + j] : edge[i * nr + j];
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
    const zi_kernels *kernels = &job->ops->kernels;
    size_t N = job->w->rows, K = job->w->columns, mr = kernels->mr, nr = kernels->nr;
    size_t column0 = task % job->column_blocks * BLOCK_N, column1 = smaller(column0 + BLOCK_N, N);
    size_t row0 = task / job->column_blocks * job->rows_per_task;
    size_t row1 = smaller(row0 + job->rows_per_task, job->T);
    float *panels = worker_scratch(job->ops, worker);
    float *edge = panels + BLOCK_K * round_up(BLOCK_N, nr);
    const char *weights = job->w->data;
    size_t width = zi_dtype_size(job->w->type);

    for (size_t depth = 0; depth < K; depth += BLOCK_K) {
        size_t k = smaller(BLOCK_K, K - depth);
        for (size_t j = column0; j < column1; j += nr)
            kernels->pack_rows(job->w->type, weights + (j * K + depth) * width, K,
                               smaller(nr, column1 - j), k, nr, panels + (j - column0) * BLOCK_K);
        for (size_t i = row0; i < row1; i += mr)
            for (size_t j = column0; j < column1; j += nr)
                tile_at(job, panels + (j - column0) * BLOCK_K, i, smaller(mr, row1 - i), j, depth,
                        k, edge);
    }
    if (job->bias) add_bias(job, row0, row1, column0, column1);
}

void zi_linear(zi_ops *ops, const float *x, size_t T, const zi_matrix *w, const float *bias,
               float *y)
{
    linear_job job = {.ops = ops, .x = x, .w = w, .bias = bias, .y = y, .T = T};
    job.column_blocks = (w->rows + BLOCK_N - 1) / BLOCK_N;
    /* Few columns (a small model) leave threads idle: split the rows, too, but keep enough of them
     * together to pay for the packing. */
    size_t wanted = 4 * zi_pool_threads(ops->pool);
    size_t splits = job.column_blocks < wanted ? wanted / job.column_blocks : 1;
    size_t rows = round_up((T + splits - 1) / splits, ops->kernels.mr);
    job.rows_per_task = rows < 32 ? 32 : rows;
    size_t row_blocks = (T + job.rows_per_task - 1) / job.rows_per_task;
    zi_pool_run(ops->pool, job.column_blocks * row_blocks, linear_task, &job);
}
