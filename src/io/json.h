/* JSON files through cJSON, with errors that name the file and the field. */
#ifndef ZI_IO_JSON_H
#define ZI_IO_JSON_H

#include "base/error.h"

#include <cjson/cJSON.h>

/* Reads a whole file of at most max bytes; cJSON_Delete() the result. The text must be UTF-8 and
 * hold one value and nothing behind it. */
bool zi_json_read(const char *path, size_t max, cJSON **out, zi_error *error) ZI_CHECKED;

/* Whether cJSON's tree of this text takes no more than the text's size and 64 MB: "[0,0,0,..."
 * takes forty times its size. Ask before parsing what may be large. */
bool zi_json_fits_memory(const char *text, size_t size);

/* Fails unless object is a JSON object without duplicate keys (cJSON keeps both, lookups find the
 * first). what names it in the error: "the file", "field \"model\"". Call it on objects where a
 * second value would be silently ignored. */
bool zi_json_check_unique_keys(const char *path, const cJSON *object, const char *what,
                               zi_error *error) ZI_CHECKED;

/* Field name of object, NULL when it is absent or null, or when object is no object. */
const cJSON *zi_json_find(const cJSON *object, const char *name);

/* Required fields: *out is set only when the field is there, of the right type and in range.
 * path is for the error only. Strings and items belong to the document. */
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

/* Optional fields: as above, but *out is fallback when the field is absent or null. */
bool zi_json_int_or(const char *path, const cJSON *object, const char *name, int min, int max,
                    int fallback, int *out, zi_error *error) ZI_CHECKED;
bool zi_json_double_or(const char *path, const cJSON *object, const char *name, double min,
                       double max, double fallback, double *out, zi_error *error) ZI_CHECKED;
bool zi_json_bool_or(const char *path, const cJSON *object, const char *name, bool fallback,
                     bool *out, zi_error *error) ZI_CHECKED;
bool zi_json_string_or(const char *path, const cJSON *object, const char *name,
                       const char *fallback, const char **out, zi_error *error) ZI_CHECKED;

/* Whether item is a whole number in [min, max]. NULL: false. */
bool zi_json_is_int(const cJSON *item, int min, int max);

#endif
