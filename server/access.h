/* Access control: API key and login cookie, Host and Origin headers. */
#ifndef ZI_SERVER_ACCESS_H
#define ZI_SERVER_ACCESS_H

#include "server/server.h"

typedef struct zi_access zi_access;

/* Fails when options listen on an address that other machines can reach, without an API key and
 * without `insecure`. Keeps options->key without copying it. */
bool zi_access_create(const zi_server_options *options, zi_access **out,
                      zi_error *error) ZI_CHECKED;
void zi_access_free(zi_access *access);

/* The request headers that access control reads; NULL: not sent. */
typedef struct {
    const char *host, *origin, *site; /* site: Sec-Fetch-Site */
    const char *key, *authorization;  /* X-API-Key, Authorization */
    const char *cookie;               /* the cookie named "zimage" */
} zi_access_headers;

/* Whether the Host header names this server. If not, another name may have been made to resolve to
 * it (DNS rebinding). A request with the API key in a header passes with any Host, since a page of
 * another site does not know the key. */
bool zi_access_host_allowed(const zi_access *access, const zi_access_headers *headers);

/* Whether the request does not come from a page of another site, by Origin or Sec-Fetch-Site. */
bool zi_access_origin_allowed(const zi_access_headers *headers);

/* Whether the request has the API key, as X-API-Key, bearer token or basic password, or the login
 * cookie; true when the server has no key. */
bool zi_access_authenticated(const zi_access *access, const zi_access_headers *headers);

/* Whether the server has an API key. */
bool zi_access_needs_key(const zi_access *access);

/* The value of the login cookie if key is the API key, or if there is none; NULL: the key is wrong.
 * Borrowed from access. */
const char *zi_access_login(const zi_access *access, const char *key);

#endif
