#include "backend/cpu/internal.h"

void zi_ops_plan(zi_ops *ops, zi_arena *arena, zi_ops_limits limits)
{
    size_t linear = linear_scratch(&ops->kernels);
    size_t attention = attention_scratch(&ops->kernels, limits.head_dim);
    size_t conv = conv_scratch(&ops->kernels), most = linear > attention ? linear : attention;
    ops->scratch_stride = round_up(most > conv ? most : conv, 16);
    ops->scratch = zi_arena_floats(arena, ops->scratch_stride * zi_pool_threads(ops->pool));
    ops->packed = zi_arena_floats(arena, linear_packed(&ops->kernels, limits.depth));
    ops->partials = zi_arena_floats(arena, (size_t)NORM_CHUNKS * ZI_MAX_CHANNELS * 2);
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
