/* Tokenizers in folders: an input is a tokenizer.json, or the three older files with zero bytes
 * between them, which none of them may contain. */
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"t/vocab.json", "t/merges.txt", "t/tokenizer_config.json"};
    const uint8_t *end = data + size, *zero = size ? memchr(data, 0, size) : NULL;
    zi_tokenizer *tokenizer;
    zi_error error = {0};
    fuzz_begin();
    if (!zero) fuzz_file("t/tokenizer.json", data, size);
    for (int i = 0; zero && i < 3; i++) {
        zero = i < 2 && data < end ? memchr(data, 0, (size_t)(end - data)) : NULL;
        fuzz_file(names[i], data, (size_t)((zero ? zero : end) - data));
        if (zero) data = zero + 1;
    }
    if (fuzz_ok(zi_tokenizer_load("t", &tokenizer, &error), &error)) {
        fuzz_tokenizer(tokenizer);
        zi_tokenizer_free(tokenizer);
    }
    fuzz_end();
    return 0;
}
