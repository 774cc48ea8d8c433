#include "server/deny.h"
#include "server/log.h"

#include <stdio.h>
#include <string.h>

/* The headers that access control reads, borrowed from the request; NULL: not sent. */
static zi_access_headers read_access_headers(zi_server_request *req)
{
    return (zi_access_headers){
        .host = req->host,
        .origin = zi_server_request_header(req, "Origin"),
        .site = zi_server_request_header(req, "Sec-Fetch-Site"),
        .key = zi_server_request_header(req, "X-API-Key"),
        .authorization = zi_server_request_header(req, "Authorization"),
        .cookie = MHD_lookup_connection_value(req->connection, MHD_COOKIE_KIND, "zimage")};
}

/* Counts a request without access in server->rejected, logs it and replies with the error. */
static zi_handler_result reply_denied(zi_server_request *req, unsigned status, const char *why)
{
    char address[ZI_IP_TEXT];
    atomic_fetch_add(&req->server->rejected, 1);
    zi_log_rate_limited(req->server->log, "rejected %s %.*s from %s: %s", req->method,
                        zi_server_request_logged_bytes(req), req->url,
                        zi_ip_print(&req->address, address), why);
    return zi_reply_error(req, status, NULL, "%s", why);
}

/* Writes why a Host header is refused, with the option that allows it, to why. */
static void describe_host(const char *host, char *why, size_t size)
{
    bool valid = host && zi_host_valid(host);
    int length = !valid ? 0 : *host == '[' ? (int)strlen(host) : (int)strcspn(host, ":");
    snprintf(why, size,
             "the Host header%s%s does not name this server; use the URL that it printed at "
             "startup, or start it with `zimage serve --allow-host %.*s`",
             valid ? " " : "", valid ? host : "", valid ? length : 4, valid ? host : "NAME");
}

/* Writes why a request of another site's page is refused, with the option that allows it, to why.
 * origin: NULL if the browser did not say which. */
static void describe_origin(const char *origin, char *why, size_t size)
{
    bool valid = origin && zi_origin_valid(origin);
    snprintf(why, size,
             "the request comes from a web page of another site%s%s, which may not use this "
             "server; use the server's own page or a program outside of the browser, or start the "
             "server with `zimage serve --allow-origin %s`",
             valid ? ", " : "", valid ? origin : "", valid ? origin : "ORIGIN");
}

bool zi_server_request_deny(zi_server_request *req, bool asset, bool keyless,
                            zi_handler_result *result)
{
    const zi_access *access = req->server->access;
    zi_access_headers headers = read_access_headers(req);
    char why[800];
    unsigned status = 403;
    zi_origin_state origin = zi_access_origin(access, &headers);
    bool foreign = !asset && origin == ZI_ORIGIN_OTHER;
    /* Browsers send no key with it; the request that comes after it has one. */
    bool preflight = origin == ZI_ORIGIN_ALLOWED && !strcmp(req->method, "OPTIONS");
    bool host = preflight || zi_access_host_allowed(access, &headers);
    bool in = keyless || zi_access_logged_in(access, &headers), right = false;
    /* A key that the answer does not depend on is not looked at, and so no guess. */
    if (!foreign && !(host && in))
        right = zi_access_check_key(access, &headers, &req->address, &req->retry_after);
    if (origin == ZI_ORIGIN_ALLOWED)
        req->cors_origin = zi_access_cors_origin(access, headers.origin);
    if (foreign)
        describe_origin(headers.origin, why, sizeof why);
    else if (req->retry_after)
        status = 429, snprintf(why, sizeof why, ZI_TOO_MANY_KEYS, req->retry_after);
    else if (!host && !right)
        describe_host(headers.host, why, sizeof why);
    else if (!in && !right)
        status = 401, snprintf(why, sizeof why,
                               "the API key is missing or wrong; send it in the header X-API-Key, "
                               "or as a bearer token");
    else
        return false;
    *result = reply_denied(req, status, why);
    return true;
}
