#include "io/safetensors.h"
#include "base/text.h"
#include "io/image.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = ZI_SAFETENSORS_LENGTH, MAX_HEADER = 100 << 20 };

/* The header's length: eight bytes, little-endian. */
static uint64_t read_length(const uint8_t *data)
{
    uint64_t value = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) value = value << 8 | data[i];
    return value;
}

uint64_t zi_safetensors_data_offset(const uint8_t bytes[ZI_SAFETENSORS_LENGTH])
{
    uint64_t length = read_length(bytes);
    return length <= MAX_HEADER ? LENGTH_BYTES + length : 0;
}

/* Reads a JSON number that is a whole number from 0 to 2^53, exact as size_t and double. False: it
 * is none, or item is NULL; *out is unchanged, and no error is set. */
static bool json_size(const cJSON *item, size_t *out)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > 0x1p53 ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *out = (size_t)item->valuedouble;
    return true;
}

/* Sets the tensor's dims, shape, count and bytes from the row's "shape" ([]: count 1); its type
 * must be set, dims 0. Fails with ZI_ERROR_BAD_FORMAT, the tensor partly set, when the shape is
 * missing, of too many dimensions, or its product overflows. */
static bool parse_shape(const char *path, const cJSON *row, zi_tensor *tensor, zi_error *error)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(row, "shape"), *item;
    if (!cJSON_IsArray(shape) || cJSON_GetArraySize(shape) > ZI_MAX_DIMS)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, path, row->string,
            "tensor %s: \"shape\" must be a list of at most %d sizes: the file is damaged or of a "
            "model that is not supported; fetch it again, or use another one",
            row->string, ZI_MAX_DIMS);
    tensor->count = 1;
    cJSON_ArrayForEach(item, shape)
    {
        size_t size;
        if (!json_size(item, &size) || __builtin_mul_overflow(tensor->count, size, &tensor->count))
            return zi_error_set_in(
                error, ZI_ERROR_BAD_FORMAT, path, row->string,
                "tensor %s has an impossible shape: the file is damaged; fetch it again",
                row->string);
        tensor->shape[tensor->dims++] = size;
    }
    if (__builtin_mul_overflow(tensor->count, zi_dtype_size(tensor->type), &tensor->bytes))
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, path, row->string,
            "tensor %s has an impossible shape: the file is damaged; fetch it again", row->string);
    return true;
}

/* Sets all of the tensor, zeroed before, but name and file from one row of the header, {"dtype":
 * "F32", "shape": [2, 3], "data_offsets": [0, 24]}. data [size]: the bytes behind the header. Fails
 * with ZI_ERROR_UNSUPPORTED for an unknown dtype, with ZI_ERROR_BAD_FORMAT for all else, as when
 * the offsets leave the data or do not fit the shape. */
static bool parse_tensor(const char *path, const cJSON *row, const uint8_t *data, size_t size,
                         zi_tensor *tensor, zi_error *error)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(row, "dtype");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(row, "data_offsets");
    size_t begin, end;
    if (!cJSON_IsString(dtype))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, row->string,
                               "tensor %s has no \"dtype\": the file is damaged; fetch it again",
                               row->string);
    tensor->type = zi_dtype_parse(dtype->valuestring);
    if (tensor->type == ZI_DTYPE_COUNT)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, row->string,
                               "tensor %s has values of type %.40s, which are not supported; use "
                               "the bf16 or fp8 file of this model",
                               row->string, dtype->valuestring);
    if (!parse_shape(path, row, tensor, error)) return false;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !json_size(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !json_size(cJSON_GetArrayItem(offsets, 1), &end) || begin > end)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, row->string,
                               "tensor %s: \"data_offsets\" must be two numbers, [begin, end]: the "
                               "file is damaged; fetch it again",
                               row->string);
    if (end > size)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, row->string,
                               "tensor %s ends at byte %zu of the data, but the file has only %zu "
                               "bytes of data: it is cut off; fetch it again",
                               row->string, end, size);
    if (end - begin != tensor->bytes)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, row->string,
                               "tensor %s takes %zu bytes where its shape and type need %zu: the "
                               "file is damaged; fetch it again",
                               row->string, end - begin, tensor->bytes);
    tensor->data = data + begin;
    return true;
}

/* For qsort of pointers to tensors: by the address of their data, of equal ones the smaller
 * first. */
static int by_offset(const void *a, const void *b)
{
    const zi_tensor *const *x = a, *const *y = b;
    if ((*x)->data != (*y)->data) return (*x)->data < (*y)->data ? -1 : 1;
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes); /* empty ones first */
}

/* Fails with ZI_ERROR_BAD_FORMAT unless the tensors fill data [size] without gaps and overlaps
 * (anything else is damage or hidden data), or when memory is short. Changes nothing. */
static bool check_tensors_fill_file(const char *path, const zi_tensor *tensors, size_t count,
                                    const uint8_t *data, size_t size, zi_error *error)
{
    const zi_tensor **order = malloc((count ? count : 1) * sizeof *order);
    if (!order) return zi_error_no_memory(error, count * sizeof *order);
    for (size_t i = 0; i < count; i++) order[i] = &tensors[i];
    qsort(order, count, sizeof *order, by_offset);
    const uint8_t *end = data;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        const uint8_t *begin = order[i]->data;
        if (begin != end)
            ok = zi_error_set_in(
                error, ZI_ERROR_BAD_FORMAT, path, order[i]->name,
                "the data of tensor %s %s the data before it: the file is damaged; fetch it again",
                order[i]->name, begin < end ? "overlaps" : "leaves a gap behind");
        end = begin + order[i]->bytes;
    }
    free(order);
    if (ok && end != data + size)
        ok = zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                          "%zu bytes behind the last tensor belong to no tensor: the file is "
                          "damaged; fetch it again",
                          (size_t)(data + size - end));
    return ok;
}

/* Adds copies of the strings of object, the value of "__metadata__", to the checkpoint; other
 * values are ignored, also an object that is none. False: memory is short; *error is set, and the
 * checkpoint can only be closed. */
static bool parse_metadata(const cJSON *object, zi_checkpoint *checkpoint, zi_error *error)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        if (item->string && cJSON_IsString(item) &&
            !zi_checkpoint_add_metadata(checkpoint, item->string, item->valuestring, error))
            return false;
    }
    return true;
}

/* Adds the tensors (with new names) and metadata of a header to the checkpoint, and checks that
 * they fill data [size], the bytes behind the header. file: the tensors' index of the file. After a
 * failure, what was added stays. */
static bool parse_rows(const char *path, const cJSON *header, const uint8_t *data, size_t size,
                       int file, zi_checkpoint *checkpoint, zi_error *error)
{
    size_t first = checkpoint->tensor_count, rows = (size_t)cJSON_GetArraySize(header);
    zi_tensor *grown = realloc(checkpoint->tensors, (first + rows + 1) * sizeof *grown);
    if (!grown) return zi_error_no_memory(error, rows * sizeof *grown);
    checkpoint->tensors = grown;
    const cJSON *row;
    cJSON_ArrayForEach(row, header)
    {
        if (strcmp(row->string, "__metadata__") == 0) {
            if (!parse_metadata(row, checkpoint, error)) return false;
            continue;
        }
        zi_tensor tensor = {.file = file};
        if (!parse_tensor(path, row, data, size, &tensor, error)) return false;
        tensor.name = strdup(row->string);
        if (!tensor.name) return zi_error_no_memory(error, strlen(row->string));
        grown[checkpoint->tensor_count++] = tensor;
    }
    return check_tensors_fill_file(path, grown + first, checkpoint->tensor_count - first, data,
                                   size, error);
}

bool zi_safetensors_parse(const char *path, const zi_mapping *mapping, int file,
                          zi_checkpoint *checkpoint, zi_error *error)
{
    if (mapping->size < LENGTH_BYTES)
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, path,
            "the file has only %zu bytes, too few for a safetensors file; fetch it again",
            mapping->size);
    uint64_t length = read_length(mapping->data);
    if (length > MAX_HEADER)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "is %s: a model is a safetensors or GGUF file or a folder; name "
                            "another file, or fetch this one again",
                            zi_image_probe(path)
                                ? "an image and no model"
                                : "neither a model nor an image (perhaps a web page or a Git LFS "
                                  "pointer was saved under its name)");
    if (length > mapping->size - LENGTH_BYTES)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "the file is cut off inside its header; fetch it again");
    const uint8_t *data = mapping->data + LENGTH_BYTES + length;
    if (!zi_json_fits_memory((const char *)mapping->data + LENGTH_BYTES, length))
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "its header holds more values than that of any model; the file is "
                            "damaged: fetch it again");
    /* cJSON passes bytes that are no UTF-8 on: names in messages and outputs must be text. */
    const char *text = (const char *)mapping->data + LENGTH_BYTES;
    bool memory_short = false;
    const char *end;
    cJSON *header = zi_utf8_valid(text, length)
                        ? zi_json_parse(text, length, false, &end, &memory_short)
                        : NULL;
    if (memory_short) return zi_error_no_memory(error, length);
    bool ok = cJSON_IsObject(header)
                  ? parse_rows(path, header, data, mapping->size - LENGTH_BYTES - length, file,
                               checkpoint, error)
                  : zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                                 "its header is not valid JSON: the file is damaged or of another "
                                 "kind; fetch it again");
    cJSON_Delete(header);
    return ok;
}

/* ---- writing ---- */

/* Bytes of the tensor's values, whose type has no blocks. Overflow is not checked. */
static size_t tensor_out_bytes(const zi_tensor_out *tensor)
{
    size_t bytes = zi_dtype_size(tensor->type);
    for (int d = 0; d < tensor->dims; d++) bytes *= tensor->shape[d];
    return bytes;
}

/* Returns the header's JSON text in new memory, with spaces to a multiple of 8 bytes; tensors
 * follow one another in this order. format NULL: no metadata. NULL: out of memory, or over 100 MiB,
 * which is ZI_ERROR_UNSUPPORTED. */
static char *format_header(const char *format, const zi_tensor_out *tensors, size_t count,
                           zi_error *error)
{
    zi_text text;
    zi_text_init(&text, MAX_HEADER);
    size_t offset = 0;
    zi_text_puts(&text, "{");
    if (format) zi_text_printf(&text, "\"__metadata__\":{\"format\":\"%s\"}", format);
    for (size_t i = 0; i < count; i++) {
        const zi_tensor_out *t = &tensors[i];
        zi_text_printf(&text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i || format ? "," : "",
                       t->name, zi_dtype_name(t->type));
        for (int d = 0; d < t->dims; d++) zi_text_printf(&text, "%s%zu", d ? "," : "", t->shape[d]);
        zi_text_printf(&text, "],\"data_offsets\":[%zu,%zu]}", offset,
                       offset + tensor_out_bytes(t));
        offset += tensor_out_bytes(t);
    }
    zi_text_puts(&text, "}");
    while (text.size % 8 && !text.failed)
        zi_text_puts(&text, " "); /* so that tensors are aligned */
    if (text.too_long)
        zi_error_set(error, ZI_ERROR_UNSUPPORTED, NULL,
                     "the names of %zu tensors take more than the %d MiB that a safetensors file "
                     "has for them; this model cannot be written as one safetensors file",
                     count, MAX_HEADER >> 20);
    else if (text.failed)
        zi_error_no_memory(error, count * 100);
    return zi_text_take(&text);
}

bool zi_safetensors_write_header(zi_output *output, const char *format,
                                 const zi_tensor_out *tensors, size_t count, size_t *data_offset,
                                 zi_error *error)
{
    char *header = format_header(format, tensors, count, error);
    if (!header) return false;
    uint64_t length = strlen(header);
    uint8_t bytes[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++) bytes[i] = (uint8_t)(length >> 8 * i);
    bool ok = zi_output_write(output, bytes, sizeof bytes, error) &&
              zi_output_write(output, header, length, error);
    if (data_offset) *data_offset = sizeof bytes + length;
    free(header);
    return ok;
}

bool zi_safetensors_write(const char *path, const zi_tensor_out *tensors, size_t count,
                          zi_error *error)
{
    zi_output output = {0};
    bool ok = zi_output_open_named(&output, path, error) &&
              zi_safetensors_write_header(&output, NULL, tensors, count, NULL, error);
    for (size_t i = 0; ok && i < count; i++)
        ok = zi_output_write(&output, tensors[i].data, tensor_out_bytes(&tensors[i]), error);
    ok = ok && zi_output_commit(&output, error);
    zi_output_discard(&output);
    return ok;
}
