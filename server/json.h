/* Members of JSON objects that may be null. */
#ifndef ZI_SERVER_JSON_H
#define ZI_SERVER_JSON_H

#include <cJSON.h>
#include <stdbool.h>

/* Adds a member to object, which must have none of that name: a string with a copy of text, or null
 * when text is NULL. Out of memory: the member is left out. */
void zi_json_add_text(cJSON *object, const char *name, const char *text);

/* Adds a member to object, which must have none of that name: the number value, or null when it is
 * not known. Out of memory: the member is left out. */
void zi_json_add_number(cJSON *object, const char *name, double value, bool known);

/* Leaves the server's folders out of all texts in a value that the library has described, as
 * zi_hide_paths does. NULL is allowed. Out of memory: a text may be empty. */
void zi_json_hide_paths(cJSON *value);

/* Returns a new JSON array with copies of the strings; NULL ends the list. Out of memory: NULL, or
 * strings are missing. */
cJSON *zi_json_strings(const char *const *strings);

#endif
