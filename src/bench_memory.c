/* zi_bench_memory: memory bandwidth, and the rate of matrix-vector products for comparison. */
#include "zimage_bench.h"
#include "internal.h"
#include "base/machine.h"

#include <stdlib.h>

enum {
    BYTES = 320 << 20,        /* size of the buffer, larger than any cache */
    CHUNK = 1 << 20,          /* bytes per reading task */
    PREFETCH_DISTANCE = 1024, /* bytes */
    FILL_VALUE = 0x3c3c,      /* close to 1 as F16, also as the scale of a block */
    MAX_REPEATS = 1000
};

/* The matrices of a layer of Qwen2.5-1.5B, and the most columns among them. */
static const struct {
    size_t rows, columns;
} shapes[] = {{1536, 1536}, {256, 1536},  {256, 1536}, {1536, 1536},
              {8960, 1536}, {8960, 1536}, {1536, 8960}};
enum { SHAPES = sizeof shapes / sizeof *shapes, MAX_COLUMNS = 8960 };

static const zi_dtype types[ZI_BENCH_TYPES] = {ZI_F16, ZI_BF16, ZI_Q8_0};

typedef struct {
    zi_engine *engine;
    zi_session session;
    zi_view buffer; /* [1, BYTES] */
    zi_view x, y;   /* [1, MAX_COLUMNS] */
} bench;

typedef uint64_t words __attribute__((vector_size(32)));

/* Task of the thread pool: reads bytes task * CHUNK to (task + 1) * CHUNK of the buffer that begins
 * at `context`, in a way that the compiler cannot remove. */
static void read_task(void *context, size_t task, size_t worker)
{
    (void)worker;
    const char *at = (const char *)context + task * CHUNK;
    words sums[4] = {{0}};
    for (size_t i = 0; i < CHUNK; i += sizeof sums) {
        __builtin_prefetch(at + i + PREFETCH_DISTANCE);
        __builtin_prefetch(at + i + PREFETCH_DISTANCE + 64);
        for (size_t j = 0; j < 4; j++) {
            words value;
            memcpy(&value, at + i + j * sizeof value, sizeof value);
            sums[j] ^= value;
        }
    }
    __asm__ volatile("" : : "m"(sums));
}

/* Reads the whole buffer with all threads and returns bytes per second. */
static double measure_read_rate(bench *b)
{
    double start = zi_monotonic_seconds();
    zi_pool_run(b->engine->pool, BYTES / CHUNK, read_task, zi_view_host(b->buffer));
    return BYTES / (zi_monotonic_seconds() - start);
}

/* Multiplies vectors by the matrices of layer after layer, once through the buffer, whose bytes are
 * taken as weights of `type`. Returns the bytes of weights per second. Results are not looked at.
 */
static double measure_product_rate(bench *b, zi_dtype type)
{
    size_t done = 0;
    double start = zi_monotonic_seconds();
    for (int i = 0;; i = (i + 1) % SHAPES) {
        size_t rows = shapes[i].rows, columns = shapes[i].columns;
        size_t bytes = rows * zi_dtype_bytes(type, columns);
        if (done + bytes > BYTES) return (double)done / (zi_monotonic_seconds() - start);
        zi_weight w = {.data = b->buffer};
        w.data.offset += done;
        w.data.type = type;
        w.data = zi_view_reshape(w.data, rows, columns);
        zi_linear(b->session.exec, zi_view_columns(b->x, 0, columns), &w, NULL,
                  zi_view_columns(b->y, 0, rows));
        done += bytes;
    }
}

/* Results of all runs. */
typedef struct {
    double rates[ZI_BENCH_TYPES][MAX_REPEATS], shares[ZI_BENCH_TYPES][MAX_REPEATS];
} measurements;

/* Sets bytes_per_second (the highest rate of reading) and products (medians of `repeat` runs, 1 to
 * MAX_REPEATS) of *out. False: memory is short. */
static bool measure_rates(bench *b, size_t repeat, zi_bench_memory_result *out, zi_error *error)
{
    measurements *m = malloc(sizeof *m);
    if (!m) return zi_error_no_memory(error, sizeof *m);
    double before = measure_read_rate(b);
    out->bytes_per_second = before;
    for (size_t i = 0; i < repeat; i++)
        for (int t = 0; t < ZI_BENCH_TYPES; t++) {
            m->rates[t][i] = measure_product_rate(b, types[t]);
            double after = measure_read_rate(b);
            m->shares[t][i] = m->rates[t][i] / ((before + after) / 2);
            before = after;
            if (after > out->bytes_per_second) out->bytes_per_second = after;
        }
    for (int t = 0; t < ZI_BENCH_TYPES; t++)
        out->products[t] =
            (zi_bench_products){zi_dtype_name(types[t]), zi_median(m->rates[t], repeat),
                                zi_median(m->shares[t], repeat)};
    free(m);
    return true;
}

/* Takes buffer, x and y of the bench `user` from the arena; called twice, first with a measuring
 * arena. */
static void plan_memory(void *user, const zi_exec *exec, zi_arena *arena)
{
    bench *b = user;
    (void)exec;
    b->buffer = zi_arena_take(arena, ZI_U8, 1, BYTES);
    b->x = zi_arena_floats(arena, 1, MAX_COLUMNS);
    b->y = zi_arena_floats(arena, 1, MAX_COLUMNS);
}

/* Checks options->repeat, creates engine and session of the zeroed *b, and fills the buffer of
 * weights and the input x. False: *error is set; the caller closes and frees both then, too. */
static bool prepare_bench(bench *b, const zi_bench_options *options, zi_error *error)
{
    zi_engine_options engine = {.threads = options->threads, .cpu = options->cpu};
    if (options->device && strcmp(options->device, "cpu") != 0)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "device",
                            "memory bandwidth is measured on the cpu only");
    if (options->repeat < 0 || options->repeat > MAX_REPEATS)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "repeat",
                            "%d is out of range; 0 to %d are possible", options->repeat,
                            MAX_REPEATS);
    if (!zi_engine_create(&engine, &b->engine, error) ||
        !zi_session_open(b->engine, false, (zi_exec_limits){.head_dim = 128, .depth = MAX_COLUMNS},
                         plan_memory, b, &b->session, error))
        return false;
    uint16_t *scales = zi_view_host(b->buffer);
    float *x = zi_view_host(b->x);
    for (size_t i = 0; i < BYTES / sizeof *scales; i++) scales[i] = FILL_VALUE;
    for (size_t i = 0; i < MAX_COLUMNS; i++) x[i] = 1.0f / (float)(i + 1);
    return true;
}

bool zi_bench_memory(const zi_bench_options *options, zi_bench_memory_result *out, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    bench b = {0};
    zi_bench_memory_result result = {0};
    size_t repeat = options->repeat ? (size_t)options->repeat : 1;
    bool ok = prepare_bench(&b, options, error) && measure_rates(&b, repeat, &result, error);
    if (ok) {
        result.threads = (int)zi_pool_threads(b.engine->pool);
        result.tier = b.engine->kernels.tier;
        *out = result;
    }
    zi_session_close(&b.session);
    zi_engine_free(b.engine);
    return ok;
}
