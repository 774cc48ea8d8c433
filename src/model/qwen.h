/* The text encoder: Qwen3 (https://arxiv.org/abs/2505.09388), run up to the layer before the last,
 * whose output (without final norm) conditions Z-Image. With all layers and the head, the same code
 * is a language model; Qwen2 and Llama differ only in norms, biases and rope of q and k. */
#ifndef ZI_MODEL_QWEN_H
#define ZI_MODEL_QWEN_H

#include "model/config.h"
#include "model/run.h"
#include "model/weights.h"

typedef struct {
    const zi_weight *input_norm, *post_norm;   /* [hidden] */
    const zi_weight *q_norm, *k_norm;          /* [head_dim]; NULL: none */
    const zi_weight *q_bias, *k_bias, *v_bias; /* NULL: none */
    const zi_weight *q, *k, *v, *o, *gate, *up, *down;
} zi_qwen_layer;

typedef struct {
    zi_qwen_config config;
    zi_weights weights;
    const zi_weight *embed; /* [vocab, hidden] */
    zi_qwen_layer *layers;  /* [layer_count] */
    size_t layer_count;     /* the text encoder leaves the last layer out */
    const zi_weight *norm;  /* of a language model: [hidden] */
    const zi_weight *head;  /* of a language model: [vocab, hidden], its own or embed */
} zi_qwen;

/* Binds open weights for the text encoder: the embedding and all layers but the last, which is
 * ignored, like the final norm. Takes ownership of *weights and zeroes it, also on failure. The
 * caller calls zi_qwen_free. ZI_ERROR_BAD_FORMAT: a tensor is missing, misshapen or superfluous.
 * *out is unchanged after a failure. */
bool zi_qwen_bind(zi_weights *weights, const zi_qwen_config *config, zi_qwen *out,
                  zi_error *error) ZI_CHECKED;

/* Binds open weights for a language model: all layers, final norm and head. tied: the embedding is
 * used as head, and a stored head is ignored; else a head is required. Takes ownership of *weights,
 * also on failure. The caller calls zi_qwen_free. Fails as zi_qwen_bind does. */
bool zi_qwen_bind_language(zi_weights *weights, const zi_qwen_config *config, bool tied,
                           zi_qwen *out, zi_error *error) ZI_CHECKED;

/* Closes the weights, frees the layers and zeroes *qwen. A zeroed struct is allowed, NULL is
 * not. */
void zi_qwen_free(zi_qwen *qwen);

/* Bytes of the weights that are used from one submission to the next, at most. Of the embedding
 * backends need single rows only. */
size_t zi_qwen_layer_bytes(const zi_qwen *qwen);

/* Raises the peak of a measuring arena to what is taken plus the temporary memory that
 * zi_qwen_encode needs for n tokens, unless it is higher already; nothing more stays taken. */
void zi_qwen_reserve(const zi_qwen *qwen, size_t n, zi_arena *arena);

/* ids [n], 1 or more -> out [n, hidden], the hidden states after the last layer but one
 * (transformers' hidden_states[-2]). Submits every layer, but does not wait for the last ones.
 * Fails when cancelled (see zi_run_progress), with ZI_ERROR_BAD_FORMAT for an id outside the
 * vocabulary (before it computes) or values that are not finite; out is then undefined. Taps:
 * embed, "text encoder layers.I". */
bool zi_qwen_encode(const zi_run *run, const zi_qwen *qwen, const int32_t *ids, size_t n,
                    zi_view out, zi_error *error) ZI_CHECKED;

/* ---- language models ---- */

/* KV cache: keys and values of the tokens processed so far. */
typedef struct {
    zi_view k, v;           /* [layers * capacity, kv_heads * head_dim] */
    size_t capacity, count; /* in tokens */
} zi_qwen_cache;

/* Takes an empty cache for `capacity` tokens from the arena (which may be measuring), not cleared,
 * and raises the arena's peak to hold the temporary memory, too, that zi_qwen_forward needs for up
 * to n tokens at once. arena->overflow is set if it does not fit. */
void zi_qwen_cache_reserve(const zi_qwen *qwen, size_t capacity, size_t n, zi_arena *arena,
                           zi_qwen_cache *out);

/* Runs n more tokens (0: does nothing), for which the cache must have room: appends their keys and
 * values, raises its count by n, and sets logits [1, vocab] of the token that follows, unless
 * logits has no buffer. Does not wait for the result. Fails as zi_qwen_encode does; logits are then
 * undefined, and the count includes the finished batches of 512 tokens. Taps: "language model
 * layers.I", "language model logits". */
bool zi_qwen_forward(const zi_run *run, const zi_qwen *qwen, zi_qwen_cache *cache,
                     const int32_t *ids, size_t n, zi_view logits, zi_error *error) ZI_CHECKED;

#endif
