#include "io/keymap.h"
#include "io/key_wrappers.h"

#include <stdio.h>
#include <string.h>

/* Wildcards in patterns: # is a number; ~ is a number counted from the end (VAE blocks); < and >
 * are numbers determined by the VAE's depth (any number matches); the letters below stand for one
 * of several words. The n-th wildcard has the same value in all patterns of a row, < and > not
 * counted. */
static const struct {
    char letter;
    const char *words[8];
} wildcards[] = {
    {'@', {"layers", "noise_refiner", "context_refiner"}},
    {'%', {"attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"}},
    {'$', {"encoder", "decoder"}},
    {'&', {"norm1", "norm2"}},
    {'^', {"conv1", "conv2"}},
    {'!', {"w1", "w2", "w3"}},
};

enum { HAS_BIAS = 1, BARE = 2, READ_ONLY = 4, DROP = 8, FUSED = 16 };
#define SLICE(n) (FUSED | (n) << 8)

struct rule {
    zi_component component;
    zi_tensor_kind kind;
    int flags;
    const char *names[ZI_NAMINGS];
};

/* One row per module: its name in each naming. NULL: the diffusers name, or, in the last column
 * (GGUF), the ComfyUI name. BARE: a single tensor without ".weight". READ_ONLY: an alternative
 * name, never written. DROP: unused. SLICE(n): in ComfyUI and GGUF files it is the n-th third of
 * the rows of a fused tensor. */
#define RULE(component, kind, flags, ...)                                                          \
    {                                                                                              \
        component, kind, flags,                                                                    \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define T(...) RULE(ZI_COMPONENT_TRANSFORMER, __VA_ARGS__)
#define E(...) RULE(ZI_COMPONENT_TEXT_ENCODER, __VA_ARGS__)
#define V(...) RULE(ZI_COMPONENT_VAE, __VA_ARGS__)
static const struct rule rules[] = {
    T(ZI_TENSOR_ROW, BARE, "x_pad_token"),
    T(ZI_TENSOR_ROW, BARE, "cap_pad_token"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS, "all_x_embedder.2-1", "x_embedder", "x_embedder"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS, "t_embedder.mlp.0", NULL, "t_embedder.mlp.layers.0",
      "t_embedder.linear1"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS, "t_embedder.mlp.2", NULL, "t_embedder.mlp.layers.2",
      "t_embedder.linear2"),
    /* numbered without the activation between them */
    T(ZI_TENSOR_MATRIX, HAS_BIAS | READ_ONLY, "t_embedder.mlp.2", "t_embedder.mlp.1",
      "t_embedder.mlp.layers.1"),
    T(ZI_TENSOR_VECTOR, 0, "cap_embedder.0", NULL, "cap_embedder.layers.0"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS, "cap_embedder.1", NULL, "cap_embedder.layers.1"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS, "all_final_layer.2-1.linear", "final_layer.linear",
      "final_layer.linear"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS | READ_ONLY, "all_final_layer.2-1.linear", "proj_out"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS, "all_final_layer.2-1.adaLN_modulation.1",
      "final_layer.adaLN_modulation.1", "final_layer.adaLN_modulation",
      "all_final_layer.2-1.adaLN_modulation.0"),
    T(ZI_TENSOR_MATRIX, SLICE(0), "@.#.attention.to_q", "@.#.attention.qkv"),
    T(ZI_TENSOR_MATRIX, SLICE(1), "@.#.attention.to_k", "@.#.attention.qkv"),
    T(ZI_TENSOR_MATRIX, SLICE(2), "@.#.attention.to_v", "@.#.attention.qkv"),
    T(ZI_TENSOR_MATRIX, 0, "@.#.attention.to_out.0", "@.#.attention.out", "@.#.attention.to_out"),
    T(ZI_TENSOR_VECTOR, 0, "@.#.attention.norm_q", "@.#.attention.q_norm"),
    T(ZI_TENSOR_VECTOR, 0, "@.#.attention.norm_k", "@.#.attention.k_norm"),
    T(ZI_TENSOR_VECTOR, 0, "@.#.%"),
    T(ZI_TENSOR_MATRIX, 0, "@.#.feed_forward.!"),
    T(ZI_TENSOR_MATRIX, HAS_BIAS, "@.#.adaLN_modulation.0", NULL, "@.#.adaLN_modulation"),
    /* numbered with an activation before it, which the blocks do not have */
    T(ZI_TENSOR_MATRIX, HAS_BIAS | READ_ONLY, "@.#.adaLN_modulation.0", "@.#.adaLN_modulation.1"),
    T(ZI_TENSOR_VECTOR, DROP, "norm_final"), /* of a layer norm that has no weight */
    T(ZI_TENSOR_VECTOR, DROP, "all_final_layer.2-1.norm_final", "final_layer.norm_final"),
    T(ZI_TENSOR_VECTOR, DROP | BARE, "logit_scale"),
    T(ZI_TENSOR_VECTOR, DROP | BARE, "scaled_fp8"), /* redundant with the tensors' types */

    E(ZI_TENSOR_MATRIX, 0, "model.embed_tokens", NULL, NULL, "embed_tokens", "token_embd"),
    E(ZI_TENSOR_VECTOR, 0, "model.norm", NULL, NULL, "norm", "output_norm"),
    E(ZI_TENSOR_VECTOR, 0, "model.layers.#.input_layernorm", NULL, NULL, "layers.#.input_layernorm",
      "blk.#.attn_norm"),
    E(ZI_TENSOR_VECTOR, 0, "model.layers.#.post_attention_layernorm", NULL, NULL,
      "layers.#.post_attention_layernorm", "blk.#.ffn_norm"),
    E(ZI_TENSOR_MATRIX, HAS_BIAS, "model.layers.#.self_attn.q_proj", NULL, NULL,
      "layers.#.self_attn.q_proj", "blk.#.attn_q"),
    E(ZI_TENSOR_MATRIX, HAS_BIAS, "model.layers.#.self_attn.k_proj", NULL, NULL,
      "layers.#.self_attn.k_proj", "blk.#.attn_k"),
    E(ZI_TENSOR_MATRIX, HAS_BIAS, "model.layers.#.self_attn.v_proj", NULL, NULL,
      "layers.#.self_attn.v_proj", "blk.#.attn_v"),
    E(ZI_TENSOR_MATRIX, 0, "model.layers.#.self_attn.o_proj", NULL, NULL,
      "layers.#.self_attn.o_proj", "blk.#.attn_output"),
    E(ZI_TENSOR_VECTOR, 0, "model.layers.#.self_attn.q_norm", NULL, NULL,
      "layers.#.self_attn.q_norm", "blk.#.attn_q_norm"),
    E(ZI_TENSOR_VECTOR, 0, "model.layers.#.self_attn.k_norm", NULL, NULL,
      "layers.#.self_attn.k_norm", "blk.#.attn_k_norm"),
    E(ZI_TENSOR_MATRIX, 0, "model.layers.#.mlp.gate_proj", NULL, NULL, "layers.#.mlp.gate_proj",
      "blk.#.ffn_gate"),
    E(ZI_TENSOR_MATRIX, 0, "model.layers.#.mlp.up_proj", NULL, NULL, "layers.#.mlp.up_proj",
      "blk.#.ffn_up"),
    E(ZI_TENSOR_MATRIX, 0, "model.layers.#.mlp.down_proj", NULL, NULL, "layers.#.mlp.down_proj",
      "blk.#.ffn_down"),
    E(ZI_TENSOR_MATRIX, DROP, "lm_head", NULL, NULL, NULL, "output"), /* behind all that is used */
    E(ZI_TENSOR_VECTOR, DROP | BARE, "model.rotary_emb.inv_freq", NULL, NULL,
      "rotary_emb.inv_freq"),
    E(ZI_TENSOR_VECTOR, DROP | BARE, "model.layers.#.self_attn.rotary_emb.inv_freq"),
    E(ZI_TENSOR_VECTOR, DROP, "rope_freqs"),
    E(ZI_TENSOR_VECTOR, DROP | BARE, "logit_scale"),
    E(ZI_TENSOR_VECTOR, DROP | BARE, "scaled_fp8"),

    V(ZI_TENSOR_CONV, HAS_BIAS, "encoder.conv_in", NULL, NULL, "encoder.conv_in.conv2d"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "decoder.conv_in", NULL, NULL, "decoder.conv_in.conv"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "encoder.conv_out", NULL, NULL, "encoder.conv_out.conv2d"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "decoder.conv_out", NULL, NULL, "decoder.conv_out.conv"),
    V(ZI_TENSOR_VECTOR, HAS_BIAS, "$.conv_norm_out", "$.norm_out", NULL, "$.conv_norm_out.norm"),
    V(ZI_TENSOR_VECTOR, HAS_BIAS, "$.mid_block.resnets.0.&", "$.mid.block_1.&",
      "$.mid_block.layers.0.&"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "$.mid_block.resnets.0.^", "$.mid.block_1.^",
      "$.mid_block.layers.0.^"),
    V(ZI_TENSOR_VECTOR, HAS_BIAS, "$.mid_block.resnets.1.&", "$.mid.block_2.&",
      "$.mid_block.layers.2.&"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "$.mid_block.resnets.1.^", "$.mid.block_2.^",
      "$.mid_block.layers.2.^"),
    V(ZI_TENSOR_VECTOR, HAS_BIAS, "$.mid_block.attentions.0.group_norm", "$.mid.attn_1.norm",
      "$.mid_block.layers.1.group_norm"),
    V(ZI_TENSOR_CONV1X1, HAS_BIAS, "$.mid_block.attentions.0.to_q", "$.mid.attn_1.q",
      "$.mid_block.layers.1.to_q"),
    V(ZI_TENSOR_CONV1X1, HAS_BIAS, "$.mid_block.attentions.0.to_k", "$.mid.attn_1.k",
      "$.mid_block.layers.1.to_k"),
    V(ZI_TENSOR_CONV1X1, HAS_BIAS, "$.mid_block.attentions.0.to_v", "$.mid.attn_1.v",
      "$.mid_block.layers.1.to_v"),
    V(ZI_TENSOR_CONV1X1, HAS_BIAS, "$.mid_block.attentions.0.to_out.0", "$.mid.attn_1.proj_out",
      "$.mid_block.layers.1.to_out"),
    V(ZI_TENSOR_VECTOR, HAS_BIAS, "encoder.down_blocks.#.resnets.#.&", "encoder.down.#.block.#.&",
      "encoder.down_blocks.#.layers.#.&"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "encoder.down_blocks.#.resnets.#.^", "encoder.down.#.block.#.^",
      "encoder.down_blocks.#.layers.#.^"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "encoder.down_blocks.#.resnets.#.conv_shortcut",
      "encoder.down.#.block.#.nin_shortcut", "encoder.down_blocks.#.layers.#.conv_shortcut"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "encoder.down_blocks.#.downsamplers.0.conv",
      "encoder.down.#.downsample.conv", "encoder.down_blocks.#.layers.<.conv"),
    V(ZI_TENSOR_VECTOR, HAS_BIAS, "decoder.up_blocks.#.resnets.#.&", "decoder.up.~.block.#.&",
      "decoder.up_blocks.#.layers.#.&"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "decoder.up_blocks.#.resnets.#.^", "decoder.up.~.block.#.^",
      "decoder.up_blocks.#.layers.#.^"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "decoder.up_blocks.#.resnets.#.conv_shortcut",
      "decoder.up.~.block.#.nin_shortcut", "decoder.up_blocks.#.layers.#.conv_shortcut"),
    V(ZI_TENSOR_CONV, HAS_BIAS, "decoder.up_blocks.#.upsamplers.0.conv",
      "decoder.up.~.upsample.conv", "decoder.up_blocks.#.layers.>.conv"),
};
#undef RULE
#undef T
#undef E
#undef V
enum { RULES = sizeof rules / sizeof *rules };

/* Prefixes of a component's names; the first one is written. */
static const char *const prefixes[ZI_WEIGHT_COMPONENTS][9] = {
    [ZI_COMPONENT_TRANSFORMER] = {"model.diffusion_model.", "diffusion_model.", "diffusion_",
                                  "transformer.", "model."},
    [ZI_COMPONENT_TEXT_ENCODER] = {"text_encoders.qwen3_4b.transformer.", "text_encoders.qwen3_4b.",
                                   "text_encoders.llm.", "text_encoder.transformer.",
                                   "text_encoder.", "transformer.",
                                   /* as ComfyUI's CLIPSave leaves them */
                                   "qwen3_4b.transformer.", "qwen3_4b."},
    [ZI_COMPONENT_VAE] = {"vae.", "first_stage_model."},
};

/* Suffixes of a module's tensors. The first one of a role is written. */
static const struct {
    const char *text;
    zi_tensor_role role;
} suffixes[] = {
    {".weight", ZI_ROLE_WEIGHT},       {".scales", ZI_ROLE_GROUP_SCALES},
    {".biases", ZI_ROLE_GROUP_BIASES}, {".weight_scale", ZI_ROLE_SCALE},
    {".scale_weight", ZI_ROLE_SCALE},  {".weight_scale_2", ZI_ROLE_TENSOR_SCALE},
    {".comfy_quant", ZI_ROLE_FORMAT},  {".input_scale", ZI_ROLE_UNUSED},
    {".scale_input", ZI_ROLE_UNUSED},
};
enum { SUFFIXES = sizeof suffixes / sizeof *suffixes };

/* Suffixes that only unsupported quantization formats have. */
static const struct {
    const char *suffix, *format;
} unsupported[] = {
    {".pre_quant_scale", "smoothed NVFP4 (with scales of the inputs)"},
    {".weight_s_rel", "ComfyUI's 4-bit convrot or asymmetric format"},
    {".weight_s_channel", "ComfyUI's 4-bit convrot or asymmetric format"},
    {".weight_codebook", "ComfyUI's 4-bit convrot or asymmetric format"},
    {".qweight", "Nunchaku (SVDQuant), GPTQ or AWQ"},
    {".wscales", "Nunchaku (SVDQuant)"},
    {".wzeros", "Nunchaku (SVDQuant)"},
    {".proj_down", "Nunchaku (SVDQuant)"},
    {".proj_up", "Nunchaku (SVDQuant)"},
    {".smooth_factor", "Nunchaku (SVDQuant)"},
    {".smooth_factor_orig", "Nunchaku (SVDQuant)"},
    {".scale", "SDNQ"},
    {".zero_point", "SDNQ"},
    {".svd_up", "SDNQ"},
    {".svd_down", "SDNQ"},
    {".weight.absmax", "bitsandbytes"},
    {".weight.quant_map", "bitsandbytes"},
    {".SCB", "bitsandbytes"},
    {".weight._data", "optimum-quanto"},
};

/* ---- patterns ---- */

/* The values of a name's wildcards: numbers, or indices of words. */
typedef struct {
    int count, values[4];
} pattern_captures;

/* The words that a wildcard letter of a pattern stands for, up to a NULL; NULL: it is no such
 * letter. */
static const char *const *wildcard_words(char letter)
{
    for (size_t i = 0; i < sizeof wildcards / sizeof *wildcards; i++)
        if (wildcards[i].letter == letter) return wildcards[i].words;
    return NULL;
}

/* Reads a number of up to three digits without leading zeros. Returns the rest of text; NULL, *out
 * unchanged: none ("01" is none), or more digits. */
static const char *read_number(const char *text, int *out)
{
    int digits = 0, value = 0;
    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (digits == 3) return NULL;
        value = 10 * value + (text[digits] - '0');
    }
    if (!digits || (digits > 1 && text[0] == '0')) return NULL;
    *out = value;
    return text + digits;
}

/* Reads the first of the words (up to a NULL) that text begins with and sets *out to its index,
 * from 0. Returns the rest of text; NULL, *out unchanged: none. */
static const char *read_word(const char *text, const char *const *words, int *out)
{
    for (int i = 0; words[i]; i++) {
        size_t length = strlen(words[i]);
        if (strncmp(text, words[i], length) != 0) continue;
        *out = i;
        return text + length;
    }
    return NULL;
}

/* Matches pattern at the start of text and sets *found to the values of its wildcards in order (not
 * < and >; ~ as counted from the start). Returns the rest of text; NULL: no match, and *found may
 * be changed. */
static const char *match_pattern(const char *pattern, const char *text, const zi_vae_depth *depth,
                                 pattern_captures *found)
{
    *found = (pattern_captures){0};
    for (; *pattern; pattern++) {
        const char *const *words = wildcard_words(*pattern);
        int value = 0;
        if (words)
            text = read_word(text, words, &value);
        else if (strchr("#~<>", *pattern))
            text = read_number(text, &value);
        else if (*text++ != *pattern)
            return NULL;
        else
            continue;
        if (!text) return NULL;
        if (*pattern == '~') value = depth->blocks - 1 - value;
        if (value < 0) return NULL;
        if (*pattern != '<' && *pattern != '>') found->values[found->count++] = value;
    }
    return text;
}

/* Writes pattern with its wildcards replaced (from found; < and > from depth), followed by suffix.
 * False: it does not fit in out, or a block's number would be negative; out may be changed, and no
 * error is set. */
static bool expand_pattern(const char *pattern, const char *suffix, const pattern_captures *found,
                           const zi_vae_depth *depth, char out[ZI_MAX_KEY])
{
    size_t used = 0;
    int next = 0;
    for (; *pattern && used < ZI_MAX_KEY; pattern++) {
        const char *const *words = wildcard_words(*pattern);
        char *at = out + used;
        size_t room = ZI_MAX_KEY - used;
        int n = 0;
        if (words || *pattern == '#' || *pattern == '~') n = found->values[next++];
        if (*pattern == '~') n = depth->blocks - 1 - n;
        if (*pattern == '<') n = depth->layers;
        if (*pattern == '>') n = depth->layers + 1;
        if (n < 0) return false;
        if (words)
            used += (size_t)snprintf(at, room, "%s", words[n]);
        else if (strchr("#~<>", *pattern))
            used += (size_t)snprintf(at, room, "%d", n);
        else
            used += (size_t)snprintf(at, room, "%c", *pattern);
    }
    if (used < ZI_MAX_KEY) used += (size_t)snprintf(out + used, ZI_MAX_KEY - used, "%s", suffix);
    return used < ZI_MAX_KEY;
}

void zi_vae_depth_update(zi_vae_depth *depth, const char *name)
{
    static const char *const up[] = {"decoder.up_blocks.#.", "decoder.up.#."};
    static const char *const down[] = {"encoder.down_blocks.#.resnets.#.",
                                       "encoder.down_blocks.#.layers.#.&",
                                       "encoder.down.#.block.#."};
    pattern_captures found;
    char plain[ZI_MAX_KEY];
    name = zi_key_drop_wrappers(name, plain);
    const char *at = strstr(name, "decoder.");
    for (size_t i = 0; at && i < sizeof up / sizeof *up; i++)
        if (match_pattern(up[i], at, depth, &found) && found.values[0] >= depth->blocks)
            depth->blocks = found.values[0] + 1;
    at = strstr(name, "encoder.down");
    for (size_t i = 0; at && i < sizeof down / sizeof *down; i++)
        if (match_pattern(down[i], at, depth, &found) && found.values[1] >= depth->layers)
            depth->layers = found.values[1] + 1;
}

/* ---- reading ---- */

/* Returns the rule's pattern in a naming; where it has none, ComfyUI's for GGUF, else (or if that
 * is missing, too) that of diffusers, which every rule has. A constant. */
static const char *pattern_of(const struct rule *rule, zi_naming naming)
{
    if (naming == ZI_NAMES_GGUF && !rule->names[naming]) naming = ZI_NAMES_COMFYUI;
    return rule->names[rule->names[naming] ? naming : ZI_NAMES_DIFFUSERS];
}

/* Whether the rule's tensor is a slice of a fused one (q, k and v) in files of this naming. */
static bool is_fused(const struct rule *rule, zi_naming naming)
{
    return rule->flags & FUSED && (naming == ZI_NAMES_COMFYUI || naming == ZI_NAMES_GGUF);
}

/* Sets the key's kind and role by `rest`, the suffix behind the module's name, and *canonical to
 * the canonical suffix, a constant. key->role must be ZI_ROLE_WEIGHT before; it stays so for
 * ".bias" and for no suffix. False: the module has no such tensor; kind and *canonical may be
 * changed. */
static bool read_suffix(const struct rule *rule, const char *rest, const char **canonical,
                        zi_key *key)
{
    key->kind = rule->kind;
    *canonical = rule->flags & BARE ? "" : ".weight";
    if (rule->flags & BARE) return *rest == 0;
    if (rule->flags & HAS_BIAS && strcmp(rest, ".bias") == 0) {
        key->kind = ZI_TENSOR_VECTOR;
        *canonical = ".bias";
        return true;
    }
    for (int i = 0; i < SUFFIXES; i++) {
        if (strcmp(rest, suffixes[i].text) != 0) continue;
        key->role = suffixes[i].role;
        return true;
    }
    return false;
}

/* Parses a stored name without prefix by one rule, in the first naming (in the enum's order) that
 * fits and is then key->naming: sets all of *key but prefixed. False: none does; *key may be
 * changed, and no error is set. */
static bool match_rule(const struct rule *rule, const char *name, const zi_vae_depth *depth,
                       zi_key *key)
{
    for (int n = 0; n < ZI_NAMINGS; n++) {
        pattern_captures found;
        const char *canonical;
        if (!rule->names[n]) continue;
        const char *rest = match_pattern(rule->names[n], name, depth, &found);
        *key = (zi_key){.component = rule->component, .naming = (zi_naming)n, .slices = 1};
        if (!rest || !read_suffix(rule, rest, &canonical, key)) continue;
        if (is_fused(rule, key->naming)) {
            key->slice = rule->flags >> 8;
            key->slices = 3;
        }
        if (rule->flags & DROP) key->role = ZI_ROLE_UNUSED;
        if (rule->flags & DROP) return true;
        return expand_pattern(rule->names[ZI_NAMES_DIFFUSERS], canonical, &found, depth, key->name);
    }
    return false;
}

/* Parses a name, its prefix removed, as one of a component's. prefixed is copied to the keys.
 * Returns the number of keys: 1, 3 for a fused tensor, or 0: it is none of them, and keys may be
 * changed. */
static int parse_component_name(zi_component component, const char *name, const zi_vae_depth *depth,
                                bool prefixed, zi_key keys[ZI_MAX_FUSED])
{
    int count = 0;
    for (int i = 0; i < RULES && count < ZI_MAX_FUSED; i++) {
        if (rules[i].component != component || !match_rule(&rules[i], name, depth, &keys[count]))
            continue;
        keys[count].prefixed = prefixed;
        if (keys[count++].slices == 1) break;
    }
    return count;
}

/* Parses a name of any layout, without wrappers, with or without a component's prefix, as
 * zi_key_parse does. */
static int parse_name(const char *stored, const zi_vae_depth *depth, zi_key keys[ZI_MAX_FUSED])
{
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        int count = parse_component_name((zi_component)component, stored, depth, false, keys);
        for (int i = 0; !count && prefixes[component][i]; i++) {
            size_t length = strlen(prefixes[component][i]);
            if (strncmp(stored, prefixes[component][i], length) == 0)
                count = parse_component_name((zi_component)component, stored + length, depth, true,
                                             keys);
        }
        if (count) return count;
    }
    return 0;
}

int zi_key_parse(const char *stored, const zi_vae_depth *depth, zi_key keys[ZI_MAX_FUSED])
{
    enum { MAX_HOLDERS = 4 }; /* so that no name takes much time */
    char plain[ZI_MAX_KEY];
    const char *name = zi_key_drop_wrappers(stored, plain);
    int count = parse_name(name, depth, keys);
    for (int i = 0; i < MAX_HOLDERS && !count && (name = zi_key_drop_holder(name)); i++)
        count = parse_name(name, depth, keys);
    return count;
}

bool zi_key_parse_lm_head(const char *stored, zi_key *key)
{
    static const struct rule head = {
        ZI_COMPONENT_TEXT_ENCODER, ZI_TENSOR_MATRIX, 0, {"lm_head", NULL, NULL, NULL, "output"}};
    zi_key found;
    char plain[ZI_MAX_KEY];
    if (!match_rule(&head, zi_key_drop_wrappers(stored, plain), &(zi_vae_depth){0}, &found))
        return false;
    *key = found;
    return true;
}

/* ---- writing ---- */

/* Returns the stored suffix of a role, for a canonical name with the suffix `canonical`, which is
 * that of the weight itself; a constant. NULL: none, as only ".weight" has companions. */
static const char *suffix_of(zi_tensor_role role, const char *canonical)
{
    if (role == ZI_ROLE_WEIGHT) return canonical;
    if (strcmp(canonical, ".weight") != 0 || role == ZI_ROLE_UNUSED) return NULL;
    for (int i = 0; i < SUFFIXES; i++)
        if (suffixes[i].role == role) return suffixes[i].text;
    return NULL;
}

bool zi_key_format(zi_naming naming, const char *canonical, zi_tensor_role role,
                   const zi_vae_depth *depth, zi_stored_name *out)
{
    for (int i = 0; i < RULES; i++) {
        const struct rule *rule = &rules[i];
        pattern_captures found;
        zi_key key = {0};
        const char *end;
        if (rule->flags & (READ_ONLY | DROP)) continue;
        const char *rest = match_pattern(rule->names[ZI_NAMES_DIFFUSERS], canonical, depth, &found);
        if (!rest || !read_suffix(rule, rest, &end, &key) || key.role != ZI_ROLE_WEIGHT) continue;
        const char *suffix = suffix_of(role, end);
        *out = (zi_stored_name){.component = rule->component, .kind = key.kind, .slices = 1};
        if (is_fused(rule, naming)) {
            out->slice = rule->flags >> 8;
            out->slices = 3;
        }
        return suffix && expand_pattern(pattern_of(rule, naming), suffix, &found, depth, out->name);
    }
    return false;
}

const char *const zi_pad_tokens[ZI_PAD_TOKENS] = {"x_pad_token", "cap_pad_token"};

bool zi_is_pad_token(const char *canonical)
{
    for (int i = 0; i < ZI_PAD_TOKENS; i++)
        if (!strcmp(canonical, zi_pad_tokens[i])) return true;
    return false;
}

const char *zi_key_prefix(zi_component component)
{
    return prefixes[component][0];
}

const char *zi_component_title(zi_component component)
{
    static const char *const names[] = {"transformer", "text encoder", "VAE"};
    return names[component];
}

const char *zi_component_name(zi_component component)
{
    static const char *const names[] = {"transformer", "text_encoder", "vae", "tokenizer",
                                        "scheduler"};
    return names[component];
}

const char *zi_key_unsupported_format(const char *stored)
{
    size_t length = strlen(stored);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        size_t n = strlen(unsupported[i].suffix);
        if (length > n && strcmp(stored + length - n, unsupported[i].suffix) == 0)
            return unsupported[i].format;
    }
    return NULL;
}
