#include "io/recognise.h"

#include <string.h>

/* The model is the first row of which every pattern occurs in some tensor's name. More specific
 * rows come first. Patterns from diffusers, ComfyUI's model detection and model pages. */
static const struct {
    const char *name;
    bool supported;
    const char *patterns[3];
} models[] = {
    {"LoRA for a model", false, {".lora_A."}},
    {"LoRA for a model", false, {".lora_down."}},
    {"LoRA for a model", false, {".lora.down."}},
    {"LoRA for a model", false, {".lokr_w1"}},
    {"LoRA for a model", false, {".hada_w1_a"}},
    {"ControlNet for Z-Image", false, {"control_layers."}},
    {"Z-Image-Omni", false, {"siglip_"}},
    {"TwinFlow Z-Image", false, {"t_embedder_2."}},
    {"pixel-space Z-Image", false, {"dec_net."}},
    {"Z-Image checkpoint (all in one)",
     true,
     {"cap_pad_token", "decoder.mid", "model.layers.0.self_attn"}},
    {"Z-Image transformer", true, {"cap_pad_token", "context_refiner."}},
    {"Lumina 2 transformer", false, {"time_caption_embed."}},
    /* without pad tokens, as the seed repository's converter leaves it; Lumina 2 has .1. there */
    {"Z-Image transformer", true, {"context_refiner.", "layers.0.adaLN_modulation.0."}},
    {"Z-Image transformer", true, {"context_refiner.", "layers.0.adaLN_modulation.weight"}},
    {"Lumina 2 transformer", false, {"cap_embedder.", "context_refiner."}},
    {"Qwen-Image", false, {"transformer_blocks.", "img_mod."}},
    {"Flux", false, {"double_blocks.", "single_blocks."}},
    {"Flux", false, {"single_transformer_blocks."}},
    {"Stable Diffusion 3", false, {"joint_blocks."}},
    {"Stable Diffusion 3", false, {"transformer_blocks.", "attn.add_q_proj", "context_embedder."}},
    {"Stable Diffusion XL", false, {"conditioner.embedders."}},
    {"Stable Diffusion XL", false, {"add_embedding.linear_1"}},
    {"Stable Diffusion XL", false, {"label_emb.0.0"}},
    {"Stable Diffusion", false, {"input_blocks."}},
    {"Stable Diffusion", false, {"down_blocks.", "attn2.to_k"}},
    {"autoencoder of Stable Diffusion", false, {"decoder.conv_in", "post_quant_conv."}},
    {"autoencoder", true, {"decoder.conv_in", "decoder.mid"}},
    {"Qwen3 language model", true, {"self_attn.q_norm", "mlp.gate_proj"}},
    {"Qwen3 language model", true, {"blk.0.attn_q_norm", "blk.0.ffn_gate"}},
    {"language model", false, {"self_attn.q_proj", "mlp.gate_proj"}},
    {"language model", false, {"blk.0.attn_q", "blk.0.ffn_"}},
    {"CLIP text encoder", false, {"text_model.encoder."}},
    {"T5 text encoder", false, {"SelfAttention.q."}},
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
    return row < MODELS && !models[row].supported ? models[row].name : NULL;
}
