/* Finds the character NUL in texts of JSON, at which a C string would end. */
#ifndef ZI_BASE_JSON_NUL_H
#define ZI_BASE_JSON_NUL_H

#include <stdbool.h>
#include <stddef.h>

/* The end of a text in JSON behind its closing quote, or that of the JSON if there is none; at:
 * behind the opening one. *nul becomes true if the text has the escape of NUL; nul may be NULL. */
const char *zi_json_skip_text(const char *at, bool *nul);

/* Whether a text in valid JSON has the escape \u0000. name: the name of the member that it is in,
 * or of the nearest one before it, with its escapes as they are, cut to whole characters in size -
 * 1 bytes; "the text" if there is none. */
bool zi_json_find_nul(const char *json, char *name, size_t size);

#endif
