#include "backend/vulkan/internal.h"

#include <math.h>

/* Rows of q that a workgroup computes: so many that they fit into shared memory. */
static uint32_t queries_of(size_t dim)
{
    return dim <= 256 ? 16 : dim <= 512 ? 8 : 4;
}

void gpu_attention(zi_exec *base, const zi_attention_args *a)
{
    enum { LANES = 8 };
    uint32_t queries = queries_of(a->dim);
    struct {
        uint64_t q, k, v, out;
        uint32_t T, S, heads, kv_heads, causal;
        float scale;
    } push = {.q = gpu_address(a->q),
              .k = gpu_address(a->k),
              .v = gpu_address(a->v),
              .out = gpu_address(a->out),
              .T = (uint32_t)a->q.rows,
              .S = (uint32_t)a->k.rows,
              .heads = (uint32_t)a->heads,
              .kv_heads = (uint32_t)a->kv_heads,
              .causal = a->causal,
              .scale = (float)(1 / sqrt((double)a->dim))};
    const uint32_t constants[] = {LANES * queries, (uint32_t)a->dim,
                                  (uint32_t)gpu_div_up(a->dim, LANES)};
    gpu_range ranges[] = {gpu_reads(a->q), gpu_reads(a->k), gpu_reads(a->v), gpu_writes(a->out)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)a->heads, (uint32_t)gpu_div_up(a->q.rows, queries), 1},
                     .ranges = ranges,
                     .range_count = 4};
    if (a->q.rows) gpu_dispatch(gpu_exec_of(base), GPU_SHADER_attention, constants, 3, &work);
}
