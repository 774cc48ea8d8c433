/* Bytes as text. */
#ifndef ZI_SERVER_BASE64_H
#define ZI_SERVER_BASE64_H

#include <stddef.h>

/* In new memory; NULL when it is short. */
char *zi_base64(const void *data, size_t size);

#endif
