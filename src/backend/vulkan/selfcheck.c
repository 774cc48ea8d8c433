/* Self-checks: what a pipeline computes on this device is compared with the kernels in portable C
 * before it is used for the first time, because drivers have errors. Where a result is known of
 * this device, driver and shader, see cache.c, it is not computed again.
 *
 * Each shader has a case, which runs on two sides: on the device with the pipeline, and in the
 * CPU backend, or in plain C where a shader is only a part of an operation. Both sides get the same
 * random numbers. Pipelines that a case needs beside its own are checked before. */
#include "backend/cpu/cpu.h"
#include "backend/vulkan/selfcheck.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEMORY = 12 << 20 };
/* A result may be off by these shares of the largest value. TOLERANCE is for f32, whose functions
 * may have few correct bits; COARSE is for results of f16 and of codes of eight bits. */
static const double TOLERANCE = 1e-3, COARSE = 4e-3;

/* Whether the results of a shader are coarse: it computes with f16, or makes codes of eight bits.
 */
static bool is_coarse(gpu_shader shader)
{
    return shader == GPU_SHADER_narrow || shader == GPU_SHADER_quantize ||
           shader >= GPU_FIRST_MATRIX_SHADER;
}

/* Whether only fast sessions use a shader. */
static bool is_fast(gpu_shader shader)
{
    return is_coarse(shader) || shader == GPU_SHADER_linear_dots;
}

/* Gives a side memory. That of the device is the host's: it does not count for the limit of device
 * memory, and no weight leaves for it. False, with *s->error set. */
static bool take_memory(gpu_side *s)
{
    if (!s->device) return zi_buffer_alloc(s->backend, MEMORY, &s->memory, s->error);
    if (!gpu_memory_alloc(gpu_of(s->backend), GPU_HOST_MEMORY, MEMORY, &s->own.memory, s->error))
        return false;
    s->own.base = (zi_buffer){.backend = s->backend, .size = MEMORY};
    s->memory = &s->own.base;
    return true;
}

/* Gives a side memory and a session. False, with *s->error set. */
static bool open_side(gpu_side *s, const gpu_pipeline *pipeline)
{
    zi_exec_limits limits = {.head_dim = ZI_MAX_HEAD, .depth = GPU_CHECK_DEPTH};
    if (!take_memory(s) ||
        !s->backend->ops->begin(s->backend, s->device && is_fast(pipeline->shader), &s->exec,
                                s->error))
        return false;
    if (s->device) gpu_exec_of(s->exec)->forced = pipeline;
    s->arena = zi_arena_in(s->memory);
    s->random = 12345;
    s->exec->ops->plan(s->exec, &s->arena, limits);
    return true;
}

static void close_side(gpu_side *s)
{
    if (s->exec) s->exec->ops->end(s->exec);
    if (s->device)
        gpu_memory_free(gpu_of(s->backend), &s->own.memory);
    else
        zi_buffer_release(s->memory);
}

/* Runs the pipeline's case on a side. Sets *out to its result [*count], to be freed. False, with
 * *s->error set. */
static bool run_side(gpu_side *s, const gpu_pipeline *pipeline, float **out, size_t *count)
{
    if (!open_side(s, pipeline)) return false;
    zi_view result = gpu_cases[pipeline->shader](s, pipeline->constants);
    if (s->error->code) return false;
    *count = result.rows * result.columns;
    *out = s->short_of_memory ? NULL : malloc(*count * sizeof **out);
    if (!*out) return zi_error_no_memory(s->error, MEMORY);
    return zi_read(s->exec, result, *out, s->error);
}

/* Whether values are those of the reference, but for rounding. */
static bool is_close(const float *got, const float *reference, size_t count, double tolerance)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(reference[i]));
    for (size_t i = 0; i < count; i++) /* false for NaNs */
        if (!(fabs((double)got[i] - reference[i]) <= tolerance * largest)) return false;
    return true;
}

/* Runs both sides. False, with *error set: the check could not be made. */
static bool compare(gpu_backend *gpu, gpu_pipeline *pipeline, bool *right, zi_error *error)
{
    zi_kernels kernels;
    zi_pool *pool = NULL;
    gpu_side device = {.device = true, .backend = &gpu->base, .error = error},
             cpu = {.error = error};
    float *got = NULL, *reference = NULL;
    size_t count, reference_count;
    bool ok = zi_kernels_select("ref", &kernels, error) && zi_pool_create(1, &pool, error) &&
              zi_cpu_backend_create(&kernels, pool, NULL, &cpu.backend, error) &&
              run_side(&device, pipeline, &got, &count) &&
              run_side(&cpu, pipeline, &reference, &reference_count);
    double tolerance = is_coarse(pipeline->shader) ? COARSE : TOLERANCE;
    if (ok) *right = count == reference_count && is_close(got, reference, count, tolerance);
    if (ok) pipeline->missed = !gpu_exec_of(device.exec)->forced_used;
    close_side(&device);
    close_side(&cpu);
    if (cpu.backend) cpu.backend->ops->destroy(cpu.backend);
    zi_pool_free(pool);
    free(got);
    free(reference);
    return ok;
}

/* Says that a pipeline is not used. */
static void remark(const gpu_backend *gpu, const gpu_pipeline *pipeline)
{
    char text[1024], constants[GPU_MAX_CONSTANTS * 11 + 1] = "";
    for (size_t i = 0, n = 0; i < GPU_MAX_CONSTANTS; i++)
        n += (size_t)snprintf(constants + n, sizeof constants - n, "%s%u", i ? " " : "",
                              pipeline->constants[i]);
    snprintf(text, sizeof text,
             "%s: the shader %s (constants %s) computes wrong values with the driver %s and is not "
             "used",
             gpu->capabilities.summary.name, gpu_shaders[pipeline->shader].name, constants,
             gpu->capabilities.summary.driver);
    if (gpu->options.remarks) gpu->options.remarks(gpu->options.user, text);
}

bool gpu_self_check(gpu_backend *gpu, gpu_pipeline *pipeline, zi_error *error)
{
    zi_error own = {0};
    uint64_t key = gpu_cache_key(pipeline->shader, pipeline->constants);
    const struct gpu_checked *known = gpu_cache_find(gpu, key);
    bool right = known && known->right;
    if (!known) {
        gpu->checks++;
        pipeline->checked = true; /* while its own check uses it */
        pipeline->checked = compare(gpu, pipeline, &right, &own);
        gpu->checks--;
        if (!pipeline->checked) {
            if (error) *error = own;
            return false;
        }
        gpu_cache_add(gpu, key, right);
    }
    pipeline->checked = true;
    pipeline->wrong = !right;
    if (!right) remark(gpu, pipeline);
    return true;
}
