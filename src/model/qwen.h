/* The text encoder: Qwen3 (https://arxiv.org/abs/2505.09388), run up to the layer before the last,
 * whose output (without a final norm) is what Z-Image is conditioned on. */
#ifndef ZI_MODEL_QWEN_H
#define ZI_MODEL_QWEN_H

#include "model/config.h"
#include "model/run.h"
#include "model/weights.h"

typedef struct {
    const float *input_norm, *post_norm; /* [hidden] */
    const float *q_norm, *k_norm;        /* [head_dim] */
    zi_matrix q, k, v, o, gate, up, down;
} zi_qwen_layer;

typedef struct {
    zi_qwen_config config;
    zi_weights weights;
    zi_matrix embed;       /* [vocab, hidden] */
    zi_qwen_layer *layers; /* config.layers - 1: the last one is never computed */
} zi_qwen;

/* Binds weights that are open already; takes them over, also on failure. */
bool zi_qwen_bind(zi_weights *weights, const zi_qwen_config *config, zi_qwen *out,
                  zi_error *error) ZI_CHECKED;

void zi_qwen_free(zi_qwen *qwen);

/* Adds the memory that encoding n tokens takes for its time to a measuring arena. */
void zi_qwen_plan(const zi_qwen *qwen, size_t n, zi_arena *arena);

/* ids [n] -> out [n, hidden], the hidden states after layer layers-1 (1-based), transformers'
 * hidden_states[-2]. Every id must be below the vocabulary's size.
 * Taps: embed, layers.I. */
bool zi_qwen_encode(const zi_run *run, const zi_qwen *qwen, const int32_t *ids, size_t n,
                    float *out, zi_error *error) ZI_CHECKED;

#endif
