/* Small files made to take much memory or time are refused. */
#include "harness.h"
#include "base/file.h"
#include "base/text.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "model/bpe.h"
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check_refused(const char *name, const char *says)
{
    zi_checkpoint checkpoint;
    zi_error error = {0};
    if (!CHECK(!zi_checkpoint_open(zi_test_path(name), &checkpoint, &error)))
        zi_checkpoint_close(&checkpoint);
    CHECK_MSG(strstr(error.text, says) && strstr(error.text, name), "%s", error.text);
}

/* ---- JSON ---- */

/* 40 bytes of memory for each byte of text. */
static void json_of_many_values(void)
{
    enum { SIZE = 8 << 20 };
    char *text = malloc(SIZE + 8);
    if (!CHECK(text)) return;
    zi_error error = {0};
    cJSON *json = NULL;
    memcpy(text, &(uint64_t){SIZE}, 8);
    for (size_t i = 8; i < SIZE + 8; i += 2) memcpy(text + i, ",0", 2);
    text[8] = '[';
    memcpy(text + SIZE + 6, " ]", 2);
    zi_test_write_file(zi_test_path("many.json"), text + 8, SIZE);
    zi_test_write_file(zi_test_path("many.safetensors"), text, SIZE + 8);
    CHECK(!zi_json_read(zi_test_path("many.json"), SIZE, &json, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, zi_test_path("many.json"));
    CHECK_MSG(strstr(error.text, "more values than the file of any model"), "%s", error.text);
    check_refused("many.safetensors", "more values than that of any model");
    free(text);
}

static void deep_json(void)
{
    enum { SIZE = 1 << 19 };
    char *text = malloc(SIZE);
    if (!CHECK(text)) return;
    zi_error error = {0};
    cJSON *json = NULL;
    memset(text, '[', SIZE);
    zi_test_write_file(zi_test_path("deep.json"), text, SIZE);
    CHECK(!zi_json_read(zi_test_path("deep.json"), SIZE, &json, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, zi_test_path("deep.json"));
    free(text);
}

/* As many values as in Qwen3's tokenizer.json, which has 11 MB. */
static void json_of_a_real_tokenizer(void)
{
    zi_text text;
    zi_text_init(&text, 64 << 20);
    zi_text_puts(&text, "{\"vocab\":{");
    for (int i = 0; i < 151643; i++) zi_text_printf(&text, "      \"word\\\"%06d\": %d,\n", i, i);
    zi_text_puts(&text, "\"\":0},\"merges\":[");
    for (int i = 0; i < 151387; i++)
        zi_text_puts(&text, "      [\n        \"or\",\n     \"\\\\\"\n],\n");
    CHECK(!text.failed && text.size < 12 << 20 && zi_json_fits_memory(text.data, text.size));
    zi_text_free(&text);
}

/* ---- GGUF ---- */

static void gguf_of_many_tensors(void)
{
    enum { COUNT = 70000, SIZE = 24 + COUNT * 26 };
    static const char *const says[] = {
        "announces 70000 metadata values and 0 tensors, but at most",
        "announces 0 metadata values and 70000 tensors, but at most"};
    unsigned char *bytes = calloc(1, SIZE);
    if (!CHECK(bytes)) return;
    for (int i = 0; i < 2; i++) {
        memcpy(bytes, "GGUF\3\0\0\0", 8);
        memcpy(bytes + 8, &(uint64_t){i ? COUNT : 0}, 8);
        memcpy(bytes + 16, &(uint64_t){i ? 0 : COUNT}, 8);
        zi_test_write_file(zi_test_path("many.gguf"), bytes, SIZE);
        check_refused("many.gguf", says[i]);
    }
    free(bytes);
}

/* ---- tokenizers ---- */

/* As bpe.c hashes texts and pairs; the tables that it takes for COUNT entries have MASK + 1 places.
 */
enum { COUNT = 2000, MASK = (1 << 12) - 1 };

static uint32_t text_place(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
    return (hash ^ hash >> 15) & MASK;
}

static uint32_t pair_place(int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(hash >> 32) & MASK;
}

static void colliding_tokens(void)
{
    zi_bpe bpe;
    zi_error error = {0};
    int32_t id = 0;
    if (!CHECK_OK(zi_bpe_init(&bpe, "made.json", COUNT, 0, &error), error)) return;
    CHECK(bpe.names_mask == MASK);
    bool ok = true;
    for (uint32_t i = 0; ok && id < COUNT; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        if (text_place(text) == 0)
            ok = zi_bpe_add_token(&bpe, "made.json", text, strlen(text), id++, false, &error);
    }
    CHECK(!ok && id > 500 && strstr(error.text, "its tokens make reading very slow"));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "made.json");
    zi_bpe_free(&bpe);
}

/* An id that no token has, from the largest down. */
static int32_t free_id(const zi_bpe *bpe)
{
    int32_t id = ZI_BPE_LIMIT - 1;
    while (bpe->tokens[id].size) id--;
    return id;
}

/* A merge of two new tokens, left and r, into a new one. */
static bool add_merge(zi_bpe *bpe, int32_t left, int32_t r, zi_error *error)
{
    static const char path[] = "made.json";
    char both[32];
    int size = snprintf(both, sizeof both, "l%d-", left),
        whole = snprintf(both, sizeof both, "l%d-r%d", left, r);
    const char *right = both + size;
    return (zi_bpe_find_token(bpe, right, (size_t)(whole - size)) >= 0 ||
            zi_bpe_add_token(bpe, path, right, (size_t)(whole - size), r, false, error)) &&
           zi_bpe_add_token(bpe, path, both, (size_t)size, left, false, error) &&
           zi_bpe_add_token(bpe, path, both, (size_t)whole, free_id(bpe), false, error) &&
           zi_bpe_add_merge(bpe, path, both, (size_t)size, right, (size_t)(whole - size), error);
}

static void colliding_merges(void)
{
    enum { RIGHTS = 16 };
    zi_bpe bpe;
    zi_error error = {0};
    if (!CHECK_OK(zi_bpe_init(&bpe, "made.json", ZI_BPE_LIMIT, COUNT, &error), error)) return;
    CHECK(bpe.pairs_mask == MASK);
    bool ok = true;
    for (int32_t r = 0; ok && r < RIGHTS; r++) {
        int32_t left = RIGHTS;
        while (pair_place(left, r) != 0) left++;
        for (; ok && left < ZI_BPE_LIMIT && bpe.merges < COUNT;
             left += MASK + 1) /* these are all at place 0 */
            ok = bpe.tokens[left].size || add_merge(&bpe, left, r, &error);
    }
    CHECK_MSG(!ok && bpe.merges > 500 && strstr(error.text, "its merges make reading very slow"),
              "%s", error.text);
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "made.json");
    zi_bpe_free(&bpe);
}

/* The golden tokenizer with something before its splitting pattern. */
static void put_pattern(const char *insert)
{
    static const char old[] = "\"Regex\": \"";
    zi_error error = {0};
    zi_text changed;
    char *json = NULL;
    size_t size;
    zi_text_init(&changed, 1 << 20);
    if (!CHECK_OK(zi_file_read(zi_test_data_path("golden/model/tokenizer/tokenizer.json"), 1 << 20,
                               &json, &size, &error),
                  error))
        return;
    size_t at = (size_t)(strstr(json, old) + strlen(old) - json);
    zi_text_append(&changed, json, at);
    zi_text_puts(&changed, insert);
    zi_text_puts(&changed, json + at);
    zi_test_write_file(zi_test_path("tokenizer.json"), changed.data, changed.size);
    zi_text_free(&changed);
    free(json);
}

/* It goes back and forth a million times at every place of a text. */
static void pattern_without_end(void)
{
    zi_error error = {0};
    zi_tokenizer *t = NULL;
    char text[401];
    int32_t *ids = NULL;
    size_t count;
    put_pattern("(?:a|aa){10,22}$|a|");
    memset(text, 'a', sizeof text);
    text[400] = 'b';
    double start = now();
    if (CHECK_OK(zi_tokenizer_load(zi_test_folder(), &t, &error), error)) {
        CHECK(!zi_tokenizer_encode(t, text, sizeof text, &ids, &count, &error));
        CHECK_MSG(
            strstr(
                error.text,
                "the pattern with which the tokenizer splits text into words fails on this text"),
            "%s", error.text);
    }
    CHECK_MSG(now() - start < 2, "%.2f s", now() - start);
    zi_tokenizer_free(t);
}

static void pattern_that_is_slow_to_compile(void)
{
    enum { STARS = 20000 };
    zi_error error = {0};
    zi_tokenizer *t = NULL;
    char *stars = malloc(2 * STARS + 1);
    if (!CHECK(stars)) return;
    for (int i = 0; i < STARS; i++) memcpy(stars + 2 * i, "a*", 3);
    put_pattern(stars);
    CHECK(!zi_tokenizer_load(zi_test_folder(), &t, &error));
    CHECK_MSG(
        strstr(error.text,
               "tokenizer.json: the pattern with which the tokenizer splits text into words has 4"),
        "%s", error.text);
    free(stars);
}

int main(void)
{
    RUN(json_of_many_values);
    RUN(deep_json);
    RUN(json_of_a_real_tokenizer);
    RUN(gguf_of_many_tensors);
    RUN(colliding_tokens);
    RUN(colliding_merges);
    RUN(pattern_without_end);
    RUN(pattern_that_is_slow_to_compile);
    return zi_test_result();
}
