#include "convert/gguf_metadata.h"
#include "base/text.h"
#include "convert/component_config.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_TOKENIZER = 64 << 20,
    MAX_VALUES = 32,
    PAD_NAME_BYTES = 16 /* bytes of "[PAD151935]" */
};
enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

/* Appends a value to v->values; its data stays borrowed. Beyond MAX_VALUES it is dropped. */
static void add_value(zi_gguf_encoder_metadata *v, zi_gguf_out value)
{
    if (v->count < MAX_VALUES) v->values[v->count++] = value;
}

/* ---- the config ---- */

/* Sets v->config, which v owns, to the text encoder's config (its file's, or Z-Image-Turbo's) and
 * adds its sizes, rope base and epsilon as qwen3.* values, kept in v->numbers and v->reals. Fails
 * when the config contradicts the tensors, a field is missing or out of range, or memory is
 * short. */
static bool add_config(const zi_conversion *c, zi_gguf_encoder_metadata *v, zi_error *error)
{
    static const struct {
        const char *key, *field;
    } ints[] = {
        {"qwen3.block_count", "num_hidden_layers"},
        {"qwen3.context_length", "max_position_embeddings"},
        {"qwen3.embedding_length", "hidden_size"},
        {"qwen3.feed_forward_length", "intermediate_size"},
        {"qwen3.attention.head_count", "num_attention_heads"},
        {"qwen3.attention.head_count_kv", "num_key_value_heads"},
        {"qwen3.attention.key_length", "head_dim"},
        {"qwen3.attention.value_length", "head_dim"},
    };
    static const struct {
        const char *key, *field;
    } doubles[] = {{"qwen3.rope.freq_base", "rope_theta"},
                   {"qwen3.attention.layer_norm_rms_epsilon", "rms_norm_eps"}};
    const zi_conversion_component *component = &c->components[ZI_COMPONENT_TEXT_ENCODER];
    if (!zi_component_config_json(&component->source, component->config, &v->config, error))
        return false;
    /* raw numbers (python_float) become JSON numbers when they are parsed again */
    char *text = cJSON_PrintUnformatted(v->config);
    cJSON_Delete(v->config);
    v->config = text ? cJSON_Parse(text) : NULL;
    free(text);
    const char *file = component->config ? component->config : component->source.file;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        int value;
        if (!zi_json_int(file, v->config, ints[i].field, 1, 1 << 30, &value, error)) return false;
        v->numbers[i] = (uint32_t)value;
        add_value(v, (zi_gguf_out){ints[i].key, ZI_GGUF_U32, false, 1, &v->numbers[i]});
    }
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        double value;
        if (!zi_json_double(file, v->config, doubles[i].field, 0, 1e12, &value, error))
            return false;
        v->reals[i] = (float)value;
        add_value(v, (zi_gguf_out){doubles[i].key, ZI_GGUF_F32, false, 1, &v->reals[i]});
    }
    return true;
}

/* ---- the tokenizer ---- */

/* Stores a token's text (borrowed) and type at its id, in place of an earlier token there. Fails
 * when text is NULL or id is not in 0..size-1. */
static bool set_token(const char *file, zi_gguf_encoder_metadata *v, int size, const char *text,
                      const cJSON *id, int32_t type, zi_error *error)
{
    if (!text || !zi_json_is_int(id, 0, size - 1))
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, file, text,
            "token \"%.60s\" must have an id from 0 to %d, as the text encoder knows no more "
            "tokens; use the tokenizer that came with the text encoder",
            text ? text : "", size - 1);
    v->tokens[id->valueint] = text;
    v->types[id->valueint] = type;
    return true;
}

/* Adds the texts and types of tokens 0..size-1, from the tokenizer's vocabulary and added tokens.
 * Ids without a token are padded with unused "[PADn]" tokens; a token without an id below size is
 * an error. model: the tokenizer's "model" object. The arrays are kept in v, also after a
 * failure. */
static bool add_tokens(const char *file, zi_gguf_encoder_metadata *v, const cJSON *model, int size,
                       zi_error *error)
{
    const cJSON *vocab, *item;
    if (!zi_json_object(file, model, "vocab", &vocab, error)) return false;
    v->tokens = calloc((size_t)size, sizeof *v->tokens);
    v->types = calloc((size_t)size, sizeof *v->types);
    v->pad_names = malloc((size_t)size * PAD_NAME_BYTES);
    if (!v->tokens || !v->types || !v->pad_names)
        return zi_error_no_memory(error, (size_t)size * PAD_NAME_BYTES);
    for (item = vocab->child; item; item = item->next)
        if (!set_token(file, v, size, item->string, item, NORMAL, error)) return false;
    cJSON_ArrayForEach(item, zi_json_find(v->tokenizer, "added_tokens"))
    {
        const cJSON *content = zi_json_find(item, "content");
        bool special = cJSON_IsTrue(zi_json_find(item, "special"));
        if (!set_token(file, v, size, cJSON_IsString(content) ? content->valuestring : NULL,
                       zi_json_find(item, "id"), special ? CONTROL : USER_DEFINED, error))
            return false;
    }
    for (int i = 0; i < size; i++) {
        if (v->tokens[i]) continue;
        char *name = v->pad_names + (size_t)i * PAD_NAME_BYTES;
        snprintf(name, PAD_NAME_BYTES, "[PAD%d]", i);
        v->tokens[i] = name;
        v->types[i] = UNUSED;
    }
    add_value(
        v, (zi_gguf_out){"tokenizer.ggml.tokens", ZI_GGUF_STRING, true, (size_t)size, v->tokens});
    add_value(
        v, (zi_gguf_out){"tokenizer.ggml.token_type", ZI_GGUF_I32, true, (size_t)size, v->types});
    return true;
}

/* Adds the merges: strings "a b" as they are, and pairs ["a", "b"] joined into one string, which is
 * stored in the JSON. model: the tokenizer's "model" object. Without merges the list is empty;
 * fails for other items. */
static bool add_merges(const char *file, zi_gguf_encoder_metadata *v, cJSON *model, zi_error *error)
{
    cJSON *merges = cJSON_GetObjectItemCaseSensitive(model, "merges"), *item;
    size_t count = (size_t)cJSON_GetArraySize(merges), n = 0;
    v->merges = calloc(count + 1, sizeof *v->merges);
    if (!v->merges) return zi_error_no_memory(error, count * sizeof *v->merges);
    cJSON_ArrayForEach(item, merges)
    {
        const cJSON *left = item->child, *right = left ? left->next : NULL;
        if (cJSON_IsString(left) && cJSON_IsString(right)) {
            size_t size = strlen(left->valuestring) + strlen(right->valuestring) + 2;
            char *joined = cJSON_malloc(size);
            if (!joined) return zi_error_no_memory(error, size);
            snprintf(joined, size, "%s %s", left->valuestring, right->valuestring);
            cJSON_free(item->valuestring);
            item->valuestring = joined; /* cJSON frees it with the item */
        }
        if (!item->valuestring)
            return zi_error_set(error, ZI_ERROR_BAD_FORMAT, file,
                                "item %zu (from 0) of \"merges\" must be two tokens, as \"a b\" or "
                                "[\"a\", \"b\"]; fetch the file again",
                                n);
        v->merges[n++] = item->valuestring;
    }
    add_value(v, (zi_gguf_out){"tokenizer.ggml.merges", ZI_GGUF_STRING, true, n, v->merges});
    return true;
}

/* Adds tokenizer.ggml.eos_token_id: the id of <|im_end|>, which ends a turn of Qwen's chats. Call
 * add_tokens first. ZI_ERROR_UNSUPPORTED, which names `file`: none of the `size` tokens is that. */
static bool add_eos_token(const char *file, zi_gguf_encoder_metadata *v, int size, zi_error *error)
{
    for (int i = 0; i < size; i++) {
        if (strcmp(v->tokens[i], "<|im_end|>") != 0) continue;
        v->numbers[8] = (uint32_t)i;
        add_value(
            v, (zi_gguf_out){"tokenizer.ggml.eos_token_id", ZI_GGUF_U32, false, 1, &v->numbers[8]});
        return true;
    }
    return zi_error_set_in(
        error, ZI_ERROR_UNSUPPORTED, file, "<|im_end|>",
        "has no token <|im_end|>, so it is not the tokenizer of Qwen3, which a text encoder of "
        "Z-Image needs; replace this file by the tokenizer.json that came with the text encoder");
}

/* Reads tokenizer.json into v->tokenizer and adds model, tokens, merges and end token as
 * tokenizer.ggml.* values. Needs v->config for the vocabulary size. Fails with ZI_ERROR_INCOMPLETE
 * if no input has a tokenizer. */
static bool add_tokenizer(const zi_conversion *c, zi_gguf_encoder_metadata *v, zi_error *error)
{
    static const char *const model_name = "gpt2", *const pre = "qwen2";
    const cJSON *model;
    if (!c->tokenizer)
        return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, c->options->source, "tokenizer",
                               "has no tokenizer, which the new model needs; name a reference "
                               "model (a complete Z-Image model) to take it from");
    char *file = zi_path_join(c->tokenizer, "tokenizer.json");
    if (!file) return zi_error_no_memory(error, strlen(c->tokenizer));
    int size = 0;
    bool ok = zi_json_read(file, MAX_TOKENIZER, &v->tokenizer, error) &&
              zi_json_object(file, v->tokenizer, "model", &model, error) &&
              zi_json_int("config", v->config, "vocab_size", 1, 1 << 24, &size, error);
    if (ok) {
        add_value(v, (zi_gguf_out){"tokenizer.ggml.model", ZI_GGUF_STRING, false, 1, &model_name});
        add_value(v, (zi_gguf_out){"tokenizer.ggml.pre", ZI_GGUF_STRING, false, 1, &pre});
    }
    ok = ok && add_tokens(file, v, model, size, error) &&
         add_merges(file, v, cJSON_GetObjectItemCaseSensitive(v->tokenizer, "model"), error) &&
         add_eos_token(file, v, size, error);
    free(file);
    return ok;
}

bool zi_gguf_encoder_metadata_create(const zi_conversion *conversion, zi_gguf_encoder_metadata *out,
                                     zi_error *error)
{
    static const bool false_value = false;
    *out = (zi_gguf_encoder_metadata){.values = calloc(MAX_VALUES, sizeof *out->values)};
    if (!out->values) return zi_error_no_memory(error, MAX_VALUES * sizeof *out->values);
    if (!add_config(conversion, out, error) || !add_tokenizer(conversion, out, error)) return false;
    add_value(out,
              (zi_gguf_out){"tokenizer.ggml.add_bos_token", ZI_GGUF_BOOL, false, 1, &false_value});
    return true;
}

void zi_gguf_encoder_metadata_free(zi_gguf_encoder_metadata *metadata)
{
    cJSON_Delete(metadata->config);
    cJSON_Delete(metadata->tokenizer);
    free(metadata->types);
    free(metadata->tokens);
    free(metadata->merges);
    free(metadata->pad_names);
    free(metadata->values);
    *metadata = (zi_gguf_encoder_metadata){0};
}
