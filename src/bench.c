/* zi_bench: times the stages at real shapes with random weights. */
#include "zimage_bench.h"
#include "internal.h"
#include "base/machine.h"
#include "base/random.h"
#include "base/text.h"

#include <stdlib.h>

enum { TOKENS = 64 };

typedef struct {
    zi_config config;
    zi_qwen text;
    zi_transformer transformer;
    zi_vae vae;
    zi_engine *engine;
    zi_session session;
    bool fast;
    size_t height, width; /* latents */
    int32_t ids[TOKENS];
    zi_view embeds, latents, velocity, image;
    zi_sequence sequence;
    double start, peak; /* of the running span: its start time, and the f32 peak before it */
    zi_bench_result result;
} bench;

/* How weights are stored, by the precision names of zi_convert and the names of formats. */
typedef struct {
    const char *name;
    zi_dtype type;           /* of unquantized weights */
    bool quantized;          /* the transformer's matrices are quantized as `format` says */
    zi_random_format format; /* its scales of integer codes are biases, too */
} precision;

static const precision precisions[] = {
    {"bf16", ZI_BF16, false, {0}},
    {"fp16", ZI_F16, false, {0}},
    {"fp32", ZI_F32, false, {0}},
    {"original", ZI_F32, false, {0}}, /* as published */
    {"fp8", ZI_BF16, true, {.bits = 8, .group = 64, .scale_type = ZI_BF16}},
    {"q8", ZI_BF16, true, {.bits = 8, .group = 64, .scale_type = ZI_BF16}},
    {"q2", ZI_BF16, true, {.bits = 2, .group = 64, .scale_type = ZI_BF16}},
    {"q3", ZI_BF16, true, {.bits = 3, .group = 64, .scale_type = ZI_BF16}},
    {"q4", ZI_BF16, true, {.bits = 4, .group = 64, .scale_type = ZI_BF16}},
    {"q5", ZI_BF16, true, {.bits = 5, .group = 64, .scale_type = ZI_BF16}},
    {"q6", ZI_BF16, true, {.bits = 6, .group = 64, .scale_type = ZI_BF16}},
    {"mxfp4",
     ZI_BF16,
     true,
     {.codes = ZI_CODES_E2M1, .bits = 4, .group = 32, .scale_type = ZI_F8_E8M0}},
    {"mxfp8",
     ZI_BF16,
     true,
     {.codes = ZI_CODES_E4M3, .bits = 8, .group = 32, .scale_type = ZI_F8_E8M0, .swizzled = true}},
    {"nvfp4",
     ZI_BF16,
     true,
     {.codes = ZI_CODES_E2M1_HIGH,
      .bits = 4,
      .group = 16,
      .scale_type = ZI_F8_E4M3,
      .swizzled = true}},
    {"int8", ZI_BF16, true, {.scale_type = ZI_F32}},
    {"convrot", ZI_BF16, true, {.scale_type = ZI_F32, .rotation = 256}},
    {"iq4_nl", ZI_BF16, true, {.blocks = ZI_IQ4_NL}},
    {"iq4_xs", ZI_BF16, true, {.blocks = ZI_IQ4_XS}},
};

/* Returns the constant row of that name; name NULL: the first row, bf16. NULL: the name is unknown;
 * *error is set (ZI_ERROR_INVALID_ARGUMENT, the subject "weights"). */
static const precision *find_precision(const char *name, zi_error *error)
{
    const size_t count = sizeof precisions / sizeof *precisions;
    for (size_t i = 0; i < count; i++)
        if (!name || strcmp(name, precisions[i].name) == 0) return &precisions[i];
    zi_text names;
    zi_text_init(&names, 1 << 10);
    for (size_t i = 0; i < count; i++)
        zi_text_printf(&names, "%s%s", !i ? "" : i + 1 < count ? ", " : " or ", precisions[i].name);
    zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "weights", "\"%s\" is unknown; choose %s", name,
                 names.data ? names.data : "");
    zi_text_free(&names);
    return NULL;
}

/* Creates text encoder, transformer and VAE of b->config with random weights of type p->type; the
 * transformer's matrices are quantized if p says so. After a failure, which sets *error, the caller
 * frees the three models, too. */
static bool create_random_models(bench *b, const precision *p, zi_error *error)
{
    const zi_config *c = &b->config;
    size_t text = (size_t)c->text.vocab * (size_t)c->text.hidden;
    size_t block = (size_t)c->transformer.dim * (size_t)c->transformer.ffn;
    size_t wide = (size_t)c->vae.channels[c->vae.blocks - 1];
    zi_backend *backend = b->engine->backend;
    zi_weights weights;
    return zi_weights_random(p->type, NULL, text, backend, &weights, error) &&
           zi_qwen_bind(&weights, &c->text, &b->text, error) &&
           zi_weights_random(p->type, p->quantized ? &p->format : NULL, block, backend, &weights,
                             error) &&
           zi_transformer_bind(&weights, &c->transformer, &b->transformer, error) &&
           zi_weights_random(p->type, NULL, wide * wide * 9, backend, &weights, error) &&
           zi_vae_bind(&weights, &c->vae, &b->vae, error);
}

/* Takes the views of all stages from the arena and stores them in the bench `user`. It is called
 * twice: first with a measuring arena. */
static void plan_memory(void *user, const zi_exec *exec, zi_arena *arena)
{
    bench *b = user;
    size_t channels = (size_t)b->config.vae.latent, pixels = b->height * b->width;
    b->embeds = zi_arena_floats(arena, TOKENS, (size_t)b->config.text.hidden);
    b->latents = zi_arena_floats(arena, channels, pixels);
    b->velocity = zi_arena_floats(arena, channels, pixels);
    b->image = zi_arena_floats(arena, 3, 64 * pixels);
    zi_sequence_reserve(&b->transformer, b->height, b->width, TOKENS, arena, &b->sequence);
    zi_qwen_reserve(&b->text, TOKENS, arena);
    zi_transformer_reserve(&b->transformer, &b->sequence, arena);
    zi_vae_reserve(exec, &b->vae, b->height, b->width, arena);
}

/* ---- operations of each stage ---- */

/* Operations, two per multiply-add, of q k^T and of its product with v (not causal), for `tokens`
 * tokens and all heads together `width` wide. */
static double attention_flop(double tokens, double width)
{
    return 4 * tokens * tokens * width;
}

/* Operations, two per multiply-add, of one transformer block for this many tokens: attention and
 * the products with its matrices, but for the modulation's. */
static double block_flop(const zi_transformer_config *c, double tokens)
{
    double dim = c->dim, matrices = 4 * dim * dim + 3 * dim * c->ffn;
    return 2 * tokens * matrices + attention_flop(tokens, dim);
}

/* Operations, two per multiply-add, of the text encoder on TOKENS tokens, without its last layer
 * and with attention counted as not causal, and of the context refiner on the padded caption. */
static double encode_flop(const zi_config *config, const zi_sequence *s)
{
    const zi_qwen_config *c = &config->text;
    double q = (double)c->heads * c->head_dim, kv = (double)c->kv_heads * c->head_dim;
    double matrices = c->hidden * (2 * q + 2 * kv + 3.0 * c->ffn);
    return (c->layers - 1) * (2 * TOKENS * matrices + attention_flop(TOKENS, q)) +
           config->transformer.refiners *
               block_flop(&config->transformer, (double)s->caption_padded);
}

/* Operations, two per multiply-add, of one transformer evaluation: the noise refiner's blocks over
 * the image's tokens, then the layers over all tokens, padding included. Embeddings and the final
 * layer are not counted. */
static double step_flop(const zi_transformer_config *c, const zi_sequence *s)
{
    return c->refiners * block_flop(c, (double)s->image_padded) +
           c->layers * block_flop(c, (double)s->tokens);
}

/* Operations, two per multiply-add, of a residual block: two 3x3 convolutions, and a 1x1 shortcut
 * if `in` and `out` (channels) differ. Norms are not counted. */
static double resnet_flop(double pixels, double in, double out)
{
    return 2 * pixels * (9 * in * out + 9 * out * out + (in != out ? in * out : 0));
}

/* Operations, two per multiply-add, of the VAE decoder: convolutions and the middle block's
 * attention. pixels: number of latent pixels, a 64th of the image's. */
static double decode_flop(const zi_vae_config *c, double pixels)
{
    double in = c->channels[c->blocks - 1];
    double flop = 2 * pixels * 9 * c->latent * in + 2 * resnet_flop(pixels, in, in) +
                  8 * pixels * in * in + attention_flop(pixels, in);
    for (int i = 0; i < c->blocks; i++) {
        double out = c->channels[c->blocks - 1 - i];
        flop += resnet_flop(pixels, in, out) + c->layers_per_block * resnet_flop(pixels, out, out);
        in = out;
        if (i + 1 == c->blocks) break;
        pixels *= 4;
        flop += 2 * pixels * 9 * out * out;
    }
    return flop + 2 * pixels * 9 * in * 3;
}

/* ---- running ---- */

/* Measures a peak of the backend, as its operation `peak` does, and raises *max to it. */
static double measure_peak(bench *b, bool fast, double *max)
{
    double rate = b->engine->backend->ops->peak(b->engine->backend, fast);
    if (rate > *max) *max = rate;
    return rate;
}

/* A timed interval: its wall time, and the operations possible in it at the f32 peak measured
 * before and after it. The peak varies with clock frequency and the load of other processes. */
typedef struct {
    double seconds, peak_operations;
} span;

/* Waits for the operations so far. Returns the span from b->start to now; its peak is the mean of
 * the f32 peaks, in operations per second, before and after it. Measures the latter (40 ms on all
 * threads, in no span), and raises peak_f32 of the result to it. Then begins the next span: sets
 * b->start and b->peak. What went wrong is left for the stage's next operation to report. */
static span end_span(bench *b)
{
    bool waited = zi_wait(b->session.exec, NULL);
    span s = {.seconds = waited ? zi_monotonic_seconds() - b->start : 0};
    double peak = measure_peak(b, false, &b->result.peak_f32);
    s.peak_operations = s.seconds * (b->peak + peak) / 2;
    b->peak = peak;
    b->start = zi_monotonic_seconds();
    return s;
}

/* Spans of one repetition. */
typedef struct {
    bench *bench;
    span encode, step, decode;
    span blocks[64]; /* of a step: refiners, then layers */
    int count;
} repetition;

/* Adds part's seconds, and the operations that were possible in it at the peak, to *total. */
static void add_span(span *total, span part)
{
    total->seconds += part.seconds;
    total->peak_operations += part.peak_operations;
}

/* zi_run.layer_done of a step; user: the repetition, which has room for 64 blocks. Ends the span of
 * a block, appends it to blocks and adds it to step. Always returns true, to continue. */
static bool record_block(void *user, double fraction)
{
    (void)fraction;
    repetition *l = user;
    span s = l->blocks[l->count++] = end_span(l->bench);
    add_span(&l->step, s);
    return true;
}

/* Runs encoding, one transformer step and decoding once and fills in the spans of *l, which is zero
 * but for l->bench. Raises peak_f32 and peak_integer of the result. False, with *error set: a stage
 * failed. */
static bool run_repetition(bench *b, repetition *l, zi_error *error)
{
    zi_run run = b->session.run;
    for (int i = 0; i < TOKENS; i++) b->ids[i] = i;
    measure_peak(b, true, &b->result.peak_integer);
    end_span(b);
    if (!zi_qwen_encode(&run, &b->text, b->ids, TOKENS, b->embeds, error) ||
        !zi_transformer_caption(&run, &b->transformer, b->embeds, &b->sequence, error))
        return false;
    l->encode = end_span(b);
    run.layer_done = record_block;
    run.user = l;
    if (!zi_transformer_step(&run, &b->transformer, &b->sequence, b->latents, 0.5f, b->velocity,
                             error))
        return false;
    add_span(&l->step, end_span(b)); /* the final layer */
    run.layer_done = NULL;
    if (!zi_vae_decode(&run, &b->vae, b->latents, b->height, b->width, b->image, error))
        return false;
    l->decode = end_span(b);
    measure_peak(b, true, &b->result.peak_integer);
    return zi_wait(b->session.exec, error);
}

/* For qsort: ascending. */
static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double zi_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Returns the medians of seconds and of peak share (1: the f32 peak) of `count` spans (1 to 1000),
 * `stride` bytes apart, of `flop` operations each. */
static zi_bench_stage median_stage(const span *first, size_t stride, size_t count, double flop)
{
    double seconds[1000], peak_shares[1000];
    for (size_t i = 0; i < count; i++) {
        const span *s = (const span *)(const void *)((const char *)first + i * stride);
        seconds[i] = s->seconds;
        peak_shares[i] = flop / s->peak_operations;
    }
    return (zi_bench_stage){zi_median(seconds, count), flop, zi_median(peak_shares, count)};
}

/* Returns the medians of seconds and peak share over the layers' blocks of one repetition, without
 * the refiners' blocks. */
static zi_bench_stage repetition_block(const bench *b, const repetition *l)
{
    const zi_transformer_config *c = &b->config.transformer;
    return median_stage(l->blocks + c->refiners, sizeof *l->blocks,
                        (size_t)(l->count - c->refiners),
                        block_flop(c, (double)b->sequence.tokens));
}

/* Returns the medians over `count` (1 to 1000) repetitions of each repetition's median block. */
static zi_bench_stage median_block(const bench *b, const repetition *repetitions, size_t count)
{
    double seconds[1000], peak_shares[1000];
    zi_bench_stage stage = {0};
    for (size_t i = 0; i < count; i++) {
        stage = repetition_block(b, &repetitions[i]);
        seconds[i] = stage.seconds;
        peak_shares[i] = stage.share;
    }
    return (zi_bench_stage){zi_median(seconds, count), stage.flop, zi_median(peak_shares, count)};
}

/* Runs `repeat` repetitions (1 to 1000) and sets encode, step, block and decode of b->result to
 * medians over them. False, with *error set: memory is short, or a stage failed; of b->result only
 * the peaks have changed. */
static bool time_stages(bench *b, size_t repeat, zi_error *error)
{
    const zi_transformer_config *c = &b->config.transformer;
    zi_bench_result *r = &b->result;
    repetition *repetitions = calloc(repeat, sizeof *repetitions);
    bool ok = repetitions || zi_error_no_memory(error, repeat * sizeof *repetitions);
    for (size_t i = 0; i < repeat && ok; i++) {
        repetitions[i].bench = b;
        ok = run_repetition(b, &repetitions[i], error);
    }
    if (ok) {
        double pixels = (double)(b->height * b->width);
        r->encode = median_stage(&repetitions->encode, sizeof *repetitions, repeat,
                                 encode_flop(&b->config, &b->sequence));
        r->step = median_stage(&repetitions->step, sizeof *repetitions, repeat,
                               step_flop(c, &b->sequence));
        r->block = median_block(b, repetitions, repeat);
        r->decode = median_stage(&repetitions->decode, sizeof *repetitions, repeat,
                                 decode_flop(&b->config.vae, pixels));
    }
    free(repetitions);
    return ok;
}

/* Checks the options (not NULL), applies defaults, and sets config, latent size and `fast` of the
 * zeroed *b; then creates its engine and random models. False: *error is set; the caller frees
 * these then, too. */
static bool prepare_bench(bench *b, const zi_bench_options *options, zi_error *error)
{
    const precision *p = find_precision(options->weights, error);
    int width = options->width ? options->width : 512;
    int height = options->height ? options->height : 512;
    b->config = zi_config_z_image_turbo();
    int max = b->config.transformer.layers;
    if (!p) return false;
    if (width < 16 || height < 16 || width > 8192 || height > 8192 || width % 16 || height % 16)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "size",
                            "%d x %d pixels are not possible; width and height must be multiples "
                            "of 16 from 16 to 8192",
                            width, height);
    if (options->layers < 0 || options->layers > max)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "layers",
            "%d is out of range; it must be from 1 to %d, or be left out for all layers",
            options->layers, max);
    if (options->repeat < 0 || options->repeat > 1000)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "repeat",
                            "%d is out of range; it must be from 0 to 1000", options->repeat);
    if (options->layers) {
        b->config.transformer.layers = options->layers;
        b->config.text.layers = options->layers + 1; /* the last one is not computed */
    }
    b->width = (size_t)width / 8;
    b->height = (size_t)height / 8;
    zi_engine_options engine = {.threads = options->threads,
                                .cpu = options->cpu,
                                .scratch = options->scratch,
                                .device = options->device,
                                .vram = options->vram,
                                .remark = options->remark,
                                .user = options->user};
    if (!zi_engine_create(&engine, &b->engine, error)) return false;
    /* The processor has no fast arithmetic for other weights; GPUs may have some for all. */
    b->fast = options->compute != ZI_COMPUTE_EXACT && (p->quantized || zi_engine_is_gpu(b->engine));
    return create_random_models(b, p, error);
}

/* Writes noise to b->latents, as sampling does; the seed is 1. False, with *error set: out of
 * memory. */
static bool fill_latents(bench *b, zi_error *error)
{
    size_t count = b->latents.rows * b->latents.columns;
    float *values = malloc(count * sizeof *values);
    zi_random random;
    if (!values) return zi_error_no_memory(error, count * sizeof *values);
    zi_random_seed(&random, 1);
    zi_random_normal(&random, values, count);
    zi_write(b->session.exec, b->latents, values);
    free(values);
    return true;
}

/* Prepares *b, opens its session, times the stages and fills in b->result. The caller closes the
 * session and frees models and engine, after a failure, too. */
static bool run_bench(bench *b, const zi_bench_options *options, zi_error *error)
{
    zi_bench_result *r = &b->result;
    if (!prepare_bench(b, options, error) ||
        !zi_session_open(b->engine, b->fast, zi_model_limits(&b->text, &b->transformer, &b->vae),
                         plan_memory, b, &b->session, error) ||
        !fill_latents(b, error))
        return false;
    r->memory = b->session.memory->size;
    zi_engine_describe(b->engine, r->device, sizeof r->device);
    r->memory_in_file = !*r->device && zi_cpu_buffer_in_file(b->session.memory);
    r->threads = (int)zi_pool_threads(b->engine->pool);
    r->tier = *r->device ? b->engine->backend->ops->name : b->engine->kernels.tier;
    r->fast = b->fast;
    return time_stages(b, options->repeat ? (size_t)options->repeat : 1, error);
}

bool zi_bench(const zi_bench_options *options, zi_bench_result *out, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    bench b = {0};
    bool ok = run_bench(&b, options, error);
    zi_session_close(&b.session);
    zi_vae_free(&b.vae);
    zi_transformer_free(&b.transformer);
    zi_qwen_free(&b.text);
    zi_engine_free(b.engine);
    if (ok) *out = b.result;
    return ok;
}
