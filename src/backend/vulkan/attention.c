#include "backend/vulkan/internal.h"

#include <math.h>

/* Rows of q that a workgroup computes: so many that they fit into shared memory. */
static uint32_t queries_of(size_t dim)
{
    return dim <= 256 ? 16 : dim <= 512 ? 8 : 4;
}

/* Invocations of a workgroup that computes attention with matrices, for heads of this size: as many
 * as have room in shared memory; see shaders/attention_matrix.comp. 0: it cannot be done. */
static uint32_t matrix_size(const gpu_capabilities *c, size_t dim)
{
    enum { KEYS = 32, MOST = 128 };
    const gpu_matrix *m = &c->matrix;
    if (!m->m || m->subgroup % m->m || m->subgroup / m->m > m->n || dim % 32 || dim > MOST)
        return 0;
    for (uint32_t size = 256; size >= m->subgroup; size /= 2) {
        size_t waves = size / m->subgroup, rows = waves * m->m;
        size_t bytes = KEYS * (dim / 8 + 1) * 16 + rows * (KEYS + 4) * 4 + rows * m->n * 4 + 16;
        if (KEYS * dim / 8 % size == 0 && (rows % KEYS == 0 || KEYS % rows == 0) &&
            bytes <= c->properties.limits.maxComputeSharedMemorySize)
            return size;
    }
    return 0;
}

void gpu_attention(zi_exec *base, const zi_attention_args *a)
{
    enum { LANES = 8, MANY = 16 };
    gpu_exec *exec = gpu_exec_of(base);
    const gpu_matrix *m = &exec->gpu->capabilities.matrix;
    uint32_t queries = queries_of(a->dim), size = 0;
    if (base->fast && a->q.rows >= MANY) size = matrix_size(&exec->gpu->capabilities, a->dim);
    if (size) queries = size / m->subgroup * m->m;
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
    const uint32_t matrices[] = {(uint32_t)a->dim, m->subgroup, size, 0, 0, 0, m->m, m->n, m->k};
    gpu_range ranges[] = {gpu_reads(a->q), gpu_reads(a->k), gpu_reads(a->v), gpu_writes(a->out)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)a->heads, (uint32_t)gpu_div_up(a->q.rows, queries), 1},
                     .ranges = ranges,
                     .range_count = 4};
    if (!a->q.rows) return;
    if (size)
        gpu_dispatch(exec, GPU_SHADER_attention_matrix, matrices,
                     sizeof matrices / sizeof *matrices, &work);
    else
        gpu_dispatch(exec, GPU_SHADER_attention, constants, 3, &work);
}
