/* How fast memory is read, and products of one row of input beside it. */
#include "internal.h"
#include "base/machine.h"

#include <stdlib.h>

enum {
    BYTES = 320 << 20, /* of the buffer: more than caches hold, less than a small machine has */
    CHUNK = 1 << 20,   /* of a reading task */
    AHEAD = 1024,      /* bytes that are asked for before they are read */
    FILLING = 0x3c3c,  /* as a half, and as the scale of a block, it is near 1 */
    MOST_REPEATS = 1000
};

/* The matrices of a layer of Qwen2.5-1.5B, and the deepest. */
static const struct {
    size_t rows, columns;
} shapes[] = {{1536, 1536}, {256, 1536},  {256, 1536}, {1536, 1536},
              {8960, 1536}, {8960, 1536}, {1536, 8960}};
enum { SHAPES = sizeof shapes / sizeof *shapes, DEEPEST = 8960 };

static const zi_dtype types[ZI_BENCH_TYPES] = {ZI_F16, ZI_BF16, ZI_Q8_0};

typedef struct {
    zi_pool *pool;
    zi_ops ops;
    zi_arena arena;
    uint16_t *buffer;
    float *x, *y;
} bench;

typedef uint64_t words __attribute__((vector_size(32)));

static void read_task(void *context, size_t task, size_t worker)
{
    (void)worker;
    const char *at = (const char *)context + task * CHUNK;
    words sums[4] = {{0}};
    for (size_t i = 0; i < CHUNK; i += sizeof sums) {
        __builtin_prefetch(at + i + AHEAD);
        __builtin_prefetch(at + i + AHEAD + 64);
        for (size_t j = 0; j < 4; j++) {
            words value;
            memcpy(&value, at + i + j * sizeof value, sizeof value);
            sums[j] ^= value;
        }
    }
    __asm__ volatile("" : : "m"(sums));
}

/* Bytes a second. */
static double read_all(bench *b)
{
    double start = zi_seconds();
    zi_pool_run(b->pool, BYTES / CHUNK, read_task, b->buffer);
    return BYTES / (zi_seconds() - start);
}

/* The same for weights of a type, layer after layer through the buffer. */
static double multiply_all(bench *b, zi_dtype type)
{
    size_t done = 0;
    double start = zi_seconds();
    for (int i = 0;; i = (i + 1) % SHAPES) {
        zi_matrix w = {.data = (const char *)b->buffer + done,
                       .type = type,
                       .rows = shapes[i].rows,
                       .columns = shapes[i].columns};
        size_t bytes = w.rows * zi_dtype_bytes(type, w.columns);
        if (done + bytes > BYTES) return (double)done / (zi_seconds() - start);
        zi_linear(&b->ops, b->x, 1, &w, NULL, b->y);
        done += bytes;
    }
}

static void measure(bench *b, size_t repeat, zi_bench_memory_result *out)
{
    static double rates[ZI_BENCH_TYPES][MOST_REPEATS], shares[ZI_BENCH_TYPES][MOST_REPEATS];
    double before = read_all(b);
    out->bytes_per_second = before;
    for (size_t i = 0; i < repeat; i++)
        for (int t = 0; t < ZI_BENCH_TYPES; t++) {
            rates[t][i] = multiply_all(b, types[t]);
            double after = read_all(b);
            shares[t][i] = rates[t][i] / ((before + after) / 2);
            before = after;
            if (after > out->bytes_per_second) out->bytes_per_second = after;
        }
    for (int t = 0; t < ZI_BENCH_TYPES; t++)
        out->products[t] = (zi_bench_products){zi_dtype_name(types[t]), zi_median(rates[t], repeat),
                                               zi_median(shares[t], repeat)};
}

static void plan(bench *b)
{
    zi_ops_plan(&b->ops, &b->arena, (zi_ops_limits){128, DEEPEST});
    b->buffer = zi_arena_alloc(&b->arena, BYTES, 1);
    b->x = zi_arena_floats(&b->arena, DEEPEST);
    b->y = zi_arena_floats(&b->arena, DEEPEST);
}

static bool prepare(bench *b, const zi_bench_options *options, zi_error *error)
{
    if (options->threads < 0 || options->threads > 1024)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "threads",
                            "%d is out of range; 0 (all) to 1024 are possible", options->threads);
    if (options->repeat < 0 || options->repeat > MOST_REPEATS)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "repeat",
                            "%d is out of range; 0 to %d are possible", options->repeat,
                            MOST_REPEATS);
    if (!zi_kernels_select(options->cpu, &b->ops.kernels, error) ||
        !zi_pool_create((size_t)options->threads, &b->pool, error))
        return false;
    b->ops.pool = b->pool;
    b->arena = zi_arena_measure();
    plan(b);
    size_t size = b->arena.peak;
    if (!zi_arena_create(&b->arena, size, error)) return false;
    plan(b);
    for (size_t i = 0; i < BYTES / sizeof *b->buffer; i++) b->buffer[i] = FILLING;
    for (size_t i = 0; i < DEEPEST; i++) b->x[i] = 1.0f / (float)(i + 1);
    return true;
}

bool zi_bench_memory(const zi_bench_options *options, zi_bench_memory_result *out, zi_error *error)
{
    bench b = {0};
    zi_bench_memory_result result = {0};
    bool ok = prepare(&b, options, error);
    if (ok) {
        measure(&b, options->repeat ? (size_t)options->repeat : 1, &result);
        result.threads = (int)zi_pool_threads(b.pool);
        result.tier = b.ops.kernels.tier;
        *out = result;
    }
    zi_arena_free(&b.arena);
    zi_pool_free(b.pool);
    return ok;
}
