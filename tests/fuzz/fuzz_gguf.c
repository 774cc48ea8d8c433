/* GGUF files: metadata, tensors, and the tokenizer that may be in them. Where a second file begins
 * in an input, they are the two files of one model. */
#include "fuzz.h"
#include "io/gguf.h"

#include <stdlib.h>
#include <string.h>

static void read_value(const zi_gguf *gguf, const char *key)
{
    const zi_gguf_value *value;
    zi_gguf_text text;
    zi_error error = {0};
    int64_t integer;
    double number;
    bool truth;
    size_t at = 0;
    if (fuzz_ok(zi_gguf_string(gguf, key, &text, &error), &error))
        free(strndup(text.data, text.size));
    fuzz_ok(zi_gguf_integer(gguf, key, -5, 1000, &integer, &error), &error);
    fuzz_ok(zi_gguf_number(gguf, key, &number, &error), &error);
    fuzz_ok(zi_gguf_bool(gguf, key, &truth, &error), &error);
    if (fuzz_ok(zi_gguf_strings(gguf, key, &value, &error), &error))
        for (size_t i = 0; i < value->count; i++) {
            text = zi_gguf_next_string(value, &at);
            zi_gguf_text_equals(text, "gpt2");
        }
    if (fuzz_ok(zi_gguf_numbers(gguf, key, &value, &error), &error))
        for (size_t i = 0; i < value->count; i++) number += zi_gguf_number_at(value, i);
    if (fuzz_ok(zi_gguf_integers(gguf, key, &value, &error), &error))
        for (size_t i = 0; i < value->count; i++) integer ^= zi_gguf_integer_at(value, i);
}

static void read_metadata(const zi_gguf *gguf)
{
    for (size_t i = 0; i < gguf->count; i++) {
        char *key = strndup(gguf->values[i].key.data, gguf->values[i].key.size);
        FUZZ_EXPECT(key && zi_gguf_find(gguf, key) == &gguf->values[i]);
        read_value(gguf, key);
        free(key);
    }
}

/* Adds the input as one file, or as two, and returns the name of the first one. */
static const char *add_files(const uint8_t *data, size_t size)
{
    static const char first[] = "model-00001-of-00002.gguf";
    const uint8_t *second = size > 4 ? memmem(data + 4, size - 4, "GGUF", 4) : NULL;
    size_t length = second ? (size_t)(second - data) : size;
    fuzz_file(second ? first : "model.gguf", data, length);
    if (second) fuzz_file("model-00002-of-00002.gguf", second, size - length);
    return second ? first : "model.gguf";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zi_checkpoint checkpoint;
    zi_tokenizer *tokenizer;
    zi_error error = {0};
    fuzz_begin();
    const char *path = add_files(data, size);
    if (fuzz_ok(zi_checkpoint_open(path, &checkpoint, &error), &error)) {
        fuzz_checkpoint(&checkpoint);
        if (checkpoint.gguf) read_metadata(checkpoint.gguf);
        if (checkpoint.gguf &&
            fuzz_ok(zi_tokenizer_load_gguf(checkpoint.gguf, &tokenizer, &error), &error)) {
            fuzz_tokenizer(tokenizer);
            zi_tokenizer_free(tokenizer);
        }
        zi_checkpoint_close(&checkpoint);
    }
    fuzz_end();
    return 0;
}
