/* Whether a model works: its weights, its stages one by one, and small pictures. */
#include "internal.h"
#include "base/random.h"
#include "io/values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 256, STEPS = 2, LATENT = SIDE / 8, TOKENS = 512 };

static const char prompt[] = "a red circle on a blue background";

typedef struct {
    zi_engine *engine;
    const zi_model_options *options;
    const char *against;
    zi_progress_fn progress;
    void *user;
    zi_model *model;
    zi_image *picture; /* SIDE x SIDE, of the seed 1 */
    zi_verification *out;
    bool stopped; /* or memory is short */
} verifier;

/* Puts into `says` what it found, or why it failed. */
typedef bool (*check)(verifier *v, zi_error *says);

/* What was found, where all is well. */
static bool found(zi_error *says, const char *format, double number)
{
    snprintf(says->text, sizeof says->text, format, number);
    return true;
}

/* ---- weights ---- */

static bool loads(verifier *v, zi_error *says)
{
    return zi_model_load(v->engine, v->options, &v->model, says) &&
           found(says, "every tensor is there, of the right shape", 0);
}

static bool weights_sound(verifier *v, zi_error *says)
{
    const zi_source *sources[] = {&v->model->text.weights.source,
                                  &v->model->transformer.weights.source,
                                  &v->model->vae.weights.source};
    size_t tensors = 0;
    for (int i = 0; i < 3; i++) {
        if (!zi_source_check_values(sources[i], says)) return false;
        tensors += sources[i]->count;
    }
    return found(says, "%.0f tensors; no norm is all zeros", (double)tensors);
}

/* ---- stages ---- */

/* A stage by itself. */
typedef struct {
    const zi_model *model;
    size_t tokens;   /* of the text encoder; 0: the VAE decodes */
    zi_view in, out; /* latents and image; or none and embeddings */
} stage;

static bool should_continue(void *user, double fraction)
{
    (void)fraction;
    verifier *v = user;
    zi_progress progress = {.stage = ZI_STAGE_ENCODE};
    return !v->progress || v->progress(v->user, &progress);
}

static void plan(void *user, const zi_exec *exec, zi_arena *arena)
{
    stage *s = user;
    const zi_model *m = s->model;
    if (s->tokens) {
        s->out = zi_arena_floats(arena, s->tokens, (size_t)m->config.text.hidden);
        zi_qwen_reserve(&m->text, s->tokens, arena);
    } else {
        s->in = zi_arena_floats(arena, (size_t)m->config.vae.latent, LATENT * LATENT);
        s->out = zi_arena_floats(arena, 3, SIDE * SIDE);
        zi_vae_reserve(exec, &m->vae, LATENT, LATENT, arena);
    }
}

static bool start(verifier *v, stage *s, zi_session *session, zi_error *error)
{
    if (!zi_session_open(v->engine, true, zi_model_limits(&v->model->config), plan, s, session,
                         error))
        return false;
    session->run.layer_done = should_continue;
    session->run.user = v;
    return true;
}

/* The root of the mean square; NaN where a value is not finite. */
static double magnitude(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum / (double)n);
}

static bool check_embeddings(const float *values, size_t count, size_t hidden, zi_error *says)
{
    double size = magnitude(values, count * hidden);
    bool same = count > 1 && !memcmp(values, values + hidden, hidden * sizeof *values);
    if (!(size > 0 && isfinite(size)))
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL,
                            "the embeddings of a prompt are of magnitude %g", size);
    if (same)
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL,
                            "the embeddings of different tokens are the same");
    return found(says, "magnitude %.3g", size);
}

static bool embeddings(verifier *v, zi_error *says)
{
    const zi_model *m = v->model;
    stage s = {.model = m};
    zi_session session;
    zi_fetched embeds = {0};
    int32_t *ids;
    if (!zi_tokenizer_encode_chat(m->tokenizer, prompt, TOKENS, &ids, &s.tokens, says))
        return false;
    bool ok = start(v, &s, &session, says);
    if (ok) {
        ok = zi_qwen_encode(&session.run, &m->text, ids, s.tokens, s.out, says) &&
             zi_fetch(session.exec, s.out, &embeds, says) &&
             check_embeddings(embeds.values, s.tokens, s.out.columns, says);
        zi_fetched_free(&embeds);
        zi_session_close(&session);
    }
    free(ids);
    return ok;
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

/* values [3, SIDE, SIDE] */
static bool check_decoded(const float *values, zi_error *says)
{
    /* Images are about -1 to 1; good decoders are below 1 %, and noise is 25 %. */
    const double largest = 10, worst = 0.05;
    double size = magnitude(values, 3 * SIDE * SIDE), board = 0;
    for (int i = 0; i < 3; i++) board = fmax(board, checkerboard(values + i * SIDE * SIDE));
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

static bool decodes(verifier *v, zi_error *says)
{
    const zi_model *m = v->model;
    stage s = {.model = m};
    zi_session session;
    zi_fetched image = {0};
    size_t channels = (size_t)m->config.vae.latent;
    float *latents = malloc(channels * LATENT * LATENT * sizeof *latents);
    if (!latents) return zi_error_no_memory(says, channels * LATENT * LATENT * sizeof *latents);
    draw_pattern(latents, channels);
    bool ok = start(v, &s, &session, says);
    if (ok) {
        zi_write(session.exec, s.in, latents);
        ok = zi_vae_decode(&session.run, &m->vae, s.in, LATENT, LATENT, s.out, says) &&
             zi_fetch(session.exec, s.out, &image, says) && check_decoded(image.values, says);
        zi_fetched_free(&image);
        zi_session_close(&session);
    }
    free(latents);
    return ok;
}

/* ---- pictures ---- */

static zi_request request_of(const verifier *v, int width, int height)
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

static bool draws(verifier *v, zi_error *says)
{
    zi_request request = request_of(v, SIDE, SIDE);
    if (!zi_generate(v->model, &request, &v->picture, says)) return false;
    const uint8_t *p = v->picture->pixels;
    bool flat = !memcmp(p, p + 3, 3 * (SIDE * SIDE - 1));
    return flat ? zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL, "the picture is of a single colour")
                : found(says, "a picture of %.0f pixels a side, in 2 steps", SIDE);
}

/* Whether a model gives the same image; *same is left alone if it does. */
static bool compare_again(verifier *v, zi_model *model, bool *same, zi_error *says)
{
    zi_request request = request_of(v, SIDE, SIDE);
    zi_image *again = NULL;
    if (!zi_generate(model, &request, &again, says)) return false;
    *same = *same && !memcmp(again->pixels, v->picture->pixels, 3 * SIDE * SIDE);
    zi_image_free(again);
    return true;
}

/* Generates it again, and again with another number of threads. */
static bool reproduces(verifier *v, zi_error *says)
{
    int threads = zi_pool_threads(v->engine->pool) > 1 ? 1 : 2;
    zi_engine_options options = {
        .threads = threads, .cpu = v->engine->cpu, .scratch = v->engine->scratch};
    zi_engine *other = NULL;
    zi_model *model = NULL;
    bool same = true;
    if (!v->picture)
        return zi_error_set(says, ZI_ERROR_NOT_FOUND, NULL, "there is no picture to draw again");
    bool ok = zi_engine_create(&options, &other, says) &&
              zi_model_load(other, v->options, &model, says) &&
              compare_again(v, v->model, &same, says) && compare_again(v, model, &same, says);
    zi_model_free(model);
    zi_engine_free(other);
    if (!ok) return false;
    return same
               ? found(says, "the same picture again, and with %.0f threads", threads)
               : zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL, "one seed gives different pictures");
}

static bool shapes(verifier *v, zi_error *says)
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

static bool like_its_source(verifier *v, zi_error *says)
{
    zi_model_options options = *v->options;
    zi_request request = request_of(v, SIDE, SIDE);
    zi_model *source = NULL;
    zi_image *image = NULL;
    options.path = v->against;
    if (!v->picture)
        return zi_error_set(says, ZI_ERROR_BAD_FORMAT, NULL, "there is no picture to compare");
    bool ok = zi_model_load(v->engine, &options, &source, says) &&
              zi_generate(source, &request, &image, says);
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

enum { CHECKS = sizeof checks / sizeof *checks };

static void run_check(verifier *v, const char *name, check run)
{
    zi_verification *out = v->out;
    zi_error says = {0};
    bool passed = run(v, &says);
    char *text = strdup(says.text);
    out->checks[out->check_count++] = (zi_verification_check){name, passed, says.code, text};
    out->passed = out->passed && passed;
    v->stopped = says.code == ZI_ERROR_CANCELLED || !text;
}

static void run_checks(verifier *v)
{
    for (size_t i = 0; i < CHECKS && !v->stopped; i++) {
        if (i > 0 && !v->model) break;
        if (checks[i].run == like_its_source && !v->against) continue;
        run_check(v, checks[i].name, checks[i].run);
    }
    zi_image_free(v->picture);
    zi_model_free(v->model);
}

static zi_verification *create(const char *path)
{
    zi_verification *out = calloc(1, sizeof *out);
    if (!out) return NULL;
    out->path = strdup(path);
    out->checks = calloc(CHECKS, sizeof *out->checks);
    out->passed = true;
    if (out->path && out->checks) return out;
    zi_verification_free(out);
    return NULL;
}

bool zi_verify(zi_engine *engine, const zi_model_options *options, const char *against,
               zi_progress_fn progress, void *user, zi_verification **out, zi_error *error)
{
    if (!options->path)
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "model",
                               "no model was named");
    verifier v = {.engine = engine,
                  .options = options,
                  .against = against,
                  .progress = progress,
                  .user = user,
                  .out = create(options->path)};
    if (!v.out) return zi_error_no_memory(error, sizeof *v.out);
    run_checks(&v);
    if (!v.stopped) {
        *out = v.out;
        return true;
    }
    bool cancelled = v.out->checks[v.out->check_count - 1].text != NULL;
    zi_verification_free(v.out);
    return cancelled ? zi_error_cancelled(error) : zi_error_no_memory(error, 1);
}

void zi_verification_free(zi_verification *verification)
{
    if (!verification) return;
    for (size_t i = 0; i < verification->check_count; i++) free(verification->checks[i].text);
    free(verification->checks);
    free(verification->path);
    free(verification);
}
