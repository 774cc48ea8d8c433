#include "model/tokenizer_read.h"
#include "base/file.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_FILE = 64 << 20, /* Qwen3's tokenizer.json has 11 MB */
    MAX_ADDED = 1024     /* each is compared with text at every possible position */
};

const char zi_qwen_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{"
                               "N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                               "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* Sets ZI_ERROR_UNSUPPORTED for a field of the file at path, with a text that names `what` as not
 * supported. Returns false. */
static bool fail_unsupported(const char *path, const char *field, const char *what, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, field,
                           "%s is not supported; use the tokenizer of Z-Image (that of Qwen3-4B) "
                           "or, for a language model, its GGUF file",
                           what);
}

/* Whether the object's field "type" is this string. False if item is NULL or no object. */
static bool has_type_name(const cJSON *item, const char *type)
{
    const cJSON *field = zi_json_find(item, "type");
    return cJSON_IsString(field) && strcmp(field->valuestring, type) == 0;
}

/* Fails with ZI_ERROR_UNSUPPORTED unless all fields of object in names, which NULL ends, are
 * absent, null, false, 0 or "". Other values would change ids. */
static bool check_unset(const char *path, const cJSON *object, const char *const *names,
                        zi_error *error)
{
    for (; *names; names++) {
        const cJSON *field = zi_json_find(object, *names);
        bool off = !field || cJSON_IsFalse(field) ||
                   (cJSON_IsString(field) && !field->valuestring[0]) ||
                   (cJSON_IsNumber(field) && field->valuedouble == 0);
        char what[100];
        snprintf(what, sizeof what, "a field \"%s\" other than false, empty or missing", *names);
        if (!off) return fail_unsupported(path, *names, what, error);
    }
    return true;
}

/* ---- common to both file formats ---- */

/* Adds the members of the object vocabulary, texts with their ids, as tokens in GPT-2's byte
 * alphabet. On failure some may be added. */
static bool add_vocabulary(zi_bpe *bpe, const char *path, const cJSON *vocabulary, zi_error *error)
{
    for (const cJSON *item = vocabulary->child; item; item = item->next) {
        if (!zi_json_is_int(item, 0, ZI_BPE_LIMIT - 1))
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, item->string,
                                   "the id of token \"%.100s\" must be a whole number from 0 to "
                                   "%d; fetch the file again",
                                   item->string, ZI_BPE_LIMIT - 1);
        if (!zi_bpe_add_token(bpe, path, item->string, strlen(item->string),
                              (int32_t)item->valuedouble, false, error))
            return false;
    }
    return true;
}

/* Adds one added token, {"content": ...}, as raw text to the vocabulary, which may contain it
 * already under the same id and not raw, and appends its id to files->added, which has room. Fails
 * with ZI_ERROR_BAD_FORMAT if the vocabulary has the text otherwise, or the id for another text,
 * with ZI_ERROR_UNSUPPORTED for options such as "lstrip". */
static bool add_added_token(zi_tokenizer_files *files, const char *path, const cJSON *item,
                            int32_t id, zi_error *error)
{
    static const char *const switches[] = {"single_word", "lstrip", "rstrip", "normalized", NULL};
    const char *content;
    if (!zi_json_string(path, item, "content", &content, error) ||
        !check_unset(path, item, switches, error))
        return false;
    int32_t known = zi_bpe_find_token(&files->bpe, content, strlen(content));
    if (known < 0) {
        if (!zi_bpe_add_token(&files->bpe, path, content, strlen(content), id, true, error))
            return false;
    } else if (known != id || files->bpe.tokens[id].raw) {
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, path, content,
            "added token \"%.100s\" is there twice, with ids %d and %d; fetch the file again",
            content, known, id);
    }
    files->bpe.tokens[id].raw = true;
    files->added[files->added_count++] = id;
    return true;
}

bool zi_tokenizer_reserve_added(zi_tokenizer_files *files, const char *path, size_t count,
                                zi_error *error)
{
    if (count > MAX_ADDED)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                            "the tokenizer has %zu added tokens, but at most %d are supported; use "
                            "the tokenizer that came with the model",
                            count, MAX_ADDED);
    files->added = malloc((count + 1) * sizeof *files->added);
    return files->added || zi_error_no_memory(error, count * sizeof *files->added);
}

/* Number of members of an object, or elements of an array. */
static size_t count_children(const cJSON *parent)
{
    size_t count = 0;
    for (const cJSON *item = parent->child; item; item = item->next) count++;
    return count;
}

bool zi_tokenizer_keep_pattern(zi_tokenizer_files *files, const char *path, const char *pattern,
                               zi_error *error)
{
    size_t pattern_size = strlen(pattern) + 1, path_size = strlen(path) + 1;
    files->pattern = malloc(pattern_size);
    files->path = malloc(path_size);
    if (!files->pattern || !files->path) return zi_error_no_memory(error, pattern_size + path_size);
    memcpy(files->pattern, pattern, pattern_size);
    memcpy(files->path, path, path_size);
    return true;
}

/* ---- tokenizer.json ---- */

/* Sets files->nfc: whether the tokenizer has a normalizer that is not null. Fails with
 * ZI_ERROR_UNSUPPORTED if that is not NFC. */
static bool read_normalizer(zi_tokenizer_files *files, const char *path, const cJSON *root,
                            zi_error *error)
{
    const cJSON *normalizer = zi_json_find(root, "normalizer");
    files->nfc = normalizer != NULL;
    if (normalizer && !has_type_name(normalizer, "NFC"))
        return fail_unsupported(path, "normalizer", "a \"normalizer\" of a type other than NFC",
                                error);
    return true;
}

/* Copies the splitting pattern of pre_tokenizer, which must be a Sequence of Split by a Regex and
 * ByteLevel without regex, and path to *files. Fails with ZI_ERROR_UNSUPPORTED for others. */
static bool read_splitter(zi_tokenizer_files *files, const char *path, const cJSON *root,
                          zi_error *error)
{
    static const char *const split_off[] = {"invert", NULL};
    static const char *const bytes_off[] = {"add_prefix_space", NULL};
    const cJSON *sequence = zi_json_find(root, "pre_tokenizer");
    const cJSON *parts = zi_json_find(sequence, "pretokenizers");
    const cJSON *split = cJSON_GetArrayItem(parts, 0), *bytes = cJSON_GetArrayItem(parts, 1);
    const cJSON *behavior = zi_json_find(split, "behavior");
    const cJSON *regex = zi_json_find(zi_json_find(split, "pattern"), "Regex");
    /* use_regex is true when it is absent. */
    if (!has_type_name(sequence, "Sequence") || cJSON_GetArraySize(parts) != 2 ||
        !has_type_name(split, "Split") || !has_type_name(bytes, "ByteLevel") ||
        !cJSON_IsString(regex) || !cJSON_IsString(behavior) ||
        strcmp(behavior->valuestring, "Isolated") != 0 ||
        !cJSON_IsFalse(zi_json_find(bytes, "use_regex")))
        return fail_unsupported(
            path, "pre_tokenizer",
            "a \"pre_tokenizer\" other than a Split by Regex, followed by ByteLevel,", error);
    return check_unset(path, split, split_off, error) &&
           check_unset(path, bytes, bytes_off, error) &&
           zi_tokenizer_keep_pattern(files, path, regex->valuestring, error);
}

/* Adds a merge, "left right" or ["left", "right"], with the next rank. Fails with
 * ZI_ERROR_BAD_FORMAT for another form, such as a text with two spaces. */
static bool add_merge(zi_bpe *bpe, const char *path, const cJSON *item, zi_error *error)
{
    const cJSON *left = cJSON_GetArrayItem(item, 0), *right = cJSON_GetArrayItem(item, 1);
    if (cJSON_IsString(item)) {
        const char *text = item->valuestring, *space = strchr(text, ' ');
        if (space && !strchr(space + 1, ' '))
            return zi_bpe_add_merge(bpe, path, text, (size_t)(space - text), space + 1,
                                    strlen(space + 1), error);
    } else if (cJSON_IsArray(item) && count_children(item) == 2 && cJSON_IsString(left) &&
               cJSON_IsString(right)) {
        return zi_bpe_add_merge(bpe, path, left->valuestring, strlen(left->valuestring),
                                right->valuestring, strlen(right->valuestring), error);
    }
    return zi_error_set(
        error, ZI_ERROR_BAD_FORMAT, path,
        "merge %u must be two tokens: \"a b\" or [\"a\", \"b\"]; fetch the file again",
        bpe->merges + 1);
}

/* Fills in files->bpe, sealed, and files->added from "model", which must be BPE without options
 * that change ids, and "added_tokens". On failure the caller frees *files. */
static bool read_bpe_model(zi_tokenizer_files *files, const char *path, const cJSON *root,
                           zi_error *error)
{
    static const char *const switches[] = {"dropout",
                                           "unk_token",
                                           "continuing_subword_prefix",
                                           "end_of_word_suffix",
                                           "byte_fallback",
                                           "ignore_merges",
                                           NULL};
    const cJSON *model, *vocabulary, *merges, *added;
    if (!zi_json_object(path, root, "model", &model, error)) return false;
    if (!has_type_name(model, "BPE"))
        return fail_unsupported(path, "model", "a \"model\" of a type other than BPE", error);
    if (!zi_json_check_unique_keys(path, model, "field \"model\"", error) ||
        !check_unset(path, model, switches, error) ||
        !zi_json_object(path, model, "vocab", &vocabulary, error) ||
        !zi_json_array(path, model, "merges", &merges, error) ||
        !zi_json_array(path, root, "added_tokens", &added, error) ||
        !zi_tokenizer_reserve_added(files, path, count_children(added), error) ||
        !zi_bpe_init(&files->bpe, path, count_children(vocabulary) + count_children(added),
                     count_children(merges), error) ||
        !add_vocabulary(&files->bpe, path, vocabulary, error))
        return false;
    for (const cJSON *item = merges->child; item; item = item->next)
        if (!add_merge(&files->bpe, path, item, error)) return false;
    for (const cJSON *item = added->child; item; item = item->next) {
        int id;
        if (!zi_json_int(path, item, "id", 0, ZI_BPE_LIMIT - 1, &id, error) ||
            !add_added_token(files, path, item, id, error))
            return false;
    }
    return zi_bpe_seal(&files->bpe, path, error);
}

/* Reads tokenizer.json into *files, unset before but for usage, which the caller frees, also after
 * a failure. Fails with ZI_ERROR_UNSUPPORTED for another kind of normalizer, pre_tokenizer, model
 * or post_processor. Ignored are "truncation" and "padding" (for batches) and "decoder". */
static bool read_tokenizer_json(zi_tokenizer_files *files, const char *path, zi_error *error)
{
    cJSON *root = NULL;
    if (!zi_json_read(path, MAX_FILE, &root, error)) return false;
    bool ok = false;
    const cJSON *processor = zi_json_find(root, "post_processor");
    if (!zi_json_check_unique_keys(path, root, "the file", error)) goto out;
    if (processor && !has_type_name(processor, "ByteLevel")) {
        fail_unsupported(path, "post_processor",
                         "a \"post_processor\" of a type other than ByteLevel", error);
        goto out;
    }
    ok = read_normalizer(files, path, root, error) && read_splitter(files, path, root, error) &&
         read_bpe_model(files, path, root, error);
out:
    cJSON_Delete(root);
    return ok;
}

/* ---- vocab.json, merges.txt, tokenizer_config.json ---- */

/* Adds the merges in text, that of a merges.txt: lines "left right"; empty lines and those that
 * begin with "#version" are skipped. Sets *count to their number, undefined after a failure. bpe
 * NULL: adds none, but counts and checks their form. path: for errors only. */
static bool read_merge_lines(const char *path, const char *text, zi_bpe *bpe, size_t *count,
                             zi_error *error)
{
    *count = 0;
    for (const char *line = text; *line;) {
        size_t size = strcspn(line, "\n");
        const char *next = line + size + (line[size] == '\n');
        if (size && line[size - 1] == '\r') size--;
        const char *space = memchr(line, ' ', size);
        if (size && strncmp(line, "#version", 8) != 0) {
            ++*count;
            size_t left = space ? (size_t)(space - line) : 0;
            if (!space || memchr(space + 1, ' ', size - left - 1))
                return zi_error_set(
                    error, ZI_ERROR_BAD_FORMAT, path,
                    "merge %zu must be a line of two tokens, \"a b\"; fetch the file again",
                    *count);
            if (bpe && !zi_bpe_add_merge(bpe, path, line, left, space + 1, size - left - 1, error))
                return false;
        }
        line = next;
    }
    return true;
}

/* Adds the tokens of added_tokens_decoder in tokenizer_config.json, whose keys are ids, to the
 * vocabulary and to files->added, which has room. On failure some may be added. */
static bool add_config_tokens(zi_tokenizer_files *files, const char *path, const cJSON *added,
                              zi_error *error)
{
    for (const cJSON *item = added->child; item; item = item->next) {
        char *end;
        unsigned long id = strtoul(item->string, &end, 10);
        if (item->string[0] < '0' || item->string[0] > '9' || *end || id >= ZI_BPE_LIMIT)
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, item->string,
                                   "key \"%.100s\" of added_tokens_decoder must be an id from 0 to "
                                   "%d; fetch the file again",
                                   item->string, ZI_BPE_LIMIT - 1);
        if (!add_added_token(files, path, item, (int32_t)id, error)) return false;
    }
    return true;
}

/* Parses a tokenizer_config.json into *config, NULL before, which the caller deletes, also after a
 * failure, and sets *added to its added_tokens_decoder, which is required and part of *config.
 * Fails unless it is of a Qwen2Tokenizer and has no options that change ids. */
static bool read_tokenizer_config(const char *path, cJSON **config, const cJSON **added,
                                  zi_error *error)
{
    static const char *const switches[] = {"add_prefix_space", "split_special_tokens", NULL};
    const char *type;
    if (!zi_json_read(path, MAX_FILE, config, error) ||
        !zi_json_check_unique_keys(path, *config, "the file", error) ||
        !zi_json_string(path, *config, "tokenizer_class", &type, error) ||
        !check_unset(path, *config, switches, error) ||
        !zi_json_object(path, *config, "added_tokens_decoder", added, error) ||
        !zi_json_check_unique_keys(path, *added, "field \"added_tokens_decoder\"", error))
        return false;
    if (strcmp(type, "Qwen2Tokenizer") != 0 && strcmp(type, "Qwen2TokenizerFast") != 0)
        return fail_unsupported(path, "tokenizer_class",
                                "a \"tokenizer_class\" other than Qwen2Tokenizer", error);
    return true;
}

/* Reads vocab.json, merges.txt and tokenizer_config.json of a Qwen2Tokenizer into *files, unset
 * before but for usage, with its built-in pattern and NFC. The caller frees *files, also after a
 * failure. */
static bool read_three_files(zi_tokenizer_files *files, const char *vocab_path,
                             const char *merges_path, const char *config_path, zi_error *error)
{
    cJSON *vocabulary = NULL, *config = NULL;
    const cJSON *added;
    char *merges = NULL;
    size_t size, count;
    zi_bpe *bpe = &files->bpe;
    bool ok = false;
    if (!zi_json_read(vocab_path, MAX_FILE, &vocabulary, error) ||
        !zi_file_read(merges_path, MAX_FILE, &merges, &size, error) ||
        !read_tokenizer_config(config_path, &config, &added, error))
        goto out;
    if (!cJSON_IsObject(vocabulary)) {
        zi_error_set(error, ZI_ERROR_BAD_FORMAT, vocab_path,
                     "holds no JSON object ({...}) of tokens and their ids: it is damaged or of "
                     "another kind; fetch it again");
        goto out;
    }
    files->nfc = true;
    ok = zi_tokenizer_keep_pattern(files, vocab_path, zi_qwen_pattern, error) &&
         zi_tokenizer_reserve_added(files, config_path, count_children(added), error) &&
         read_merge_lines(merges_path, merges, NULL, &count, error) &&
         zi_bpe_init(bpe, vocab_path, count_children(vocabulary) + count_children(added), count,
                     error) &&
         add_vocabulary(bpe, vocab_path, vocabulary, error) &&
         read_merge_lines(merges_path, merges, bpe, &count, error) &&
         add_config_tokens(files, config_path, added, error) && zi_bpe_seal(bpe, vocab_path, error);
out:
    cJSON_Delete(vocabulary);
    cJSON_Delete(config);
    free(merges);
    return ok;
}

bool zi_tokenizer_read(const char *dir, zi_tokenizer_files *out, zi_error *error)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                        "tokenizer_config.json"};
    char *paths[4] = {0};
    zi_tokenizer_files files = {.usage = {.bos = -1, .eos = -1}};
    bool ok = false;
    for (int i = 0; i < 4; i++) {
        if ((paths[i] = zi_path_join(dir, names[i]))) continue;
        zi_error_no_memory(error, strlen(dir));
        goto out;
    }
    if (zi_is_file(paths[0]))
        ok = read_tokenizer_json(&files, paths[0], error);
    else if (zi_is_file(paths[1]))
        ok = read_three_files(&files, paths[1], paths[2], paths[3], error);
    else
        zi_error_set(error, ZI_ERROR_NOT_FOUND, dir,
                     "no tokenizer in this folder: neither tokenizer.json nor vocab.json is there; "
                     "fetch tokenizer.json of the same model into it");
out:
    for (int i = 0; i < 4; i++) free(paths[i]);
    if (!ok) {
        zi_tokenizer_files_free(&files);
        return false;
    }
    *out = files;
    return true;
}

void zi_tokenizer_files_free(zi_tokenizer_files *files)
{
    zi_bpe_free(&files->bpe);
    free(files->added);
    free(files->pattern);
    free(files->path);
    free(files->chat_template);
    *files = (zi_tokenizer_files){0};
}
