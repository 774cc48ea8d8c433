#include "model/lm_config.h"
#include "base/file.h"
#include "model/bpe.h"

#include <stdlib.h>

enum { MAX_CONFIG = 1 << 20, MAX_TOKENIZER_CONFIG = 16 << 20, MAX_WIDTH = 1 << 20 };

/* Differences between architectures. interleaved: applies to GGUF files, whose q and k rows are
 * permuted for it. theta: default of rope_theta. */
static const struct architecture {
    const char *name;
    bool qk_norm, biases, interleaved;
    double theta;
} architectures[] = {
    {"qwen2", false, true, false, 1e4},
    {"qwen3", true, false, false, 1e6},
    {"llama", false, false, true, 1e4},
};
enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

/* The architecture of this name, of `size` bytes without closing NUL; NULL: it is not supported,
 * and ZI_ERROR_UNSUPPORTED is set. */
static const struct architecture *find_architecture(const char *path, const char *name, size_t size,
                                                    zi_error *error)
{
    for (size_t i = 0; i < ARCHITECTURES; i++)
        if (strlen(architectures[i].name) == size && memcmp(architectures[i].name, name, size) == 0)
            return &architectures[i];
    zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                 "the architecture %.*s is not supported for language models; use a qwen2, qwen3 "
                 "or llama model",
                 size < 60 ? (int)size : 60, name);
    return NULL;
}

/* Sets qk_norm and biases, and nothing else, to the architecture's. */
static void set_norms_and_biases(const struct architecture *architecture, zi_qwen_config *c)
{
    c->qk_norm = architecture->qk_norm;
    c->biases = architecture->biases;
}

bool zi_lm_add_stop(zi_lm *lm, int32_t id, zi_error *error)
{
    if (id < 0) return true;
    for (size_t i = 0; i < lm->stop_count; i++)
        if (lm->stops[i] == id) return true;
    int32_t *grown = realloc(lm->stops, (lm->stop_count + 1) * sizeof *grown);
    if (!grown) return zi_error_no_memory(error, lm->stop_count);
    lm->stops = grown;
    lm->stops[lm->stop_count++] = id;
    return true;
}

/* ---- JSON ---- */

/* Adds the ids in "eos_token_id", a number or a list, to lm's stop tokens, without duplicates; none
 * when it is absent or null. Fails with ZI_ERROR_BAD_FORMAT for what is no id, or when memory is
 * short; those before it stay added. */
static bool add_eos_tokens(const char *path, const cJSON *json, zi_lm *lm, zi_error *error)
{
    const cJSON *field = zi_json_find(json, "eos_token_id");
    const cJSON *item = cJSON_IsArray(field) ? field->child : field;
    for (; item; item = cJSON_IsArray(field) ? item->next : NULL) {
        if (!zi_json_is_int(item, 0, ZI_BPE_LIMIT - 1))
            return zi_error_set_in(
                error, ZI_ERROR_BAD_FORMAT, path, "eos_token_id",
                "field \"eos_token_id\" must be a whole number from 0 to %d (the id of a token), "
                "or a list of such numbers; fetch the file again",
                ZI_BPE_LIMIT - 1);
        if (!zi_lm_add_stop(lm, (int32_t)item->valuedouble, error)) return false;
    }
    return true;
}

/* Reads a parsed config.json into *out, which the caller has zeroed, and adds its end-of-sequence
 * tokens to lm; both may have changed after a failure. interleaved stays false, as it is for GGUF
 * only. rope_theta defaults to the architecture's. */
static bool read_lm_config(const char *path, const cJSON *json, zi_lm *lm, zi_lm_config *out,
                           zi_error *error)
{
    const char *type;
    if (!zi_json_string(path, json, "model_type", &type, error)) return false;
    const struct architecture *architecture = find_architecture(path, type, strlen(type), error);
    if (!architecture || !zi_config_read_qwen(path, json, architecture->theta, &out->qwen, error) ||
        !zi_config_check_qwen(path, &out->qwen, error) ||
        !zi_json_bool_or(path, json, "tie_word_embeddings", false, &out->tied, error) ||
        !add_eos_tokens(path, json, lm, error))
        return false;
    set_norms_and_biases(architecture, &out->qwen);
    out->untied = zi_json_find(json, "tie_word_embeddings") && !out->tied;
    const cJSON *groups = zi_json_find(json, "quantization");
    int group = 0;
    if (groups && !zi_json_int(path, groups, "group_size", 1, 1024, &group, error)) return false;
    out->group = (size_t)group;
    return true;
}

bool zi_lm_read_json_config(const char *path, zi_lm *lm, zi_lm_config *out, zi_error *error)
{
    cJSON *json = NULL;
    *out = (zi_lm_config){0};
    bool ok =
        zi_json_read(path, MAX_CONFIG, &json, error) && read_lm_config(path, json, lm, out, error);
    cJSON_Delete(json);
    return ok;
}

/* Copies "chat_template", a string or a list of named templates, of which "default" is taken, to
 * lm->chat_template. True and lm unchanged if there is none, or lm has a template already. False:
 * memory is short. */
static bool read_chat_template(const cJSON *json, zi_lm *lm, zi_error *error)
{
    const cJSON *field = zi_json_find(json, "chat_template");
    if (cJSON_IsArray(field)) {
        const cJSON *item, *list = field;
        field = NULL;
        cJSON_ArrayForEach(item, list)
        {
            const cJSON *name = zi_json_find(item, "name");
            if (cJSON_IsString(name) && strcmp(name->valuestring, "default") == 0)
                field = zi_json_find(item, "template");
        }
    }
    if (!cJSON_IsString(field) || lm->chat_template) return true;
    lm->chat_template = strdup(field->valuestring);
    return lm->chat_template || zi_error_no_memory(error, strlen(field->valuestring));
}

/* Adds the end-of-sequence tokens in the file, a generation_config.json, to lm's stop tokens. Fails
 * if the file cannot be read or holds what is no id; some may have been added. */
static bool read_generation_config(const char *path, zi_lm *lm, zi_error *error)
{
    cJSON *json = NULL;
    bool ok = zi_json_read(path, MAX_CONFIG, &json, error) && add_eos_tokens(path, json, lm, error);
    cJSON_Delete(json);
    return ok;
}

/* Sets lm->bos to the id of "bos_token", a name or, as transformers writes it, too, an object with
 * the name as "content". True and lm unchanged if it is absent or empty; fails for what is no added
 * token of the tokenizer. */
static bool read_bos(const char *path, const cJSON *json, zi_lm *lm, zi_error *error)
{
    const cJSON *field = zi_json_find(json, "bos_token");
    const cJSON *name = cJSON_IsObject(field) ? zi_json_find(field, "content") : field;
    if (!field || (cJSON_IsString(name) && !name->valuestring[0])) return true;
    if (!cJSON_IsString(name))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, "bos_token",
                               "field \"bos_token\" must be the name of a token, as text in "
                               "quotes; fetch the file again");
    lm->bos = zi_tokenizer_added_token(lm->tokenizer, name->valuestring);
    return lm->bos >= 0 ||
           zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, "bos_token",
                           "\"bos_token\" is %.60s, which the tokenizer does not have as an added "
                           "token; fetch the tokenizer's files again",
                           name->valuestring);
}

/* Reads the chat template (unless lm has one) from the file, a tokenizer_config.json, and, only if
 * add_bos_token is true, bos_token as read_bos does. Fails if the file cannot be read, too; lm
 * keeps what was set before a failure. */
static bool read_tokenizer_config(const char *path, zi_lm *lm, zi_error *error)
{
    cJSON *json = NULL;
    bool add_bos;
    bool ok = zi_json_read(path, MAX_TOKENIZER_CONFIG, &json, error) &&
              zi_json_bool_or(path, json, "add_bos_token", false, &add_bos, error) &&
              read_chat_template(json, lm, error) && (!add_bos || read_bos(path, json, lm, error));
    cJSON_Delete(json);
    return ok;
}

/* Replaces lm->chat_template, which is freed, by the text of the file; it is NULL after a failure.
 */
static bool read_chat_template_file(const char *path, zi_lm *lm, zi_error *error)
{
    size_t size;
    free(lm->chat_template);
    lm->chat_template = NULL;
    return zi_file_read(path, MAX_TOKENIZER_CONFIG, &lm->chat_template, &size, error);
}

bool zi_lm_read_folder(const char *folder, zi_lm *lm, zi_error *error)
{
    static const struct {
        const char *name;
        bool (*read)(const char *path, zi_lm *lm, zi_error *error);
    } files[] = {{"generation_config.json", read_generation_config},
                 {"tokenizer_config.json", read_tokenizer_config},
                 {"chat_template.jinja", read_chat_template_file}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = zi_path_join(folder, files[i].name);
        if (!path) return zi_error_no_memory(error, strlen(folder));
        bool ok = !zi_is_file(path) || files[i].read(path, lm, error);
        free(path);
        if (!ok) return false;
    }
    return true;
}

/* ---- GGUF ---- */

/* Reads the integer ARCHITECTURE.NAME in 1..max, else it is ZI_ERROR_BAD_FORMAT. fallback: taken,
 * without a check of its range, when the key is absent; 0: it is required. *out is unchanged after
 * a failure. */
static bool read_gguf_int(const zi_gguf *gguf, const char *architecture, const char *name, int max,
                          int fallback, int *out, zi_error *error)
{
    char key[100];
    int64_t value = fallback;
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    if ((!fallback || zi_gguf_find(gguf, key)) &&
        !zi_gguf_integer(gguf, key, 1, max, &value, error))
        return false;
    *out = (int)value;
    return true;
}

/* Reads the number ARCHITECTURE.NAME, which must be above 0 and below 1e12, else it is
 * ZI_ERROR_BAD_FORMAT. fallback: taken when the key is absent; 0: it is required. *out may have
 * changed after a failure. */
static bool read_gguf_double(const zi_gguf *gguf, const char *architecture, const char *name,
                             double fallback, double *out, zi_error *error)
{
    char key[100];
    *out = fallback;
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    if ((fallback == 0 || zi_gguf_find(gguf, key)) && !zi_gguf_number(gguf, key, out, error))
        return false;
    if (*out > 0 && *out < 1e12) return true;
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, key,
                           "key %s is %g, but it must be above 0 and below 1e12; fetch the file "
                           "again, or use another file of the model",
                           key, *out);
}

/* Fails with ZI_ERROR_UNSUPPORTED if ARCHITECTURE.rope.scaling.type is there and not "none". */
static bool check_gguf_rope_scaling(const zi_gguf *gguf, const char *architecture, zi_error *error)
{
    char key[100];
    zi_gguf_text type;
    snprintf(key, sizeof key, "%s.rope.scaling.type", architecture);
    if (!zi_gguf_find(gguf, key)) return true;
    if (!zi_gguf_string(gguf, key, &type, error)) return false;
    if (zi_gguf_text_equals(type, "none")) return true;
    return zi_error_set_in(
        error, ZI_ERROR_UNSUPPORTED, gguf->path, key,
        "%s asks for rope scaling of type %.*s, which is not supported; use another language model",
        key, type.size < 60 ? (int)type.size : 60, type.data);
}

bool zi_lm_read_gguf_config(const zi_gguf *gguf, int vocab, zi_lm_config *out, zi_error *error)
{
    zi_gguf_text name;
    double eps;
    *out = (zi_lm_config){.qwen = {.vocab = vocab}};
    zi_qwen_config *c = &out->qwen;
    if (!zi_gguf_string(gguf, "general.architecture", &name, error)) return false;
    const struct architecture *architecture =
        find_architecture(gguf->path, name.data, name.size, error);
    if (!architecture) return false;
    const char *f = architecture->name;
    if (!read_gguf_int(gguf, f, "block_count", 512, 0, &c->layers, error) ||
        !read_gguf_int(gguf, f, "embedding_length", MAX_WIDTH, 0, &c->hidden, error) ||
        !read_gguf_int(gguf, f, "feed_forward_length", MAX_WIDTH, 0, &c->ffn, error) ||
        !read_gguf_int(gguf, f, "attention.head_count", 1024, 0, &c->heads, error) ||
        !read_gguf_int(gguf, f, "attention.head_count_kv", 1024, c->heads, &c->kv_heads, error) ||
        !read_gguf_int(gguf, f, "attention.key_length", ZI_MAX_HEAD, c->hidden / c->heads + 1,
                       &c->head_dim, error) ||
        !read_gguf_int(gguf, f, "context_length", 1 << 30, 0, &c->context, error) ||
        !read_gguf_double(gguf, f, "attention.layer_norm_rms_epsilon", 0, &eps, error) ||
        !read_gguf_double(gguf, f, "rope.freq_base", architecture->theta, &c->rope_theta, error) ||
        !check_gguf_rope_scaling(gguf, f, error))
        return false;
    char key[100];
    snprintf(key, sizeof key, "%s.attention.key_length", f);
    if (!zi_gguf_find(gguf, key)) c->head_dim = c->hidden / c->heads;
    c->eps = (float)eps;
    c->interleaved = architecture->interleaved;
    set_norms_and_biases(architecture, c);
    return zi_config_check_qwen(gguf->path, c, error);
}
