#include "backend/vulkan/internal.h"

#include <math.h>

enum { LANES = 8 };

/* Sets the constants for this many rows of q in a workgroup. */
static void set_constants(uint32_t queries, size_t dim, uint32_t constants[3])
{
    constants[0] = LANES * queries;
    constants[1] = (uint32_t)dim;
    constants[2] = (uint32_t)gpu_div_up(dim, LANES);
}

/* Returns how many rows of q a workgroup computes, and sets the constants for it: as many as fit
 * into shared memory, or fewer if the device computes wrong values so. */
static uint32_t choose_queries(gpu_exec *exec, size_t dim, uint32_t constants[3])
{
    uint32_t most = dim <= 256 ? 16 : dim <= 512 ? 8 : 4, queries = most;
    if (exec->forced) queries = exec->forced->constants[0] / LANES;
    set_constants(queries, dim, constants);
    while (!exec->forced && queries > 1 && !gpu_usable(exec, GPU_SHADER_attention, constants, 3))
        set_constants(queries /= 2, dim, constants);
    return queries;
}

void gpu_attention(zi_exec *base, const zi_attention_args *a)
{
    gpu_exec *exec = gpu_exec_of(base);
    uint32_t constants[3], queries;
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
    if (!a->q.rows) return;
    queries = choose_queries(exec, a->dim, constants);
    gpu_range ranges[] = {gpu_reads(a->q), gpu_reads(a->k), gpu_reads(a->v), gpu_writes(a->out)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)a->heads, (uint32_t)gpu_div_up(a->q.rows, queries), 1},
                     .ranges = ranges,
                     .range_count = 4,
                     .cost = (uint64_t)queries * a->k.rows * 2 * a->dim,
                     .axis = 2};
    gpu_dispatch(exec, GPU_SHADER_attention, constants, 3, &work);
}
