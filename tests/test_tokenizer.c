/* Byte-level BPE tokenizers in folders: token ids against golden cases, special tokens, malformed
 * files. */
#include "harness.h"
#include "base/file.h"
#include "base/text.h"
#include "io/json.h"
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- files in the test folder ---- */

static const char *const file_names[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                         "tokenizer_config.json"};

static void put(const char *name, const char *text, size_t size)
{
    zi_test_write_file(zi_test_path(name), text, size);
}

static void clear_folder(void)
{
    for (size_t i = 0; i < sizeof file_names / sizeof *file_names; i++)
        unlink(zi_test_path(file_names[i]));
}

static void put_json(const char *name, const cJSON *root)
{
    char *text = cJSON_PrintUnformatted(root);
    if (CHECK(text)) put(name, text, strlen(text));
    free(text);
}

static cJSON *read_json(const char *path)
{
    zi_error error = {0};
    cJSON *root = NULL;
    CHECK_OK(zi_json_read(path, 64 << 20, &root, &error), error);
    return root;
}

static zi_tokenizer *load(const char *dir)
{
    zi_error error = {0};
    zi_tokenizer *t = NULL;
    CHECK_OK(zi_tokenizer_load(dir, &t, &error), error);
    return t;
}

/* ---- golden cases ---- */

static void check_ids(const char *what, const cJSON *expected, const int32_t *ids, size_t count)
{
    size_t n = 0;
    for (const cJSON *item = expected->child; item; item = item->next, n++) {
        if (n < count && ids[n] == (int32_t)item->valuedouble) continue;
        CHECK_MSG(false, "%.60s: id %zu is %d, must be %d", what, n, n < count ? (int)ids[n] : -1,
                  (int)item->valuedouble);
        return;
    }
    CHECK_MSG(n == count, "%.60s: %zu ids, must be %zu", what, count, n);
}

/* The bytes of a case; free() them. */
static char *case_bytes(const cJSON *item, size_t *size)
{
    const cJSON *hex = zi_json_find(item, "utf8_hex");
    const char *text = zi_json_find(item, "text")->valuestring;
    *size = hex ? strlen(hex->valuestring) / 2 : strlen(text);
    char *bytes = malloc(*size + 1);
    for (size_t i = 0; hex && bytes && i < *size; i++) {
        unsigned byte = 0;
        sscanf(hex->valuestring + 2 * i, "%2x", &byte);
        bytes[i] = (char)byte;
    }
    if (!hex && bytes) memcpy(bytes, text, *size);
    return bytes;
}

static void check_case(const zi_tokenizer *t, const cJSON *item)
{
    zi_error error = {0};
    int32_t *ids = NULL;
    size_t size, count = 0;
    char *bytes = case_bytes(item, &size);
    if (CHECK(bytes) && CHECK_OK(zi_tokenizer_encode(t, bytes, size, &ids, &count, &error), error))
        check_ids(zi_json_find(item, "text")->valuestring, zi_json_find(item, "ids"), ids, count);
    free(ids);
    free(bytes);
}

static void check_chat(const zi_tokenizer *t, const cJSON *item)
{
    zi_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    const char *prompt = zi_json_find(item, "prompt")->valuestring;
    if (CHECK_OK(zi_tokenizer_encode_chat(t, prompt, 512, &ids, &count, &error), error))
        check_ids(prompt, zi_json_find(item, "ids"), ids, count);
    free(ids);
    ids = NULL;
    if (CHECK_OK(zi_tokenizer_encode_chat(t, prompt, 1 << 20, &ids, &count, &error), error))
        CHECK((int)count == (int)zi_json_find(item, "n_full")->valuedouble);
    free(ids);
}

static void check_golden(const char *dir, const char *group)
{
    cJSON *root = read_json(zi_test_data_path("tokenizer/cases.json"));
    zi_tokenizer *t = load(dir);
    if (root && t) {
        int cases = 0, chats = 0;
        const cJSON *set = zi_json_find(root, group);
        for (const cJSON *i = zi_json_find(set, "cases")->child; i; i = i->next, cases++)
            check_case(t, i);
        for (const cJSON *i = zi_json_find(set, "chat")->child; i; i = i->next, chats++)
            check_chat(t, i);
        CHECK(cases == 238 && chats == 21);
    }
    zi_tokenizer_free(t);
    cJSON_Delete(root);
}

static const char *tiny_file(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", zi_test_data_path("golden/model/tokenizer"), name);
    return path;
}

static void golden_tiny(void)
{
    check_golden(zi_test_data_path("golden/model/tokenizer"), "tiny");
}

/* Copies the three files of the tiny tokenizer's other form. */
static void put_tiny_files(void)
{
    clear_folder();
    for (int i = 1; i < 4; i++) {
        zi_error error = {0};
        char *text = NULL;
        size_t size = 0;
        if (CHECK_OK(zi_file_read(tiny_file(file_names[i]), 1 << 20, &text, &size, &error), error))
            put(file_names[i], text, size);
        free(text);
    }
}

static void golden_tiny_files(void)
{
    put_tiny_files();
    check_golden(zi_test_folder(), "tiny");
}

/* The merges of tokenizer.json as "a b" instead of ["a", "b"]. */
static void golden_tiny_merge_strings(void)
{
    clear_folder();
    cJSON *root = read_json(tiny_file("tokenizer.json"));
    cJSON *model = cJSON_GetObjectItem(root, "model"), *strings = cJSON_CreateArray();
    for (const cJSON *m = cJSON_GetObjectItem(model, "merges")->child; m; m = m->next) {
        char text[500];
        snprintf(text, sizeof text, "%s %s", m->child->valuestring, m->child->next->valuestring);
        cJSON_AddItemToArray(strings, cJSON_CreateString(text));
    }
    CHECK(cJSON_GetArraySize(strings) == 1000);
    cJSON_ReplaceItemInObject(model, "merges", strings);
    put_json("tokenizer.json", root);
    cJSON_Delete(root);
    check_golden(zi_test_folder(), "tiny");
}

/* One token of vocab.json, with what JSON wants escaped. */
static void put_entry(zi_text *json, const char *token, size_t size, int id)
{
    zi_text_puts(json, id ? ",\"" : "{\"");
    for (size_t i = 0; i < size; i++) {
        if (token[i] == '"' || token[i] == '\\') zi_text_puts(json, "\\");
        zi_text_append(json, token + i, 1);
    }
    zi_text_printf(json, "\":%d", id);
}

static void put_byte_tokens(zi_text *json)
{
    for (int pass = 0, id = 0, other = 256; pass < 2; pass++)
        for (int byte = 0; byte < 256; byte++) {
            bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
            if (printable == (pass == 1)) continue;
            int c = printable ? byte : other++;
            char text[2] = {(char)(c < 128 ? c : 0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
            put_entry(json, text, c < 128 ? 1 : 2, id++);
        }
}

static void put_qwen3_vocabulary(const char *merges)
{
    zi_text json;
    zi_text_init(&json, 16 << 20);
    put_byte_tokens(&json);
    int id = 256;
    for (const char *line = strchr(merges, '\n') + 1; *line; id++) {
        char token[1000];
        size_t size = strcspn(line, "\n"), left = strcspn(line, " ");
        if (!CHECK(size < sizeof token && left < size)) break;
        memcpy(token, line, left);
        memcpy(token + left, line + left + 1, size - left - 1);
        put_entry(&json, token, size - 1, id);
        line += size + 1;
    }
    CHECK(id == 151643);
    zi_text_puts(&json, "}");
    if (CHECK(!json.failed)) put("vocab.json", json.data, json.size);
    zi_text_free(&json);
}

/* The tokenizer of Qwen3-4B, from its merges and the added tokens of the tiny one. */
static void put_qwen3_files(void)
{
    clear_folder();
    zi_error error = {0};
    char *merges = NULL;
    size_t size = 0;
    const char *path = zi_test_data_path("tokenizer/qwen3-merges.txt");
    if (!CHECK_OK(zi_file_read(path, 4 << 20, &merges, &size, &error), error)) return;
    put("merges.txt", merges, size);
    put_qwen3_vocabulary(merges);
    free(merges);
    cJSON *config = read_json(tiny_file("tokenizer_config.json")), *moved = cJSON_CreateObject();
    for (cJSON *i = cJSON_GetObjectItem(config, "added_tokens_decoder")->child; i; i = i->next) {
        char key[16];
        snprintf(key, sizeof key, "%d", atoi(i->string) - 1256 + 151643);
        cJSON_AddItemToObject(moved, key, cJSON_Duplicate(i, true));
    }
    cJSON_ReplaceItemInObject(config, "added_tokens_decoder", moved);
    put_json("tokenizer_config.json", config);
    cJSON_Delete(config);
}

static void golden_qwen3(void)
{
    put_qwen3_files();
    check_golden(zi_test_folder(), "qwen3");
}

/* To \s of PCRE2 U+180E is a space; Unicode took it off the list, and Oniguruma follows: here the
 * second space belongs to the word and not to the first one. */
static void white_space_is_unicodes(void)
{
    static const int32_t expected[] = {220, 86089, 254, 236};
    zi_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    put_qwen3_files();
    zi_tokenizer *t = load(zi_test_folder());
    if (t && CHECK_OK(zi_tokenizer_encode(t, "  \xe1\xa0\x8e", 5, &ids, &count, &error), error))
        CHECK(count == 4 && memcmp(ids, expected, sizeof expected) == 0);
    free(ids);
    zi_tokenizer_free(t);
}

/* ---- looking up, and the way back ---- */

static void lookups(void)
{
    zi_tokenizer *t = load(zi_test_data_path("golden/model/tokenizer"));
    if (!t) return;
    const char *bytes = NULL;
    size_t size = 0;
    CHECK(zi_tokenizer_vocab_size(t) == 1282);
    CHECK(zi_tokenizer_added_token(t, "<|im_end|>") == 1258);
    CHECK(zi_tokenizer_added_token(t, "<think>") == 1280);
    CHECK(zi_tokenizer_added_token(t, "<|im_end|>x") == -1);
    CHECK(zi_tokenizer_added_token(t, "a") == -1);
    CHECK(zi_tokenizer_added_token(t, "") == -1);
    CHECK(zi_tokenizer_bytes(t, 1258, &bytes, &size) && size == 10);
    CHECK(zi_tokenizer_bytes(t, 0, &bytes, &size) && size == 1 && *bytes == '!');
    CHECK(!zi_tokenizer_bytes(t, -1, &bytes, &size));
    CHECK(!zi_tokenizer_bytes(t, 1282, &bytes, &size));
    zi_tokenizer_free(t);
}

/* The bytes of the ids of a text in NFC are the text. */
static void bytes_of_ids_are_the_text(void)
{
    static const char text[] =
        "a\0b \n\t\x7f <|im_start|>\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac 12 '\"\\ "
        "\xf0\x9f\xa6\x8a\xc2\xa0\xc2\xad end";
    zi_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    zi_tokenizer *t = load(zi_test_data_path("golden/model/tokenizer"));
    zi_text back;
    zi_text_init(&back, 1000);
    if (t && CHECK_OK(zi_tokenizer_encode(t, text, sizeof text - 1, &ids, &count, &error), error)) {
        for (size_t i = 0; i < count; i++) {
            const char *bytes = NULL;
            size_t size = 0;
            CHECK(zi_tokenizer_bytes(t, ids[i], &bytes, &size));
            zi_text_append(&back, bytes, size);
        }
        CHECK(back.size == sizeof text - 1 && memcmp(back.data, text, back.size) == 0);
    }
    zi_text_free(&back);
    free(ids);
    zi_tokenizer_free(t);
}

/* ---- bad files ---- */

/* An error must be of that code, and one line that holds part and names the file. */
static void check_error(const zi_error *error, zi_error_code code, const char *file,
                        const char *part)
{
    CHECK_ERROR(*error, code, NULL);
    CHECK_MSG(!strchr(error->text, '\n'), "%s: one line", part);
    CHECK_MSG(strstr(error->text, file) && strstr(error->text, part),
              "\"%s\" must name %s and \"%s\"", error->text, file, part);
}

static void check_load_fails(zi_error_code code, const char *file, const char *part)
{
    zi_error error = {0};
    zi_tokenizer *t = NULL;
    if (CHECK_MSG(!zi_tokenizer_load(zi_test_folder(), &t, &error), "must fail: %s", part))
        check_error(&error, code, file, part);
    CHECK(!t);
    zi_tokenizer_free(t);
}

/* Each row replaces the first "old" of the tiny tokenizer.json by "new". */
static const struct {
    const char *old, *new, *error;
    zi_error_code code;
} bad_json[] = {
    {"\"!\": 0,", "\"!\": \"0\",", "the id of token \"!\" must be a whole number from 0 to",
     ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": 0.5,", "the id of token \"!\" must be a whole number",
     ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": -1,", "the id of token \"!\" must be a whole number",
     ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": 2000000000,", "the id of token \"!\" must be a whole number",
     ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": 1e300,", "the id of token \"!\" must be a whole number",
     ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": 1,", "tokens \"!\" and \"\"\" have the same id 1", ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": 0, \"!\": 5000,", "token \"!\" is there twice", ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": 0, \"\": 5000,", "token 5000 is empty", ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "", "no token for byte 33 (U+0021)", ZI_ERROR_BAD_FORMAT},
    {"\"!\": 0,", "\"!\": 0, \"\xff\": 5000,", "not UTF-8", ZI_ERROR_BAD_FORMAT},
    {"\"vocab\": {", "\"vocab\": 1, \"x\": {", "field \"vocab\" is 1, but it must be an object",
     ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": {}, \"x\": [",
     "field \"merges\" is an object, but it must be a list", ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [\"zq zq\", ",
     "merge 1 names \"zq\", which is not among the tokens", ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [\"t zq\", ",
     "merge 1 names \"zq\", which is not among the tokens", ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [\"z q\", ",
     "merge 1 names \"zq\", which is not among the tokens", ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [\"t h\", ", "merge 2 (\"th\") is there twice",
     ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [\"t h e\", ", "merge 1 must be two tokens",
     ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [\"th\", ", "merge 1 must be two tokens", ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [\" th\", ", "merge 1 must be two tokens", ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [[\"t\"], ", "merge 1 must be two tokens", ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [[\"t\", 1], ", "merge 1 must be two tokens",
     ZI_ERROR_BAD_FORMAT},
    {"\"merges\": [", "\"merges\": [7, ", "merge 1 must be two tokens", ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"added_tokens\": [{}, ", "field \"id\" is missing",
     ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 9000}, ", "field \"content\" is missing",
     ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 9000, \"content\": 1}, ",
     "field \"content\" is 1, but it must be a text", ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 1257, \"content\": \"x y\"}, ",
     "tokens \"x y\" and \"<|im_start|>\" have the same id 1257", ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 1, \"content\": \"!\"}, ",
     "added token \"!\" is there twice, with ids 0 and 1", ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 1257, \"content\": \"<|im_start|>\"}, ",
     "added token \"<|im_start|>\" is there twice", ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 2e9, \"content\": \"x y\"}, ",
     "field \"id\" is 2000000000, but it must be a whole number from 0 to 1048575",
     ZI_ERROR_BAD_FORMAT},
    {"\"added_tokens\": [", "\"x\": [", "field \"added_tokens\" is missing", ZI_ERROR_BAD_FORMAT},
    {"\"single_word\": false", "\"single_word\": true",
     "a field \"single_word\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"lstrip\": false", "\"lstrip\": true",
     "a field \"lstrip\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"rstrip\": false", "\"rstrip\": true",
     "a field \"rstrip\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"normalized\": false", "\"normalized\": true",
     "a field \"normalized\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"dropout\": null", "\"dropout\": 0.1",
     "a field \"dropout\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"byte_fallback\": false", "\"byte_fallback\": true",
     "a field \"byte_fallback\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"ignore_merges\": false", "\"ignore_merges\": true",
     "a field \"ignore_merges\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"unk_token\": null", "\"unk_token\": \"!\"",
     "a field \"unk_token\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"type\": \"BPE\"", "\"type\": \"Unigram\"", "a type other than BPE is not supported",
     ZI_ERROR_UNSUPPORTED},
    {"\"type\": \"NFC\"", "\"type\": \"NFKC\"",
     "a \"normalizer\" of a type other than NFC is not supported", ZI_ERROR_UNSUPPORTED},
    {"\"type\": \"Split\"", "\"type\": \"Digits\"",
     "a \"pre_tokenizer\" other than a Split by Regex", ZI_ERROR_UNSUPPORTED},
    {"\"behavior\": \"Isolated\"", "\"behavior\": \"Removed\"",
     "a \"pre_tokenizer\" other than a Split by Regex", ZI_ERROR_UNSUPPORTED},
    {"\"invert\": false", "\"invert\": true",
     "a field \"invert\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"use_regex\": false", "\"use_regex\": true",
     "a \"pre_tokenizer\" other than a Split by Regex", ZI_ERROR_UNSUPPORTED},
    {"\"add_prefix_space\": false", "\"add_prefix_space\": true",
     "a field \"add_prefix_space\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
    {"\"post_processor\": {\n  \"type\": \"ByteLevel\"",
     "\"post_processor\": {\"type\": \"TemplateProcessing\"",
     "a \"post_processor\" of a type other than ByteLevel", ZI_ERROR_UNSUPPORTED},
    {"\"Regex\": \"", "\"Regex\": \"(",
     "the pattern with which the tokenizer splits text into words cannot be used: missing closing",
     ZI_ERROR_BAD_FORMAT},
    {"\"Regex\": \"", "\"Regex\": \"x*|",
     "the pattern with which the tokenizer splits text into words can match a piece without "
     "characters",
     ZI_ERROR_BAD_FORMAT},
    {"\"Regex\": \"", "\"Regex\": \"\\\\h|",
     "the pattern with which the tokenizer splits text into words uses \\h", ZI_ERROR_UNSUPPORTED},
    {"\"Regex\": \"", "\"Regex\": \"(a)\\\\1|",
     "the pattern with which the tokenizer splits text into words uses \\1", ZI_ERROR_UNSUPPORTED},
    {"\"version\"", "\"model\": 1, \"version\"", "key \"model\" is there twice in the file",
     ZI_ERROR_BAD_FORMAT},
    {"\"version\"", "version", "not valid JSON at line 2 (byte", ZI_ERROR_BAD_FORMAT},
};

static void put_replaced(const char *name, const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    if (!CHECK_MSG(at, "the file has no %s", old)) return;
    zi_text changed;
    zi_text_init(&changed, 1 << 20);
    zi_text_append(&changed, text, (size_t)(at - text));
    zi_text_puts(&changed, new);
    zi_text_puts(&changed, at + strlen(old));
    if (CHECK(!changed.failed)) put(name, changed.data, changed.size);
    zi_text_free(&changed);
}

static char *tiny_json(void)
{
    zi_error error = {0};
    char *text = NULL;
    size_t size = 0;
    CHECK_OK(zi_file_read(tiny_file("tokenizer.json"), 1 << 20, &text, &size, &error), error);
    return text;
}

static void bad_tokenizer_json(void)
{
    clear_folder();
    char *text = tiny_json();
    for (size_t i = 0; text && i < sizeof bad_json / sizeof *bad_json; i++) {
        put_replaced("tokenizer.json", text, bad_json[i].old, bad_json[i].new);
        check_load_fails(bad_json[i].code, "/tokenizer.json: ", bad_json[i].error);
    }
    free(text);
}

/* Halves of a merge that are too long, one by one and together. */
static void oversized_merges(void)
{
    static const int sizes[][2] = {{3000, 1}, {1, 3000}, {1024, 1}, {1, 1024}, {3000, 3000}};
    clear_folder();
    char *text = tiny_json(), row[7000], many[3001];
    memset(many, 'a', 3000);
    many[3000] = 0;
    for (size_t i = 0; text && i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(row, sizeof row, "\"merges\": [\"%.*s %.*s\", ", sizes[i][0], many, sizes[i][1],
                 many);
        put_replaced("tokenizer.json", text, "\"merges\": [", row);
        check_load_fails(ZI_ERROR_BAD_FORMAT, "/tokenizer.json: ",
                         "merge 1 must be two tokens of together at most 1024");
    }
    free(text);
}

static void truncated_tokenizer_json(void)
{
    clear_folder();
    char *text = tiny_json();
    size_t size = text ? strlen(text) : 0;
    /* The white space at the end is no loss. */
    while (size && text[size - 1] != '}') size--;
    for (size_t cut = 1; text && cut < size; cut += cut / 2 + 1) {
        put("tokenizer.json", text, size - cut);
        check_load_fails(ZI_ERROR_BAD_FORMAT, "/tokenizer.json: ", "not valid JSON");
    }
    if (text) put("tokenizer.json", text, 0);
    check_load_fails(ZI_ERROR_BAD_FORMAT, "/tokenizer.json: ", "the file is empty");
    free(text);
}

/* Each row replaces the first "old" of one of the three files by "new". */
static const struct {
    int file; /* in file_names */
    const char *old, *new, *error;
    zi_error_code code;
} bad_files[] = {
    {1, "{", "[{", "not valid JSON", ZI_ERROR_BAD_FORMAT},
    {1, "\"!\"", "\"\\\"\"", "token \"\"\" is there twice", ZI_ERROR_BAD_FORMAT},
    {2, "t h\n", "t h\nt zq\n", "merge 2 names \"zq\", which is not among the tokens",
     ZI_ERROR_BAD_FORMAT},
    {2, "t h\n", "th\n", "merge 1 must be a line of two tokens", ZI_ERROR_BAD_FORMAT},
    {2, "t h\n", "t h e\n", "merge 1 must be a line of two tokens", ZI_ERROR_BAD_FORMAT},
    {2, "t h\n", "t \n", "merge 1 must be two tokens", ZI_ERROR_BAD_FORMAT},
    {3, "\"1257\"", "\"1256\"", "key \"1256\" is there twice in field \"added_tokens_decoder\"",
     ZI_ERROR_BAD_FORMAT},
    {3, "\"1257\"", "\"01257x\"", "key \"01257x\" of added_tokens_decoder must be an id",
     ZI_ERROR_BAD_FORMAT},
    {3, "\"1257\"", "\"99999999999999999999\"", "must be an id from 0 to", ZI_ERROR_BAD_FORMAT},
    {3, "\"1257\"", "\"-1\"", "must be an id from 0 to", ZI_ERROR_BAD_FORMAT},
    {3, "\"1257\"", "\"7\"", "have the same id 7", ZI_ERROR_BAD_FORMAT},
    {3, "\"added_tokens_decoder\"", "\"x\"", "field \"added_tokens_decoder\" is missing",
     ZI_ERROR_BAD_FORMAT},
    {3, "\"Qwen2Tokenizer", "\"Llama", "a \"tokenizer_class\" other than Qwen2Tokenizer",
     ZI_ERROR_UNSUPPORTED},
    {3, "\"lstrip\": false", "\"lstrip\": true",
     "a field \"lstrip\" other than false, empty or missing", ZI_ERROR_UNSUPPORTED},
};

static void bad_three_files(void)
{
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        zi_error error = {0};
        char *text = NULL;
        size_t size = 0;
        const char *name = file_names[bad_files[i].file];
        put_tiny_files();
        if (CHECK_OK(zi_file_read(tiny_file(name), 1 << 20, &text, &size, &error), error))
            put_replaced(name, text, bad_files[i].old, bad_files[i].new);
        free(text);
        check_load_fails(bad_files[i].code, name, bad_files[i].error);
    }
}

static void missing_files(void)
{
    put_tiny_files();
    unlink(zi_test_path("merges.txt"));
    check_load_fails(ZI_ERROR_NOT_FOUND, "/merges.txt: ", "there is no such file");
    put_tiny_files();
    unlink(zi_test_path("tokenizer_config.json"));
    check_load_fails(ZI_ERROR_NOT_FOUND, "/tokenizer_config.json: ", "there is no such file");
    clear_folder();
    check_load_fails(ZI_ERROR_NOT_FOUND, zi_test_folder(), "no tokenizer in this folder");
    zi_error error = {0};
    zi_tokenizer *t = NULL;
    CHECK(!zi_tokenizer_load(zi_test_path("nowhere"), &t, &error));
    check_error(&error, ZI_ERROR_NOT_FOUND, "nowhere", "no tokenizer in this folder");
}

/* Of two added tokens that begin at the same place, in whatever order the file has them. */
static void longest_added_token_wins(void)
{
    static const char *const rows[] = {
        "{\"id\": 5000, \"content\": \"<x\"}, {\"id\": 5001, \"content\": \"<x>\"}",
        "{\"id\": 5001, \"content\": \"<x>\"}, {\"id\": 5000, \"content\": \"<x\"}"};
    clear_folder();
    char *text = tiny_json();
    for (int i = 0; text && i < 2; i++) {
        char list[200];
        snprintf(list, sizeof list, "\"added_tokens\": [%s, ", rows[i]);
        put_replaced("tokenizer.json", text, "\"added_tokens\": [", list);
        zi_tokenizer *t = load(zi_test_folder());
        zi_error error = {0};
        int32_t *ids = NULL;
        size_t count = 0;
        if (t && CHECK_OK(zi_tokenizer_encode(t, "<x<x>", 5, &ids, &count, &error), error))
            CHECK(count == 2 && ids[0] == 5000 && ids[1] == 5001);
        free(ids);
        zi_tokenizer_free(t);
    }
    free(text);
}

/* What is written in another way but means the same is read. */
static void harmless_differences(void)
{
    static const struct {
        int file;
        const char *old, *new;
    } rows[] = {
        {0, "\"!\": 0,", "\"!\": 0, \"x y\": 1000000,"}, /* holes between ids */
        {0, "\"special\": true", "\"special\": false"},
        {2, "t h\n", "t h\r\n\n"},
        {3, "\"Qwen2Tokenizer", "\"Qwen2TokenizerFast\", \"x\": \""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        char *text = NULL;
        size_t size = 0;
        const char *name = file_names[rows[i].file];
        put_tiny_files();
        if (CHECK_OK(zi_file_read(tiny_file(name), 1 << 20, &text, &size, &error), error))
            put_replaced(name, text, rows[i].old, rows[i].new);
        free(text);
        check_golden(zi_test_folder(), "tiny");
    }
}

/* ---- bad text ---- */

static void bad_text(void)
{
    static const struct {
        const char *text;
        size_t size;
    } rows[] = {{"\xff", 1},
                {"a\xc3", 2},
                {"\xc0\x80", 2},
                {"\xed\xa0\x80", 3},
                {"\xf4\x90\x80\x80", 4},
                {"<|im_end|>\x80", 11}};
    zi_tokenizer *t = load(zi_test_data_path("golden/model/tokenizer"));
    for (size_t i = 0; t && i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        int32_t *ids = NULL;
        size_t count = 0;
        CHECK(!zi_tokenizer_encode(t, rows[i].text, rows[i].size, &ids, &count, &error));
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "text");
        CHECK(!zi_tokenizer_encode_chat(t, rows[i].text, 512, &ids, &count, &error));
        CHECK(!ids);
    }
    zi_tokenizer_free(t);
}

static void chat_limits(void)
{
    zi_tokenizer *t = load(zi_test_data_path("golden/model/tokenizer"));
    if (!t) return;
    zi_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    CHECK(!zi_tokenizer_encode_chat(t, "x", 0, &ids, &count, &error));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "max_ids");
    if (CHECK_OK(zi_tokenizer_encode_chat(t, "x", 1, &ids, &count, &error), error))
        CHECK(count == 1 && ids[0] == 1257);
    free(ids);
    zi_tokenizer_free(t);
}

static void chat_without_its_tokens(void)
{
    static const char *const names[] = {"<|im_start|>", "<|im_end|>"};
    clear_folder();
    char *text = tiny_json();
    for (int i = 0; text && i < 2; i++) {
        char old[40], part[60];
        snprintf(old, sizeof old, "\"%s\"", names[i]);
        snprintf(part, sizeof part, "no added token \"%s\"", names[i]);
        put_replaced("tokenizer.json", text, old, "\"other\"");
        zi_tokenizer *t = load(zi_test_folder());
        zi_error error = {0};
        int32_t *ids = NULL;
        size_t count = 0;
        if (t && CHECK(!zi_tokenizer_encode_chat(t, "x", 512, &ids, &count, &error)))
            check_error(&error, ZI_ERROR_BAD_FORMAT, "/tokenizer.json: ", part);
        zi_tokenizer_free(t);
    }
    free(text);
}

/* ---- time ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Prompts of 1 MB made of one piece of text again and again. The limit is wide (a busy machine,
 * sanitizers), but far below what anything quadratic takes. */
static void long_prompts(void)
{
    static const char *const pieces[] = {
        "a",
        " ",
        "\n",
        " \n",
        " a",
        "<",
        "1",
        "'",
        "\xe6\x97\xa5",
        "\xcc\x81"
        "a",
        "\xc2\xa0",
        "A red fox, 3 people in the snow; \xe6\xa9\x98\xe7\x8c\xab isn't it?\n\n  "};
    put_qwen3_files();
    zi_tokenizer *t = load(zi_test_folder());
    char *text = malloc(1 << 20);
    for (size_t i = 0; t && text && i < sizeof pieces / sizeof *pieces; i++) {
        zi_error error = {0};
        int32_t *ids = NULL;
        size_t size = 0, count = 0, piece = strlen(pieces[i]);
        for (; size + piece <= 1 << 20; size += piece) memcpy(text + size, pieces[i], piece);
        double start = now();
        CHECK_OK(zi_tokenizer_encode(t, text, size, &ids, &count, &error), error);
        double seconds = now() - start;
        CHECK(count > 1000);
        CHECK_MSG(seconds < 5, "\"%s\": %.2f s", pieces[i], seconds);
        free(ids);
    }
    free(text);
    zi_tokenizer_free(t);
}

/* The text is refused in good time where normalizing or matching would take ages. */
static void slow_text_is_refused(void)
{
    zi_tokenizer *t = load(zi_test_data_path("golden/model/tokenizer"));
    size_t size = 1 << 20, count = 0;
    char *text = malloc(size);
    zi_error error = {0};
    int32_t *ids = NULL;
    double start = now();
    if (t && CHECK(text)) {
        for (size_t i = 0; i < size; i += 4) memcpy(text + i, "\xcc\x81\xcc\xa7", 4);
        CHECK(!zi_tokenizer_encode(t, text, size, &ids, &count, &error));
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "text");
        CHECK_OK(zi_tokenizer_encode(t, text, 512, &ids, &count, &error), error);
        free(ids);
        ids = NULL;
    }
    zi_tokenizer_free(t);
    clear_folder();
    char *json = tiny_json();
    if (json) put_replaced("tokenizer.json", json, "\"Regex\": \"", "\"Regex\": \"(a+)+b|");
    free(json);
    t = load(zi_test_folder());
    if (t && text) {
        memset(text, 'a', size);
        CHECK(!zi_tokenizer_encode(t, text, size, &ids, &count, &error));
        check_error(
            &error, ZI_ERROR_BAD_FORMAT, "/tokenizer.json: ",
            "the pattern with which the tokenizer splits text into words fails on this text");
    }
    CHECK(now() - start < 20);
    free(text);
    zi_tokenizer_free(t);
}

int main(void)
{
    RUN(golden_tiny);
    RUN(golden_tiny_files);
    RUN(golden_tiny_merge_strings);
    RUN(golden_qwen3);
    RUN(white_space_is_unicodes);
    RUN(lookups);
    RUN(longest_added_token_wins);
    RUN(bytes_of_ids_are_the_text);
    RUN(bad_tokenizer_json);
    RUN(oversized_merges);
    RUN(truncated_tokenizer_json);
    RUN(bad_three_files);
    RUN(missing_files);
    RUN(harmless_differences);
    RUN(bad_text);
    RUN(chat_limits);
    RUN(chat_without_its_tokens);
    RUN(long_prompts);
    RUN(slow_text_is_refused);
    return zi_test_result();
}
