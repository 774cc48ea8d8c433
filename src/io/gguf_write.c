#include "base/text.h"
#include "io/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, MAX_HEADER = 256 << 20 };

/* Bytes from the end of `size` bytes to the next multiple of 32; 0 if that is one. */
static size_t bytes_to_alignment(size_t size)
{
    return (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT;
}

/* Appends the low `bytes` bytes (up to 8) of a number, little-endian. Short memory sets
 * text->failed. */
static void put_number(zi_text *text, uint64_t number, size_t bytes)
{
    zi_text_append(text, &number, bytes); /* files are little-endian, as all machines here are */
}

/* Appends a string as GGUF has it: its length in 8 bytes, then its bytes without NUL. Short memory
 * sets text->failed. */
static void put_string(zi_text *text, const char *string)
{
    put_number(text, strlen(string), 8);
    zi_text_puts(text, string);
}

/* Appends one metadata entry: key, type and value, or for an array the element type, the count and
 * the elements. Short memory sets text->failed. */
static void put_value(zi_text *text, const zi_gguf_out *value)
{
    put_string(text, value->key);
    put_number(text, value->array ? ZI_GGUF_ARRAY : value->type, 4);
    if (value->array) {
        put_number(text, value->type, 4);
        put_number(text, value->count, 8);
    }
    size_t count = value->array ? value->count : 1;
    const char *const *strings = value->data;
    if (value->type == ZI_GGUF_STRING)
        for (size_t i = 0; i < count; i++) put_string(text, strings[i]);
    else
        zi_text_append(text, value->data, count * zi_gguf_value_bytes(value->type));
}

/* Sets *type to GGUF's number of the tensor's type and *bytes to its size; overflow is not checked.
 * Fails with ZI_ERROR_UNSUPPORTED, *type perhaps changed, if GGUF has no such type, or rows are not
 * whole blocks. path: for errors. */
static bool describe_tensor(const char *path, const zi_tensor_out *tensor, uint32_t *type,
                            size_t *bytes, zi_error *error)
{
    size_t count = 1;
    for (int i = 0; i < tensor->dims; i++) count *= tensor->shape[i];
    if (!zi_gguf_tensor_type(tensor->type, type))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, tensor->name,
                               "tensor %s is %s, which a GGUF file cannot hold; choose another "
                               "precision, such as bf16",
                               tensor->name, zi_dtype_name(tensor->type));
    if ((tensor->dims ? tensor->shape[tensor->dims - 1] : 1) % zi_dtype_block(tensor->type))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, tensor->name,
                               "the rows of tensor %s have a length that %s cannot hold; choose "
                               "another precision, such as bf16",
                               tensor->name, zi_dtype_name(tensor->type));
    *bytes = zi_dtype_bytes(tensor->type, count);
    return true;
}

/* Appends the descriptions of all tensors: name, shape (innermost dimension first), type, and
 * offset from the start of the data, aligned to 32. Fails as describe_tensor does; short memory
 * only sets text->failed. */
static bool put_tensors(zi_text *text, const char *path, const zi_tensor_out *tensors,
                        size_t tensor_count, zi_error *error)
{
    size_t offset = 0, bytes = 0;
    uint32_t type = 0;
    for (size_t i = 0; i < tensor_count; i++) {
        const zi_tensor_out *t = &tensors[i];
        if (!describe_tensor(path, t, &type, &bytes, error)) return false;
        put_string(text, t->name);
        put_number(text, (uint64_t)t->dims, 4);
        for (int d = t->dims - 1; d >= 0; d--) put_number(text, t->shape[d], 8);
        put_number(text, type, 4);
        put_number(text, offset, 8);
        offset += bytes + bytes_to_alignment(bytes);
    }
    return true;
}

/* Writes at the start of the file all that precedes the tensors' bytes: magic, version 3, counts,
 * values, tensor descriptions, and zeros up to a multiple of 32. Fails as put_tensors does, when
 * memory is short, with ZI_ERROR_UNSUPPORTED if they take over 256 MiB, or when writing fails.
 * path: for errors. */
static bool write_header(zi_output *output, const char *path, const zi_gguf_out *values,
                         size_t value_count, const zi_tensor_out *tensors, size_t tensor_count,
                         zi_error *error)
{
    zi_text text;
    zi_text_init(&text, MAX_HEADER);
    zi_text_puts(&text, "GGUF");
    put_number(&text, 3, 4);
    put_number(&text, tensor_count, 8);
    put_number(&text, value_count, 8);
    for (size_t i = 0; i < value_count; i++) put_value(&text, &values[i]);
    bool ok = put_tensors(&text, path, tensors, tensor_count, error);
    while (text.size % ALIGNMENT && !text.failed) put_number(&text, 0, 1);
    if (ok && text.failed)
        ok = text.too_long
                 ? zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                                "cannot be written: its metadata and names of tensors take more "
                                "than the %d MiB that are possible; choose the layout comfyui",
                                MAX_HEADER >> 20)
                 : zi_error_no_memory(error, text.size);
    ok = ok && zi_output_write(output, text.data, text.size, error);
    zi_text_free(&text);
    return ok;
}

/* Writes a tensor's bytes, from fill or (NULL) its data, and zeros up to a multiple of 32, behind
 * the last one, too. Fails as describe_tensor and zi_tensor_write do; a part may be written then.
 * number: from 0, for fill. path: for errors. */
static bool write_tensor(zi_output *output, const char *path, const zi_tensor_out *tensor,
                         size_t number, zi_tensor_write_fn fill, void *context, zi_error *error)
{
    static const char zeros[ALIGNMENT];
    uint32_t type;
    size_t bytes = 0;
    return describe_tensor(path, tensor, &type, &bytes, error) &&
           zi_tensor_write(output, tensor, number, bytes, fill, context, error) &&
           zi_output_write(output, zeros, bytes_to_alignment(bytes), error);
}

bool zi_gguf_write(const char *path, const zi_gguf_out *values, size_t value_count,
                   const zi_tensor_out *tensors, size_t tensor_count, zi_tensor_write_fn fill,
                   void *context, zi_error *error)
{
    zi_output output = {0};
    bool ok = zi_output_open(&output, path, error) &&
              write_header(&output, path, values, value_count, tensors, tensor_count, error);
    for (size_t i = 0; ok && i < tensor_count; i++)
        ok = write_tensor(&output, path, &tensors[i], i, fill, context, error);
    ok = ok && zi_output_commit_new(&output, error);
    zi_output_discard(&output);
    return ok;
}
