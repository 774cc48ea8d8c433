/* Who may ask: addresses, keys, Host and Origin. */
#ifndef ZI_SERVER_GUARD_H
#define ZI_SERVER_GUARD_H

#include "server/server.h"

typedef struct zi_guard zi_guard;

/* Refuses to listen beyond this machine without a key, unless that is wished for. */
bool zi_guard_create(const zi_server_options *options, zi_guard **out, zi_error *error) ZI_CHECKED;
void zi_guard_free(zi_guard *guard);

/* What a request says about itself; NULL: nothing. */
typedef struct {
    const char *host, *origin, *site; /* site: Sec-Fetch-Site */
    const char *key, *authorization;  /* X-API-Key, Authorization */
    const char *cookie;               /* the one called zimage */
} zi_claim;

/* Host names this server: otherwise a foreign name was made to point here (DNS rebinding). A client
 * that shows the key itself may call it what it likes: a foreign page has no key. */
bool zi_guard_host(const zi_guard *guard, const zi_claim *claim);

/* The request comes from no other site's page. */
bool zi_guard_origin(const zi_claim *claim);

/* The right key was shown, as a header or a cookie, or none is needed. */
bool zi_guard_key(const zi_guard *guard, const zi_claim *claim);

bool zi_guard_needs_key(const zi_guard *guard);

/* The cookie's value for one who has the key; NULL: it is the wrong one. */
const char *zi_guard_login(const zi_guard *guard, const char *key);

#endif
