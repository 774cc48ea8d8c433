/* The Vulkan backend itself: what it keeps on disk, its self-checks, how it splits submissions, and
 * what it does when something fails. What its operations compute is the matter of other suites. */
#include "fixture.h"
#include "harness.h"
#include "vulkan_faults.h"

#include "backend/vulkan/operations.h"

#include "base/file.h"
#include "base/machine.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { T = 40, N = 96, K = 64, MEMORY = 32 << 20 };

static const char *program; /* this one, to be run as a child */
static int messages;
static char last_message[512], last_remark[1024];
static int remarks;

static void on_message(void *user, const char *text)
{
    (void)user;
    messages++;
    snprintf(last_message, sizeof last_message, "%s", text);
}

static void on_remark(void *user, const char *text)
{
    (void)user;
    remarks++;
    snprintf(last_remark, sizeof last_remark, "%s", text);
}

static zi_vulkan_options options(void)
{
    return (zi_vulkan_options){.validation = true,
                               .messages = on_message,
                               .remarks = on_remark,
                               .intercept = zi_faults_plant,
                               .staging = true};
}

/* ---- a small computation ---- */

/* A session, its memory, and a weight [N, K]. */
typedef struct {
    zi_backend *backend;
    zi_exec *exec;
    zi_buffer *memory, *imported;
    zi_arena arena;
    zi_weight weight;
} rig;

static float weights[N * K], inputs[T * K];

static void fill(float *x, size_t n, uint32_t random)
{
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        x[i] = (float)(random >> 8) * 0x1p-23f - 1;
    }
}

static bool begin(rig *r, zi_error *error)
{
    if (!r->backend->ops->begin(r->backend, false, &r->exec, error) ||
        !zi_buffer_alloc(r->backend, MEMORY, &r->memory, error))
        return false;
    r->arena = zi_arena_in(r->memory);
    r->exec->ops->plan(r->exec, &r->arena, (zi_exec_limits){128, 256});
    return true;
}

static void end(rig *r)
{
    if (r->exec) r->exec->ops->end(r->exec);
    zi_buffer_release(r->memory);
    r->exec = NULL;
    r->memory = NULL;
}

static bool import(rig *r, zi_error *error)
{
    if (r->imported) return true;
    bool ok = zi_buffer_import(r->backend, weights, sizeof weights, &r->imported, error);
    r->weight = (zi_weight){.name = "w", .data = {r->imported, 0, ZI_F32, N, K, K}};
    return ok;
}

/* y [T, N] = silu(x w^T), in a session of its own, with the first rows by themselves. */
static bool compute(rig *r, float *y, zi_error *error)
{
    bool ok = import(r, error) && begin(r, error);
    if (ok) {
        zi_view x = zi_arena_floats(&r->arena, T, K), to = zi_arena_floats(&r->arena, T, N);
        zi_write(r->exec, x, inputs);
        zi_linear(r->exec, zi_view_rows(x, 0, 4), &r->weight, NULL, zi_view_rows(to, 0, 4));
        ok = zi_submit(r->exec, error);
        zi_linear(r->exec, zi_view_rows(x, 4, T - 4), &r->weight, NULL, zi_view_rows(to, 4, T - 4));
        ok = ok && zi_submit(r->exec, error);
        r->exec->ops->elementwise(r->exec, ZI_SILU, to, (zi_view){0}, 0, 0);
        ok = ok && zi_read(r->exec, to, y, error);
    }
    end(r);
    return ok;
}

static bool is_right(const float *y)
{
    for (size_t t = 0; t < T; t++)
        for (size_t n = 0; n < N; n++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++) sum += (double)inputs[t * K + k] * weights[n * K + k];
            if (!(fabs(y[t * N + n] - sum / (1 + exp(-sum))) < 1e-4)) return false;
        }
    return true;
}

static void close_rig(rig *r)
{
    zi_buffer_release(r->imported);
    if (r->backend) r->backend->ops->destroy(r->backend);
    *r = (rig){0};
}

/* Opens a backend and computes. False, with *error set; close_rig in any case. */
static bool run(const zi_vulkan_options *o, rig *r, zi_error *error)
{
    float y[T * N];
    *r = (rig){0};
    if (!zi_vulkan_backend_create(o, &r->backend, error) || !compute(r, y, error)) return false;
    CHECK(is_right(y));
    return true;
}

/* No message of the validation layer has come. */
static void check_quiet(void)
{
    CHECK_MSG(!messages, "%d messages of the validation layer: %s", messages, last_message);
    messages = 0;
}

/* ---- validation ---- */

static void computes(void)
{
    zi_vulkan_options o = options();
    zi_error error = {0};
    rig r;
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(run(&o, &r, &error), error);
    close_rig(&r);
    check_quiet();
    CHECK(!remarks);
}

static void validation_reports(void)
{
    zi_vulkan_options o = options();
    zi_error error = {0};
    rig r = {0};
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_vulkan_backend_create(&o, &r.backend, &error), error);
    CHECK_OK(begin(&r, &error), error);
    zi_faults.long_copies = true;
    zi_faults.function = "QueueSubmit"; /* the copy must not be made */
    zi_faults.call = 1;
    zi_faults.result = VK_ERROR_OUT_OF_HOST_MEMORY;
    zi_write(r.exec, zi_arena_floats(&r.arena, T, K), inputs);
    CHECK(!zi_wait(r.exec, &error));
    end(&r);
    zi_faults = (zi_vulkan_faults){0};
    close_rig(&r);
    CHECK_MSG(messages > 0 && strstr(last_message, "vkCmdCopyBuffer"), "%d messages: %s", messages,
              last_message);
    messages = 0;
}

/* ---- failures ---- */

/* Lets one call fail: an error or, where it does not matter, none; and success afterwards. */
static void check_fault(zi_vulkan_options *o, const char *function, int call, VkResult result)
{
    zi_error error = {0};
    float y[T * N];
    rig r;
    zi_faults = (zi_vulkan_faults){.function = function, .call = call, .result = result};
    bool ok = run(o, &r, &error), fired = zi_faults.calls >= call;
    bool lost = result == VK_ERROR_DEVICE_LOST,
         optional = strstr(function, "PipelineCache") || strstr(function, "WaitIdle");
    bool may_pass = !fired || optional, may_fail = fired && (!optional || lost);
    CHECK_MSG(ok ? may_pass : may_fail, "%s %d: %s", function, call, error.text);
    if (!ok) {
        CHECK_MSG(*error.text && !strchr(error.text, '\n'), "%s: %s", function, error.text);
        CHECK_MSG(!lost || strstr(error.text, "reset") || strstr(error.text, "error -4"), "%s: %s",
                  function, error.text);
        CHECK_MSG(lost || strstr(error.text, "memory"), "%s: %s", function, error.text);
        CHECK_MSG(!r.backend || !lost || strstr(error.text, "llvmpipe"), "%s: %s", function,
                  error.text);
    }
    zi_faults.function = NULL;
    error = (zi_error){0};
    if (r.backend) {
        CHECK_MSG(compute(&r, y, &error) && is_right(y), "after %s %d (%d): %s", function, call,
                  result, error.text);
    } else {
        CHECK_OK(run(o, &r, &error), error);
    }
    close_rig(&r);
    check_quiet();
}

static void every_call_fails(void)
{
    zi_vulkan_options o = options();
    const VkResult results[] = {VK_ERROR_DEVICE_LOST, VK_ERROR_OUT_OF_DEVICE_MEMORY};
    for (size_t i = 0; zi_fallible_functions[i]; i++)
        for (int call = 1; call <= 3; call++)
            for (int kind = 0; kind < 2; kind++) {
                if (!zi_test_long() && (kind != call % 2 || call == 3)) continue;
                o.cache = call == 1 ? NULL : zi_test_path("cache"); /* 1: with self-checks */
                check_fault(&o, zi_fallible_functions[i], call, results[kind]);
            }
}

/* Sessions of a lost device fail; the device is opened anew when the last one has ended. */
static void lost_device(void)
{
    zi_vulkan_options o = options();
    zi_error error = {0};
    float y[T * N];
    rig r, other;
    o.cache = zi_test_path("cache");
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(run(&o, &r, &error), error);
    other = (rig){.backend = r.backend};
    CHECK_OK(begin(&other, &error), error);
    zi_faults =
        (zi_vulkan_faults){.function = "WaitSemaphores", .call = 1, .result = VK_ERROR_DEVICE_LOST};
    CHECK(!compute(&r, y, &error));
    CHECK_MSG(strstr(error.text, "llvmpipe") && strstr(error.text, "reset"), "%s", error.text);
    CHECK(!compute(&r, y, &error)); /* the other session still has it */
    CHECK_MSG(strstr(error.text, "try again"), "%s", error.text);
    CHECK(!zi_wait(other.exec, &error) || true);
    end(&other);
    error = (zi_error){0};
    zi_faults.function = "CreateDevice"; /* and the driver is not ready at once */
    zi_faults.calls = 0;
    zi_faults.result = VK_ERROR_INITIALIZATION_FAILED;
    CHECK(!compute(&r, y, &error));
    CHECK_MSG(strstr(error.text, "could not be opened"), "%s", error.text);
    error = (zi_error){0};
    CHECK_MSG(compute(&r, y, &error) && is_right(y), "%s", error.text);
    close_rig(&r);
    check_quiet();
}

static void check_refused(const zi_vulkan_options *o, zi_error_code code, const char *text)
{
    zi_error error = {0};
    zi_backend *backend = NULL;
    CHECK(!zi_vulkan_backend_create(o, &backend, &error) && !backend);
    CHECK_ERROR(error, code, NULL);
    CHECK_MSG(strstr(error.text, text) && !strchr(error.text, '\n'), "%s", error.text);
    check_quiet();
}

static void unusable_devices(void)
{
    zi_vulkan_options o = options();
    zi_faults = (zi_vulkan_faults){.no_halves = true};
    check_refused(&o, ZI_ERROR_UNSUPPORTED, "it lacks storageBuffer16BitAccess");
    zi_faults = (zi_vulkan_faults){.missing = "CmdDispatchBase"};
    check_refused(&o, ZI_ERROR_UNSUPPORTED, "has no vkCmdDispatchBase");
    zi_faults = (zi_vulkan_faults){0};
    o.device = 9;
    check_refused(&o, ZI_ERROR_NOT_FOUND, "there is no Vulkan device 9");
}

/* ---- other processes ---- */

/* Runs this program as a child with these variables of the environment; returns what it prints. */
static const char *run_child(const char *environment)
{
    static char text[1024];
    char command[2048];
    snprintf(command, sizeof command, "%s %s child", environment, program);
    FILE *pipe = popen(command, "r");
    size_t n = pipe ? fread(text, 1, sizeof text - 1, pipe) : 0;
    text[n] = 0;
    if (pipe) pclose(pipe);
    return text;
}

/* The child: prints its error, or "right". */
static int child(void)
{
    zi_vulkan_options o = {.cache = getenv("ZI_TEST_CACHE")};
    zi_error error = {0};
    rig r;
    for (int i = 0; i < 4; i++) {
        if (!run(&o, &r, &error)) {
            printf("%s", error.text);
            break;
        }
        close_rig(&r);
        if (i == 3) printf("right");
    }
    return 0;
}

static void no_driver(void)
{
    zi_test_write_file(zi_test_path("empty.json"), "", 0);
    static const char *const values[] = {"/nowhere.json", "empty.json"};
    for (size_t i = 0; i < 2; i++) {
        char environment[512];
        const char *file = i ? zi_test_path(values[i]) : values[i];
        snprintf(environment, sizeof environment, "VK_DRIVER_FILES=%s VK_ICD_FILENAMES=%s", file,
                 file);
        const char *text = run_child(environment);
        CHECK_MSG(!strcmp(text, "there is no Vulkan device here; is the GPU's driver installed?"),
                  "%s", text);
    }
}

static void no_loader(void)
{
    char environment[512];
    zi_test_write_file(zi_test_path("libvulkan.so.1"), "", 0);
    zi_test_write_file(zi_test_path("libvulkan.so"), "", 0);
    snprintf(environment, sizeof environment, "LD_LIBRARY_PATH=%s", zi_test_folder());
    const char *text = run_child(environment);
    CHECK_MSG(!strncmp(text, "there is no Vulkan loader (libvulkan) on this system", 50), "%s",
              text);
}

/* Two processes compute at the same time and write the same cache. */
static void two_processes(void)
{
    char environment[512], command[1024], texts[2][256] = {"", ""};
    FILE *pipes[2];
    snprintf(environment, sizeof environment, "ZI_TEST_CACHE=%s", zi_test_path("shared"));
    snprintf(command, sizeof command, "%s %s child", environment, program);
    for (size_t i = 0; i < 2; i++) pipes[i] = popen(command, "r");
    for (size_t i = 0; i < 2; i++) {
        if (pipes[i] && !fgets(texts[i], sizeof texts[i], pipes[i])) texts[i][0] = 0;
        if (pipes[i]) pclose(pipes[i]);
        CHECK_MSG(!strcmp(texts[i], "right"), "%s", texts[i]);
    }
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
    zi_vulkan_options o = options();
    zi_error error = {0};
    rig r;
    o.cache = folder;
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(run(&o, &r, &error), error);
    size_t used = zi_faults.pipeline_data;
    close_rig(&r);
    check_quiet();
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

static void pipelines_are_kept(void)
{
    const char *folder = zi_test_path("deep/pipelines");
    char path[512];
    CHECK(use_cache(folder) == 0);
    find_file(folder, "pipelines", path);
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

/* Opens a backend without faults; dots: as if the device had fast integer dot products, and no
 * cooperative matrices. */
static gpu_backend *open_quiet(const char *cache, bool dots)
{
    zi_vulkan_options o = options();
    zi_backend *backend = NULL;
    zi_error error = {0};
    o.cache = cache;
    o.no_matrices = o.slow_dots = dots;
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_vulkan_backend_create(&o, &backend, &error), error);
    return (gpu_backend *)backend;
}

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
        remarks = 0;
        CHECK_MSG(!finds_right(gpu, samples[i].shader, samples[i].constants, samples[i].count),
                  "%s was planted wrong", name);
        CHECK_MSG(remarks == 1 && strstr(last_remark, name) && strstr(last_remark, "llvmpipe"),
                  "%d remarks: %s", remarks, last_remark);
        gpu->base.ops->destroy(&gpu->base);
        check_quiet();
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
                  last_remark);
    }
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        CHECK_MSG(finds_right(gpu, i % 2 ? GPU_SHADER_linear_few : GPU_SHADER_embed, groups[i], 6),
                  "groups %zu: %s", i, last_remark);
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
    check_quiet();
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
    const gpu_tiling tiling = {.matrices = true, .rows = 64, .columns = 64};
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
                      "%s, row %zu: %s", gpu_shaders[rows[i].shader].name, i, last_remark);
            gpu->base.ops->destroy(&gpu->base);
            check_quiet();
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
    zi_vulkan_options o = options();
    for (size_t i = 0; i < 3; i++)
        for (int again = 0; again < 2; again++) {
            zi_error error = {0};
            rig r;
            o.cache = zi_test_path(folders[i]);
            zi_faults = (zi_vulkan_faults){.wrong_shader = again ? 0 : (int)shaders[i] + 1};
            remarks = 0;
            bool ok = run(&o, &r, &error);
            CHECK_MSG(ok == (i < 2), "%s: %s", gpu_shaders[shaders[i]].name, error.text);
            CHECK_MSG(remarks == 1, "%d remarks", remarks);
            if (!ok) {
                CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, NULL);
                CHECK_MSG(strstr(error.text, "llvmpipe") && strstr(error.text, "elementwise"), "%s",
                          error.text);
            }
            close_rig(&r);
        }
    zi_faults = (zi_vulkan_faults){0};
    remarks = 0;
    check_quiet();
}

/* ---- integer dot products ---- */

/* Computes a product with int8 weights [N, K]. Returns the largest difference from the right values
 * as a share of the largest of these. */
static double multiply_codes(gpu_backend *gpu, bool fast)
{
    static int8_t codes[N * K];
    static float y[T * N];
    rig r = {.backend = &gpu->base};
    zi_error error = {0};
    double worst = 0, largest = 0;
    for (size_t i = 0; i < N * K; i++) codes[i] = (int8_t)lrintf(weights[i] * 127);
    CHECK_OK(zi_buffer_import(r.backend, codes, sizeof codes, &r.imported, &error), error);
    r.weight = (zi_weight){.name = "w", .data = {r.imported, 0, ZI_I8, N, K, K}};
    CHECK_OK(r.backend->ops->begin(r.backend, fast, &r.exec, &error) &&
                 zi_buffer_alloc(r.backend, MEMORY, &r.memory, &error),
             error);
    r.arena = zi_arena_in(r.memory);
    r.exec->ops->plan(r.exec, &r.arena, (zi_exec_limits){128, 256});
    zi_view x = zi_arena_floats(&r.arena, T, K), to = zi_arena_floats(&r.arena, T, N);
    zi_write(r.exec, x, inputs);
    zi_linear(r.exec, x, &r.weight, NULL, to);
    CHECK_OK(zi_read(r.exec, to, y, &error), error);
    for (size_t i = 0; i < T * N; i++) {
        double sum = 0;
        for (size_t k = 0; k < K; k++) sum += (double)inputs[i / N * K + k] * codes[i % N * K + k];
        worst = fmax(worst, fabs(y[i] - sum));
        largest = fmax(largest, fabs(sum));
    }
    end(&r);
    zi_buffer_release(r.imported);
    return worst / largest;
}

/* They are used in fast sessions, where the driver says that they are fast and there are no
 * cooperative matrices; f32 takes the place of shaders that are wrong. */
static void dots_are_used(void)
{
    static const int wrong[] = {0, GPU_SHADER_quantize + 1, GPU_SHADER_linear_dots + 1};
    zi_vulkan_options o = options();
    for (size_t i = 0; i < 4; i++) {
        zi_backend *backend = NULL;
        zi_error error = {0};
        zi_faults = (zi_vulkan_faults){.fast_dots = i < 3, .wrong_shader = i < 3 ? wrong[i] : 0};
        remarks = 0;
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
        CHECK_MSG(remarks == (used && i), "%d remarks", remarks);
        backend->ops->destroy(backend);
        check_quiet();
    }
    zi_faults = (zi_vulkan_faults){0};
    remarks = 0;
}

/* ---- submissions ---- */

/* What a session computes that is large enough to be split. */
typedef struct {
    zi_view x, y, k, out, map, result;
} large;

enum { LONG = 300, HEADS = 2, DIM = 64, SIDE = 16, CHANNELS = 70 };

/* Computes a product, attention and a convolution that adds. */
static void compute_large(rig *r, const large *l, const zi_weight *conv, const zi_weight *bias,
                          zi_view workspace)
{
    zi_linear(r->exec, l->x, &r->weight, NULL, l->y);
    zi_attention(r->exec, &(zi_attention_args){.q = l->k,
                                               .k = l->k,
                                               .v = l->k,
                                               .out = l->out,
                                               .heads = HEADS,
                                               .kv_heads = HEADS,
                                               .dim = DIM});
    r->exec->ops->conv3x3(r->exec, &(zi_conv3x3_args){.weight = conv,
                                                      .bias = bias,
                                                      .x = {l->map, SIDE, CHANNELS},
                                                      .y = {l->result, SIDE, CHANNELS},
                                                      .add = true,
                                                      .workspace = workspace});
}

/* Computes three times with submissions of at most this cost; the first time, weights are copied to
 * the device. Returns the results, to be freed; sets the numbers of submissions, and of recordings
 * that the last time took. */
static float *split(uint64_t most, int *submissions, int *recordings)
{
    enum { VALUES = LONG * N + LONG * HEADS * DIM + SIDE * SIDE * CHANNELS };
    zi_vulkan_options o = options();
    zi_error error = {0};
    rig r = {0};
    static float data[CHANNELS * CHANNELS * 9], start[LONG * HEADS * DIM];
    o.submission = most;
    o.cache = zi_test_path("cache");
    fill(data, CHANNELS * CHANNELS * 9, 5);
    fill(start, LONG * HEADS * DIM, 6);
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_vulkan_backend_create(&o, &r.backend, &error) && import(&r, &error) &&
                 begin(&r, &error),
             error);
    zi_weight conv = {.name = "c", .kernel = 3}, bias = {.name = "b"};
    zi_buffer *imported;
    CHECK_OK(zi_buffer_import(r.backend, data, sizeof data, &imported, &error), error);
    conv.data = (zi_view){imported, 0, ZI_F32, CHANNELS, CHANNELS * 9, CHANNELS * 9};
    bias.data = (zi_view){imported, 0, ZI_F32, 1, CHANNELS, CHANNELS};
    large l = {zi_arena_floats(&r.arena, LONG, K),
               zi_arena_floats(&r.arena, LONG, N),
               zi_arena_floats(&r.arena, LONG, HEADS * DIM),
               zi_arena_floats(&r.arena, LONG, HEADS * DIM),
               zi_arena_floats(&r.arena, SIDE, SIDE * CHANNELS),
               zi_arena_floats(&r.arena, SIDE, SIDE * CHANNELS)};
    zi_view workspace = zi_arena_take(&r.arena, ZI_U8, 1, 8 << 20);
    CHECK(!r.arena.overflow);
    zi_write(r.exec, l.x, start);
    zi_write(r.exec, l.k, start);
    zi_write(r.exec, l.map, start);
    zi_write(r.exec, l.result, start);
    CHECK_OK(zi_wait(r.exec, &error), error);
    for (int i = 0; i < 3; i++) {
        zi_faults.submissions = zi_faults.recordings = 0;
        compute_large(&r, &l, &conv, &bias, workspace);
        CHECK_OK(zi_wait(r.exec, &error), error);
    }
    *submissions = zi_faults.submissions;
    *recordings = zi_faults.recordings;
    float *values = malloc(VALUES * sizeof *values);
    CHECK_OK(zi_read(r.exec, l.y, values, &error) &&
                 zi_read(r.exec, l.out, values + LONG * N, &error) &&
                 zi_read(r.exec, l.result, values + LONG * N + LONG * HEADS * DIM, &error),
             error);
    end(&r);
    zi_buffer_release(imported);
    close_rig(&r);
    check_quiet();
    return values;
}

static void submissions_are_split(void)
{
    enum { VALUES = LONG * N + LONG * HEADS * DIM + SIDE * SIDE * CHANNELS };
    static const uint64_t limits[] = {1, 1 << 18, 3000000, 1 << 24};
    int submissions, recordings, before = 0;
    float *whole = split((uint64_t)1 << 40, &submissions, &recordings);
    CHECK_MSG(submissions == 1 && !recordings, "%d submissions, %d recordings", submissions,
              recordings);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        float *values = split(limits[i], &submissions, &recordings);
        CHECK(!memcmp(values, whole, VALUES * sizeof *values));
        CHECK_MSG(!recordings, "%d recordings of what was recorded before", recordings);
        CHECK_MSG(submissions > 1 && (!before || submissions <= before), "%d submissions",
                  submissions);
        before = submissions;
        free(values);
    }
    free(whole);
}

/* The budget falls when a piece takes too long, and rises, more and more patiently, when they are
 * short. */
static void pace(void)
{
    static gpu_backend gpu;
    pthread_mutex_init(&gpu.queue_mutex, NULL);
    gpu_pace_init(&gpu);
    uint64_t first = gpu.pace.budget;
    gpu_pace_note(&gpu, first, 0.5, false); /* no longer than that: says nothing */
    CHECK(gpu.pace.budget == first);
    gpu_pace_note(&gpu, first, 0.5, true);
    CHECK(gpu.pace.budget == first / 4);
    for (int i = 0; i < 1000; i++) gpu_pace_note(&gpu, 1, 1e-6, true); /* too little to say */
    CHECK(gpu.pace.budget == first / 4);
    /* A device that makes 1e13 multiplications a second: pieces become 5 to 100 ms long and stay.
     */
    for (int i = 0; i < 2000; i++)
        gpu_pace_note(&gpu, gpu.pace.budget, (double)gpu.pace.budget / 1e13, true);
    double seconds = (double)gpu.pace.budget / 1e13;
    CHECK_MSG(seconds > 0.005 && seconds < 0.1, "%g s", seconds);
    /* And a slow one, at once. */
    for (int i = 0; i < 20; i++)
        gpu_pace_note(&gpu, gpu.pace.budget, (double)gpu.pace.budget / 1e10, true);
    seconds = (double)gpu.pace.budget / 1e10;
    CHECK_MSG(seconds > 0.005 && seconds < 0.1, "%g s", seconds);
    pthread_mutex_destroy(&gpu.queue_mutex);
}

/* Keeps drivers loaded, so that LeakSanitizer knows them by name: they leak, see leaks.txt. */
static void keep_drivers(void)
{
    static const char *const names[] = {"libvulkan_lvp.so", "libvulkan_intel.so",
                                        "libvulkan_intel_hasvk.so", "libvulkan_radeon.so",
                                        "libVkLayer_MESA_device_select.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        dlopen(names[i], RTLD_NOW | RTLD_NODELETE);
}

int main(int count, char **arguments)
{
    program = arguments[0];
    fill(weights, N * K, 1);
    fill(inputs, T * K, 2);
    keep_drivers();
    if (count > 1) return child();
    zi_test_need_gpu();
    RUN(computes);
    RUN(validation_reports);
    RUN(unusable_devices);
    RUN(no_driver);
    RUN(no_loader);
    RUN(lost_device);
    RUN(pace);
    RUN(submissions_are_split);
    RUN(pipelines_are_kept);
    RUN(wrong_shaders_are_replaced);
    RUN(wrong_shaders_are_found);
    RUN(right_shaders_are_found);
    RUN(matrix_shaders);
    RUN(dots_are_used);
    RUN(two_processes);
    RUN(every_call_fails);
    return zi_test_result();
}
