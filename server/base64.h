/* Bytes as text. */
#ifndef ZI_SERVER_BASE64_H
#define ZI_SERVER_BASE64_H

#include <stddef.h>

/* In new memory; NULL when it is short. */
char *zi_base64_encode(const void *data, size_t size);

/* Back, in new memory with a closing NUL; blanks and line ends are passed over. NULL: it is not
 * base64, or memory is short. */
void *zi_base64_decode(const char *text, size_t *size);

#endif
