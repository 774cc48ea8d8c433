#include "io/json.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The number, from 1, of the line of text that `at` lies in. */
static int line_of(const char *text, const char *at)
{
    int line = 1;
    for (; text < at; text++) line += *text == '\n';
    return line;
}

bool zi_json_fits_memory(const char *text, size_t size)
{
    /* What a value and a text take, with what malloc adds. */
    enum { VALUE = 80, STRING = 32, SPARE = 64 << 20 };
    size_t bytes = 0;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '"') quoted = !quoted;
        if (quoted) {
            bytes += c == '"' ? STRING : 0;
            i += c == '\\';
        } else if (c == ',' || c == '[' || c == '{') {
            bytes += VALUE;
        }
    }
    return bytes <= size + SPARE;
}

cJSON *zi_json_parse(const char *text, size_t size, bool whole, const char **end,
                     bool *memory_short)
{
    errno = 0; /* cJSON does not tell why it fails, but malloc does */
    cJSON *json = cJSON_ParseWithLengthOpts(text, size + whole, end, whole);
    *memory_short = !json && errno == ENOMEM;
    return json;
}

bool zi_json_read(const char *path, size_t max, cJSON **out, zi_error *error)
{
    char *text = NULL;
    size_t size;
    if (!zi_file_read(path, max, &text, &size, error)) return false;
    bool ok = false, memory_short;
    cJSON *root = NULL;
    if (!size) {
        zi_error_set(error, ZI_ERROR_BAD_FORMAT, path, "the file is empty; fetch it again");
        goto out;
    }
    /* cJSON takes a NUL for white space and any bytes for text. */
    if (memchr(text, 0, size) || !zi_utf8_valid(text, size)) {
        zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                     "not valid JSON: it holds bytes that are not UTF-8 text; it is damaged or of "
                     "another kind: fetch it again");
        goto out;
    }
    if (!zi_json_fits_memory(text, size)) {
        zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                     "holds more values than the file of any model; it is damaged: fetch it again");
        goto out;
    }
    const char *end = text;
    root = zi_json_parse(text, size, true, &end, &memory_short);
    if (memory_short) {
        zi_error_no_memory(error, size);
        goto out;
    }
    if (!root) {
        zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                     "not valid JSON at line %d (byte %zu of %zu): it is damaged or cut short; "
                     "fetch it again",
                     line_of(text, end), (size_t)(end - text), size);
        goto out;
    }
    *out = root;
    ok = true;
out:
    free(text);
    return ok;
}

/* For qsort of `const char *`: bytewise order. */
static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool zi_json_check_unique_keys(const char *path, const cJSON *object, const char *what,
                               zi_error *error)
{
    if (!cJSON_IsObject(object))
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, path,
            "%s holds no JSON object ({...}): it is damaged or of another kind; fetch it again",
            what);
    size_t count = 0;
    for (const cJSON *item = object->child; item; item = item->next) count++;
    if (count < 2) return true;
    const char **keys = malloc(count * sizeof *keys);
    if (!keys) return zi_error_no_memory(error, count * sizeof *keys);
    size_t n = 0;
    for (const cJSON *item = object->child; item; item = item->next) keys[n++] = item->string;
    qsort(keys, count, sizeof *keys, compare_keys);
    bool ok = true;
    for (size_t i = 1; i < count && ok; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            ok = zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, keys[i],
                                 "key \"%.100s\" is there twice in %s; fetch the file again",
                                 keys[i], what);
    free(keys);
    return ok;
}

const cJSON *zi_json_find(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(item) ? NULL : item;
}

bool zi_json_is_int(const cJSON *item, int min, int max)
{
    if (!cJSON_IsNumber(item)) return false;
    double value = item->valuedouble;
    return value >= min && value <= max && value == floor(value);
}

void zi_json_describe(const cJSON *item, char out[64])
{
    if (cJSON_IsNumber(item))
        snprintf(out, 64, "%.10g", item->valuedouble);
    else if (cJSON_IsString(item))
        snprintf(out, 64, "\"%.40s\"", item->valuestring);
    else
        snprintf(out, 64, "%s",
                 cJSON_IsNull(item)    ? "null"
                 : cJSON_IsBool(item)  ? cJSON_IsTrue(item) ? "true" : "false"
                 : cJSON_IsArray(item) ? "a list"
                                       : "an object");
}

/* Sets the error "field NAME is FOUND, but it must be EXPECTED; ...", or that it is missing when
 * item is NULL. Returns false. */
static bool fail_field(const char *path, const cJSON *item, const char *name, const char *expected,
                       zi_error *error)
{
    char found[64] = "missing";
    if (item) zi_json_describe(item, found);
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, name,
                           "field \"%s\" is %s, but it must be %s; correct it, or use the file "
                           "that came with the model",
                           name, found, expected);
}

bool zi_json_int(const char *path, const cJSON *object, const char *name, int min, int max,
                 int *out, zi_error *error)
{
    const cJSON *item = zi_json_find(object, name);
    if (!zi_json_is_int(item, min, max)) {
        char expected[80];
        snprintf(expected, sizeof expected, "a whole number from %d to %d", min, max);
        return fail_field(path, item, name, expected, error);
    }
    *out = (int)item->valuedouble;
    return true;
}

bool zi_json_double(const char *path, const cJSON *object, const char *name, double min, double max,
                    double *out, zi_error *error)
{
    const cJSON *item = zi_json_find(object, name);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= min && item->valuedouble <= max)) {
        char expected[80];
        snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
        return fail_field(path, item, name, expected, error);
    }
    *out = item->valuedouble;
    return true;
}

bool zi_json_bool(const char *path, const cJSON *object, const char *name, bool *out,
                  zi_error *error)
{
    const cJSON *item = zi_json_find(object, name);
    if (!cJSON_IsBool(item)) return fail_field(path, item, name, "true or false", error);
    *out = cJSON_IsTrue(item);
    return true;
}

bool zi_json_string(const char *path, const cJSON *object, const char *name, const char **out,
                    zi_error *error)
{
    const cJSON *item = zi_json_find(object, name);
    if (!cJSON_IsString(item)) return fail_field(path, item, name, "a text", error);
    *out = item->valuestring;
    return true;
}

bool zi_json_array(const char *path, const cJSON *object, const char *name, const cJSON **out,
                   zi_error *error)
{
    const cJSON *item = zi_json_find(object, name);
    if (!cJSON_IsArray(item)) return fail_field(path, item, name, "a list ([...])", error);
    *out = item;
    return true;
}

bool zi_json_object(const char *path, const cJSON *object, const char *name, const cJSON **out,
                    zi_error *error)
{
    const cJSON *item = zi_json_find(object, name);
    if (!cJSON_IsObject(item)) return fail_field(path, item, name, "an object ({...})", error);
    *out = item;
    return true;
}

bool zi_json_int_or(const char *path, const cJSON *object, const char *name, int min, int max,
                    int fallback, int *out, zi_error *error)
{
    if (zi_json_find(object, name)) return zi_json_int(path, object, name, min, max, out, error);
    *out = fallback;
    return true;
}

bool zi_json_double_or(const char *path, const cJSON *object, const char *name, double min,
                       double max, double fallback, double *out, zi_error *error)
{
    if (zi_json_find(object, name)) return zi_json_double(path, object, name, min, max, out, error);
    *out = fallback;
    return true;
}

bool zi_json_bool_or(const char *path, const cJSON *object, const char *name, bool fallback,
                     bool *out, zi_error *error)
{
    if (zi_json_find(object, name)) return zi_json_bool(path, object, name, out, error);
    *out = fallback;
    return true;
}

bool zi_json_string_or(const char *path, const cJSON *object, const char *name,
                       const char *fallback, const char **out, zi_error *error)
{
    if (zi_json_find(object, name)) return zi_json_string(path, object, name, out, error);
    *out = fallback;
    return true;
}
