/* The diffusion transformer of Z-Image (https://arxiv.org/abs/2511.22699), a single stream of image
 * and caption tokens, as diffusers' ZImageTransformer2DModel computes it. */
#ifndef ZI_MODEL_TRANSFORMER_H
#define ZI_MODEL_TRANSFORMER_H

#include "model/config.h"
#include "model/run.h"
#include "model/weights.h"

typedef struct {
    const float *attention_norm1, *attention_norm2, *ffn_norm1, *ffn_norm2; /* [dim] */
    const float *q_norm, *k_norm;                                           /* [head_dim] */
    zi_matrix q, k, v, out;                                                 /* [dim, dim] */
    zi_matrix w1, w2, w3;         /* gate and up [ffn, dim], down [dim, ffn] */
    zi_matrix modulation;         /* [4 dim, modulation]; data NULL in the context refiner */
    const float *modulation_bias; /* [4 dim] */
} zi_block;

typedef struct {
    zi_transformer_config config;
    zi_weights weights;
    zi_matrix x_embed; /* [dim, 4 channels] */
    const float *x_embed_bias;
    const float *x_pad, *caption_pad; /* [dim] */
    const float *caption_norm;        /* [caption_dim] */
    zi_matrix caption_embed;          /* [dim, caption_dim] */
    const float *caption_embed_bias;
    zi_matrix t_embed0, t_embed2; /* [1024, 256], [modulation, 1024] */
    const float *t_embed0_bias, *t_embed2_bias;
    zi_matrix final_modulation; /* [dim, modulation] */
    const float *final_modulation_bias;
    zi_matrix final_linear; /* [4 channels, dim] */
    const float *final_linear_bias;
    zi_block *blocks; /* noise refiner, context refiner, layers */
    zi_block *noise_refiner, *context_refiner, *layers;
} zi_transformer;

/* Binds weights that are open already; takes them over, also on failure. */
bool zi_transformer_bind(zi_weights *weights, const zi_transformer_config *config,
                         zi_transformer *out, zi_error *error) ZI_CHECKED;

void zi_transformer_free(zi_transformer *transformer);

/* A picture size and a caption, prepared for any number of steps: both are padded to multiples of
 * 32 tokens with learned pad tokens, which take part in attention like all others. */
typedef struct {
    size_t height, width;       /* latent pixels, even */
    size_t image, image_padded; /* tokens */
    size_t caption, caption_padded;
    size_t tokens;          /* image_padded + caption_padded */
    float *cosines, *sines; /* [tokens, head_dim / 2]: image rows, then caption rows */
    float *refined;         /* [caption_padded, dim]: out of the context refiner */
} zi_sequence;

/* Lays out a sequence in the arena (which may be measuring). height and width: latent pixels. */
void zi_sequence_plan(const zi_transformer *transformer, size_t height, size_t width,
                      size_t caption, zi_arena *arena, zi_sequence *out);

/* Adds the memory that zi_transformer_caption and zi_transformer_step take for their time. */
void zi_transformer_plan(const zi_transformer *transformer, const zi_sequence *sequence,
                         zi_arena *arena);

/* Fills the tables of a planned sequence and runs features [caption, caption_dim] through the
 * context refiner. Does not depend on the timestep, so once per prompt is enough.
 * Taps: cap_in, context_refiner.I. */
bool zi_transformer_caption(const zi_run *run, const zi_transformer *transformer,
                            const float *features, zi_sequence *sequence,
                            zi_error *error) ZI_CHECKED;

/* latents [channels, height, width] at model time t (0 noise, 1 picture) -> out, the same shape:
 * the velocity towards the picture (diffusers negates it before its scheduler). Taps: t_emb,
 * patches, x_in, noise_refiner.I, layers.I (with .adaLN, .attention, .feed_forward), final_layer.
 */
bool zi_transformer_step(const zi_run *run, const zi_transformer *transformer,
                         const zi_sequence *sequence, const float *latents, float t, float *out,
                         zi_error *error) ZI_CHECKED;

#endif
