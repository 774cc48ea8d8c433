/* Whether a model works: its weights, its stages one by one, and small pictures. */
#include "internal.h"
#include "base/random.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 256, STEPS = 2, LATENT = SIDE / 8, TOKENS = 512 };

static const char prompt[] = "a red circle on a blue background";

typedef struct {
    const zi_model_options *options;
    const char *against;
    zi_progress_fn progress;
    void *user;
    zi_model *model;
    zi_image *picture; /* SIDE x SIDE, of the seed 1 */
    cJSON *checks;
    bool passed, stopped;
} verification;

/* A check says in `says` what it found, or why it failed. */
typedef bool (*check)(verification *v, zi_error *says);

/* What was found, where all is well. */
static bool found(zi_error *says, const char *format, double number)
{
    snprintf(says->text, sizeof says->text, format, number);
    return true;
}

/* ---- weights ---- */

static bool loads(verification *v, zi_error *says)
{
    return zi_model_load(v->options, &v->model, says) &&
           found(says, "every tensor is there, of the right shape", 0);
}

static bool weights_sound(verification *v, zi_error *says)
{
    zi_weights *weights[] = {&v->model->text.weights, &v->model->transformer.weights,
                             &v->model->vae.weights};
    size_t tensors = 0;
    for (int i = 0; i < 3; i++) {
        if (!zi_weights_sound(weights[i], says)) return false;
        tensors += weights[i]->source.count;
    }
    return found(says, "%.0f tensors; no norm is all zeros", (double)tensors);
}

/* ---- stages ---- */

/* What it takes to run a stage by itself. */
typedef struct {
    zi_ops ops;
    zi_arena arena;
    zi_run run;
} engine;

static bool go_on(void *user, double fraction)
{
    (void)fraction;
    verification *v = user;
    zi_progress progress = {.stage = ZI_STAGE_ENCODE};
    return !v->progress || v->progress(v->user, &progress);
}

/* Memory for one of the stages, `floats` of it for what goes in and out. */
static void plan(engine *e, const zi_model *m, size_t tokens, size_t floats, float **values)
{
    zi_ops_plan(&e->ops, &e->arena, zi_model_limits(&m->config));
    *values = zi_arena_floats(&e->arena, floats);
    if (tokens)
        zi_qwen_plan(&m->text, tokens, &e->arena);
    else
        zi_vae_plan(&e->ops, &m->vae, LATENT, LATENT, &e->arena);
}

static bool start(engine *e, verification *v, size_t tokens, size_t floats, float **values,
                  zi_error *error)
{
    *e = (engine){.ops = {.kernels = v->model->kernels, .pool = v->model->pool, .fast = true}};
    e->arena = zi_arena_measure();
    plan(e, v->model, tokens, floats, values);
    size_t size = e->arena.peak;
    if (!zi_arena_create(&e->arena, size, error)) return false;
    plan(e, v->model, tokens, floats, values);
    e->run = (zi_run){.ops = &e->ops, .arena = &e->arena, .layer_done = go_on, .user = v};
    return true;
}

/* The root of the mean square; NaN where a value is not finite. */
static double magnitude(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum / (double)n);
}

static bool embeddings(verification *v, zi_error *says)
{
    const zi_model *m = v->model;
    size_t count, hidden = (size_t)m->config.text.hidden;
    int32_t *ids;
    engine e;
    float *embeds;
    if (!zi_tokenizer_chat(m->tokenizer, prompt, TOKENS, &ids, &count, says)) return false;
    bool ok = start(&e, v, count, count * hidden, &embeds, says) &&
              zi_qwen_encode(&e.run, &m->text, ids, count, embeds, says);
    double size = ok ? magnitude(embeds, count * hidden) : 0;
    bool same = ok && count > 1 && !memcmp(embeds, embeds + hidden, hidden * sizeof *embeds);
    zi_arena_free(&e.arena);
    free(ids);
    if (!ok) return false;
    if (!(size > 0 && isfinite(size)))
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL,
                            "the embeddings of a prompt are of magnitude %g", size);
    if (same)
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL,
                            "the embeddings of different tokens are the same");
    return found(says, "magnitude %.3g", size);
}

/* The share of the deviations from the mean that is a checkerboard of single pixels: a quarter in
 * noise, next to nothing in pictures. plane [SIDE, SIDE]. */
static double checkerboard(const float *plane)
{
    double mean = 0, all = 0, board = 0;
    for (size_t i = 0; i < SIDE * SIDE; i++) mean += plane[i];
    mean /= SIDE * SIDE;
    for (size_t i = 0; i < SIDE * SIDE; i++) all += (plane[i] - mean) * (plane[i] - mean);
    for (size_t y = 0; y < SIDE; y += 2)
        for (size_t x = 0; x < SIDE; x += 2) {
            const float *a = plane + y * SIDE + x, *b = a + SIDE;
            double c = ((double)a[0] - a[1] - b[0] + b[1]) / 2;
            board += c * c;
        }
    return all > 0 ? board / all : 0;
}

/* A pattern that changes from each latent pixel to the next, eight pixels of the picture away. */
static void draw_pattern(float *latents, size_t channels)
{
    zi_random random;
    zi_random_seed(&random, 1);
    zi_random_normal(&random, latents, channels * LATENT * LATENT);
}

static bool decodes(verification *v, zi_error *says)
{
    /* Pictures are about -1 to 1; good decoders are below 1 %, and noise is 25 %. */
    const double largest = 10, worst = 0.05;
    const zi_model *m = v->model;
    size_t channels = (size_t)m->config.vae.latent, in = channels * LATENT * LATENT;
    size_t out = 3 * SIDE * SIDE;
    engine e;
    float *latents;
    bool ok = start(&e, v, 0, in + out, &latents, says);
    if (ok) draw_pattern(latents, channels);
    float *image = ok ? latents + in : NULL;
    ok = ok && zi_vae_decode(&e.run, &m->vae, latents, LATENT, LATENT, image, says);
    double size = ok ? magnitude(image, out) : 0, board = 0;
    for (int i = 0; ok && i < 3; i++) board = fmax(board, checkerboard(image + i * SIDE * SIDE));
    zi_arena_free(&e.arena);
    if (!ok) return false;
    if (!(size > 0 && size < largest))
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL,
                            "a test pattern becomes values of magnitude %g; about 1 is usual",
                            size);
    if (board > worst)
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL,
                            "a test pattern becomes a checkerboard: %.0f %% of its contrast",
                            100 * board);
    return found(says, "a test pattern: %.2f %% of its contrast is a checkerboard", 100 * board);
}

/* ---- pictures ---- */

static zi_request request_of(const verification *v, int width, int height)
{
    zi_request request = zi_request_default();
    request.prompt = prompt;
    request.width = width;
    request.height = height;
    request.steps = STEPS;
    request.seed = 1;
    request.progress = v->progress;
    request.user = v->user;
    return request;
}

static bool draws(verification *v, zi_error *says)
{
    zi_request request = request_of(v, SIDE, SIDE);
    if (!zi_generate(v->model, &request, &v->picture, says)) return false;
    const uint8_t *p = v->picture->pixels;
    bool flat = !memcmp(p, p + 3, 3 * (SIDE * SIDE - 1));
    return flat ? zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL, "the picture is of a single colour")
                : found(says, "a picture of %.0f pixels a side, in 2 steps", SIDE);
}

/* Draws it again, and again with another number of threads. */
static bool reproduces(verification *v, zi_error *says)
{
    zi_pool *usual = v->model->pool, *other = NULL;
    zi_request request = request_of(v, SIDE, SIDE);
    size_t threads = zi_pool_threads(usual) > 1 ? 1 : 2;
    bool same = true;
    if (!v->picture)
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL, "there is no picture to draw again");
    if (!zi_pool_create(threads, &other, says)) return false;
    bool ok = true;
    for (int i = 0; ok && i < 2; i++) {
        zi_image *again = NULL;
        v->model->pool = i ? other : usual;
        ok = zi_generate(v->model, &request, &again, says);
        same = same && ok && !memcmp(again->pixels, v->picture->pixels, 3 * SIDE * SIDE);
        zi_image_free(again);
    }
    v->model->pool = usual;
    zi_pool_free(other);
    if (!ok) return false;
    return same
               ? found(says, "the same picture again, and with %.0f threads", (double)threads)
               : zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL, "one seed gives different pictures");
}

static bool shapes(verification *v, zi_error *says)
{
    static const int sizes[][2] = {{320, 192}, {192, 320}, {SIDE, 144}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        zi_request request = request_of(v, sizes[i][0], sizes[i][1]);
        zi_image *image = NULL;
        request.steps = 1;
        if (!zi_generate(v->model, &request, &image, says)) return false;
        zi_image_free(image);
    }
    return found(says, "wide, tall and odd ones", 0);
}

static double correlation(const zi_image *a, const zi_image *b)
{
    double n = 3.0 * a->width * a->height, sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    for (int i = 0; i < 3 * a->width * a->height; i++) {
        double x = a->pixels[i], y = b->pixels[i];
        sa += x;
        sb += y;
        saa += x * x;
        sbb += y * y;
        sab += x * y;
    }
    return (sab - sa * sb / n) / sqrt((saa - sa * sa / n) * (sbb - sb * sb / n));
}

static bool like_its_source(verification *v, zi_error *says)
{
    zi_model_options options = *v->options;
    zi_request request = request_of(v, SIDE, SIDE);
    zi_model *source = NULL;
    zi_image *image = NULL;
    options.path = v->against;
    if (!v->picture)
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL, "there is no picture to compare");
    bool ok = zi_model_load(&options, &source, says) && zi_generate(source, &request, &image, says);
    double like = ok ? correlation(v->picture, image) : 0;
    zi_image_free(image);
    zi_model_free(source);
    if (!ok) return false;
    return like > 0.99
               ? found(says, "correlation %.5f", like)
               : zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL,
                              "correlation %.5f with %s; above 0.99 is good", like, v->against);
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    check run;
} checks[] = {
    {"loads", loads},
    {"weights are finite", weights_sound},
    {"a prompt is read", embeddings},
    {"the VAE decodes", decodes},
    {"draws", draws},
    {"a seed is reproduced", reproduces},
    {"other shapes", shapes},
    {"like its source", like_its_source},
};

static void run_check(verification *v, const char *name, check run)
{
    zi_error says = {0};
    bool passed = run(v, &says);
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "name", name);
    cJSON_AddBoolToObject(row, "passed", passed);
    cJSON_AddStringToObject(row, "says", says.text);
    cJSON_AddItemToArray(v->checks, row);
    v->passed = v->passed && passed;
    v->stopped = says.code == ZI_ERROR_CANCELLED;
}

bool zi_verify(const zi_model_options *options, const char *against, zi_progress_fn progress,
               void *user, char **json, zi_error *error)
{
    cJSON *root = cJSON_CreateObject();
    if (!root || !options->path) {
        cJSON_Delete(root);
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "model",
                               "no model was named");
    }
    cJSON_AddStringToObject(root, "path", options->path);
    verification v = {.options = options,
                      .against = against,
                      .progress = progress,
                      .user = user,
                      .checks = cJSON_CreateArray(),
                      .passed = true};
    for (size_t i = 0; i < sizeof checks / sizeof *checks && !v.stopped; i++) {
        if (i > 0 && !v.model) break;
        if (checks[i].run == like_its_source && !against) continue;
        run_check(&v, checks[i].name, checks[i].run);
    }
    zi_image_free(v.picture);
    zi_model_free(v.model);
    cJSON_AddBoolToObject(root, "passed", v.passed);
    cJSON_AddItemToObject(root, "checks", v.checks);
    char *text = v.stopped ? NULL : cJSON_Print(root);
    cJSON_Delete(root);
    if (v.stopped) return zi_error_cancelled(error);
    if (!text) return zi_error_no_memory(error, 1 << 16);
    *json = text;
    return true;
}
