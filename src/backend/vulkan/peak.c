/* The speed of the device itself, which the speed of operations is compared with. */
#include "backend/vulkan/operations.h"
#include "base/machine.h"

enum { GROUPS = 1024, INVOCATIONS = 256, OPERATIONS = 32 }; /* of an invocation in a round */
/* CHAINS: products of matrices of a subgroup in a round. MATRIX_SPEED: how many times as fast as
 * f32, at the least, a round is. */
enum { CHAINS = 8, MATRIX_SPEED = 4 };

/* Multiplications and additions of a workgroup in a round. */
static uint64_t matrix_operations(const gpu_matrix *m)
{
    return (uint64_t)INVOCATIONS / m->subgroup * CHAINS * 2 * m->m * m->n * m->k;
}

void gpu_run_loop(gpu_exec *exec, gpu_range out, uint32_t groups, uint32_t rounds, float factor)
{
    struct {
        uint64_t out;
        uint32_t rounds;
        float factor;
    } push = {out.begin, rounds, factor};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {groups, 1, 1},
                     .ranges = &out,
                     .range_count = 1,
                     .cost = (uint64_t)INVOCATIONS * OPERATIONS * rounds};
    gpu_dispatch(exec, GPU_SHADER_peak, NULL, 0, &work);
}

void gpu_run_matrix_loop(gpu_exec *exec, gpu_range out, uint32_t groups, uint32_t rounds,
                         float expected)
{
    const gpu_matrix *m = &exec->gpu->capabilities.matrix;
    const uint32_t constants[GPU_MATRIX_FIRST + 3] = {[GPU_MATRIX_FIRST] = m->m, m->n, m->k};
    struct {
        uint64_t out;
        uint32_t rounds;
        float factor, expected;
        uint32_t unused;
    } push = {.out = out.begin, .rounds = rounds, .factor = 0.5f, .expected = expected};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push - sizeof push.unused,
                     .groups = {groups, 1, 1},
                     .ranges = &out,
                     .range_count = 1,
                     .cost = matrix_operations(m) * rounds / MATRIX_SPEED};
    gpu_dispatch(exec, GPU_SHADER_peak_matrix, constants, GPU_MATRIX_FIRST + 3, &work);
}

/* The products begin with 0, 1, ...; a round adds k times 1/2 times 1/2 to each. */
float gpu_matrix_loop_result(uint32_t k, uint32_t rounds)
{
    return CHAINS * ((CHAINS - 1) / 2.0f + (float)(rounds * k) / 4);
}

/* Runs a loop once and returns the time that it took; 0: it failed. */
static double time_loop(zi_exec *base, bool matrices, uint32_t rounds)
{
    gpu_exec *exec = gpu_exec_of(base);
    uint64_t flag = exec->flags.address;
    gpu_range out = {flag, flag + sizeof(float), true};
    if (matrices)
        gpu_run_matrix_loop(exec, out, GROUPS, rounds, -1);
    else
        gpu_run_loop(exec, out, GROUPS, rounds, 0.5f);
    double start = zi_monotonic_seconds();
    return gpu_wait(base, NULL) ? zi_monotonic_seconds() - start : 0;
}

double gpu_peak(zi_backend *backend, bool fast)
{
    const gpu_matrix *m = &gpu_of(backend)->capabilities.matrix;
    zi_exec *exec = NULL;
    double seconds = 0, most = 0;
    if ((fast && !m->m) || !gpu_begin(backend, false, &exec, NULL)) return 0;
    double operations = fast ? (double)matrix_operations(m) : INVOCATIONS * OPERATIONS;
    /* The first run is for compiling. Longer and longer, until starting it costs next to nothing.
     */
    for (uint32_t rounds = 1; rounds < 1u << 24 && seconds < 0.02; rounds *= 4) {
        seconds = time_loop(exec, fast, rounds);
        double rate = GROUPS * operations * rounds / seconds;
        if (seconds <= 0) break;
        if (rate > most) most = rate;
    }
    gpu_end(exec);
    return most;
}
