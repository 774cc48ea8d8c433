/* Safetensors files. An input that begins with a brace is a header only: its length and the zero
 * bytes that its offsets need are added, since mutations would hardly ever keep these consistent.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_ZEROS = 1 << 20 };

/* The largest number before "]}", where tensors end. */
static size_t end_of_data(const uint8_t *text, size_t size)
{
    size_t max_value = 0;
    for (size_t i = 1; i < size; i++) {
        size_t value = 0, from = i - 1;
        if (text[i] != '}' || text[i - 1] != ']') continue;
        while (from > 0 && text[from - 1] >= '0' && text[from - 1] <= '9') from--;
        for (; text[from] != ']' && value <= MAX_ZEROS; from++)
            value = 10 * value + (text[from] - '0');
        if (value <= MAX_ZEROS && value > max_value) max_value = value;
    }
    return max_value;
}

static uint8_t *complete(const uint8_t *header, size_t size, size_t *out_size)
{
    *out_size = LENGTH_BYTES + size + end_of_data(header, size);
    uint8_t *file = calloc(1, *out_size);
    FUZZ_EXPECT(file);
    for (int i = 0; i < LENGTH_BYTES; i++) file[i] = (uint8_t)((uint64_t)size >> 8 * i);
    memcpy(file + LENGTH_BYTES, header, size);
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zi_checkpoint checkpoint;
    zi_error error = {0};
    fuzz_begin();
    uint8_t *file = size && data[0] == '{' ? complete(data, size, &size) : NULL;
    fuzz_file("model.safetensors", file ? file : data, size);
    if (fuzz_ok(zi_checkpoint_open("model.safetensors", &checkpoint, &error), &error)) {
        fuzz_checkpoint(&checkpoint);
        zi_checkpoint_close(&checkpoint);
    }
    free(file);
    fuzz_end();
    return 0;
}
