/* JSON files through cJSON, with errors that name the file and the field. */
#ifndef ZI_IO_JSON_H
#define ZI_IO_JSON_H

#include "base/error.h"

#include <cjson/cJSON.h>

/* Reads and parses a whole file of at most max bytes; cJSON_Delete() the result. The text must be
 * UTF-8 and hold one value of any type, small enough for zi_json_fits_memory, and only white space
 * behind it; else ZI_ERROR_BAD_FORMAT. Duplicate keys pass. Fails as zi_file_read, too. *out is set
 * only on success. */
bool zi_json_read(const char *path, size_t max, cJSON **out, zi_error *error) ZI_CHECKED;

/* Parses text [size]; cJSON_Delete() the result. whole: the text has a NUL behind it, and only
 * white space may follow the value; else anything may. *end: behind the value or, after a failure,
 * at the error. NULL: the text is not JSON or, with *memory_short true, memory is short; no error
 * is set.
 */
cJSON *zi_json_parse(const char *text, size_t size, bool whole, const char **end,
                     bool *memory_short);

/* Whether cJSON's tree of this text takes at most the size of the text plus 64 MiB: "[0,0,0,..."
 * takes forty times its size. It is an estimate; the text need not be valid. Ask before parsing
 * what may be large. */
bool zi_json_fits_memory(const char *text, size_t size);

/* Fails with ZI_ERROR_BAD_FORMAT unless object is a JSON object (not NULL) without duplicate keys,
 * whose case matters; objects in it are not checked. Fails when memory is short, too. what names it
 * in the error: "the file", "field \"model\"". Call it on objects where a second value would be
 * silently ignored: cJSON keeps both, and lookups find the first. */
bool zi_json_check_unique_keys(const char *path, const cJSON *object, const char *what,
                               zi_error *error) ZI_CHECKED;

/* Returns the field `name` (case matters) of object, owned by it; NULL when it is absent or null,
 * or when object is NULL or no object. Of duplicates it is the first. */
const cJSON *zi_json_find(const cJSON *object, const char *name);

/* Required fields: fail with ZI_ERROR_BAD_FORMAT, *out unchanged, unless the field is there, of the
 * right type and in range (min and max included; 1.0 is a whole number). null counts as missing,
 * and so does any field of an object that is NULL or none. Strings, arrays and objects may be empty
 * and belong to the document. path is for the error only. */
bool zi_json_int(const char *path, const cJSON *object, const char *name, int min, int max,
                 int *out, zi_error *error) ZI_CHECKED;
bool zi_json_double(const char *path, const cJSON *object, const char *name, double min, double max,
                    double *out, zi_error *error) ZI_CHECKED;
bool zi_json_bool(const char *path, const cJSON *object, const char *name, bool *out,
                  zi_error *error) ZI_CHECKED;
bool zi_json_string(const char *path, const cJSON *object, const char *name, const char **out,
                    zi_error *error) ZI_CHECKED;
bool zi_json_array(const char *path, const cJSON *object, const char *name, const cJSON **out,
                   zi_error *error) ZI_CHECKED;
bool zi_json_object(const char *path, const cJSON *object, const char *name, const cJSON **out,
                    zi_error *error) ZI_CHECKED;

/* Optional fields: *out is fallback, unchecked (it may be NULL), when the field is absent or null.
 * A field that is there is read as a required one: with a wrong type or out of range it fails with
 * ZI_ERROR_BAD_FORMAT, *out unchanged. */
bool zi_json_int_or(const char *path, const cJSON *object, const char *name, int min, int max,
                    int fallback, int *out, zi_error *error) ZI_CHECKED;
bool zi_json_double_or(const char *path, const cJSON *object, const char *name, double min,
                       double max, double fallback, double *out, zi_error *error) ZI_CHECKED;
bool zi_json_bool_or(const char *path, const cJSON *object, const char *name, bool fallback,
                     bool *out, zi_error *error) ZI_CHECKED;
bool zi_json_string_or(const char *path, const cJSON *object, const char *name,
                       const char *fallback, const char **out, zi_error *error) ZI_CHECKED;

/* Writes a value for a message: a number, a text of at most 40 bytes, true, false or null, "a
 * list" or "an object". */
void zi_json_describe(const cJSON *item, char out[64]);

/* Whether item is a number without fraction in [min, max] (1.0 is one). NULL: false. */
bool zi_json_is_int(const cJSON *item, int min, int max);

#endif
