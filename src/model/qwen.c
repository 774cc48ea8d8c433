#include "model/qwen.h"

#include <math.h>
#include <stdlib.h>

static zi_qwen_layer bind_layer(zi_weights *w, const zi_qwen_config *c, int i)
{
    size_t hidden = (size_t)c->hidden, ffn = (size_t)c->ffn, dim = (size_t)c->head_dim;
    size_t q = (size_t)c->heads * dim, kv = (size_t)c->kv_heads * dim;
    return (zi_qwen_layer){
        .input_norm = zi_weights_vector(w, hidden, "model.layers.%d.input_layernorm.weight", i),
        .post_norm =
            zi_weights_vector(w, hidden, "model.layers.%d.post_attention_layernorm.weight", i),
        .q_norm = zi_weights_vector(w, dim, "model.layers.%d.self_attn.q_norm.weight", i),
        .k_norm = zi_weights_vector(w, dim, "model.layers.%d.self_attn.k_norm.weight", i),
        .q = zi_weights_matrix(w, q, hidden, "model.layers.%d.self_attn.q_proj.weight", i),
        .k = zi_weights_matrix(w, kv, hidden, "model.layers.%d.self_attn.k_proj.weight", i),
        .v = zi_weights_matrix(w, kv, hidden, "model.layers.%d.self_attn.v_proj.weight", i),
        .o = zi_weights_matrix(w, hidden, q, "model.layers.%d.self_attn.o_proj.weight", i),
        .gate = zi_weights_matrix(w, ffn, hidden, "model.layers.%d.mlp.gate_proj.weight", i),
        .up = zi_weights_matrix(w, ffn, hidden, "model.layers.%d.mlp.up_proj.weight", i),
        .down = zi_weights_matrix(w, hidden, ffn, "model.layers.%d.mlp.down_proj.weight", i),
    };
}

bool zi_qwen_bind(zi_weights *weights, const zi_qwen_config *config, zi_qwen *out, zi_error *error)
{
    zi_qwen qwen = {.config = *config, .weights = *weights};
    *weights = (zi_weights){0};
    zi_weights *w = &qwen.weights;
    w->error = error;
    size_t layers = (size_t)config->layers - 1;
    qwen.layers = calloc(layers, sizeof *qwen.layers);
    if (!qwen.layers) {
        zi_qwen_free(&qwen);
        return zi_out_of_memory(error, layers * sizeof *qwen.layers);
    }
    qwen.embed = zi_weights_matrix(w, (size_t)config->vocab, (size_t)config->hidden,
                                   "model.embed_tokens.weight");
    for (size_t i = 0; i < layers && !w->failed; i++)
        qwen.layers[i] = bind_layer(w, config, (int)i);
    zi_weights_ignore(w, "model.layers.%d.", (int)layers); /* the last one is never computed */
    zi_weights_ignore(w, "model.norm.");
    if (w->failed || !zi_weights_all_used(w, error)) {
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

/* Memory of one encoding; all [n, ...]. */
typedef struct {
    float *h, *q, *k, *v, *attention, *gate, *up;
    float *cosines, *sines; /* [n, head_dim / 2] */
} workspace;

static workspace take(zi_arena *arena, const zi_qwen_config *c, size_t n)
{
    size_t dim = (size_t)c->head_dim, q = (size_t)c->heads * dim, kv = (size_t)c->kv_heads * dim;
    return (workspace){
        .h = zi_arena_floats(arena, n * (size_t)c->hidden),
        .q = zi_arena_floats(arena, n * q),
        .k = zi_arena_floats(arena, n * kv),
        .v = zi_arena_floats(arena, n * kv),
        .attention = zi_arena_floats(arena, n * q),
        .gate = zi_arena_floats(arena, n * (size_t)c->ffn),
        .up = zi_arena_floats(arena, n * (size_t)c->ffn),
        .cosines = zi_arena_floats(arena, n * dim / 2),
        .sines = zi_arena_floats(arena, n * dim / 2),
    };
}

void zi_qwen_plan(const zi_qwen *qwen, size_t n, zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    take(arena, &qwen->config, n);
    zi_arena_reset(arena, mark);
}

/* Angles position * theta^(-2i/dim), all in f32 as transformers computes them. */
static void rope_tables(const zi_qwen_config *c, size_t n, workspace *ws)
{
    size_t half = (size_t)c->head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)c->head_dim;
        float frequency = 1.0f / powf((float)c->rope_theta, exponent);
        for (size_t t = 0; t < n; t++) {
            ws->cosines[t * half + i] = cosf((float)t * frequency);
            ws->sines[t * half + i] = sinf((float)t * frequency);
        }
    }
}

/* One layer; x [n, hidden] in place. */
static void layer_forward(const zi_run *run, const zi_qwen_config *c, const zi_qwen_layer *layer,
                          const workspace *ws, float *x, size_t n)
{
    zi_ops *ops = run->ops;
    size_t hidden = (size_t)c->hidden, dim = (size_t)c->head_dim;
    size_t heads = (size_t)c->heads, kv_heads = (size_t)c->kv_heads;

    zi_rms_norm(ops, x, n, hidden, layer->input_norm, c->eps, NULL, ws->h);
    zi_linear(ops, ws->h, n, &layer->q, NULL, ws->q);
    zi_linear(ops, ws->h, n, &layer->k, NULL, ws->k);
    zi_linear(ops, ws->h, n, &layer->v, NULL, ws->v);
    zi_rms_norm(ops, ws->q, n * heads, dim, layer->q_norm, c->eps, NULL, ws->q);
    zi_rms_norm(ops, ws->k, n * kv_heads, dim, layer->k_norm, c->eps, NULL, ws->k);
    zi_rope(ops, ws->q, n, heads, dim, ws->cosines, ws->sines, false);
    zi_rope(ops, ws->k, n, kv_heads, dim, ws->cosines, ws->sines, false);
    zi_attention(ops, &(zi_attention_args){.q = ws->q,
                                           .k = ws->k,
                                           .v = ws->v,
                                           .out = ws->attention,
                                           .T = n,
                                           .S = n,
                                           .heads = heads,
                                           .kv_heads = kv_heads,
                                           .dim = dim,
                                           .causal = true});
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
            return zi_fail(error,
                           "the tokenizer gives id %d, but the text encoder knows only %d "
                           "tokens: they are of different models",
                           ids[t], qwen->config.vocab);
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
    rope_tables(c, n, &ws);
    bool ok = embed(qwen, ids, n, out, error);
    if (ok) zi_run_tap(run, out, n, hidden, "embed");
    int layers = c->layers - 1;
    for (int i = 0; ok && i < layers; i++) {
        layer_forward(run, c, &qwen->layers[i], &ws, out, n);
        ok = zi_run_layer_done(run, (double)(i + 1) / layers, out, n, hidden, error,
                               "text encoder layers.%d", i);
    }
    zi_arena_reset(run->arena, mark);
    return ok;
}
