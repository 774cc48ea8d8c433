/* Access control: API key and login cookie, Host and Origin headers. */
#ifndef ZI_SERVER_ACCESS_H
#define ZI_SERVER_ACCESS_H

#include "server/server.h"

enum { ZI_ACCESS_KEY_MAX = 500 }; /* bytes of the longest API key */

typedef struct zi_access zi_access;

/* Creates *out, with a random login cookie; free it with zi_access_free. Keeps options->key without
 * copying it. False: *error is set, *out unchanged. ZI_ERROR_INVALID_ARGUMENT: the key is "",
 * longer than ZI_ACCESS_KEY_MAX or not UTF-8, or there is none, not `insecure`, and other machines
 * can reach options->host. */
bool zi_access_create(const zi_server_options *options, zi_access **out,
                      zi_error *error) ZI_CHECKED;

/* Frees the access control; the API key stays the caller's. NULL is allowed. */
void zi_access_free(zi_access *access);

/* The request headers that access control reads; NULL: not sent. */
typedef struct {
    const char *host, *origin, *site; /* site: Sec-Fetch-Site */
    const char *key, *authorization;  /* X-API-Key, Authorization */
    const char *cookie;               /* the cookie named "zimage" */
} zi_access_headers;

/* Whether Host names this server (another name may be DNS rebinding): "localhost" or a literal IP
 * address; if it listens on loopback alone, only a loopback one, else also options.host or the
 * machine's name. Ignores the port, letter case and a final ".local". False without Host; with the
 * right API key in a header, any Host or none passes. */
bool zi_access_host_allowed(const zi_access *access, const zi_access_headers *headers);

/* Whether the request does not come from a page of another site: Origin without its scheme equals
 * Host, ignoring case; or without Origin, Sec-Fetch-Site is "same-origin", "none" or not sent.
 * False for Origin "null" or an Origin without Host. */
bool zi_access_origin_allowed(const zi_access_headers *headers);

/* Whether the request has the API key, as X-API-Key, bearer token or basic password, or the login
 * cookie; true when the server has no key. */
bool zi_access_authenticated(const zi_access *access, const zi_access_headers *headers);

/* Whether the server has an API key. */
bool zi_access_needs_key(const zi_access *access);

/* The value of the login cookie if key (not NULL) is the API key, or if the server has none; NULL:
 * the key is wrong. Borrowed from access. */
const char *zi_access_login(const zi_access *access, const char *key);

#endif
