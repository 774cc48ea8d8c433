#include "model/transformer.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAD_TO = 32, FREQUENCIES = 256, T_HIDDEN = 1024 };
#define FINAL_EPS 1e-6f
#define QK_EPS 1e-5f

static const zi_view none; /* passed for optional arguments */

/* ---- binding ---- */

enum { DIM, FFN, HEAD, MODULATION, MODULATIONS, CAPTION, PATCH, TIME_IN, TIME_HIDDEN, SIZES };

/* Fills in the dimensions to which the tables of slots refer by index. */
static void module_sizes(const zi_transformer_config *c, size_t sizes[SIZES])
{
    sizes[DIM] = (size_t)c->dim;
    sizes[FFN] = (size_t)c->ffn;
    sizes[HEAD] = (size_t)c->head_dim;
    sizes[MODULATION] = (size_t)c->modulation;
    sizes[MODULATIONS] = 4 * (size_t)c->dim;
    sizes[CAPTION] = (size_t)c->caption_dim;
    sizes[PATCH] = (size_t)(c->patch * c->patch * c->channels);
    sizes[TIME_IN] = FREQUENCIES;
    sizes[TIME_HIDDEN] = T_HIDDEN;
}

#define BLOCK(field) offsetof(zi_block, field)
static const zi_slot block_slots[] = {
    {"attention_norm1.weight", ZI_SLOT_VECTOR, DIM, 0, BLOCK(attention_norm1)},
    {"attention_norm2.weight", ZI_SLOT_VECTOR, DIM, 0, BLOCK(attention_norm2)},
    {"ffn_norm1.weight", ZI_SLOT_VECTOR, DIM, 0, BLOCK(ffn_norm1)},
    {"ffn_norm2.weight", ZI_SLOT_VECTOR, DIM, 0, BLOCK(ffn_norm2)},
    {"attention.norm_q.weight", ZI_SLOT_VECTOR, HEAD, 0, BLOCK(q_norm)},
    {"attention.norm_k.weight", ZI_SLOT_VECTOR, HEAD, 0, BLOCK(k_norm)},
    {"attention.to_q.weight", ZI_SLOT_MATRIX, DIM, DIM, BLOCK(q)},
    {"attention.to_k.weight", ZI_SLOT_MATRIX, DIM, DIM, BLOCK(k)},
    {"attention.to_v.weight", ZI_SLOT_MATRIX, DIM, DIM, BLOCK(v)},
    {"attention.to_out.0.weight", ZI_SLOT_MATRIX, DIM, DIM, BLOCK(out)},
    {"feed_forward.w1.weight", ZI_SLOT_MATRIX, FFN, DIM, BLOCK(w1)},
    {"feed_forward.w2.weight", ZI_SLOT_MATRIX, DIM, FFN, BLOCK(w2)},
    {"feed_forward.w3.weight", ZI_SLOT_MATRIX, FFN, DIM, BLOCK(w3)},
    {0}};
static const zi_slot modulation_slots[] = {
    {"adaLN_modulation.0.weight", ZI_SLOT_MATRIX, MODULATIONS, MODULATION, BLOCK(modulation)},
    {"adaLN_modulation.0.bias", ZI_SLOT_VECTOR, MODULATIONS, 0, BLOCK(modulation_bias)},
    {0}};

#define END(field) offsetof(zi_transformer, field)
static const zi_slot end_slots[] = {
    {"all_x_embedder.2-1.weight", ZI_SLOT_MATRIX, DIM, PATCH, END(x_embed)},
    {"all_x_embedder.2-1.bias", ZI_SLOT_VECTOR, DIM, 0, END(x_embed_bias)},
    {"x_pad_token", ZI_SLOT_ROW, DIM, 0, END(x_pad)},
    {"cap_pad_token", ZI_SLOT_ROW, DIM, 0, END(caption_pad)},
    {"cap_embedder.0.weight", ZI_SLOT_VECTOR, CAPTION, 0, END(caption_norm)},
    {"cap_embedder.1.weight", ZI_SLOT_MATRIX, DIM, CAPTION, END(caption_embed)},
    {"cap_embedder.1.bias", ZI_SLOT_VECTOR, DIM, 0, END(caption_embed_bias)},
    {"t_embedder.mlp.0.weight", ZI_SLOT_MATRIX, TIME_HIDDEN, TIME_IN, END(t_embed0)},
    {"t_embedder.mlp.0.bias", ZI_SLOT_VECTOR, TIME_HIDDEN, 0, END(t_embed0_bias)},
    {"t_embedder.mlp.2.weight", ZI_SLOT_MATRIX, MODULATION, TIME_HIDDEN, END(t_embed2)},
    {"t_embedder.mlp.2.bias", ZI_SLOT_VECTOR, MODULATION, 0, END(t_embed2_bias)},
    {"all_final_layer.2-1.adaLN_modulation.1.weight", ZI_SLOT_MATRIX, DIM, MODULATION,
     END(final_modulation)},
    {"all_final_layer.2-1.adaLN_modulation.1.bias", ZI_SLOT_VECTOR, DIM, 0,
     END(final_modulation_bias)},
    {"all_final_layer.2-1.linear.weight", ZI_SLOT_MATRIX, PATCH, DIM, END(final_linear)},
    {"all_final_layer.2-1.linear.bias", ZI_SLOT_VECTOR, PATCH, 0, END(final_linear_bias)},
    {0}};

/* Binds `count` blocks, named STACK.0., STACK.1. and so on, to blocks [count]. modulated: they have
 * a modulation. A failure sets w->failed. */
static void bind_blocks(zi_weights *w, const size_t sizes[SIZES], const char *stack, int count,
                        bool modulated, zi_block *blocks)
{
    for (int i = 0; i < count; i++) {
        char prefix[48];
        snprintf(prefix, sizeof prefix, "%s.%d.", stack, i);
        zi_weights_bind(w, prefix, block_slots, sizes, &blocks[i]);
        if (modulated) zi_weights_bind(w, prefix, modulation_slots, sizes, &blocks[i]);
    }
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
    size_t sizes[SIZES];
    module_sizes(config, sizes);
    zi_weights_bind(w, "", end_slots, sizes, &t);
    bind_blocks(w, sizes, "noise_refiner", config->refiners, true, t.noise_refiner);
    bind_blocks(w, sizes, "context_refiner", config->refiners, false, t.context_refiner);
    bind_blocks(w, sizes, "layers", config->layers, true, t.layers);
    if (w->failed || !zi_weights_end_binding(w, error)) {
        zi_transformer_free(&t);
        return false;
    }
    *out = t;
    return true;
}

void zi_transformer_free(zi_transformer *transformer)
{
    zi_weights_close(&transformer->weights);
    free(transformer->blocks);
    *transformer = (zi_transformer){0};
}

size_t zi_transformer_layer_bytes(const zi_transformer *transformer)
{
    const zi_transformer_config *c = &transformer->config;
    size_t count = (size_t)(2 * c->refiners + c->layers), most = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = zi_weights_bytes(block_slots, &transformer->blocks[i]) +
                       zi_weights_bytes(modulation_slots, &transformer->blocks[i]);
        if (bytes > most) most = bytes;
    }
    return most + zi_weights_bytes(end_slots, transformer);
}

/* ---- sequences ---- */

/* A number of tokens rounded up to a multiple of 32. */
static size_t round_up_to_pad(size_t n)
{
    return (n + PAD_TO - 1) / PAD_TO * PAD_TO;
}

void zi_sequence_reserve(const zi_transformer *transformer, size_t height, size_t width,
                         size_t caption, zi_arena *arena, zi_sequence *out)
{
    size_t image = (height / 2) * (width / 2);
    zi_sequence s = {.height = height,
                     .width = width,
                     .image = image,
                     .image_padded = round_up_to_pad(image),
                     .caption = caption,
                     .caption_padded = round_up_to_pad(caption)};
    s.tokens = s.image_padded + s.caption_padded;
    size_t half = (size_t)transformer->config.head_dim / 2;
    s.cosines = zi_arena_floats(arena, s.tokens, half);
    s.sines = zi_arena_floats(arena, s.tokens, half);
    s.refined = zi_arena_floats(arena, s.caption_padded, (size_t)transformer->config.dim);
    *out = s;
}

/* Sets the cosines and sines [head_dim / 2] of a token at position (time, y, x), one axis after the
 * other: angles position * theta^(-2i/width), with the axis's width, computed in double and rounded
 * to f32. */
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

/* Fills s->cosines and s->sines [tokens, head_dim / 2], the image's rows first. Positions are
 * (time, y, x): caption tokens, padding included, are at (1, 0, 0), (2, 0, 0), ...; image tokens
 * have the next time, and y and x from 0 in patches; image padding is at (0, 0, 0). */
static void fill_rope_tables(zi_exec *exec, const zi_transformer_config *c, const zi_sequence *s)
{
    float cosines[ZI_MAX_HEAD / 2], sines[ZI_MAX_HEAD / 2];
    size_t columns = s->width / 2;
    for (size_t row = 0; row < s->tokens; row++) {
        size_t position[3] = {0, 0, 0};
        if (row >= s->image_padded) {
            position[0] = row - s->image_padded + 1;
        } else if (row < s->image) {
            position[0] = s->caption_padded + 1;
            position[1] = row / columns;
            position[2] = row % columns;
        }
        rope_row(c, position, cosines, sines);
        zi_write(exec, zi_view_rows(s->cosines, row, 1), cosines);
        zi_write(exec, zi_view_rows(s->sines, row, 1), sines);
    }
}

/* ---- blocks ---- */

/* Activations of one step, or of the caption, for T tokens. */
typedef struct {
    zi_view h, q, k, v;            /* [T, dim] */
    zi_view gate, up;              /* [T, ffn] */
    zi_view modulation;            /* [1, 4 dim] */
    zi_view x;                     /* [T, dim] */
    zi_view patches;               /* [image, 4 channels], in and out */
    zi_view frequencies, t_hidden; /* [1, 256], [1, 1024] */
    zi_view t_emb, t_silu;         /* [1, modulation] */
} workspace;

/* Takes activations for T tokens, and patches for `image` tokens, from the arena, not cleared;
 * arena->overflow is set if they do not fit. The caller resets the arena. */
static workspace reserve_workspace(zi_arena *arena, const zi_transformer_config *c, size_t T,
                                   size_t image)
{
    size_t D = (size_t)c->dim, F = (size_t)c->ffn, M = (size_t)c->modulation;
    return (workspace){
        .h = zi_arena_floats(arena, T, D),
        .q = zi_arena_floats(arena, T, D),
        .k = zi_arena_floats(arena, T, D),
        .v = zi_arena_floats(arena, T, D),
        .gate = zi_arena_floats(arena, T, F),
        .up = zi_arena_floats(arena, T, F),
        .modulation = zi_arena_floats(arena, 1, 4 * D),
        .x = zi_arena_floats(arena, T, D),
        .patches = zi_arena_floats(arena, image, 4 * (size_t)c->channels),
        .frequencies = zi_arena_floats(arena, 1, FREQUENCIES),
        .t_hidden = zi_arena_floats(arena, 1, T_HIDDEN),
        .t_emb = zi_arena_floats(arena, 1, M),
        .t_silu = zi_arena_floats(arena, 1, M),
    };
}

/* The workspace with h, q, k, v, gate and up restricted to their first T rows; x and the rest keep
 * their shapes. */
static workspace first_rows(workspace ws, size_t T)
{
    zi_view *const views[] = {&ws.h, &ws.q, &ws.k, &ws.v, &ws.gate, &ws.up};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) views[i]->rows = T;
    return ws;
}

void zi_transformer_reserve(const zi_transformer *transformer, const zi_sequence *sequence,
                            zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    reserve_workspace(arena, &transformer->config, sequence->tokens, sequence->image_padded);
    zi_arena_floats(arena, sequence->caption,
                    (size_t)transformer->config.caption_dim); /* normed captions */
    zi_arena_reset(arena, mark);
}

/* The four parts of a block's modulation vector; empty views in the context refiner. */
typedef struct {
    zi_view scale_msa, gate_msa, scale_mlp, gate_mlp; /* [1, dim] */
} modulation;

/* Computes a block's modulation from ws->t_emb into ws->modulation, of which the result has views,
 * with tanh applied to the gates and no 1 added to the scales. Empty views for a block without
 * modulation. name: the block, for the tap. */
static modulation compute_modulation(const zi_run *run, const zi_block *block, const workspace *ws,
                                     const char *name)
{
    if (!block->modulation) return (modulation){0};
    size_t D = ws->modulation.columns / 4;
    zi_linear(run->exec, ws->t_emb, block->modulation, block->modulation_bias, ws->modulation);
    zi_run_tap(run, ws->modulation, "%s.adaLN", name);
    modulation m = {zi_view_columns(ws->modulation, 0, D), zi_view_columns(ws->modulation, D, D),
                    zi_view_columns(ws->modulation, 2 * D, D),
                    zi_view_columns(ws->modulation, 3 * D, D)};
    zi_tanh(run->exec, m.gate_msa);
    zi_tanh(run->exec, m.gate_mlp);
    return m;
}

/* One transformer block with both residuals; x [T, dim] is updated in place. cosines, sines and all
 * of ws that has a row per token have T rows; ws is scratch, of which t_emb is set if the block is
 * modulated. name: for taps. */
static void block_forward(const zi_run *run, const zi_transformer_config *c, const zi_block *block,
                          const workspace *ws, zi_view x, zi_view cosines, zi_view sines,
                          const char *name)
{
    zi_exec *exec = run->exec;
    size_t T = x.rows, heads = (size_t)c->heads, dim = (size_t)c->head_dim;
    zi_view q_heads = zi_view_reshape(ws->q, T * heads, dim);
    zi_view k_heads = zi_view_reshape(ws->k, T * heads, dim);
    modulation m = compute_modulation(run, block, ws, name);

    zi_rms_norm(exec, x, block->attention_norm1, c->eps, m.scale_msa, ws->h);
    zi_linear(exec, ws->h, block->q, NULL, ws->q);
    zi_linear(exec, ws->h, block->k, NULL, ws->k);
    zi_linear(exec, ws->h, block->v, NULL, ws->v);
    zi_rms_norm(exec, q_heads, block->q_norm, QK_EPS, none, q_heads);
    zi_rms_norm(exec, k_heads, block->k_norm, QK_EPS, none, k_heads);
    zi_rope(exec, &(zi_rope_args){ws->q, heads, dim, cosines, sines, true});
    zi_rope(exec, &(zi_rope_args){ws->k, heads, dim, cosines, sines, true});
    zi_attention(exec, &(zi_attention_args){.q = ws->q,
                                            .k = ws->k,
                                            .v = ws->v,
                                            .out = ws->h,
                                            .heads = heads,
                                            .kv_heads = heads,
                                            .dim = dim,
                                            .fast = zi_weight_quantized(block->q)});
    zi_linear(exec, ws->h, block->out, NULL, ws->q);
    zi_run_tap(run, ws->q, "%s.attention", name);
    zi_rms_norm_add(exec, ws->q, block->attention_norm2, c->eps, m.gate_msa, x);

    zi_rms_norm(exec, x, block->ffn_norm1, c->eps, m.scale_mlp, ws->h);
    zi_linear(exec, ws->h, block->w1, NULL, ws->gate);
    zi_linear(exec, ws->h, block->w3, NULL, ws->up);
    zi_silu_mul(exec, ws->gate, ws->up);
    zi_linear(exec, ws->gate, block->w2, NULL, ws->h);
    zi_run_tap(run, ws->h, "%s.feed_forward", name);
    zi_rms_norm_add(exec, ws->h, block->ffn_norm2, c->eps, m.gate_mlp, x);
}

/* Blocks that run over the same rows. done and total: blocks of the whole step, for progress. */
typedef struct {
    const zi_transformer_config *config;
    workspace ws;
    zi_view cosines, sines;
    int done, total;
} block_stack;

/* Runs `count` blocks over x in place, named STACK_NAME.I for taps and errors. After each, submits
 * its operations, counts it in s->done and reports s->done of s->total. Fails as
 * zi_run_finish_layer does, without the blocks that follow; x is then undefined. */
static bool stack_forward(const zi_run *run, block_stack *s, const zi_block *blocks, int count,
                          const char *stack_name, zi_view x, zi_error *error)
{
    for (int i = 0; i < count; i++) {
        char name[48];
        snprintf(name, sizeof name, "%s.%d", stack_name, i);
        block_forward(run, s->config, &blocks[i], &s->ws, x, s->cosines, s->sines, name);
        zi_run_tap(run, x, "%s", name);
        s->done++;
        if (!zi_run_finish_layer(run, (double)s->done / s->total, x, error, "%s", name))
            return false;
    }
    return true;
}

/* Sets the rows of x from n on, if there are any, to the pad token. */
static void pad_rows(zi_exec *exec, zi_view x, size_t n, const zi_weight *token)
{
    zi_view row = token->data;
    row.stride = 0;
    if (n < x.rows) zi_copy_rows(exec, row, zi_view_rows(x, n, x.rows - n));
}

bool zi_transformer_caption(const zi_run *run, const zi_transformer *transformer, zi_view features,
                            zi_sequence *sequence, zi_error *error)
{
    const zi_transformer_config *c = &transformer->config;
    size_t mark = zi_arena_mark(run->arena);
    workspace ws = reserve_workspace(run->arena, c, sequence->tokens, sequence->image_padded);
    zi_view normed = zi_arena_floats(run->arena, sequence->caption, (size_t)c->caption_dim);
    fill_rope_tables(run->exec, c, sequence);
    zi_rms_norm(run->exec, features, transformer->caption_norm, c->eps, none, normed);
    zi_linear(run->exec, normed, transformer->caption_embed, transformer->caption_embed_bias,
              zi_view_rows(sequence->refined, 0, sequence->caption));
    pad_rows(run->exec, sequence->refined, sequence->caption, transformer->caption_pad);
    zi_run_tap(run, sequence->refined, "cap_in");
    block_stack pass = {
        .config = c,
        .ws = first_rows(ws, sequence->caption_padded),
        .cosines =
            zi_view_rows(sequence->cosines, sequence->image_padded, sequence->caption_padded),
        .sines = zi_view_rows(sequence->sines, sequence->image_padded, sequence->caption_padded),
        .total = c->refiners};
    bool ok = stack_forward(run, &pass, transformer->context_refiner, c->refiners,
                            "context_refiner", sequence->refined, error);
    zi_arena_reset(run->arena, mark);
    return ok;
}

/* Sets ws->t_emb [1, modulation] to the timestep embedding: sinusoids of t_scale * time, which is
 * in 0..1, through a two-layer MLP, all in f32 as in torch. */
static void embed_time(const zi_run *run, const zi_transformer *t, float time, const workspace *ws)
{
    enum { HALF = FREQUENCIES / 2 };
    float sinusoids[FREQUENCIES], scaled = time * (float)t->config.t_scale;
    for (size_t i = 0; i < HALF; i++) {
        float argument = scaled * expf((float)-log(10000.0) * (float)i / (float)HALF);
        sinusoids[i] = cosf(argument);
        sinusoids[HALF + i] = sinf(argument);
    }
    zi_write(run->exec, ws->frequencies, sinusoids);
    zi_linear(run->exec, ws->frequencies, t->t_embed0, t->t_embed0_bias, ws->t_hidden);
    zi_silu(run->exec, ws->t_hidden);
    zi_linear(run->exec, ws->t_hidden, t->t_embed2, t->t_embed2_bias, ws->t_emb);
    zi_run_tap(run, ws->t_emb, "t_emb");
}

/* latents [C, H, W] -> patches [H/2 * W/2, (y, x, C)], channels innermost. forward false: the other
 * way, patches -> latents. */
static void patchify(zi_exec *exec, const zi_sequence *s, zi_view latents, zi_view patches,
                     bool forward)
{
    size_t H = s->height, W = s->width, C = latents.rows;
    zi_permute_args args = {.from = latents,
                            .to = patches,
                            .dims = 5, /* row and column of patches, y, x, channel */
                            .extents = {H / 2, W / 2, 2, 2, C},
                            .from_strides = {2 * W, 2, W, 1, H * W},
                            .to_strides = {W / 2 * 4 * C, 4 * C, 2 * C, C, 1}};
    zi_permute_args back = args;
    back.from = patches;
    back.to = latents;
    memcpy(back.from_strides, args.to_strides, sizeof args.to_strides);
    memcpy(back.to_strides, args.from_strides, sizeof args.from_strides);
    zi_permute(exec, forward ? &args : &back);
}

/* Modulated layer norm and projection of the image tokens: the first `image` rows of ws->x -> those
 * of ws->patches [image, 4 * channels]. Modulated by ws->t_emb; overwrites ws->h, ws->modulation
 * and ws->t_silu. */
static void final_layer(const zi_run *run, const zi_transformer *t, size_t image,
                        const workspace *ws)
{
    zi_view h = zi_view_rows(ws->h, 0, image), patches = zi_view_rows(ws->patches, 0, image);
    zi_view scale = zi_view_columns(ws->modulation, 0, (size_t)t->config.dim);
    zi_copy_rows(run->exec, ws->t_emb, ws->t_silu);
    zi_silu(run->exec, ws->t_silu);
    zi_linear(run->exec, ws->t_silu, t->final_modulation, t->final_modulation_bias, scale);
    zi_layer_norm(run->exec, zi_view_rows(ws->x, 0, image), FINAL_EPS, scale, h);
    zi_linear(run->exec, h, t->final_linear, t->final_linear_bias, patches);
    zi_run_tap(run, patches, "final_layer");
}

bool zi_transformer_step(const zi_run *run, const zi_transformer *transformer,
                         const zi_sequence *sequence, zi_view latents, float time, zi_view out,
                         zi_error *error)
{
    const zi_transformer_config *c = &transformer->config;
    size_t mark = zi_arena_mark(run->arena);
    workspace ws = reserve_workspace(run->arena, c, sequence->tokens, sequence->image_padded);
    zi_view patches = zi_view_rows(ws.patches, 0, sequence->image);
    zi_view image = zi_view_rows(ws.x, 0, sequence->image_padded);
    embed_time(run, transformer, time, &ws);

    patchify(run->exec, sequence, latents, ws.patches, true);
    zi_run_tap(run, patches, "patches");
    zi_linear(run->exec, patches, transformer->x_embed, transformer->x_embed_bias,
              zi_view_rows(ws.x, 0, sequence->image));
    pad_rows(run->exec, image, sequence->image, transformer->x_pad);
    zi_run_tap(run, image, "x_in");

    block_stack pass = {.config = c,
                        .ws = first_rows(ws, sequence->image_padded),
                        .cosines = zi_view_rows(sequence->cosines, 0, sequence->image_padded),
                        .sines = zi_view_rows(sequence->sines, 0, sequence->image_padded),
                        .total = c->refiners + c->layers};
    bool ok = stack_forward(run, &pass, transformer->noise_refiner, c->refiners, "noise_refiner",
                            image, error);
    zi_copy_rows(run->exec, sequence->refined,
                 zi_view_rows(ws.x, sequence->image_padded, sequence->caption_padded));
    pass.ws = ws;
    pass.cosines = sequence->cosines;
    pass.sines = sequence->sines;
    ok = ok && stack_forward(run, &pass, transformer->layers, c->layers, "layers", ws.x, error);
    if (ok) {
        final_layer(run, transformer, sequence->image, &ws);
        patchify(run->exec, sequence, out, ws.patches, false);
        zi_check_finite(run->exec, out, "final_layer");
    }
    zi_arena_reset(run->arena, mark);
    return ok;
}
