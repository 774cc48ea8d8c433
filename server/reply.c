/* Replies, access to requests, and suspension of handlers. */
#include "server/http.h"
#include "server/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading requests ---- */

const char *zi_server_request_header(zi_server_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

int zi_server_request_logged_bytes(const zi_server_request *req)
{
    /* Also where a proxy or a client has added something before the path of the API. */
    static const char before[] = "/link/";
    const char *link = strstr(req->url, before);
    return (int)(link ? (size_t)(link - req->url) + strlen(before) : strlen(req->url));
}

bool zi_server_request_query(zi_server_request *req, const char *name, const char **out,
                             zi_handler_result *result)
{
    const char *value = MHD_lookup_connection_value(req->connection, MHD_GET_ARGUMENT_KIND, name);
    if (value && !zi_utf8_valid(value, strlen(value))) {
        *result = zi_reply_error(req, 400, name,
                                 "the query parameter %s is not valid UTF-8; encode it as UTF-8 "
                                 "before it is percent-encoded",
                                 name);
        return false;
    }
    *out = value;
    return true;
}

bool zi_server_request_query_int(zi_server_request *req, const char *name, int min, int max,
                                 int fallback, int *out, zi_handler_result *result)
{
    const char *text;
    if (!zi_server_request_query(req, name, &text, result)) return false;
    *out = fallback;
    if (!text) return true;
    size_t length = strlen(text);
    long value =
        length && length < 10 && strspn(text, "0123456789") == length ? strtol(text, NULL, 10) : -1;
    if (value < min || value > max) {
        *result = zi_reply_error(req, 400, name, "%s '%s' is not a whole number from %d to %d",
                                 name, text, min, max);
        return false;
    }
    *out = (int)value;
    return true;
}

/* ---- replying ---- */

/* Headers of every response. The policy allows scripts, styles, images and connections of this
 * server alone. */
static const char *const common_headers[][2] = {
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Permissions-Policy", "camera=(), microphone=(), geolocation=()"},
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
     "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action "
     "'none'; frame-ancestors 'none'"},
};

/* Adds what decides which pages may read the response: those of req->cors_origin, or else the
 * server's own alone. */
static void add_origin_headers(const zi_server_request *req, struct MHD_Response *response)
{
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy",
                            req->link ? "cross-origin" : "same-origin");
    if (zi_access_has_origins(req->server->access) && !req->link)
        MHD_add_response_header(response, "Vary", "Origin");
    if (!req->cors_origin) return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", req->cors_origin);
    MHD_add_response_header(response, "Access-Control-Expose-Headers",
                            "Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After");
}

zi_handler_result zi_reply(zi_server_request *req, unsigned status, struct MHD_Response *response)
{
    char seconds[16];
    if (!response) return MHD_NO;
    for (size_t i = 0; i < sizeof common_headers / sizeof *common_headers; i++)
        MHD_add_response_header(response, common_headers[i][0], common_headers[i][1]);
    add_origin_headers(req, response);
    if (!MHD_get_response_header(response, "Cache-Control"))
        MHD_add_response_header(response, "Cache-Control", "no-store");
    snprintf(seconds, sizeof seconds, "%u", req->retry_after ? req->retry_after : 5);
    if (status == 429) MHD_add_response_header(response, "Retry-After", seconds);
    if (status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status >= 500) atomic_fetch_add(&req->server->failures, 1);
    zi_handler_result result = MHD_queue_response(req->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

void zi_add_headers(struct MHD_Response *response, const char *type, const char *const *headers)
{
    MHD_add_response_header(response, "Content-Type", type);
    for (; headers && headers[0]; headers += 2)
        MHD_add_response_header(response, headers[0], headers[1]);
}

zi_handler_result zi_reply_bytes(zi_server_request *req, unsigned status, const char *type,
                                 void *data, size_t size, const char *const *headers)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, data, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(data);
        return MHD_NO;
    }
    zi_add_headers(response, type, headers);
    return zi_reply(req, status, response);
}

zi_handler_result zi_reply_json(zi_server_request *req, unsigned status, cJSON *json)
{
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    if (!text) return MHD_NO; /* out of memory: close the connection */
    return zi_reply_bytes(req, status, "application/json", text, strlen(text), NULL);
}

cJSON *zi_error_json(unsigned status, const char *message, const char *field)
{
    (void)status;
    cJSON *object = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(object, "error");
    cJSON_AddStringToObject(error, "message", message);
    zi_json_add_text(error, "field", field);
    return object;
}

zi_handler_result zi_reply_error(zi_server_request *req, unsigned status, const char *field,
                                 const char *format, ...)
{
    char raw[1024];
    va_list args;
    zi_text text;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    zi_text_init(&text, 1 << 14);
    zi_text_puts(&text, "");
    zi_escape_line(raw, &text);
    if (status >= 500)
        zi_log_line(req->server->log, ZI_LOG_ERROR, "%s %.*s: %s", req->method,
                    zi_server_request_logged_bytes(req), req->url, raw);
    zi_handler_result result =
        text.failed ? MHD_NO
                    : zi_reply_json(req, status, req->api->error(status, text.data, field));
    zi_text_free(&text);
    return result;
}

zi_handler_result zi_reply_http_error(zi_server_request *req, const zi_http_error *http_error)
{
    return zi_reply_error(req, http_error->status, http_error->field[0] ? http_error->field : NULL,
                          "%s", http_error->text);
}

zi_handler_result zi_reply_library_error(zi_server_request *req, unsigned status,
                                         const zi_error *error)
{
    zi_http_error http_error;
    zi_http_error_from(&http_error, NULL, NULL, error);
    http_error.status = status;
    return zi_reply_http_error(req, &http_error);
}

zi_handler_result zi_reply_nothing(zi_server_request *req)
{
    return zi_reply(req, MHD_HTTP_NO_CONTENT,
                    MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

/* ---- suspending ---- */

bool zi_server_request_may_wait(const zi_server_request *req)
{
    static const double seconds = 2;
    zi_scanner_wake(req->server->scanner);
    return zi_monotonic_seconds() - req->began < seconds;
}

zi_handler_result zi_server_request_wait(zi_server_request *req, uint64_t cursor)
{
    req->waiter.connection = req->connection;
    req->waiter.job = req->job;
    /* The client has disconnected: close the connection, which also frees the request. */
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(req->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info && zi_socket_peer_closed(info->connect_fd)) return MHD_NO;
    /* When there is an event already, suspend and resume, so that the handler is called again at
     * once. */
    if (!zi_waiter_suspend(req->server->events, &req->waiter, cursor)) {
        if (zi_events_closed(req->server->events)) return MHD_NO;
        MHD_suspend_connection(req->connection);
        MHD_resume_connection(req->connection);
    }
    return MHD_YES;
}
