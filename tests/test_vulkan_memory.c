/* The Vulkan backend with little device memory: weights that are resident, streamed or evicted, and
 * images that are computed in the host's memory, give the same bits; too little memory is an error
 * after which requests work that need less.
 *
 * An argument, unified or staging, runs one half alone. */
#include "harness.h"
#include "quantized_model.h"

#include "backend/arena.h"
#include "backend/vulkan/vulkan.h"
#include "engine.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, STEPS = 4, MANY_STEPS = 7 };

/* A step from which on there is another limit of device memory. */
typedef struct {
    int step;
    uint64_t vram;
} change;

/* An image, what it is drawn with, and what was seen of the memory meanwhile. */
typedef struct {
    zi_engine *engine;
    zi_model *model;
    int side, step_count; /* 0 steps: STEPS */
    change changes[2];
    size_t change_count;
    bool shared; /* others use the memory, too */
    zi_image *image;
    zi_error error;
    zi_vulkan_memory peak, steps[MANY_STEPS]; /* steps: when each one ended */
    bool spilled; /* the host's memory was used, by this one or another one */
} drawing;

static zi_backend *gpu;

/* ---- the device ---- */

static void fail_for(void *user, const char *text)
{
    (void)user;
    CHECK_MSG(false, "validation layer: %s", text);
}

/* Opens the device. staging: copy as if its memory were not visible, and watch with the validation
 * layer, if it is there. False: there is none. */
static bool open_device(bool staging, zi_error *error)
{
    zi_vulkan_options options = {.staging = staging, .validation = staging, .messages = fail_for};
    static zi_vulkan_options kept[2]; /* messages come as long as the instance lives */
    kept[staging] = options;
    /* lavapipe stays in memory, so that LeakSanitizer can name it (support/leaks.txt). */
    dlopen("libvulkan_lvp.so", RTLD_NOW | RTLD_NODELETE);
    if (zi_vulkan_backend_create(&kept[staging], &gpu, error)) return true;
    kept[staging].validation = false;
    return zi_vulkan_backend_create(&kept[staging], &gpu, error);
}

static void close_device(void)
{
    zi_vulkan_memory memory;
    zi_vulkan_memory_report(gpu, &memory);
    CHECK_MSG(memory.sessions + memory.resident + memory.buffers + memory.weights == 0,
              "not released: %s", memory.text);
    gpu->ops->destroy(gpu);
    gpu = NULL;
}

/* An engine with an empty cache of embeddings on the device. */
static zi_engine *open_engine(void)
{
    zi_engine *engine = NULL;
    zi_error error = {0};
    if (!CHECK_OK(zi_engine_create(NULL, &engine, &error), error)) exit(1);
    engine->backend->ops->destroy(engine->backend);
    engine->backend = gpu;
    return engine;
}

static void close_engine(zi_engine *engine)
{
    engine->backend = NULL;
    zi_engine_free(engine);
}

static zi_model *load(zi_engine *engine, const char *path)
{
    zi_model *model = NULL;
    zi_error error = {0};
    zi_model_options options = {.path = path};
    if (!CHECK_OK(zi_model_load(engine, &options, &model, &error), error)) exit(1);
    return model;
}

/* ---- images ---- */

static uint64_t used(const zi_vulkan_memory *memory)
{
    return memory->sessions + memory->resident + memory->buffers;
}

static bool watch(void *user, const zi_progress *progress)
{
    drawing *d = user;
    zi_vulkan_memory memory;
    for (size_t i = 0; i < d->change_count; i++)
        if (progress->stage == ZI_STAGE_STEP && progress->step == d->changes[i].step)
            zi_vulkan_limit_memory(gpu, d->changes[i].vram);
    zi_vulkan_memory_report(gpu, &memory);
    if (!d->change_count && !d->shared)
        CHECK_MSG(used(&memory) <= memory.limit, "too much: %s", memory.text);
    if (used(&memory) > used(&d->peak)) d->peak = memory;
    d->spilled |= memory.spilled > 0;
    if (progress->stage == ZI_STAGE_STEP && progress->step < MANY_STEPS)
        d->steps[progress->step] = memory;
    return true;
}

/* Draws an image, or sets d->error. */
static bool draw(drawing *d)
{
    zi_request request = zi_request_default();
    request.prompt = "a red fox in the snow";
    request.width = request.height = d->side;
    request.steps = d->step_count ? d->step_count : STEPS;
    request.seed = 7;
    request.compute = ZI_COMPUTE_EXACT;
    request.progress = watch;
    request.user = d;
    return zi_generate(d->model, &request, &d->image, &d->error);
}

static bool same_image(const zi_image *a, const zi_image *b)
{
    return a && b && a->width == b->width && a->height == b->height &&
           !memcmp(a->pixels, b->pixels, 3 * (size_t)a->width * (size_t)a->height);
}

/* Draws an image with a model that is loaded for it, within a limit (0: none). */
static drawing draw_new(const char *path, int side, uint64_t vram)
{
    drawing d = {.engine = open_engine(), .side = side};
    zi_vulkan_limit_memory(gpu, vram);
    d.model = load(d.engine, path);
    if (draw(&d)) CHECK_MSG(d.image != NULL, "no image");
    zi_model_free(d.model);
    close_engine(d.engine);
    return d;
}

/* ---- limits ---- */

static const char *model_path, *other_path;
static drawing whole; /* the image without a limit */

static void without_limit(void)
{
    whole = draw_new(model_path, SIDE, 0);
    CHECK_OK(whole.image != NULL, whole.error);
}

/* Checks an image within a limit, or the error. Returns whether it was drawn. */
static bool check_limit(uint64_t vram)
{
    drawing d = draw_new(model_path, SIDE, vram);
    zi_vulkan_memory after;
    zi_vulkan_memory_report(gpu, &after);
    CHECK_MSG(used(&after) == 0, "limit %zu: left behind: %s", (size_t)vram, after.text);
    printf("     %zu KB: %s\n", (size_t)vram >> 10,
           d.image ? d.steps[STEPS - 1].text : d.error.text);
    if (!d.image) {
        CHECK_ERROR(d.error, ZI_ERROR_NO_MEMORY, NULL);
        CHECK_MSG(strstr(d.error.text, "too little device memory") != NULL, "%s", d.error.text);
        return false;
    }
    CHECK_MSG(same_image(d.image, whole.image), "limit %zu: other bits", (size_t)vram);
    bool said = strstr(after.text, "images are computed in the host's memory: device memory is "
                                   "short") != NULL;
    CHECK_MSG(said == d.spilled, "%s", after.text);
    CHECK_MSG(!d.spilled || d.peak.sessions == 0, "%s", d.peak.text);
    CHECK_MSG(d.spilled || vram >= whole.peak.sessions, "%s", d.peak.text);
    CHECK_MSG(!d.spilled || vram < whole.peak.sessions + whole.peak.weights / 2, "%s", after.text);
    if (vram < used(&whole.peak)) CHECK(used(&d.peak) < used(&whole.peak));
    zi_image_free(d.image);
    return true;
}

/* From all that is needed to nothing: first weights leave, then the image. */
static void every_limit(void)
{
    uint64_t base = whole.peak.sessions, weights = whole.peak.weights;
    CHECK(whole.steps[STEPS - 1].streamed == 0);
    for (uint64_t quarter = 4; quarter > 0; quarter--)
        CHECK(check_limit(base + weights * quarter / 4));
    CHECK(check_limit(base));
    CHECK(check_limit(weights / 2));
    bool drawn = true;
    for (uint64_t part = 4; drawn; part *= 2) drawn = check_limit(weights / part);
    drawing small = draw_new(model_path, SIDE, base + weights);
    CHECK(same_image(whole.image, small.image));
    zi_image_free(small.image);
}

/* An image that is larger than the device's memory. */
static void a_large_image(void)
{
    uint64_t weights = whole.peak.weights;
    drawing large = draw_new(model_path, 3 * SIDE, 0), spilled;
    CHECK_OK(large.image != NULL, large.error);
    spilled = draw_new(model_path, 3 * SIDE, weights);
    CHECK_OK(spilled.image != NULL, spilled.error);
    CHECK_MSG(!large.spilled && spilled.spilled && large.peak.sessions > weights, "%s",
              spilled.peak.text);
    CHECK(same_image(large.image, spilled.image));
    zi_image_free(large.image);
    zi_image_free(spilled.image);
}

/* ---- what stays ---- */

/* In each step the same weights stay, and only the others are copied; the text encoder leaves for
 * the transformer. */
static void the_same_weights_stay(void)
{
    uint64_t base = whole.peak.sessions, weights = whole.peak.weights;
    drawing d = {.engine = open_engine(), .side = SIDE, .step_count = MANY_STEPS};
    zi_vulkan_limit_memory(gpu, base + weights / 2);
    d.model = load(d.engine, model_path);
    CHECK_OK(draw(&d), d.error);
    zi_model_free(d.model);
    close_engine(d.engine);
    /* What was there before is replaced in the first steps. */
    for (int i = MANY_STEPS - 3; i < MANY_STEPS; i++)
        CHECK_MSG(d.steps[i].resident && d.steps[i].resident == d.steps[4].resident &&
                      d.steps[i].streamed && d.steps[i].streamed == d.steps[4].streamed &&
                      d.steps[i].streamed < weights / 2,
                  "step %d: %s", i, d.steps[i].text);
    zi_image_free(d.image);
    /* All of the transformer fits, with room to stream, but not with the text encoder. */
    d = draw_new(model_path, SIDE, base + weights * 5 / 6);
    CHECK(same_image(whole.image, d.image));
    CHECK_MSG(d.steps[STEPS - 1].streamed == 0 && d.steps[STEPS - 1].resident < weights, "%s",
              d.steps[STEPS - 1].text);
    zi_image_free(d.image);
}

/* The limit shrinks and grows while an image is drawn: weights leave and return. */
static void a_limit_that_changes(void)
{
    uint64_t base = whole.peak.sessions, weights = whole.peak.weights;
    drawing d = {.engine = open_engine(), .side = SIDE};
    d.changes[d.change_count++] = (change){1, base + weights / 2};
    d.changes[d.change_count++] = (change){2, base + 2 * weights};
    zi_vulkan_limit_memory(gpu, base + 2 * weights);
    d.model = load(d.engine, model_path);
    CHECK_OK(draw(&d), d.error);
    CHECK(same_image(whole.image, d.image));
    CHECK_MSG(d.steps[1].resident < d.steps[0].resident && d.steps[1].streamed > 0, "%s",
              d.steps[1].text);
    CHECK_MSG(d.steps[3].resident > d.steps[1].resident && d.steps[3].streamed == 0, "%s",
              d.steps[3].text);
    zi_image_free(d.image);
    zi_model_free(d.model);
    close_engine(d.engine);
}

/* ---- several models and sessions ---- */

static void *draw_in_thread(void *user)
{
    draw(user);
    return NULL;
}

/* Models push each other out, and come back, with sessions one after the other, then at once. */
static void two_models(void)
{
    const char *paths[2] = {model_path, other_path};
    drawing alone[2], d[2] = {{0}};
    pthread_t threads[2];
    uint64_t base = 0, weights = 0;
    zi_engine *engine = open_engine();
    for (int i = 0; i < 2; i++) {
        alone[i] = draw_new(paths[i], SIDE, 0);
        base += alone[i].peak.sessions;
        weights += alone[i].peak.weights;
        d[i] = (drawing){.engine = engine, .side = SIDE, .shared = true};
    }
    zi_vulkan_limit_memory(gpu, base / 2 + weights / 2);
    for (int i = 0; i < 2; i++) d[i].model = load(engine, paths[i]);
    for (int round = 0; round < 5; round++) {
        bool together = round >= 2, one_fits = round == 4;
        if (together) zi_vulkan_limit_memory(gpu, (one_fits ? base / 2 : base) + weights * 5 / 6);
        d[0].spilled = d[1].spilled = false;
        for (int i = 0; i < 2; i++) {
            if (!together) draw(&d[i]);
            if (together) CHECK(pthread_create(&threads[i], NULL, draw_in_thread, &d[i]) == 0);
        }
        for (int i = 0; i < 2; i++) {
            if (together) pthread_join(threads[i], NULL);
            CHECK_OK(d[i].image != NULL, d[i].error);
            CHECK_MSG(same_image(alone[i].image, d[i].image), "round %d, model %d", round, i);
            CHECK_MSG(!d[i].spilled || one_fits, "round %d, model %d", round, i);
            zi_image_free(d[i].image);
            d[i].image = NULL;
        }
    }
    for (int i = 0; i < 2; i++) {
        zi_model_free(d[i].model);
        zi_image_free(alone[i].image);
    }
    close_engine(engine);
}

/* ---- allocations ---- */

static void more_than_the_driver_allows(void)
{
    zi_buffer *buffer = NULL;
    zi_error error = {0};
    zi_vulkan_limit_memory(gpu, (uint64_t)1 << 45);
    CHECK(!zi_buffer_alloc(gpu, (size_t)1 << 40, &buffer, &error) && !buffer);
    CHECK_ERROR(error, ZI_ERROR_NO_MEMORY, NULL);
    CHECK_MSG(strstr(error.text, "in one piece") != NULL, "%s", error.text);
    zi_vulkan_limit_memory(gpu, 0);
}

/* Checks how many bytes sessions take in either memory, and that the report says so. */
static void check_sessions(uint64_t here, uint64_t there, const char *text)
{
    zi_vulkan_memory memory;
    zi_vulkan_memory_report(gpu, &memory);
    CHECK_MSG(memory.sessions == here && memory.spilled == there && strstr(memory.text, text), "%s",
              memory.text);
}

/* The second of two sessions that do not fit takes the host's memory, also beside what another one
 * is to stream; a third one that fits does not. */
static void the_second_goes_to_the_host(void)
{
    const size_t mega = 1 << 20;
    zi_buffer *first = NULL, *second = NULL, *third = NULL;
    zi_exec *exec = NULL;
    zi_error error = {0};
    zi_arena arena = zi_arena_measure();
    zi_vulkan_limit_memory(gpu, 3 * mega);
    CHECK_OK(gpu->ops->begin(gpu, false, &exec, &error), error);
    gpu->ops->plan(exec, &arena, (zi_exec_limits){.head_dim = 64, .depth = 64, .layer = mega / 2});
    CHECK_OK(zi_buffer_alloc(gpu, 2 * mega, &first, &error), error);
    check_sessions(2 * mega, 0, "images take 2.1 MB there");
    CHECK_OK(zi_buffer_alloc(gpu, mega, &second, &error), error);
    check_sessions(2 * mega, mega,
                   "images take 2.1 MB there; other images are computed in the host's memory: "
                   "device memory is short; they take 1.0 MB there");
    CHECK_OK(zi_buffer_alloc(gpu, mega / 8, &third, &error), error);
    check_sessions(2 * mega + mega / 8, mega, "images take 2.2 MB there");
    zi_buffer_release(first);
    zi_buffer_release(second);
    zi_buffer_release(third);
    check_sessions(0, 0, "images take 2.1 MB there");
    CHECK_OK(zi_buffer_alloc(gpu, 2 * mega + mega / 2 + 1, &first, &error), error);
    check_sessions(0, 2 * mega + mega / 2 + 1, "; images are computed in the host's memory: ");
    zi_buffer_release(first);
    exec->ops->end(exec);
    CHECK_OK(zi_buffer_alloc(gpu, 3 * mega, &first, &error), error); /* nobody streams any more */
    check_sessions(3 * mega, 0, "images take 3.1 MB there");
    zi_buffer_release(first);
    zi_vulkan_limit_memory(gpu, 0);
}

static void run_all(bool staging, const char *path)
{
    zi_error error = {0};
    if (!CHECK_OK(open_device(staging, &error), error)) return;
    model_path = path;
    printf("%s:\n", staging ? "f32, through staging buffers" : "8 bits, unified memory");
    RUN(without_limit);
    RUN(every_limit);
    if (staging) RUN(the_same_weights_stay);
    if (staging) RUN(a_limit_that_changes);
    if (staging) RUN(a_large_image);
    if (staging) RUN(more_than_the_driver_allows);
    if (staging) RUN(the_second_goes_to_the_host);
    RUN(two_models);
    zi_image_free(whole.image);
    RUN(close_device);
}

/* Without a device there is an error that says why. */
static void no_device(void)
{
    zi_error error = {0};
    CHECK(!open_device(false, &error) && *error.text);
}

int main(int argc, char **argv)
{
    zi_error error = {0};
    const char *only = argc > 1 ? argv[1] : NULL;
    if (!open_device(false, &error)) {
        printf("SKIP the Vulkan backend: %s\n", error.text);
        RUN(no_device);
        return zi_test_result();
    }
    RUN(close_device);
    char golden[512], quantized[512];
    snprintf(golden, sizeof golden, "%s", zi_test_data_path("golden/model"));
    snprintf(quantized, sizeof quantized, "%s", zi_test_quantized_model(golden));
    other_path = golden;
    if (!only || strcmp(only, "unified") == 0) run_all(false, quantized);
    other_path = quantized;
    if (!only || strcmp(only, "staging") == 0) run_all(true, golden);
    return zi_test_result();
}
