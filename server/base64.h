/* Base64 (RFC 4648). */
#ifndef ZI_SERVER_BASE64_H
#define ZI_SERVER_BASE64_H

#include <stddef.h>

/* Encodes in the standard alphabet with padding and without line breaks; "" for size 0. Returns a
 * new NUL-terminated string to free(), or NULL when out of memory. */
char *zi_base64_encode(const void *data, size_t size);

/* Decodes the standard or the URL-safe alphabet, even mixed, with or without padding; blanks, tabs
 * and line breaks are ignored. Returns new memory to free(), with a NUL after *size bytes, 0 of
 * them for "". NULL: not valid base64, or out of memory; *size is then unchanged. */
void *zi_base64_decode(const char *text, size_t *size);

#endif
