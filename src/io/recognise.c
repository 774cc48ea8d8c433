#include "io/recognise.h"

#include <string.h>

/* The model is the first row of which every pattern occurs in some tensor's name. More specific
 * rows come first. Patterns from diffusers, ComfyUI's model detection and model pages. */
static const struct {
    const char *name;
    enum { SUPPORTED, OTHER_MODEL, OTHER_PART } kind; /* a part's name says what it is */
    const char *patterns[3];
} models[] = {
    {"LoRA for a model", OTHER_PART, {".lora_A."}},
    {"LoRA for a model", OTHER_PART, {".lora_down."}},
    {"LoRA for a model", OTHER_PART, {".lora.down."}},
    {"LoRA for a model", OTHER_PART, {".lokr_w1"}},
    {"LoRA for a model", OTHER_PART, {".hada_w1_a"}},
    {"ControlNet for Z-Image", OTHER_PART, {"control_layers."}},
    {"Z-Image-Omni", OTHER_MODEL, {"siglip_"}},
    {"TwinFlow Z-Image", OTHER_MODEL, {"t_embedder_2."}},
    {"pixel-space Z-Image", OTHER_MODEL, {"dec_net."}},
    {"Z-Image checkpoint (all in one)",
     SUPPORTED,
     {"cap_pad_token", "decoder.mid", "model.layers.0.self_attn"}},
    {"Z-Image transformer", SUPPORTED, {"cap_pad_token", "context_refiner."}},
    {"Lumina 2 transformer", OTHER_PART, {"time_caption_embed."}},
    /* without pad tokens, as the seed repository's converter leaves it; Lumina 2 has .1. there */
    {"Z-Image transformer", SUPPORTED, {"context_refiner.", "layers.0.adaLN_modulation.0."}},
    {"Z-Image transformer", SUPPORTED, {"context_refiner.", "layers.0.adaLN_modulation.weight"}},
    {"Lumina 2 transformer", OTHER_PART, {"cap_embedder.", "context_refiner."}},
    {"Qwen-Image", OTHER_MODEL, {"transformer_blocks.", "img_mod."}},
    {"Flux", OTHER_MODEL, {"double_blocks.", "single_blocks."}},
    {"Flux", OTHER_MODEL, {"single_transformer_blocks."}},
    {"Stable Diffusion 3", OTHER_MODEL, {"joint_blocks."}},
    {"Stable Diffusion 3",
     OTHER_MODEL,
     {"transformer_blocks.", "attn.add_q_proj", "context_embedder."}},
    {"Stable Diffusion XL", OTHER_MODEL, {"conditioner.embedders."}},
    {"Stable Diffusion XL", OTHER_MODEL, {"add_embedding.linear_1"}},
    {"Stable Diffusion XL", OTHER_MODEL, {"label_emb.0.0"}},
    {"Stable Diffusion", OTHER_MODEL, {"input_blocks."}},
    {"Stable Diffusion", OTHER_MODEL, {"down_blocks.", "attn2.to_k"}},
    {"autoencoder of Stable Diffusion", OTHER_PART, {"decoder.conv_in", "post_quant_conv."}},
    {"autoencoder", SUPPORTED, {"decoder.conv_in", "decoder.mid"}},
    {"Qwen3 language model", SUPPORTED, {"self_attn.q_norm", "mlp.gate_proj"}},
    {"Qwen3 language model", SUPPORTED, {"blk.0.attn_q_norm", "blk.0.ffn_gate"}},
    {"language model", OTHER_PART, {"self_attn.q_proj", "mlp.gate_proj"}},
    {"language model", OTHER_PART, {"blk.0.attn_q", "blk.0.ffn_"}},
    {"CLIP text encoder", OTHER_PART, {"text_model.encoder."}},
    {"T5 text encoder", OTHER_PART, {"SelfAttention.q."}},
};
enum { MODELS = sizeof models / sizeof *models };

/* Whether the name of any tensor contains pattern, as plain text. */
static bool has_tensor_name_with(const zi_checkpoint *checkpoint, const char *pattern)
{
    for (size_t i = 0; i < checkpoint->tensor_count; i++)
        if (strstr(checkpoint->tensors[i].name, pattern)) return true;
    return false;
}

/* Index in models of the first row whose patterns all occur in the checkpoint's tensor names;
 * MODELS: unknown. */
static size_t find_model(const zi_checkpoint *checkpoint)
{
    for (size_t i = 0; i < MODELS; i++) {
        bool all = true;
        for (int j = 0; all && j < 3 && models[i].patterns[j]; j++)
            all = has_tensor_name_with(checkpoint, models[i].patterns[j]);
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
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                        "is %s %s%s; only Z-Image models are supported",
                        models[row].name[0] == 'a' ? "an" : "a", models[row].name,
                        models[row].kind == OTHER_MODEL ? " model" : "");
}
