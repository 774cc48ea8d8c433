#include "io/recognise.h"

#include <string.h>

/* A model is the first row whose parts all occur in some tensor's name. Rows that need more stand
 * before rows that need less. Names from diffusers, ComfyUI's model detection and model pages. */
static const struct {
    const char *name;
    const char *parts[3];
} models[] = {
    {"LoRA for a model", {".lora_A."}},
    {"LoRA for a model", {".lora_down."}},
    {"Z-Image-Omni", {"siglip_pad_token"}},
    {"Z-Image checkpoint (all in one)",
     {"cap_pad_token", "decoder.mid", "model.layers.0.self_attn"}},
    {"Z-Image transformer", {"cap_pad_token", "context_refiner."}},
    {"Lumina 2 transformer", {"cap_embedder.", "context_refiner."}},
    {"Flux", {"double_blocks.", "single_blocks."}},
    {"Flux", {"single_transformer_blocks."}},
    {"Stable Diffusion 3", {"joint_blocks."}},
    {"Stable Diffusion XL", {"conditioner.embedders."}},
    {"Stable Diffusion XL", {"add_embedding.linear_1"}},
    {"Stable Diffusion XL", {"label_emb.0.0"}},
    {"Stable Diffusion", {"input_blocks."}},
    {"Stable Diffusion", {"down_blocks.", "attn2.to_k"}},
    {"autoencoder", {"decoder.conv_in", "decoder.mid"}},
    {"Qwen3 language model", {"self_attn.q_norm", "mlp.gate_proj"}},
    {"language model", {"self_attn.q_proj", "mlp.gate_proj"}},
};

static bool occurs(const zi_checkpoint *checkpoint, const char *part)
{
    for (size_t i = 0; i < checkpoint->tensor_count; i++)
        if (strstr(checkpoint->tensors[i].name, part)) return true;
    return false;
}

const char *zi_recognise(const zi_checkpoint *checkpoint)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        bool all = true;
        for (int j = 0; all && j < 3 && models[i].parts[j]; j++)
            all = occurs(checkpoint, models[i].parts[j]);
        if (all) return models[i].name;
    }
    return NULL;
}
