/* Members of JSON objects that may be null. */
#ifndef ZI_SERVER_JSON_H
#define ZI_SERVER_JSON_H

#include <cJSON.h>
#include <stdbool.h>

/* Adds a copy of text as a string, or null when text is NULL. */
void zi_json_add_text(cJSON *object, const char *name, const char *text);

/* Adds a number, or null when it is not known. */
void zi_json_add_number(cJSON *object, const char *name, double value, bool known);

/* An array of strings; NULL ends the list. */
cJSON *zi_json_strings(const char *const *strings);

#endif
