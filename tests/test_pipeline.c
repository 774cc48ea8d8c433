/* Whole requests against diffusers' ZImagePipeline: every step by the trace, and the image. */
#include "golden.h"
#include "quantized_model.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LATENTS_REL_L2 1e-4
#define IMAGE_MAX_ABS 1e-3

typedef struct {
    const char *name, *prompt, *negative;
    int width, height, steps;
    uint64_t seed;
    double guidance;
} pipeline_run;

static const pipeline_run runs[] = {
    {"en9", "a red fox in the snow, golden hour, film grain", NULL, 64, 64, 9, 42, 0},
    {"zh4", "一座古老的石桥横跨在清澈的小河上，水墨画风格", NULL, 64, 96, 4, 1234, 0},
    {"mix8", "Poster with the words \"雪\" and SNOW ❄️, 3 people, 1920s café", NULL, 112, 48,
     8, 2147483648u, 0},
    {"cfg6", "a glass teapot on a wooden table", "blurry, low quality", 64, 48, 6, 7, 4},
};
enum { RUNS = sizeof runs / sizeof *runs };

static zi_engine *engine;
static zi_model *model;
static char trace_path[512];

static zi_request request_of(const pipeline_run *run)
{
    zi_request request = zi_request_default();
    request.prompt = run->prompt;
    request.negative = run->negative;
    request.width = run->width;
    request.height = run->height;
    request.steps = run->steps;
    request.seed = run->seed;
    request.guidance = run->guidance;
    request.compute = ZI_COMPUTE_EXACT;
    return request;
}

/* A traced tensor against a golden one of the same values (a batch dimension may differ). */
static void compare(const zi_checkpoint *golden, const zi_checkpoint *trace, const char *run,
                    const char *name, double rel_l2, double max_abs)
{
    char reference[64];
    snprintf(reference, sizeof reference, "%s.%s", run, name);
    const zi_tensor *mine = zi_golden_tensor(trace, "%s", name);
    zi_golden_compare(golden, reference, mine->data, mine->count, rel_l2, max_abs);
}

static void compare_picture(const pipeline_run *run, const zi_image *image)
{
    char path[64];
    snprintf(path, sizeof path, "golden/png/%s.png", run->name);
    zi_image *wanted = NULL;
    zi_error error = {0};
    if (!CHECK_OK(zi_image_load(zi_test_data_path(path), &wanted, NULL, &error), error)) return;
    CHECK(wanted->width == image->width && wanted->height == image->height);
    int differing = 0, largest = 0, total = 3 * image->width * image->height;
    for (int i = 0; i < total; i++) {
        int d = abs(wanted->pixels[i] - image->pixels[i]);
        differing += d != 0;
        if (d > largest) largest = d;
    }
    CHECK_MSG(largest <= 1 && differing <= total / 200, "%s: %d of %d values differ, by up to %d",
              run->name, differing, total, largest);
    zi_image_free(wanted);
}

static void golden_run(const pipeline_run *run)
{
    zi_checkpoint golden = zi_golden_open("pipeline.safetensors"), trace;
    zi_error error = {0};
    zi_image *image = NULL;
    zi_request request = request_of(run);
    request.trace_path = trace_path;
    if (!CHECK_OK(zi_generate(model, &request, &image, &error), error)) return;
    if (!CHECK_OK(zi_checkpoint_open(trace_path, &trace, &error), error)) return;
    compare(&golden, &trace, run->name, "prompt_embeds", 2e-5, 3e-4);
    compare(&golden, &trace, run->name, "sigmas", 0, 3e-7);
    for (int i = 0; i <= run->steps; i++) {
        char name[32];
        snprintf(name, sizeof name, "latents.%d", i);
        compare(&golden, &trace, run->name, name, LATENTS_REL_L2, 0);
    }
    compare(&golden, &trace, run->name, "image", 0, IMAGE_MAX_ABS);
    compare_picture(run, image);
    zi_checkpoint_close(&trace);
    zi_checkpoint_close(&golden);
    zi_image_free(image);
}

static void english(void)
{
    golden_run(&runs[0]);
}
static void chinese(void)
{
    golden_run(&runs[1]);
}
static void mixed(void)
{
    golden_run(&runs[2]);
}
static void guided(void)
{
    golden_run(&runs[3]);
}

/* ---- behaviour of zi_generate ---- */

typedef struct {
    int calls, stop_at;
    double last;
    bool backwards;
} watcher;

/* Stages follow each other and fractions of a stage only grow. */
static bool watch(void *user, const zi_progress *p)
{
    watcher *w = user;
    double now = p->stage * 10.0 + p->fraction;
    w->backwards |= now <= w->last || p->fraction < 0 || p->fraction > 1 || p->steps != 9;
    /* In the middle of step i of n, i/n to (i+1)/n of the stage is done. */
    if (p->stage == ZI_STAGE_STEP)
        w->backwards |= p->fraction * 9 < p->step || p->fraction * 9 > p->step + 1.001;
    w->last = now;
    return ++w->calls != w->stop_at;
}

static void progress_and_cancelling(void)
{
    zi_request request = request_of(&runs[0]);
    watcher all = {0};
    zi_image *image = NULL;
    zi_error error = {0};
    char prompt[64] = "a fox, number 0"; /* another one each time: embeddings are kept */
    request.prompt = prompt;
    request.progress = watch;
    request.user = &all;
    CHECK_OK(zi_generate(model, &request, &image, &error), error);
    CHECK(all.calls > 9 * 3 && !all.backwards);
    zi_image_free(image);
    for (int stop = 1; stop <= all.calls; stop += 7) {
        watcher w = {.stop_at = stop};
        image = NULL;
        request.user = &w;
        snprintf(prompt, sizeof prompt, "a fox, number %d", stop);
        CHECK(!zi_generate(model, &request, &image, &error));
        CHECK(error.code == ZI_ERROR_CANCELLED && !image && w.calls == stop);
    }
}

/* More combining marks in a row than the tokenizer takes. */
#define MARKS_10 "\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301"
#define MARKS_100                                                                                  \
    MARKS_10 MARKS_10 MARKS_10 MARKS_10 MARKS_10 MARKS_10 MARKS_10 MARKS_10 MARKS_10 MARKS_10
#define TOO_MANY_MARKS "e" MARKS_100 MARKS_100 MARKS_100

static void refuses_what_cannot_be(void)
{
    static const struct {
        zi_request request;
        const char *subject, *says;
    } rows[] = {
        {{.prompt = NULL}, "prompt", "missing"},
        {{.prompt = ""}, "prompt", "empty"},
        {{.prompt = "\xff"}, "prompt", "UTF-8"},
        {{.prompt = "a", .negative = "\xc3(", .guidance = 1}, "negative", "UTF-8"},
        {{.prompt = TOO_MANY_MARKS}, "prompt", "marks"},
        {{.prompt = "a", .negative = TOO_MANY_MARKS, .guidance = 1}, "negative", "marks"},
        {{.prompt = "a", .width = 100}, "width", "nearest that fit are 96 and 112"},
        {{.prompt = "a", .height = 8}, "height", "16 to 8192"},
        {{.prompt = "a", .height = -64}, "height", "16 to 8192"},
        {{.prompt = "a", .width = 8208}, "width", "16 to 8192"},
        {{.prompt = "a", .width = 2147483632}, "width", "16 to 8192"},
        {{.prompt = "a", .steps = -1}, "steps", "1 to 1000"},
        {{.prompt = "a", .steps = 1001}, "steps", "1 to 1000"},
        {{.prompt = "a", .shift = -3}, "shift", "0.01 to 100"},
        {{.prompt = "a", .shift = NAN}, "shift", "0.01 to 100"},
        {{.prompt = "a", .guidance = -1}, "guidance", "0 (off) to 100"},
        {{.prompt = "a", .guidance = INFINITY}, "guidance", "0 (off) to 100"},
        {{.prompt = "a", .schedule = (zi_schedule)6}, "schedule", "0 to 5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_image *image = NULL;
        zi_error error = {0};
        CHECK_MSG(!zi_generate(model, &rows[i].request, &image, &error), "row %zu went well", i);
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, rows[i].subject);
        CHECK_MSG(strstr(error.text, rows[i].says), "row %zu says: %s", i, error.text);
    }
}

/* What cannot be written must not cost an image's time for nothing, nor leave a file. */
static void trace_that_cannot_be_written(void)
{
    zi_request request = request_of(&runs[1]);
    request.trace_path = "no-such-folder/trace.safetensors";
    zi_image *image = NULL;
    zi_error error = {0};
    CHECK(!zi_generate(model, &request, &image, &error) && !image);
    CHECK_ERROR(error, ZI_ERROR_IO, request.trace_path);
}

static void schedules_shifts_and_seeds_matter(void)
{
    zi_request base = request_of(&runs[0]), other[4];
    for (int i = 0; i < 4; i++) other[i] = base;
    other[0].schedule = ZI_SCHEDULE_MLX;
    other[1].shift = 6;
    other[2].seed = 43;
    other[3].seed = base.seed + (1ull << 32); /* torch uses the low 32 bits */
    zi_image *a = NULL, *b = NULL;
    zi_error error = {0};
    CHECK_OK(zi_generate(model, &base, &a, &error), error);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(zi_generate(model, &other[i], &b, &error), error);
        bool same = memcmp(a->pixels, b->pixels, 3 * 64 * 64) == 0;
        CHECK_MSG(same == (i == 3), "variant %d", i);
        zi_image_free(b);
    }
    zi_image_free(a);
}

static void models_that_cannot_be_loaded(void)
{
    static const struct {
        const char *path;
        zi_error_code code;
        const char *subject; /* NULL: the path */
    } rows[] = {
        {NULL, ZI_ERROR_INVALID_ARGUMENT, "model"},
        {"", ZI_ERROR_INVALID_ARGUMENT, "model"},
        {"no-such-folder", ZI_ERROR_NOT_FOUND, NULL},
        {"/dev/null", ZI_ERROR_NOT_FOUND, NULL},
        {ZI_TEST_DATA "/README.md", ZI_ERROR_BAD_FORMAT, NULL},
        {ZI_TEST_DATA "/golden/vae.safetensors", ZI_ERROR_UNSUPPORTED, NULL},
        {ZI_TEST_DATA "/golden", ZI_ERROR_NOT_FOUND, NULL},
        {ZI_TEST_DATA "/golden/model/vae", ZI_ERROR_INCOMPLETE, "text_encoder"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_model *none = NULL;
        zi_error error = {0};
        zi_model_options options = {.path = rows[i].path};
        CHECK_MSG(!zi_model_load(engine, &options, &none, &error) && !none, "row %zu went well", i);
        CHECK_ERROR(error, rows[i].code, rows[i].subject ? rows[i].subject : rows[i].path);
    }
}

static void engines_that_cannot_be(void)
{
    static const zi_engine_options rows[] = {{.threads = -1}, {.threads = 1025}, {.cpu = "sse9"}};
    static const char *const subjects[] = {"threads", "threads", "cpu"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_engine *none = NULL;
        zi_error error = {0};
        CHECK_MSG(!zi_engine_create(&rows[i], &none, &error) && !none, "row %zu went well", i);
        CHECK_MSG(error.code == ZI_ERROR_INVALID_ARGUMENT && !strcmp(error.subject, subjects[i]),
                  "row %zu says: %s (%s)", i, error.text, error.subject);
    }
}

/* ---- threads ---- */

/* All that a request computed, as its trace holds it: *size bytes in new memory, or NULL. */
static char *traced(const char *folder, int threads, zi_compute compute, bool quantize,
                    size_t *size)
{
    zi_engine *fresh = NULL;
    zi_model *loaded = NULL;
    zi_image *image = NULL;
    char *bytes = NULL;
    zi_error error = {0};
    zi_engine_options engine_options = {.threads = threads};
    zi_model_options options = {.path = quantize ? zi_test_quantized_model(folder) : folder};
    zi_request request = zi_request_default();
    request.prompt = "a large yellow star on a purple background";
    request.width = 208; /* 117 tokens and 27: no multiples of tiles or padding */
    request.height = 144;
    request.steps = 2;
    request.compute = compute;
    request.guidance = 2;
    request.trace_path = trace_path;
    CHECK_OK(zi_engine_create(&engine_options, &fresh, &error) &&
                 zi_model_load(fresh, &options, &loaded, &error) &&
                 zi_generate(loaded, &request, &image, &error) &&
                 zi_file_read(trace_path, 1 << 24, &bytes, size, &error),
             error);
    zi_image_free(image);
    zi_model_free(loaded);
    zi_engine_free(fresh);
    return bytes;
}

static void same_bits(const char *folder)
{
    static const struct {
        zi_compute compute;
        bool quantize;
    } rows[] = {{ZI_COMPUTE_EXACT, false}, {ZI_COMPUTE_EXACT, true}, {ZI_COMPUTE_FAST, true}};
    enum { ROWS = sizeof rows / sizeof *rows };
    char *one[ROWS];
    for (int i = 0; i < ROWS; i++) {
        size_t size, other;
        one[i] = traced(folder, 1, rows[i].compute, rows[i].quantize, &size);
        for (int threads = 2; threads <= 8; threads *= 4) {
            char *more = traced(folder, threads, rows[i].compute, rows[i].quantize, &other);
            CHECK_MSG(one[i] && more && size == other && memcmp(one[i], more, size) == 0,
                      "row %d: %d threads differ from one", i, threads);
            free(more);
        }
        /* What is compared is what was asked for: each row gives other numbers. */
        if (i > 0 && one[i - 1] && one[i])
            CHECK_MSG(memcmp(one[i - 1], one[i], size) != 0, "row %d", i);
    }
    for (int i = 0; i < ROWS; i++) free(one[i]);
}

static void threads_change_no_bit(void)
{
    char model_path[1024]; /* zi_test_data_path's buffers do not last */
    snprintf(model_path, sizeof model_path, "%s", zi_test_data_path("golden/model"));
    same_bits(model_path);
    same_bits(ZI_SHARE "/demo-model");
}

static void load(const char *cpu)
{
    zi_error error = {0};
    zi_engine_options engine_options = {.threads = 2, .cpu = cpu};
    zi_model_options options = {.path = zi_test_data_path("golden/model")};
    if (!CHECK_OK(zi_engine_create(&engine_options, &engine, &error) &&
                      zi_model_load(engine, &options, &model, &error),
                  error))
        exit(1);
}

static void unload(void)
{
    zi_model_free(model);
    zi_engine_free(engine);
}

int main(void)
{
    snprintf(trace_path, sizeof trace_path, "%s", zi_test_path("trace.safetensors"));
    const char *tier;
    for (size_t i = 0; (tier = zi_test_next_tier(&i));) {
        load(tier);
        RUN(english);
        RUN(chinese);
        RUN(mixed);
        RUN(guided);
        unload();
    }
    load(NULL);
    CHECK(zi_model_native_size(model) == 1024);
    RUN(progress_and_cancelling);
    RUN(refuses_what_cannot_be);
    RUN(trace_that_cannot_be_written);
    RUN(schedules_shifts_and_seeds_matter);
    RUN(models_that_cannot_be_loaded);
    unload();
    RUN(engines_that_cannot_be);
    RUN(threads_change_no_bit);
    return zi_test_result();
}
