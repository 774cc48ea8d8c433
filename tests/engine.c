#include "engine.h"

#include <math.h>

#include <stdio.h>
#include <stdlib.h>

void zi_test_engine_start(zi_test_engine *engine, size_t threads)
{
    enum { ARENA = 256 << 20, WIDEST_HEAD = 256, DEEPEST = 2048 };
    zi_error error = {0};
    *engine = (zi_test_engine){0};
    if (!zi_pool_create(threads, &engine->pool, &error) ||
        !zi_arena_create(&engine->arena, ARENA, &error) ||
        !zi_kernels_select(NULL, &engine->ops.kernels, &error)) {
        printf("test engine: %s\n", error.text);
        exit(1);
    }
    engine->ops.pool = engine->pool;
    zi_ops_plan(&engine->ops, &engine->arena, (zi_ops_limits){WIDEST_HEAD, DEEPEST});
    engine->run = (zi_run){.ops = &engine->ops, .arena = &engine->arena};
}

void zi_test_engine_stop(zi_test_engine *engine)
{
    zi_arena_free(&engine->arena);
    zi_pool_free(engine->pool);
}

const char *zi_next_tier(size_t *index)
{
    bool usable;
    const char *tier;
    while ((tier = zi_kernels_tier((*index)++, &usable))) {
        if (usable) {
            printf("%s:\n", tier);
            return tier;
        }
        printf("SKIP %s: this machine lacks its instructions\n", tier);
    }
    return NULL;
}

float zi_test_most(const zi_kernels *kernels, const float *x, size_t n, float *top)
{
    float most = 0;
    *top = kernels->q_fours ? 126 : 127;
    for (size_t i = 0; !kernels->q_fours && i < n; i++) most = fmaxf(most, fabsf(x[i]));
    for (size_t i = 0; kernels->q_fours && i < n; i += i % 8 ? 6 : 2) /* 0, 2, 8, 10, ... */
        most = fmaxf(most, (fabsf(x[i]) + fabsf(x[i + 4])) + (fabsf(x[i + 1]) + fabsf(x[i + 5])));
    return most;
}
