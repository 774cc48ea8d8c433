/* Going through all that was read: every byte that it claims to have must be there. */
#include "base/text.h"
#include "fuzz.h"
#include "inspect/inspection.h"
#include "convert/plan.h"
#include "io/source.h"
#include "io/values.h"
#include "model/config.h"

#include <cjson/cJSON.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

static void check_bytes(const void *data, size_t size)
{
    FUZZ_EXPECT(!size || !__asan_region_is_poisoned((void *)(uintptr_t)data, size));
}

static void check_rows(const zi_rows *rows)
{
    if (rows->tensor) check_bytes(rows->data, rows->count * zi_dtype_size(rows->tensor->type));
}

/* Dequantizes the first and the last row of an entry, as a matrix is read. */
static void read_rows(const zi_entry *entry)
{
    size_t rows = entry->dims ? entry->shape[0] : 1, columns = 1;
    for (int d = 1; d < entry->dims; d++) columns *= entry->shape[d];
    bool blocks = columns % zi_dtype_block(entry->tensor->type) == 0;
    if (!rows || !columns || !blocks) return;
    float *row = malloc(columns * sizeof *row);
    FUZZ_EXPECT(row);
    zi_entry_read_row(entry, rows, columns, 0, row);
    zi_entry_read_row(entry, rows, columns, rows - 1, row);
    free(row);
}

/* Plans a conversion to each layout, which checks that all tensors have shapes and names there. */
static void plan_conversions(const zi_source *source)
{
    static const zi_naming layouts[] = {ZI_NAMES_DIFFUSERS, ZI_NAMES_COMFYUI, ZI_NAMES_MLX,
                                        ZI_NAMES_GGUF};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        zi_write_plan plan = {0};
        zi_error error = {0};
        fuzz_ok(zi_write_plan_add_component(&plan, source, layouts[i], ZI_PRECISION_ORIGINAL, false,
                                            &error),
                &error);
        zi_write_plan_free(&plan);
    }
}

static void check_source(const zi_source *source)
{
    for (size_t i = 0; i < source->count; i++) {
        const zi_entry *entry = &source->entries[i];
        check_bytes(entry->data, entry->bytes);
        check_rows(&entry->scales);
        check_rows(&entry->biases);
        check_rows(&entry->factor);
        read_rows(entry);
        FUZZ_EXPECT(zi_source_find(source, entry->name) == entry);
    }
}

static void check_part(const zi_checkpoint *checkpoint, zi_component part)
{
    zi_source source;
    zi_error error = {0};
    zi_config config = {0};
    if (!fuzz_ok(zi_source_create(&checkpoint, 1, part, 0, &source, &error), &error)) return;
    check_source(&source);
    plan_conversions(&source);
    fuzz_ok(zi_source_check_values(&source, &error), &error);
    if (source.count) fuzz_ok(zi_config_infer(&source, checkpoint->gguf, &config, &error), &error);
    zi_source_free(&source);
    /* Once more with the group size 32, as if a config said so. */
    if (!fuzz_ok(zi_source_create(&checkpoint, 1, part, 32, &source, &error), &error)) return;
    check_source(&source);
    zi_source_free(&source);
}

/* Likewise as a language model. */
static void check_language(const zi_checkpoint *checkpoint)
{
    zi_source source;
    zi_error error = {0};
    if (!fuzz_ok(zi_source_create_language(checkpoint, 0, &source, &error), &error)) return;
    check_source(&source);
    zi_source_free(&source);
}

static void inspect(const char *path)
{
    zi_inspection *inspection = NULL;
    zi_error error = {0};
    if (!fuzz_ok(zi_inspect(path, &inspection, &error), &error)) return;
    cJSON *written = zi_inspection_to_json(inspection);
    char *text = cJSON_PrintUnformatted(written);
    FUZZ_EXPECT(text && zi_utf8_valid(text, strlen(text)));
    cJSON *json = cJSON_Parse(text);
    zi_inspection *read = zi_inspection_from_json(json);
    FUZZ_EXPECT(read && read->health == inspection->health && read->usable == inspection->usable);
    zi_inspection_free(read);
    zi_inspection_free(inspection);
    cJSON_Delete(json);
    cJSON_Delete(written);
    free(text);
}

void fuzz_checkpoint(const zi_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *tensor = &checkpoint->tensors[i];
        check_bytes(tensor->data, tensor->bytes);
        FUZZ_EXPECT(zi_checkpoint_find(checkpoint, tensor->name) == tensor);
    }
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++)
        check_part(checkpoint, (zi_component)part);
    check_language(checkpoint);
    inspect(checkpoint->files[0].path);
}

void fuzz_tokenizer(const zi_tokenizer *tokenizer)
{
    static const char *const texts[] = {
        "",
        "a red circle on a blue background, it's 1234",
        "  \t\r\n\n  x  \xc2\xa0\xe3\x80\x80 ",
        "e\xcc\x81\xcc\xa7 \xed\x95\x9c\xea\xb5\xad \xf0\x9f\x98\x80\xf0\x9f\x98\x80 <|im_end|>a",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    };
    for (size_t i = 0; i < 2 * sizeof texts / sizeof *texts; i++) {
        const char *text = texts[i / 2], *bytes;
        size_t count = 0, size;
        int32_t *ids = NULL;
        zi_error error = {0};
        bool ok = i % 2 ? zi_tokenizer_encode_chat(tokenizer, text, 512, &ids, &count, &error)
                        : zi_tokenizer_encode(tokenizer, text, strlen(text), &ids, &count, &error);
        if (!fuzz_ok(ok, &error)) continue;
        for (size_t j = 0; j < count; j++) {
            FUZZ_EXPECT(zi_tokenizer_bytes(tokenizer, ids[j], &bytes, &size) && size);
            check_bytes(bytes, size);
        }
        free(ids);
    }
}
