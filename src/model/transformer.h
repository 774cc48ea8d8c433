/* The diffusion transformer of Z-Image (https://arxiv.org/abs/2511.22699), a single stream of image
 * and caption tokens, as diffusers' ZImageTransformer2DModel computes it. */
#ifndef ZI_MODEL_TRANSFORMER_H
#define ZI_MODEL_TRANSFORMER_H

#include "model/config.h"
#include "model/run.h"
#include "model/weights.h"

typedef struct {
    const zi_weight *attention_norm1, *attention_norm2, *ffn_norm1, *ffn_norm2; /* [dim] */
    const zi_weight *q_norm, *k_norm;                                           /* [head_dim] */
    const zi_weight *q, *k, *v, *out;                                           /* [dim, dim] */
    const zi_weight *w1, *w2, *w3; /* gate, down, up: [ffn, dim], [dim, ffn], [ffn, dim] */
    const zi_weight *modulation, *modulation_bias; /* [4 dim, modulation], [4 dim]; NULL in the
                                                      context refiner */
} zi_block;

typedef struct {
    zi_transformer_config config;
    zi_weights weights;
    const zi_weight *x_embed, *x_embed_bias;             /* [dim, 4 channels], [dim] */
    const zi_weight *x_pad, *caption_pad;                /* [dim] */
    const zi_weight *caption_norm;                       /* [caption_dim] */
    const zi_weight *caption_embed, *caption_embed_bias; /* [dim, caption_dim], [dim] */
    const zi_weight *t_embed0, *t_embed0_bias;           /* [1024, 256], [1024] */
    const zi_weight *t_embed2, *t_embed2_bias;           /* [modulation, 1024], [modulation] */
    const zi_weight *final_modulation, *final_modulation_bias; /* [dim, modulation], [dim] */
    const zi_weight *final_linear, *final_linear_bias;         /* [4 channels, dim], [4 channels] */
    zi_block *blocks; /* noise refiner, context refiner, layers */
    zi_block *noise_refiner, *context_refiner, *layers;
} zi_transformer;

/* Binds open weights. Takes ownership of *weights and zeroes it, also on failure. The caller calls
 * zi_transformer_free. ZI_ERROR_BAD_FORMAT: a tensor is missing, misshapen or superfluous. *out is
 * unchanged after a failure. */
bool zi_transformer_bind(zi_weights *weights, const zi_transformer_config *config,
                         zi_transformer *out, zi_error *error) ZI_CHECKED;

/* Closes the weights, frees the blocks and zeroes *transformer. A zeroed struct is allowed, NULL is
 * not. */
void zi_transformer_free(zi_transformer *transformer);

/* Bytes of the weights that are used from one submission to the next, at most. */
size_t zi_transformer_layer_bytes(const zi_transformer *transformer);

/* The token sequence of one image size and caption, used by all steps. Image and caption are padded
 * to multiples of 32 tokens with learned pad tokens, which are attended to like all others. */
typedef struct {
    size_t height, width;       /* latent pixels, even */
    size_t image, image_padded; /* tokens */
    size_t caption, caption_padded;
    size_t tokens;          /* image_padded + caption_padded */
    zi_view cosines, sines; /* [tokens, head_dim / 2]: image rows, then caption rows */
    zi_view refined;        /* [caption_padded, dim]: output of the context refiner */
} zi_sequence;

/* Sets the counts of tokens in *out and takes memory for its tables from the arena (which may be
 * measuring); arena->overflow is set if it does not fit. The tables stay unset until
 * zi_transformer_caption. height, width: latent pixels, even; caption: tokens without padding. */
void zi_sequence_reserve(const zi_transformer *transformer, size_t height, size_t width,
                         size_t caption, zi_arena *arena, zi_sequence *out);

/* Raises the peak of a measuring arena to what is taken plus the temporary memory of
 * zi_transformer_caption and _step, unless it is higher already; nothing more stays taken. */
void zi_transformer_reserve(const zi_transformer *transformer, const zi_sequence *sequence,
                            zi_arena *arena);

/* Fills the rope tables of a reserved sequence and runs features [caption, caption_dim] through the
 * context refiner into sequence->refined, which it pads; once per prompt is enough, for all
 * timesteps. Does not wait for the result; features must stay valid until it is there. Fails as
 * zi_run_finish_layer does; refined is then undefined. Taps: cap_in, context_refiner.I (with
 * .attention, .feed_forward). */
bool zi_transformer_caption(const zi_run *run, const zi_transformer *transformer, zi_view features,
                            zi_sequence *sequence, zi_error *error) ZI_CHECKED;

/* latents [channels, height * width], unchanged, at model time `time` (0 noise, 1 image) -> out,
 * the same shape: the velocity towards the image (diffusers negates it before its scheduler). Does
 * not wait nor submit the last layer: a later submission or read reports values of out that are not
 * finite. Fails as zi_run_finish_layer does; out is then undefined. Taps: t_emb, patches, x_in,
 * noise_refiner.I, layers.I (with .adaLN, .attention, .feed_forward), final_layer. */
bool zi_transformer_step(const zi_run *run, const zi_transformer *transformer,
                         const zi_sequence *sequence, zi_view latents, float time, zi_view out,
                         zi_error *error) ZI_CHECKED;

#endif
