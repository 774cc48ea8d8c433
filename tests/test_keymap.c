/* Tensor names: all names of the reference files in both directions, and each rule by itself. */
#include "harness.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "io/key_wrappers.h"
#include "io/keymap.h"

#include <string.h>

static const zi_vae_depth golden_form = {4, 1}, real_form = {4, 2};

static const char *const folders[ZI_WEIGHT_COMPONENTS] = {"transformer/", "text_encoder/", "vae/"};

/* Whether stored reads as slice of canonical. */
static bool reads_as(const char *stored, const zi_vae_depth *form, zi_component part,
                     const char *canonical, int slice, int slices)
{
    zi_key keys[ZI_MAX_FUSED];
    int count = zi_key_parse(stored, form, keys);
    bool ok = count == slices && keys[slice].component == part &&
              keys[slice].role == ZI_ROLE_WEIGHT && keys[slice].slice == slice &&
              keys[slice].slices == slices && strcmp(keys[slice].name, canonical) == 0;
    return CHECK_MSG(ok, "%s is not part %d of %d of %s but %s", stored, slice, slices, canonical,
                     count ? keys[0].name : "unknown");
}

/* Whether canonical is written so, as slice of slices. */
static bool writes_as(zi_naming naming, const char *canonical, const zi_vae_depth *form,
                      const char *stored, int slice, int slices)
{
    zi_stored_name out;
    bool ok = zi_key_format(naming, canonical, ZI_ROLE_WEIGHT, form, &out);
    return CHECK_MSG(ok && out.slice == slice && out.slices == slices &&
                         strcmp(out.name, stored) == 0,
                     "%s is written as %s in naming %d, not as %s", canonical,
                     ok ? out.name : "nothing", naming, stored);
}

/* One row of key_map.json: what one diffusers tensor is in the two ComfyUI forms. */
static void check_oracle(const cJSON *row)
{
    const char *single = cJSON_GetObjectItem(row, "single_file")->valuestring;
    const char *split = cJSON_GetObjectItem(row, "split")->valuestring;
    const cJSON *rows = cJSON_GetObjectItem(row, "rows");
    const cJSON *shape = cJSON_GetObjectItem(row, "split_shape");
    int slices = rows ? 3 : 1, slice = 0;
    if (rows) {
        int first = cJSON_GetArrayItem(rows, 0)->valueint;
        slice = first / (cJSON_GetArrayItem(rows, 1)->valueint - first);
    }
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++) {
        size_t length = strlen(folders[part]);
        if (strncmp(row->string, folders[part], length) != 0) continue;
        const char *canonical = row->string + length;
        char full[2 * ZI_MAX_KEY];
        zi_stored_name out;
        reads_as(canonical, &golden_form, (zi_component)part, canonical, 0, 1);
        reads_as(split, &golden_form, (zi_component)part, canonical, slice, slices);
        reads_as(single, &golden_form, (zi_component)part, canonical, slice, slices);
        writes_as(ZI_NAMES_DIFFUSERS, canonical, &golden_form, canonical, 0, 1);
        writes_as(ZI_NAMES_COMFYUI, canonical, &golden_form, split, slice, slices);
        snprintf(full, sizeof full, "%s%s", zi_key_prefix((zi_component)part), split);
        CHECK_MSG(strcmp(full, single) == 0, "%s, not %s", full, single);
        CHECK(zi_key_format(ZI_NAMES_COMFYUI, canonical, ZI_ROLE_WEIGHT, &golden_form, &out));
        CHECK(out.component == (zi_component)part);
        int dims = out.kind == ZI_TENSOR_CONV1X1 || out.kind == ZI_TENSOR_CONV ? 4 : 1;
        CHECK_MSG(!shape || cJSON_GetArraySize(shape) == dims, "%s is of kind %d", canonical,
                  out.kind);
        return;
    }
    CHECK_MSG(false, "%s is of no part", row->string);
}

static void comfyui_names(void)
{
    cJSON *map = NULL;
    zi_error error = {0};
    if (!CHECK_OK(
            zi_json_read(zi_test_data_path("golden/comfyui/key_map.json"), 1 << 20, &map, &error),
            error))
        return;
    const cJSON *row;
    cJSON_ArrayForEach(row, map) check_oracle(row);
    CHECK(cJSON_GetArraySize(map) == 295);
    cJSON_Delete(map);
}

static void check_mlx_file(const char *path, zi_component part)
{
    zi_checkpoint checkpoint;
    zi_error error = {0};
    if (!CHECK_OK(zi_checkpoint_open(zi_test_data_path(path), &checkpoint, &error), error)) return;
    for (size_t i = 0; i < checkpoint.tensor_count; i++) {
        const char *name = checkpoint.tensors[i].name;
        zi_key keys[ZI_MAX_FUSED];
        zi_stored_name out;
        bool ok = zi_key_parse(name, &golden_form, keys) == 1 && keys[0].component == part &&
                  zi_key_format(ZI_NAMES_MLX, keys[0].name, keys[0].role, &golden_form, &out);
        CHECK_MSG(ok && strcmp(out.name, name) == 0, "%s: %s does not come back", path, name);
    }
    zi_checkpoint_close(&checkpoint);
}

static void mlx_names(void)
{
    check_mlx_file("golden/mlx/FP16/weights.safetensors", ZI_COMPONENT_TRANSFORMER);
    check_mlx_file("golden/mlx/FP8/weights.safetensors", ZI_COMPONENT_TRANSFORMER);
    check_mlx_file("golden/mlx/FP16/text_encoder.safetensors", ZI_COMPONENT_TEXT_ENCODER);
    check_mlx_file("golden/mlx/FP16/vae.safetensors", ZI_COMPONENT_VAE);
}

/* Every canonical name of the model, written in every naming, reads as itself, and no two become
 * one. */
static void every_naming_comes_back(void)
{
    static const char *const names[ZI_WEIGHT_COMPONENTS] = {"transformer", "text_encoder", "vae"};
    static const char *const files[ZI_WEIGHT_COMPONENTS] = {"diffusion_pytorch_model", "model",
                                                            "diffusion_pytorch_model"};
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++) {
        char folder[64];
        zi_checkpoint checkpoint;
        zi_error error = {0};
        snprintf(folder, sizeof folder, "golden/model/%s", names[part]);
        if (!CHECK_OK(
                zi_checkpoint_open_dir(zi_test_data_path(folder), files[part], &checkpoint, &error),
                error))
            return;
        for (size_t i = 0; i < checkpoint.tensor_count * ZI_NAMINGS; i++) {
            const char *name = checkpoint.tensors[i / ZI_NAMINGS].name;
            zi_stored_name out;
            if (!CHECK_MSG(zi_key_format(i % ZI_NAMINGS, name, ZI_ROLE_WEIGHT, &golden_form, &out),
                           "%s in naming %d", name, (int)(i % ZI_NAMINGS)))
                continue;
            CHECK(out.component == (zi_component)part);
            reads_as(out.name, &golden_form, out.component, name, out.slice, out.slices);
        }
        zi_checkpoint_close(&checkpoint);
    }
}

/* Each rule of the seed document's map_transformer_key, map_vae_key and map_text_encoder_key, then
 * those of llama.cpp and mflux. slice -1: not fused. */
static void rules_one_by_one(void)
{
    static const struct {
        const char *stored, *canonical;
        int slice;
    } rows[] = {
        {"all_final_layer.2-1.linear.bias", "all_final_layer.2-1.linear.bias", -1},
        {"final_layer.linear.weight", "all_final_layer.2-1.linear.weight", -1},
        {"all_x_embedder.2-1.weight", "all_x_embedder.2-1.weight", -1},
        {"x_embedder.weight", "all_x_embedder.2-1.weight", -1},
        {"proj_out.bias", "all_final_layer.2-1.linear.bias", -1},
        {"proj_out.weight", "all_final_layer.2-1.linear.weight", -1},
        {"t_embedder.mlp.layers.0.weight", "t_embedder.mlp.0.weight", -1},
        {"t_embedder.mlp.1.bias", "t_embedder.mlp.2.bias", -1},
        {"t_embedder.mlp.layers.1.weight", "t_embedder.mlp.2.weight", -1},
        {"t_embedder.mlp.layers.2.bias", "t_embedder.mlp.2.bias", -1},
        {"layers.29.adaLN_modulation.weight", "layers.29.adaLN_modulation.0.weight", -1},
        {"layers.29.adaLN_modulation.1.weight", "layers.29.adaLN_modulation.0.weight", -1},
        {"noise_refiner.0.adaLN_modulation.1.bias", "noise_refiner.0.adaLN_modulation.0.bias", -1},
        {"noise_refiner.1.adaLN_modulation.0.bias", "noise_refiner.1.adaLN_modulation.0.bias", -1},
        {"final_layer.adaLN_modulation.bias", "all_final_layer.2-1.adaLN_modulation.1.bias", -1},
        {"final_layer.adaLN_modulation.1.weight", "all_final_layer.2-1.adaLN_modulation.1.weight",
         -1},
        {"layers.3.attention.to_out.weight", "layers.3.attention.to_out.0.weight", -1},
        {"layers.3.attention.out.weight", "layers.3.attention.to_out.0.weight", -1},
        {"cap_embedder.layers.0.weight", "cap_embedder.0.weight", -1},
        {"cap_embedder.layers.1.bias", "cap_embedder.1.bias", -1},
        {"context_refiner.0.attention.q_norm.weight", "context_refiner.0.attention.norm_q.weight",
         -1},
        {"context_refiner.0.attention.k_norm.weight", "context_refiner.0.attention.norm_k.weight",
         -1},
        {"layers.12.attention.qkv.weight", "layers.12.attention.to_q.weight", 0},
        {"layers.12.attention.qkv.weight", "layers.12.attention.to_k.weight", 1},
        {"layers.12.attention.qkv.weight", "layers.12.attention.to_v.weight", 2},
        {"t_embedder.linear1.weight", "t_embedder.mlp.0.weight", -1},
        {"t_embedder.linear2.bias", "t_embedder.mlp.2.bias", -1},
        {"all_final_layer.2-1.adaLN_modulation.0.bias",
         "all_final_layer.2-1.adaLN_modulation.1.bias", -1},

        {"encoder.down_blocks.1.layers.1.norm2.bias", "encoder.down_blocks.1.resnets.1.norm2.bias",
         -1},
        {"encoder.down_blocks.2.layers.2.conv.weight",
         "encoder.down_blocks.2.downsamplers.0.conv.weight", -1},
        {"decoder.up_blocks.0.layers.2.conv1.weight", "decoder.up_blocks.0.resnets.2.conv1.weight",
         -1},
        {"decoder.up_blocks.0.layers.3.conv.weight", "decoder.up_blocks.0.upsamplers.0.conv.weight",
         -1},
        {"decoder.mid_block.layers.0.conv1.bias", "decoder.mid_block.resnets.0.conv1.bias", -1},
        {"decoder.mid_block.layers.1.to_out.weight",
         "decoder.mid_block.attentions.0.to_out.0.weight", -1},
        {"encoder.mid_block.layers.1.to_q.bias", "encoder.mid_block.attentions.0.to_q.bias", -1},
        {"encoder.mid_block.layers.2.norm1.weight", "encoder.mid_block.resnets.1.norm1.weight", -1},
        {"decoder.up.3.block.2.norm1.weight", "decoder.up_blocks.0.resnets.2.norm1.weight", -1},
        {"decoder.up.0.block.0.nin_shortcut.bias",
         "decoder.up_blocks.3.resnets.0.conv_shortcut.bias", -1},
        {"decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias", -1},
        {"encoder.down.2.downsample.conv.bias", "encoder.down_blocks.2.downsamplers.0.conv.bias",
         -1},
        {"encoder.mid.attn_1.proj_out.weight", "encoder.mid_block.attentions.0.to_out.0.weight",
         -1},
        {"encoder.norm_out.weight", "encoder.conv_norm_out.weight", -1},
        {"encoder.conv_in.conv2d.weight", "encoder.conv_in.weight", -1},
        {"decoder.conv_out.conv.bias", "decoder.conv_out.bias", -1},
        {"decoder.conv_norm_out.norm.bias", "decoder.conv_norm_out.bias", -1},

        {"layers.35.self_attn.q_proj.weight", "model.layers.35.self_attn.q_proj.weight", -1},
        {"embed_tokens.weight", "model.embed_tokens.weight", -1},
        {"norm.weight", "model.norm.weight", -1},
        {"token_embd.weight", "model.embed_tokens.weight", -1},
        {"output_norm.weight", "model.norm.weight", -1},
        {"blk.7.attn_q.weight", "model.layers.7.self_attn.q_proj.weight", -1},
        {"layers.3.self_attn.q_proj.bias", "model.layers.3.self_attn.q_proj.bias", -1},
        {"blk.7.attn_q.bias", "model.layers.7.self_attn.q_proj.bias", -1},
        {"blk.7.attn_k.bias", "model.layers.7.self_attn.k_proj.bias", -1},
        {"blk.7.attn_v.bias", "model.layers.7.self_attn.v_proj.bias", -1},
        {"blk.7.attn_k.weight", "model.layers.7.self_attn.k_proj.weight", -1},
        {"blk.7.attn_v.weight", "model.layers.7.self_attn.v_proj.weight", -1},
        {"blk.7.attn_output.weight", "model.layers.7.self_attn.o_proj.weight", -1},
        {"blk.7.attn_q_norm.weight", "model.layers.7.self_attn.q_norm.weight", -1},
        {"blk.7.attn_k_norm.weight", "model.layers.7.self_attn.k_norm.weight", -1},
        {"blk.7.attn_norm.weight", "model.layers.7.input_layernorm.weight", -1},
        {"blk.7.ffn_norm.weight", "model.layers.7.post_attention_layernorm.weight", -1},
        {"blk.7.ffn_gate.weight", "model.layers.7.mlp.gate_proj.weight", -1},
        {"blk.7.ffn_up.weight", "model.layers.7.mlp.up_proj.weight", -1},
        {"blk.7.ffn_down.weight", "model.layers.7.mlp.down_proj.weight", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_stored_name out;
        if (!CHECK_MSG(zi_key_format(ZI_NAMES_DIFFUSERS, rows[i].canonical, ZI_ROLE_WEIGHT,
                                     &real_form, &out),
                       "%s is not canonical", rows[i].canonical))
            continue;
        reads_as(rows[i].stored, &real_form, out.component, rows[i].canonical,
                 rows[i].slice < 0 ? 0 : rows[i].slice, rows[i].slice < 0 ? 1 : 3);
    }
}

static void prefixes(void)
{
    static const char *const rows[ZI_WEIGHT_COMPONENTS][10] = {
        {"", "model.diffusion_model.", "diffusion_model.", "diffusion_", "transformer.", "model."},
        {"", "text_encoders.qwen3_4b.transformer.", "text_encoders.qwen3_4b.", "text_encoders.llm.",
         "text_encoder.transformer.", "text_encoder.", "transformer.", "qwen3_4b.transformer.",
         "qwen3_4b."},
        {"", "vae.", "first_stage_model."},
    };
    static const char *const names[ZI_WEIGHT_COMPONENTS] = {
        "layers.0.attention.to_k.weight", "model.layers.0.self_attn.k_proj.weight",
        "decoder.up_blocks.1.resnets.0.conv2.bias"};
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++)
        for (int i = 0; rows[part][i]; i++) {
            char stored[ZI_MAX_KEY];
            zi_key keys[ZI_MAX_FUSED];
            snprintf(stored, sizeof stored, "%s%s", rows[part][i], names[part]);
            reads_as(stored, &real_form, (zi_component)part, names[part], 0, 1);
            CHECK(zi_key_parse(stored, &real_form, keys) == 1 && keys[0].prefixed == (i > 0));
        }
}

/* Wrappers may stand anywhere, holders at the start; neither makes a name one of a file with
 * several components. */
static void wrappers(void)
{
    static const struct {
        const char *stored, *canonical;
        zi_component part;
        bool prefixed;
    } rows[] = {
        {"module.layers.0.attention.to_k.weight", "layers.0.attention.to_k.weight", 0, false},
        {"_orig_mod.layers.0.attention.to_k.weight", "layers.0.attention.to_k.weight", 0, false},
        {"net.layers.0.attention.to_k.weight", "layers.0.attention.to_k.weight", 0, false},
        {"net.net.layers.0.attention.to_k.weight", "layers.0.attention.to_k.weight", 0, false},
        {"model.model.layers.0.attention.to_k.weight", "layers.0.attention.to_k.weight", 0, true},
        {"module._orig_mod.net.x_pad_token", "x_pad_token", 0, false},
        {"_fsdp_wrapped_module.layers.0._fsdp_wrapped_module._orig_mod.ffn_norm1.weight",
         "layers.0.ffn_norm1.weight", 0, false},
        {"layers.1._checkpoint_wrapped_module.feed_forward.w2.weight",
         "layers.1.feed_forward.w2.weight", 0, false},
        {"module.model.diffusion_model.cap_pad_token", "cap_pad_token", 0, true},
        {"model.diffusion_model._orig_mod.cap_pad_token", "cap_pad_token", 0, true},
        {"net.transformer.t_embedder.mlp.2.bias", "t_embedder.mlp.2.bias", 0, true},
        {"module.model.norm.weight", "model.norm.weight", ZI_COMPONENT_TEXT_ENCODER, false},
        {"model.model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight",
         ZI_COMPONENT_TEXT_ENCODER, false},
        {"text_encoder._orig_mod.model.norm.weight", "model.norm.weight", ZI_COMPONENT_TEXT_ENCODER,
         true},
        {"module.decoder.up.3.block.2.norm1.weight", "decoder.up_blocks.0.resnets.2.norm1.weight",
         ZI_COMPONENT_VAE, false},
        {"vae.module.decoder.conv_in.bias", "decoder.conv_in.bias", ZI_COMPONENT_VAE, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_key keys[ZI_MAX_FUSED];
        reads_as(rows[i].stored, &real_form, rows[i].part, rows[i].canonical, 0, 1);
        CHECK_MSG(zi_key_parse(rows[i].stored, &real_form, keys) == 1 &&
                      keys[0].prefixed == rows[i].prefixed,
                  "%s", rows[i].stored);
    }
    zi_key key;
    CHECK(zi_key_parse_lm_head("module.lm_head.weight", &key));
    zi_vae_depth form = {0};
    zi_vae_depth_update(&form, "module.decoder.up_blocks.2._orig_mod.resnets.0.conv1.weight");
    zi_vae_depth_update(&form, "encoder.down_blocks.0._orig_mod.resnets.1.conv1.weight");
    CHECK(form.blocks == 3 && form.layers == 2);
}

/* Prefixes that are not known are told from names of other models. */
static void unknown_prefixes(void)
{
    static const struct {
        const char *name;
        size_t length;
    } rows[] = {
        {"ema.layers.0.attention.to_q.weight", 4},
        {"a.b.layers.0.attention.to_q.weight", 4},
        {"module.ema.layers.0.attention.to_q.weight", 11},
        {"x.model.diffusion_model.cap_embedder.1.bias", 2},
        {"vae2.decoder.up_blocks.1.resnets.0.conv2.bias", 5},
        {"layers.0.attention.to_q.weight", 0},
        {"module.layers.0.attention.to_q.weight", 0},
        {"some.norm.weight", 0}, /* may be of any model */
        {"ema.", 0},
        {"", 0},
        {"double_blocks.0.img_attn.qkv.weight", 0},
        {"a.b.c.d.e.f.g", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_MSG(zi_key_unknown_prefix(rows[i].name, &real_form) == rows[i].length, "%s: %zu",
                  rows[i].name, zi_key_unknown_prefix(rows[i].name, &real_form));
}

static void companions(void)
{
    static const struct {
        const char *stored, *canonical;
        zi_tensor_role role;
        int count;
    } rows[] = {
        {"layers.0.attention.to_out.scales", "layers.0.attention.to_out.0.weight",
         ZI_ROLE_GROUP_SCALES, 1},
        {"layers.0.attention.to_out.biases", "layers.0.attention.to_out.0.weight",
         ZI_ROLE_GROUP_BIASES, 1},
        {"x_embedder.biases", "all_x_embedder.2-1.weight", ZI_ROLE_GROUP_BIASES, 1},
        {"layers.1.feed_forward.w1.weight_scale", "layers.1.feed_forward.w1.weight", ZI_ROLE_SCALE,
         1},
        {"layers.1.feed_forward.w1.scale_weight", "layers.1.feed_forward.w1.weight", ZI_ROLE_SCALE,
         1},
        {"layers.1.feed_forward.w1.comfy_quant", "layers.1.feed_forward.w1.weight", ZI_ROLE_FORMAT,
         1},
        {"layers.1.feed_forward.w1.scale_input", "layers.1.feed_forward.w1.weight", ZI_ROLE_UNUSED,
         1},
        {"layers.1.feed_forward.w1.input_scale", "layers.1.feed_forward.w1.weight", ZI_ROLE_UNUSED,
         1},
        {"model.diffusion_model.layers.1.attention.qkv.weight_scale",
         "layers.1.attention.to_q.weight", ZI_ROLE_SCALE, 3},
        {"text_encoders.qwen3_4b.transformer.model.layers.1.mlp.up_proj.weight_scale",
         "model.layers.1.mlp.up_proj.weight", ZI_ROLE_SCALE, 1},
        {"norm_final.weight", "", ZI_ROLE_UNUSED, 1},
        {"model.diffusion_model.norm_final.weight", "", ZI_ROLE_UNUSED, 1},
        {"final_layer.norm_final.weight", "", ZI_ROLE_UNUSED, 1},
        {"model.diffusion_model.final_layer.norm_final.weight", "", ZI_ROLE_UNUSED, 1},
        {"all_final_layer.2-1.norm_final.weight", "", ZI_ROLE_UNUSED, 1},
        {"lm_head.weight", "", ZI_ROLE_UNUSED, 1},
        {"text_encoders.qwen3_4b.transformer.lm_head.weight", "", ZI_ROLE_UNUSED, 1},
        {"output.weight", "", ZI_ROLE_UNUSED, 1},
        {"rope_freqs.weight", "", ZI_ROLE_UNUSED, 1},
        {"rotary_emb.inv_freq", "", ZI_ROLE_UNUSED, 1},
        {"scaled_fp8", "", ZI_ROLE_UNUSED, 1},
        {"model.diffusion_model.scaled_fp8", "", ZI_ROLE_UNUSED, 1},
        {"text_encoders.qwen3_4b.logit_scale", "", ZI_ROLE_UNUSED, 1},
        {"qwen3_4b.logit_scale", "", ZI_ROLE_UNUSED, 1},
        {"qwen3_4b.transformer.model.layers.1.mlp.up_proj.weight_scale",
         "model.layers.1.mlp.up_proj.weight", ZI_ROLE_SCALE, 1},
        {"module.layers.1.feed_forward.w1.weight_scale", "layers.1.feed_forward.w1.weight",
         ZI_ROLE_SCALE, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_key keys[ZI_MAX_FUSED];
        int count = zi_key_parse(rows[i].stored, &real_form, keys);
        CHECK_MSG(count == rows[i].count && keys[0].role == rows[i].role &&
                      strcmp(keys[0].name, rows[i].canonical) == 0,
                  "%s: %d keys, the first %s", rows[i].stored, count, count ? keys[0].name : "?");
    }
    static const struct {
        zi_naming naming;
        zi_tensor_role role;
        const char *canonical, *stored;
    } written[] = {
        {ZI_NAMES_MLX, ZI_ROLE_GROUP_SCALES, "t_embedder.mlp.2.weight",
         "t_embedder.mlp.layers.2.scales"},
        {ZI_NAMES_COMFYUI, ZI_ROLE_SCALE, "layers.0.attention.to_v.weight",
         "layers.0.attention.qkv.weight_scale"},
        {ZI_NAMES_MFLUX, ZI_ROLE_GROUP_BIASES, "model.embed_tokens.weight", "embed_tokens.biases"},
        {ZI_NAMES_MLX, ZI_ROLE_GROUP_SCALES, "t_embedder.mlp.2.bias", NULL},
        {ZI_NAMES_MLX, ZI_ROLE_GROUP_SCALES, "x_pad_token", NULL},
        {ZI_NAMES_MLX, ZI_ROLE_UNUSED, "t_embedder.mlp.2.weight", NULL},
    };
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        zi_stored_name out;
        bool ok = zi_key_format(written[i].naming, written[i].canonical, written[i].role,
                                &real_form, &out);
        CHECK_MSG(ok ? written[i].stored && strcmp(out.name, written[i].stored) == 0
                     : !written[i].stored,
                  "row %zu: %s", i, ok ? out.name : "nothing");
    }
}

static void strangers(void)
{
    static const char *const rows[] = {
        "",
        "weight",
        "module",
        "module.",
        "_orig_mod.module.net.model.",
        "modules.layers.0.attention.to_q.weight",
        ".weight",
        "layers",
        "layers.0",
        "layers.0.attention.to_q",
        "layers.0.attention.to_q.bias",
        "layers.0.attention.qkv.bias",
        "layers.0.attention.to_q.weight.x",
        "layers..attention.to_q.weight",
        "layers.00.attention.to_q.weight",
        "layers.-1.attention.to_q.weight",
        "layers.1000.attention.to_q.weight",
        "layers.0.attention.to_out.1.weight",
        "layers.0.feed_forward.w4.weight",
        "xlayers.0.attention.to_q.weight",
        "double_blocks.0.img_attn.qkv.weight",
        "siglip_pad_token",
        "siglip_embedder.0.weight",
        "t_embedder_2.mlp.0.weight",
        "dec_net.cond_embed.weight",
        "x_pad_token.weight",
        "cap_embedder.0.bias",
        "layers.0.attention.to_q.lora_A.weight",
        "decoder.up.4.block.0.conv1.weight", /* there are four */
        "decoder.up_blocks.0.resnets.0.conv3.weight",
        "decoder.mid_block.resnets.2.conv1.weight",
        "quant_conv.weight",
        "post_quant_conv.weight",
        "model.layers.0.self_attn.o_proj.bias", /* Qwen 2 */
        "model.layers.0.mlp.gate.weight",
        "blk.0.attn_output.bias",
        "vae.layers.0.attention.to_q.weight",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_key keys[ZI_MAX_FUSED];
        CHECK_MSG(zi_key_parse(rows[i], &real_form, keys) == 0, "%s is taken for %s", rows[i],
                  keys[0].name);
    }
    static const char *const not_canonical[] = {"",
                                                "x_embedder.weight",
                                                "layers.0.attention.qkv.weight",
                                                "norm_final.weight",
                                                "lm_head.weight",
                                                "layers.0.attention.to_q.scales",
                                                "decoder.up.0.block.0.conv1.weight",
                                                "model.layers.0.mlp.up_proj",
                                                "decoder.up_blocks.4.resnets.0.conv1.weight"};
    for (size_t i = 0; i < sizeof not_canonical / sizeof *not_canonical; i++) {
        zi_stored_name out;
        CHECK_MSG(
            !zi_key_format(ZI_NAMES_COMFYUI, not_canonical[i], ZI_ROLE_WEIGHT, &real_form, &out),
            "%s is written as %s", not_canonical[i], out.name);
    }
}

static void heads(void)
{
    static const struct {
        const char *stored, *canonical;
        zi_tensor_role role;
    } rows[] = {{"lm_head.weight", "lm_head.weight", ZI_ROLE_WEIGHT},
                {"output.weight", "lm_head.weight", ZI_ROLE_WEIGHT},
                {"lm_head.scales", "lm_head.weight", ZI_ROLE_GROUP_SCALES},
                {"lm_head.biases", "lm_head.weight", ZI_ROLE_GROUP_BIASES}};
    zi_key key;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_MSG(zi_key_parse_lm_head(rows[i].stored, &key) && key.role == rows[i].role &&
                      strcmp(key.name, rows[i].canonical) == 0,
                  "%s", rows[i].stored);
    CHECK(!zi_key_parse_lm_head("output_norm.weight", &key) &&
          !zi_key_parse_lm_head("lm_head.bias", &key));
}

static void vae_forms(void)
{
    static const struct {
        const char *names[3];
        zi_vae_depth form;
    } rows[] = {
        {{"decoder.up_blocks.3.resnets.2.conv1.weight",
          "encoder.down_blocks.0.resnets.1.conv1.weight"},
         {4, 2}},
        {{"vae.decoder.up.2.block.1.conv1.weight", "vae.encoder.down.0.block.0.conv1.weight"},
         {3, 1}},
        {{"encoder.down_blocks.0.layers.1.norm1.weight", "encoder.down_blocks.0.layers.2.conv.bias",
          "decoder.up_blocks.1.layers.3.conv.bias"},
         {2, 2}},
        {{"model.layers.7.mlp.up_proj.weight", "text_encoder.model.norm.weight"}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_vae_depth form = {0};
        for (int j = 0; j < 3 && rows[i].names[j]; j++)
            zi_vae_depth_update(&form, rows[i].names[j]);
        CHECK_MSG(form.blocks == rows[i].form.blocks && form.layers == rows[i].form.layers,
                  "row %zu: %d blocks, %d layers", i, form.blocks, form.layers);
    }
}

static void foreign_formats(void)
{
    static const struct {
        const char *name, *format;
    } rows[] = {
        {"layers.0.feed_forward.w1.pre_quant_scale", "NVFP4"},
        {"layers.0.feed_forward.w1.weight_scale_2", NULL},
        {"layers.0.attention.to_qkv.wscales", "Nunchaku"},
        {"layers.0.attention.to_q.zero_point", "SDNQ"},
        {"layers.0.feed_forward.w1.weight_codebook", "convrot"},
        {"layers.0.feed_forward.w1.weight.absmax", "bitsandbytes"},
        {"layers.0.feed_forward.w1.SCB", "bitsandbytes"},
        {"layers.0.feed_forward.w1.weight._data", "quanto"},
        {"layers.0.feed_forward.w1.weight", NULL},
        {"layers.0.feed_forward.w1.weight_scale", NULL},
        {".scale", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *format = zi_key_unsupported_format(rows[i].name);
        CHECK_MSG(format ? rows[i].format && strstr(format, rows[i].format) : !rows[i].format,
                  "%s: %s", rows[i].name, format ? format : "none");
    }
}

int main(void)
{
    RUN(comfyui_names);
    RUN(mlx_names);
    RUN(every_naming_comes_back);
    RUN(rules_one_by_one);
    RUN(prefixes);
    RUN(wrappers);
    RUN(unknown_prefixes);
    RUN(companions);
    RUN(strangers);
    RUN(heads);
    RUN(vae_forms);
    RUN(foreign_formats);
    return zi_test_result();
}
