/* The recipe: prompt to picture. */
#include "internal.h"
#include "base/file.h"
#include "base/random.h"
#include "base/text.h"
#include "io/recipe.h"
#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>

enum {
    TOKENS = 512, /* a prompt is cut here, chat form included */
    DEFAULT_STEPS = 9,
    MAX_STEPS = 1000,
    PIXELS = 16, /* per token and side: 8 per latent, 2 latents per patch */
    MAX_SIDE = 8192
};

zi_request zi_request_default(void)
{
    return (zi_request){.prompt = NULL};
}

/* ---- checking a request ---- */

static bool check_text(const char *what, const char *text, zi_error *error)
{
    if (!zi_utf8_valid(text, strlen(text)))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, what, "is not valid UTF-8 text");
    return true;
}

static bool check_side(const char *what, int side, int most, zi_error *error)
{
    if (side < PIXELS || side > most)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, what,
                            "%d is out of range; %d to %d pixels are possible", side, PIXELS, most);
    if (side % PIXELS == 0) return true;
    int below = side / PIXELS * PIXELS, above = below + PIXELS;
    if (above > most) above = below;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, what,
                        "%d is not a multiple of 16; the nearest that fit are %d and %d", side,
                        below, above);
}

/* Fills in defaults and refuses what cannot be. */
static bool resolve(const zi_model *model, const zi_request *request, zi_request *r,
                    zi_error *error)
{
    *r = *request;
    const zi_transformer_config *c = &model->config.transformer;
    if (!r->prompt || !r->prompt[0])
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt", "is empty");
    if (!r->negative) r->negative = "";
    if (!r->width) r->width = model->config.vae.native_size;
    if (!r->height) r->height = model->config.vae.native_size;
    if (!r->steps) r->steps = DEFAULT_STEPS;
    if (r->shift == 0) r->shift = model->config.scheduler.shift;
    int rows = c->lens[1] * PIXELS, columns = c->lens[2] * PIXELS;
    if (!check_text("prompt", r->prompt, error) || !check_text("negative", r->negative, error) ||
        !check_side("width", r->width, columns < MAX_SIDE ? columns : MAX_SIDE, error) ||
        !check_side("height", r->height, rows < MAX_SIDE ? rows : MAX_SIDE, error))
        return false;
    if (r->steps < 1 || r->steps > MAX_STEPS)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "steps",
                            "%d is out of range; 1 to %d are possible", r->steps, MAX_STEPS);
    if (!(r->shift >= 0.01 && r->shift <= 100))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "shift",
                            "%g is out of range; 0.01 to 100 is possible", r->shift);
    if (!(r->guidance >= 0 && r->guidance <= 100))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "guidance",
                            "%g is out of range; 0 (off) to 100 is possible", r->guidance);
    return true;
}

/* ---- memory of a request ---- */

typedef struct {
    int32_t *ids;
    size_t count;
} tokens;

/* A prompt on its way into the transformer. */
typedef struct {
    tokens tokens;
    float *embeds; /* [tokens, hidden] */
    zi_sequence sequence;
} conditioning;

typedef struct {
    zi_model *model;
    zi_request request;
    zi_ops ops;
    zi_arena arena;
    zi_run run;
    conditioning positive, negative; /* the second only with guidance */
    size_t height, width, size;      /* latents: rows, columns, floats */
    float *sigmas;                   /* [steps + 1] */
    float *latents;                  /* [channels, height, width] */
    float *velocity, *negative_velocity;
    float *history; /* [steps + 1, channels, height, width] when tracing */
    float *image;   /* [3, 8 height, 8 width] */
    float *guess;   /* [channels, height, width] of the latents at the end, for previews */
    uint8_t *seen;  /* [height, width, 3] */
    zi_progress progress;
    double passes, pass; /* network calls of this stage, and those that are done */
} job;

static void plan_conditioning(job *j, conditioning *c)
{
    const zi_model *m = j->model;
    c->embeds = zi_arena_floats(&j->arena, c->tokens.count * (size_t)m->config.text.hidden);
    zi_sequence_plan(&m->transformer, j->height, j->width, c->tokens.count, &j->arena,
                     &c->sequence);
}

/* Takes all memory of the request from the arena; see zi_arena on why this runs twice. */
static void plan(job *j)
{
    const zi_model *m = j->model;
    size_t steps = (size_t)j->request.steps;
    bool guided = j->request.guidance > 0;
    zi_ops_plan(&j->ops, &j->arena, zi_model_limits(&m->config));
    plan_conditioning(j, &j->positive);
    if (guided) plan_conditioning(j, &j->negative);
    j->sigmas = zi_arena_floats(&j->arena, steps + 1);
    j->latents = zi_arena_floats(&j->arena, j->size);
    j->velocity = zi_arena_floats(&j->arena, j->size);
    if (guided) j->negative_velocity = zi_arena_floats(&j->arena, j->size);
    if (j->request.trace_path) j->history = zi_arena_floats(&j->arena, (steps + 1) * j->size);
    if (j->request.preview) j->guess = zi_arena_floats(&j->arena, j->size);
    if (j->request.preview) j->seen = zi_arena_alloc(&j->arena, 3 * j->height, j->width);
    j->image = zi_arena_floats(&j->arena, 3 * 64 * j->height * j->width);
    /* The stages follow each other in the same memory. */
    zi_qwen_plan(&m->text, j->positive.tokens.count, &j->arena);
    zi_transformer_plan(&m->transformer, &j->positive.sequence, &j->arena);
    if (guided) zi_qwen_plan(&m->text, j->negative.tokens.count, &j->arena);
    if (guided) zi_transformer_plan(&m->transformer, &j->negative.sequence, &j->arena);
    zi_vae_plan(&j->ops, &m->vae, j->height, j->width, &j->arena);
}

static bool take_memory(job *j, zi_error *error)
{
    j->arena = zi_arena_measure();
    plan(j);
    if (j->arena.overflow)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "width",
                            "an image of %d x %d is too large for this machine", j->request.width,
                            j->request.height);
    size_t size = j->arena.peak;
    if (!zi_arena_create_fitting(&j->arena, size, j->model->scratch, error)) return false;
    plan(j);
    return true;
}

/* ---- stages ---- */

/* Turns a layer's progress within one network into progress of the stage. */
static bool layer_done(void *user, double fraction)
{
    job *j = user;
    if (!j->request.progress) return true;
    j->progress.fraction = (j->pass + fraction) / j->passes;
    return j->request.progress(j->request.user, &j->progress);
}

static void begin_stage(job *j, zi_stage stage, double passes)
{
    j->progress.stage = stage;
    j->passes = passes;
    j->pass = 0;
}

static bool tokenize(job *j, zi_error *error)
{
    const zi_tokenizer *t = j->model->tokenizer;
    tokens *p = &j->positive.tokens, *n = &j->negative.tokens;
    if (!zi_tokenizer_chat(t, j->request.prompt, TOKENS, &p->ids, &p->count, error)) return false;
    if (j->request.guidance == 0) return true;
    return zi_tokenizer_chat(t, j->request.negative, TOKENS, &n->ids, &n->count, error);
}

/* Text to what the transformer reads: through the encoder and the context refiner. */
static bool encode(job *j, conditioning *c, zi_error *error)
{
    const zi_encodings *known = j->request.encodings;
    size_t count = c->tokens.count * (size_t)j->model->config.text.hidden;
    char key[ZI_ENCODING_KEY];
    if (known) zi_encoding_key(j->model, j->ops.fast, c->tokens.ids, c->tokens.count, key);
    bool found = known && known->find(known->user, key, c->embeds, count);
    bool ok = found || zi_qwen_encode(&j->run, &j->model->text, c->tokens.ids, c->tokens.count,
                                      c->embeds, error);
    if (ok && known && !found) known->keep(known->user, key, c->embeds, count);
    j->pass++;
    ok = ok &&
         zi_transformer_caption(&j->run, &j->model->transformer, c->embeds, &c->sequence, error);
    j->pass++;
    return ok;
}

/* The velocity at the latents, guided when asked for. */
static bool predict(job *j, float sigma, zi_error *error)
{
    const zi_transformer *t = &j->model->transformer;
    float time = zi_model_time(sigma);
    if (!zi_transformer_step(&j->run, t, &j->positive.sequence, j->latents, time, j->velocity,
                             error))
        return false;
    j->pass++;
    if (j->request.guidance == 0) return true;
    if (!zi_transformer_step(&j->run, t, &j->negative.sequence, j->latents, time,
                             j->negative_velocity, error))
        return false;
    j->pass++;
    zi_guide(j->velocity, j->negative_velocity, j->size, (float)j->request.guidance);
    return true;
}

static void remember(job *j, size_t step)
{
    if (j->history) memcpy(j->history + step * j->size, j->latents, j->size * sizeof *j->history);
}

/* Shows where the step that was just done, the one to sigma, is heading. */
static void preview(job *j, int step, float sigma)
{
    if (!j->request.preview) return;
    zi_image image = {j->request.width / 8, j->request.height / 8, j->seen};
    memcpy(j->guess, j->latents, j->size * sizeof *j->guess);
    zi_euler_step(j->guess, j->velocity, j->size, sigma, 0);
    zi_preview_draw(&j->model->preview, j->guess, j->height * j->width, j->seen);
    j->request.preview(j->request.user, step, &image);
}

static bool sample(job *j, zi_error *error)
{
    zi_random random;
    zi_random_seed(&random, j->request.seed);
    zi_random_normal(&random, j->latents, j->size);
    zi_sigmas(j->request.schedule, j->request.steps, j->request.shift, j->sigmas);
    begin_stage(j, ZI_STAGE_STEP, j->request.steps * (j->request.guidance > 0 ? 2.0 : 1.0));
    remember(j, 0);
    for (int i = 0; i < j->request.steps; i++) {
        j->progress.step = i;
        if (!predict(j, j->sigmas[i], error)) return false;
        zi_euler_step(j->latents, j->velocity, j->size, j->sigmas[i], j->sigmas[i + 1]);
        remember(j, (size_t)i + 1);
        preview(j, i + 1, j->sigmas[i + 1]);
    }
    j->progress.step = j->request.steps;
    return true;
}

/* image [3, H, W] in -1..1 to 8 bits, rounded half to even as diffusers does. */
static bool to_pixels(const job *j, zi_image **out, zi_error *error)
{
    size_t pixels = 64 * j->height * j->width;
    zi_image *image = calloc(1, sizeof *image);
    uint8_t *bytes = malloc(3 * pixels);
    if (!image || !bytes) {
        free(image);
        free(bytes);
        return zi_error_no_memory(error, 3 * pixels);
    }
    for (size_t i = 0; i < 3; i++)
        for (size_t p = 0; p < pixels; p++) {
            float value = fminf(fmaxf(j->image[i * pixels + p] * 0.5f + 0.5f, 0.0f), 1.0f);
            bytes[p * 3 + i] = (uint8_t)rintf(value * 255.0f);
        }
    *image = (zi_image){j->request.width, j->request.height, bytes};
    *out = image;
    return true;
}

static bool write_trace(const job *j, zi_error *error)
{
    if (!j->request.trace_path) return true;
    zi_trace trace = {.ids = j->positive.tokens.ids,
                      .id_count = j->positive.tokens.count,
                      .embeds = j->positive.embeds,
                      .embed_width = (size_t)j->model->config.text.hidden,
                      .sigmas = j->sigmas,
                      .latents = j->history,
                      .image = j->image,
                      .steps = (size_t)j->request.steps,
                      .channels = (size_t)j->model->config.transformer.channels,
                      .height = j->height,
                      .width = j->width};
    return zi_trace_write(j->request.trace_path, &trace, error);
}

/* The caption's tokens and the picture must have positions that the model knows. */
static bool check_caption(const job *j, const conditioning *c, zi_error *error)
{
    size_t known = (size_t)j->model->config.transformer.lens[0];
    size_t used = (c->tokens.count + 31) / 32 * 32 + 2;
    if (used <= known) return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                        "its %zu tokens are more than this model takes; shorten it",
                        c->tokens.count);
}

static bool generate(job *j, zi_image **out, zi_error *error)
{
    bool guided = j->request.guidance > 0;
    if (j->request.trace_path && !zi_output_probe(j->request.trace_path, error)) return false;
    if (!tokenize(j, error) || !check_caption(j, &j->positive, error) ||
        !check_caption(j, &j->negative, error) || !take_memory(j, error))
        return false;
    j->run = (zi_run){.ops = &j->ops, .arena = &j->arena, .layer_done = layer_done, .user = j};
    begin_stage(j, ZI_STAGE_ENCODE, guided ? 4 : 2);
    if (!encode(j, &j->positive, error)) return false;
    if (guided && !encode(j, &j->negative, error)) return false;
    if (j->request.preview && !zi_preview_fit(&j->model->preview, &j->run, &j->model->vae,
                                              zi_model_limits(&j->model->config), error))
        return false;
    if (!sample(j, error)) return false;
    begin_stage(j, ZI_STAGE_DECODE, 1);
    if (!zi_vae_decode(&j->run, &j->model->vae, j->latents, j->height, j->width, j->image, error))
        return false;
    if (j->request.preview)
        zi_preview_learn(&j->model->preview, j->latents, j->image, j->height, j->width);
    return write_trace(j, error) && to_pixels(j, out, error);
}

bool zi_generate(zi_model *model, const zi_request *request, zi_image **out, zi_error *error)
{
    job j = {.model = model};
    if (!resolve(model, request, &j.request, error)) return false;
    j.height = (size_t)j.request.height / 8;
    j.width = (size_t)j.request.width / 8;
    j.size = (size_t)model->config.transformer.channels * j.height * j.width;
    j.ops = (zi_ops){.kernels = model->kernels,
                     .pool = model->pool,
                     .fast = request->compute != ZI_COMPUTE_EXACT};
    j.progress.steps = j.request.steps;
    bool ok = generate(&j, out, error);
    zi_arena_free(&j.arena);
    free(j.positive.tokens.ids);
    free(j.negative.tokens.ids);
    return ok;
}

char *zi_recipe(const zi_model *model, const zi_request *request)
{
    zi_request r;
    if (!resolve(model, request, &r, NULL)) return NULL;
    zi_recipe_fields fields = {.prompt = r.prompt,
                               .original = r.original,
                               .negative = r.negative,
                               .model = model->name,
                               .schedule = r.schedule == ZI_SCHEDULE_MLX ? "mlx" : "diffusers",
                               .steps = r.steps,
                               .width = r.width,
                               .height = r.height,
                               .seed = r.seed,
                               .cfg = 1 + r.guidance, /* A1111's scale, see docs */
                               .shift = r.shift};
    return zi_recipe_format(&fields);
}

bool zi_tokenize(const zi_model_options *options, const char *text, bool chat, int32_t **ids,
                 size_t *count, zi_error *error)
{
    zi_tokenizer *tokenizer = NULL;
    if (!check_text("text", text, error) || !zi_assembly_tokenizer(options, &tokenizer, error))
        return false;
    bool ok = chat ? zi_tokenizer_chat(tokenizer, text, TOKENS, ids, count, error)
                   : zi_tokenizer_encode(tokenizer, text, strlen(text), ids, count, error);
    zi_tokenizer_free(tokenizer);
    return ok;
}
