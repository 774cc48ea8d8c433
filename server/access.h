/* Who may ask: addresses, keys, Host and Origin. */
#ifndef ZI_SERVER_ACCESS_H
#define ZI_SERVER_ACCESS_H

#include "server/server.h"

typedef struct zi_access zi_access;

/* Refuses to listen beyond this machine without a key, unless that is wished for. */
bool zi_access_create(const zi_server_options *options, zi_access **out,
                      zi_error *error) ZI_CHECKED;
void zi_access_free(zi_access *access);

/* What a request says about itself; NULL: nothing. */
typedef struct {
    const char *host, *origin, *site; /* site: Sec-Fetch-Site */
    const char *key, *authorization;  /* X-API-Key, Authorization */
    const char *cookie;               /* the one called zimage */
} zi_access_headers;

/* Host names this server: otherwise a foreign name was made to point here (DNS rebinding). A client
 * that shows the key itself may call it what it likes: a foreign page has no key. */
bool zi_access_host_allowed(const zi_access *access, const zi_access_headers *headers);

/* The request comes from no other site's page. */
bool zi_access_origin_allowed(const zi_access_headers *headers);

/* The right key was shown, as a header or a cookie, or none is needed. */
bool zi_access_authenticated(const zi_access *access, const zi_access_headers *headers);

bool zi_access_needs_key(const zi_access *access);

/* The cookie's value for one who has the key; NULL: it is the wrong one. */
const char *zi_access_login(const zi_access *access, const char *key);

#endif
