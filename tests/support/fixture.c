#include "fixture.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(bool ok, const zi_error *error)
{
    if (ok) return;
    printf("test fixture: %s\n", error->text);
    exit(1);
}

/* A message of the validation layer is a failed check. */
static void fail_for(void *user, const char *text)
{
    (void)user;
    CHECK_MSG(false, "validation layer: %s", text);
}

void zi_test_need_gpu(void)
{
    enum { SKIPPED = 77 }; /* as CMakeLists.txt tells CTest */
    zi_vulkan_device *devices = NULL;
    size_t count;
    zi_error error = {0};
    bool found = zi_vulkan_list(&devices, &count, &error);
    free(devices);
    if (found) return;
    printf("SKIP: %s\n", error.text);
    exit(SKIPPED);
}

zi_backend *zi_test_gpu(void)
{
    static zi_backend *gpu;
    const char *name = getenv("ZI_TEST_BACKEND");
    const zi_vulkan_options options = {.validation = getenv("ZI_TEST_VALIDATION") != NULL,
                                       .messages = fail_for};
    zi_error error = {0};
    if (!name || strcmp(name, "vulkan") != 0) return NULL;
    if (!gpu) {
        zi_test_need_gpu();
        need(zi_vulkan_backend_create(&options, &gpu, &error), &error);
    }
    return gpu;
}

/* Sets fixture->backend: the device that the environment names, else a new CPU backend. */
static bool open_backend(zi_fixture *fixture, zi_error *error)
{
    fixture->backend = zi_test_gpu();
    return fixture->backend ||
           zi_cpu_backend_create(&fixture->kernels, fixture->pool, NULL, &fixture->backend, error);
}

void zi_fixture_start(zi_fixture *fixture, size_t threads, const char *tier, bool fast)
{
    enum { MEMORY = 256 << 20, WIDEST_HEAD = 256, DEEPEST = 2048 };
    zi_error error = {0};
    *fixture = (zi_fixture){.random = 12345};
    need(zi_kernels_select(tier, &fixture->kernels, &error) &&
             zi_pool_create(threads, &fixture->pool, &error) && open_backend(fixture, &error) &&
             zi_buffer_alloc(fixture->backend, MEMORY, &fixture->buffer, &error) &&
             zi_memory_take(&fixture->host, MEMORY, &error) &&
             fixture->backend->ops->begin(fixture->backend, fast, &fixture->exec, &error),
         &error);
    fixture->arena = zi_arena_in(fixture->buffer);
    fixture->backend->ops->plan(fixture->exec, &fixture->arena,
                                (zi_exec_limits){.head_dim = WIDEST_HEAD, .depth = DEEPEST});
    fixture->run = (zi_run){.exec = fixture->exec, .arena = &fixture->arena};
}

void zi_fixture_stop(zi_fixture *fixture)
{
    for (size_t i = 0; i < fixture->imported_count; i++) zi_buffer_release(fixture->imported[i]);
    free(fixture->imported);
    fixture->exec->ops->end(fixture->exec);
    zi_buffer_release(fixture->buffer);
    zi_memory_release(&fixture->host);
    if (fixture->backend != zi_test_gpu()) fixture->backend->ops->destroy(fixture->backend);
    zi_pool_free(fixture->pool);
}

zi_fixture_position zi_fixture_mark(const zi_fixture *fixture)
{
    return (zi_fixture_position){fixture->host_used, zi_arena_mark(&fixture->arena)};
}

void zi_fixture_reset(zi_fixture *fixture, zi_fixture_position mark)
{
    fixture->host_used = mark.host;
    zi_arena_reset(&fixture->arena, mark.device);
}

/* ---- the host's memory ---- */

void *zi_fixture_alloc(zi_fixture *fixture, size_t count, size_t size)
{
    size_t bytes = (count * size + 63) / 64 * 64;
    void *block = fixture->host.base + fixture->host_used;
    if (bytes > fixture->host.size - fixture->host_used) {
        printf("test fixture: no room for %zu bytes\n", bytes);
        exit(1);
    }
    fixture->host_used += bytes;
    return block;
}

float zi_fixture_random(zi_fixture *fixture)
{
    fixture->random = fixture->random * 1664525u + 1013904223u;
    return (float)(fixture->random >> 8) * 0x1p-23f - 1.0f;
}

float *zi_fixture_random_values(zi_fixture *fixture, size_t n)
{
    float *x = zi_fixture_alloc(fixture, n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = zi_fixture_random(fixture);
    return x;
}

void *zi_fixture_random_stored(zi_fixture *fixture, zi_dtype type, size_t n, float **meaning)
{
    float *x = zi_fixture_random_values(fixture, n);
    char *data = zi_fixture_alloc(fixture, n * zi_dtype_size(type) + 1, 1);
    data++;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        uint16_t half = (uint16_t)(bits >> 16);
        if (type == ZI_F16) /* of any size, subnormal ones included */
            half = (uint16_t)((fixture->random >> i % 13 & 0xbfff) % 0x7c00 | (i & 1) << 15);
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

zi_view zi_fixture_view(zi_fixture *fixture, const float *values, size_t rows, size_t columns)
{
    zi_view view = zi_arena_floats(&fixture->arena, rows, columns);
    if (fixture->arena.overflow) {
        printf("test fixture: no room for [%zu, %zu]\n", rows, columns);
        exit(1);
    }
    if (values) zi_write(fixture->exec, view, values);
    return view;
}

float *zi_fixture_read(zi_fixture *fixture, zi_view view)
{
    zi_error error = {0};
    float *values = zi_fixture_alloc(fixture, view.rows * view.columns, sizeof *values);
    need(zi_read(fixture->exec, view, values, &error), &error);
    return values;
}

static zi_view import(zi_fixture *fixture, zi_dtype type, const void *data, size_t rows,
                      size_t columns)
{
    zi_error error = {0};
    zi_view view = {.type = type, .rows = rows, .columns = columns, .stride = columns};
    size_t bytes = zi_dtype_bytes(type, rows * columns);
    fixture->imported =
        realloc(fixture->imported, (fixture->imported_count + 1) * sizeof *fixture->imported);
    need(zi_buffer_import(fixture->backend, data, bytes, &view.buffer, &error), &error);
    fixture->imported[fixture->imported_count++] = view.buffer;
    return view;
}

zi_weight zi_fixture_weight(zi_fixture *fixture, zi_dtype type, const void *data, size_t rows,
                            size_t columns)
{
    return (zi_weight){.name = "test", .data = import(fixture, type, data, rows, columns)};
}

zi_weight zi_fixture_vector(zi_fixture *fixture, const float *values, size_t n)
{
    return zi_fixture_weight(fixture, ZI_F32, values, 1, n);
}

/* ---- tiers ---- */

const char *zi_test_next_tier(size_t *index)
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

/* ---- fast products ---- */

float zi_test_quantization_max(const zi_kernels *kernels, const float *x, size_t n, float *top)
{
    float max_value = 0;
    *top = kernels->q_sums_limited ? 126 : 127;
    for (size_t i = 0; !kernels->q_sums_limited && i < n; i++)
        max_value = fmaxf(max_value, fabsf(x[i]));
    for (size_t i = 0; kernels->q_sums_limited && i < n; i += i % 8 ? 6 : 2) /* 0, 2, 8, 10, ... */
        max_value =
            fmaxf(max_value, (fabsf(x[i]) + fabsf(x[i + 4])) + (fabsf(x[i + 1]) + fabsf(x[i + 5])));
    return max_value;
}

void zi_test_quantize(const zi_kernels *kernels, const float *x, size_t n, size_t unit, double *out)
{
    for (size_t g = 0; g < n; g += unit) {
        float top, max_value = zi_test_quantization_max(kernels, x + g, unit, &top);
        for (size_t i = g; i < g + unit; i++)
            out[i] = max_value ? rintf(x[i] * (top / max_value)) * (double)(max_value / top) : 0;
    }
}

/* Returns the largest magnitude of n values. */
static double max_magnitude(const float *x, size_t n)
{
    float max_value = 0; /* no fmax in double: gcc 12 for arm64 fails to compile that here */
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > max_value) max_value = fabsf(x[i]);
    return max_value;
}

/* Checks y [N], a row of the product, whose rounded inputs are x [K]. largest [N, K / unit]: of the
 * weights in each run. Returns false after a failure. */
static bool check_fast_row(const char *what, const zi_test_product *p, const double *x,
                           const double *largest, const float *y)
{
    for (size_t n = 0; n < p->N; n++) {
        double sum = 0, bound = 0;
        for (size_t k = 0; k < p->K; k++) {
            double max_value = largest[(n * p->K + k) / p->unit];
            sum += x[k] * p->w[n * p->K + k];
            bound += fabs(x[k]) * max_value * (2e-5 + p->loss);
        }
        if (!CHECK_MSG(fabs(y[n] - sum) <= bound + 1e-30,
                       "%s K %zu: fast y[%zu] of a row is %g, not %g", what, p->K, n, y[n], sum))
            return false;
    }
    return true;
}

void zi_test_check_fast(const zi_kernels *kernels, const char *what, const zi_test_product *p,
                        const float *y)
{
    size_t runs = p->N * p->K / p->unit;
    double *x = malloc(p->K * sizeof *x), *largest = malloc(runs * sizeof *largest);
    bool ok = true;
    for (size_t i = 0; i < runs; i++) largest[i] = max_magnitude(p->w + i * p->unit, p->unit);
    for (size_t t = 0; ok && t < p->T; t++) {
        zi_test_quantize(kernels, p->x + t * p->K, p->K, p->unit, x);
        ok = check_fast_row(what, p, x, largest, y + t * p->N);
    }
    free(x);
    free(largest);
}
