#include "backend/vulkan/operations.h"

#include <math.h>

enum { LANES = 8, MANY = 16, MATRIX_CONSTANTS = 9 };

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

/* Chooses matrices for attention where they can be used: sets the constants for them. Returns how
 * many rows of q a workgroup computes; 0: it is to be done without. */
static uint32_t choose_matrices(gpu_exec *exec, const zi_attention_args *a,
                                uint32_t constants[MATRIX_CONSTANTS])
{
    const gpu_matrix *m = &exec->gpu->capabilities.matrix;
    uint32_t size = 0;
    if (exec->forced)
        size = exec->forced->shader == GPU_SHADER_attention_matrix ? exec->forced->constants[2] : 0;
    else if (exec->base.fast && a->q.rows >= MANY)
        size = matrix_size(&exec->gpu->capabilities, a->dim);
    if (!size) return 0;
    const uint32_t values[] = {(uint32_t)a->dim, m->subgroup, size, 0, 0, 0, m->m, m->n, m->k};
    memcpy(constants, values, sizeof values);
    bool usable =
        exec->forced || gpu_usable(exec, GPU_SHADER_attention_matrix, constants, MATRIX_CONSTANTS);
    return usable ? size / m->subgroup * m->m : 0;
}

void gpu_attention(zi_exec *base, const zi_attention_args *a)
{
    gpu_exec *exec = gpu_exec_of(base);
    uint32_t constants[3], matrices[MATRIX_CONSTANTS], queries;
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
    uint32_t with_matrices = choose_matrices(exec, a, matrices);
    queries = with_matrices ? with_matrices : choose_queries(exec, a->dim, constants);
    gpu_range ranges[] = {gpu_reads(a->q), gpu_reads(a->k), gpu_reads(a->v), gpu_writes(a->out)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)a->heads, (uint32_t)gpu_div_up(a->q.rows, queries), 1},
                     .ranges = ranges,
                     .range_count = 4,
                     .cost = (uint64_t)queries * a->k.rows * 2 * a->dim / (with_matrices ? 4 : 1),
                     .axis = 2};
    if (with_matrices)
        gpu_dispatch(exec, GPU_SHADER_attention_matrix, matrices, MATRIX_CONSTANTS, &work);
    else
        gpu_dispatch(exec, GPU_SHADER_attention, constants, 3, &work);
}
