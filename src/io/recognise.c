#include "io/recognise.h"
#include "zimage_models.h"

#include <string.h>

/* The kinds of models, which differ in what is said about them. */
enum kind {
    SUPPORTED,
    OTHER_MODEL,
    OTHER_PART, /* its name says what it is */
    ADDITION,   /* to a model */
    RELATIVE,   /* like Z-Image, but with parts of its own */
    OTHER_ENCODER,
    OTHER_VAE,
    TINY_VAE
};

/* The model is the first row of which every pattern occurs in some tensor's name (^: at its start),
 * and whose latent channels, unless they are 0, are those of the file's decoder. More specific rows
 * come first. Patterns from diffusers, ComfyUI's model detection and model pages. */
static const struct {
    const char *name;
    enum kind kind;
    const char *patterns[3];
    size_t latents;
} models[] = {
    {"LoRA for a model", ADDITION, {".lora_A."}, 0},
    {"LoRA for a model", ADDITION, {".lora_down."}, 0},
    {"LoRA for a model", ADDITION, {"lora.down."}, 0},
    {"LoRA for a model", ADDITION, {".lokr_w"}, 0},
    {"LoRA for a model", ADDITION, {".hada_w1_a"}, 0},
    {"LoRA for a model", ADDITION, {".oft_blocks"}, 0},
    {"LoRA for a model", ADDITION, {".diff_b"}, 0},
    {"ControlNet for Z-Image", ADDITION, {"control_layers."}, 0},
    {"ControlNet for Z-Image", ADDITION, {"control_noise_refiner."}, 0},
    {"ControlNet for Z-Image", ADDITION, {"control_all_x_embedder."}, 0},
    {"ControlNet for another model", ADDITION, {"controlnet_blocks."}, 0},
    {"ControlNet for another model", ADDITION, {"controlnet_cond_embedding."}, 0},
    {"ControlNet for another model", ADDITION, {"input_hint_block."}, 0},
    {"IP-Adapter", ADDITION, {"^ip_adapter."}, 0},
    {"Z-Image-Omni", RELATIVE, {"siglip_"}, 0},
    {"TwinFlow Z-Image", RELATIVE, {"t_embedder_2."}, 0},
    {"Zeta-Chroma (pixel-space Z-Image)", RELATIVE, {"dec_net."}, 0},
    {"Chroma", OTHER_MODEL, {"distilled_guidance_layer."}, 0},
    {"Zeta-Chroma (pixel-space Z-Image)", RELATIVE, {"__x0__"}, 0},
    {"Z-Image checkpoint (all in one)",
     SUPPORTED,
     {"cap_pad_token", "decoder.mid", "model.layers.0.self_attn"},
     0},
    {"Z-Image transformer", SUPPORTED, {"cap_pad_token", "context_refiner."}, 0},
    {"Lumina 2 transformer", OTHER_PART, {"time_caption_embed."}, 0},
    /* without pad tokens, as the seed repository's converter leaves it; Lumina 2 has .1. there */
    {"Z-Image transformer", SUPPORTED, {"context_refiner.", "layers.0.adaLN_modulation.0."}, 0},
    {"Z-Image transformer", SUPPORTED, {"context_refiner.", "layers.0.adaLN_modulation.weight"}, 0},
    {"Lumina 2 transformer", OTHER_PART, {"cap_embedder.", "context_refiner."}, 0},
    {"Qwen-Image", OTHER_MODEL, {"transformer_blocks.", "img_mod."}, 0},
    {"FLUX.2", OTHER_MODEL, {"double_stream_modulation_"}, 0},
    {"Flux", OTHER_MODEL, {"double_blocks.", "single_blocks."}, 0},
    {"Flux", OTHER_MODEL, {"single_transformer_blocks."}, 0},
    {"Stable Diffusion 3", OTHER_MODEL, {"joint_blocks."}, 0},
    {"Stable Diffusion 3",
     OTHER_MODEL,
     {"transformer_blocks.", "attn.add_q_proj", "context_embedder."},
     0},
    {"Stable Diffusion XL", OTHER_MODEL, {"conditioner.embedders."}, 0},
    {"Stable Diffusion XL", OTHER_MODEL, {"add_embedding.linear_1"}, 0},
    {"Stable Diffusion XL", OTHER_MODEL, {"label_emb.0.0"}, 0},
    {"Stable Diffusion", OTHER_MODEL, {"input_blocks."}, 0},
    {"Stable Diffusion", OTHER_MODEL, {"down_blocks.", "attn2.to_k"}, 0},
    {"Wan video", OTHER_MODEL, {"patch_embedding.", "cross_attn."}, 0},

    {"VAE of FLUX.2 (32 latent channels)", OTHER_VAE, {"bn.running_mean", "decoder."}, 0},
    {"VAE of FLUX.2 (32 latent channels)", OTHER_VAE, {"decoder.conv_in"}, 32},
    {"VAE of Stable Diffusion or SDXL (4 latent channels)",
     OTHER_VAE,
     {"decoder.conv_in", "encoder.conv_in"},
     4},
    {"VAE of Stable Diffusion or SDXL (4 latent channels)",
     OTHER_VAE,
     {"decoder.conv_in", "post_quant_conv."},
     4},
    {"autoencoder of Stable Diffusion", OTHER_PART, {"decoder.conv_in", "post_quant_conv."}, 0},
    {"VAE of Wan or Qwen-Image", OTHER_VAE, {"decoder.middle.0.residual."}, 0},
    {"VAE of Wan or Qwen-Image", OTHER_VAE, {"decoder.mid_block.resnets.0.norm1.gamma"}, 0},
    {"autoencoder", SUPPORTED, {"decoder.conv_in", "decoder.mid"}, 0},
    /* numbered as in taesd's code, or as in diffusers */
    {"tiny autoencoder (TAEF1 or TAESD3)", TINY_VAE, {"^1.weight", "^3.conv.0."}, 16},
    {"tiny autoencoder (TAESD or TAESDXL)", TINY_VAE, {"^1.weight", "^3.conv.0."}, 4},
    {"tiny autoencoder", TINY_VAE, {"^1.weight", "^3.conv.0."}, 0},
    {"tiny autoencoder (an encoder)", TINY_VAE, {"^0.weight", "^1.conv.0."}, 0},
    {"tiny autoencoder (TAEF1 or TAESD3)", TINY_VAE, {"decoder.layers.0.weight", ".conv.0."}, 16},
    {"tiny autoencoder (TAESD or TAESDXL)", TINY_VAE, {"decoder.layers.0.weight", ".conv.0."}, 4},
    {"tiny autoencoder", TINY_VAE, {"decoder.layers.0.weight", ".conv.0."}, 0},
    {"tiny autoencoder", TINY_VAE, {"taesd_decoder."}, 0},
    {"tiny video autoencoder (TAEHV)", TINY_VAE, {"^decoder.1.weight", "^decoder.3.conv.0."}, 0},

    {"Qwen-VL language model, which reads images", OTHER_ENCODER, {"visual.", "mlp.gate_proj"}, 0},
    {"Qwen3 language model", SUPPORTED, {"self_attn.q_norm", "mlp.gate_proj"}, 0},
    {"Qwen3 language model", SUPPORTED, {"blk.0.attn_q_norm", "blk.0.ffn_gate"}, 0},
    {"language model other than Qwen3", OTHER_ENCODER, {"self_attn.q_proj", "mlp.gate_proj"}, 0},
    {"language model other than Qwen3", OTHER_ENCODER, {"blk.0.attn_q", "blk.0.ffn_"}, 0},
    {"CLIP text encoder", OTHER_ENCODER, {"text_model.encoder."}, 0},
    {"CLIP image encoder", OTHER_PART, {"vision_model.encoder."}, 0},
    {"T5 text encoder", OTHER_ENCODER, {"SelfAttention.q."}, 0},
    {"ESRGAN upscaler", OTHER_PART, {"body.0.rdb1."}, 0},
    {"ESRGAN upscaler", OTHER_PART, {".RDB1."}, 0},
    {"textual inversion embedding", ADDITION, {"emb_params"}, 0},
};
enum { MODELS = sizeof models / sizeof *models };

/* Returns the first tensor whose name contains pattern, as plain text, or begins with what is
 * behind a ^ in it; NULL: none. */
static const zi_tensor *tensor_like(const zi_checkpoint *checkpoint, const char *pattern)
{
    bool start = *pattern == '^';
    size_t length = strlen(pattern + start);
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const char *name = checkpoint->tensors[i].name;
        if (start ? strncmp(name, pattern + 1, length) == 0 : strstr(name, pattern) != NULL)
            return &checkpoint->tensors[i];
    }
    return NULL;
}

/* Returns the channels that the convolution of this name, at the beginning of a decoder, reads: the
 * latents'. Its weight is [out, in, h, w], or [out, h, w, in] in MLX. 0: there is none. */
static size_t convolution_inputs(const zi_checkpoint *checkpoint, const char *pattern)
{
    const zi_tensor *tensor = tensor_like(checkpoint, pattern);
    if (!tensor || tensor->dims != 4) return 0;
    return tensor->shape[2] == tensor->shape[3] ? tensor->shape[1] : tensor->shape[3];
}

/* Channels of the latents that the file's decoder reads; 0: it has none, or their number cannot be
 * told. */
static size_t latent_channels(const zi_checkpoint *checkpoint)
{
    static const char *const first[] = {"decoder.conv_in.weight", "decoder.conv_in.conv.weight",
                                        "decoder.layers.0.weight", "^1.weight"};
    size_t found = 0;
    for (size_t i = 0; !found && i < sizeof first / sizeof *first; i++)
        found = convolution_inputs(checkpoint, first[i]);
    return found;
}

/* Index in models of the first row that fits the checkpoint; MODELS: unknown. */
static size_t find_model(const zi_checkpoint *checkpoint)
{
    size_t latents = latent_channels(checkpoint);
    for (size_t i = 0; i < MODELS; i++) {
        bool all = !models[i].latents || models[i].latents == latents;
        for (int j = 0; all && j < 3 && models[i].patterns[j]; j++)
            all = tensor_like(checkpoint, models[i].patterns[j]) != NULL;
        if (all) return i;
    }
    return MODELS;
}

const char *zi_recognise_model(const zi_checkpoint *checkpoint)
{
    size_t row = find_model(checkpoint);
    return row < MODELS ? models[row].name : NULL;
}

const char *zi_recognise_unsupported(const zi_checkpoint *checkpoint)
{
    size_t row = find_model(checkpoint);
    return row < MODELS && models[row].kind != SUPPORTED ? models[row].name : NULL;
}

bool zi_recognise_check(const zi_checkpoint *checkpoint, const char *path, zi_error *error)
{
    size_t row = find_model(checkpoint);
    if (row == MODELS || models[row].kind == SUPPORTED) return true;
    /* What follows the name. */
    static const char *const tails[] = {
        [OTHER_MODEL] = " model; only Z-Image models are supported",
        [OTHER_PART] = "; only Z-Image models are supported",
        [ADDITION] = ", and additions to a model are not supported; use a Z-Image model without "
                     "them",
        [RELATIVE] = " model, which is not supported; use Z-Image-Turbo or Z-Image",
        [OTHER_ENCODER] = ", which does not fit Z-Image; as the text encoder use Qwen3-4B",
        [OTHER_VAE] = ", which does not fit Z-Image; as the VAE use that of FLUX.1 (16 latent "
                      "channels), such as ae.safetensors",
        [TINY_VAE] =
            ", which is not supported; as the VAE use a whole one, such as ae.safetensors"};
    enum kind kind = models[row].kind;
    const char *name = models[row].name;
    const char *subject = kind == OTHER_ENCODER ? zi_component_name(ZI_COMPONENT_TEXT_ENCODER)
                          : kind == OTHER_VAE || kind == TINY_VAE
                              ? zi_component_name(ZI_COMPONENT_VAE)
                              : path;
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, subject, "is %s %s%s",
                           strchr("aeioAEIO", name[0]) ? "an" : "a", name, tails[kind]);
}
