#include "convert/component_config.h"
#include "base/file.h"
#include "io/gguf.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 20, MAX_SIZE = 1 << 24, MAX_BLOCKS = 16 };

/* Z-Image-Turbo's config fields that tensor shapes do not determine; used when the source has no
 * config of its own. */
static const char *const templates[ZI_WEIGHT_COMPONENTS] = {
    [ZI_COMPONENT_TRANSFORMER] =
        "{\"_class_name\": \"ZImageTransformer2DModel\","
        "\"all_f_patch_size\": [1], \"all_patch_size\": [2],"
        "\"axes_lens\": [1536, 512, 512], \"norm_eps\": 1e-05, \"qk_norm\": true,"
        "\"rope_theta\": 256, \"t_scale\": 1000}",
    [ZI_COMPONENT_TEXT_ENCODER] =
        "{\"architectures\": [\"Qwen3ForCausalLM\"], \"attention_bias\": false,"
        "\"attention_dropout\": 0, \"hidden_act\": \"silu\","
        "\"initializer_range\": 0.02, \"max_position_embeddings\": 40960,"
        "\"model_type\": \"qwen3\", \"rope_scaling\": null,"
        "\"sliding_window\": null, \"tie_word_embeddings\": true,"
        "\"use_cache\": true, \"use_sliding_window\": false}",
    [ZI_COMPONENT_VAE] =
        "{\"_class_name\": \"AutoencoderKL\", \"act_fn\": \"silu\", \"force_upcast\": true,"
        "\"in_channels\": 3, \"mid_block_add_attention\": true, \"out_channels\": 3,"
        "\"sample_size\": 1024, \"scaling_factor\": 0.3611, \"shift_factor\": 0.1159,"
        "\"use_post_quant_conv\": false, \"use_quant_conv\": false}",
};

/* Fields of an MLX transformer config, in the order of the file, and their names in diffusers;
 * NULL: diffusers has no such field. */
static const struct {
    const char *mlx, *diffusers;
} mlx_fields[] = {
    {"hidden_size", "dim"},
    {"num_attention_heads", "n_heads"},
    {"intermediate_size", NULL},
    {"num_hidden_layers", "n_layers"},
    {"n_refiner_layers", "n_refiner_layers"},
    {"in_channels", "in_channels"},
    {"text_embed_dim", "cap_feat_dim"},
    {"patch_size", NULL},
    {"rope_theta", "rope_theta"},
    {"axes_dims", "axes_dims"},
    {"axes_lens", "axes_lens"},
};
enum { MLX_FIELDS = sizeof mlx_fields / sizeof *mlx_fields };

/* ---- fields from tensor shapes ---- */

/* A config that is being filled in. The first error clears ok and is kept; later calls do nothing.
 */
struct builder {
    const zi_source *source;
    cJSON *json;
    const char *config; /* names the given config in errors */
    zi_error *error;
    bool ok;
};

/* Size of dimension dim (from 0, of the canonical shape) of the tensor of a canonical name. Returns
 * 0 and clears builder->ok, with an error, when the tensor is missing, has no such dimension, or
 * the size is not in 1..MAX_SIZE. Returns 0 once ok is false. */
static int tensor_dim(struct builder *builder, const char *name, int dim)
{
    const zi_entry *entry = zi_source_find(builder->source, name);
    if (!builder->ok) return 0;
    if (!entry) {
        builder->ok =
            zi_error_set_in(builder->error, ZI_ERROR_BAD_FORMAT, builder->source->file, name,
                            "tensor %s is missing: the file is incomplete; fetch it again", name);
    } else if (dim >= entry->dims || !entry->shape[dim] || entry->shape[dim] > MAX_SIZE) {
        builder->ok = zi_error_set_in(
            builder->error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry), name,
            "tensor %s has shape %s, which no Z-Image model has; use another file of this model, "
            "or fetch this one again",
            name, zi_shape_text(entry->shape, entry->dims, (char[ZI_SHAPE_TEXT]){0}));
    } else {
        return (int)entry->shape[dim];
    }
    return 0;
}

/* Counts the tensors named before + "0" + behind, before + "1" + behind and so on, up to the first
 * that is missing. */
static int count_blocks(const struct builder *builder, const char *before, const char *behind)
{
    char name[ZI_MAX_KEY];
    for (int n = 0;; n++) {
        snprintf(name, sizeof name, "%s%d%s", before, n, behind);
        if (!zi_source_find(builder->source, name)) return n;
    }
}

/* Adds a field that the config does not have. Takes value in any case. Clears builder->ok, with an
 * error, when memory is short, which value NULL counts as, too. Does nothing else once ok is
 * false. */
static void add_field(struct builder *builder, const char *field, cJSON *value)
{
    if (builder->ok && cJSON_AddItemToObject(builder->json, field, value)) return;
    cJSON_Delete(value);
    if (builder->ok) builder->ok = zi_error_no_memory(builder->error, strlen(field));
}

/* Sets a field that shapes determine, where the config has none or null. Clears builder->ok, with
 * an error, when the config has another value (1.0 equals 1), or memory is short, which value NULL
 * counts as, too. Takes value in any case. ok false: does nothing else. */
static void set_shape_field(struct builder *builder, const char *field, cJSON *value)
{
    const cJSON *given = zi_json_find(builder->json, field);
    if (builder->ok && value && given && !cJSON_Compare(given, value, true)) {
        char found[64];
        char *is = cJSON_PrintUnformatted(value);
        zi_json_describe(given, found);
        builder->ok = zi_error_set_in(builder->error, ZI_ERROR_BAD_FORMAT, builder->config, field,
                                      "field \"%s\" is %s, but the tensors of %s need %s; use the "
                                      "config file of the same model",
                                      field, found, builder->source->file, is ? is : "?");
        free(is);
    }
    if (!builder->ok || (given && value)) {
        cJSON_Delete(value);
        return;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(builder->json, field); /* it may be null */
    add_field(builder, field, value);
}

/* Sets a whole number that shapes determine, where the config has none or null; clears builder->ok,
 * with an error, where it has another. Does nothing once ok is false. Short memory clears ok, too.
 */
static void set_shape_int(struct builder *builder, const char *field, int value)
{
    set_shape_field(builder, field, cJSON_CreateNumber(value));
}

/* Sets a field that shapes do not determine, unless the config has it, even as null. Takes value in
 * any case. Clears builder->ok, with an error, when memory is short, which value NULL counts as,
 * too. ok false: does nothing else. */
static void set_default(struct builder *builder, const char *field, cJSON *value)
{
    if (cJSON_GetObjectItemCaseSensitive(builder->json, field))
        cJSON_Delete(value);
    else
        add_field(builder, field, value);
}

/* Sets the transformer's sizes and numbers of layers from tensor shapes, and, if the config has
 * none, axes_dims from the head width. Clears builder->ok, with an error, when tensors are missing,
 * the config has other values, dim is no multiple of the head width, or the patch width none of
 * 4. */
static void add_transformer_fields(struct builder *builder)
{
    int dim = tensor_dim(builder, "all_x_embedder.2-1.weight", 0);
    int patch = tensor_dim(builder, "all_x_embedder.2-1.weight", 1);
    int head = tensor_dim(builder, "layers.0.attention.norm_q.weight", 0);
    int text = tensor_dim(builder, "cap_embedder.1.weight", 1);
    if (builder->ok && dim % head)
        builder->ok = zi_error_set(builder->error, ZI_ERROR_BAD_FORMAT, builder->source->file,
                                   "is no transformer of Z-Image: its width, %d, is not a multiple "
                                   "of the width of an attention head, %d; use a Z-Image model",
                                   dim, head);
    if (builder->ok && patch % 4)
        builder->ok =
            zi_error_set(builder->error, ZI_ERROR_BAD_FORMAT, builder->source->file,
                         "is no transformer of Z-Image: the rows of its first layer (x_embedder) "
                         "have %d values, which is not a multiple of 4; use a Z-Image model",
                         patch);
    if (!builder->ok) return;
    set_shape_int(builder, "cap_feat_dim", text);
    set_shape_int(builder, "dim", dim);
    set_shape_int(builder, "in_channels", patch / 4);
    set_shape_int(builder, "n_heads", dim / head);
    set_shape_int(builder, "n_kv_heads", dim / head);
    set_shape_int(builder, "n_layers", count_blocks(builder, "layers.", ".attention.to_q.weight"));
    set_shape_int(builder, "n_refiner_layers",
                  count_blocks(builder, "context_refiner.", ".attention.to_q.weight"));
    const int axes[3] = {head / 4, head / 8 * 3, head / 8 * 3};
    set_default(builder, "axes_dims", cJSON_CreateIntArray(axes, 3));
}

/* A JSON item with the text of a float in Python: with one digit behind the point from 1 on (it is
 * rounded to that), with nine significant digits below. It is raw text, a number only when parsed
 * again. NULL: out of memory. */
static cJSON *python_float(double value)
{
    char text[40];
    snprintf(text, sizeof text, value >= 1 ? "%.1f" : "%.9g", value);
    return cJSON_CreateRaw(text);
}

/* The number under a key, such as "qwen3.rope.freq_base", of the source's GGUF metadata. Returns
 * fallback when the source is no GGUF file or has no such key, once ok is false, and when the value
 * is no number: that clears builder->ok, with an error. */
static double gguf_number_or(struct builder *builder, const char *key, double fallback)
{
    const zi_gguf *gguf = builder->source->entries[0].checkpoint->gguf;
    double value = fallback;
    if (builder->ok && gguf && zi_gguf_find(gguf, key))
        builder->ok = zi_gguf_number(gguf, key, &value, builder->error);
    return value;
}

/* Sets a Qwen3 config's sizes and number of layers from tensor shapes. Sets what the config has
 * not: rope_theta and rms_norm_eps (from GGUF metadata, else Qwen3's), and max_window_layers (the
 * number of layers). Clears builder->ok, with an error, when tensors are missing or contradict the
 * config. */
static void add_text_encoder_fields(struct builder *builder)
{
    int head = tensor_dim(builder, "model.layers.0.self_attn.q_norm.weight", 0);
    int queries = tensor_dim(builder, "model.layers.0.self_attn.q_proj.weight", 0);
    int keys = tensor_dim(builder, "model.layers.0.self_attn.k_proj.weight", 0);
    if (!builder->ok) return;
    int layers = count_blocks(builder, "model.layers.", ".self_attn.q_proj.weight");
    set_shape_int(builder, "head_dim", head);
    set_shape_int(builder, "hidden_size", tensor_dim(builder, "model.embed_tokens.weight", 1));
    set_shape_int(builder, "intermediate_size",
                  tensor_dim(builder, "model.layers.0.mlp.gate_proj.weight", 0));
    set_shape_int(builder, "num_attention_heads", queries / head);
    set_shape_int(builder, "num_hidden_layers", layers);
    set_shape_int(builder, "num_key_value_heads", keys / head);
    set_shape_int(builder, "vocab_size", tensor_dim(builder, "model.embed_tokens.weight", 0));
    double theta = gguf_number_or(builder, "qwen3.rope.freq_base", 1e6);
    double eps = gguf_number_or(builder, "qwen3.attention.layer_norm_rms_epsilon", 1e-6);
    set_default(builder, "max_window_layers", cJSON_CreateNumber(layers));
    set_default(builder, "rms_norm_eps", python_float(eps));
    set_default(builder, "rope_theta", python_float(theta));
}

/* Sets a field to an array of `count` (at most MAX_BLOCKS) times the same word, unless the config
 * has it, even as null. Does nothing once builder->ok is false; short memory clears that, with an
 * error. */
static void set_default_strings(struct builder *builder, const char *field, const char *word,
                                int count)
{
    const char *words[MAX_BLOCKS];
    for (int i = 0; i < count; i++) words[i] = word;
    set_default(builder, field, cJSON_CreateStringArray(words, count));
}

/* Sets the VAE's channels and depth from the decoder's tensor shapes, and norm groups and block
 * types if the config has none. Clears builder->ok, with an error, when tensors are missing or
 * contradict the config, or the decoder has not 1 to MAX_BLOCKS blocks. */
static void add_vae_fields(struct builder *builder)
{
    int blocks = builder->source->vae_depth.blocks, channels[MAX_BLOCKS];
    if (blocks < 1 || blocks > MAX_BLOCKS) {
        builder->ok = zi_error_set(builder->error, ZI_ERROR_UNSUPPORTED, builder->source->file,
                                   "the decoder of this VAE has %d blocks, but only 1 to %d are "
                                   "supported; use the VAE of a Z-Image model",
                                   blocks, MAX_BLOCKS);
        return;
    }
    for (int i = 0; i < blocks; i++) { /* the decoder's up blocks are in reverse order */
        char name[ZI_MAX_KEY];
        snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.0.conv1.weight", blocks - 1 - i);
        channels[i] = tensor_dim(builder, name, 0);
    }
    int latent = tensor_dim(builder, "decoder.conv_in.weight", 1);
    int resnets = count_blocks(builder, "decoder.up_blocks.0.resnets.", ".conv1.weight");
    if (!builder->ok) return;
    set_shape_field(builder, "block_out_channels", cJSON_CreateIntArray(channels, blocks));
    set_shape_int(builder, "latent_channels", latent);
    set_shape_int(builder, "layers_per_block", resnets - 1);
    set_default(builder, "norm_num_groups",
                cJSON_CreateNumber(channels[0] < 32 ? channels[0] : 32));
    set_default_strings(builder, "down_block_types", "DownEncoderBlock2D", blocks);
    set_default_strings(builder, "up_block_types", "UpDecoderBlock2D", blocks);
}

/* ---- configs ---- */

/* Adds a copy of item to object under this name. False: out of memory. */
static bool add_copy(cJSON *object, const char *name, const cJSON *item)
{
    cJSON *copy = cJSON_Duplicate(item, true);
    if (copy && cJSON_AddItemToObject(object, name, copy)) return true;
    cJSON_Delete(copy);
    return false;
}

/* Turns an MLX transformer config (it has hidden_size, no dim) into one with diffusers' fields, and
 * Z-Image-Turbo's where MLX has none; other configs are returned as they are. Takes json, also
 * after a failure. NULL: out of memory. */
static cJSON *config_from_mlx(cJSON *json)
{
    if (cJSON_HasObjectItem(json, "dim") || !cJSON_HasObjectItem(json, "hidden_size")) return json;
    cJSON *out = cJSON_Parse(templates[ZI_COMPONENT_TRANSFORMER]);
    bool ok = out;
    for (int i = 0; ok && i < MLX_FIELDS; i++) {
        const cJSON *item = zi_json_find(json, mlx_fields[i].mlx);
        if (!mlx_fields[i].diffusers || !item) continue;
        cJSON_DeleteItemFromObjectCaseSensitive(out, mlx_fields[i].diffusers);
        ok = add_copy(out, mlx_fields[i].diffusers, item);
    }
    cJSON_Delete(json);
    if (ok) return out;
    cJSON_Delete(out);
    return NULL;
}

bool zi_component_config_json(const zi_source *source, const char *config, cJSON **out,
                              zi_error *error)
{
    static void (*const add_fields[ZI_WEIGHT_COMPONENTS])(struct builder *) = {
        add_transformer_fields, add_text_encoder_fields, add_vae_fields};
    cJSON *json = NULL;
    if (config && (!zi_json_read(config, MAX_CONFIG, &json, error) ||
                   !zi_json_check_unique_keys(config, json, "the file", error))) {
        cJSON_Delete(json);
        return false;
    }
    if (!json) json = cJSON_Parse(templates[source->component]);
    if (json && source->component == ZI_COMPONENT_TRANSFORMER) json = config_from_mlx(json);
    if (!json) return zi_error_no_memory(error, MAX_CONFIG);
    struct builder builder = {source, json, config ? config : "Z-Image-Turbo", error, true};
    add_fields[source->component](&builder);
    if (!builder.ok) {
        cJSON_Delete(json);
        return false;
    }
    *out = json;
    return true;
}

/* Adds field `number` of mlx_fields to out, from the diffusers config `json`; true, too, if the
 * field has no value there. feed_forward: the width of the feed-forward layers; 0: unknown. False:
 * out of memory. */
static bool add_mlx_field(cJSON *out, int number, const cJSON *json, size_t feed_forward)
{
    const char *name = mlx_fields[number].mlx, *from = mlx_fields[number].diffusers;
    const cJSON *item = from ? zi_json_find(json, from) : NULL;
    if (item) return add_copy(out, name, item);
    if (strcmp(name, "patch_size") == 0) return cJSON_AddNumberToObject(out, name, 2);
    return strcmp(name, "intermediate_size") != 0 || !feed_forward ||
           cJSON_AddNumberToObject(out, name, (double)feed_forward);
}

/* Adds what MLX's configs say of values in groups: size, bits, and the mode unless it is affine.
 * json NULL counts as out of memory. False: out of memory. */
static bool add_groups(const zi_value_storage *storage, cJSON *json)
{
    const char *mode = storage->codes == ZI_CODES_E4M3 ? "mxfp8"
                       : storage->group == 16          ? "nvfp4"
                                                       : "mxfp4";
    return cJSON_AddNumberToObject(json, "group_size", (double)storage->group) &&
           cJSON_AddNumberToObject(json, "bits", storage->bits) &&
           (storage->codes == ZI_CODES_INTEGER || cJSON_AddStringToObject(json, "mode", mode));
}

/* Adds "quantization" to a config of MLX if the plan has groups: those of the first weight that is
 * in groups, and by their modules' names those that differ from it. False: out of memory. */
static bool add_quantization(cJSON *config, const zi_write_plan *plan)
{
    static const char suffix[] = ".weight";
    const zi_value_storage *usual = NULL;
    cJSON *quantization = NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < plan->count; i++) {
        const zi_write_item *item = &plan->items[i];
        const zi_value_storage *storage = &item->storage;
        size_t length = strlen(item->name), end = sizeof suffix - 1;
        if (storage->packing != ZI_GROUPED || item->role != ZI_ROLE_WEIGHT) continue;
        if (!usual) {
            usual = storage;
            quantization = cJSON_AddObjectToObject(config, "quantization");
            ok = add_groups(usual, quantization);
        } else if (length > end &&
                   (storage->bits != usual->bits || storage->group != usual->group ||
                    storage->codes != usual->codes)) {
            char name[ZI_MAX_KEY];
            snprintf(name, sizeof name, "%.*s", (int)(length - end), item->name);
            ok = add_groups(storage, cJSON_AddObjectToObject(quantization, name));
        }
    }
    return ok;
}

/* Returns the MLX form of a diffusers transformer config, with the precision, and with
 * "quantization" if the plan has MLX groups. Takes json, also after a failure; the caller frees the
 * result. NULL: out of memory. */
static cJSON *config_to_mlx(const zi_component_config *of, cJSON *json)
{
    static const char *const names[] = {[ZI_PRECISION_ORIGINAL] = "Original",
                                        [ZI_PRECISION_FP16] = "FP16",
                                        [ZI_PRECISION_BF16] = "BF16",
                                        [ZI_PRECISION_FP8] = "FP8",
                                        [ZI_PRECISION_Q8] = "Q8",
                                        [ZI_PRECISION_Q4] = "Q4",
                                        [ZI_PRECISION_FP32] = "FP32"};
    const zi_entry *entry = zi_source_find(of->source, "layers.0.feed_forward.w1.weight");
    cJSON *out = cJSON_CreateObject();
    bool ok = out;
    for (int i = 0; ok && i < MLX_FIELDS; i++)
        ok = add_mlx_field(out, i, json, entry ? entry->shape[0] : 0);
    ok = ok && cJSON_AddStringToObject(out, "precision", names[of->precision]) &&
         add_quantization(out, of->plan);
    cJSON_Delete(json);
    if (ok) return out;
    cJSON_Delete(out);
    return NULL;
}

bool zi_component_config_text(const zi_component_config *of, char **text, zi_error *error)
{
    cJSON *json;
    size_t size;
    if (!zi_component_config_json(of->source, of->config, &json, error)) return false;
    bool transformer = of->source->component == ZI_COMPONENT_TRANSFORMER;
    bool kept = of->config && (!transformer || (of->layout == ZI_NAMES_DIFFUSERS &&
                                                cJSON_HasObjectItem(json, "_diffusers_version")));
    if (transformer && of->layout == ZI_NAMES_MLX) json = config_to_mlx(of, json);
    char *printed = kept || !json ? NULL : cJSON_Print(json);
    cJSON_Delete(json);
    if (kept) return zi_file_read(of->config, MAX_CONFIG, text, &size, error);
    if (!printed) return zi_error_no_memory(error, MAX_CONFIG);
    *text = printed;
    return true;
}

size_t zi_mlx_config_group_size(const char *config)
{
    cJSON *json = NULL;
    zi_error none;
    int group = 0;
    if (!config || !zi_json_read(config, MAX_CONFIG, &json, &none)) return 0;
    const cJSON *size = zi_json_find(zi_json_find(json, "quantization"), "group_size");
    if (zi_json_is_int(size, 1, 128)) group = size->valueint;
    cJSON_Delete(json);
    return group == 32 || group == 64 || group == 128 ? (size_t)group : 0; /* not nvfp4's 16 */
}
