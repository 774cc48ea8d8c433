#include "model/qwen.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static const zi_view none; /* passed for optional arguments */

/* ---- binding ---- */

enum { HIDDEN, FFN, HEAD, Q, KV, VOCAB, SIZES };

/* Fills in the dimensions to which the tables of slots refer by index. */
static void module_sizes(const zi_qwen_config *c, size_t sizes[SIZES])
{
    sizes[HIDDEN] = (size_t)c->hidden;
    sizes[FFN] = (size_t)c->ffn;
    sizes[HEAD] = (size_t)c->head_dim;
    sizes[Q] = (size_t)c->heads * sizes[HEAD];
    sizes[KV] = (size_t)c->kv_heads * sizes[HEAD];
    sizes[VOCAB] = (size_t)c->vocab;
}

#define LAYER(field) offsetof(zi_qwen_layer, field)
static const zi_slot layer_slots[] = {
    {"input_layernorm.weight", ZI_SLOT_VECTOR, HIDDEN, 0, LAYER(input_norm)},
    {"post_attention_layernorm.weight", ZI_SLOT_VECTOR, HIDDEN, 0, LAYER(post_norm)},
    {"self_attn.q_proj.weight", ZI_SLOT_MATRIX, Q, HIDDEN, LAYER(q)},
    {"self_attn.k_proj.weight", ZI_SLOT_MATRIX, KV, HIDDEN, LAYER(k)},
    {"self_attn.v_proj.weight", ZI_SLOT_MATRIX, KV, HIDDEN, LAYER(v)},
    {"self_attn.o_proj.weight", ZI_SLOT_MATRIX, HIDDEN, Q, LAYER(o)},
    {"mlp.gate_proj.weight", ZI_SLOT_MATRIX, FFN, HIDDEN, LAYER(gate)},
    {"mlp.up_proj.weight", ZI_SLOT_MATRIX, FFN, HIDDEN, LAYER(up)},
    {"mlp.down_proj.weight", ZI_SLOT_MATRIX, HIDDEN, FFN, LAYER(down)},
    {0}};
static const zi_slot qk_norm_slots[] = {
    {"self_attn.q_norm.weight", ZI_SLOT_VECTOR, HEAD, 0, LAYER(q_norm)},
    {"self_attn.k_norm.weight", ZI_SLOT_VECTOR, HEAD, 0, LAYER(k_norm)},
    {0}};
static const zi_slot bias_slots[] = {
    {"self_attn.q_proj.bias", ZI_SLOT_VECTOR, Q, 0, LAYER(q_bias)},
    {"self_attn.k_proj.bias", ZI_SLOT_VECTOR, KV, 0, LAYER(k_bias)},
    {"self_attn.v_proj.bias", ZI_SLOT_VECTOR, KV, 0, LAYER(v_bias)},
    {0}};

static const zi_slot embed_slots[] = {
    {"model.embed_tokens.weight", ZI_SLOT_MATRIX, VOCAB, HIDDEN, offsetof(zi_qwen, embed)}, {0}};
static const zi_slot norm_slots[] = {
    {"model.norm.weight", ZI_SLOT_VECTOR, HIDDEN, 0, offsetof(zi_qwen, norm)}, {0}};
static const zi_slot head_slots[] = {
    {"lm_head.weight", ZI_SLOT_MATRIX, VOCAB, HIDDEN, offsetof(zi_qwen, head)}, {0}};

/* Binds the weights of layer i, from 0, with q and k norms and biases if the config has them. A
 * failure sets w->failed. */
static void bind_layer(zi_weights *w, const zi_qwen_config *c, const size_t sizes[SIZES], size_t i,
                       zi_qwen_layer *layer)
{
    char prefix[48];
    snprintf(prefix, sizeof prefix, "model.layers.%zu.", i);
    zi_weights_bind(w, prefix, layer_slots, sizes, layer);
    if (c->qk_norm) zi_weights_bind(w, prefix, qk_norm_slots, sizes, layer);
    if (c->biases) zi_weights_bind(w, prefix, bias_slots, sizes, layer);
}

/* Binds final norm and head. tied: the embedding is the head, and a stored one is ignored. A
 * failure sets qwen->weights.failed. */
static void bind_head(zi_qwen *qwen, bool tied)
{
    zi_weights *w = &qwen->weights;
    size_t sizes[SIZES];
    module_sizes(&qwen->config, sizes);
    zi_weights_bind(w, "", norm_slots, sizes, qwen);
    if (tied) {
        zi_weights_ignore(w, "lm_head.");
        qwen->head = qwen->embed;
    } else {
        zi_weights_bind(w, "", head_slots, sizes, qwen);
    }
}

/* Makes *out of the config, the embedding and the first `layers` layers, without ending the
 * binding. Takes ownership of *weights in any case. Call zi_qwen_free(out) after false, too. */
static bool bind_layers(zi_weights *weights, const zi_qwen_config *config, size_t layers,
                        zi_qwen *out, zi_error *error)
{
    *out = (zi_qwen){.config = *config, .weights = *weights, .layer_count = layers};
    *weights = (zi_weights){0};
    zi_weights *w = &out->weights;
    size_t sizes[SIZES];
    w->error = error;
    module_sizes(config, sizes);
    out->layers = calloc(layers, sizeof *out->layers);
    if (!out->layers) return zi_error_no_memory(error, layers * sizeof *out->layers);
    zi_weights_bind(w, "", embed_slots, sizes, out);
    for (size_t i = 0; i < layers && !w->failed; i++)
        bind_layer(w, config, sizes, i, &out->layers[i]);
    return !w->failed;
}

bool zi_qwen_bind(zi_weights *weights, const zi_qwen_config *config, zi_qwen *out, zi_error *error)
{
    zi_qwen qwen;
    size_t layers = (size_t)config->layers - 1;
    bool ok = bind_layers(weights, config, layers, &qwen, error);
    if (ok) zi_weights_ignore(&qwen.weights, "model.layers.%d.", (int)layers);
    if (ok) zi_weights_ignore(&qwen.weights, "model.norm.");
    if (!ok || !zi_weights_end_binding(&qwen.weights, error)) {
        zi_qwen_free(&qwen);
        return false;
    }
    *out = qwen;
    return true;
}

bool zi_qwen_bind_language(zi_weights *weights, const zi_qwen_config *config, bool tied,
                           zi_qwen *out, zi_error *error)
{
    zi_qwen qwen;
    bool ok = bind_layers(weights, config, (size_t)config->layers, &qwen, error);
    if (ok) bind_head(&qwen, tied);
    if (!ok || qwen.weights.failed || !zi_weights_end_binding(&qwen.weights, error)) {
        zi_qwen_free(&qwen);
        return false;
    }
    *out = qwen;
    return true;
}

void zi_qwen_free(zi_qwen *qwen)
{
    zi_weights_close(&qwen->weights);
    free(qwen->layers);
    *qwen = (zi_qwen){0};
}

size_t zi_qwen_layer_bytes(const zi_qwen *qwen)
{
    size_t most = 0;
    for (size_t i = 0; i < qwen->layer_count; i++) {
        size_t bytes = zi_weights_bytes(layer_slots, &qwen->layers[i]) +
                       zi_weights_bytes(qk_norm_slots, &qwen->layers[i]) +
                       zi_weights_bytes(bias_slots, &qwen->layers[i]);
        if (bytes > most) most = bytes;
    }
    return most + zi_weights_bytes(norm_slots, qwen) + zi_weights_bytes(head_slots, qwen);
}

/* ---- layers ---- */

/* Activations of one forward pass; all [n, ...]. */
typedef struct {
    zi_view h, q, attention, gate, up;
    zi_view cosines, sines; /* [n, head_dim / 2] */
} workspace;

/* Elements of one token's keys in a layer, and of its values. */
static size_t kv_width(const zi_qwen_config *c)
{
    return (size_t)c->kv_heads * (size_t)c->head_dim;
}

/* Takes the activations of n tokens from the arena, not cleared; arena->overflow is set if they do
 * not fit. The caller resets the arena. */
static workspace reserve_workspace(zi_arena *arena, const zi_qwen_config *c, size_t n)
{
    size_t dim = (size_t)c->head_dim, q = (size_t)c->heads * dim;
    return (workspace){
        .h = zi_arena_floats(arena, n, (size_t)c->hidden),
        .q = zi_arena_floats(arena, n, q),
        .attention = zi_arena_floats(arena, n, q),
        .gate = zi_arena_floats(arena, n, (size_t)c->ffn),
        .up = zi_arena_floats(arena, n, (size_t)c->ffn),
        .cosines = zi_arena_floats(arena, n, dim / 2),
        .sines = zi_arena_floats(arena, n, dim / 2),
    };
}

/* Keys and values of one layer, [past + n, kv_heads * head_dim]; rows from `past` on are filled in
 * by this pass. */
typedef struct {
    zi_view k, v;
    size_t past;
} kv_view;

void zi_qwen_reserve(const zi_qwen *qwen, size_t n, zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    reserve_workspace(arena, &qwen->config, n);
    zi_arena_floats(arena, 2 * n, kv_width(&qwen->config));
    zi_arena_reset(arena, mark);
}

/* Fills all rows of ws->cosines and ws->sines, one for each token, with the angles position *
 * theta^(-2i/dim) for positions from `past` on, in f32 as transformers computes them. */
static void fill_rope_tables(zi_exec *exec, const zi_qwen_config *c, size_t past,
                             const workspace *ws)
{
    float frequencies[ZI_MAX_HEAD / 2], cosines[ZI_MAX_HEAD / 2], sines[ZI_MAX_HEAD / 2];
    size_t half = (size_t)c->head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)c->head_dim;
        frequencies[i] = 1.0f / powf((float)c->rope_theta, exponent);
    }
    for (size_t t = 0; t < ws->cosines.rows; t++) {
        for (size_t i = 0; i < half; i++) {
            cosines[i] = cosf((float)(past + t) * frequencies[i]);
            sines[i] = sinf((float)(past + t) * frequencies[i]);
        }
        zi_write(exec, zi_view_rows(ws->cosines, t, 1), cosines);
        zi_write(exec, zi_view_rows(ws->sines, t, 1), sines);
    }
}

/* RMS norm, with weight [dim], of every head of x [n, heads * dim], in place. */
static void norm_heads(zi_exec *exec, const zi_qwen_config *c, zi_view x, const zi_weight *weight)
{
    size_t dim = (size_t)c->head_dim;
    zi_view heads = zi_view_reshape(x, x.rows * x.columns / dim, dim);
    zi_rms_norm(exec, heads, weight, c->eps, none, heads);
}

/* Causal self-attention of ws->h [n, hidden] (already normed) to the past and new tokens ->
 * ws->attention [n, heads * head_dim], without output projection. Writes the new keys and values to
 * the rows of kv from kv->past on; overwrites ws->q. */
static void self_attention(const zi_run *run, const zi_qwen_config *c, const zi_qwen_layer *layer,
                           const workspace *ws, const kv_view *kv)
{
    zi_exec *exec = run->exec;
    size_t dim = (size_t)c->head_dim, heads = (size_t)c->heads, kv_heads = (size_t)c->kv_heads;
    size_t n = ws->h.rows;
    zi_view k = zi_view_rows(kv->k, kv->past, n), v = zi_view_rows(kv->v, kv->past, n);
    zi_linear(exec, ws->h, layer->q, layer->q_bias, ws->q);
    zi_linear(exec, ws->h, layer->k, layer->k_bias, k);
    zi_linear(exec, ws->h, layer->v, layer->v_bias, v);
    if (c->qk_norm) {
        norm_heads(exec, c, ws->q, layer->q_norm);
        norm_heads(exec, c, k, layer->k_norm);
    }
    zi_rope(exec, &(zi_rope_args){ws->q, heads, dim, ws->cosines, ws->sines, c->interleaved});
    zi_rope(exec, &(zi_rope_args){k, kv_heads, dim, ws->cosines, ws->sines, c->interleaved});
    zi_attention(exec, &(zi_attention_args){.q = ws->q,
                                            .k = kv->k,
                                            .v = kv->v,
                                            .out = ws->attention,
                                            .heads = heads,
                                            .kv_heads = kv_heads,
                                            .dim = dim,
                                            .causal = true});
}

/* One transformer layer with both residuals; x [n, hidden] is updated in place. Writes the new rows
 * of kv; ws is scratch, of which cosines and sines are set. */
static void layer_forward(const zi_run *run, const zi_qwen_config *c, const zi_qwen_layer *layer,
                          const workspace *ws, const kv_view *kv, zi_view x)
{
    zi_exec *exec = run->exec;

    zi_rms_norm(exec, x, layer->input_norm, c->eps, none, ws->h);
    self_attention(run, c, layer, ws, kv);
    zi_linear(exec, ws->attention, layer->o, NULL, ws->h);
    zi_add(exec, x, ws->h);

    zi_rms_norm(exec, x, layer->post_norm, c->eps, none, ws->h);
    zi_linear(exec, ws->h, layer->gate, NULL, ws->gate);
    zi_linear(exec, ws->h, layer->up, NULL, ws->up);
    zi_silu_mul(exec, ws->gate, ws->up);
    zi_linear(exec, ws->gate, layer->down, NULL, ws->h);
    zi_add(exec, x, ws->h);
}

/* Fails with ZI_ERROR_BAD_FORMAT unless all ids [n] are in 0..vocab - 1. */
static bool check_ids(const zi_qwen *qwen, const int32_t *ids, size_t n, zi_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= qwen->config.vocab)
            return zi_error_set(
                error, ZI_ERROR_BAD_FORMAT, NULL,
                "the tokenizer gives id %d, but the %s knows only %d tokens: they are of different "
                "models; use the tokenizer that came with the model",
                ids[i], qwen->norm ? "language model" : "text encoder", qwen->config.vocab);
    return true;
}

bool zi_qwen_encode(const zi_run *run, const zi_qwen *qwen, const int32_t *ids, size_t n,
                    zi_view out, zi_error *error)
{
    const zi_qwen_config *c = &qwen->config;
    size_t mark = zi_arena_mark(run->arena);
    if (!check_ids(qwen, ids, n, error)) return false;
    workspace ws = reserve_workspace(run->arena, c, n);
    zi_view both = zi_arena_floats(run->arena, 2 * n, kv_width(c));
    kv_view kv = {zi_view_rows(both, 0, n), zi_view_rows(both, n, n), 0};
    fill_rope_tables(run->exec, c, 0, &ws);
    zi_embed(run->exec, qwen->embed, ids, n, out);
    zi_run_tap(run, out, "embed");
    bool ok = true;
    for (size_t i = 0; ok && i < qwen->layer_count; i++) {
        layer_forward(run, c, &qwen->layers[i], &ws, &kv, out);
        zi_run_tap(run, out, "text encoder layers.%zu", i);
        ok = zi_run_finish_layer(run, (double)(i + 1) / (double)qwen->layer_count, out, error,
                                 "text encoder layers.%zu", i);
    }
    zi_arena_reset(run->arena, mark);
    return ok;
}

/* ---- language models ---- */

enum { BATCH = 512 }; /* tokens per forward pass */

void zi_qwen_cache_reserve(const zi_qwen *qwen, size_t capacity, size_t n, zi_arena *arena,
                           zi_qwen_cache *out)
{
    size_t rows, width = kv_width(&qwen->config), batch = n < BATCH ? n : BATCH;
    if (__builtin_mul_overflow(capacity, qwen->layer_count, &rows)) rows = SIZE_MAX;
    *out = (zi_qwen_cache){.k = zi_arena_floats(arena, rows, width),
                           .v = zi_arena_floats(arena, rows, width),
                           .capacity = capacity};
    size_t mark = zi_arena_mark(arena);
    zi_arena_floats(arena, batch, (size_t)qwen->config.hidden);
    reserve_workspace(arena, &qwen->config, batch);
    zi_arena_reset(arena, mark);
}

/* A view of the cached keys and values of layer i, from 0, extended by rows for n more tokens.
 * Copies nothing. */
static kv_view cached_kv(const zi_qwen_cache *cache, size_t i, size_t n)
{
    size_t first = i * cache->capacity, rows = cache->count + n;
    return (kv_view){zi_view_rows(cache->k, first, rows), zi_view_rows(cache->v, first, rows),
                     cache->count};
}

/* Runs 1 to BATCH tokens and adds them to the cache, whose count then rises by n. Sets logits [1,
 * vocab] after the last one, unless logits has no buffer. Fails as zi_qwen_encode does; the count
 * has then risen only if the logits failed. The caller resets the arena, also after a failure. */
static bool forward_batch(const zi_run *run, const zi_qwen *qwen, zi_qwen_cache *cache,
                          const int32_t *ids, size_t n, zi_view logits, zi_error *error)
{
    const zi_qwen_config *c = &qwen->config;
    if (!check_ids(qwen, ids, n, error)) return false;
    zi_view x = zi_arena_floats(run->arena, n, (size_t)c->hidden);
    workspace ws = reserve_workspace(run->arena, c, n);
    fill_rope_tables(run->exec, c, cache->count, &ws);
    zi_embed(run->exec, qwen->embed, ids, n, x);
    for (size_t i = 0; i < qwen->layer_count; i++) {
        kv_view kv = cached_kv(cache, i, n);
        layer_forward(run, c, &qwen->layers[i], &ws, &kv, x);
        zi_run_tap(run, x, "language model layers.%zu", i);
        if (!zi_run_finish_layer(run, (double)(i + 1) / (double)qwen->layer_count, x, error,
                                 "language model layers.%zu", i))
            return false;
    }
    cache->count += n;
    if (!logits.buffer) return true;
    zi_view last = zi_view_rows(ws.h, 0, 1);
    zi_rms_norm(run->exec, zi_view_rows(x, n - 1, 1), qwen->norm, c->eps, none, last);
    zi_linear(run->exec, last, qwen->head, NULL, logits);
    zi_run_tap(run, logits, "language model logits");
    return zi_run_finish_layer(run, 1, logits, error, "language model logits");
}

bool zi_qwen_forward(const zi_run *run, const zi_qwen *qwen, zi_qwen_cache *cache,
                     const int32_t *ids, size_t n, zi_view logits, zi_error *error)
{
    for (size_t begin = 0, count; begin < n; begin += count) {
        size_t mark = zi_arena_mark(run->arena);
        count = n - begin < BATCH ? n - begin : BATCH;
        bool last = begin + count == n;
        bool ok = forward_batch(run, qwen, cache, ids + begin, count, last ? logits : none, error);
        zi_arena_reset(run->arena, mark);
        if (!ok) return false;
    }
    return true;
}
