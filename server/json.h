/* JSON beyond cJSON: members that may be null, and integers of any length. */
#ifndef ZI_SERVER_JSON_H
#define ZI_SERVER_JSON_H

#include <cJSON.h>
#include <stdbool.h>

enum { ZI_JSON_EXACT_DIGITS = 15 }; /* a double has all digits of an integer of this length */

/* Parses JSON text, as cJSON_ParseWithOpts does with require_null_terminated: *end (end may be
 * NULL) becomes where the text or the first error ends. Numbers longer than ZI_JSON_EXACT_DIGITS
 * keep their text (zi_json_digits). NULL: no JSON, or out of memory. */
cJSON *zi_json_parse_exact(const char *text, const char **end);

/* The text of a number that zi_json_parse_exact has kept, valid JSON, borrowed: an integer may have
 * more digits than valuedouble. NULL: it was short or only cJSON reads it as a number (007, 1.),
 * out of memory, or the item is no number. */
const char *zi_json_digits(const cJSON *item);

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
