#include "ops/internal.h"

void zi_ops_plan(zi_ops *ops, zi_arena *arena, size_t head_dim)
{
    size_t nr = ops->kernels.nr;
    size_t linear = BLOCK_K * round_up(BLOCK_N, nr) + ops->kernels.mr * nr;
    size_t wide = round_up(head_dim, nr);
    size_t keys = round_up(KEY_BLOCK, nr);
    size_t attention = keys * head_dim + KEY_BLOCK * wide /* packed keys and values */
                       + QUERY_BLOCK * (keys + wide + 2); /* scores, sums, maxima, totals */
    ops->scratch_stride = round_up(linear > attention ? linear : attention, 16);
    ops->scratch = zi_arena_floats(arena, ops->scratch_stride * zi_pool_threads(ops->pool));
    ops->partials =
        zi_arena_alloc(arena, (size_t)NORM_CHUNKS * ZI_MAX_CHANNELS * 2, sizeof(double));
}

typedef struct {
    size_t n, grain;
    row_fn fn;
    const void *context;
} row_job;

static void row_task(void *context, size_t task, size_t worker)
{
    (void)worker;
    const row_job *job = context;
    size_t begin = task * job->grain;
    job->fn(job->context, begin, smaller(begin + job->grain, job->n));
}

void run_rows(zi_ops *ops, size_t n, size_t grain, row_fn fn, const void *context)
{
    row_job job = {n, grain ? grain : 1, fn, context};
    zi_pool_run(ops->pool, (n + job.grain - 1) / job.grain, row_task, &job);
}
