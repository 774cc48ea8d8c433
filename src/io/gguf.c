#include "io/gguf.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 4, DEFAULT_ALIGNMENT = 32 };

/* ---- tensor types by their numbers in files ---- */

/* Types that are known by name alone have ZI_DTYPE_COUNT. */
static const struct {
    uint32_t number;
    zi_dtype type;
    const char *name;
} tensor_types[] = {
    {0, ZI_F32, "F32"},
    {1, ZI_F16, "F16"},
    {2, ZI_Q4_0, "Q4_0"},
    {3, ZI_Q4_1, "Q4_1"},
    {6, ZI_Q5_0, "Q5_0"},
    {7, ZI_Q5_1, "Q5_1"},
    {8, ZI_Q8_0, "Q8_0"},
    {9, ZI_DTYPE_COUNT, "Q8_1"},
    {10, ZI_Q2_K, "Q2_K"},
    {11, ZI_Q3_K, "Q3_K"},
    {12, ZI_Q4_K, "Q4_K"},
    {13, ZI_Q5_K, "Q5_K"},
    {14, ZI_Q6_K, "Q6_K"},
    {15, ZI_DTYPE_COUNT, "Q8_K"},
    {16, ZI_DTYPE_COUNT, "IQ2_XXS"},
    {17, ZI_DTYPE_COUNT, "IQ2_XS"},
    {18, ZI_DTYPE_COUNT, "IQ3_XXS"},
    {19, ZI_DTYPE_COUNT, "IQ1_S"},
    {20, ZI_IQ4_NL, "IQ4_NL"},
    {21, ZI_DTYPE_COUNT, "IQ3_S"},
    {22, ZI_DTYPE_COUNT, "IQ2_S"},
    {23, ZI_IQ4_XS, "IQ4_XS"},
    {24, ZI_I8, "I8"},
    {25, ZI_I16, "I16"},
    {26, ZI_I32, "I32"},
    {27, ZI_I64, "I64"},
    {28, ZI_F64, "F64"},
    {29, ZI_DTYPE_COUNT, "IQ1_M"},
    {30, ZI_BF16, "BF16"},
    {34, ZI_DTYPE_COUNT, "TQ1_0"},
    {35, ZI_DTYPE_COUNT, "TQ2_0"},
    {39, ZI_DTYPE_COUNT, "MXFP4"},
    {40, ZI_DTYPE_COUNT, "NVFP4"},
    {41, ZI_DTYPE_COUNT, "Q1_0"},
};

enum { TENSOR_TYPES = sizeof tensor_types / sizeof *tensor_types };

bool zi_gguf_tensor_type(zi_dtype type, uint32_t *out)
{
    for (size_t i = 0; i < TENSOR_TYPES; i++) {
        if (tensor_types[i].type != type) continue;
        *out = tensor_types[i].number;
        return type != ZI_DTYPE_COUNT;
    }
    return false;
}

/* Sets *out to the type of GGUF's type number. Fails with ZI_ERROR_UNSUPPORTED, *out perhaps
 * changed, for a number that is unknown or of a type whose values cannot be read (ZI_DTYPE_COUNT in
 * tensor_types). tensor: its name, for the error. */
static bool dtype_of_number(const char *path, const char *tensor, uint32_t number, zi_dtype *out,
                            zi_error *error)
{
    for (size_t i = 0; i < TENSOR_TYPES; i++) {
        if (tensor_types[i].number != number) continue;
        *out = tensor_types[i].type;
        return *out != ZI_DTYPE_COUNT || zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, tensor,
                                                         "tensor %s is %s, which is not supported; "
                                                         "use a file of Q8_0, Q6_K, Q5_K or Q4_K",
                                                         tensor, tensor_types[i].name);
    }
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, tensor,
                           "tensor %s is of type number %u, which is not known; use a file of "
                           "Q8_0, Q6_K, Q5_K or Q4_K",
                           tensor, number);
}

/* ---- reading on ---- */

typedef struct {
    const char *path;
    const uint8_t *data;
    size_t size, at;
    zi_error *error;
} reader;

/* Bytes from the reader's position to the end of the file. */
static size_t bytes_left(const reader *r)
{
    return r->size - r->at;
}

/* Sets ZI_ERROR_BAD_FORMAT in r->error and returns false. what: the part of the file that ends too
 * early. */
static bool fail_truncated(const reader *r, const char *what)
{
    zi_error_set(r->error, ZI_ERROR_BAD_FORMAT, r->path,
                 "the file is cut off inside %s; fetch it again", what);
    return false;
}

/* Reads a little-endian number of 4 or 8 bytes into *out, of the same size, and moves behind it.
 * False: the file ends in it; ZI_ERROR_BAD_FORMAT names `what`, and *out and the position are
 * unchanged. */
static bool read_number(reader *r, void *out, size_t bytes, const char *what)
{
    if (bytes_left(r) < bytes) return fail_truncated(r, what);
    memcpy(out, r->data + r->at, bytes);
    r->at += bytes;
    return true;
}

/* Reads a length (8 bytes) and sets *out to as many bytes behind it, in the mapping and not
 * checked; moves behind them. Fails with ZI_ERROR_BAD_FORMAT if the file ends before; *out is
 * unchanged then. what: for errors. */
static bool read_text(reader *r, zi_gguf_text *out, const char *what)
{
    uint64_t size = 0;
    if (!read_number(r, &size, sizeof size, what)) return false;
    if (size > bytes_left(r))
        return zi_error_set(r->error, ZI_ERROR_BAD_FORMAT, r->path,
                            "a text of %llu bytes in %s goes beyond the end of the file: it is "
                            "damaged; fetch it again",
                            (unsigned long long)size, what);
    *out = (zi_gguf_text){(const char *)r->data + r->at, (size_t)size};
    r->at += (size_t)size;
    return true;
}

/* Whether the text is valid UTF-8 without NUL bytes. The empty text is. */
static bool is_plain_text(zi_gguf_text text)
{
    return !memchr(text.data, 0, text.size) && zi_utf8_valid(text.data, text.size);
}

/* Reads the name of a value or tensor: UTF-8 text of 1 to 4096 bytes without NUL, in the mapping.
 * Else it fails with ZI_ERROR_BAD_FORMAT; *out may be changed then. kind, number (from 1): what it
 * names, for errors. */
static bool read_name(reader *r, zi_gguf_text *out, const char *kind, size_t number)
{
    char what[64];
    snprintf(what, sizeof what, "%s %zu", kind, number);
    if (!read_text(r, out, what)) return false;
    return (out->size && out->size <= 4096 && is_plain_text(*out)) ||
           zi_error_set(r->error, ZI_ERROR_BAD_FORMAT, r->path,
                        "the name of %s is not text: the file is damaged; fetch it again", what);
}

/* The array with room for one more element of `size` bytes, reallocated when count is 0 or a power
 * of two. It grows with what was read, not by the file's untrusted counts. NULL: memory is short,
 * the error is set, and array stays valid. */
static void *grow_array(void *array, size_t count, size_t size, zi_error *error)
{
    if (count & (count - 1)) return array; /* it is full at powers of two only */
    void *grown = realloc(array, (count ? 2 * count : 1) * size);
    if (!grown) zi_error_no_memory(error, 2 * count * size);
    return grown;
}

/* ---- metadata ---- */

/* Moves behind `count` strings. Fails if the file ends before, at a position without meaning; the
 * strings' bytes are not checked. what: for errors. */
static bool skip_strings(reader *r, size_t count, const char *what)
{
    zi_gguf_text text;
    if (count > bytes_left(r) / 8) return fail_truncated(r, what);
    for (size_t i = 0; i < count; i++)
        if (!read_text(r, &text, what)) return false;
    return true;
}

/* Sets value->data to the reader's position and moves behind the value->count elements, also
 * strings, of value->type. Fails if the file ends before; value->data is set then, too. what: for
 * errors. */
static bool take_elements(reader *r, zi_gguf_value *value, const char *what)
{
    value->data = r->data + r->at;
    if (value->type == ZI_GGUF_STRING) return skip_strings(r, value->count, what);
    size_t bytes = zi_gguf_value_bytes(value->type);
    if (value->count > bytes_left(r) / bytes) return fail_truncated(r, what);
    r->at += value->count * bytes;
    return true;
}

/* Reads one key and its value, or array, into *value, which points into the mapping. Fails with
 * ZI_ERROR_UNSUPPORTED for arrays of arrays, with ZI_ERROR_BAD_FORMAT for unknown types and a file
 * that ends in it; *value may be partly set then. Booleans are not checked. number: from 1, for
 * errors. */
static bool read_value(reader *r, zi_gguf_value *value, size_t number)
{
    char what[160];
    uint32_t type = 0;
    uint64_t count = 1;
    if (!read_name(r, &value->key, "value", number)) return false;
    snprintf(what, sizeof what, "key %.*s", value->key.size < 140 ? (int)value->key.size : 140,
             value->key.data);
    const char *key = what + strlen("key ");
    if (!read_number(r, &type, sizeof type, what)) return false;
    value->array = type == ZI_GGUF_ARRAY;
    if (value->array &&
        (!read_number(r, &type, sizeof type, what) || !read_number(r, &count, sizeof count, what)))
        return false;
    if (type >= ZI_GGUF_TYPES)
        return zi_error_set_in(
            r->error, ZI_ERROR_BAD_FORMAT, r->path, key,
            "%s is of type number %u, which is not known: the file is damaged; fetch it again",
            what, type);
    if (type == ZI_GGUF_ARRAY)
        return zi_error_set_in(
            r->error, ZI_ERROR_UNSUPPORTED, r->path, key,
            "%s is an array of arrays, which is not supported; use another file of this model",
            what);
    if (count > bytes_left(r)) return fail_truncated(r, what);
    value->type = (zi_gguf_type)type;
    value->count = (size_t)count;
    return take_elements(r, value, what);
}

/* Bytewise order of two texts, as from memcmp; a prefix comes first. */
static int compare_text(zi_gguf_text a, zi_gguf_text b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* For qsort: orders values by key, bytewise. */
static int by_key(const void *a, const void *b)
{
    return compare_text(((const zi_gguf_value *)a)->key, ((const zi_gguf_value *)b)->key);
}

/* Reads `count` values into *gguf, sorts them by key, and fails with ZI_ERROR_BAD_FORMAT if a key
 * occurs twice. After a failure gguf->values [gguf->count] holds those read before, perhaps
 * unsorted; the caller frees it. */
static bool read_values(reader *r, uint64_t count, zi_gguf *gguf)
{
    for (size_t i = 0; i < count; i++) {
        void *grown = grow_array(gguf->values, i, sizeof *gguf->values, r->error);
        if (!grown) return false;
        gguf->values = grown;
        if (!read_value(r, &gguf->values[i], i + 1)) return false;
        gguf->count++;
    }
    if (gguf->count) qsort(gguf->values, gguf->count, sizeof *gguf->values, by_key);
    for (size_t i = 1; i < gguf->count; i++) {
        char name[140];
        zi_gguf_text key = gguf->values[i].key;
        if (compare_text(gguf->values[i - 1].key, key) != 0) continue;
        snprintf(name, sizeof name, "%.*s", (int)key.size, key.data);
        return zi_error_set_in(r->error, ZI_ERROR_BAD_FORMAT, r->path, name,
                               "key %s is there twice: the file is damaged; fetch it again", name);
    }
    return true;
}

/* ---- tensors ---- */

/* Reads the number of dimensions (0: count 1) and the dimensions (0 is allowed), which files list
 * innermost first, into tensor->shape, outermost first, and sets dims and count. Fails, they partly
 * set, with ZI_ERROR_UNSUPPORTED for more than ZI_MAX_DIMS, with ZI_ERROR_BAD_FORMAT if the count
 * overflows. what: for errors. */
static bool read_shape(reader *r, zi_tensor *tensor, const char *what)
{
    uint32_t dims = 0;
    if (!read_number(r, &dims, sizeof dims, what)) return false;
    if (dims > ZI_MAX_DIMS)
        return zi_error_set_in(
            r->error, ZI_ERROR_UNSUPPORTED, r->path, tensor->name,
            "%s has %u dimensions, but at most %d are supported; use another file of this model",
            what, dims, ZI_MAX_DIMS);
    tensor->dims = (int)dims;
    tensor->count = 1;
    for (int i = tensor->dims - 1; i >= 0; i--) {
        uint64_t side = 0;
        if (!read_number(r, &side, sizeof side, what)) return false;
        tensor->shape[i] = (size_t)side;
        if (__builtin_mul_overflow(tensor->count, side, &tensor->count))
            return zi_error_set_in(
                r->error, ZI_ERROR_BAD_FORMAT, r->path, tensor->name,
                "%s has an impossible shape: the file is damaged; fetch it again", what);
    }
    return true;
}

/* Sets the tensor's size in bytes from type and shape; its name must be set, for errors. False: its
 * rows are not whole blocks, or the size overflows; ZI_ERROR_BAD_FORMAT is set, the size is
 * unchanged. */
static bool set_tensor_bytes(const reader *r, zi_tensor *tensor)
{
    size_t block = zi_dtype_block(tensor->type), unused;
    size_t columns = tensor->dims ? tensor->shape[tensor->dims - 1] : 1;
    if (columns % block)
        return zi_error_set_in(r->error, ZI_ERROR_BAD_FORMAT, r->path, tensor->name,
                               "tensor %s is %s, in blocks of %zu, but its rows have %zu values: "
                               "the file is damaged; fetch it again",
                               tensor->name, zi_dtype_name(tensor->type), block, columns);
    if (__builtin_mul_overflow(tensor->count / block, zi_dtype_size(tensor->type), &unused))
        return zi_error_set_in(
            r->error, ZI_ERROR_BAD_FORMAT, r->path, tensor->name,
            "tensor %s has an impossible shape: the file is damaged; fetch it again", tensor->name);
    tensor->bytes = zi_dtype_bytes(tensor->type, tensor->count);
    return true;
}

/* Reads one tensor's description into *tensor, zeroed before, whose name is new memory, also after
 * a failure (NULL: it failed before). Its data is only the stored offset, added to the start of the
 * file, until set_tensor_data. number: from 1, for errors. */
static bool read_tensor(reader *r, size_t number, zi_tensor *tensor)
{
    char what[160];
    zi_gguf_text name;
    uint32_t type = 0;
    uint64_t offset = 0;
    if (!read_name(r, &name, "tensor", number)) return false;
    tensor->name = strndup(name.data, name.size);
    if (!tensor->name) return zi_error_no_memory(r->error, name.size);
    snprintf(what, sizeof what, "tensor %.140s", tensor->name);
    if (!read_shape(r, tensor, what) || !read_number(r, &type, sizeof type, what) ||
        !read_number(r, &offset, sizeof offset, what) ||
        !dtype_of_number(r->path, tensor->name, type, &tensor->type, r->error) ||
        !set_tensor_bytes(r, tensor))
        return false;
    if (offset > r->size)
        return zi_error_set_in(
            r->error, ZI_ERROR_BAD_FORMAT, r->path, tensor->name,
            "tensor %s begins at byte %llu of a file of %zu: it is cut off; fetch it again",
            tensor->name, (unsigned long long)offset, r->size);
    tensor->data = r->data + offset;
    return true;
}

/* Turns the stored offset, which counts from byte `begin` of the file, into a pointer. Fails with
 * ZI_ERROR_BAD_FORMAT if the offset is no multiple of the alignment, or the tensor goes beyond the
 * end of the file; its data is then still the offset. */
static bool set_tensor_data(const reader *r, size_t begin, size_t alignment, zi_tensor *tensor)
{
    size_t offset = (size_t)((const uint8_t *)tensor->data - r->data);
    if (offset % alignment)
        return zi_error_set_in(
            r->error, ZI_ERROR_BAD_FORMAT, r->path, tensor->name,
            "tensor %s begins at byte %zu of the data, which is not a multiple of "
            "general.alignment, %zu: the file is damaged; fetch it again",
            tensor->name, offset, alignment);
    if (begin > r->size || offset > r->size - begin || tensor->bytes > r->size - begin - offset)
        return zi_error_set_in(
            r->error, ZI_ERROR_BAD_FORMAT, r->path, tensor->name,
            "tensor %s goes beyond the end of the file: it is cut off; fetch it again",
            tensor->name);
    tensor->data = r->data + begin + offset;
    return true;
}

/* For qsort of pointers to tensors: orders them by the address of their data, empty ones before
 * others at the same address. */
static int by_offset(const void *a, const void *b)
{
    const zi_tensor *const *x = a, *const *y = b;
    if ((*x)->data != (*y)->data) return (*x)->data < (*y)->data ? -1 : 1;
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes); /* empty ones first */
}

/* Fails with ZI_ERROR_BAD_FORMAT if the bytes of two tensors overlap, with ZI_ERROR_NO_MEMORY if
 * memory is short. Changes nothing. */
static bool check_overlap(const reader *r, const zi_tensor *tensors, size_t count)
{
    const zi_tensor **order = malloc((count ? count : 1) * sizeof *order);
    if (!order) return zi_error_no_memory(r->error, count * sizeof *order);
    for (size_t i = 0; i < count; i++) order[i] = &tensors[i];
    qsort(order, count, sizeof *order, by_offset);
    bool ok = true;
    for (size_t i = 1; ok && i < count; i++)
        if ((const uint8_t *)order[i - 1]->data + order[i - 1]->bytes >
            (const uint8_t *)order[i]->data)
            ok = zi_error_set_in(r->error, ZI_ERROR_BAD_FORMAT, r->path, order[i]->name,
                                 "tensors %s and %s overlap: the file is damaged; fetch it again",
                                 order[i - 1]->name, order[i]->name);
    free(order);
    return ok;
}

/* Sets *out to general.alignment (of any integer type), in bytes; 32 if it is absent. Fails with
 * ZI_ERROR_BAD_FORMAT, *out unchanged, unless it is a power of two up to 2^24. */
static bool read_alignment(const reader *r, const zi_gguf *gguf, size_t *out)
{
    enum { MAX_ALIGNMENT = 1 << 24 };
    int64_t alignment = DEFAULT_ALIGNMENT;
    if (zi_gguf_find(gguf, "general.alignment") &&
        !zi_gguf_integer(gguf, "general.alignment", 1, MAX_ALIGNMENT, &alignment, r->error))
        return false;
    if (alignment & (alignment - 1))
        return zi_error_set_in(r->error, ZI_ERROR_BAD_FORMAT, r->path, "general.alignment",
                               "general.alignment is %lld, which is no power of two: the file is "
                               "damaged; fetch it again",
                               (long long)alignment);
    *out = (size_t)alignment;
    return true;
}

/* Reads `declared` tensors into *tensors [*count], NULL and 0 before, and lets their data point
 * into the mapping. Fails if one is invalid or two overlap. The caller frees the tensors and their
 * names, also after a failure; the last name may be NULL then. */
static bool read_tensors(reader *r, uint64_t declared, const zi_gguf *gguf, zi_tensor **tensors,
                         size_t *count)
{
    size_t alignment = 0;
    for (size_t i = 0; i < declared; i++) {
        zi_tensor *grown = grow_array(*tensors, i, sizeof *grown, r->error);
        if (!grown) return false;
        *tensors = grown;
        grown[i] = (zi_tensor){0};
        *count = i + 1; /* now its name is freed even when reading it fails */
        if (!read_tensor(r, i + 1, &grown[i])) return false;
    }
    if (!read_alignment(r, gguf, &alignment)) return false;
    size_t begin = (r->at + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < *count; i++)
        if (!set_tensor_data(r, begin, alignment, &(*tensors)[i])) return false;
    return check_overlap(r, *tensors, *count);
}

/* ---- the file ---- */

bool zi_gguf_is(const zi_mapping *mapping)
{
    return mapping->size >= MAGIC_BYTES && memcmp(mapping->data, "GGUF", MAGIC_BYTES) == 0;
}

/* Reads the version, behind the magic bytes, and the numbers of tensors and values, which may be
 * set after a failure, too. Fails with ZI_ERROR_UNSUPPORTED unless it is version 2 or 3,
 * little-endian, and each number is at most 65536, with ZI_ERROR_BAD_FORMAT if they do not fit into
 * the file. */
static bool read_header(reader *r, uint64_t *tensors, uint64_t *values)
{
    /* What is kept of a value or a tensor is larger than what it takes in a file. */
    enum {
        MIN_VALUE_BYTES = 8 + 1 + 4 + 1,
        MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,
        MAX_COUNT = 1 << 16
    };
    uint32_t version = 0;
    if (!read_number(r, &version, sizeof version, "its header")) return false;
    if (version && !(version & 0xffff))
        return zi_error_set(
            r->error, ZI_ERROR_UNSUPPORTED, r->path,
            "a big-endian GGUF file, which is not supported; use the little-endian one");
    if (version != 2 && version != 3)
        return zi_error_set(r->error, ZI_ERROR_UNSUPPORTED, r->path,
                            "GGUF version %u is not supported; use a file of version 2 or 3",
                            version);
    if (!read_number(r, tensors, sizeof *tensors, "its header") ||
        !read_number(r, values, sizeof *values, "its header"))
        return false;
    if (*values > bytes_left(r) / MIN_VALUE_BYTES || *tensors > bytes_left(r) / MIN_TENSOR_BYTES)
        return zi_error_set(r->error, ZI_ERROR_BAD_FORMAT, r->path,
                            "its header announces %llu metadata values and %llu tensors, which do "
                            "not fit into a file of %zu bytes: it is damaged; fetch it again",
                            (unsigned long long)*values, (unsigned long long)*tensors, r->size);
    if (*values > MAX_COUNT || *tensors > MAX_COUNT)
        return zi_error_set(r->error, ZI_ERROR_UNSUPPORTED, r->path,
                            "its header announces %llu metadata values and %llu tensors, but at "
                            "most %d of each are supported; use another file of this model",
                            (unsigned long long)*values, (unsigned long long)*tensors, MAX_COUNT);
    return true;
}

bool zi_gguf_parse(const char *path, const zi_mapping *mapping, zi_tensor **tensors, size_t *count,
                   zi_gguf **gguf, zi_error *error)
{
    reader r = {path, mapping->data, mapping->size, MAGIC_BYTES, error};
    uint64_t tensors_declared = 0, values_declared = 0;
    if (!read_header(&r, &tensors_declared, &values_declared)) return false;
    *gguf = calloc(1, sizeof **gguf);
    if (!*gguf) return zi_error_no_memory(error, sizeof **gguf);
    (*gguf)->path = path;
    return read_values(&r, values_declared, *gguf) &&
           read_tensors(&r, tensors_declared, *gguf, tensors, count);
}

void zi_gguf_free(zi_gguf *gguf)
{
    if (!gguf) return;
    free(gguf->values);
    free(gguf);
}
