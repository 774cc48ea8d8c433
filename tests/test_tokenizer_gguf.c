/* Tokenizers in GGUF files: token ids equal those of the original tokenizers; malformed metadata is
 * refused. */
#include "golden.h"
#include "io/json.h"
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* A golden GGUF file and its tokenizer. */
typedef struct {
    zi_checkpoint file;
    zi_tokenizer *tokenizer;
} opened;

static opened open_golden(const char *name)
{
    opened o = {.file = zi_golden_open(name)};
    zi_error error = {0};
    CHECK_OK(zi_tokenizer_load_gguf(o.file.gguf, &o.tokenizer, &error), error);
    return o;
}

static void close_golden(opened *o)
{
    zi_tokenizer_free(o->tokenizer);
    zi_checkpoint_close(&o->file);
}

static cJSON *read_json(const char *name)
{
    zi_error error = {0};
    cJSON *root = NULL;
    CHECK_OK(zi_json_read(zi_test_data_path(name), 64 << 20, &root, &error), error);
    return root;
}

/* The text of a case; free() it. */
static char *case_text(const cJSON *item, size_t *size)
{
    const char *hex = zi_json_find(item, "utf8_hex")->valuestring;
    *size = strlen(hex) / 2;
    char *text = malloc(*size + 1);
    for (size_t i = 0; i < *size; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        text[i] = (char)byte;
    }
    return text;
}

static void check_case(const char *what, const zi_tokenizer *t, const cJSON *item)
{
    zi_error error = {0};
    int32_t *ids = NULL;
    size_t size, count = 0, n = 0;
    char *text = case_text(item, &size);
    if (CHECK_OK(zi_tokenizer_encode(t, text, size, &ids, &count, &error), error)) {
        bool same = true;
        const cJSON *wanted;
        cJSON_ArrayForEach(wanted, zi_json_find(item, "ids"))
        {
            same = same && n < count && ids[n] == (int32_t)wanted->valuedouble;
            n++;
        }
        CHECK_MSG(same && n == count, "%s: other ids for \"%.*s\"", what, (int)size, text);
    }
    free(ids);
    free(text);
}

static void ways_of_splitting(void)
{
    static const struct {
        const char *name;
        bool adds_bos;
    } rows[] = {{"qwen2", false}, {"llama-bpe", true}, {"smollm", false}};
    cJSON *root = read_json("golden/tokenizer_gguf.json");
    for (size_t i = 0; root && i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        int cases = 0;
        const cJSON *item;
        snprintf(name, sizeof name, "tokenizer-%s.gguf", rows[i].name);
        opened o = open_golden(name);
        if (!o.tokenizer) continue;
        cJSON_ArrayForEach(item, zi_json_find(root, rows[i].name))
        {
            check_case(rows[i].name, o.tokenizer, item);
            cases++;
        }
        CHECK_MSG(cases > 200, "%d cases", cases);
        const zi_tokenizer_usage *usage = zi_tokenizer_get_usage(o.tokenizer);
        CHECK(usage->bos == zi_tokenizer_added_token(o.tokenizer, "<|endoftext|>") &&
              usage->bos > 0);
        CHECK(usage->eos == zi_tokenizer_added_token(o.tokenizer, "<|im_end|>") && usage->eos > 0);
        CHECK(usage->add_bos == rows[i].adds_bos);
        CHECK(usage->chat_template && strcmp(usage->chat_template, "{{ messages }}") == 0);
        CHECK(zi_tokenizer_added_token(o.tokenizer, "[PAD1284]") == -1);
        close_golden(&o);
    }
    cJSON_Delete(root);
}

static void check_same(const zi_tokenizer *a, const zi_tokenizer *b, const char *text, size_t size)
{
    zi_error error = {0};
    int32_t *x = NULL, *y = NULL;
    size_t m = 0, n = 0;
    if (CHECK_OK(zi_tokenizer_encode(a, text, size, &x, &m, &error), error) &&
        CHECK_OK(zi_tokenizer_encode(b, text, size, &y, &n, &error), error))
        CHECK_MSG(m == n && memcmp(x, y, m * sizeof *x) == 0, "other ids for \"%.*s\"", (int)size,
                  text);
    free(x);
    free(y);
}

/* The small enhancer's GGUF files against its folder. */
static void as_in_the_folder(void)
{
    static const char *const names[] = {"f16", "q8_0", "q4_k_m"};
    zi_error error = {0};
    zi_tokenizer *folder = NULL;
    cJSON *expected = read_json("golden/enhancer/expected.json");
    cJSON *more = read_json("golden/tokenizer_gguf.json");
    CHECK_OK(zi_tokenizer_load(zi_test_data_path("golden/enhancer/hf"), &folder, &error), error);
    for (int i = 0; i < 3 && folder && expected && more; i++) {
        char name[64];
        const cJSON *item;
        snprintf(name, sizeof name, "enhancer/gguf/%s.gguf", names[i]);
        opened o = open_golden(name);
        if (!o.tokenizer) continue;
        cJSON_ArrayForEach(item, zi_json_find(expected, "prompts"))
        {
            const char *text = zi_json_find(item, "text")->valuestring;
            check_same(folder, o.tokenizer, text, strlen(text));
        }
        cJSON_ArrayForEach(item, zi_json_find(more, "qwen2"))
        {
            size_t size;
            char *text = case_text(item, &size);
            check_same(folder, o.tokenizer, text, size);
            free(text);
        }
        CHECK(zi_tokenizer_get_usage(o.tokenizer)->eos == 298);
        CHECK(strstr(zi_tokenizer_get_usage(o.tokenizer)->chat_template, "<|im_start|>"));
        close_golden(&o);
    }
    if (folder) CHECK(zi_tokenizer_get_usage(folder)->eos == -1);
    zi_tokenizer_free(folder);
    cJSON_Delete(expected);
    cJSON_Delete(more);
}

/* ---- refusals ---- */

/* A string as files have it, of less than 256 bytes. */
#define TEXT(size, text) size "\0\0\0\0\0\0\0" text

static const struct {
    const char *key; /* whose value is replaced; of type ZI_GGUF_TYPES: it is taken out */
    zi_gguf_type type;
    bool array;
    size_t count;
    const char *data;
    const char *says;
    zi_error_code code;
    const char *subject; /* NULL: the file */
} damaged[] = {
    {"tokenizer.ggml.model", ZI_GGUF_STRING, false, 1, TEXT("\5", "llama"),
     "a tokenizer of kind llama", ZI_ERROR_UNSUPPORTED, "tokenizer.ggml.model"},
    {"tokenizer.ggml.model", ZI_GGUF_TYPES, false, 0, NULL, "tokenizer.ggml.model is missing",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.model"},
    {"tokenizer.ggml.pre", ZI_GGUF_STRING, false, 1, TEXT("\5", "dbrx!"), "as dbrx! does",
     ZI_ERROR_UNSUPPORTED, "tokenizer.ggml.pre"},
    {"tokenizer.ggml.pre", ZI_GGUF_TYPES, false, 0, NULL, "tokenizer.ggml.pre is missing",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.pre"},
    {"tokenizer.ggml.tokens", ZI_GGUF_TYPES, false, 0, NULL, "tokenizer.ggml.tokens is missing",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.tokens"},
    {"tokenizer.ggml.tokens", ZI_GGUF_STRING, true, 0, "", "kinds of tokens", ZI_ERROR_BAD_FORMAT,
     "tokenizer.ggml.token_type"},
    {"tokenizer.ggml.tokens", ZI_GGUF_STRING, false, 1, TEXT("\1", "a"), "a list of texts",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.tokens"},
    {"tokenizer.ggml.token_type", ZI_GGUF_TYPES, false, 0, NULL,
     "tokenizer.ggml.token_type is missing", ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.token_type"},
    {"tokenizer.ggml.token_type", ZI_GGUF_U8, true, 3, "\1\1\1", "3 kinds of tokens",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.token_type"},
    {"tokenizer.ggml.merges", ZI_GGUF_TYPES, false, 0, NULL, "tokenizer.ggml.merges is missing",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.merges"},
    {"tokenizer.ggml.merges", ZI_GGUF_STRING, true, 1, TEXT("\2", "ab"), "merge 1 must be two",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.merges"},
    {"tokenizer.ggml.merges", ZI_GGUF_STRING, true, 1, TEXT("\0", ""), "merge 1 must be two",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.merges"},
    {"tokenizer.ggml.merges", ZI_GGUF_STRING, true, 1, TEXT("\5", "a b c"), "merge 1 must be two",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.merges"},
    {"tokenizer.ggml.merges", ZI_GGUF_STRING, true, 1, TEXT("\3", "\xff b"), "merge 1 is not UTF",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.merges"},
    {"tokenizer.ggml.merges", ZI_GGUF_STRING, true, 1, TEXT("\5", "q zzz"),
     "merge 1 names \"zzz\", which is not among the tokens", ZI_ERROR_BAD_FORMAT, NULL},
    {"tokenizer.ggml.bos_token_id", ZI_GGUF_U16, false, 1, "\xff\xff", "must be from 0 to",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.bos_token_id"},
    {"tokenizer.ggml.eos_token_id", ZI_GGUF_I8, false, 1, "\xff", "must be from 0 to",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.eos_token_id"},
    {"tokenizer.ggml.eos_token_id", ZI_GGUF_BOOL, false, 1, "\1", "must be a whole number",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.eos_token_id"},
    {"tokenizer.ggml.bos_token_id", ZI_GGUF_TYPES, false, 0, NULL,
     "key tokenizer.ggml.bos_token_id, which should name it, is missing", ZI_ERROR_BAD_FORMAT,
     "tokenizer.ggml.add_bos_token"},
    {"tokenizer.ggml.add_bos_token", ZI_GGUF_U8, false, 1, "\1", "must be true or false",
     ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.add_bos_token"},
    {"tokenizer.chat_template", ZI_GGUF_U8, false, 1, "\1", "must be a string", ZI_ERROR_BAD_FORMAT,
     "tokenizer.chat_template"},
    {"tokenizer.chat_template", ZI_GGUF_STRING, false, 1, TEXT("\1", "\xff"), "not UTF-8",
     ZI_ERROR_BAD_FORMAT, "tokenizer.chat_template"},
};

/* To be changed: the checkpoint is the test's own. */
static zi_gguf_value *value_of(const zi_checkpoint *file, const char *key)
{
    return (zi_gguf_value *)(uintptr_t)zi_gguf_find(file->gguf, key);
}

static void bad_metadata(void)
{
    zi_checkpoint file = zi_golden_open("tokenizer-llama-bpe.gguf");
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        zi_gguf_value *value = value_of(&file, damaged[i].key);
        zi_tokenizer *t = NULL;
        zi_error error = {0};
        if (!CHECK_MSG(value, "row %zu", i)) continue;
        zi_gguf_value kept = *value;
        if (damaged[i].type == ZI_GGUF_TYPES)
            value->key.size--; /* another name, in the same place of the order */
        else
            *value = (zi_gguf_value){kept.key, damaged[i].type, damaged[i].array, damaged[i].count,
                                     (const uint8_t *)damaged[i].data};
        if (!CHECK_MSG(!zi_tokenizer_load_gguf(file.gguf, &t, &error), "row %zu was accepted", i))
            zi_tokenizer_free(t);
        CHECK_MSG(strstr(error.text, damaged[i].says) && strstr(error.text, "llama-bpe.gguf"),
                  "row %zu says: %s", i, error.text);
        CHECK_ERROR(error, damaged[i].code,
                    damaged[i].subject ? damaged[i].subject : file.files[0].path);
        *value = kept;
    }
    zi_checkpoint_close(&file);
}

/* Kinds and texts of single tokens: the third one is changed, whose text is one byte as those
 * before it. */
static void bad_tokens(void)
{
    static const struct {
        uint8_t kind, text;
        const char *says;
        zi_error_code code;
        const char *subject; /* NULL: the file */
    } rows[] = {
        {6, '#', "token 2 is of kind 6", ZI_ERROR_UNSUPPORTED, "tokenizer.ggml.token_type"},
        {0, '#', "token 2 is of kind 0", ZI_ERROR_UNSUPPORTED, "tokenizer.ggml.token_type"},
        {1, 0xff, "token 2 is not UTF-8 text", ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.tokens"},
        {1, 0, "token 2 is not UTF-8 text", ZI_ERROR_BAD_FORMAT, "tokenizer.ggml.tokens"},
        {1, 'A', "token \"A\" is there twice", ZI_ERROR_BAD_FORMAT, NULL},
        {1, ' ', "names \"#\", which is not among the tokens", ZI_ERROR_BAD_FORMAT, NULL},
    };
    enum { AT = 2 * (8 + 1) + 8 };
    zi_checkpoint file = zi_golden_open("tokenizer-qwen2.gguf");
    zi_gguf_value *tokens = value_of(&file, "tokenizer.ggml.tokens");
    zi_gguf_value *types = value_of(&file, "tokenizer.ggml.token_type");
    uint8_t *kinds = calloc(tokens->count, 1);
    size_t bytes = 0;
    for (size_t i = 0; i < tokens->count; i++) {
        kinds[i] = (uint8_t)zi_gguf_integer_at(types, i);
        zi_gguf_next_string(tokens, &bytes);
    }
    uint8_t *texts = malloc(bytes);
    memcpy(texts, tokens->data, bytes);
    CHECK(texts[AT] == '#');
    *types = (zi_gguf_value){types->key, ZI_GGUF_U8, true, tokens->count, kinds};
    tokens->data = texts;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_tokenizer *t = NULL;
        zi_error error = {0};
        kinds[2] = rows[i].kind;
        texts[AT] = rows[i].text;
        if (!CHECK_MSG(!zi_tokenizer_load_gguf(file.gguf, &t, &error), "row %zu was accepted", i))
            zi_tokenizer_free(t);
        CHECK_MSG(strstr(error.text, rows[i].says), "row %zu says: %s", i, error.text);
        CHECK_ERROR(error, rows[i].code, rows[i].subject ? rows[i].subject : file.files[0].path);
    }
    free(texts);
    free(kinds);
    zi_checkpoint_close(&file);
}

int main(void)
{
    RUN(ways_of_splitting);
    RUN(as_in_the_folder);
    RUN(bad_metadata);
    RUN(bad_tokens);
    return zi_test_result();
}
