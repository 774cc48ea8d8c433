/* Checks whether a request has access, by its headers. */
#ifndef ZI_SERVER_DENY_H
#define ZI_SERVER_DENY_H

#include "server/http.h"

/* Replies 403 (Origin, Host), 401 (API key) or 429 (a key that is needed is not looked at, after
 * too many wrong ones) to a request without access and returns true; *result is what the handler
 * returns. asset: of the web page, any Origin may load it; keyless: needs no API key. Host may be
 * any with the right key alone, also where no key is needed, and with OPTIONS of an allowed origin.
 */
bool zi_server_request_deny(zi_server_request *req, bool asset, bool keyless,
                            zi_handler_result *result);

#endif
