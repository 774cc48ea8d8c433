/* Infers configs from tensor shapes, for models without config files. */
#include "model/config.h"

#include <stdio.h>

/* A dimension to read: of a tensor that must exist with `dims` dimensions, in 1..max. */
typedef struct {
    const char *name;
    int dims, dim;
    int max;
    int *out;
} dim_rule;

/* Sets *m->out to the dimension of the rule's tensor. Fails with ZI_ERROR_BAD_FORMAT, *m->out
 * unchanged, if the tensor is missing, has another number of dimensions, or the value is not in
 * 1..max. */
static bool read_dim(const zi_source *source, const dim_rule *m, zi_error *error)
{
    const zi_entry *entry = zi_source_find(source, m->name);
    if (!entry || entry->dims != m->dims)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, source->file, m->name,
            "tensor %s is missing, or is not of %d dimensions: the file is incomplete or of "
            "another model; fetch it again, or use a file of a Z-Image model",
            m->name, m->dims);
    size_t size = entry->shape[m->dim];
    if (size < 1 || size > (size_t)m->max)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry),
                               entry->tensor->name,
                               "tensor %s has a %zu in its shape, where only 1 to %d is supported; "
                               "use a file of a Z-Image model",
                               entry->tensor->name, size, m->max);
    *m->out = (int)size;
    return true;
}

/* Sets the dimensions of `count` rules, by read_dim, up to the first that fails. */
static bool read_dims(const zi_source *source, const dim_rule *rules, size_t count, zi_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (!read_dim(source, &rules[i], error)) return false;
    return true;
}

/* Returns the number of tensors with the canonical names before + "0" + behind, before + "1" +
 * behind and so on, up to the first that is missing. */
static int count_blocks(const zi_source *source, const char *before, const char *behind)
{
    char name[ZI_MAX_KEY];
    for (int n = 0;; n++) {
        snprintf(name, sizeof name, "%s%d%s", before, n, behind);
        if (!zi_source_find(source, name)) return n;
    }
}

enum { WIDTH = 65536, FFN = 1 << 20, VOCABULARY = 1 << 24, HEAD = 1024 };

/* Fills in config->transformer, also before a failure, from tensor shapes, the rest with
 * Z-Image-Turbo's values. axes[0] is 0 and head_dim is not inferred: zi_config_check sets them.
 * Fails with ZI_ERROR_BAD_FORMAT if a tensor is missing, with ZI_ERROR_UNSUPPORTED if patches or
 * heads do not fit Z-Image. */
static bool infer_transformer(const zi_source *source, zi_config *config, zi_error *error)
{
    int patch, head;
    zi_transformer_config *c = &config->transformer;
    const dim_rule rules[] = {
        {"all_x_embedder.2-1.weight", 2, 0, WIDTH, &c->dim},
        {"all_x_embedder.2-1.weight", 2, 1, 4 * 64, &patch},
        {"cap_embedder.1.weight", 2, 1, WIDTH, &c->caption_dim},
        {"layers.0.feed_forward.w1.weight", 2, 0, FFN, &c->ffn},
        {"layers.0.attention.norm_q.weight", 1, 0, HEAD, &head},
    };
    *c = zi_config_z_image_turbo().transformer;
    if (!read_dims(source, rules, sizeof rules / sizeof *rules, error)) return false;
    c->layers = count_blocks(source, "layers.", ".attention.norm_q.weight");
    c->refiners = count_blocks(source, "noise_refiner.", ".attention.norm_q.weight");
    c->channels = patch / 4;
    if (patch % 4 || c->dim % head)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, source->file,
                            "is no transformer of Z-Image: its patches have %d values (a multiple "
                            "of 4 is needed), and its heads are %d wide, which must divide the "
                            "width %d; use the transformer of a Z-Image model",
                            patch, head, c->dim);
    c->heads = c->dim / head;
    c->axes[0] = 0; /* check_transformer sets the default for this head_dim */
    return true;
}

/* Reads layers (all there are), eps and rope_theta of the text encoder from GGUF metadata, since
 * shapes do not determine them; rope_theta keeps its value if absent. True and *c unchanged if the
 * file does not name its architecture; ZI_ERROR_UNSUPPORTED if that is not qwen3.
 * ZI_ERROR_BAD_FORMAT: a value is missing or out of range, and *c may have changed. */
static bool read_gguf_config(const zi_gguf *gguf, zi_qwen_config *c, zi_error *error)
{
    static const char eps_key[] = "qwen3.attention.layer_norm_rms_epsilon";
    static const char theta_key[] = "qwen3.rope.freq_base";
    zi_gguf_text architecture;
    double eps = c->eps;
    int64_t layers = c->layers;
    if (!zi_gguf_find(gguf, "general.architecture")) return true;
    if (!zi_gguf_string(gguf, "general.architecture", &architecture, error)) return false;
    if (!zi_gguf_text_equals(architecture, "qwen3"))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, gguf->path, "general.architecture",
                               "general.architecture is %.*s, but only qwen3 is supported as text "
                               "encoder; use a GGUF file of Qwen3-4B",
                               architecture.size < 60 ? (int)architecture.size : 60,
                               architecture.data);
    if (!zi_gguf_integer(gguf, "qwen3.block_count", 2, 512, &layers, error) ||
        !zi_gguf_number(gguf, eps_key, &eps, error) ||
        (zi_gguf_find(gguf, theta_key) && !zi_gguf_number(gguf, theta_key, &c->rope_theta, error)))
        return false;
    c->layers = (int)layers;
    c->eps = (float)eps;
    if (!(eps >= 0 && eps <= 1 && c->rope_theta >= 1 && c->rope_theta <= 1e12))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, eps_key,
                               "%s is %g (possible: 0 to 1) and %s is %g (possible: 1 to 1e12): "
                               "the file is damaged; fetch it again",
                               eps_key, eps, theta_key, c->rope_theta);
    return true;
}

/* Fills in config->text, also before a failure, from tensor shapes and GGUF metadata (gguf NULL:
 * shapes alone), the rest with Z-Image-Turbo's values. Fails with ZI_ERROR_BAD_FORMAT if a tensor
 * is missing, with ZI_ERROR_UNSUPPORTED if the width of a head does not divide those of q and k, or
 * for less than 2 layers. */
static bool infer_text_encoder(const zi_source *source, const zi_gguf *gguf, zi_config *config,
                               zi_error *error)
{
    int q, kv;
    zi_qwen_config *c = &config->text;
    const dim_rule rules[] = {
        {"model.embed_tokens.weight", 2, 0, VOCABULARY, &c->vocab},
        {"model.embed_tokens.weight", 2, 1, WIDTH, &c->hidden},
        {"model.layers.0.self_attn.q_norm.weight", 1, 0, HEAD, &c->head_dim},
        {"model.layers.0.self_attn.q_proj.weight", 2, 0, WIDTH, &q},
        {"model.layers.0.self_attn.k_proj.weight", 2, 0, WIDTH, &kv},
        {"model.layers.0.mlp.gate_proj.weight", 2, 0, FFN, &c->ffn},
    };
    *c = zi_config_z_image_turbo().text;
    if (!read_dims(source, rules, sizeof rules / sizeof *rules, error)) return false;
    c->layers = count_blocks(source, "model.layers.", ".self_attn.q_norm.weight");
    if (q % c->head_dim || kv % c->head_dim || c->layers < 2)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, source->file,
                            "is no Qwen3 text encoder: it has %d layers (2 or more are needed), "
                            "and heads %d wide, which must divide the widths of q_proj and k_proj, "
                            "%d and %d; use the text encoder of Z-Image (Qwen3-4B)",
                            c->layers, c->head_dim, q, kv);
    c->heads = q / c->head_dim;
    c->kv_heads = kv / c->head_dim;
    return !gguf || read_gguf_config(gguf, c, error);
}

/* Fills in config->vae, also before a failure, from the shapes of the decoder's tensors, the rest
 * with Z-Image-Turbo's values. Fails with ZI_ERROR_BAD_FORMAT if a tensor is missing, with
 * ZI_ERROR_UNSUPPORTED unless the decoder has 4 blocks of at least 2 resnets. */
static bool infer_vae(const zi_source *source, zi_config *config, zi_error *error)
{
    zi_vae_config *c = &config->vae;
    *c = zi_config_z_image_turbo().vae;
    if (source->vae_depth.blocks != c->blocks)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, source->file,
                            "the decoder of this VAE has %d blocks, but only 4 are supported; use "
                            "the VAE of Z-Image",
                            source->vae_depth.blocks);
    const dim_rule latent = {"decoder.conv_in.weight", 4, 1, 64, &c->latent};
    if (!read_dim(source, &latent, error)) return false;
    for (int i = 0; i < c->blocks; i++) {
        char name[ZI_MAX_KEY];
        snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.0.conv1.weight", i);
        const dim_rule channels = {name, 4, 0, 1024, &c->channels[c->blocks - 1 - i]};
        if (!read_dim(source, &channels, error)) return false;
    }
    c->layers_per_block = count_blocks(source, "decoder.up_blocks.0.resnets.", ".conv1.weight") - 1;
    return c->layers_per_block >= 1 ||
           zi_error_set(error, ZI_ERROR_UNSUPPORTED, source->file,
                        "the decoder of this VAE has one resnet in a block, but 2 or more are "
                        "needed; use the VAE of Z-Image (it has 3)");
}

bool zi_config_infer(const zi_source *source, const zi_gguf *gguf, zi_config *config,
                     zi_error *error)
{
    bool ok = source->component == ZI_COMPONENT_TRANSFORMER
                  ? infer_transformer(source, config, error)
              : source->component == ZI_COMPONENT_TEXT_ENCODER
                  ? infer_text_encoder(source, gguf, config, error)
                  : infer_vae(source, config, error);
    return ok && zi_config_check(source->component, source->file, true, config, error);
}
