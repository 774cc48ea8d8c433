/* The speed of the device itself, which the speed of operations is compared with. */
#include "backend/vulkan/operations.h"
#include "base/machine.h"

enum { GROUPS = 1024, INVOCATIONS = 256, OPERATIONS = 32 }; /* of an invocation in a round */

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

/* Runs the loop once and returns the time that it took; 0: it failed. */
static double time_loop(zi_exec *base, uint32_t rounds)
{
    gpu_exec *exec = gpu_exec_of(base);
    uint64_t flag = exec->flags.address;
    gpu_run_loop(exec, (gpu_range){flag, flag + sizeof(float), true}, GROUPS, rounds, 0.5f);
    double start = zi_monotonic_seconds();
    return gpu_wait(base, NULL) ? zi_monotonic_seconds() - start : 0;
}

double gpu_peak(zi_backend *backend, bool fast)
{
    zi_exec *exec = NULL;
    double seconds = 0, most = 0;
    if (fast || !gpu_begin(backend, false, &exec, NULL)) return 0;
    /* The first run is for compiling. Longer and longer, until starting it costs next to nothing.
     */
    for (uint32_t rounds = 1; rounds < 1u << 24 && seconds < 0.02; rounds *= 4) {
        seconds = time_loop(exec, rounds);
        double rate = (double)GROUPS * INVOCATIONS * OPERATIONS * rounds / seconds;
        if (seconds <= 0) break;
        if (rate > most) most = rate;
    }
    gpu_end(exec);
    return most;
}
