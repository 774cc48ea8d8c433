/* Times the stages at real shapes with made-up weights. */
#include "internal.h"
#include "base/random.h"

#include <time.h>

enum { TOKENS = 64 };

typedef struct {
    zi_config config;
    zi_qwen text;
    zi_transformer transformer;
    zi_vae vae;
    zi_pool *pool;
    zi_ops ops;
    zi_arena arena;
    size_t height, width; /* latents */
    int32_t ids[TOKENS];
    float *embeds, *latents, *velocity, *image;
    zi_sequence sequence;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static zi_dtype weight_type(const char *name)
{
    if (!name || strcmp(name, "bf16") == 0) return ZI_BF16;
    if (strcmp(name, "f16") == 0) return ZI_F16;
    return strcmp(name, "f32") == 0 ? ZI_F32 : ZI_DTYPE_COUNT;
}

static bool make_models(bench *b, zi_dtype type, zi_error *error)
{
    const zi_config *c = &b->config;
    size_t text = (size_t)c->text.vocab * (size_t)c->text.hidden;
    size_t block = (size_t)c->transformer.dim * (size_t)c->transformer.ffn;
    size_t wide = (size_t)c->vae.channels[c->vae.blocks - 1];
    zi_weights weights;
    return zi_weights_random(type, text, &weights, error) &&
           zi_qwen_bind(&weights, &c->text, &b->text, error) &&
           zi_weights_random(type, block, &weights, error) &&
           zi_transformer_bind(&weights, &c->transformer, &b->transformer, error) &&
           zi_weights_random(type, wide * wide * 9, &weights, error) &&
           zi_vae_bind(&weights, &c->vae, &b->vae, error);
}

static void plan(bench *b)
{
    size_t size = (size_t)b->config.vae.latent * b->height * b->width;
    zi_ops_plan(&b->ops, &b->arena, zi_model_limits(&b->config));
    b->embeds = zi_arena_floats(&b->arena, TOKENS * (size_t)b->config.text.hidden);
    b->latents = zi_arena_floats(&b->arena, size);
    b->velocity = zi_arena_floats(&b->arena, size);
    b->image = zi_arena_floats(&b->arena, 3 * 64 * b->height * b->width);
    zi_sequence_plan(&b->transformer, b->height, b->width, TOKENS, &b->arena, &b->sequence);
    zi_qwen_plan(&b->text, TOKENS, &b->arena);
    zi_transformer_plan(&b->transformer, &b->sequence, &b->arena);
    zi_vae_plan(&b->ops, &b->vae, b->height, b->width, &b->arena);
}

/* ---- operations of each stage ---- */

static double attention_flop(double tokens, double width)
{
    return 4 * tokens * tokens * width;
}

static double encode_flop(const zi_qwen_config *c)
{
    double q = (double)c->heads * c->head_dim, kv = (double)c->kv_heads * c->head_dim;
    double matrices = c->hidden * (2 * q + 2 * kv + 3.0 * c->ffn);
    return (c->layers - 1) * (2 * TOKENS * matrices + attention_flop(TOKENS, q));
}

static double step_flop(const zi_transformer_config *c, const zi_sequence *s)
{
    double dim = c->dim, matrices = 4 * dim * dim + 3 * dim * c->ffn;
    double image = (double)s->image_padded, all = (double)s->tokens;
    return c->refiners * (2 * image * matrices + attention_flop(image, dim)) +
           c->layers * (2 * all * matrices + attention_flop(all, dim));
}

static double resnet_flop(double pixels, double in, double out)
{
    return 2 * pixels * (9 * in * out + 9 * out * out + (in != out ? in * out : 0));
}

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

static bool time_stages(bench *b, zi_bench_result *r, zi_error *error)
{
    zi_run run = {.ops = &b->ops, .arena = &b->arena};
    for (int i = 0; i < TOKENS; i++) b->ids[i] = i;
    double start = now();
    if (!zi_qwen_encode(&run, &b->text, b->ids, TOKENS, b->embeds, error) ||
        !zi_transformer_caption(&run, &b->transformer, b->embeds, &b->sequence, error))
        return false;
    double encoded = now();
    if (!zi_transformer_step(&run, &b->transformer, &b->sequence, b->latents, 0.5f, b->velocity,
                             error))
        return false;
    double stepped = now();
    if (!zi_vae_decode(&run, &b->vae, b->latents, b->height, b->width, b->image, error))
        return false;
    double decoded = now();
    size_t pixels = b->height * b->width;
    r->encode = (zi_bench_stage){encoded - start, encode_flop(&b->config.text)};
    r->step = (zi_bench_stage){stepped - encoded, step_flop(&b->config.transformer, &b->sequence)};
    r->decode = (zi_bench_stage){decoded - stepped, decode_flop(&b->config.vae, (double)pixels)};
    return true;
}

static bool prepare(bench *b, const zi_bench_options *options, zi_error *error)
{
    zi_dtype type = weight_type(options->weights);
    int width = options->width ? options->width : 512;
    int height = options->height ? options->height : 512;
    b->config = zi_config_real();
    int most = b->config.transformer.layers;
    if (type == ZI_DTYPE_COUNT)
        return zi_misuse(error, "precision \"%s\" is unknown; there are f32, f16 and bf16",
                         options->weights);
    if (width < 16 || height < 16 || width > 8192 || height > 8192 || width % 16 || height % 16)
        return zi_misuse(error, "size %dx%d: both must be multiples of 16 from 16 to 8192", width,
                         height);
    if (options->layers < 0 || options->layers > most)
        return zi_misuse(error, "%d layers are out of range; 1 to %d are possible", options->layers,
                         most);
    if (options->threads < 0 || options->threads > 1024)
        return zi_misuse(error, "threads must be 0 to 1024, not %d", options->threads);
    if (options->layers) {
        b->config.transformer.layers = options->layers;
        b->config.text.layers = options->layers + 1; /* the last one is not computed */
    }
    b->width = (size_t)width / 8;
    b->height = (size_t)height / 8;
    return zi_kernels_select(options->cpu, &b->ops.kernels, error) &&
           zi_pool_create((size_t)options->threads, &b->pool, error) && make_models(b, type, error);
}

static bool run_bench(bench *b, const zi_bench_options *options, zi_bench_result *r,
                      zi_error *error)
{
    if (!prepare(b, options, error)) return false;
    b->ops.pool = b->pool;
    b->arena = zi_arena_measure();
    plan(b);
    size_t size = b->arena.peak;
    if (!zi_arena_create(&b->arena, size, error)) return false;
    plan(b);
    zi_random random;
    zi_random_seed(&random, 1);
    zi_random_normal(&random, b->latents, (size_t)b->config.vae.latent * b->height * b->width);
    r->memory = size;
    r->threads = (int)zi_pool_threads(b->pool);
    return time_stages(b, r, error);
}

bool zi_bench(const zi_bench_options *options, zi_bench_result *out, zi_error *error)
{
    bench b = {0};
    zi_bench_result result = {0};
    bool ok = run_bench(&b, options, &result, error);
    zi_arena_free(&b.arena);
    zi_vae_free(&b.vae);
    zi_transformer_free(&b.transformer);
    zi_qwen_free(&b.text);
    zi_pool_free(b.pool);
    if (ok) *out = result;
    return ok;
}
