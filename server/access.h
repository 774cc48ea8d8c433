/* Access control: API key and login cookie, Host and Origin headers, trusted proxies. */
#ifndef ZI_SERVER_ACCESS_H
#define ZI_SERVER_ACCESS_H

#include "server/proxy.h"
#include "server/server.h"

enum { ZI_ACCESS_KEY_MAX = 500 }; /* bytes of the longest API key, which is UTF-8 and not "" */

typedef struct zi_access zi_access;

/* Creates *out, with a random login cookie; free it with zi_access_free. Keeps the strings of
 * *options without copying them. False: *error is set, *out unchanged. ZI_ERROR_INVALID_ARGUMENT:
 * the key is bad, or there is none, not `insecure`, and other machines can reach options->host or
 * all origins or hosts are allowed; or an item of a list or public_url is malformed. */
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

/* Whether a header (X-API-Key; Authorization with Bearer or Basic, where the password is the key)
 * has the API key; a wrong one is recorded. Do not call it for requests that need no key. *wait: 0,
 * or the seconds until a key from this address is checked again: too many were wrong, so that
 * those of this request were not checked. */
bool zi_access_check_key(const zi_access *access, const zi_access_headers *headers,
                         const zi_ip *from, unsigned *wait);

/* Whether Host names this server (another name may be DNS rebinding): "localhost" or a literal IP
 * address; if it listens on loopback alone, only a loopback one, else also options.host or the
 * machine's name; one of options.allow_hosts, or that of public_url. Ignores the port, letter case
 * and a final ".local". False without Host. */
bool zi_access_host_allowed(const zi_access *access, const zi_access_headers *headers);

/* Whether text is a Host header that has the form of one, "name", "name:port" or "[address]:port",
 * of at most 255 characters. */
bool zi_host_valid(const char *text);

/* Whether text is SCHEME://HOST[:PORT], HOST[:PORT] as in zi_host_valid; one slash may follow. */
bool zi_origin_valid(const char *text);

typedef enum {
    ZI_ORIGIN_OTHER,  /* a page of another site, which may not use the API */
    ZI_ORIGIN_OWN,    /* the server's own page, or no page */
    ZI_ORIGIN_ALLOWED /* a page of another site that options.allow_origins has */
} zi_origin_state;

/* Returns whether the request comes from this server's page, an allowed origin or another site.
 * Own: Origin without its scheme equals Host, ignoring case, or the whole is that of public_url; or
 * without Origin, Sec-Fetch-Site is "same-origin", "none" or not sent. */
zi_origin_state zi_access_origin(const zi_access *access, const zi_access_headers *headers);

/* The value of Access-Control-Allow-Origin for an allowed origin: "*" if all are, else the origin
 * itself. */
const char *zi_access_cors_origin(const zi_access *access, const char *origin);

/* Whether options.allow_origins has any, so that replies depend on the origin. */
bool zi_access_has_origins(const zi_access *access);

/* Whether the request has the login cookie, or the server has no API key. */
bool zi_access_logged_in(const zi_access *access, const zi_access_headers *headers);

/* Whether the server has an API key. */
bool zi_access_needs_key(const zi_access *access);

/* The value of the login cookie if key (not NULL) is the API key, or if the server has none; NULL:
 * the key is wrong, which is recorded, or with *wait above 0 was not checked, as in
 * zi_access_check_key. Borrowed from access. */
const char *zi_access_login(const zi_access *access, const char *key, const zi_ip *from,
                            unsigned *wait);

/* The addresses of options.trusted_proxies; *count may be 0. Borrowed. */
const zi_ip_range *zi_access_proxies(const zi_access *access, size_t *count);

/* options.public_url without slashes at its end; NULL: none. Borrowed. */
const char *zi_access_public_url(const zi_access *access);

#endif
