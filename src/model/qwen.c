#include "model/qwen.h"

#include <math.h>
#include <stdlib.h>

static zi_qwen_layer bind_layer(zi_weights *w, const zi_qwen_config *c, int i)
{
    size_t hidden = (size_t)c->hidden, ffn = (size_t)c->ffn, dim = (size_t)c->head_dim;
    size_t q = (size_t)c->heads * dim, kv = (size_t)c->kv_heads * dim;
    zi_qwen_layer layer = {
        .input_norm = zi_weights_vector(w, hidden, "model.layers.%d.input_layernorm.weight", i),
        .post_norm =
            zi_weights_vector(w, hidden, "model.layers.%d.post_attention_layernorm.weight", i),
        .q = zi_weights_matrix(w, q, hidden, "model.layers.%d.self_attn.q_proj.weight", i),
        .k = zi_weights_matrix(w, kv, hidden, "model.layers.%d.self_attn.k_proj.weight", i),
        .v = zi_weights_matrix(w, kv, hidden, "model.layers.%d.self_attn.v_proj.weight", i),
        .o = zi_weights_matrix(w, hidden, q, "model.layers.%d.self_attn.o_proj.weight", i),
        .gate = zi_weights_matrix(w, ffn, hidden, "model.layers.%d.mlp.gate_proj.weight", i),
        .up = zi_weights_matrix(w, ffn, hidden, "model.layers.%d.mlp.up_proj.weight", i),
        .down = zi_weights_matrix(w, hidden, ffn, "model.layers.%d.mlp.down_proj.weight", i),
    };
    if (c->qk_norm) {
        layer.q_norm = zi_weights_vector(w, dim, "model.layers.%d.self_attn.q_norm.weight", i);
        layer.k_norm = zi_weights_vector(w, dim, "model.layers.%d.self_attn.k_norm.weight", i);
    }
    if (c->biases) {
        layer.q_bias = zi_weights_vector(w, q, "model.layers.%d.self_attn.q_proj.bias", i);
        layer.k_bias = zi_weights_vector(w, kv, "model.layers.%d.self_attn.k_proj.bias", i);
        layer.v_bias = zi_weights_vector(w, kv, "model.layers.%d.self_attn.v_proj.bias", i);
    }
    return layer;
}

/* Final norm and head. */
static void bind_head(zi_qwen *qwen, bool tied)
{
    zi_weights *w = &qwen->weights;
    size_t hidden = (size_t)qwen->config.hidden;
    qwen->norm = zi_weights_vector(w, hidden, "model.norm.weight");
    if (tied) zi_weights_ignore(w, "lm_head.");
    qwen->head =
        tied ? qwen->embed : zi_weights_matrix(w, qwen->embed.rows, hidden, "lm_head.weight");
}

/* The first `layers` of them; takes weights over. */
static bool bind(zi_weights *weights, const zi_qwen_config *config, size_t layers, zi_qwen *out,
                 zi_error *error)
{
    *out = (zi_qwen){.config = *config, .weights = *weights, .layer_count = layers};
    *weights = (zi_weights){0};
    zi_weights *w = &out->weights;
    w->error = error;
    out->layers = calloc(layers, sizeof *out->layers);
    if (!out->layers) return zi_error_no_memory(error, layers * sizeof *out->layers);
    out->embed = zi_weights_matrix(w, (size_t)config->vocab, (size_t)config->hidden,
                                   "model.embed_tokens.weight");
    for (size_t i = 0; i < layers && !w->failed; i++)
        out->layers[i] = bind_layer(w, config, (int)i);
    return !w->failed;
}

bool zi_qwen_bind(zi_weights *weights, const zi_qwen_config *config, zi_qwen *out, zi_error *error)
{
    zi_qwen qwen;
    size_t layers = (size_t)config->layers - 1;
    bool ok = bind(weights, config, layers, &qwen, error);
    if (ok) zi_weights_ignore(&qwen.weights, "model.layers.%d.", (int)layers);
    if (ok) zi_weights_ignore(&qwen.weights, "model.norm.");
    if (!ok || !zi_weights_all_used(&qwen.weights, error)) {
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
    bool ok = bind(weights, config, (size_t)config->layers, &qwen, error);
    if (ok) bind_head(&qwen, tied);
    if (!ok || qwen.weights.failed || !zi_weights_all_used(&qwen.weights, error)) {
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

/* Memory of one call; all [n, ...]. */
typedef struct {
    float *h, *q, *attention, *gate, *up;
    float *cosines, *sines; /* [n, head_dim / 2] */
} workspace;

static size_t kv_width(const zi_qwen_config *c)
{
    return (size_t)c->kv_heads * (size_t)c->head_dim;
}

static workspace take(zi_arena *arena, const zi_qwen_config *c, size_t n)
{
    size_t dim = (size_t)c->head_dim, q = (size_t)c->heads * dim;
    return (workspace){
        .h = zi_arena_floats(arena, n * (size_t)c->hidden),
        .q = zi_arena_floats(arena, n * q),
        .attention = zi_arena_floats(arena, n * q),
        .gate = zi_arena_floats(arena, n * (size_t)c->ffn),
        .up = zi_arena_floats(arena, n * (size_t)c->ffn),
        .cosines = zi_arena_floats(arena, n * dim / 2),
        .sines = zi_arena_floats(arena, n * dim / 2),
    };
}

/* Keys and values of one layer [past + n, kv_heads * head_dim], of which the last n are to come. */
typedef struct {
    float *k, *v;
    size_t past;
} memory;

void zi_qwen_plan(const zi_qwen *qwen, size_t n, zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    take(arena, &qwen->config, n);
    zi_arena_floats(arena, 2 * n * kv_width(&qwen->config));
    zi_arena_reset(arena, mark);
}

/* Angles position * theta^(-2i/dim), all in f32 as transformers computes them, from position `past`
 * on. */
static void rope_tables(const zi_qwen_config *c, size_t past, size_t n, workspace *ws)
{
    size_t half = (size_t)c->head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)c->head_dim;
        float frequency = 1.0f / powf((float)c->rope_theta, exponent);
        for (size_t t = 0; t < n; t++) {
            ws->cosines[t * half + i] = cosf((float)(past + t) * frequency);
            ws->sines[t * half + i] = sinf((float)(past + t) * frequency);
        }
    }
}

/* ws->attention [n, heads * head_dim] of the normed ws->h. */
static void attend(const zi_run *run, const zi_qwen_config *c, const zi_qwen_layer *layer,
                   const workspace *ws, const memory *seen, size_t n)
{
    zi_ops *ops = run->ops;
    size_t dim = (size_t)c->head_dim, heads = (size_t)c->heads, kv_heads = (size_t)c->kv_heads;
    float *k = seen->k + seen->past * kv_width(c), *v = seen->v + seen->past * kv_width(c);
    zi_linear(ops, ws->h, n, &layer->q, layer->q_bias, ws->q);
    zi_linear(ops, ws->h, n, &layer->k, layer->k_bias, k);
    zi_linear(ops, ws->h, n, &layer->v, layer->v_bias, v);
    if (c->qk_norm) {
        zi_rms_norm(ops, ws->q, n * heads, dim, layer->q_norm, c->eps, NULL, ws->q);
        zi_rms_norm(ops, k, n * kv_heads, dim, layer->k_norm, c->eps, NULL, k);
    }
    zi_rope(ops, ws->q, n, heads, dim, ws->cosines, ws->sines, c->interleaved);
    zi_rope(ops, k, n, kv_heads, dim, ws->cosines, ws->sines, c->interleaved);
    zi_attention(ops, &(zi_attention_args){.q = ws->q,
                                           .k = seen->k,
                                           .v = seen->v,
                                           .out = ws->attention,
                                           .T = n,
                                           .S = seen->past + n,
                                           .heads = heads,
                                           .kv_heads = kv_heads,
                                           .dim = dim,
                                           .causal = true});
}

/* One layer; x [n, hidden] in place. */
static void layer_forward(const zi_run *run, const zi_qwen_config *c, const zi_qwen_layer *layer,
                          const workspace *ws, const memory *seen, float *x, size_t n)
{
    zi_ops *ops = run->ops;
    size_t hidden = (size_t)c->hidden;

    zi_rms_norm(ops, x, n, hidden, layer->input_norm, c->eps, NULL, ws->h);
    attend(run, c, layer, ws, seen, n);
    zi_linear(ops, ws->attention, n, &layer->o, NULL, ws->h);
    zi_add(ops, x, ws->h, n * hidden);

    zi_rms_norm(ops, x, n, hidden, layer->post_norm, c->eps, NULL, ws->h);
    zi_linear(ops, ws->h, n, &layer->gate, NULL, ws->gate);
    zi_linear(ops, ws->h, n, &layer->up, NULL, ws->up);
    zi_silu_mul(ops, ws->gate, ws->up, n * (size_t)c->ffn);
    zi_linear(ops, ws->gate, n, &layer->down, NULL, ws->h);
    zi_add(ops, x, ws->h, n * hidden);
}

/* x [n, hidden] = the rows of the embedding table. */
static bool embed(const zi_qwen *qwen, const int32_t *ids, size_t n, float *x, zi_error *error)
{
    size_t hidden = (size_t)qwen->config.hidden;
    for (size_t t = 0; t < n; t++) {
        if (ids[t] < 0 || ids[t] >= qwen->config.vocab)
            return zi_error_set(
                error, ZI_ERROR_BAD_FORMAT, NULL,
                "the tokenizer gives id %d, but the %s knows only %d tokens: they are "
                "of different models",
                ids[t], qwen->norm ? "language model" : "text encoder", qwen->config.vocab);
        zi_matrix_row(&qwen->embed, (size_t)ids[t], x + t * hidden);
    }
    return true;
}

bool zi_qwen_encode(const zi_run *run, const zi_qwen *qwen, const int32_t *ids, size_t n,
                    float *out, zi_error *error)
{
    const zi_qwen_config *c = &qwen->config;
    size_t mark = zi_arena_mark(run->arena), hidden = (size_t)c->hidden;
    workspace ws = take(run->arena, c, n);
    float *kv = zi_arena_floats(run->arena, 2 * n * kv_width(c));
    memory seen = {kv, kv + n * kv_width(c), 0};
    rope_tables(c, 0, n, &ws);
    bool ok = embed(qwen, ids, n, out, error);
    if (ok) zi_run_tap(run, out, n, hidden, "embed");
    for (size_t i = 0; ok && i < qwen->layer_count; i++) {
        layer_forward(run, c, &qwen->layers[i], &ws, &seen, out, n);
        ok = zi_run_layer_done(run, (double)(i + 1) / (double)qwen->layer_count, out, n, hidden,
                               error, "text encoder layers.%zu", i);
    }
    zi_arena_reset(run->arena, mark);
    return ok;
}

/* ---- language models ---- */

enum { BATCH = 512 }; /* tokens that are read together */

void zi_qwen_cache_plan(const zi_qwen *qwen, size_t capacity, size_t n, zi_arena *arena,
                        zi_qwen_cache *out)
{
    size_t layers = qwen->layer_count, width = kv_width(&qwen->config);
    size_t batch = n < BATCH ? n : BATCH;
    *out = (zi_qwen_cache){.k = zi_arena_alloc(arena, capacity, layers * width * sizeof(float)),
                           .v = zi_arena_alloc(arena, capacity, layers * width * sizeof(float)),
                           .capacity = capacity};
    size_t mark = zi_arena_mark(arena);
    zi_arena_floats(arena, batch * (size_t)qwen->config.hidden);
    take(arena, &qwen->config, batch);
    zi_arena_reset(arena, mark);
}

/* Reads up to BATCH tokens; logits NULL: of no interest. */
static bool read_batch(const zi_run *run, const zi_qwen *qwen, zi_qwen_cache *cache,
                       const int32_t *ids, size_t n, float *logits, zi_error *error)
{
    const zi_qwen_config *c = &qwen->config;
    size_t hidden = (size_t)c->hidden, stride = cache->capacity * kv_width(c);
    float *x = zi_arena_floats(run->arena, n * hidden);
    workspace ws = take(run->arena, c, n);
    rope_tables(c, cache->count, n, &ws);
    if (!embed(qwen, ids, n, x, error)) return false;
    for (size_t i = 0; i < qwen->layer_count; i++) {
        memory seen = {cache->k + i * stride, cache->v + i * stride, cache->count};
        layer_forward(run, c, &qwen->layers[i], &ws, &seen, x, n);
        if (!zi_run_layer_done(run, (double)(i + 1) / (double)qwen->layer_count, x, n, hidden,
                               error, "language model layers.%zu", i))
            return false;
    }
    cache->count += n;
    if (!logits) return true;
    zi_rms_norm(run->ops, x + (n - 1) * hidden, 1, hidden, qwen->norm, c->eps, NULL, ws.h);
    zi_linear(run->ops, ws.h, 1, &qwen->head, NULL, logits);
    return zi_run_layer_done(run, 1, logits, 1, (size_t)c->vocab, error, "language model logits");
}

bool zi_qwen_read(const zi_run *run, const zi_qwen *qwen, zi_qwen_cache *cache, const int32_t *ids,
                  size_t n, float *logits, zi_error *error)
{
    for (size_t begin = 0, count; begin < n; begin += count) {
        size_t mark = zi_arena_mark(run->arena);
        count = n - begin < BATCH ? n - begin : BATCH;
        bool last = begin + count == n;
        bool ok = read_batch(run, qwen, cache, ids + begin, count, last ? logits : NULL, error);
        zi_arena_reset(run->arena, mark);
        if (!ok) return false;
    }
    return true;
}
