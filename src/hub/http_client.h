/* HTTP client for a hub, on libcurl: URL origins, headers and the access token, redirects, retries,
 * and errors in words. A hub is untrusted: every redirect is checked before it is followed. */
#ifndef ZI_HUB_HTTP_CLIENT_H
#define ZI_HUB_HTTP_CLIENT_H

#include "zimage_models.h"
#include "base/error.h"

#include <curl/curl.h>

struct sockaddr;

/* Limits per request: redirects followed in a row, and attempts without progress. */
enum { ZI_MAX_REDIRECTS = 5, ZI_MAX_ATTEMPTS = 5 };

/* ---- origins and addresses ---- */

/* The origin of a URL (RFC 6454). */
typedef struct {
    char *scheme, *host,
        *port; /* port: always a number, the scheme's default if the URL has none */
} zi_url_origin;

/* Parses the origin of an http or https URL. Other schemes, a missing host and a user name in the
 * URL are errors (ZI_ERROR_NETWORK). Free *out with zi_url_origin_free; on failure it is empty. */
bool zi_url_origin_parse(const char *url, zi_url_origin *out, zi_error *error) ZI_CHECKED;

/* Frees the strings and zeroes *origin. A zeroed one is allowed, NULL is not. */
void zi_url_origin_free(zi_url_origin *origin);

/* Whether scheme, host (ignoring case) and port are equal. Both must have been parsed. */
bool zi_url_origin_equal(const zi_url_origin *a, const zi_url_origin *b);

/* Whether a socket address is not globally reachable: loopback, private, link-local, multicast,
 * reserved, an IPv6 form of such an IPv4 address, or of a family other than IPv4 and IPv6. */
bool zi_sockaddr_is_private(const struct sockaddr *address);

/* Whether a host, as in zi_url_origin, is localhost, ends in ".localhost", or is the literal of an
 * address that is not globally reachable ("10.0.0.1", "[::1]"); malformed brackets count, too.
 * Makes no DNS query: any other name or spelling is not private here. Connecting, without a proxy,
 * checks the address itself. */
bool zi_host_is_private(const char *host);

/* ---- client ---- */

/* What the requests to one hub share. One thread uses it at a time. */
typedef struct {
    const zi_hub *hub; /* borrowed */
    char *endpoint;    /* base URL without a trailing slash */
    zi_url_origin origin;
    bool endpoint_is_private; /* its host is, or has resolved to, a private address */
    const char *revision;     /* borrowed; that of the repository, for errors; NULL: not known */
    struct curl_slist *auth_headers, *plain_headers; /* request headers with and without token */
    bool (*should_continue)(void *user); /* NULL, or polled while waiting: false cancels */
    void *user;
} zi_http_client;

/* Initializes the client for a hub, which must outlive it (endpoint NULL: https://huggingface.co).
 * Sends nothing. A malformed endpoint (it may be http) or token is ZI_ERROR_NETWORK. Close it with
 * zi_http_client_close; after a failure it must not be closed, and its endpoint is NULL. */
bool zi_http_client_open(zi_http_client *client, const zi_hub *hub, zi_error *error) ZI_CHECKED;

/* Frees what the client (not NULL) has, zeroes it and releases libcurl. Call it once for each
 * successful open, after zi_http_request_cleanup of all its requests. */
void zi_http_client_close(zi_http_client *client);

/* Fetches the body of url, at most max bytes, to *out with a closing NUL (the caller frees it; of
 * no use after false); blocks, follows redirects, retries transient failures (ZI_MAX_ATTEMPTS).
 * Errors have repo as subject and call url `what`. *reached (set also after false) is whether any
 * response had a status below 500 other than 429. */
bool zi_http_get_text(zi_http_client *client, const char *url, const char *repo, const char *what,
                      size_t max, char **out, bool *reached, zi_error *error) ZI_CHECKED;

/* ---- one request ---- */

/* Response headers of interest; "" when absent, truncated when too long. Each new response (a
 * status line) clears them. */
typedef struct {
    char content_range[96], etag[160], linked_etag[160], commit[64];
    char error_code[48], error_message[200];
} zi_http_response_headers;

/* A curl easy handle that is used for one request after the other. It must not be moved, because
 * curl's callbacks point to it. */
typedef struct {
    zi_http_client *client;
    CURL *easy;
    bool to_endpoint;             /* the current URL has the endpoint's origin */
    bool private_address_blocked; /* open_socket has refused a connection */
    zi_http_response_headers headers;
    char host[200], error_text[CURL_ERROR_SIZE];
} zi_http_request;

/* Creates the easy handle and sets the options that all requests share. The caller sets the write
 * callback, and frees *request with zi_http_request_cleanup. client must outlive it. False: memory
 * is short; there is nothing to free then. */
bool zi_http_request_init(zi_http_client *client, zi_http_request *request,
                          zi_error *error) ZI_CHECKED;

/* Frees the easy handle, which must be in no multi handle, and zeroes *request. A zeroed one is
 * allowed, NULL is not; the client stays open. */
void zi_http_request_cleanup(zi_http_request *request);

/* Sets the URL (copied) of the next transfer and its headers, with the token for the endpoint's
 * origin alone; clears the last response's. ZI_ERROR_NETWORK: zi_url_origin_parse refuses the URL
 * (nothing is set then); http, unless the endpoint is http; a private host (zi_host_is_private),
 * unless it is the endpoint's or that is private. Do not send after a failure. */
bool zi_http_request_set_url(zi_http_request *request, const char *url, zi_error *error) ZI_CHECKED;

/* Returns the HTTP status of the last response; 0: there was none. */
long zi_http_request_status(const zi_http_request *request);

/* Returns the absolute URL of the last response's Location header, in new memory, to be freed by
 * the caller. NULL (with ZI_ERROR_NETWORK) if there is none or memory is short. Sends nothing and
 * does not check it. */
char *zi_http_request_redirect_url(const zi_http_request *request, zi_error *error);

/* Fills *error, if it is not NULL, for a curl code other than CURLE_OK, and returns false. An
 * aborted progress callback (by should_continue) is ZI_ERROR_CANCELLED, all others are
 * ZI_ERROR_NETWORK with the host of the request's URL as subject. */
bool zi_http_request_transport_error(const zi_http_request *request, CURLcode code,
                                     zi_error *error);

/* Whether a retry may succeed after this curl code (a broken connection, a timeout). False for
 * CURLE_OK, for what a callback aborted, and for a connection that was refused because the address
 * is private. */
bool zi_http_request_is_retryable(const zi_http_request *request, CURLcode code);

/* Fills error for a response whose status is no success, and returns false: ZI_ERROR_NETWORK, but
 * ZI_ERROR_NOT_FOUND if the endpoint (by 401, 403 or 404) has no such repository or revision or
 * refuses the token; a gated repository is ZI_ERROR_NETWORK. repo is the error's subject; `what`
 * names in the text what was requested. */
bool zi_http_request_status_error(const zi_http_request *request, const char *repo,
                                  const char *what, zi_error *error);

/* Returns seconds to wait before the next attempt, after `attempts` (from 0) earlier retries: the
 * server's Retry-After (seconds above 0, or a date) if it sent one, else 0.25 s, doubled for each
 * earlier retry. Negative: Retry-After is more than 5 minutes, so give up. Does not wait. */
double zi_http_request_retry_delay(const zi_http_request *request, int attempts);

#endif
