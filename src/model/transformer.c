#include "model/transformer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAD_TO = 32, FREQUENCIES = 256, T_HIDDEN = 1024 };
#define FINAL_EPS 1e-6f
#define QK_EPS 1e-5f

/* ---- binding ---- */

static zi_block bind_block(zi_weights *w, const zi_transformer_config *c, const char *stack, int i,
                           bool modulated)
{
    char at[48];
    snprintf(at, sizeof at, "%s.%d", stack, i);
    size_t D = (size_t)c->dim, F = (size_t)c->ffn, H = (size_t)c->head_dim;
    zi_block block = {
        .attention_norm1 = zi_weights_vector(w, D, "%s.attention_norm1.weight", at),
        .attention_norm2 = zi_weights_vector(w, D, "%s.attention_norm2.weight", at),
        .ffn_norm1 = zi_weights_vector(w, D, "%s.ffn_norm1.weight", at),
        .ffn_norm2 = zi_weights_vector(w, D, "%s.ffn_norm2.weight", at),
        .q_norm = zi_weights_vector(w, H, "%s.attention.norm_q.weight", at),
        .k_norm = zi_weights_vector(w, H, "%s.attention.norm_k.weight", at),
        .q = zi_weights_matrix(w, D, D, "%s.attention.to_q.weight", at),
        .k = zi_weights_matrix(w, D, D, "%s.attention.to_k.weight", at),
        .v = zi_weights_matrix(w, D, D, "%s.attention.to_v.weight", at),
        .out = zi_weights_matrix(w, D, D, "%s.attention.to_out.0.weight", at),
        .w1 = zi_weights_matrix(w, F, D, "%s.feed_forward.w1.weight", at),
        .w2 = zi_weights_matrix(w, D, F, "%s.feed_forward.w2.weight", at),
        .w3 = zi_weights_matrix(w, F, D, "%s.feed_forward.w3.weight", at),
    };
    if (modulated) {
        size_t M = (size_t)c->modulation;
        block.modulation = zi_weights_matrix(w, 4 * D, M, "%s.adaLN_modulation.0.weight", at);
        block.modulation_bias = zi_weights_vector(w, 4 * D, "%s.adaLN_modulation.0.bias", at);
    }
    return block;
}

static void bind_ends(zi_transformer *t, zi_weights *w)
{
    const zi_transformer_config *c = &t->config;
    size_t D = (size_t)c->dim, M = (size_t)c->modulation, C = (size_t)c->caption_dim;
    size_t patch = (size_t)(c->patch * c->patch * c->channels);
    t->x_embed = zi_weights_matrix(w, D, patch, "all_x_embedder.2-1.weight");
    t->x_embed_bias = zi_weights_vector(w, D, "all_x_embedder.2-1.bias");
    t->x_pad = zi_weights_row(w, D, "x_pad_token");
    t->caption_pad = zi_weights_row(w, D, "cap_pad_token");
    t->caption_norm = zi_weights_vector(w, C, "cap_embedder.0.weight");
    t->caption_embed = zi_weights_matrix(w, D, C, "cap_embedder.1.weight");
    t->caption_embed_bias = zi_weights_vector(w, D, "cap_embedder.1.bias");
    t->t_embed0 = zi_weights_matrix(w, T_HIDDEN, FREQUENCIES, "t_embedder.mlp.0.weight");
    t->t_embed0_bias = zi_weights_vector(w, T_HIDDEN, "t_embedder.mlp.0.bias");
    t->t_embed2 = zi_weights_matrix(w, M, T_HIDDEN, "t_embedder.mlp.2.weight");
    t->t_embed2_bias = zi_weights_vector(w, M, "t_embedder.mlp.2.bias");
    t->final_modulation =
        zi_weights_matrix(w, D, M, "all_final_layer.2-1.adaLN_modulation.1.weight");
    t->final_modulation_bias =
        zi_weights_vector(w, D, "all_final_layer.2-1.adaLN_modulation.1.bias");
    t->final_linear = zi_weights_matrix(w, patch, D, "all_final_layer.2-1.linear.weight");
    t->final_linear_bias = zi_weights_vector(w, patch, "all_final_layer.2-1.linear.bias");
}

bool zi_transformer_bind(zi_weights *weights, const zi_transformer_config *config,
                         zi_transformer *out, zi_error *error)
{
    zi_transformer t = {.config = *config, .weights = *weights};
    *weights = (zi_weights){0};
    zi_weights *w = &t.weights;
    w->error = error;
    size_t refiners = (size_t)config->refiners, layers = (size_t)config->layers;
    t.blocks = calloc(2 * refiners + layers, sizeof *t.blocks);
    if (!t.blocks) {
        zi_transformer_free(&t);
        return zi_error_no_memory(error, (2 * refiners + layers) * sizeof *t.blocks);
    }
    t.noise_refiner = t.blocks;
    t.context_refiner = t.noise_refiner + refiners;
    t.layers = t.context_refiner + refiners;
    bind_ends(&t, w);
    for (size_t i = 0; i < refiners; i++) {
        t.noise_refiner[i] = bind_block(w, config, "noise_refiner", (int)i, true);
        t.context_refiner[i] = bind_block(w, config, "context_refiner", (int)i, false);
    }
    for (size_t i = 0; i < layers; i++) t.layers[i] = bind_block(w, config, "layers", (int)i, true);
    if (w->failed || !zi_weights_all_used(w, error)) {
        zi_transformer_free(&t);
        return false;
    }
    *out = t;
    return true;
}

void zi_transformer_free(zi_transformer *t)
{
    zi_weights_close(&t->weights);
    free(t->blocks);
    *t = (zi_transformer){0};
}

/* ---- sequences ---- */

static size_t pad_count(size_t n)
{
    return (n + PAD_TO - 1) / PAD_TO * PAD_TO;
}

void zi_sequence_plan(const zi_transformer *t, size_t height, size_t width, size_t caption,
                      zi_arena *arena, zi_sequence *out)
{
    size_t image = (height / 2) * (width / 2);
    zi_sequence s = {.height = height,
                     .width = width,
                     .image = image,
                     .image_padded = pad_count(image),
                     .caption = caption,
                     .caption_padded = pad_count(caption)};
    s.tokens = s.image_padded + s.caption_padded;
    size_t half = (size_t)t->config.head_dim / 2;
    s.cosines = zi_arena_floats(arena, s.tokens * half);
    s.sines = zi_arena_floats(arena, s.tokens * half);
    s.refined = zi_arena_floats(arena, s.caption_padded * (size_t)t->config.dim);
    *out = s;
}

/* Angles of one row: for each axis position * theta^(-2i/width), in double and then f32. */
static void rope_row(const zi_transformer_config *c, const size_t position[3], float *cosines,
                     float *sines)
{
    for (int axis = 0; axis < 3; axis++)
        for (int i = 0; i < c->axes[axis] / 2; i++) {
            double frequency = 1.0 / pow(c->rope_theta, 2.0 * i / c->axes[axis]);
            float angle = (float)((double)position[axis] * frequency);
            *cosines++ = cosf(angle);
            *sines++ = sinf(angle);
        }
}

/* Positions (time, y, x): caption tokens count on through their padding, the picture stands at the
 * time after the caption, its padding at the origin. */
static void rope_tables(const zi_transformer_config *c, zi_sequence *s)
{
    size_t half = (size_t)c->head_dim / 2, columns = s->width / 2;
    for (size_t row = 0; row < s->tokens; row++) {
        size_t position[3] = {0, 0, 0};
        if (row >= s->image_padded) {
            position[0] = row - s->image_padded + 1;
        } else if (row < s->image) {
            position[0] = s->caption_padded + 1;
            position[1] = row / columns;
            position[2] = row % columns;
        }
        rope_row(c, position, s->cosines + row * half, s->sines + row * half);
    }
}

/* ---- blocks ---- */

/* Memory of one step (or caption) of T rows. */
typedef struct {
    float *h, *q, *k, *v;                           /* [T, dim] */
    float *gate, *up;                               /* [T, ffn] */
    float *modulation;                              /* [4 dim] */
    float *x;                                       /* [T, dim] */
    float *patches;                                 /* [image, 4 channels], in and out */
    float *frequencies, *t_hidden, *t_emb, *t_silu; /* [256], [1024], [modulation] twice */
} workspace;

static workspace take(zi_arena *arena, const zi_transformer_config *c, size_t T, size_t image)
{
    size_t D = (size_t)c->dim, F = (size_t)c->ffn, M = (size_t)c->modulation;
    return (workspace){
        .h = zi_arena_floats(arena, T * D),
        .q = zi_arena_floats(arena, T * D),
        .k = zi_arena_floats(arena, T * D),
        .v = zi_arena_floats(arena, T * D),
        .gate = zi_arena_floats(arena, T * F),
        .up = zi_arena_floats(arena, T * F),
        .modulation = zi_arena_floats(arena, 4 * D),
        .x = zi_arena_floats(arena, T * D),
        .patches = zi_arena_floats(arena, image * 4 * (size_t)c->channels),
        .frequencies = zi_arena_floats(arena, FREQUENCIES),
        .t_hidden = zi_arena_floats(arena, T_HIDDEN),
        .t_emb = zi_arena_floats(arena, M),
        .t_silu = zi_arena_floats(arena, M),
    };
}

void zi_transformer_plan(const zi_transformer *t, const zi_sequence *s, zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    take(arena, &t->config, s->tokens, s->image_padded);
    zi_arena_floats(arena, s->caption * (size_t)t->config.caption_dim); /* normed captions */
    zi_arena_reset(arena, mark);
}

/* How a block's modulation vector is cut; all NULL in the context refiner. */
typedef struct {
    const float *scale_msa, *gate_msa, *scale_mlp, *gate_mlp; /* [dim] */
} modulation;

static modulation modulate(const zi_run *run, const zi_transformer_config *c, const zi_block *block,
                           const workspace *ws, const char *name)
{
    if (!block->modulation.data) return (modulation){0};
    size_t D = (size_t)c->dim;
    float *m = ws->modulation;
    zi_linear(run->ops, ws->t_emb, 1, &block->modulation, block->modulation_bias, m);
    zi_run_tap(run, m, 1, 4 * D, "%s.adaLN", name);
    for (size_t i = 0; i < D; i++) {
        m[D + i] = tanhf(m[D + i]);
        m[3 * D + i] = tanhf(m[3 * D + i]);
    }
    return (modulation){m, m + D, m + 2 * D, m + 3 * D};
}

/* x [T, dim] in place; the rope tables are those of its rows. */
static void block_forward(const zi_run *run, const zi_transformer_config *c, const zi_block *block,
                          const workspace *ws, float *x, size_t T, const float *cosines,
                          const float *sines, const char *name)
{
    zi_ops *ops = run->ops;
    size_t D = (size_t)c->dim, F = (size_t)c->ffn, heads = (size_t)c->heads;
    size_t dim = (size_t)c->head_dim;
    modulation m = modulate(run, c, block, ws, name);

    zi_rms_norm(ops, x, T, D, block->attention_norm1, c->eps, m.scale_msa, ws->h);
    zi_linear(ops, ws->h, T, &block->q, NULL, ws->q);
    zi_linear(ops, ws->h, T, &block->k, NULL, ws->k);
    zi_linear(ops, ws->h, T, &block->v, NULL, ws->v);
    zi_rms_norm(ops, ws->q, T * heads, dim, block->q_norm, QK_EPS, NULL, ws->q);
    zi_rms_norm(ops, ws->k, T * heads, dim, block->k_norm, QK_EPS, NULL, ws->k);
    zi_rope(ops, ws->q, T, heads, dim, cosines, sines, true);
    zi_rope(ops, ws->k, T, heads, dim, cosines, sines, true);
    zi_attention(ops, &(zi_attention_args){.q = ws->q,
                                           .k = ws->k,
                                           .v = ws->v,
                                           .out = ws->h,
                                           .T = T,
                                           .S = T,
                                           .heads = heads,
                                           .kv_heads = heads,
                                           .dim = dim,
                                           .fast = ops->fast && zi_matrix_quantized(&block->q)});
    zi_linear(ops, ws->h, T, &block->out, NULL, ws->q);
    zi_run_tap(run, ws->q, T, D, "%s.attention", name);
    zi_add_rms_norm(ops, x, ws->q, T, D, block->attention_norm2, c->eps, m.gate_msa);

    zi_rms_norm(ops, x, T, D, block->ffn_norm1, c->eps, m.scale_mlp, ws->h);
    zi_linear(ops, ws->h, T, &block->w1, NULL, ws->gate);
    zi_linear(ops, ws->h, T, &block->w3, NULL, ws->up);
    zi_silu_mul(ops, ws->gate, ws->up, T * F);
    zi_linear(ops, ws->gate, T, &block->w2, NULL, ws->h);
    zi_run_tap(run, ws->h, T, D, "%s.feed_forward", name);
    zi_add_rms_norm(ops, x, ws->h, T, D, block->ffn_norm2, c->eps, m.gate_mlp);
}

/* A run of blocks over the same rows; done and total count blocks of the whole step. */
typedef struct {
    const zi_transformer_config *config;
    const workspace *ws;
    const float *cosines, *sines;
    size_t T;
    int done, total;
} stack;

static bool stack_forward(const zi_run *run, stack *s, const zi_block *blocks, int count,
                          const char *stack_name, float *x, zi_error *error)
{
    for (int i = 0; i < count; i++) {
        char name[48];
        snprintf(name, sizeof name, "%s.%d", stack_name, i);
        block_forward(run, s->config, &blocks[i], s->ws, x, s->T, s->cosines, s->sines, name);
        s->done++;
        if (!zi_run_layer_done(run, (double)s->done / s->total, x, s->T, (size_t)s->config->dim,
                               error, "%s", name))
            return false;
    }
    return true;
}

/* Rows from n on become copies of the pad token. */
static void pad_rows(float *x, size_t n, size_t padded, const float *token, size_t dim)
{
    for (size_t t = n; t < padded; t++) memcpy(x + t * dim, token, dim * sizeof *x);
}

bool zi_transformer_caption(const zi_run *run, const zi_transformer *t, const float *features,
                            zi_sequence *s, zi_error *error)
{
    const zi_transformer_config *c = &t->config;
    size_t D = (size_t)c->dim, C = (size_t)c->caption_dim, mark = zi_arena_mark(run->arena);
    size_t half = (size_t)c->head_dim / 2;
    workspace ws = take(run->arena, c, s->tokens, s->image_padded);
    rope_tables(c, s);
    float *normed = zi_arena_floats(run->arena, s->caption * C);
    zi_rms_norm(run->ops, features, s->caption, C, t->caption_norm, c->eps, NULL, normed);
    zi_linear(run->ops, normed, s->caption, &t->caption_embed, t->caption_embed_bias, s->refined);
    pad_rows(s->refined, s->caption, s->caption_padded, t->caption_pad, D);
    zi_run_tap(run, s->refined, s->caption_padded, D, "cap_in");
    stack pass = {.config = c,
                  .ws = &ws,
                  .cosines = s->cosines + s->image_padded * half,
                  .sines = s->sines + s->image_padded * half,
                  .T = s->caption_padded,
                  .total = c->refiners};
    bool ok = stack_forward(run, &pass, t->context_refiner, c->refiners, "context_refiner",
                            s->refined, error);
    zi_arena_reset(run->arena, mark);
    return ok;
}

/* t_emb [modulation]: sinusoids of 1000 t through a small network. f32 throughout, as in torch. */
static void embed_time(const zi_run *run, const zi_transformer *t, float time, const workspace *ws)
{
    const zi_transformer_config *c = &t->config;
    size_t half = FREQUENCIES / 2;
    float scaled = time * (float)c->t_scale;
    for (size_t i = 0; i < half; i++) {
        float argument = scaled * expf((float)-log(10000.0) * (float)i / (float)half);
        ws->frequencies[i] = cosf(argument);
        ws->frequencies[half + i] = sinf(argument);
    }
    zi_linear(run->ops, ws->frequencies, 1, &t->t_embed0, t->t_embed0_bias, ws->t_hidden);
    run->ops->kernels.silu_mul(ws->t_hidden, NULL, T_HIDDEN);
    zi_linear(run->ops, ws->t_hidden, 1, &t->t_embed2, t->t_embed2_bias, ws->t_emb);
    zi_run_tap(run, ws->t_emb, 1, (size_t)c->modulation, "t_emb");
}

/* latents [C, H, W] <-> patches [H/2 * W/2, (y, x, C)]: channels change fastest in a patch. */
static void patchify(const zi_sequence *s, size_t channels, float *latents, float *patches,
                     bool forward)
{
    size_t H = s->height, W = s->width;
    for (size_t y = 0; y < H; y++)
        for (size_t x = 0; x < W; x++)
            for (size_t c = 0; c < channels; c++) {
                size_t token = y / 2 * (W / 2) + x / 2, inside = y % 2 * 2 + x % 2;
                float *patch = &patches[(token * 4 + inside) * channels + c];
                float *latent = &latents[(c * H + y) * W + x];
                if (forward)
                    *patch = *latent;
                else
                    *latent = *patch;
            }
}

/* x [image, dim] -> patches [image, 4 channels]. */
static void final_layer(const zi_run *run, const zi_transformer *t, size_t image,
                        const workspace *ws)
{
    const zi_transformer_config *c = &t->config;
    size_t M = (size_t)c->modulation;
    memcpy(ws->t_silu, ws->t_emb, M * sizeof *ws->t_silu);
    run->ops->kernels.silu_mul(ws->t_silu, NULL, M);
    zi_linear(run->ops, ws->t_silu, 1, &t->final_modulation, t->final_modulation_bias,
              ws->modulation);
    zi_layer_norm(run->ops, ws->x, image, (size_t)c->dim, FINAL_EPS, ws->modulation, ws->h);
    zi_linear(run->ops, ws->h, image, &t->final_linear, t->final_linear_bias, ws->patches);
    zi_run_tap(run, ws->patches, image, (size_t)c->channels * 4, "final_layer");
}

bool zi_transformer_step(const zi_run *run, const zi_transformer *t, const zi_sequence *s,
                         const float *latents, float time, float *out, zi_error *error)
{
    const zi_transformer_config *c = &t->config;
    size_t D = (size_t)c->dim, channels = (size_t)c->channels, mark = zi_arena_mark(run->arena);
    workspace ws = take(run->arena, c, s->tokens, s->image_padded);
    embed_time(run, t, time, &ws);

    memcpy(out, latents, channels * s->height * s->width * sizeof *out);
    patchify(s, channels, out, ws.patches, true);
    zi_run_tap(run, ws.patches, s->image, channels * 4, "patches");
    zi_linear(run->ops, ws.patches, s->image, &t->x_embed, t->x_embed_bias, ws.x);
    pad_rows(ws.x, s->image, s->image_padded, t->x_pad, D);
    zi_run_tap(run, ws.x, s->image_padded, D, "x_in");

    stack pass = {.config = c,
                  .ws = &ws,
                  .cosines = s->cosines,
                  .sines = s->sines,
                  .T = s->image_padded,
                  .total = c->refiners + c->layers};
    bool ok =
        stack_forward(run, &pass, t->noise_refiner, c->refiners, "noise_refiner", ws.x, error);
    memcpy(ws.x + s->image_padded * D, s->refined, s->caption_padded * D * sizeof *ws.x);
    pass.T = s->tokens;
    ok = ok && stack_forward(run, &pass, t->layers, c->layers, "layers", ws.x, error);
    if (ok) {
        final_layer(run, t, s->image, &ws);
        patchify(s, channels, out, ws.patches, false);
    }
    zi_arena_reset(run->arena, mark);
    return ok;
}
