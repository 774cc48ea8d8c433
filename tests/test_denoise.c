/* Whole requests with the samplers of diffusers' schedulers (golden/samplers-runs.json), and with
 * its limits of guidance (golden/guidance.safetensors); what a request's defaults become. */
#include "golden.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static zi_engine *engine;
static zi_model *model;

/* Generates with a trace and opens that, to be closed. False, with a failed check: it went wrong.
 */
static bool run_traced(zi_request request, zi_checkpoint *trace)
{
    zi_error error = {0};
    zi_image *image = NULL;
    request.compute = ZI_COMPUTE_EXACT;
    request.trace_path = zi_test_path("denoise.safetensors");
    bool ok = CHECK_OK(zi_generate(model, &request, &image, &error), error) &&
              CHECK_OK(zi_checkpoint_open(request.trace_path, trace, &error), error);
    zi_image_free(image);
    return ok;
}

/* ---- samplers ---- */

static double number(const cJSON *row, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(row, name);
    return item ? item->valuedouble : 0;
}

static zi_request request_of(const cJSON *run)
{
    zi_request request = zi_request_default();
    const char *class = cJSON_GetObjectItem(run, "class")->valuestring;
    const cJSON *config = cJSON_GetObjectItem(run, "config");
    request.prompt = cJSON_GetObjectItem(run, "prompt")->valuestring;
    request.negative = cJSON_GetStringValue(cJSON_GetObjectItem(run, "negative"));
    request.width = (int)number(run, "width");
    request.height = (int)number(run, "height");
    request.steps = (int)number(run, "steps");
    request.seed = (uint64_t)number(run, "seed");
    request.shift = number(run, "shift");
    request.guidance = number(run, "guidance");
    request.sampler = !strcmp(class, "Heun") ? ZI_SAMPLER_HEUN : ZI_SAMPLER_LCM;
    if (cJSON_HasObjectItem(run, "own")) request.schedule = ZI_SCHEDULE_MLX;
    if (cJSON_HasObjectItem(config, "use_beta_sigmas")) request.schedule = ZI_SCHEDULE_BETA;
    if (cJSON_HasObjectItem(config, "use_karras_sigmas")) request.schedule = ZI_SCHEDULE_KARRAS;
    return request;
}

static cJSON *read_runs(void)
{
    cJSON *runs = NULL;
    zi_error error = {0};
    const char *path = zi_test_data_path("golden/samplers-runs.json");
    CHECK_OK(zi_json_read(path, 1 << 20, &runs, &error), error);
    return runs;
}

/* The latents after each step of one run. */
static void check_run(const zi_checkpoint *golden, const cJSON *run)
{
    zi_checkpoint trace;
    zi_request request = request_of(run);
    const char *name = cJSON_GetObjectItem(run, "name")->valuestring;
    if (!run_traced(request, &trace)) return;
    for (int i = 0; i <= request.steps; i++) {
        char reference[64];
        snprintf(reference, sizeof reference, "%s.latents.%d", name, i);
        const zi_tensor *mine = zi_golden_tensor(&trace, "latents.%d", i);
        zi_golden_compare(golden, reference, mine->data, mine->count, 1e-4, 0);
    }
    zi_checkpoint_close(&trace);
}

static void runs_of_heun_and_lcm(void)
{
    zi_checkpoint golden = zi_golden_open("samplers.safetensors");
    cJSON *runs = read_runs();
    const cJSON *run;
    CHECK(cJSON_GetArraySize(runs) == 6);
    cJSON_ArrayForEach(run, runs) check_run(&golden, run);
    cJSON_Delete(runs);
    zi_checkpoint_close(&golden);
}

/* Counts previews and network calls, and watches that progress goes from 0 to 1 in each stage. */
typedef struct {
    int previews, calls, layers;
    double last;
    zi_stage stage;
    bool wrong;
} watcher;

static bool watch(void *user, const zi_progress *p)
{
    watcher *w = user;
    if (p->stage != w->stage) w->last = 0;
    w->wrong |= p->fraction <= w->last || p->fraction > 1 + 1e-9;
    if (p->stage == ZI_STAGE_STEP) w->layers++;
    if (w->stage == ZI_STAGE_STEP && p->stage == ZI_STAGE_DECODE) w->wrong |= w->calls < 0;
    w->last = p->fraction;
    w->stage = p->stage;
    return true;
}

static void count_preview(void *user, int step, const zi_image *image)
{
    watcher *w = user;
    w->previews++;
    w->wrong |= step != w->previews || image->width != 8;
}

/* Progress of each sampler: as many layers as calls, fractions that grow to 1, a preview a step. */
static void progress_counts_calls(void)
{
    static const struct {
        zi_sampler sampler;
        double guidance, truncation;
        int calls; /* of 5 steps */
    } rows[] = {
        {ZI_SAMPLER_EULER, 0, 0, 5},   {ZI_SAMPLER_HEUN, 0, 0, 9},
        {ZI_SAMPLER_LCM, 0, 0, 5},     {ZI_SAMPLER_EULER, 2, 0, 10},
        {ZI_SAMPLER_HEUN, 2, 0, 18},   {ZI_SAMPLER_EULER, 2, 0.2, 8},
        {ZI_SAMPLER_HEUN, 2, 0.2, 14}, {ZI_SAMPLER_EULER, 2, 0.001, 6},
    };
    int layers = 0; /* of a call */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        watcher w = {0};
        zi_image *image = NULL;
        zi_error error = {0};
        zi_request request = zi_request_default();
        request.prompt = "a fox";
        request.width = request.height = 64;
        request.steps = 5;
        request.sampler = rows[i].sampler;
        request.guidance = rows[i].guidance;
        request.cfg_truncation = rows[i].truncation;
        request.progress = watch;
        request.preview = count_preview;
        request.user = &w;
        CHECK_OK(zi_generate(model, &request, &image, &error), error);
        zi_image_free(image);
        if (!i) layers = w.layers / 5;
        CHECK_MSG(w.layers == layers * rows[i].calls, "row %zu: %d layers, not %d", i, w.layers,
                  layers * rows[i].calls);
        CHECK_MSG(!w.wrong && w.previews == 5, "row %zu", i);
    }
}

/* The user of runs that may stop: a watcher, for watch(), and what stop_at() needs. */
typedef struct {
    watcher w;
    int stop, asked; /* step to stop in, 0: never; calls so far */
} stopper;

/* A zi_request.stop. */
static bool stop_at(void *user, int step)
{
    stopper *s = user;
    s->w.wrong |= step != ++s->asked;
    return step == s->stop;
}

/* A stop in step 2 of 4 makes it the last one, which goes to sigma 0: Heun leaves out its second
 * half. Nobody asks in the last step. */
static void stopped_runs(void)
{
    int layers = 0; /* of a call */
    for (int sampler = ZI_SAMPLER_EULER; sampler <= ZI_SAMPLER_LCM; sampler++)
        for (int stop = 0; stop <= 2; stop += 2) {
            stopper s = {.stop = stop};
            zi_checkpoint trace;
            zi_request request = zi_request_default();
            request.prompt = "a fox";
            request.width = request.height = 64;
            request.steps = 4;
            request.sampler = (zi_sampler)sampler;
            request.stop = stop_at;
            request.progress = watch;
            request.user = &s;
            if (!run_traced(request, &trace)) return;
            int steps = stop ? stop : 4, halves = sampler == ZI_SAMPLER_HEUN ? steps - 1 : 0;
            if (!layers) layers = s.w.layers / 4;
            CHECK_MSG(s.w.layers == layers * (steps + halves), "sampler %d stop %d: %d layers",
                      sampler, stop, s.w.layers);
            CHECK(!s.w.wrong && s.asked == (stop ? 2 : 3));
            const float *sigmas = zi_golden_floats(&trace, "sigmas");
            CHECK(zi_golden_tensor(&trace, "sigmas")->count == (size_t)steps + 1);
            CHECK(sigmas[0] == 1 && sigmas[steps - 1] > 0 && sigmas[steps] == 0);
            CHECK(!zi_checkpoint_find(&trace, "latents.3") == (stop > 0));
            CHECK(zi_checkpoint_find(&trace, "latents.2") && zi_checkpoint_find(&trace, "image"));
            zi_checkpoint_close(&trace);
        }
}

/* The noise that LCM adds is that of the seed, and the same for any number of threads. */
static void lcm_depends_on_the_seed(void)
{
    zi_image *images[3] = {NULL};
    zi_error error = {0};
    for (int i = 0; i < 3; i++) {
        zi_request request = zi_request_default();
        request.prompt = "a fox";
        request.width = request.height = 64;
        request.steps = 3;
        request.seed = i == 2 ? 8 : 7;
        request.sampler = ZI_SAMPLER_LCM;
        CHECK_OK(zi_generate(model, &request, &images[i], &error), error);
    }
    const size_t size = (size_t)3 * 64 * 64;
    CHECK(!memcmp(images[0]->pixels, images[1]->pixels, size));
    CHECK(memcmp(images[0]->pixels, images[2]->pixels, size) != 0);
    for (int i = 0; i < 3; i++) zi_image_free(images[i]);
}

/* ---- guidance ---- */

static const struct {
    const char *name, *negative;
    double normalization, truncation;
} guided_runs[] = {
    {"plain", "low quality, text", 0, 0},       {"norm", "low quality, text", 1, 0},
    {"trunc", "low quality, text", 0, 0.5},     {"norm_trunc", "low quality, text", 1, 0.5},
    {"norm07", "low quality, text", 0.7, 0},    {"noneg", NULL, 0, 0},
    {"low_trunc", "low quality, text", 1, 0.1},
};

static void limits_of_guidance(void)
{
    zi_checkpoint golden = zi_golden_open("guidance.safetensors"), trace;
    for (size_t i = 0; i < sizeof guided_runs / sizeof *guided_runs; i++) {
        zi_request request = zi_request_default();
        request.prompt = "a lighthouse above the sea, oil on canvas";
        request.negative = guided_runs[i].negative;
        request.width = 64;
        request.height = 48;
        request.steps = 9;
        request.seed = 401;
        request.shift = 6;
        request.guidance = 4;
        request.cfg_normalization = guided_runs[i].normalization;
        request.cfg_truncation = guided_runs[i].truncation;
        if (!run_traced(request, &trace)) continue;
        for (int step = 5; step <= 9; step += 4) {
            char reference[64];
            snprintf(reference, sizeof reference, "%s.latents.%d", guided_runs[i].name, step);
            const zi_tensor *mine = zi_golden_tensor(&trace, "latents.%d", step);
            zi_golden_compare(&golden, reference, mine->data, mine->count, 1e-4, 0);
        }
        zi_checkpoint_close(&trace);
    }
    zi_checkpoint_close(&golden);
}

/* ---- requests ---- */

static void requests_resolve(void)
{
    zi_error error = {0};
    zi_request r, again, request = zi_request_default();
    request.prompt = "a";
    CHECK_OK(zi_request_resolve(model, &request, &r, &error), error);
    CHECK(r.steps == 9 && r.guidance == 0 && r.guidance_given && r.shift == 3);
    CHECK(r.sampler == ZI_SAMPLER_EULER && r.schedule == ZI_SCHEDULE_DIFFUSERS);
    CHECK(r.width == 1024 && r.height == 1024 && r.cfg_truncation == 1);
    CHECK(zi_model_variant(model) == ZI_VARIANT_TURBO);
    CHECK_OK(zi_request_resolve(model, &r, &again, &error), error);
    CHECK(!memcmp(&r, &again, sizeof r));
}

static void what_cannot_be_is_refused(void)
{
    static const struct {
        zi_request request;
        const char *subject, *says;
    } rows[] = {
        {{.prompt = "a", .sampler = (zi_sampler)4}, "sampler", "0 to 3"},
        {{.prompt = "a", .schedule = (zi_schedule)-1}, "schedule", "0 to 5"},
        {{.prompt = "a", .cfg_normalization = -1}, "cfg_normalization", "0 (off) to 10"},
        {{.prompt = "a", .cfg_normalization = NAN}, "cfg_normalization", "0 (off) to 10"},
        {{.prompt = "a", .cfg_truncation = 1.5}, "cfg_truncation", "0.001 to 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        zi_request out;
        CHECK_MSG(!zi_request_resolve(model, &rows[i].request, &out, &error), "row %zu went well",
                  i);
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, rows[i].subject);
        CHECK_MSG(strstr(error.text, rows[i].says), "%s", error.text);
    }
}

static void infotexts_have_samplers(void)
{
    zi_request request = zi_request_default();
    request.prompt = "a";
    request.sampler = ZI_SAMPLER_HEUN;
    request.schedule = ZI_SCHEDULE_KARRAS;
    request.guidance = 3;
    request.cfg_normalization = 0.5;
    request.cfg_truncation = 0.8;
    char *text = zi_infotext_create(model, &request);
    CHECK_MSG(strstr(text, "Steps: 9, Sampler: Heun, Schedule type: Karras, CFG scale: 4,"), "%s",
              text);
    CHECK_MSG(strstr(text, ", CFG normalization: 0.5, CFG truncation: 0.8,"), "%s", text);
    free(text);
    request.guidance = 0;
    text = zi_infotext_create(model, &request);
    CHECK_MSG(!strstr(text, "CFG normalization") && !strstr(text, "CFG truncation"), "%s", text);
    free(text);
}

int main(void)
{
    zi_error error = {0};
    zi_model_options options = {.path = ZI_TEST_DATA "/golden/model"};
    if (!CHECK_OK(zi_engine_create(NULL, &engine, &error), error) ||
        !CHECK_OK(zi_model_load(engine, &options, &model, &error), error))
        return 1;
    RUN(runs_of_heun_and_lcm);
    RUN(progress_counts_calls);
    RUN(stopped_runs);
    RUN(lcm_depends_on_the_seed);
    RUN(limits_of_guidance);
    RUN(requests_resolve);
    RUN(what_cannot_be_is_refused);
    RUN(infotexts_have_samplers);
    zi_model_free(model);
    zi_engine_free(engine);
    return zi_test_result();
}
