/* zi_generate: from a prompt to an image. */
#include "generation_job.h"
#include "base/file.h"
#include "base/text.h"
#include "io/infotext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIXELS = 16 /* per token and side: 8 per latent, 2 latents per patch */ };

zi_request zi_request_default(void)
{
    return (zi_request){.prompt = NULL};
}

/* ---- checking a request ---- */

/* Checks an image side in pixels against the range and multiple of its parameter, `name`, and
 * against the model's rope positions along it, one for each 16 pixels. False:
 * ZI_ERROR_INVALID_ARGUMENT with the subject `name`. */
static bool check_side(const char *name, int side, int positions, zi_error *error)
{
    const zi_parameter *p = zi_parameter_find(name);
    double max = zi_parameter_max(p, false), known = (double)positions * PIXELS;
    return zi_parameter_check(p, side, known < max ? known : max, error);
}

/* The most tokens of a prompt: padded to a multiple of 32, they and the image's place behind them
 * must be in the table of rope positions. */
static size_t max_caption(const zi_config *c)
{
    return c->transformer.lens[0] < 2 ? 0 : ((size_t)c->transformer.lens[0] - 2) / 32 * 32;
}

/* Checks a limit of tokens (0 passes) against its parameter's range and the model's positions.
 * False: ZI_ERROR_INVALID_ARGUMENT with the subject "max_tokens". */
static bool check_max_tokens(const zi_config *c, int max_tokens, zi_error *error)
{
    const zi_parameter *p = zi_parameter_find("max_tokens");
    double max = fmin(zi_parameter_max(p, false), (double)max_caption(c));
    return !max_tokens || zi_parameter_check(p, max_tokens, max, error);
}

/* Fills in the fields of the request whose defaults depend on the model, except width and height,
 * which must be set. */
static void fill_model_defaults(const zi_model *model, zi_request *r)
{
    const zi_scheduler_config *scheduler = &model->config.scheduler;
    int steps, tokens = (int)((double)r->width / PIXELS * (r->height / PIXELS));
    double guidance;
    zi_variant_defaults(model->config.variant, &steps, &guidance);
    if (!r->steps) r->steps = steps;
    if (r->guidance == 0 && !r->guidance_given) r->guidance = guidance;
    if (r->shift == 0) r->shift = zi_scheduler_shift(scheduler, tokens);
    if (r->schedule == ZI_SCHEDULE_AUTO) r->schedule = scheduler->schedule;
    if (r->sampler == ZI_SAMPLER_AUTO) r->sampler = scheduler->sampler;
    r->guidance_given = true;
}

/* Fails with ZI_ERROR_BAD_FORMAT, with the subject "shift", if the shift that the model's config
 * gives a resolved request is out of range; a fixed one was checked when the config was read. */
static bool check_model_shift(const zi_model *model, const zi_request *r, zi_error *error)
{
    const zi_parameter *p = zi_parameter_find("shift");
    if (r->shift >= p->min && r->shift <= p->max) return true;
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, model->name, "shift",
                           "\"base_shift\" and \"max_shift\" in the scheduler_config.json that it "
                           "uses give an image of %d x %d pixels the shift %g, which must be from "
                           "%g to %g; correct them, or give a shift",
                           r->width, r->height, r->shift, p->min, p->max);
}

bool zi_request_resolve(const zi_model *model, const zi_request *request, zi_request *out,
                        zi_error *error)
{
    if (!ZI_CHECK_RESERVED(request, error)) return false;
    zi_generation generation = {.request = *request};
    zi_request *r = &generation.request;
    const zi_config *c = &model->config;
    if (!r->prompt)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt", "is missing; give a text");
    if (!r->negative) r->negative = "";
    if (!r->width) r->width = c->vae.native_size;
    if (!r->height) r->height = c->vae.native_size;
    if (!check_max_tokens(c, r->max_tokens, error)) return false;
    zi_generation_fill_defaults(&generation);
    if (!check_side("width", r->width, c->transformer.lens[2], error) ||
        !check_side("height", r->height, c->transformer.lens[1], error))
        return false;
    fill_model_defaults(model, r);
    if (request->shift == 0 && !check_model_shift(model, r, error)) return false;
    if (!zi_generation_check(&generation, false, error)) return false;
    *out = *r;
    return true;
}

/* ---- a request ---- */

/* Takes the embeddings and the sequence's tables of a tokenized prompt (c->count tokens) from the
 * arena, which may be measuring, and stores them in *c. */
static void plan_conditioning(zi_generation_job *j, zi_conditioning *c, zi_arena *arena)
{
    const zi_model *m = j->model;
    c->embeds = zi_arena_floats(arena, c->count, (size_t)m->config.text.hidden);
    zi_sequence_reserve(&m->transformer, j->height, j->width, c->count, arena, &c->sequence);
}

/* Takes views for the whole request from the arena and stores them in the job `user`, then reserves
 * the stages' temporary memory, which they share. Called twice: first with a measuring arena. */
static void plan_memory(void *user, const zi_exec *exec, zi_arena *arena)
{
    zi_generation_job *j = user;
    const zi_model *m = j->model;
    size_t channels = (size_t)m->config.transformer.channels, pixels = j->height * j->width;
    bool guided = j->request.guidance > 0;
    plan_conditioning(j, &j->positive, arena);
    if (guided) plan_conditioning(j, &j->negative, arena);
    j->latents = zi_arena_floats(arena, channels, pixels);
    j->velocity = zi_arena_floats(arena, channels, pixels);
    if (guided) j->negative_velocity = zi_arena_floats(arena, channels, pixels);
    if (j->request.sampler == ZI_SAMPLER_HEUN)
        j->first_velocity = zi_arena_floats(arena, channels, pixels);
    if (j->request.sampler == ZI_SAMPLER_LCM) j->noise = zi_arena_floats(arena, channels, pixels);
    if (j->request.preview) j->denoised = zi_arena_floats(arena, channels, pixels);
    j->image = zi_arena_floats(arena, 3, 64 * pixels);
    zi_qwen_reserve(&m->text, j->positive.count, arena);
    zi_transformer_reserve(&m->transformer, &j->positive.sequence, arena);
    if (guided) zi_qwen_reserve(&m->text, j->negative.count, arena);
    if (guided) zi_transformer_reserve(&m->transformer, &j->negative.sequence, arena);
    zi_vae_reserve(exec, &m->vae, j->height, j->width, arena);
}

/* Allocates the job's host memory and opens its session; the prompts are tokenized by then. The
 * caller calls free_memory, after a failure, too. */
static bool allocate_memory(zi_generation_job *j, zi_error *error)
{
    const zi_request *r = &j->request;
    const zi_model *m = j->model;
    size_t steps = (size_t)r->steps + 1;
    j->sigmas = malloc(steps * sizeof *j->sigmas);
    j->values = malloc(j->size * sizeof *j->values);
    if (r->trace_path) j->history = malloc(steps * j->size * sizeof *j->history);
    if (r->preview) j->preview_rgb = malloc(3 * j->height * j->width);
    if (!j->sigmas || !j->values || (r->trace_path && !j->history) ||
        (r->preview && !j->preview_rgb))
        return zi_error_no_memory(error, steps * j->size * sizeof *j->values);
    return zi_session_open(m->engine, r->compute != ZI_COMPUTE_EXACT,
                           zi_model_limits(&m->text, &m->transformer, &m->vae), plan_memory, j,
                           &j->session, error);
}

/* Closes the session and frees the host memory and the token ids of the job (not NULL); members
 * that are not set yet are allowed. To be called once. */
static void free_memory(zi_generation_job *j)
{
    zi_session_close(&j->session);
    free(j->sigmas);
    free(j->values);
    free(j->history);
    free(j->preview_rgb);
    free(j->positive.ids);
    free(j->negative.ids);
}

/* ---- stages ---- */

/* zi_run.layer_done; user: the job. Reports progress within one network call as progress of the
 * whole stage to the caller's callback. False: it cancels. True if there is none. */
static bool layer_done(void *user, double fraction)
{
    zi_generation_job *j = user;
    if (!j->request.progress) return true;
    j->progress.fraction = (j->passes_done + fraction) / j->pass_count;
    return j->request.progress(j->request.user, &j->progress);
}

void zi_generation_begin_stage(zi_generation_job *j, zi_stage stage, double pass_count)
{
    j->progress.stage = stage;
    j->pass_count = pass_count;
    j->passes_done = 0;
}

/* Sets c->ids and count to the tokens of a prompt in the chat format, cut to max_tokens. The ids
 * are freed with the job. False: *c is unchanged, and *error is set, with `field` as the subject if
 * the text is what is wrong. */
static bool tokenize_field(const zi_generation_job *j, const char *field, const char *text,
                           zi_conditioning *c, zi_error *error)
{
    zi_error why = {0};
    if (zi_tokenizer_encode_chat(j->model->tokenizer, text, (size_t)j->request.max_tokens, &c->ids,
                                 &c->count, &why))
        return true;
    if (!strcmp(why.subject, "text"))
        zi_error_set(&why, why.code, field, "%s", why.text + why.message);
    if (error) *error = why;
    return false;
}

/* Tokenizes the prompt, and the negative prompt (not NULL) if guidance is not 0, into the job; each
 * is cut to the request's max_tokens. False: *error is set; what was tokenized is freed with the
 * job. */
static bool tokenize_prompts(zi_generation_job *j, zi_error *error)
{
    const zi_request *r = &j->request;
    return tokenize_field(j, "prompt", r->prompt, &j->positive, error) &&
           (r->guidance == 0 || tokenize_field(j, "negative", r->negative, &j->negative, error));
}

/* Sets c->embeds to the text encoder's output: from the embedding cache, or else computed, with
 * progress.cached set to false, and added to the cache. False, with *error set: cancelled, out of
 * memory, or values that are not finite; nothing is cached then. */
static bool embed_prompt(zi_generation_job *j, zi_conditioning *c, zi_error *error)
{
    zi_exec *exec = j->session.exec;
    zi_embedding_cache *cache = j->model->engine->embeddings;
    size_t count = c->embeds.rows * c->embeds.columns;
    char key[ZI_EMBEDDING_KEY];
    float *values = malloc(count * sizeof *values);
    if (!values) return zi_error_no_memory(error, count * sizeof *values);
    zi_embedding_key(j->model, exec->fast, c->ids, c->count, key);
    bool found = zi_embedding_cache_find(cache, key, values, count);
    if (found) zi_write(exec, c->embeds, values);
    j->progress.cached = j->progress.cached && found;
    bool ok = found || (zi_qwen_encode(&j->session.run, &j->model->text, c->ids, c->count,
                                       c->embeds, error) &&
                        zi_read(exec, c->embeds, values, error));
    if (ok && !found) zi_embedding_cache_add(cache, key, values, count);
    free(values);
    return ok;
}

/* Sets c->embeds by the text encoder or the cache, and the sequence of c by the context refiner.
 * Counts two network calls as done, also if the cache spared one. False, with *error set: cancelled
 * or failed. */
static bool encode_prompt(zi_generation_job *j, zi_conditioning *c, zi_error *error)
{
    if (!embed_prompt(j, c, error)) return false;
    j->passes_done++;
    bool ok = zi_transformer_caption(&j->session.run, &j->model->transformer, c->embeds,
                                     &c->sequence, error);
    j->passes_done++;
    return ok;
}

/* ---- the result ---- */

/* Converts values [3, H, W] in -1..1 (clipped) to a new 8-bit image, rounded half to even as in
 * diffusers. The caller calls zi_image_free. False, with *error set: out of memory; *out is
 * unchanged. */
static bool quantize_pixels(const zi_generation_job *j, const float *values, zi_image **out,
                            zi_error *error)
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
            float value = fminf(fmaxf(values[i * pixels + p] * 0.5f + 0.5f, 0.0f), 1.0f);
            bytes[p * 3 + i] = (uint8_t)rintf(value * 255.0f);
        }
    *image = (zi_image){j->request.width, j->request.height, bytes};
    *out = image;
    return true;
}

/* Writes the trace file, if request.trace_path is set; else it does nothing and returns true. image
 * [3, H, W] is the decoder's output, not clipped; all else is the job's. False: *error is set. */
static bool write_trace(const zi_generation_job *j, const float *image, zi_error *error)
{
    zi_fetched_values embeds;
    if (!j->request.trace_path) return true;
    if (!zi_fetch_values(j->session.exec, j->positive.embeds, &embeds, error)) return false;
    zi_trace trace = {.ids = j->positive.ids,
                      .id_count = j->positive.count,
                      .embeds = embeds.values,
                      .embed_width = j->positive.embeds.columns,
                      .sigmas = j->sigmas,
                      .latents = j->history,
                      .image = image,
                      .steps = (size_t)j->request.steps,
                      .channels = j->latents.rows,
                      .height = j->height,
                      .width = j->width};
    bool ok = zi_trace_write(j->request.trace_path, &trace, error);
    zi_fetched_values_free(&embeds);
    return ok;
}

/* Refines the model's preview map, which is fitted then, with the final latents and the decoded
 * image [3, H, W], if previews are on. Overwrites j->values; locks the model's mutex. False, with
 * *error set: an earlier operation failed. */
static bool update_preview(zi_generation_job *j, const float *image, zi_error *error)
{
    zi_model *m = j->model;
    if (!j->request.preview) return true;
    if (!zi_read(j->session.exec, j->latents, j->values, error)) return false;
    pthread_mutex_lock(&m->mutex);
    zi_preview_learn(&m->preview, j->values, image, j->height, j->width);
    pthread_mutex_unlock(&m->mutex);
    return true;
}

/* Reads the decoded image, refines the preview map, writes the trace, and sets *out to a new 8-bit
 * image, which the caller frees. False, with *error set and *out unchanged: one of these failed. */
static bool read_result(zi_generation_job *j, zi_image **out, zi_error *error)
{
    zi_fetched_values image;
    if (!zi_fetch_values(j->session.exec, j->image, &image, error)) return false;
    bool ok = update_preview(j, image.values, error) && write_trace(j, image.values, error) &&
              quantize_pixels(j, image.values, out, error);
    zi_fetched_values_free(&image);
    return ok;
}

/* ---- the whole request ---- */

/* Fails with ZI_ERROR_INVALID_ARGUMENT, with `field` as the subject, if the model has too few rope
 * positions for all of the caption's tokens, padded to a multiple of 32, and the image. */
static bool check_caption(const zi_generation_job *j, const char *field, const zi_conditioning *c,
                          zi_error *error)
{
    size_t max = max_caption(&j->model->config);
    if (c->count <= max) return true;
    return zi_error_set(
        error, ZI_ERROR_INVALID_ARGUMENT, field,
        "has %zu tokens (words and parts of words), and this model takes at most %zu; shorten it",
        c->count, max);
}

/* Whether the model's preview map is fitted; locks the model's mutex meanwhile. */
static bool has_preview(zi_model *m)
{
    pthread_mutex_lock(&m->mutex);
    bool has = m->preview.channels > 0;
    pthread_mutex_unlock(&m->mutex);
    return has;
}

/* Fits the model's preview map, in a session of its own. When several threads do so at once, the
 * first result is kept, and all return true; they do not wait for each other, since callers'
 * callbacks run meanwhile. False, with *error set: cancelled or failed. */
static bool fit_preview(zi_generation_job *j, zi_error *error)
{
    zi_model *m = j->model;
    zi_preview fitted;
    if (!zi_preview_fit(m->engine, &m->vae, zi_model_limits(&m->text, &m->transformer, &m->vae),
                        &j->session.run, &fitted, error))
        return false;
    pthread_mutex_lock(&m->mutex);
    if (!m->preview.channels) {
        m->preview = fitted;
        fitted = (zi_preview){0};
    }
    pthread_mutex_unlock(&m->mutex);
    zi_preview_free(&fitted);
    return true;
}

/* Runs a checked request, from tokenizing the prompts to the image *out, which the caller frees.
 * Checks first that the trace file can be written, without touching it. False, with *error set:
 * *out is unchanged. The caller calls free_memory in either case. */
static bool run_generation(zi_generation_job *j, zi_image **out, zi_error *error)
{
    bool guided = j->request.guidance > 0;
    bool needs_preview_fit = j->request.preview && !has_preview(j->model);
    if (j->request.trace_path && !zi_output_check_writable(j->request.trace_path, error))
        return false;
    if (!tokenize_prompts(j, error) || !check_caption(j, "prompt", &j->positive, error) ||
        !check_caption(j, "negative", &j->negative, error) || !allocate_memory(j, error))
        return false;
    j->session.run.layer_done = layer_done;
    j->session.run.user = j;
    j->progress.cached = true;
    zi_generation_begin_stage(j, ZI_STAGE_ENCODE, (guided ? 4 : 2) + (needs_preview_fit ? 1 : 0));
    if (!encode_prompt(j, &j->positive, error)) return false;
    if (guided && !encode_prompt(j, &j->negative, error)) return false;
    zi_weights_set_idle(&j->model->text.weights);
    if ((needs_preview_fit && !fit_preview(j, error)) || !zi_generation_denoise(j, error))
        return false;
    zi_generation_begin_stage(j, ZI_STAGE_DECODE, 1);
    return zi_vae_decode(&j->session.run, &j->model->vae, j->latents, j->height, j->width, j->image,
                         error) &&
           read_result(j, out, error);
}

/* Runs a resolved request. Sets *halves to whether its session computed with f16 (false if it was
 * not opened). False, with *error set: *out is unchanged. */
static bool generate_once(zi_model *model, const zi_request *request, bool *halves, zi_image **out,
                          zi_error *error)
{
    zi_generation_job j = {.model = model, .request = *request};
    j.height = (size_t)request->height / 8;
    j.width = (size_t)request->width / 8;
    j.size = (size_t)model->config.transformer.channels * j.height * j.width;
    j.progress.steps = request->steps;
    bool ok = run_generation(&j, out, error);
    *halves = j.session.exec && j.session.exec->halves;
    free_memory(&j);
    return ok;
}

/* Tells the user, if the engine's options have a function for that, what is computed again in f32,
 * and why. */
static void remark_f32(const zi_engine *engine, const zi_error *error)
{
    char text[sizeof error->text + 128];
    if (!engine->options.remark) return;
    snprintf(
        text, sizeof text,
        "%s: the results are not finite numbers (NaN or infinity); the image is computed again "
        "in f32",
        error->subject);
    engine->options.remark(engine->options.user, text);
}

bool zi_generate(zi_model *model, const zi_request *request, zi_image **out, zi_error *error)
{
    zi_request r;
    zi_error why = {0};
    bool halves;
    if (!zi_request_resolve(model, request, &r, error)) return false;
    bool ok = generate_once(model, &r, &halves, out, &why);
    if (!ok && halves && zi_error_is_not_finite(&why)) {
        remark_f32(model->engine, &why);
        r.compute = ZI_COMPUTE_EXACT;
        why = (zi_error){0};
        ok = generate_once(model, &r, &halves, out, &why);
    }
    if (!ok && error) *error = why;
    return ok;
}

/* The name without a tensor file's extension, in new memory, as A1111 writes it. NULL: memory is
 * short. */
static char *name_stem(const char *name)
{
    const char *extension = zi_weights_extension(name);
    return extension ? strndup(name, (size_t)(extension - name)) : strdup(name);
}

char *zi_infotext_create(const zi_model *model, const zi_request *request)
{
    zi_request r;
    if (!zi_request_resolve(model, request, &r, NULL)) return NULL;
    char *stem = name_stem(model->name);
    if (!stem) return NULL;
    zi_infotext_fields fields = {.prompt = r.prompt,
                                 .original = r.original,
                                 .negative = r.negative,
                                 .model = stem,
                                 .model_hash = r.model_hash,
                                 .schedule = zi_parameter_find("schedule")->choices[r.schedule],
                                 .sampler = zi_parameter_find("sampler")->choices[r.sampler],
                                 .steps = r.steps,
                                 .width = r.width,
                                 .height = r.height,
                                 .max_tokens = r.max_tokens == ZI_PROMPT_TOKENS ? 0 : r.max_tokens,
                                 .seed = r.seed,
                                 .cfg = 1 + r.guidance, /* A1111's scale, see docs */
                                 .shift = r.shift};
    if (r.guidance > 0) fields.cfg_normalization = r.cfg_normalization;
    if (r.guidance > 0 && r.cfg_truncation < 1) fields.cfg_truncation = r.cfg_truncation;
    char *infotext = zi_infotext_format(&fields);
    free(stem);
    return infotext;
}
