#include "engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(bool ok, const zi_error *error)
{
    if (ok) return;
    printf("test engine: %s\n", error->text);
    exit(1);
}

void zi_test_engine_start(zi_test_engine *engine, size_t threads, const char *tier, bool fast)
{
    enum { MEMORY = 256 << 20, WIDEST_HEAD = 256, DEEPEST = 2048 };
    zi_error error = {0};
    *engine = (zi_test_engine){.random = 12345};
    need(
        zi_kernels_select(tier, &engine->kernels, &error) &&
            zi_pool_create(threads, &engine->pool, &error) &&
            zi_cpu_backend_create(&engine->kernels, engine->pool, NULL, &engine->backend, &error) &&
            zi_buffer_alloc(engine->backend, MEMORY, &engine->buffer, &error) &&
            zi_memory_take(&engine->host, MEMORY, &error) &&
            engine->backend->ops->begin(engine->backend, fast, &engine->exec, &error),
        &error);
    engine->arena = zi_arena_in(engine->buffer);
    engine->backend->ops->plan(engine->exec, &engine->arena,
                               (zi_exec_limits){WIDEST_HEAD, DEEPEST});
    engine->run = (zi_run){.exec = engine->exec, .arena = &engine->arena};
}

void zi_test_engine_stop(zi_test_engine *engine)
{
    for (size_t i = 0; i < engine->imported_count; i++) zi_buffer_release(engine->imported[i]);
    free(engine->imported);
    engine->exec->ops->end(engine->exec);
    zi_buffer_release(engine->buffer);
    zi_memory_release(&engine->host);
    engine->backend->ops->destroy(engine->backend);
    zi_pool_free(engine->pool);
}

zi_test_mark zi_test_engine_mark(const zi_test_engine *engine)
{
    return (zi_test_mark){engine->host_used, zi_arena_mark(&engine->arena)};
}

void zi_test_engine_reset(zi_test_engine *engine, zi_test_mark mark)
{
    engine->host_used = mark.host;
    zi_arena_reset(&engine->arena, mark.device);
}

/* ---- the host's memory ---- */

void *zi_test_alloc(zi_test_engine *engine, size_t count, size_t size)
{
    size_t bytes = (count * size + 63) / 64 * 64;
    void *block = engine->host.base + engine->host_used;
    if (bytes > engine->host.size - engine->host_used) {
        printf("test engine: no room for %zu bytes\n", bytes);
        exit(1);
    }
    engine->host_used += bytes;
    return block;
}

float zi_test_uniform(zi_test_engine *engine)
{
    engine->random = engine->random * 1664525u + 1013904223u;
    return (float)(engine->random >> 8) * 0x1p-23f - 1.0f;
}

float *zi_test_values(zi_test_engine *engine, size_t n)
{
    float *x = zi_test_alloc(engine, n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = zi_test_uniform(engine);
    return x;
}

void *zi_test_stored(zi_test_engine *engine, zi_dtype type, size_t n, float **meaning)
{
    float *x = zi_test_values(engine, n);
    char *data = zi_test_alloc(engine, n * zi_dtype_size(type) + 1, 1);
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

/* ---- the backend's memory ---- */

zi_view zi_test_view(zi_test_engine *engine, const float *values, size_t rows, size_t columns)
{
    zi_view view = zi_arena_floats(&engine->arena, rows, columns);
    if (engine->arena.overflow) {
        printf("test engine: no room for [%zu, %zu]\n", rows, columns);
        exit(1);
    }
    if (values) zi_write(engine->exec, view, values);
    return view;
}

float *zi_test_read(zi_test_engine *engine, zi_view view)
{
    zi_error error = {0};
    float *values = zi_test_alloc(engine, view.rows * view.columns, sizeof *values);
    need(zi_read(engine->exec, view, values, &error), &error);
    return values;
}

static zi_view import(zi_test_engine *engine, zi_dtype type, const void *data, size_t rows,
                      size_t columns)
{
    zi_error error = {0};
    zi_view view = {.type = type, .rows = rows, .columns = columns, .stride = columns};
    size_t bytes = zi_dtype_bytes(type, rows * columns);
    engine->imported =
        realloc(engine->imported, (engine->imported_count + 1) * sizeof *engine->imported);
    need(zi_buffer_import(engine->backend, data, bytes, &view.buffer, &error), &error);
    engine->imported[engine->imported_count++] = view.buffer;
    return view;
}

zi_weight zi_test_weight(zi_test_engine *engine, zi_dtype type, const void *data, size_t rows,
                         size_t columns)
{
    return (zi_weight){.name = "test", .data = import(engine, type, data, rows, columns)};
}

zi_weight zi_test_vector(zi_test_engine *engine, const float *values, size_t n)
{
    return zi_test_weight(engine, ZI_F32, values, 1, n);
}

/* ---- tiers ---- */

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
    *top = kernels->q_sums_limited ? 126 : 127;
    for (size_t i = 0; !kernels->q_sums_limited && i < n; i++) most = fmaxf(most, fabsf(x[i]));
    for (size_t i = 0; kernels->q_sums_limited && i < n; i += i % 8 ? 6 : 2) /* 0, 2, 8, 10, ... */
        most = fmaxf(most, (fabsf(x[i]) + fabsf(x[i + 4])) + (fabsf(x[i + 1]) + fabsf(x[i + 5])));
    return most;
}
