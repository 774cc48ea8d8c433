/* The Vulkan backend itself: how it splits submissions, and what it does when something fails. What
 * its operations compute is the matter of other suites. */
#include "fixture.h"
#include "vulkan_small.h"

#include <stdlib.h>
#include <string.h>

static const char *program; /* this one, to be run as a child */

/* ---- validation ---- */

static void computes(void)
{
    zi_vulkan_options o = zi_small_options();
    zi_error error = {0};
    zi_small r;
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_small_run(&o, &r, &error), error);
    zi_small_close(&r);
    zi_small_check_quiet();
    CHECK(!zi_small_remarks);
}

static void validation_reports(void)
{
    zi_vulkan_options o = zi_small_options();
    zi_error error = {0};
    zi_small r = {0};
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_vulkan_backend_create(&o, &r.backend, &error), error);
    CHECK_OK(zi_small_begin(&r, &error), error);
    zi_faults.long_copies = true;
    zi_faults.function = "QueueSubmit"; /* the copy must not be made */
    zi_faults.call = 1;
    zi_faults.result = VK_ERROR_OUT_OF_HOST_MEMORY;
    zi_write(r.exec, zi_arena_floats(&r.arena, T, K), zi_small_inputs);
    CHECK(!zi_wait(r.exec, &error));
    zi_small_end(&r);
    zi_faults = (zi_vulkan_faults){0};
    zi_small_close(&r);
    CHECK_MSG(zi_small_messages > 0 && strstr(zi_small_last_message, "vkCmdCopyBuffer"),
              "%d messages: %s", zi_small_messages, zi_small_last_message);
    zi_small_messages = 0;
}

/* ---- failures ---- */

/* Lets one call fail: an error or, where it does not matter, none; and success afterwards. */
static void check_fault(zi_vulkan_options *o, const char *function, int call, VkResult result)
{
    zi_error error = {0};
    float y[T * N];
    zi_small r;
    zi_faults = (zi_vulkan_faults){.function = function, .call = call, .result = result};
    bool ok = zi_small_run(o, &r, &error), fired = zi_faults.calls >= call;
    bool lost = result == VK_ERROR_DEVICE_LOST,
         optional = strstr(function, "PipelineCache") || strstr(function, "WaitIdle");
    bool other =
        !lost && (!strcmp(function, "AllocateMemory") || /* kind of memory may do */
                  !strcmp(function, "CreateBuffer") || !strcmp(function, "BindBufferMemory"));
    bool may_pass = !fired || optional || other, may_fail = fired && (!optional || lost);
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
        CHECK_MSG(zi_small_compute(&r, y, &error) && zi_small_is_right(y), "after %s %d (%d): %s",
                  function, call, result, error.text);
    } else {
        CHECK_OK(zi_small_run(o, &r, &error), error);
    }
    zi_small_close(&r);
    zi_small_check_quiet();
}

static void every_call_fails(void)
{
    zi_vulkan_options o = zi_small_options();
    const VkResult results[] = {VK_ERROR_DEVICE_LOST, VK_ERROR_OUT_OF_DEVICE_MEMORY};
    for (size_t i = 0; zi_fallible_functions[i]; i++)
        for (int call = 1; call <= 3; call++)
            for (int kind = 0; kind < 2; kind++) {
                if (!zi_test_long() && (kind != call % 2 || call == 3)) continue;
                o.cache = call == 1 ? NULL : zi_test_path("cache"); /* 1: with self-checks */
                check_fault(&o, zi_fallible_functions[i], call, results[kind]);
            }
}

/* The driver refuses device memory for a session: weights leave; then the session takes the host's
 * memory, and it fails only if there is none of that, either. */
static void driver_is_out_of_memory(void)
{
    zi_vulkan_options o = zi_small_options();
    zi_error error = {0};
    zi_vulkan_memory memory;
    float y[T * N];
    zi_small r, other;
    o.cache = zi_test_path("cache");
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_small_run(&o, &r, &error), error); /* its weight stays */
    for (int refused = 1; refused <= 3; refused++) {
        other = (zi_small){.backend = r.backend};
        CHECK(zi_small_compute(&r, y, &error));
        zi_vulkan_memory_report(r.backend, &memory);
        CHECK_MSG(memory.resident == memory.weights && memory.resident, "%s", memory.text);
        CHECK_OK(r.backend->ops->begin(r.backend, false, &other.exec, &error), error);
        zi_faults = (zi_vulkan_faults){.function = "AllocateMemory",
                                       .call = 1,
                                       .more = refused - 1,
                                       .result = VK_ERROR_OUT_OF_DEVICE_MEMORY};
        bool ok = zi_buffer_alloc(r.backend, 1 << 20, &other.memory, &error);
        zi_vulkan_memory_report(r.backend, &memory);
        CHECK_MSG(memory.resident == 0, "%s", memory.text);
        CHECK_MSG(memory.sessions == (refused == 1 ? 1u << 20 : 0), "%s", memory.text);
        CHECK_MSG(memory.spilled == (refused == 2 ? 1u << 20 : 0), "%s", memory.text);
        CHECK(ok == (refused < 3));
        if (!ok)
            CHECK_MSG(error.code == ZI_ERROR_NO_MEMORY && strstr(error.text, "too little memory") &&
                          strstr(error.text, "the host's memory is too short as well"),
                      "%s", error.text);
        zi_faults.function = NULL;
        error = (zi_error){0};
        zi_small_end(&other);
    }
    CHECK(zi_small_compute(&r, y, &error) && zi_small_is_right(y));
    zi_small_close(&r);
    zi_small_check_quiet();
}

/* Others take memory of the device, and give it back: weights leave for them and return, sessions
 * go to the host's memory and return to the device's. */
static void budget_that_changes(void)
{
    enum { RESERVE = 64 << 20, LEFT = 1 << 19 };
    zi_vulkan_options o = zi_small_options();
    zi_error error = {0};
    zi_vulkan_memory memory;
    float y[T * N];
    zi_small r;
    o.cache = zi_test_path("cache");
    zi_faults = (zi_vulkan_faults){.budget = 1u << 30};
    CHECK_OK(zi_small_run(&o, &r, &error), error);
    zi_vulkan_memory_report(r.backend, &memory);
    CHECK_MSG(memory.limit == (1u << 30) - RESERVE && memory.resident == memory.weights &&
                  memory.resident && strstr(memory.text, "of at most 1.0 GB; images take "),
              "%s", memory.text);
    zi_faults.budget = RESERVE + LEFT; /* enough for the weight, not for the session */
    CHECK(zi_small_compute(&r, y, &error) && zi_small_is_right(y));
    zi_vulkan_memory_report(r.backend, &memory);
    CHECK_MSG(memory.limit == LEFT && memory.resident == memory.weights &&
                  strstr(memory.text, "images are computed in the host's memory: device memory is "
                                      "short"),
              "%s", memory.text);
    zi_faults.budget = RESERVE; /* for nothing */
    CHECK(!zi_small_compute(&r, y, &error));
    CHECK_MSG(strstr(error.text, "weights of even one layer"), "%s", error.text);
    zi_vulkan_memory_report(r.backend, &memory);
    CHECK_MSG(memory.limit == 0 && memory.resident == 0, "%s", memory.text);
    zi_faults.budget = 1u << 30;
    zi_faults.usage = 1u << 29; /* of this process: memory of the driver */
    error = (zi_error){0};
    CHECK(zi_small_compute(&r, y, &error) && zi_small_is_right(y));
    zi_vulkan_memory_report(r.backend, &memory);
    CHECK_MSG(memory.resident == memory.weights && memory.limit > (1u << 29) - RESERVE &&
                  memory.limit < 1u << 29 && strstr(memory.text, "images take "),
              "%s", memory.text);
    zi_small_close(&r);
    zi_faults = (zi_vulkan_faults){0};
    zi_small_check_quiet();
}

/* Sessions of a lost device fail; the device is opened anew when the last one has ended. */
static void lost_device(void)
{
    zi_vulkan_options o = zi_small_options();
    zi_error error = {0};
    float y[T * N];
    zi_small r, other;
    o.cache = zi_test_path("cache");
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_small_run(&o, &r, &error), error);
    other = (zi_small){.backend = r.backend};
    CHECK_OK(zi_small_begin(&other, &error), error);
    zi_faults =
        (zi_vulkan_faults){.function = "WaitSemaphores", .call = 1, .result = VK_ERROR_DEVICE_LOST};
    CHECK(!zi_small_compute(&r, y, &error));
    CHECK_MSG(strstr(error.text, "llvmpipe") && strstr(error.text, "reset"), "%s", error.text);
    CHECK(!zi_small_compute(&r, y, &error)); /* the other session still has it */
    CHECK_MSG(strstr(error.text, "try again"), "%s", error.text);
    CHECK(!zi_wait(other.exec, &error) || true);
    zi_small_end(&other);
    error = (zi_error){0};
    zi_faults.function = "CreateDevice"; /* and the driver is not ready at once */
    zi_faults.calls = 0;
    zi_faults.result = VK_ERROR_INITIALIZATION_FAILED;
    CHECK(!zi_small_compute(&r, y, &error));
    CHECK_MSG(strstr(error.text, "could not be opened"), "%s", error.text);
    error = (zi_error){0};
    CHECK_MSG(zi_small_compute(&r, y, &error) && zi_small_is_right(y), "%s", error.text);
    zi_small_close(&r);
    zi_small_check_quiet();
}

static void check_refused(const zi_vulkan_options *o, zi_error_code code, const char *text)
{
    zi_error error = {0};
    zi_backend *backend = NULL;
    CHECK(!zi_vulkan_backend_create(o, &backend, &error) && !backend);
    CHECK_ERROR(error, code, NULL);
    CHECK_MSG(strstr(error.text, text) && !strchr(error.text, '\n'), "%s", error.text);
    zi_small_check_quiet();
}

static void unusable_devices(void)
{
    zi_vulkan_options o = zi_small_options();
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
    zi_small r;
    for (int i = 0; i < 4; i++) {
        if (!zi_small_run(&o, &r, &error)) {
            printf("%s", error.text);
            break;
        }
        zi_small_close(&r);
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

/* ---- submissions ---- */

/* What a session computes that is large enough to be split. */
typedef struct {
    zi_view x, y, k, out, map, result;
} large;

enum { LONG = 300, HEADS = 2, DIM = 64, SIDE = 16, CHANNELS = 70 };

/* Computes a product, attention and a convolution that adds. */
static void compute_large(zi_small *r, const large *l, const zi_weight *conv, const zi_weight *bias,
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
    zi_vulkan_options o = zi_small_options();
    zi_error error = {0};
    zi_small r = {0};
    static float data[CHANNELS * CHANNELS * 9], start[LONG * HEADS * DIM];
    o.submission = most;
    o.cache = zi_test_path("cache");
    zi_small_fill(data, CHANNELS * CHANNELS * 9, 5);
    zi_small_fill(start, LONG * HEADS * DIM, 6);
    zi_faults = (zi_vulkan_faults){0};
    CHECK_OK(zi_vulkan_backend_create(&o, &r.backend, &error) && zi_small_import(&r, &error) &&
                 zi_small_begin(&r, &error),
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
    zi_small_end(&r);
    zi_buffer_release(imported);
    zi_small_close(&r);
    zi_small_check_quiet();
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

int main(int count, char **arguments)
{
    program = arguments[0];
    zi_small_prepare();
    if (count > 1) return child();
    zi_test_need_gpu();
    RUN(computes);
    RUN(validation_reports);
    RUN(unusable_devices);
    RUN(no_driver);
    RUN(no_loader);
    RUN(driver_is_out_of_memory);
    RUN(budget_that_changes);
    RUN(lost_device);
    RUN(pace);
    RUN(submissions_are_split);
    RUN(two_processes);
    RUN(every_call_fails);
    return zi_test_result();
}
