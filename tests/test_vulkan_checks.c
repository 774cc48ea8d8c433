/* The Vulkan backend's self-checks, and what it keeps on disk: compiled pipelines and the results
 * of these checks. */
#include "fixture.h"
#include "vulkan_small.h"

#include "base/file.h"
#include "base/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Opens a backend without faults; dots: as if the device had fast integer dot products, and no
 * cooperative matrices. */
static gpu_backend *open_quiet(const char *cache, bool dots)
{
    zi_vulkan_options o = zi_small_options();
    zi_backend *backend = NULL;
    zi_error error = {0};
    o.cache = cache;
    o.no_matrices = o.slow_dots = dots;
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_vulkan_backend_create(&o, &backend, &error), error);
    return (gpu_backend *)backend;
}

/* ---- what is kept on disk ---- */

/* Sets path to that of the only file in a folder that begins so. */
static void find_file(const char *folder, const char *begins, char path[512])
{
    char command[512], name[256] = "";
    snprintf(command, sizeof command, "ls %s | grep ^%s", folder, begins);
    FILE *pipe = popen(command, "r");
    if (pipe && fgets(name, sizeof name, pipe)) name[strcspn(name, "\n")] = 0;
    if (pipe) pclose(pipe);
    snprintf(path, 512, "%s/%s", folder, name);
}

/* Computes with a cache folder; returns how many bytes the driver got of the file. */
static size_t use_cache(const char *folder)
{
    zi_vulkan_options o = zi_small_options();
    zi_error error = {0};
    zi_small r;
    o.cache = folder;
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_small_run(&o, &r, &error), error);
    size_t used = zi_faults.pipeline_data;
    zi_small_close(&r);
    zi_small_check_quiet();
    return used;
}

static uint64_t fnv1a(const char *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)data[i]) * 0x100000001b3;
    return hash;
}

/* Whether the file is used after its byte `at` was changed (with or without a right hash), or it
 * was cut there. */
static bool used_if_changed(const char *folder, const char *path, size_t at, bool hashed, bool cut)
{
    char *data;
    size_t size;
    zi_error error = {0};
    if (!CHECK_OK(zi_file_read(path, 1 << 28, &data, &size, &error), error)) return true;
    data[at] ^= 1;
    uint64_t hash = fnv1a(data + 32, size - 32);
    if (hashed) memcpy(data + 24, &hash, sizeof hash);
    zi_test_write_file(path, data, cut ? at : size);
    free(data);
    return use_cache(folder) > 0;
}

/* Whether the driver gives anything to keep: lavapipe of Mesa 26 gives less than a header. */
static bool driver_keeps_pipelines(void)
{
    char data[4096];
    gpu_backend *gpu = open_quiet(NULL, false);
    size_t size = sizeof data;
    VkResult result = gpu->vk.GetPipelineCacheData(gpu->device, gpu->cache.pipelines, &size, data);
    CHECK(result == VK_SUCCESS || result == VK_INCOMPLETE);
    gpu->base.ops->destroy(&gpu->base);
    return size >= sizeof(VkPipelineCacheHeaderVersionOne);
}

static void pipelines_are_kept(void)
{
    const char *folder = zi_test_path("deep/pipelines");
    char path[512];
    CHECK(use_cache(folder) == 0);
    find_file(folder, "pipelines", path);
    if (!driver_keeps_pipelines()) return;
    CHECK(zi_is_file(path));
    CHECK(use_cache(folder) > 0);
    CHECK(
        !used_if_changed(folder, path, 63, false, false)); /* damaged; and written anew each time */
    CHECK(!used_if_changed(folder, path, 3, false, false)); /* another kind of file */
    CHECK(!used_if_changed(folder, path, 40, true, false)); /* another maker */
    CHECK(!used_if_changed(folder, path, 45, true, false)); /* another device */
    CHECK(!used_if_changed(folder, path, 50, true, false)); /* another driver */
    CHECK(!used_if_changed(folder, path, 60, false, true)); /* cut */
    CHECK(!used_if_changed(folder, path, 0, false, true));  /* empty */
    find_file(folder, "checked", path);
    zi_test_write_file(path, "zimage self-checks 1", 20);
    use_cache(folder);
    use_cache("/dev/null/nothing"); /* cannot be written */
}

/* ---- self-checks ---- */

/* Constants with which each shader is checked here. */
static const struct {
    gpu_shader shader;
    uint32_t count, constants[7];
} samples[] = {
    {GPU_SHADER_linear, 7, {0, 0, 0, 32, 0, 0, 4}},
    {GPU_SHADER_linear_few, 6, {0, 0, 0, 32, 0, 0}},
    {GPU_SHADER_embed, 6, {0, 0, 0, 32, 0, 0}},
    {GPU_SHADER_rotate, 0, {0}},
    {GPU_SHADER_attention, 3, {128, 100, 13}},
    {GPU_SHADER_norm, 2, {64, 0}},
    {GPU_SHADER_rope, 0, {0}},
    {GPU_SHADER_elementwise, 1, {ZI_ADD}},
    {GPU_SHADER_permute, 0, {0}},
    {GPU_SHADER_check, 1, {1}},
    {GPU_SHADER_conv_weights, 6, {0, 0, 0, 32, 0, 0}},
    {GPU_SHADER_copy_map, 1, {1}},
    {GPU_SHADER_conv, 1, {9}},
    {GPU_SHADER_moments, 0, {0}},
    {GPU_SHADER_moments_sum, 0, {0}},
    {GPU_SHADER_group_norm_coefficients, 0, {0}},
    {GPU_SHADER_narrow, 0, {0}},
    {GPU_SHADER_peak, 0, {0}},
    {GPU_SHADER_quantize, 0, {0}},
    {GPU_SHADER_linear_dots, 7, {ZI_Q4_1, 0, 0, 32, 0, 0, 4}},
};

/* Checks a pipeline; returns whether it is right. */
static bool finds_right(gpu_backend *gpu, gpu_shader shader, const uint32_t *constants,
                        size_t count)
{
    zi_error error = {0};
    const gpu_pipeline *p = gpu_pipeline_find(gpu, shader, constants, count, &error);
    return CHECK_MSG(p != NULL, "%s: %s", gpu_shaders[shader].name, error.text) &&
           CHECK_MSG(!p->missed, "the self-check of %s is of another", gpu_shaders[shader].name) &&
           !p->wrong;
}

static void wrong_shaders_are_found(void)
{
    CHECK(sizeof samples / sizeof *samples == GPU_FIRST_MATRIX_SHADER);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        bool dots = samples[i].shader >= GPU_SHADER_quantize;
        gpu_backend *gpu = open_quiet(NULL, dots);
        const char *name = gpu_shaders[samples[i].shader].name;
        if (dots && !gpu->capabilities.dots) {
            gpu->base.ops->destroy(&gpu->base);
            continue;
        }
        zi_faults.wrong_shader = (int)samples[i].shader + 1;
        zi_small_remarks = 0;
        CHECK_MSG(!finds_right(gpu, samples[i].shader, samples[i].constants, samples[i].count),
                  "%s was planted wrong", name);
        CHECK_MSG(zi_small_remarks == 1 && strstr(zi_small_last_remark, name) &&
                      strstr(zi_small_last_remark, "llvmpipe"),
                  "%d remarks: %s", zi_small_remarks, zi_small_last_remark);
        gpu->base.ops->destroy(&gpu->base);
        zi_small_check_quiet();
    }
    zi_faults = (zi_vulkan_faults){0};
}

/* All kinds of weights and of other variants. */
static void right_shaders_are_found(void)
{
    gpu_backend *gpu = open_quiet(NULL, false);
    static const zi_dtype plain[] = {ZI_F32,  ZI_F16,  ZI_BF16, ZI_F8_E4M3, ZI_F8_E5M2, ZI_I8,
                                     ZI_Q4_0, ZI_Q4_1, ZI_Q5_0, ZI_Q5_1,    ZI_Q8_0,    ZI_Q2_K,
                                     ZI_Q3_K, ZI_Q4_K, ZI_Q5_K, ZI_Q6_K,    ZI_IQ4_NL,  ZI_IQ4_XS};
    static const uint32_t groups[][6] = {
        {0, 2, 0, 64, ZI_BF16, 1},      {0, 3, 0, 32, ZI_F16, 1},
        {0, 4, 0, 64, ZI_BF16, 1 | 16}, {0, 5, 0, 128, ZI_F32, 1},
        {0, 6, 0, 64, ZI_BF16, 1},      {0, 8, 0, 32, ZI_F16, 1},
        {0, 4, 1, 32, ZI_F8_E8M0, 0},   {0, 4, 2, 16, ZI_F8_E4M3, 2 | 4},
        {0, 8, 3, 32, ZI_F8_E8M0, 2},
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        const uint32_t flags = (i % 3 == 1   ? 4
                                : i % 3 == 2 ? 8
                                             : 0) |
                               (i % 2 && zi_dtype_bytes(plain[i], 256) % 8 == 0 ? 16 : 0);
        const uint32_t constants[] = {plain[i], 0, 0, 32, 0, flags, i % 8 ? 4 : 8};
        gpu_shader shader = i % 4 == 0   ? GPU_SHADER_linear
                            : i % 4 == 1 ? GPU_SHADER_linear_few
                            : i % 4 == 2 ? GPU_SHADER_embed
                                         : GPU_SHADER_conv_weights;
        size_t count = shader == GPU_SHADER_linear ? 7 : 6;
        CHECK_MSG(finds_right(gpu, shader, constants, count), "%s: %s", zi_dtype_name(plain[i]),
                  zi_small_last_remark);
    }
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        CHECK_MSG(finds_right(gpu, i % 2 ? GPU_SHADER_linear_few : GPU_SHADER_embed, groups[i], 6),
                  "groups %zu: %s", i, zi_small_last_remark);
    for (uint32_t kind = 0; kind < ZI_ELEMENTWISE_COUNT; kind++)
        CHECK(finds_right(gpu, GPU_SHADER_elementwise, &kind, 1));
    for (uint32_t kind = 0; kind <= ZI_LAYER_NORM; kind++)
        for (uint32_t size = 64; size <= 256; size += 192)
            CHECK(finds_right(gpu, GPU_SHADER_norm, (const uint32_t[]){size, kind}, 2));
    CHECK(finds_right(gpu, GPU_SHADER_attention, (const uint32_t[]){32, 1000, 125}, 3));
    CHECK(finds_right(gpu, GPU_SHADER_attention, (const uint32_t[]){8, 128, 16}, 3));
    CHECK(finds_right(gpu, GPU_SHADER_conv, (const uint32_t[]){1}, 1));
    CHECK(finds_right(gpu, GPU_SHADER_copy_map, (const uint32_t[]){0}, 1));
    CHECK(finds_right(gpu, GPU_SHADER_check, (const uint32_t[]){2}, 1));
    gpu->base.ops->destroy(&gpu->base);
    zi_small_check_quiet();
}

/* Shaders for cooperative matrices, where the device has these: found right, and wrong. */
static void matrix_shaders(void)
{
    gpu_backend *gpu = open_quiet(NULL, false);
    const gpu_matrix m = gpu->capabilities.matrix;
    uint32_t linear[GPU_MATRIX_CONSTANTS] = {ZI_F32, 0, 0, 32, 0, 0},
             groups[GPU_MATRIX_CONSTANTS] = {0, 4, 0, 64, ZI_BF16, 1 | 16},
             conv[GPU_MATRIX_CONSTANTS] = {9}, single[GPU_MATRIX_CONSTANTS] = {1};
    const uint32_t attention[] = {64, m.subgroup, m.subgroup, 0, 0, 0, m.m, m.n, m.k};
    const uint32_t peak[] = {0, 0, 0, 0, 0, 0, m.m, m.n, m.k};
    const gpu_tiling tiling = {.kind = GPU_MATRICES, .rows = 64, .columns = 64};
    const struct {
        gpu_shader shader;
        const uint32_t *constants;
        size_t count;
    } rows[] = {{GPU_SHADER_linear_matrix, linear, GPU_MATRIX_CONSTANTS},
                {GPU_SHADER_linear_matrix, groups, GPU_MATRIX_CONSTANTS},
                {GPU_SHADER_conv_matrix, conv, GPU_MATRIX_CONSTANTS},
                {GPU_SHADER_conv_matrix, single, GPU_MATRIX_CONSTANTS},
                {GPU_SHADER_attention_matrix, attention, 9},
                {GPU_SHADER_peak_matrix, peak, 9}};
    if (m.m) {
        gpu_matrix_constants(&gpu->capabilities, &tiling, true, linear);
        gpu_matrix_constants(&gpu->capabilities, &tiling, true, groups);
        gpu_matrix_constants(&gpu->capabilities, &tiling, true, conv);
        gpu_matrix_constants(&gpu->capabilities, &tiling, true, single);
    }
    gpu->base.ops->destroy(&gpu->base);
    for (size_t i = 0; m.m && i < sizeof rows / sizeof *rows; i++)
        for (int wrong = 0; wrong < 2; wrong++) {
            gpu = open_quiet(NULL, false);
            if (wrong) zi_faults.wrong_shader = (int)rows[i].shader + 1;
            CHECK_MSG(finds_right(gpu, rows[i].shader, rows[i].constants, rows[i].count) == !wrong,
                      "%s, row %zu: %s", gpu_shaders[rows[i].shader].name, i, zi_small_last_remark);
            gpu->base.ops->destroy(&gpu->base);
            zi_small_check_quiet();
        }
    zi_faults = (zi_vulkan_faults){0};
}

/* A wrong shader for many rows: that for a few rows takes its place, and the other way round. Where
 * none can, it is an error. All of it is remembered. */
static void wrong_shaders_are_replaced(void)
{
    static const gpu_shader shaders[] = {GPU_SHADER_linear, GPU_SHADER_linear_few,
                                         GPU_SHADER_elementwise};
    static const char *const folders[] = {"wrong0", "wrong1", "wrong2"};
    zi_vulkan_options o = zi_small_options();
    for (size_t i = 0; i < 3; i++)
        for (int again = 0; again < 2; again++) {
            zi_error error = {0};
            zi_small r;
            o.cache = zi_test_path(folders[i]);
            zi_faults = (zi_vulkan_faults){.wrong_shader = again ? 0 : (int)shaders[i] + 1};
            zi_small_remarks = 0;
            bool ok = zi_small_run(&o, &r, &error);
            CHECK_MSG(ok == (i < 2), "%s: %s", gpu_shaders[shaders[i]].name, error.text);
            CHECK_MSG(zi_small_remarks == 1, "%d remarks", zi_small_remarks);
            if (!ok) {
                CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, NULL);
                CHECK_MSG(strstr(error.text, "llvmpipe") && strstr(error.text, "elementwise"), "%s",
                          error.text);
            }
            zi_small_close(&r);
        }
    zi_faults = (zi_vulkan_faults){0};
    zi_small_remarks = 0;
    zi_small_check_quiet();
}

/* ---- integer dot products ---- */

/* Computes a product with int8 weights [N, K]. Returns the largest difference from the right values
 * as a share of the largest of these. */
static double multiply_codes(gpu_backend *gpu, bool fast)
{
    static int8_t codes[N * K];
    static float y[T * N];
    zi_small r = {.backend = &gpu->base};
    zi_error error = {0};
    double worst = 0, largest = 0;
    for (size_t i = 0; i < N * K; i++) codes[i] = (int8_t)lrintf(zi_small_weights[i] * 127);
    CHECK_OK(zi_buffer_import(r.backend, codes, sizeof codes, &r.imported, &error), error);
    r.weight = (zi_weight){.name = "w", .data = {r.imported, 0, ZI_I8, N, K, K}};
    CHECK_OK(r.backend->ops->begin(r.backend, fast, &r.exec, &error) &&
                 zi_buffer_alloc(r.backend, 8 << 20, &r.memory, &error),
             error);
    r.arena = zi_arena_in(r.memory);
    r.exec->ops->plan(r.exec, &r.arena, (zi_exec_limits){.head_dim = 128, .depth = 256});
    zi_view x = zi_arena_floats(&r.arena, T, K), to = zi_arena_floats(&r.arena, T, N);
    zi_write(r.exec, x, zi_small_inputs);
    zi_linear(r.exec, x, &r.weight, NULL, to);
    CHECK_OK(zi_read(r.exec, to, y, &error), error);
    for (size_t i = 0; i < T * N; i++) {
        double sum = 0;
        for (size_t k = 0; k < K; k++)
            sum += (double)zi_small_inputs[i / N * K + k] * codes[i % N * K + k];
        worst = fmax(worst, fabs(y[i] - sum));
        largest = fmax(largest, fabs(sum));
    }
    zi_small_end(&r);
    zi_buffer_release(r.imported);
    return worst / largest;
}

/* They are used in fast sessions, where the driver says that they are fast and there are no
 * cooperative matrices; f32 takes the place of shaders that are wrong. */
static void dots_are_used(void)
{
    static const int wrong[] = {0, GPU_SHADER_quantize + 1, GPU_SHADER_linear_dots + 1};
    zi_vulkan_options o = zi_small_options();
    for (size_t i = 0; i < 4; i++) {
        zi_backend *backend = NULL;
        zi_error error = {0};
        zi_faults = (zi_vulkan_faults){.fast_dots = i < 3, .wrong_shader = i < 3 ? wrong[i] : 0};
        zi_small_remarks = 0;
        CHECK_OK(zi_vulkan_backend_create(&o, &backend, &error), error);
        if (!backend) break;
        gpu_backend *gpu = (gpu_backend *)backend;
        const gpu_capabilities *c = &gpu->capabilities;
        bool used = i < 3 && c->has_dots && !c->matrix.m;
        CHECK(c->dots == used && used == !strcmp(c->summary.features, "integer dot products"));
        double exact = multiply_codes(gpu, false), fast = multiply_codes(gpu, true);
        CHECK_MSG(exact < 1e-6, "exact: off by %g", exact);
        CHECK_MSG(used && !i ? fast > 5e-4 && fast < 1e-2 : c->matrix.m || fast == exact,
                  "fast: off by %g, exact: %g", fast, exact);
        CHECK_MSG(zi_small_remarks == (used && i), "%d remarks", zi_small_remarks);
        backend->ops->destroy(backend);
        zi_small_check_quiet();
    }
    zi_faults = (zi_vulkan_faults){0};
    zi_small_remarks = 0;
}

int main(void)
{
    zi_small_prepare();
    zi_test_need_gpu();
    RUN(pipelines_are_kept);
    RUN(wrong_shaders_are_replaced);
    RUN(wrong_shaders_are_found);
    RUN(right_shaders_are_found);
    RUN(matrix_shaders);
    RUN(dots_are_used);
    return zi_test_result();
}
