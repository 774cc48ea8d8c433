/* The shapes of a model, read from its folder's config files and range-checked once. */
#ifndef ZI_MODEL_CONFIG_H
#define ZI_MODEL_CONFIG_H

#include "io/json.h"

enum { ZI_MAX_VAE_BLOCKS = 8 };

/* text_encoder/config.json (transformers' Qwen3), or that of a language model of its kin. */
typedef struct {
    int layers, hidden, heads, kv_heads, head_dim, ffn, vocab;
    float eps;
    double rope_theta;
    bool qk_norm;     /* q and k have norms, as in Qwen3 */
    bool biases;      /* q, k and v have biases, as in Qwen2 */
    bool interleaved; /* rope turns neighbours, as in GGUF's Llama; otherwise halves */
    int context;      /* positions that it was trained for; of no interest to an encoder */
} zi_qwen_config;

/* transformer/config.json (diffusers' ZImageTransformer2DModel). */
typedef struct {
    int layers, refiners, dim, heads, head_dim, ffn, caption_dim, channels, patch;
    int modulation;       /* width of the timestep embedding, min(dim, 256) */
    int axes[3], lens[3]; /* rope: width of each axis in a head, positions it may take */
    float eps;
    double rope_theta, t_scale;
} zi_transformer_config;

/* vae/config.json (diffusers' AutoencoderKL). */
typedef struct {
    int blocks, channels[ZI_MAX_VAE_BLOCKS]; /* block_out_channels, widest last */
    int layers_per_block, groups, latent;
    int native_size; /* sample_size: the side in pixels that the model was made for */
    float scaling, shift;
} zi_vae_config;

/* scheduler/scheduler_config.json (FlowMatchEulerDiscreteScheduler). */
typedef struct {
    double shift;
} zi_scheduler_config;

typedef struct {
    zi_qwen_config text;
    zi_transformer_config transformer;
    zi_vae_config vae;
    zi_scheduler_config scheduler;
} zi_config;

/* Reads the five JSON files of a diffusers folder. Another pipeline (Stable Diffusion, Flux, ...)
 * is refused by its name. */
bool zi_config_read(const char *folder, zi_config *out, zi_error *error) ZI_CHECKED;

/* What a config.json says about the shapes of a Qwen or Llama; what its family is says the caller.
 */
bool zi_config_read_qwen(const char *path, const cJSON *json, zi_qwen_config *out,
                         zi_error *error) ZI_CHECKED;

/* Z-Image-Turbo itself: what the config files of the published model say. */
zi_config zi_config_real(void);

#endif
