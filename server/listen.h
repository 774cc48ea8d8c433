/* Opens the listening socket of the server. */
#ifndef ZI_SERVER_LISTEN_H
#define ZI_SERVER_LISTEN_H

#include "base/error.h"

/* Binds to the first address of host that works, and listens. host: address or name, NULL for
 * 127.0.0.1; port 0: any free one. *out: the non-blocking socket, which the caller closes. Writes
 * "http://HOST:PORT" (IPv6: [HOST]), cut to size - 1 bytes, to url; if host means all addresses
 * (0.0.0.0, ::), HOST is that by which other machines reach this one, as far as it has one. False:
 * *error is set, with subject "host" or "port" (in use: ZI_ERROR_EXISTS); *out and url are
 * unchanged. */
bool zi_listen(const char *host, int port, int *out, char *url, size_t size,
               zi_error *error) ZI_CHECKED;

#endif
