/* The decoder of the autoencoder (diffusers' AutoencoderKL): latents to picture. */
#ifndef ZI_MODEL_VAE_H
#define ZI_MODEL_VAE_H

#include "model/config.h"
#include "model/run.h"
#include "model/weights.h"

typedef struct {
    zi_group_norm norm1, norm2;
    zi_conv conv1, conv2;
    zi_matrix shortcut; /* [out, in]; data NULL when in equals out */
    const float *shortcut_bias;
} zi_resnet;

typedef struct {
    zi_vae_config config;
    zi_weights weights;
    zi_conv conv_in, conv_out;
    zi_resnet middle[2];
    zi_group_norm attention_norm;
    zi_matrix q, k, v, o;
    const float *q_bias, *k_bias, *v_bias, *o_bias;
    zi_resnet *resnets;                  /* [blocks, layers_per_block + 1] */
    zi_conv upsample[ZI_MAX_VAE_BLOCKS]; /* after each block but the last */
    zi_group_norm norm_out;
} zi_vae;

/* Binds weights that are open already; takes them over, also on failure. */
bool zi_vae_bind(zi_weights *weights, const zi_vae_config *config, zi_vae *out,
                 zi_error *error) ZI_CHECKED;

void zi_vae_free(zi_vae *vae);

/* Adds the memory that decoding takes for its time to a measuring arena. */
void zi_vae_plan(const zi_ops *ops, const zi_vae *vae, size_t height, size_t width,
                 zi_arena *arena);

/* latents [latent, height, width] as the sampler has them (scaling and shift are undone here) ->
 * image [3, 8 height, 8 width], about -1 to 1, not clipped.
 * Taps ([pixels, channels]): conv_in, mid_attn, mid_block, up_blocks.I. */
bool zi_vae_decode(const zi_run *run, const zi_vae *vae, const float *latents, size_t height,
                   size_t width, float *image, zi_error *error) ZI_CHECKED;

#endif
