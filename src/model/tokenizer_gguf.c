/* Reads the tokenizer from GGUF metadata. */
#include "model/tokenizer_read.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS "tokenizer.ggml.tokens"
#define TYPES "tokenizer.ggml.token_type"
#define MERGES "tokenizer.ggml.merges"

/* Values of tokenizer.ggml.token_type. */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED };

/* The pre-tokenizers that tokenizer.ggml.pre names, as the models' own tokenizer.json define them.
 * SmolLM splits off digits before it applies GPT-2's pattern; here both are one pattern, in which a
 * digit ends a run of spaces like the end of the text does. */
static const struct {
    const char *name, *pattern;
    bool nfc, whole_words, gaps;
} pre_tokenizers[] = {
    {"qwen2", zi_qwen_pattern, true, false, false},
    {"llama-bpe",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     false, true, false},
    {"smollm",
     "\\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?![^\\s\\p{N}])|\\s+",
     false, false, true},
};

enum { PRE_TOKENIZERS = sizeof pre_tokenizers / sizeof *pre_tokenizers };

/* Sets *out to the index in pre_tokenizers of the one that the metadata name, which they must.
 * Fails with ZI_ERROR_UNSUPPORTED for another one, or for a model other than "gpt2"; *out is then
 * undefined. */
static bool read_pre_tokenizer(const zi_gguf *gguf, size_t *out, zi_error *error)
{
    zi_gguf_text model, pre;
    if (!zi_gguf_string(gguf, "tokenizer.ggml.model", &model, error)) return false;
    if (!zi_gguf_text_equals(model, "gpt2"))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, gguf->path, "tokenizer.ggml.model",
                               "a tokenizer of kind %.*s (tokenizer.ggml.model) is not supported, "
                               "only gpt2 is (as in Qwen, Llama 3 and SmolLM); use another model",
                               model.size < 100 ? (int)model.size : 100, model.data);
    if (!zi_gguf_string(gguf, "tokenizer.ggml.pre", &pre, error)) return false;
    for (*out = 0; *out < PRE_TOKENIZERS; ++*out)
        if (zi_gguf_text_equals(pre, pre_tokenizers[*out].name)) return true;
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, gguf->path, "tokenizer.ggml.pre",
                           "a tokenizer that splits words as %.*s does (tokenizer.ggml.pre) is not "
                           "supported, only qwen2, llama-bpe and smollm are; use another model",
                           pre.size < 100 ? (int)pre.size : 100, pre.data);
}

/* Adds all tokens to files->bpe, with ids from 0 in their order, and the ids of control and
 * user-defined ones to files->added, which has room. Types other than NORMAL are literal text,
 * which merges never produce. Fails for invalid texts and unknown types. */
static bool add_tokens(const zi_gguf *gguf, const zi_gguf_value *tokens, const zi_gguf_value *types,
                       zi_tokenizer_files *files, zi_error *error)
{
    size_t at = 0;
    for (size_t id = 0; id < tokens->count; id++) {
        zi_gguf_text text = zi_gguf_next_string(tokens, &at);
        int64_t type = zi_gguf_integer_at(types, id);
        if (!zi_utf8_valid(text.data, text.size) || memchr(text.data, 0, text.size))
            return zi_error_set_in(
                error, ZI_ERROR_BAD_FORMAT, gguf->path, TOKENS,
                "token %zu is not UTF-8 text: the file is damaged; fetch it again", id);
        if (type < NORMAL || type > UNUSED)
            return zi_error_set_in(
                error, ZI_ERROR_UNSUPPORTED, gguf->path, TYPES,
                "token %zu is of kind %lld (" TYPES
                "), but only 1 to 5 are supported; use another GGUF file of this model",
                id, (long long)type);
        if (!zi_bpe_add_token(&files->bpe, gguf->path, text.data, text.size, (int32_t)id,
                              type != NORMAL, error))
            return false;
        if (type == CONTROL || type == USER_DEFINED)
            files->added[files->added_count++] = (int32_t)id;
    }
    return true;
}

/* Adds all merges, strings "left right", in their order to bpe, which has all tokens. Fails for one
 * that is no UTF-8 text of two tokens. */
static bool add_merges(const zi_gguf *gguf, const zi_gguf_value *merges, zi_bpe *bpe,
                       zi_error *error)
{
    size_t at = 0;
    for (size_t i = 0; i < merges->count; i++) {
        zi_gguf_text text = zi_gguf_next_string(merges, &at);
        const char *space = memchr(text.data, ' ', text.size);
        size_t left = space ? (size_t)(space - text.data) : 0, right = text.size - left - 1;
        if (!space || memchr(space + 1, ' ', right))
            return zi_error_set_in(
                error, ZI_ERROR_BAD_FORMAT, gguf->path, MERGES,
                "merge %zu must be two tokens, \"a b\": the file is damaged; fetch it again",
                i + 1);
        if (!zi_utf8_valid(text.data, text.size))
            return zi_error_set_in(
                error, ZI_ERROR_BAD_FORMAT, gguf->path, MERGES,
                "merge %zu is not UTF-8 text: the file is damaged; fetch it again", i + 1);
        if (!zi_bpe_add_merge(bpe, gguf->path, text.data, left, space + 1, right, error))
            return false;
    }
    return true;
}

/* Number of control and user-defined tokens, which become added tokens. */
static size_t count_added(const zi_gguf_value *types)
{
    size_t count = 0;
    for (size_t i = 0; i < types->count; i++) {
        int64_t type = zi_gguf_integer_at(types, i);
        count += type == CONTROL || type == USER_DEFINED;
    }
    return count;
}

/* Fills in files->bpe, sealed, and files->added, both unset before, from the metadata.
 * pre_tokenizer: index in pre_tokenizers. On failure the caller frees *files. */
static bool read_vocabulary(const zi_gguf *gguf, size_t pre_tokenizer, zi_tokenizer_files *files,
                            zi_error *error)
{
    const zi_gguf_value *tokens, *types, *merges;
    zi_bpe *bpe = &files->bpe;
    if (!zi_gguf_strings(gguf, TOKENS, &tokens, error) ||
        !zi_gguf_integers(gguf, TYPES, &types, error) ||
        !zi_gguf_strings(gguf, MERGES, &merges, error))
        return false;
    if (types->count != tokens->count)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, TYPES,
                               "has %zu kinds of tokens (" TYPES ") for %zu tokens: the file is "
                               "damaged; fetch it again",
                               types->count, tokens->count);
    if (!zi_tokenizer_reserve_added(files, gguf->path, count_added(types), error) ||
        !zi_bpe_init(bpe, gguf->path, tokens->count, merges->count, error))
        return false;
    bpe->whole_words = pre_tokenizers[pre_tokenizer].whole_words;
    bpe->gaps = pre_tokenizers[pre_tokenizer].gaps;
    return add_tokens(gguf, tokens, types, files, error) && add_merges(gguf, merges, bpe, error) &&
           zi_bpe_seal(bpe, gguf->path, error);
}

/* Reads an optional token id below `size`; *out is -1 when it is absent, unchanged after a failure
 * (ZI_ERROR_BAD_FORMAT). */
static bool read_token_id(const zi_gguf *gguf, const char *key, int32_t size, int32_t *out,
                          zi_error *error)
{
    int64_t id = -1;
    if (zi_gguf_find(gguf, key) && !zi_gguf_integer(gguf, key, 0, size - 1, &id, error))
        return false;
    *out = (int32_t)id;
    return true;
}

/* Sets files->usage (bos, eos, add_bos, chat template) from metadata, all of which are optional
 * (absent: -1, false, NULL), and files->chat_template, a copy that usage points to; files->bpe is
 * read. Fails with ZI_ERROR_BAD_FORMAT if texts shall begin with a bos that is not named. The
 * caller frees *files, also after a failure. */
static bool read_usage(const zi_gguf *gguf, zi_tokenizer_files *files, zi_error *error)
{
    static const char bos_key[] = "tokenizer.ggml.bos_token_id";
    static const char add_key[] = "tokenizer.ggml.add_bos_token";
    static const char template_key[] = "tokenizer.chat_template";
    zi_tokenizer_usage *usage = &files->usage;
    zi_gguf_text text;
    if (!read_token_id(gguf, bos_key, files->bpe.size, &usage->bos, error) ||
        !read_token_id(gguf, "tokenizer.ggml.eos_token_id", files->bpe.size, &usage->eos, error))
        return false;
    if (zi_gguf_find(gguf, add_key) && !zi_gguf_bool(gguf, add_key, &usage->add_bos, error))
        return false;
    if (usage->add_bos && usage->bos < 0)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, add_key,
                               "key %s asks for a token at the beginning of the text, but key %s, "
                               "which should name it, is missing; use another file of the model",
                               add_key, bos_key);
    if (!zi_gguf_find(gguf, template_key)) return true;
    if (!zi_gguf_string(gguf, template_key, &text, error)) return false;
    files->chat_template = strndup(text.data, text.size);
    usage->chat_template = files->chat_template;
    return files->chat_template || zi_error_no_memory(error, text.size);
}

bool zi_tokenizer_read_gguf(const zi_gguf *gguf, zi_tokenizer_files *out, zi_error *error)
{
    zi_tokenizer_files files = {0};
    size_t pre_tokenizer = 0;
    if (!read_pre_tokenizer(gguf, &pre_tokenizer, error) ||
        !zi_tokenizer_keep_pattern(&files, gguf->path, pre_tokenizers[pre_tokenizer].pattern,
                                   error) ||
        !read_vocabulary(gguf, pre_tokenizer, &files, error) || !read_usage(gguf, &files, error)) {
        zi_tokenizer_files_free(&files);
        return false;
    }
    files.nfc = pre_tokenizers[pre_tokenizer].nfc;
    *out = files;
    return true;
}
