/* Typed access to the metadata of a GGUF file. */
#include "base/text.h"
#include "io/gguf.h"

#include <math.h>
#include <string.h>

static const struct {
    size_t bytes;
    bool integer, number;
} types[ZI_GGUF_TYPES] = {
    [ZI_GGUF_U8] = {1, true, true},     [ZI_GGUF_I8] = {1, true, true},
    [ZI_GGUF_U16] = {2, true, true},    [ZI_GGUF_I16] = {2, true, true},
    [ZI_GGUF_U32] = {4, true, true},    [ZI_GGUF_I32] = {4, true, true},
    [ZI_GGUF_U64] = {8, true, true},    [ZI_GGUF_I64] = {8, true, true},
    [ZI_GGUF_F32] = {4, false, true},   [ZI_GGUF_F64] = {8, false, true},
    [ZI_GGUF_BOOL] = {1, false, false},
};

size_t zi_gguf_value_bytes(zi_gguf_type type)
{
    return types[type].bytes;
}

bool zi_gguf_text_equals(zi_gguf_text text, const char *string)
{
    return text.size == strlen(string) && memcmp(text.data, string, text.size) == 0;
}

/* ---- elements ---- */

zi_gguf_text zi_gguf_next_string(const zi_gguf_value *strings, size_t *at)
{
    uint64_t size;
    memcpy(&size, strings->data + *at, sizeof size);
    zi_gguf_text text = {(const char *)strings->data + *at + sizeof size, (size_t)size};
    *at += sizeof size + text.size;
    return text;
}

int64_t zi_gguf_integer_at(const zi_gguf_value *integers, size_t i)
{
    union {
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        int64_t i64;
    } value;
    const uint8_t *at = integers->data + i * types[integers->type].bytes;
    memcpy(&value, at, types[integers->type].bytes);
    switch (integers->type) {
    case ZI_GGUF_U8:
        return *at;
    case ZI_GGUF_I8:
        return value.i8;
    case ZI_GGUF_U16:
        return value.u16;
    case ZI_GGUF_I16:
        return value.i16;
    case ZI_GGUF_U32:
        return value.u32;
    case ZI_GGUF_I32:
        return value.i32;
    default:
        return value.i64;
    }
}

double zi_gguf_number_at(const zi_gguf_value *numbers, size_t i)
{
    const uint8_t *at = numbers->data + i * types[numbers->type].bytes;
    float single;
    double number;
    if (numbers->type == ZI_GGUF_F32) {
        memcpy(&single, at, sizeof single);
        return single;
    }
    if (numbers->type == ZI_GGUF_U64) return (double)(uint64_t)zi_gguf_integer_at(numbers, i);
    if (numbers->type != ZI_GGUF_F64) return (double)zi_gguf_integer_at(numbers, i);
    memcpy(&number, at, sizeof number);
    return number;
}

/* ---- values ---- */

/* Bytewise order of a text and a key, as from strcmp. */
static int compare_text_to_key(zi_gguf_text text, const char *key)
{
    int found = strncmp(text.data, key, text.size); /* neither has a NUL inside */
    return found ? found : key[text.size] ? -1 : 0;
}

const zi_gguf_value *zi_gguf_find(const zi_gguf *gguf, const char *key)
{
    size_t low = 0, high = gguf->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int found = compare_text_to_key(gguf->values[middle].key, key);
        if (found == 0) return &gguf->values[middle];
        if (found < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool is_string(zi_gguf_type type)
{
    return type == ZI_GGUF_STRING;
}

/* Whether it is a type of whole numbers, signed or unsigned; booleans are not. */
static bool is_integer(zi_gguf_type type)
{
    return types[type].integer;
}

/* Whether it is a type of whole numbers or floats; booleans are not. */
static bool is_number(zi_gguf_type type)
{
    return types[type].number;
}

static bool is_bool(zi_gguf_type type)
{
    return type == ZI_GGUF_BOOL;
}

/* Sets *out to the value of a key, which must exist, be of a type that `fits` accepts, and be an
 * array if and only if `array` is set. Otherwise fails with ZI_ERROR_BAD_FORMAT; *out is then NULL
 * or the unsuitable value. what: the expected type, for the error. */
static bool require_value(const zi_gguf *gguf, const char *key, bool array,
                          bool (*fits)(zi_gguf_type), const char *what, const zi_gguf_value **out,
                          zi_error *error)
{
    *out = zi_gguf_find(gguf, key);
    if (!*out)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, key,
                               "key %s is missing; use a complete GGUF file of the model", key);
    if ((*out)->array != array || !fits((*out)->type))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, key,
                               "key %s must be %s, and is of another type; fetch the file again, "
                               "or use another file of this model",
                               key, what);
    return true;
}

bool zi_gguf_string(const zi_gguf *gguf, const char *key, zi_gguf_text *out, zi_error *error)
{
    const zi_gguf_value *value;
    size_t at = 0;
    if (!require_value(gguf, key, false, is_string, "a string", &value, error)) return false;
    zi_gguf_text text = zi_gguf_next_string(value, &at);
    if (memchr(text.data, 0, text.size) || !zi_utf8_valid(text.data, text.size))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, key,
                               "key %s is not UTF-8 text: the file is damaged; fetch it again",
                               key);
    *out = text;
    return true;
}

bool zi_gguf_integer(const zi_gguf *gguf, const char *key, int64_t min, int64_t max, int64_t *out,
                     zi_error *error)
{
    const zi_gguf_value *value;
    if (!require_value(gguf, key, false, is_integer, "a whole number", &value, error)) return false;
    int64_t number = zi_gguf_integer_at(value, 0);
    bool huge = value->type == ZI_GGUF_U64 && number < 0;
    if (number < min || number > max || huge)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, key,
                               "key %s is %s%lld, but it must be from %lld to %lld; fetch the file "
                               "again, or use another file of this model",
                               key, huge ? "above " : "", (long long)(huge ? INT64_MAX : number),
                               (long long)min, (long long)max);
    *out = number;
    return true;
}

bool zi_gguf_number(const zi_gguf *gguf, const char *key, double *out, zi_error *error)
{
    const zi_gguf_value *value;
    if (!require_value(gguf, key, false, is_number, "a number", &value, error)) return false;
    double number = zi_gguf_number_at(value, 0);
    if (!isfinite(number))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, key,
                               "key %s is NaN or infinite: the file is damaged; fetch it again",
                               key);
    *out = number;
    return true;
}

bool zi_gguf_bool(const zi_gguf *gguf, const char *key, bool *out, zi_error *error)
{
    const zi_gguf_value *value;
    if (!require_value(gguf, key, false, is_bool, "true or false", &value, error)) return false;
    if (*value->data > 1)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, key,
                               "key %s must be true or false, and is another number: the file is "
                               "damaged; fetch it again",
                               key);
    *out = *value->data;
    return true;
}

bool zi_gguf_strings(const zi_gguf *gguf, const char *key, const zi_gguf_value **out,
                     zi_error *error)
{
    return require_value(gguf, key, true, is_string, "a list of texts", out, error);
}

bool zi_gguf_integers(const zi_gguf *gguf, const char *key, const zi_gguf_value **out,
                      zi_error *error)
{
    return require_value(gguf, key, true, is_integer, "a list of whole numbers", out, error);
}

bool zi_gguf_numbers(const zi_gguf *gguf, const char *key, const zi_gguf_value **out,
                     zi_error *error)
{
    return require_value(gguf, key, true, is_number, "a list of numbers", out, error);
}
