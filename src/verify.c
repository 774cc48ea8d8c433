/* zi_verify: checks whether a model works, by its weights, single stages and small images. */
#include "zimage_models.h"
#include "internal.h"
#include "base/random.h"
#include "io/values.h"
#include "model/config_remarks.h"

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
    zi_image *image; /* SIDE x SIDE, seed 1; NULL: generation failed */
    zi_verification *out;
    zi_error
        stopped; /* why the checks cannot go on: cancelled, or memory is short; ZI_OK: they can */
} verifier;

/* A check: sets result->text to what it found, or *result to the error and returns false. */
typedef bool (*check_fn)(verifier *v, zi_error *result);

/* Sets the text of a passed check and returns true; the code stays ZI_OK. format may contain one
 * floating-point conversion, for the number. */
static bool set_passed_text(zi_error *result, const char *format, double number)
{
    snprintf(result->text, sizeof result->text, format, number);
    return true;
}

/* ---- weights ---- */

/* A zi_remark_fn: appends the text to that of the zi_error `user`, cut to its size. */
static void append_remark(void *user, const char *text)
{
    zi_error *result = user;
    size_t length = strlen(result->text);
    snprintf(result->text + length, sizeof result->text - length, "; %s", text);
}

/* A check_fn: loads the model into v->model, which checks that every tensor is there and has the
 * right shape; names unknown fields of configs. After a failure v->model stays NULL. */
static bool check_loads(verifier *v, zi_error *result)
{
    zi_assembly assembly;
    if (!zi_model_load(v->engine, v->options, &v->model, result)) return false;
    set_passed_text(result, "every tensor is there, of the right shape", 0);
    if (!zi_assembly_read(v->options, &assembly, result)) return false;
    bool ok = zi_config_each_unknown(&assembly, append_remark, result, result);
    zi_assembly_free(&assembly);
    return ok;
}

/* A check_fn: reads all weights; fails for a value that is not finite, or a norm that is all zeros.
 * Does not call the progress callback. */
static bool check_weights(verifier *v, zi_error *result)
{
    const zi_source *sources[] = {&v->model->text.weights.source,
                                  &v->model->transformer.weights.source,
                                  &v->model->vae.weights.source};
    size_t tensors = 0;
    for (int i = 0; i < 3; i++) {
        if (!zi_source_check_values(sources[i], result)) return false;
        tensors += sources[i]->count;
    }
    return set_passed_text(result, "%.0f tensors; no norm is all zeros", (double)tensors);
}

/* ---- stages ---- */

/* One stage run by itself. */
typedef struct {
    const zi_model *model;
    size_t tokens;   /* > 0: the text encoder runs on these; 0: the VAE runs */
    zi_view in, out; /* VAE: latents and image; text encoder: unused and embeddings */
} stage_run;

/* zi_run.layer_done; user: the verifier. Calls its progress callback, always with stage ENCODE and
 * fraction 0. False: the callback cancels. True if there is none. */
static bool should_continue(void *user, double fraction)
{
    (void)fraction;
    verifier *v = user;
    zi_progress progress = {.stage = ZI_STAGE_ENCODE};
    return !v->progress || v->progress(v->user, &progress);
}

/* Takes input and output of the stage_run `user` from the arena and reserves the temporary memory
 * of its stage; called twice, first with a measuring arena. */
static void plan_memory(void *user, const zi_exec *exec, zi_arena *arena)
{
    stage_run *s = user;
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

/* Opens a session, with fast arithmetic, that has the memory of the stage *s, whose model and
 * tokens are set, and calls the verifier's progress callback after each layer. The caller closes it
 * on success. False, with *error set: nothing is open. */
static bool open_stage(verifier *v, stage_run *s, zi_session *session, zi_error *error)
{
    if (!zi_session_open(v->engine, true,
                         zi_model_limits(&v->model->text, &v->model->transformer, &v->model->vae),
                         plan_memory, s, session, error))
        return false;
    session->run.layer_done = should_continue;
    session->run.user = v;
    return true;
}

/* Root mean square of x [n], n not 0; NaN or infinite when a value is not finite. */
static double rms(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum / (double)n);
}

/* Checks embeddings [count, hidden]: ZI_ERROR_BAD_FORMAT if their root mean square is zero or not
 * finite, or if the first two rows (if there are two) are the same. Passed: sets result->text to
 * the magnitude. */
static bool check_embeddings(const float *values, size_t count, size_t hidden, zi_error *result)
{
    double size = rms(values, count * hidden);
    bool same = count > 1 && !memcmp(values, values + hidden, hidden * sizeof *values);
    if (!(size > 0 && isfinite(size)))
        return zi_error_set(
            result, ZI_ERROR_BAD_FORMAT, NULL,
            "the text encoder turns a prompt into values of magnitude %g, where a finite number "
            "above 0 is good; its weights may be damaged: fetch or convert the model again",
            size);
    if (same)
        return zi_error_set(result, ZI_ERROR_BAD_FORMAT, NULL,
                            "the text encoder gives the same values for different tokens; its "
                            "weights may be damaged: fetch or convert the model again");
    return set_passed_text(result, "magnitude %.3g (any above 0 is good)", size);
}

/* A check_fn: runs the text encoder on the test prompt and checks its embeddings by
 * check_embeddings. *result is also the error of a run that was cancelled or failed. */
static bool check_prompt_embeddings(verifier *v, zi_error *result)
{
    const zi_model *m = v->model;
    stage_run s = {.model = m};
    zi_session session;
    zi_fetched_values embeds = {0};
    int32_t *ids;
    if (!zi_tokenizer_encode_chat(m->tokenizer, prompt, TOKENS, &ids, &s.tokens, result))
        return false;
    bool ok = open_stage(v, &s, &session, result);
    if (ok) {
        ok = zi_qwen_encode(&session.run, &m->text, ids, s.tokens, s.out, result) &&
             zi_fetch_values(session.exec, s.out, &embeds, result) &&
             check_embeddings(embeds.values, s.tokens, s.out.columns, result);
        zi_fetched_values_free(&embeds);
        zi_session_close(&session);
    }
    free(ids);
    return ok;
}

/* The share of the variance that is a checkerboard of single pixels: a quarter in noise, almost
 * none in images, 0 if all are the same. plane [SIDE, SIDE]. */
static double checkerboard_share(const float *plane)
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

/* Fills latents [channels, LATENT, LATENT] with normal random numbers, independent for each pixel;
 * always the same ones. */
static void make_test_latents(float *latents, size_t channels)
{
    zi_random random;
    zi_random_seed(&random, 1);
    zi_random_normal(&random, latents, channels * LATENT * LATENT);
}

/* Checks a decoded test pattern, values [3, SIDE, SIDE]: ZI_ERROR_BAD_FORMAT if its root mean
 * square is not above 0 and below 10 (or NaN), or if more than 5 % of a channel's variance is a
 * checkerboard. Passed: sets result->text to that share. */
static bool check_decoded(const float *values, zi_error *result)
{
    /* Images are about -1 to 1; good decoders are below 1 %, and noise is 25 %. */
    const double largest = 10, worst = 0.05;
    double size = rms(values, 3 * SIDE * SIDE), board = 0;
    for (int i = 0; i < 3; i++) board = fmax(board, checkerboard_share(values + i * SIDE * SIDE));
    if (!(size > 0 && size < largest))
        return zi_error_set(
            result, ZI_ERROR_BAD_FORMAT, NULL,
            "the VAE turns a test pattern into values of magnitude %g, where about 1 is usual; its "
            "weights may be damaged: fetch or convert the model again",
            size);
    if (board > worst)
        return zi_error_set(result, ZI_ERROR_BAD_FORMAT, NULL,
                            "the VAE turns a test pattern into a checkerboard of pixels: %.0f %% "
                            "of its contrast, where at most 5 %% are good; its weights may be "
                            "damaged: fetch or convert the model again",
                            100 * board);
    return set_passed_text(result,
                           "a test pattern: %.2f %% of its contrast is a checkerboard (below 1 %% "
                           "is good)",
                           100 * board);
}

/* A check_fn: decodes random latents; ZI_ERROR_BAD_FORMAT when the result has an implausible
 * magnitude or a checkerboard pattern. Passed: result->text says what was measured. *result is also
 * the error of a run that was cancelled or failed. */
static bool check_vae(verifier *v, zi_error *result)
{
    const zi_model *m = v->model;
    stage_run s = {.model = m};
    zi_session session;
    zi_fetched_values image = {0};
    size_t channels = (size_t)m->config.vae.latent;
    float *latents = malloc(channels * LATENT * LATENT * sizeof *latents);
    if (!latents) return zi_error_no_memory(result, channels * LATENT * LATENT * sizeof *latents);
    make_test_latents(latents, channels);
    bool ok = open_stage(v, &s, &session, result);
    if (ok) {
        zi_write(session.exec, s.in, latents);
        ok = zi_vae_decode(&session.run, &m->vae, s.in, LATENT, LATENT, s.out, result) &&
             zi_fetch_values(session.exec, s.out, &image, result) &&
             check_decoded(image.values, result);
        zi_fetched_values_free(&image);
        zi_session_close(&session);
    }
    free(latents);
    return ok;
}

/* ---- images ---- */

/* Returns a request for the test prompt in this size, with 2 steps, seed 1 and the verifier's
 * progress callback; all else is default. */
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

/* A check_fn: generates v->image, SIDE x SIDE, which the verifier keeps. ZI_ERROR_BAD_FORMAT if all
 * its pixels are of one colour; it is kept even then. */
static bool check_generates(verifier *v, zi_error *result)
{
    zi_request request = request_of(v, SIDE, SIDE);
    if (!zi_generate(v->model, &request, &v->image, result)) return false;
    const uint8_t *p = v->image->pixels;
    bool flat = !memcmp(p, p + 3, 3 * (SIDE * SIDE - 1));
    return flat ? zi_error_set(result, ZI_ERROR_BAD_FORMAT, NULL,
                               "the image is of a single colour; the weights may be damaged: fetch "
                               "or convert the model again")
                : set_passed_text(result, "an image of %.0f pixels a side, in 2 steps", SIDE);
}

/* Generates the image again with a model; sets *same, which the caller begins with true, to false
 * if a byte differs from v->image, else leaves it. False: generating failed; *result is set. */
static bool compare_image(verifier *v, zi_model *model, bool *same, zi_error *result)
{
    zi_request request = request_of(v, SIDE, SIDE);
    zi_image *again = NULL;
    if (!zi_generate(model, &request, &again, result)) return false;
    *same = *same && !memcmp(again->pixels, v->image->pixels, 3 * SIDE * SIDE);
    zi_image_free(again);
    return true;
}

/* A check_fn: generates v->image again, and again by the model loaded for a second engine with
 * another number of threads. ZI_ERROR_BAD_FORMAT if a byte differs, ZI_ERROR_NOT_FOUND if there is
 * no v->image. v->model stays. */
static bool check_reproducible(verifier *v, zi_error *result)
{
    int threads = zi_pool_threads(v->engine->pool) > 1 ? 1 : 2;
    zi_engine_options options = {.threads = threads,
                                 .cpu = v->engine->options.cpu,
                                 .scratch = v->engine->options.scratch,
                                 .device = v->engine->options.device,
                                 .vram = v->engine->options.vram,
                                 .device_cache = v->engine->options.device_cache};
    zi_engine *other = NULL;
    zi_model *model = NULL;
    bool same = true;
    if (!v->image)
        return zi_error_set(result, ZI_ERROR_NOT_FOUND, NULL,
                            "there is no image to generate again, as the check \"generates an "
                            "image\" failed; see there");
    bool ok = zi_engine_create(&options, &other, result) &&
              zi_model_load(other, v->options, &model, result) &&
              compare_image(v, v->model, &same, result) && compare_image(v, model, &same, result);
    zi_model_free(model);
    zi_engine_free(other);
    if (!ok) return false;
    const char *text = threads == 1 ? "the same image again, and with %.0f thread"
                                    : "the same image again, and with %.0f threads";
    return same ? set_passed_text(result, text, threads)
                : zi_error_set(result, ZI_ERROR_BAD_FORMAT, NULL,
                               "the same seed gives different images; please report this");
}

/* A check_fn: generates an image in one step in each of three other sizes; fails only if a call
 * fails or is cancelled, with its error. The images are not looked at. */
static bool check_other_sizes(verifier *v, zi_error *result)
{
    static const int sizes[][2] = {{320, 192}, {192, 320}, {SIDE, 144}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        zi_request request = request_of(v, sizes[i][0], sizes[i][1]);
        zi_image *image = NULL;
        request.steps = 1;
        if (!zi_generate(v->model, &request, &image, result)) return false;
        zi_image_free(image);
    }
    return set_passed_text(result, "wide, tall and odd ones", 0);
}

/* Pearson correlation of all channel values of two images of one size, -1 to 1; NaN if an image is
 * uniform. */
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

/* A check_fn: generates the image with the model at v->against, too, loaded beside v->model.
 * ZI_ERROR_BAD_FORMAT unless its correlation with v->image is above 0.99, ZI_ERROR_NOT_FOUND if
 * there is no v->image; it also fails if loading or generating does. Passed: result->text has the
 * correlation. */
static bool check_against_source(verifier *v, zi_error *result)
{
    zi_model_options options = *v->options;
    zi_request request = request_of(v, SIDE, SIDE);
    zi_model *source = NULL;
    zi_image *image = NULL;
    options.path = v->against;
    if (!v->image)
        return zi_error_set(
            result, ZI_ERROR_NOT_FOUND, NULL,
            "there is no image to compare, as the check \"generates an image\" failed; see there");
    bool ok = zi_model_load(v->engine, &options, &source, result) &&
              zi_generate(source, &request, &image, result);
    double like = ok ? correlation(v->image, image) : 0;
    zi_image_free(image);
    zi_model_free(source);
    if (!ok) return false;
    return like > 0.99
               ? set_passed_text(result, "correlation %.5f (1 is equal)", like)
               : zi_error_set(result, ZI_ERROR_BAD_FORMAT, NULL,
                              "the image has a correlation of %.5f with that of %s, where above "
                              "0.99 is good; they are different models, or this one has too low a "
                              "precision: convert the source again with a higher one",
                              like, v->against);
}

/* ---- running the checks ---- */

static const struct {
    const char *name;
    check_fn run;
} checks[] = {
    {"loads", check_loads},
    {"weights are finite", check_weights},
    {"a prompt is read", check_prompt_embeddings},
    {"the VAE decodes", check_vae},
    {"generates an image", check_generates},
    {"a seed is reproduced", check_reproducible},
    {"other shapes", check_other_sizes},
    {"like its source", check_against_source},
};

enum { CHECKS = sizeof checks / sizeof *checks };

/* Runs a check, appends its result to v->out->checks (name is borrowed; there is room) and clears
 * out->passed if it failed or was cancelled. Sets v->stopped if it was cancelled or memory was
 * short, which says nothing about the model. */
static void run_check(verifier *v, const char *name, check_fn run)
{
    zi_verification *out = v->out;
    zi_error result = {0};
    bool passed = run(v, &result);
    char *text = strdup(result.text);
    out->checks[out->check_count++] = (zi_verification_check){name, passed, result.code, text};
    out->passed = out->passed && passed;
    if (result.code == ZI_ERROR_CANCELLED || result.code == ZI_ERROR_NO_MEMORY)
        v->stopped = result;
    else if (!text)
        zi_error_no_memory(&v->stopped, sizeof result.text);
}

/* Runs the checks in their order until v->stopped, after failed ones, too; but only the first if
 * the model does not load, and the comparison only with v->against. The results are in v->out.
 * Frees the verifier's image and model. */
static void run_checks(verifier *v)
{
    for (size_t i = 0; i < CHECKS && !v->stopped.code; i++) {
        if (i > 0 && !v->model) break;
        if (checks[i].run == check_against_source && !v->against) continue;
        run_check(v, checks[i].name, checks[i].run);
    }
    zi_image_free(v->image);
    zi_model_free(v->model);
}

/* Returns a verification with a copy of path, room for all checks, and `passed` true; the caller
 * frees it. NULL: out of memory. */
static zi_verification *create_verification(const char *path)
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
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    if (!options->path)
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "model",
                               "no model was named; name a model folder or file");
    verifier v = {.engine = engine,
                  .options = options,
                  .against = against,
                  .progress = progress,
                  .user = user,
                  .out = create_verification(options->path)};
    if (!v.out) return zi_error_no_memory(error, sizeof *v.out);
    run_checks(&v);
    if (!v.stopped.code) {
        *out = v.out;
        return true;
    }
    zi_verification_free(v.out);
    if (error) *error = v.stopped;
    return false;
}

void zi_verification_free(zi_verification *verification)
{
    if (!verification) return;
    for (size_t i = 0; i < verification->check_count; i++) free(verification->checks[i].text);
    free(verification->checks);
    free(verification->path);
    free(verification);
}
