/* The socket that the server listens on. */
#ifndef ZI_SERVER_LISTEN_H
#define ZI_SERVER_LISTEN_H

#include "base/error.h"

/* host NULL: 127.0.0.1. address becomes "http://HOST:PORT", with the port that was taken. */
bool zi_listen(const char *host, int port, int *out, char *address, size_t size,
               zi_error *error) ZI_CHECKED;

#endif
