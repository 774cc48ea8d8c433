/* The decoder of the autoencoder (diffusers' AutoencoderKL): latents to image. */
#ifndef ZI_MODEL_VAE_H
#define ZI_MODEL_VAE_H

#include "model/config.h"
#include "model/run.h"
#include "model/weights.h"

typedef struct {
    size_t in, out; /* channels */
    zi_group_norm norm1, norm2;
    const zi_weight *conv1, *conv1_bias, *conv2, *conv2_bias;
    const zi_weight *shortcut, *shortcut_bias; /* [out, in], [out]; NULL when in equals out */
} zi_resnet;

typedef struct {
    zi_vae_config config;
    zi_weights weights;
    const zi_weight *conv_in, *conv_in_bias, *conv_out, *conv_out_bias;
    zi_resnet middle[2];
    zi_group_norm attention_norm;
    const zi_weight *q, *k, *v, *o, *q_bias, *k_bias, *v_bias, *o_bias;
    zi_resnet *resnets; /* [blocks, layers_per_block + 1] */
    struct {
        const zi_weight *conv, *bias;
    } upsample[ZI_MAX_VAE_BLOCKS]; /* after each block but the last */
    zi_group_norm norm_out;
} zi_vae;

/* Binds open weights of the decoder; the encoder's are ignored. Takes ownership of *weights and
 * zeroes it, also on failure. The caller calls zi_vae_free. ZI_ERROR_BAD_FORMAT: a tensor is
 * missing, misshapen or superfluous. *out is unchanged after a failure. */
bool zi_vae_bind(zi_weights *weights, const zi_vae_config *config, zi_vae *out,
                 zi_error *error) ZI_CHECKED;

/* Closes the weights, frees the resnets and zeroes *vae. A zeroed struct is allowed, NULL is
 * not. */
void zi_vae_free(zi_vae *vae);

/* Bytes of the weights that are used from one submission to the next, at most. */
size_t zi_vae_layer_bytes(const zi_vae *vae);

/* Raises the peak of a measuring arena to what is taken plus the temporary memory that
 * zi_vae_decode needs, unless it is higher already; nothing more stays taken. exec: the operations
 * that will run. height, width: latent pixels. */
void zi_vae_reserve(const zi_exec *exec, const zi_vae *vae, size_t height, size_t width,
                    zi_arena *arena);

/* latents [latent, height * width] from the sampler (scaling and shift are undone here, in a copy)
 * -> image [3, 8 height * 8 width], about -1 to 1, not clipped. Does not wait nor submit the last
 * layer: a later submission or read reports values of image that are not finite. Fails as
 * zi_run_progress does; image is then undefined. Taps ([pixels, channels]): conv_in, mid_attn,
 * mid_block, up_blocks.I, and each resnet as "vae mid_block.resnets.J" or "vae
 * up_blocks.I.resnets.J". */
bool zi_vae_decode(const zi_run *run, const zi_vae *vae, zi_view latents, size_t height,
                   size_t width, zi_view image, zi_error *error) ZI_CHECKED;

#endif
