/* The shapes of a model, from config files or from the weights themselves, range-checked once. */
#ifndef ZI_MODEL_CONFIG_H
#define ZI_MODEL_CONFIG_H

#include "io/gguf.h"
#include "io/json.h"
#include "io/source.h"

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
    size_t
        group[ZI_WEIGHT_COMPONENTS]; /* numbers in a group of MLX's, where a config says so; or 0 */
} zi_config;

/* ---- config.c: from JSON ---- */

/* Refuses a model_index.json of another pipeline by its name. */
bool zi_config_check_pipeline(const char *path, zi_error *error) ZI_CHECKED;

/* Reads a part's config file, diffusers' and transformers' or MLX's, into its part of the config.
 */
bool zi_config_read(zi_component component, const char *path, zi_config *config,
                    zi_error *error) ZI_CHECKED;

bool zi_config_read_scheduler(const char *path, zi_config *config, zi_error *error) ZI_CHECKED;

/* That a part's numbers are in range and fit together; where names their source in errors, inferred
 * says that this is no config file but the weights. */
bool zi_config_check(zi_component component, const char *where, bool inferred, zi_config *config,
                     zi_error *error) ZI_CHECKED;

/* That the parts fit each other. */
bool zi_config_check_components(const char *where, const zi_config *config,
                                zi_error *error) ZI_CHECKED;

/* ---- infer.c: from what the weights are ---- */

/* Fills in the config of the part that a source lists, from its shapes and, for a text encoder,
 * from what its GGUF file says (NULL: it is none). What shapes do not tell is as in Z-Image-Turbo.
 */
bool zi_config_infer(const zi_source *source, const zi_gguf *gguf, zi_config *config,
                     zi_error *error) ZI_CHECKED;

/* What a config.json says about the shapes of a Qwen or Llama; what its family is says the caller.
 */
bool zi_config_read_qwen(const char *path, const cJSON *json, zi_qwen_config *out,
                         zi_error *error) ZI_CHECKED;

/* That its numbers fit together. */
bool zi_config_check_qwen(const char *path, const zi_qwen_config *config,
                          zi_error *error) ZI_CHECKED;

/* Z-Image-Turbo itself: what the config files of the published model say. */
zi_config zi_config_z_image_turbo(void);

#endif
