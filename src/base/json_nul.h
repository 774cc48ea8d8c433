/* Finds the character NUL in texts of JSON, at which a C string would end. */
#ifndef ZI_BASE_JSON_NUL_H
#define ZI_BASE_JSON_NUL_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a text in valid JSON has the escape \u0000. name: the name of the member that it is in,
 * or of the nearest one before it, with its escapes as they are, cut to whole characters in size -
 * 1 bytes; "the text" if there is none. */
bool zi_json_find_nul(const char *json, char *name, size_t size);

#endif
