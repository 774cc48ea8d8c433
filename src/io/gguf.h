/* The GGUF format, versions 2 and 3: named values (metadata), then the tensors' names, shapes,
 * types and places, then their bytes. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#ifndef ZI_IO_GGUF_H
#define ZI_IO_GGUF_H

#include "io/checkpoint.h"

/* Value types, numbered as in GGUF files. */
typedef enum {
    ZI_GGUF_U8 = 0,
    ZI_GGUF_I8,
    ZI_GGUF_U16,
    ZI_GGUF_I16,
    ZI_GGUF_U32,
    ZI_GGUF_I32,
    ZI_GGUF_F32,
    ZI_GGUF_BOOL,
    ZI_GGUF_STRING,
    ZI_GGUF_ARRAY,
    ZI_GGUF_U64,
    ZI_GGUF_I64,
    ZI_GGUF_F64,
    ZI_GGUF_TYPES
} zi_gguf_type;

/* A string in the mapped file, without terminating NUL. */
typedef struct {
    const char *data;
    size_t size;
} zi_gguf_text;

/* Whether the text is exactly this string. */
bool zi_gguf_text_equals(zi_gguf_text text, const char *string);

/* Returns the bytes of one number or boolean of this type, which must be below ZI_GGUF_TYPES; 0 for
 * strings and arrays. */
size_t zi_gguf_value_bytes(zi_gguf_type type);

typedef struct {
    zi_gguf_text key;  /* valid UTF-8 without NUL bytes */
    zi_gguf_type type; /* of an array: that of its elements */
    bool array;
    size_t count;        /* elements; 1 where it is no array */
    const uint8_t *data; /* in the mapping; strings are length (8 bytes) and text */
} zi_gguf_value;

/* A file's metadata, sorted by key. */
struct zi_gguf {
    const char *path; /* for error texts; the checkpoint's */
    zi_gguf_value *values;
    size_t count;
};

/* Whether a file begins with GGUF's magic bytes. */
bool zi_gguf_is(const zi_mapping *mapping);

/* Parses a mapped GGUF file, whose magic bytes were checked, into metadata and tensors [*count] in
 * its order, names perhaps twice. Damage is ZI_ERROR_BAD_FORMAT, another version or type
 * ZI_ERROR_UNSUPPORTED. The outputs must be zero before; the caller frees them and the names
 * (perhaps NULL), also after a failure. They point into the mapping; path must outlive *gguf. */
bool zi_gguf_parse(const char *path, const zi_mapping *mapping, zi_tensor **tensors, size_t *count,
                   zi_gguf **gguf, zi_error *error) ZI_CHECKED;

/* Frees the metadata, the struct included, but not the mapping that they point into. NULL is
 * allowed. */
void zi_gguf_free(zi_gguf *gguf);

/* ---- metadata ---- */

/* The value of a key, owned by gguf; NULL: absent. */
const zi_gguf_value *zi_gguf_find(const zi_gguf *gguf, const char *key);

/* Required values: *out is set only when the key exists with a suitable type and a value in range;
 * all else is ZI_ERROR_BAD_FORMAT. */

/* Sets *out to the string of a key, valid UTF-8 without NUL bytes, perhaps empty, which points into
 * the mapped file. Fails with ZI_ERROR_BAD_FORMAT, *out unchanged, if the key is missing or no such
 * string. */
bool zi_gguf_string(const zi_gguf *gguf, const char *key, zi_gguf_text *out,
                    zi_error *error) ZI_CHECKED;

/* Sets *out to the integer of a key, of any integer type and in min..max. Fails with
 * ZI_ERROR_BAD_FORMAT, *out unchanged, if the key is missing, of another type or out of range (a
 * U64 above INT64_MAX always is). */
bool zi_gguf_integer(const zi_gguf *gguf, const char *key, int64_t min, int64_t max, int64_t *out,
                     zi_error *error) ZI_CHECKED;

/* Sets *out to the number of a key, of any float or integer type and finite. 64-bit integers may be
 * rounded; a U64 above INT64_MAX becomes negative. Fails with ZI_ERROR_BAD_FORMAT, *out unchanged,
 * if the key is missing or no such number. */
bool zi_gguf_number(const zi_gguf *gguf, const char *key, double *out, zi_error *error) ZI_CHECKED;

/* Sets *out to the boolean of a key. Fails with ZI_ERROR_BAD_FORMAT, *out unchanged, if the key is
 * missing, of another type, or its byte is neither 0 nor 1. */
bool zi_gguf_bool(const zi_gguf *gguf, const char *key, bool *out, zi_error *error) ZI_CHECKED;

/* Required arrays, owned by gguf, and access to their elements. After a failure *out may have
 * changed. */

/* Sets *out to the array of strings (perhaps empty) of a key, owned by gguf; their bytes are not
 * checked. Fails with ZI_ERROR_BAD_FORMAT if the key is missing or of another type; *out may be
 * changed then. */
bool zi_gguf_strings(const zi_gguf *gguf, const char *key, const zi_gguf_value **out,
                     zi_error *error) ZI_CHECKED;

/* Sets *out to the array (perhaps empty) of a key, of any one integer type, owned by gguf. Fails
 * with ZI_ERROR_BAD_FORMAT if the key is missing or of another type; *out may be changed then. */
bool zi_gguf_integers(const zi_gguf *gguf, const char *key, const zi_gguf_value **out,
                      zi_error *error) ZI_CHECKED;

/* Sets *out to the array (perhaps empty) of a key, of any one integer or float type, also not
 * finite, owned by gguf. Fails with ZI_ERROR_BAD_FORMAT if the key is missing or of another type;
 * *out may be changed then. */
bool zi_gguf_numbers(const zi_gguf *gguf, const char *key, const zi_gguf_value **out,
                     zi_error *error) ZI_CHECKED;

/* The string at byte offset *at of the values, which is 0 at first and is moved to the next one. It
 * points into the mapped file. Call it at most `count` times: nothing is checked. */
zi_gguf_text zi_gguf_next_string(const zi_gguf_value *strings, size_t *at);

/* Returns element i, from 0 and below `count` (not checked), of an array of any integer type, or
 * such a value itself for i 0. A U64 above INT64_MAX becomes negative. */
int64_t zi_gguf_integer_at(const zi_gguf_value *integers, size_t i);

/* Returns element i, from 0 and below `count` (not checked), of an array of any integer or float
 * type, or such a value itself for i 0. 64-bit integers may be rounded. */
double zi_gguf_number_at(const zi_gguf_value *numbers, size_t i);

/* ---- writing ---- */

/* A value to write. data points to the number or numbers, or to one or more `const char *`. */
typedef struct {
    const char *key;
    zi_gguf_type type;
    bool array;
    size_t count;
    const void *data;
} zi_gguf_out;

/* Writes a GGUF file (version 3, aligned to 32 bytes) atomically, with values and tensors in this
 * order, duplicates not checked. Never overwrites: a file at path is ZI_ERROR_EXISTS, found out at
 * the end. fill is called for one tensor after the other and sets the error if it fails; NULL: they
 * are at `data`. ZI_ERROR_UNSUPPORTED: GGUF lacks a type, or rows are no whole blocks. */
bool zi_gguf_write(const char *path, const zi_gguf_out *values, size_t value_count,
                   const zi_tensor_out *tensors, size_t tensor_count, zi_tensor_write_fn fill,
                   void *context, zi_error *error) ZI_CHECKED;

/* Sets *out to GGUF's number of a tensor type. False: GGUF has no such type; no error is set, and
 * *out may be changed. */
bool zi_gguf_tensor_type(zi_dtype type, uint32_t *out);

#endif
