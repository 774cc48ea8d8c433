#include "convert/describe.h"
#include "base/file.h"
#include "io/gguf.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 20, MAX_SIZE = 1 << 24, MAX_BLOCKS = 16 };

/* What Z-Image-Turbo's config files say beside what its tensors' shapes say. */
static const char *const templates[ZI_PARTS] = {
    [ZI_TRANSFORMER] = "{\"_class_name\": \"ZImageTransformer2DModel\","
                       "\"all_f_patch_size\": [1], \"all_patch_size\": [2],"
                       "\"axes_lens\": [1536, 512, 512], \"norm_eps\": 1e-05, \"qk_norm\": true,"
                       "\"rope_theta\": 256, \"t_scale\": 1000}",
    [ZI_TEXT_ENCODER] = "{\"architectures\": [\"Qwen3ForCausalLM\"], \"attention_bias\": false,"
                        "\"attention_dropout\": 0, \"hidden_act\": \"silu\","
                        "\"initializer_range\": 0.02, \"max_position_embeddings\": 40960,"
                        "\"model_type\": \"qwen3\", \"rope_scaling\": null,"
                        "\"sliding_window\": null, \"tie_word_embeddings\": true,"
                        "\"use_cache\": true, \"use_sliding_window\": false}",
    [ZI_VAE] = "{\"_class_name\": \"AutoencoderKL\", \"act_fn\": \"silu\", \"force_upcast\": true,"
               "\"in_channels\": 3, \"mid_block_add_attention\": true, \"out_channels\": 3,"
               "\"sample_size\": 1024, \"scaling_factor\": 0.3611, \"shift_factor\": 0.1159,"
               "\"use_post_quant_conv\": false, \"use_quant_conv\": false}",
};

/* The transformer's fields that MLX has by other names, in its order. */
static const struct {
    const char *mlx, *diffusers;
} fields[] = {
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
enum { FIELDS = sizeof fields / sizeof *fields };

/* ---- what shapes say ---- */

/* Collecting facts about a part into its config. */
struct facts {
    const zi_source *source;
    cJSON *json;
    const char *config; /* for error texts; NULL: there is none to contradict */
    zi_error *error;
    bool ok;
};

/* One side of a tensor; 0 after a failure. */
static int side(struct facts *facts, const char *name, int dim)
{
    const zi_entry *entry = zi_source_find(facts->source, name);
    if (!facts->ok) return 0;
    if (!entry) {
        facts->ok = zi_error_set_in(facts->error, ZI_ERROR_BAD_FORMAT, facts->source->file, name,
                                    "tensor %s is missing", name);
    } else if (dim >= entry->dims || !entry->shape[dim] || entry->shape[dim] > MAX_SIZE) {
        facts->ok = zi_error_set_in(facts->error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry), name,
                                    "tensor %s has an impossible shape", name);
    } else {
        return (int)entry->shape[dim];
    }
    return 0;
}

/* How many of the names with a number from 0 on are there. */
static int count_of(const struct facts *facts, const char *before, const char *behind)
{
    char name[ZI_MAX_KEY];
    for (int n = 0;; n++) {
        snprintf(name, sizeof name, "%s%d%s", before, n, behind);
        if (!zi_source_find(facts->source, name)) return n;
    }
}

/* Whether two values say the same; numbers and lists of numbers. */
static bool same_value(const cJSON *a, const cJSON *b)
{
    return cJSON_Compare(a, b, true);
}

/* Sets a field that shapes tell, or finds that the config contradicts them. */
static void tell(struct facts *facts, const char *field, cJSON *value)
{
    const cJSON *said = zi_json_find(facts->json, field);
    if (facts->ok && value && said && !same_value(said, value)) {
        char *is = cJSON_PrintUnformatted(value);
        facts->ok = zi_error_set_in(facts->error, ZI_ERROR_BAD_FORMAT, facts->config, field,
                                    "field \"%s\" does not fit the tensors of %s (%s)", field,
                                    facts->source->file, is ? is : "?");
        free(is);
    }
    if (!facts->ok || said || !value) {
        cJSON_Delete(value);
        return;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(facts->json, field); /* a null */
    cJSON_AddItemToObject(facts->json, field, value);
}

static void tell_number(struct facts *facts, const char *field, int value)
{
    tell(facts, field, cJSON_CreateNumber(value));
}

/* A field that shapes do not tell, unless the config has it. */
static void suppose(struct facts *facts, const char *field, cJSON *value)
{
    if (cJSON_HasObjectItem(facts->json, field))
        cJSON_Delete(value);
    else
        cJSON_AddItemToObject(facts->json, field, value);
}

static void tell_transformer(struct facts *facts)
{
    int dim = side(facts, "all_x_embedder.2-1.weight", 0);
    int patch = side(facts, "all_x_embedder.2-1.weight", 1);
    int head = side(facts, "layers.0.attention.norm_q.weight", 0);
    int text = side(facts, "cap_embedder.1.weight", 1);
    if (facts->ok && (dim % head || patch % 4))
        facts->ok = zi_error_set(facts->error, ZI_ERROR_BAD_FORMAT, facts->source->file,
                                 "%d numbers a token are no whole heads of %d", dim, head);
    if (!facts->ok) return;
    tell_number(facts, "cap_feat_dim", text);
    tell_number(facts, "dim", dim);
    tell_number(facts, "in_channels", patch / 4);
    tell_number(facts, "n_heads", dim / head);
    tell_number(facts, "n_kv_heads", dim / head);
    tell_number(facts, "n_layers", count_of(facts, "layers.", ".attention.to_q.weight"));
    tell_number(facts, "n_refiner_layers",
                count_of(facts, "context_refiner.", ".attention.to_q.weight"));
    const int axes[3] = {head / 4, head / 8 * 3, head / 8 * 3};
    suppose(facts, "axes_dims", cJSON_CreateIntArray(axes, 3));
}

/* A number as Python writes a float, which its readers may insist on. */
static cJSON *real(double value)
{
    char text[40];
    snprintf(text, sizeof text, value >= 1 ? "%.1f" : "%.9g", value);
    return cJSON_CreateRaw(text);
}

/* What a GGUF file says beside its tensors, or else what is so in Qwen3-4B. */
static double number_or(struct facts *facts, const char *key, double otherwise)
{
    const zi_gguf *gguf = facts->source->entries[0].checkpoint->gguf;
    double value = otherwise;
    if (facts->ok && gguf && zi_gguf_find(gguf, key))
        facts->ok = zi_gguf_number(gguf, key, &value, facts->error);
    return value;
}

static void tell_text_encoder(struct facts *facts)
{
    int head = side(facts, "model.layers.0.self_attn.q_norm.weight", 0);
    int queries = side(facts, "model.layers.0.self_attn.q_proj.weight", 0);
    int keys = side(facts, "model.layers.0.self_attn.k_proj.weight", 0);
    if (!facts->ok) return;
    int layers = count_of(facts, "model.layers.", ".self_attn.q_proj.weight");
    tell_number(facts, "head_dim", head);
    tell_number(facts, "hidden_size", side(facts, "model.embed_tokens.weight", 1));
    tell_number(facts, "intermediate_size", side(facts, "model.layers.0.mlp.gate_proj.weight", 0));
    tell_number(facts, "num_attention_heads", queries / head);
    tell_number(facts, "num_hidden_layers", layers);
    tell_number(facts, "num_key_value_heads", keys / head);
    tell_number(facts, "vocab_size", side(facts, "model.embed_tokens.weight", 0));
    double theta = number_or(facts, "qwen3.rope.freq_base", 1e6);
    double eps = number_or(facts, "qwen3.attention.layer_norm_rms_epsilon", 1e-6);
    suppose(facts, "max_window_layers", cJSON_CreateNumber(layers));
    suppose(facts, "rms_norm_eps", real(eps));
    suppose(facts, "rope_theta", real(theta));
}

static void add_strings(struct facts *facts, const char *field, const char *word, int count)
{
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < count; i++) cJSON_AddItemToArray(list, cJSON_CreateString(word));
    suppose(facts, field, list);
}

static void tell_vae(struct facts *facts)
{
    int blocks = facts->source->form.blocks, channels[MAX_BLOCKS];
    if (blocks < 1 || blocks > MAX_BLOCKS) {
        facts->ok = zi_error_set(facts->error, ZI_ERROR_UNSUPPORTED, facts->source->file,
                                 "a decoder of %d blocks is no VAE of Z-Image", blocks);
        return;
    }
    for (int i = 0; i < blocks; i++) { /* the decoder has them from the other end */
        char name[ZI_MAX_KEY];
        snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.0.conv1.weight", blocks - 1 - i);
        channels[i] = side(facts, name, 0);
    }
    int latent = side(facts, "decoder.conv_in.weight", 1);
    int resnets = count_of(facts, "decoder.up_blocks.0.resnets.", ".conv1.weight");
    if (!facts->ok) return;
    tell(facts, "block_out_channels", cJSON_CreateIntArray(channels, blocks));
    tell_number(facts, "latent_channels", latent);
    tell_number(facts, "layers_per_block", resnets - 1);
    suppose(facts, "norm_num_groups", cJSON_CreateNumber(channels[0] < 32 ? channels[0] : 32));
    add_strings(facts, "down_block_types", "DownEncoderBlock2D", blocks);
    add_strings(facts, "up_block_types", "UpDecoderBlock2D", blocks);
}

/* ---- configs ---- */

/* MLX's words for a transformer as diffusers' words; takes json. */
static cJSON *from_mlx(cJSON *json)
{
    if (cJSON_HasObjectItem(json, "dim") || !cJSON_HasObjectItem(json, "hidden_size")) return json;
    cJSON *out = cJSON_Parse(templates[ZI_TRANSFORMER]);
    for (int i = 0; out && i < FIELDS; i++) {
        const cJSON *item = zi_json_find(json, fields[i].mlx);
        if (!fields[i].diffusers || !item) continue;
        cJSON_DeleteItemFromObjectCaseSensitive(out, fields[i].diffusers);
        cJSON_AddItemToObject(out, fields[i].diffusers, cJSON_Duplicate(item, true));
    }
    cJSON_Delete(json);
    return out;
}

bool zi_describe_part(const zi_source *source, const char *config, cJSON **out, zi_error *error)
{
    static void (*const tellers[ZI_PARTS])(struct facts *) = {tell_transformer, tell_text_encoder,
                                                              tell_vae};
    cJSON *json = NULL;
    if (config && (!zi_json_read(config, MAX_CONFIG, &json, error) ||
                   !zi_json_unique(config, json, "the file", error))) {
        cJSON_Delete(json);
        return false;
    }
    if (!json) json = cJSON_Parse(templates[source->part]);
    if (json && source->part == ZI_TRANSFORMER) json = from_mlx(json);
    if (!json) return zi_error_no_memory(error, MAX_CONFIG);
    struct facts facts = {source, json, config ? config : "Z-Image-Turbo", error, true};
    tellers[source->part](&facts);
    if (!facts.ok) {
        cJSON_Delete(json);
        return false;
    }
    *out = json;
    return true;
}

/* A transformer's config in MLX's words; takes json. */
static cJSON *to_mlx(const zi_description *of, cJSON *json)
{
    static const char *const names[] = {"Original", "FP16", "BF16", "FP8", "Q8", "Q4"};
    const zi_entry *wide = zi_source_find(of->source, "layers.0.feed_forward.w1.weight");
    cJSON *out = cJSON_CreateObject();
    for (int i = 0; out && i < FIELDS; i++) {
        const cJSON *item = fields[i].diffusers ? zi_json_find(json, fields[i].diffusers) : NULL;
        if (item)
            cJSON_AddItemToObject(out, fields[i].mlx, cJSON_Duplicate(item, true));
        else if (strcmp(fields[i].mlx, "patch_size") == 0)
            cJSON_AddNumberToObject(out, fields[i].mlx, 2);
        else if (wide)
            cJSON_AddNumberToObject(out, fields[i].mlx, (double)wide->shape[0]);
    }
    cJSON_Delete(json);
    cJSON_AddStringToObject(out, "precision", names[of->precision]);
    for (size_t i = 0; i < of->plan->count; i++) {
        const zi_form *form = &of->plan->items[i].form;
        if (form->packing != ZI_GROUPED) continue;
        cJSON *quantization = cJSON_AddObjectToObject(out, "quantization");
        cJSON_AddNumberToObject(quantization, "group_size", (double)form->group);
        cJSON_AddNumberToObject(quantization, "bits", form->bits);
        break;
    }
    return out;
}

bool zi_describe(const zi_description *of, char **text, zi_error *error)
{
    cJSON *json;
    size_t size;
    if (!zi_describe_part(of->source, of->config, &json, error)) return false;
    bool transformer = of->source->part == ZI_TRANSFORMER;
    bool kept = of->config && (!transformer || (of->layout == ZI_NAMES_DIFFUSERS &&
                                                cJSON_HasObjectItem(json, "_diffusers_version")));
    if (transformer && of->layout == ZI_NAMES_MLX) json = to_mlx(of, json);
    char *printed = kept ? NULL : cJSON_Print(json);
    cJSON_Delete(json);
    if (kept) return zi_file_read(of->config, MAX_CONFIG, text, &size, error);
    if (!printed) return zi_error_no_memory(error, MAX_CONFIG);
    *text = printed;
    return true;
}

size_t zi_describe_group(const char *config)
{
    cJSON *json = NULL;
    zi_error none;
    int group = 0;
    if (!config || !zi_json_read(config, MAX_CONFIG, &json, &none)) return 0;
    const cJSON *size = zi_json_find(zi_json_find(json, "quantization"), "group_size");
    if (zi_json_is_int(size, 1, 128)) group = size->valueint;
    cJSON_Delete(json);
    return group == 32 || group == 64 || group == 128 ? (size_t)group : 0;
}
