#include "engine.h"

#include <math.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void zi_test_engine_start(zi_test_engine *engine, size_t threads)
{
    enum { ARENA = 256 << 20, WIDEST_HEAD = 256, DEEPEST = 2048 };
    zi_error error = {0};
    *engine = (zi_test_engine){.random = 12345};
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

float zi_test_uniform(zi_test_engine *engine)
{
    engine->random = engine->random * 1664525u + 1013904223u;
    return (float)(engine->random >> 8) * 0x1p-23f - 1.0f;
}

float *zi_test_values(zi_test_engine *engine, size_t n)
{
    float *x = zi_arena_floats(&engine->arena, n);
    for (size_t i = 0; i < n; i++) x[i] = zi_test_uniform(engine);
    return x;
}

void *zi_test_stored(zi_test_engine *engine, zi_dtype type, size_t n, float **meaning)
{
    float *x = zi_test_values(engine, n);
    char *data = zi_arena_alloc(&engine->arena, n * zi_dtype_size(type) + 1, 1);
    data++;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        uint16_t half = (uint16_t)(bits >> 16);
        if (type == ZI_F16) /* of any size, subnormal ones included */
            half = (uint16_t)((engine->random >> i % 13 & 0xbfff) % 0x7c00 | (i & 1) << 15);
        if (type == ZI_F32)
            memcpy(data + 4 * i, &x[i], 4);
        else
            memcpy(data + 2 * i, &half, 2);
    }
    zi_widen(type, data, x, n);
    *meaning = x;
    return data;
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
