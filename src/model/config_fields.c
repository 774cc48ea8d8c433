#include "model/config_fields.h"

#include <string.h>

enum { MAX_CONFIG = 1 << 20, MAX_NAMED = 12 };

/* What a field means here. */
typedef enum {
    USED,      /* a reader reads it and checks its value */
    NO_EFFECT, /* it does not change an image */
    ONLY,      /* the image depends on it, and only certain values are supported */
    EACH,      /* the same for each element of a list */
    ROPE       /* an object with fields of its own, in rope_fields */
} meaning;

/* values: of ONLY and EACH, a JSON list. */
typedef struct {
    const char *name;
    meaning meaning;
    const char *values;
} config_field;

/* Fields that diffusers' and transformers' classes write into every config. */
#define DIFFUSERS_FIELDS                                                                           \
    {"_class_name", USED, NULL}, {"_diffusers_version", NO_EFFECT, NULL},                          \
    {                                                                                              \
        "_name_or_path", NO_EFFECT, NULL                                                           \
    }

static const config_field transformer_fields[] = {
    DIFFUSERS_FIELDS,
    {"all_patch_size", USED, NULL},
    {"all_f_patch_size", USED, NULL},
    {"in_channels", USED, NULL},
    {"dim", USED, NULL},
    {"n_layers", USED, NULL},
    {"n_refiner_layers", USED, NULL},
    {"n_heads", USED, NULL},
    {"n_kv_heads", USED, NULL},
    {"norm_eps", USED, NULL},
    {"qk_norm", ONLY, "[true]"},
    {"cap_feat_dim", USED, NULL},
    {"siglip_feat_dim", USED, NULL},
    {"rope_theta", USED, NULL},
    {"t_scale", USED, NULL},
    {"axes_dims", USED, NULL},
    {"axes_lens", USED, NULL},
    {"quantization_config", NO_EFFECT, NULL}, /* the tensors say how they are stored */
    /* MLX's names */
    {"hidden_size", USED, NULL},
    {"num_hidden_layers", USED, NULL},
    {"num_attention_heads", USED, NULL},
    {"intermediate_size", USED, NULL},
    {"text_embed_dim", USED, NULL},
    {"patch_size", USED, NULL},
    {"quantization", USED, NULL},
    {"precision", NO_EFFECT, NULL},
    {"model_type", NO_EFFECT, NULL},
};

static const config_field qwen_fields[] = {
    {"model_type", USED, NULL},
    {"vocab_size", USED, NULL},
    {"hidden_size", USED, NULL},
    {"intermediate_size", USED, NULL},
    {"num_hidden_layers", USED, NULL},
    {"num_attention_heads", USED, NULL},
    {"num_key_value_heads", USED, NULL},
    {"head_dim", USED, NULL},
    {"max_position_embeddings", USED, NULL},
    {"rms_norm_eps", USED, NULL},
    {"tie_word_embeddings", USED, NULL},
    {"rope_theta", USED, NULL},
    {"rope_parameters", ROPE, NULL},
    {"rope_scaling", ROPE, NULL},
    {"partial_rotary_factor", ONLY, "[1]"},
    {"hidden_act", ONLY, "[\"silu\"]"},
    {"attention_bias", ONLY, "[false]"},
    {"mlp_bias", ONLY, "[false]"},
    {"use_sliding_window", ONLY, "[false]"},
    {"layer_types", EACH, "[\"full_attention\"]"},
    {"pretraining_tp", ONLY, "[1]"},
    {"is_decoder", NO_EFFECT, NULL},
    {"is_encoder_decoder", ONLY, "[false]"},
    {"add_cross_attention", ONLY, "[false]"},
    {"pruned_heads", ONLY, "[{}]"},
    {"sliding_window", NO_EFFECT, NULL}, /* only with use_sliding_window */
    {"max_window_layers", NO_EFFECT, NULL},
    {"quantization", USED, NULL},
    {"quantization_config", NO_EFFECT, NULL},
    {"eos_token_id", USED, NULL}, /* of language models */
    {"bos_token_id", NO_EFFECT, NULL},
    {"pad_token_id", NO_EFFECT, NULL},
    {"sep_token_id", NO_EFFECT, NULL},
    {"decoder_start_token_id", NO_EFFECT, NULL},
    {"architectures", NO_EFFECT, NULL},
    {"auto_map", NO_EFFECT, NULL},
    {"attention_dropout", NO_EFFECT, NULL}, /* training alone */
    {"initializer_range", NO_EFFECT, NULL},
    {"use_cache", NO_EFFECT, NULL},
    {"torch_dtype", NO_EFFECT, NULL},
    {"dtype", NO_EFFECT, NULL},
    {"use_bfloat16", NO_EFFECT, NULL},
    {"transformers_version", NO_EFFECT, NULL},
    {"_name_or_path", NO_EFFECT, NULL},
    {"_attn_implementation", NO_EFFECT, NULL},
    {"_attn_implementation_autoset", NO_EFFECT, NULL},
    {"attn_implementation", NO_EFFECT, NULL},
    {"output_hidden_states", NO_EFFECT, NULL},
    {"output_attentions", NO_EFFECT, NULL},
    {"output_scores", NO_EFFECT, NULL},
    {"return_dict", NO_EFFECT, NULL},
    {"return_dict_in_generate", NO_EFFECT, NULL},
    {"use_return_dict", NO_EFFECT, NULL},
    {"chunk_size_feed_forward", NO_EFFECT, NULL},
    {"cross_attention_hidden_size", NO_EFFECT, NULL},
    {"tie_encoder_decoder", NO_EFFECT, NULL},
    {"torchscript", NO_EFFECT, NULL},
    {"gradient_checkpointing", NO_EFFECT, NULL},
    {"problem_type", NO_EFFECT, NULL},
    {"id2label", NO_EFFECT, NULL},
    {"label2id", NO_EFFECT, NULL},
    {"num_labels", NO_EFFECT, NULL},
    {"finetuning_task", NO_EFFECT, NULL},
    {"tokenizer_class", NO_EFFECT, NULL},
    {"prefix", NO_EFFECT, NULL},
    {"task_specific_params", NO_EFFECT, NULL},
    {"tf_legacy_loss", NO_EFFECT, NULL},
    {"bad_words_ids", NO_EFFECT, NULL}, /* sampling of language models has parameters of its own */
    {"begin_suppress_tokens", NO_EFFECT, NULL},
    {"diversity_penalty", NO_EFFECT, NULL},
    {"do_sample", NO_EFFECT, NULL},
    {"early_stopping", NO_EFFECT, NULL},
    {"encoder_no_repeat_ngram_size", NO_EFFECT, NULL},
    {"exponential_decay_length_penalty", NO_EFFECT, NULL},
    {"forced_bos_token_id", NO_EFFECT, NULL},
    {"forced_eos_token_id", NO_EFFECT, NULL},
    {"length_penalty", NO_EFFECT, NULL},
    {"max_length", NO_EFFECT, NULL},
    {"min_length", NO_EFFECT, NULL},
    {"no_repeat_ngram_size", NO_EFFECT, NULL},
    {"num_beam_groups", NO_EFFECT, NULL},
    {"num_beams", NO_EFFECT, NULL},
    {"num_return_sequences", NO_EFFECT, NULL},
    {"remove_invalid_values", NO_EFFECT, NULL},
    {"repetition_penalty", NO_EFFECT, NULL},
    {"suppress_tokens", NO_EFFECT, NULL},
    {"temperature", NO_EFFECT, NULL},
    {"top_k", NO_EFFECT, NULL},
    {"top_p", NO_EFFECT, NULL},
    {"typical_p", NO_EFFECT, NULL},
};

/* Of rope_parameters and rope_scaling. The default type has no other parameters than theta. */
static const config_field rope_fields[] = {
    {"rope_type", ONLY, "[\"default\"]"},
    {"type", ONLY, "[\"default\"]"},
    {"rope_theta", USED, NULL},
    {"partial_rotary_factor", ONLY, "[1]"},
    {"full_attention", ONLY, "[]"}, /* parameters by the type of a layer */
    {"sliding_attention", ONLY, "[]"},
    {"factor", NO_EFFECT, NULL},
    {"original_max_position_embeddings", NO_EFFECT, NULL},
    {"attention_factor", NO_EFFECT, NULL},
    {"beta_fast", NO_EFFECT, NULL},
    {"beta_slow", NO_EFFECT, NULL},
    {"short_factor", NO_EFFECT, NULL},
    {"long_factor", NO_EFFECT, NULL},
    {"low_freq_factor", NO_EFFECT, NULL},
    {"high_freq_factor", NO_EFFECT, NULL},
    {"mrope_section", NO_EFFECT, NULL}, /* a text has the same position on all axes */
};

static const config_field vae_fields[] = {
    DIFFUSERS_FIELDS,
    {"in_channels", ONLY, "[3]"},
    {"out_channels", ONLY, "[3]"},
    {"down_block_types", EACH, "[\"DownEncoderBlock2D\"]"},
    {"up_block_types", EACH, "[\"UpDecoderBlock2D\"]"},
    {"block_out_channels", USED, NULL},
    {"layers_per_block", USED, NULL},
    {"act_fn", ONLY, "[\"silu\", \"swish\"]"},
    {"latent_channels", USED, NULL},
    {"norm_num_groups", USED, NULL},
    {"sample_size", USED, NULL},
    {"scaling_factor", USED, NULL},
    {"shift_factor", USED, NULL},
    {"latents_mean", NO_EFFECT, NULL}, /* Z-Image's pipeline does not use them */
    {"latents_std", NO_EFFECT, NULL},
    {"force_upcast", NO_EFFECT, NULL}, /* all is computed in f32 */
    {"use_quant_conv", USED, NULL},
    {"use_post_quant_conv", USED, NULL},
    {"mid_block_add_attention", USED, NULL},
    {"quantization", USED, NULL},
    {"quantization_config", NO_EFFECT, NULL},
};

static const config_field scheduler_fields[] = {
    DIFFUSERS_FIELDS,
    {"num_train_timesteps", ONLY, "[1000]"},
    {"shift", USED, NULL},
    {"use_dynamic_shifting", USED, NULL},
    {"base_shift", USED, NULL},
    {"max_shift", USED, NULL},
    {"base_image_seq_len", USED, NULL},
    {"max_image_seq_len", USED, NULL},
    {"time_shift_type", USED, NULL},
    {"invert_sigmas", ONLY, "[false]"},
    {"shift_terminal", USED, NULL},
    {"use_karras_sigmas", USED, NULL},
    {"use_exponential_sigmas", USED, NULL},
    {"use_beta_sigmas", USED, NULL},
    {"stochastic_sampling", USED, NULL},
    {"scale_factors", ONLY, "[[]]"}, /* FlowMatchLCMScheduler changes the size between steps */
    {"upscale_mode", NO_EFFECT, NULL},
};

static const config_field model_index_fields[] = {
    DIFFUSERS_FIELDS,
    {"scheduler", USED, NULL},
    {"text_encoder", NO_EFFECT, NULL}, /* each component's own config has its class */
    {"tokenizer", NO_EFFECT, NULL},
    {"transformer", NO_EFFECT, NULL},
    {"vae", NO_EFFECT, NULL},
};

static const config_field generation_fields[] = {
    {"eos_token_id", USED, NULL},
    /* zi_enhance_request has its own parameters for sampling */
    {"_from_model_config", NO_EFFECT, NULL},
    {"assistant_confidence_threshold", NO_EFFECT, NULL},
    {"assistant_early_exit", NO_EFFECT, NULL},
    {"assistant_ensemble_weight", NO_EFFECT, NULL},
    {"assistant_lookbehind", NO_EFFECT, NULL},
    {"bad_words_ids", NO_EFFECT, NULL},
    {"begin_suppress_tokens", NO_EFFECT, NULL},
    {"bos_token_id", NO_EFFECT, NULL},
    {"cache_config", NO_EFFECT, NULL},
    {"cache_implementation", NO_EFFECT, NULL},
    {"compile_config", NO_EFFECT, NULL},
    {"constraints", NO_EFFECT, NULL},
    {"continuous_batching_config", NO_EFFECT, NULL},
    {"decoder_start_token_id", NO_EFFECT, NULL},
    {"disable_compile", NO_EFFECT, NULL},
    {"diversity_penalty", NO_EFFECT, NULL},
    {"do_sample", NO_EFFECT, NULL},
    {"dola_layers", NO_EFFECT, NULL},
    {"early_stopping", NO_EFFECT, NULL},
    {"encoder_no_repeat_ngram_size", NO_EFFECT, NULL},
    {"encoder_repetition_penalty", NO_EFFECT, NULL},
    {"epsilon_cutoff", NO_EFFECT, NULL},
    {"eta_cutoff", NO_EFFECT, NULL},
    {"exponential_decay_length_penalty", NO_EFFECT, NULL},
    {"force_words_ids", NO_EFFECT, NULL},
    {"forced_bos_token_id", NO_EFFECT, NULL},
    {"forced_eos_token_id", NO_EFFECT, NULL},
    {"guidance_scale", NO_EFFECT, NULL},
    {"is_assistant", NO_EFFECT, NULL},
    {"length_penalty", NO_EFFECT, NULL},
    {"low_memory", NO_EFFECT, NULL},
    {"max_cache_len", NO_EFFECT, NULL},
    {"max_length", NO_EFFECT, NULL},
    {"max_matching_ngram_size", NO_EFFECT, NULL},
    {"max_new_tokens", NO_EFFECT, NULL},
    {"max_time", NO_EFFECT, NULL},
    {"min_length", NO_EFFECT, NULL},
    {"min_new_tokens", NO_EFFECT, NULL},
    {"min_p", NO_EFFECT, NULL},
    {"no_repeat_ngram_size", NO_EFFECT, NULL},
    {"num_assistant_tokens", NO_EFFECT, NULL},
    {"num_assistant_tokens_schedule", NO_EFFECT, NULL},
    {"num_beam_groups", NO_EFFECT, NULL},
    {"num_beams", NO_EFFECT, NULL},
    {"num_return_sequences", NO_EFFECT, NULL},
    {"output_attentions", NO_EFFECT, NULL},
    {"output_hidden_states", NO_EFFECT, NULL},
    {"output_logits", NO_EFFECT, NULL},
    {"output_scores", NO_EFFECT, NULL},
    {"pad_token_id", NO_EFFECT, NULL},
    {"penalty_alpha", NO_EFFECT, NULL},
    {"prefill_chunk_size", NO_EFFECT, NULL},
    {"prompt_lookup_num_tokens", NO_EFFECT, NULL},
    {"remove_invalid_values", NO_EFFECT, NULL},
    {"renormalize_logits", NO_EFFECT, NULL},
    {"repetition_penalty", NO_EFFECT, NULL},
    {"return_dict_in_generate", NO_EFFECT, NULL},
    {"sequence_bias", NO_EFFECT, NULL},
    {"speculation_type", NO_EFFECT, NULL},
    {"stop_strings", NO_EFFECT, NULL},
    {"suppress_tokens", NO_EFFECT, NULL},
    {"target_lookbehind", NO_EFFECT, NULL},
    {"temperature", NO_EFFECT, NULL},
    {"token_healing", NO_EFFECT, NULL},
    {"top_h", NO_EFFECT, NULL},
    {"top_k", NO_EFFECT, NULL},
    {"top_p", NO_EFFECT, NULL},
    {"transformers_version", NO_EFFECT, NULL},
    {"typical_p", NO_EFFECT, NULL},
    {"use_cache", NO_EFFECT, NULL},
    {"use_mtp", NO_EFFECT, NULL},
    {"watermarking_config", NO_EFFECT, NULL},
};

#define TABLE(fields)                                                                              \
    {                                                                                              \
        fields, sizeof(fields) / sizeof *(fields)                                                  \
    }

typedef struct {
    const config_field *fields;
    size_t count;
} field_table;

static const field_table tables[ZI_CONFIG_KINDS] = {
    [ZI_CONFIG_TRANSFORMER] = TABLE(transformer_fields),
    [ZI_CONFIG_QWEN] = TABLE(qwen_fields),
    [ZI_CONFIG_VAE] = TABLE(vae_fields),
    [ZI_CONFIG_SCHEDULER] = TABLE(scheduler_fields),
    [ZI_CONFIG_MODEL_INDEX] = TABLE(model_index_fields),
    [ZI_CONFIG_GENERATION] = TABLE(generation_fields),
};

static const field_table rope_table = TABLE(rope_fields);

/* The row of a field's name; NULL: the table does not know it. */
static const config_field *find_field(const field_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (!strcmp(table->fields[i].name, name)) return &table->fields[i];
    return NULL;
}

/* ---- values ---- */

/* Appends a value as it is written in messages: empty lists and objects by name. */
static void put_value(zi_text *out, const cJSON *value)
{
    char text[64];
    zi_json_describe(value, text);
    zi_text_puts(out, cJSON_IsArray(value)    ? "an empty list"
                      : cJSON_IsObject(value) ? "an empty object"
                                              : text);
}

/* Sets ZI_ERROR_UNSUPPORTED: the field has the value `found`, and only `values`, a JSON list that
 * may be empty, are supported. inside: the object that has the field, which is the subject then;
 * NULL: the file's. Returns false. */
static bool fail_value(const char *path, const char *inside, const config_field *field,
                       const cJSON *found, const cJSON *values, zi_error *error)
{
    char is[64];
    zi_text possible;
    const cJSON *value;
    zi_json_describe(found, is);
    zi_text_init(&possible, 400);
    zi_text_puts(&possible, values->child ? "but only " : "which");
    cJSON_ArrayForEach(value, values)
    {
        if (value != values->child) zi_text_puts(&possible, " or ");
        put_value(&possible, value);
    }
    zi_text_puts(&possible, values->child ? " is supported" : " is not supported");
    zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, inside ? inside : field->name,
                    "\"%s%s%s\" is %s, %s; use another model", inside ? inside : "",
                    inside ? "." : "", field->name, is,
                    possible.failed ? "which is not supported" : possible.data);
    zi_text_free(&possible);
    return false;
}

/* Whether item equals an element of the JSON list. */
static bool is_among(const cJSON *item, const cJSON *values)
{
    const cJSON *value;
    cJSON_ArrayForEach(value, values)
    {
        if (cJSON_Compare(item, value, true)) return true;
    }
    return false;
}

/* The first value that `field` does not allow: item itself or, where the field is EACH and item a
 * list, one of its elements. NULL: all are allowed. */
static const cJSON *find_refused(const config_field *field, const cJSON *item, const cJSON *values)
{
    const cJSON *element;
    if (field->meaning != EACH || !cJSON_IsArray(item)) return is_among(item, values) ? NULL : item;
    cJSON_ArrayForEach(element, item)
    {
        if (!is_among(element, values)) return element;
    }
    return NULL;
}

/* Fails, as fail_value does, if the field, which is ONLY or EACH, has a value that it does not
 * allow; passes null. */
static bool check_value(const char *path, const char *inside, const config_field *field,
                        const cJSON *item, zi_error *error)
{
    if (cJSON_IsNull(item)) return true;
    cJSON *values = cJSON_Parse(field->values);
    if (!values) return zi_error_no_memory(error, strlen(field->values));
    const cJSON *refused = find_refused(field, item, values);
    bool ok = !refused || fail_value(path, inside, field, refused, values, error);
    cJSON_Delete(values);
    return ok;
}

/* Checks all fields of a JSON object by a table, and those of the objects in it that have a table
 * of their own; inside: its name, NULL: it is the whole file. Fails as zi_config_check_fields. */
static bool check_object(const field_table *table, const char *path, const char *inside,
                         const cJSON *object, zi_error *error)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const config_field *known = item->string ? find_field(table, item->string) : NULL;
        if (!known) continue;
        if ((known->meaning == ONLY || known->meaning == EACH) &&
            !check_value(path, inside, known, item, error))
            return false;
        if (known->meaning != ROPE || cJSON_IsNull(item)) continue;
        if (!cJSON_IsObject(item))
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, known->name,
                                   "\"%s\" must be an object ({...}) or null; fetch the file again",
                                   known->name);
        if (!check_object(&rope_table, path, known->name, item, error)) return false;
    }
    return true;
}

bool zi_config_check_fields(zi_config_kind kind, const char *path, const cJSON *json,
                            zi_error *error)
{
    return check_object(&tables[kind], path, NULL, json, error);
}

bool zi_config_read_rope_theta(const char *path, const cJSON *json, double fallback, double *theta,
                               zi_error *error)
{
    const cJSON *rope = zi_json_find(json, "rope_scaling");
    if (!zi_json_find(rope, "rope_theta")) rope = zi_json_find(json, "rope_parameters");
    if (!zi_json_find(rope, "rope_theta")) rope = json;
    return zi_json_double_or(path, rope, "rope_theta", 1, 1e12, fallback, theta, error);
}

/* ---- unknown fields ---- */

/* Appends the names of fields of a JSON object that the table does not know, with `inside` and a
 * point before them unless it is NULL; the first MAX_NAMED of all. *count counts them. */
static void put_unknown_names(const field_table *table, const char *inside, const cJSON *object,
                              int *count, zi_text *out)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const config_field *known = find_field(table, item->string);
        if (known && known->meaning == ROPE)
            put_unknown_names(&rope_table, known->name, item, count, out);
        if (known || ++*count > MAX_NAMED) continue;
        zi_text_printf(out, "%s%s%s%.60s", *count > 1 ? ", " : "", inside ? inside : "",
                       inside ? "." : "", item->string);
    }
}

void zi_config_describe_unknown_fields(zi_config_kind kind, const char *path, zi_text *out)
{
    cJSON *json = NULL;
    zi_text names;
    int count = 0;
    if (!zi_json_read(path, MAX_CONFIG, &json, NULL)) return;
    zi_text_init(&names, 4096);
    if (cJSON_IsObject(json)) put_unknown_names(&tables[kind], NULL, json, &count, &names);
    cJSON_Delete(json);
    if (count && !names.failed)
        zi_text_printf(out, "%s: %s unknown and ignored: %s%s", path,
                       count > 1 ? "these fields are" : "this field is", names.data,
                       count > MAX_NAMED ? ", ..." : "");
    out->failed |= names.failed;
    zi_text_free(&names);
}
