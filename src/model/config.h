/* A model's configs: read from config files or inferred from the weights' shapes, and validated. */
#ifndef ZI_MODEL_CONFIG_H
#define ZI_MODEL_CONFIG_H

#include "io/gguf.h"
#include "io/json.h"
#include "io/source.h"

enum { ZI_MAX_VAE_BLOCKS = 8 };

/* text_encoder/config.json (transformers' Qwen3), or the config of a Qwen2, Qwen3 or Llama model.
 */
typedef struct {
    int layers, hidden, heads, kv_heads, head_dim, ffn, vocab;
    float eps;
    double rope_theta;
    bool qk_norm;     /* q and k have norms, as in Qwen3 */
    bool biases;      /* q, k and v have biases, as in Qwen2 */
    bool interleaved; /* rope rotates adjacent pairs, as in GGUF's Llama; false: the two halves */
    int context; /* trained context length in tokens; 0 or 1 << 30: unknown. Language models only */
} zi_qwen_config;

/* transformer/config.json (diffusers' ZImageTransformer2DModel). */
typedef struct {
    int layers, refiners, dim, heads, head_dim, ffn, caption_dim, channels, patch;
    int modulation;       /* width of the timestep embedding, min(dim, 256) */
    int axes[3], lens[3]; /* rope axes (time, y, x): width within a head, number of positions */
    float eps;
    double rope_theta, t_scale;
} zi_transformer_config;

/* vae/config.json (diffusers' AutoencoderKL). */
typedef struct {
    int blocks, channels[ZI_MAX_VAE_BLOCKS]; /* block_out_channels, widest last */
    int layers_per_block, groups, latent;
    int native_size; /* sample_size: default image side in pixels, a multiple of 16 */
    float scaling, shift;
} zi_vae_config;

/* scheduler/scheduler_config.json (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
 * or FlowMatchLCMScheduler). */
typedef struct {
    zi_sampler sampler;   /* by the class; not ZI_SAMPLER_AUTO */
    zi_schedule schedule; /* by use_karras_sigmas and so on; not ZI_SCHEDULE_AUTO */
    double shift;
    double terminal; /* shift_terminal: the last sigma before 0; 0: as it comes */
    /* use_dynamic_shifting: instead of `shift`, mu follows from the number of image tokens, on a
     * line through base_shift at base_tokens and max_shift at max_tokens. */
    bool dynamic, linear; /* linear: the shift is mu, not e^mu */
    double base_shift, max_shift;
    int base_tokens, max_tokens;
} zi_scheduler_config;

typedef struct {
    zi_qwen_config text;
    zi_transformer_config transformer;
    zi_vae_config vae;
    zi_scheduler_config scheduler;
    zi_variant variant;
    /* Shift of the reference's scheduler if that is not used, as it is of the other variant; 0:
     * there is none such. */
    double foreign_shift;
    size_t group[ZI_WEIGHT_COMPONENTS]; /* MLX group size that the config states; 0: none */
} zi_config;

/* ---- config.c: from JSON ---- */

/* Fails unless the model_index.json at path names Z-Image's pipeline: with ZI_ERROR_UNSUPPORTED if
 * it names another one, with ZI_ERROR_BAD_FORMAT if it names none, else with the reason why the
 * file cannot be read. */
bool zi_config_check_pipeline(const char *path, zi_error *error) ZI_CHECKED;

/* Reads a component's config file (diffusers, transformers or MLX) into its fields of *config,
 * with its MLX group size in config->group, and validates them as zi_config_check does
 * (inferred: false). *config is {0} before its first component. The fields may have changed
 * after a failure. */
bool zi_config_read(zi_component component, const char *path, zi_config *config,
                    zi_error *error) ZI_CHECKED;

/* Validates a component's fields; for the transformer, also sets head_dim, modulation and, when
 * axes[0] is 0, axes, perhaps before a failure. where: the source named in errors. inferred: the
 * fields come from weights, so that rope axes or norm groups that do not fit are
 * ZI_ERROR_INCOMPLETE, which another model's config can fix, not ZI_ERROR_BAD_FORMAT. */
bool zi_config_check(zi_component component, const char *where, bool inferred, zi_config *config,
                     zi_error *error) ZI_CHECKED;

/* Fails with ZI_ERROR_BAD_FORMAT unless the text encoder's width is the transformer's caption_dim
 * and the transformer has as many latent channels as the VAE. where: the model named in
 * errors, whose subject is "text_encoder" or "vae". */
bool zi_config_check_components(const char *where, const zi_config *config,
                                zi_error *error) ZI_CHECKED;

/* Reads the shape fields, eps, rope_theta (`theta` if absent) and context of a parsed Qwen or Llama
 * config.json, without zi_config_check_qwen. The caller sets qk_norm, biases and interleaved, which
 * depend on the architecture. Optional: head_dim (hidden_size / heads), max_position_embeddings
 * (2^30) and attention_bias. Fails with ZI_ERROR_BAD_FORMAT for another field that is missing, or
 * one of a wrong type or out of range, and as zi_config_check_fields; *out may have changed. path:
 * for errors only. */
bool zi_config_read_qwen(const char *path, const cJSON *json, double theta, zi_qwen_config *out,
                         zi_error *error) ZI_CHECKED;

/* Fails with ZI_ERROR_BAD_FORMAT unless kv_heads, which is not 0, divides heads and head_dim is
 * even, from 2 to ZI_MAX_HEAD. path: for errors only. */
bool zi_config_check_qwen(const char *path, const zi_qwen_config *config,
                          zi_error *error) ZI_CHECKED;

/* The config of the published Z-Image-Turbo model, all components and the scheduler; no MLX groups.
 */
zi_config zi_config_z_image_turbo(void);

/* ---- scheduler_config.c ---- */

/* Reads a scheduler_config.json; the shift is 1 if it is absent. Fails with ZI_ERROR_UNSUPPORTED
 * for another class of schedulers and as zi_config_check_fields, with ZI_ERROR_BAD_FORMAT without a
 * class, for values out of range and for several families of sigmas. *out may have changed then. */
bool zi_config_read_scheduler(const char *path, zi_scheduler_config *out,
                              zi_error *error) ZI_CHECKED;

/* The shift for an image of this many tokens (of 16 x 16 pixels): scheduler->shift or, if it is
 * dynamic, the one that follows from their number, which need not be in the range of the parameter
 * "shift". */
double zi_scheduler_shift(const zi_scheduler_config *scheduler, int tokens);

/* ---- infer.c: from what the weights are ---- */

/* Fills in the config of the source's component from tensor shapes and, for a text encoder, from
 * GGUF metadata (NULL: no GGUF file), and validates it as zi_config_check does. Fields that these
 * do not determine are Z-Image-Turbo's; group is not set. Fails if a tensor that it needs is
 * missing or does not fit Z-Image. */
bool zi_config_infer(const zi_source *source, const zi_gguf *gguf, zi_config *config,
                     zi_error *error) ZI_CHECKED;

#endif
