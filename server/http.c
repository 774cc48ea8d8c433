/* The HTTP server: takes a request from libmicrohttpd to its handler. */
#include "server/http.h"
#include "server/deny.h"
#include "server/json.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/range.h"
#include "server/route.h"

#include "base/file.h"
#include "base/json_nul.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    THREADS = 4,
    HEADER_BYTES = 16 << 10,
    IDLE_SECONDS = 30, /* without receiving a byte */
    MAX_DISCARDED =
        16 << 20 /* bytes read of a body that is too large before the connection is closed */
};

/* ---- files of the web page ---- */

/* Whether the parameters of an item of Accept-Encoding, such as " ; q=0.5", do not say q=0. They
 * end at a comma. */
static bool has_quality(const char *parameters)
{
    const char *at = parameters + strspn(parameters, "; \t");
    if (strncasecmp(at, "q=", 2) != 0) return true;
    at += 2;
    at += strspn(at, "0.");
    return *at >= '1' && *at <= '9';
}

/* Whether Accept-Encoding, if it was sent, allows the coding: names it, in any letter case, or else
 * "*", without q=0. The first item that names the coding decides. */
static bool accepts_coding(zi_server_request *req, const char *coding)
{
    const char *at = zi_server_request_header(req, "Accept-Encoding");
    bool any = false;
    while (at && *(at += strspn(at, ", \t"))) {
        size_t length = strcspn(at, ",; \t");
        if (length == strlen(coding) && !strncasecmp(at, coding, length))
            return has_quality(at + length);
        if (length == 1 && *at == '*') any = has_quality(at + length);
        at += strcspn(at, ",");
    }
    return any;
}

/* Replies with a file of the page: compressed if accepted, or 304 if If-None-Match names it.
 * The data is borrowed from asset. */
static zi_handler_result reply_asset(zi_server_request *req, const zi_asset *asset)
{
    const char *coding = NULL;
    char *data = asset->plain;
    size_t size = asset->plain_size;
    bool same = zi_etag_known(req, asset->etag);
    if (asset->gzip && accepts_coding(req, "gzip")) {
        data = asset->gzip, size = asset->gzip_size, coding = "gzip";
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(same ? 0 : size, data, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "ETag", asset->etag);
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "Vary", "Accept-Encoding");
    MHD_add_response_header(response, "Content-Type", asset->type);
    if (coding && !same) MHD_add_response_header(response, "Content-Encoding", coding);
    return zi_reply(req, same ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, response);
}

/* The file of the web page at the request's path, borrowed; NULL: none. */
static const zi_asset *find_asset(const zi_server_request *req)
{
    for (const zi_asset *asset = req->server->assets; asset->path; asset++)
        if (!strcmp(asset->path, req->url)) return asset;
    return NULL;
}

/* ---- checks of the request's headers ---- */

/* Replies 404 for a path that does not exist; names the path that may be meant. */
static zi_handler_result reply_no_path(zi_server_request *req)
{
    char other[200];
    if (zi_route_suggest(req->url, other, sizeof other))
        return zi_reply_error(req, 404, NULL,
                              "%.300s: no such path; use %s, or see GET /api/openapi.json, which "
                              "describes the API",
                              req->url, other);
    return zi_reply_error(
        req, 404, NULL, "%.300s: no such path; GET /api/openapi.json describes the API", req->url);
}

/* Whether text is a list of header names. */
static bool is_header_list(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ";
    return *text && strlen(text) < 1000 && !text[strspn(text, allowed)];
}

/* Adds what browsers ask for before they send a request of another site's page: that this page may
 * use the methods, and the headers that it asked for. Nothing if the page may not. */
static void add_preflight_headers(zi_server_request *req, struct MHD_Response *response,
                                  const char *methods)
{
    const char *asked = zi_server_request_header(req, "Access-Control-Request-Headers");
    if (!req->cors_origin) return;
    MHD_add_response_header(response, "Access-Control-Allow-Methods", methods);
    if (asked && is_header_list(asked))
        MHD_add_response_header(response, "Access-Control-Allow-Headers", asked);
    if (zi_server_request_header(req, "Access-Control-Request-Private-Network"))
        MHD_add_response_header(response, "Access-Control-Allow-Private-Network", "true");
    MHD_add_response_header(response, "Access-Control-Max-Age", "600");
}

/* Replies 204 to OPTIONS, with the methods in `allowed` and those that come with them. */
static zi_handler_result reply_options(zi_server_request *req, const char *allowed)
{
    char methods[120];
    bool get = !strncmp(allowed, "GET", 3) || strstr(allowed, " GET");
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    snprintf(methods, sizeof methods, "%s%s, OPTIONS", allowed, get ? ", HEAD" : "");
    MHD_add_response_header(response, "Allow", methods);
    add_preflight_headers(req, response, methods);
    return zi_reply(req, MHD_HTTP_NO_CONTENT, response);
}

/* Replies 404, or, when `allowed` lists other methods than that which was sent (""; none), 204 to
 * OPTIONS and else 405 with an Allow header. */
static zi_handler_result reply_not_found(zi_server_request *req, const char *allowed)
{
    if (!allowed[0]) return reply_no_path(req);
    if (!strcmp(req->method, "OPTIONS")) return reply_options(req, allowed);
    char message[200];
    snprintf(message, sizeof message,
             "this path does not take the method that was sent; it takes %s", allowed);
    cJSON *json = req->api->error(405, message, NULL);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (!text) return MHD_NO;
    const char *headers[] = {"Allow", allowed, NULL};
    return zi_reply_bytes(req, 405, "application/json", text, strlen(text), headers);
}

/* Whether Content-Type is application/json (letter case and parameters such as charset are
 * ignored). False if it is absent. */
static bool has_json_content_type(zi_server_request *req)
{
    const char *type = zi_server_request_header(req, "Content-Type");
    size_t length = type ? strcspn(type, "; ") : 0;
    return length == 16 && !strncasecmp(type, "application/json", 16);
}

/* Replies 413 (too large) or 415 (no JSON content type, where the route needs it) by the headers
 * alone and returns true. A route without body: a body of at most ZI_BODY_JSON bytes or of unknown
 * size is ignored (false), a larger one is 413. */
static bool reject_body_headers(zi_server_request *req, zi_handler_result *result)
{
    const char *length = zi_server_request_header(req, "Content-Length");
    const zi_route *route = req->route;
    bool chunked = zi_server_request_header(req, "Transfer-Encoding") != NULL;
    unsigned long long size = length ? strtoull(length, NULL, 10) : 0;
    if (!route->body && !(size || chunked)) return false;
    if (size > route->body || (!route->body && chunked)) {
        if (!route->body && size <= ZI_BODY_JSON) return false; /* read and ignored */
        *result = zi_reply_error(req, 413, NULL, "the body is too large; the maximum is %zu bytes",
                                 route->body);
        return true;
    }
    if ((route->flags & ZI_ROUTE_JSON) && !has_json_content_type(req)) {
        *result =
            zi_reply_error(req, 415, NULL,
                           "the body must be JSON, with the header Content-Type: application/json");
        return true;
    }
    return false;
}

/* Sends a file of the page, or 405 or OPTIONS' reply, as route_and_check_head describes it. */
static bool serve_asset(zi_server_request *req, const zi_asset *asset, zi_handler_result *result)
{
    bool reads = !strcmp(req->method, "GET") || !strcmp(req->method, "HEAD");
    bool body = zi_server_request_header(req, "Content-Length") ||
                zi_server_request_header(req, "Transfer-Encoding");
    /* A reply at this point closes the connection; the page has many files, so that its files
     * are sent from run_handler. */
    req->asset = reads && !body ? asset : NULL;
    if (!req->asset) *result = reads ? reply_asset(req, asset) : reply_not_found(req, "GET");
    return !req->asset;
}

/* Counts a request whose headers have arrived, sets req->api, and req->route or req->asset, and
 * checks access. True: it was answered at once without reading the body (with an error, to OPTIONS,
 * or with an asset if the request has a body), and on_request returns *result. */
static bool route_and_check_head(zi_server_request *req, zi_handler_result *result)
{
    char allowed[100];
    atomic_fetch_add(&req->server->requests, 1);
    zi_route_find(req, allowed, sizeof allowed);
    if (!zi_utf8_valid(req->url, strlen(req->url))) {
        *result = zi_reply_error(req, 400, NULL,
                                 "the path of the URL is not valid UTF-8; encode its characters as "
                                 "UTF-8 before they are percent-encoded");
        return true;
    }
    const zi_asset *asset = req->route ? NULL : find_asset(req);
    /* Before a page of another site sends a request with a key, browsers ask without it. */
    bool keyless = asset || !strcmp(req->method, "OPTIONS") ||
                   (req->route && req->route->flags & ZI_ROUTE_KEYLESS);
    if (req->link) /* the handler checks the token in it */
        req->cors_origin = "*";
    else if (zi_server_request_deny(req, asset != NULL, keyless, result))
        return true;
    if (asset) return serve_asset(req, asset, result);
    if (!req->route) {
        *result = reply_not_found(req, allowed);
        return true;
    }
    return reject_body_headers(req, result);
}

/* ---- the body ---- */

/* Closes and removes the temporary file of an uploaded body, if there is one. */
static void remove_upload(zi_server_request *req)
{
    if (req->upload) fclose(req->upload);
    if (req->upload_path) unlink(req->upload_path);
    free(req->upload_path);
    req->upload = NULL;
    req->upload_path = NULL;
}

/* Creates the temporary file for an uploaded body in the output folder: sets req->upload and
 * req->upload_path, both released with the request. False, without a reply: it cannot be created,
 * or out of memory; req->upload is NULL. */
static bool open_upload(zi_server_request *req)
{
    static atomic_uint number;
    char name[80];
    snprintf(name, sizeof name, ".upload.part-%ld-%u", (long)getpid(),
             atomic_fetch_add(&number, 1));
    req->upload_path = zi_path_join(req->server->options.output, name);
    int fd =
        req->upload_path ? open(req->upload_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    req->upload = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (fd >= 0 && !req->upload) close(fd);
    return req->upload != NULL;
}

/* Appends a piece to req->upload; after a failure, whose errno it stores, the rest is discarded,
 * since libmicrohttpd sends no reply before the body's end. */
static void store_upload(zi_server_request *req, const char *data, size_t size)
{
    if (req->upload_errno) return;
    errno = 0;
    if ((req->upload || open_upload(req)) && fwrite(data, 1, size, req->upload) == size) return;
    req->upload_errno = errno ? errno : EIO;
    remove_upload(req);
}

/* Replies 500, or 507 for a full disk, that the uploaded body could not be stored. */
static zi_handler_result reply_not_stored(zi_server_request *req)
{
    zi_http_error http_error;
    zi_http_error_not_stored(&http_error, req->upload_errno);
    return zi_reply_http_error(req, &http_error);
}

/* Appends a piece to req->body or, as store_upload does, to req->upload. A body over the route's
 * maximum is discarded from there on, and sets too_large; of a route without a body all is
 * discarded. False: close the connection, since more than 16 MiB were discarded, or memory is
 * short. */
static bool receive_body(zi_server_request *req, const char *data, size_t size)
{
    req->received += size;
    size_t max = req->route->body;
    if (req->received > max || !max) {
        req->too_large |= max != 0;
        return req->received <= max + MAX_DISCARDED;
    }
    if (req->route->flags & ZI_ROUTE_UPLOAD) {
        store_upload(req, data, size);
        return true;
    }
    zi_text_append(&req->body, data, size);
    return !req->body.failed;
}

/* Parses the body into req->json. When it is not a JSON object in valid UTF-8 without NUL bytes and
 * the escape \u0000 (an empty body is none), or out of memory, replies 400 and returns true;
 * *result is what the handler returns. */
static bool parse_or_reject_json(zi_server_request *req, zi_handler_result *result)
{
    const char *body = req->body.data ? req->body.data : "", *end = body, *why = NULL;
    char name[64] = "";
    if (!req->body.size)
        why = "the body is empty; send a JSON object";
    else if (!zi_utf8_valid(body, req->body.size))
        why = "the body is not valid UTF-8; send the JSON as UTF-8";
    else if (memchr(body, 0, req->body.size))
        why = "the body has a NUL byte, which JSON does not allow; send the JSON as UTF-8";
    else if ((req->json = zi_json_parse_exact(body, &end)) && !cJSON_IsObject(req->json))
        why = "the body is JSON, but not an object; send an object: {...}";
    else if (req->json && zi_json_find_nul(body, name, sizeof name))
        why = "has the character NUL (\\u0000), at which programs end a text; remove it";
    if (why && name[0]) {
        *result = zi_reply_error(req, 400, name, "%s: %s", name, why);
        return true;
    }
    if (why)
        *result = zi_reply_error(req, 400, NULL, "%s", why);
    else if (!req->json)
        *result = zi_reply_error(req, 400, NULL,
                                 "the body is not valid JSON: the first error is at byte %zu, "
                                 "counted from 0; check quotes, commas and brackets there",
                                 (size_t)(end - body));
    return why || !req->json;
}

/* ---- callbacks of libmicrohttpd ---- */

/* Called when the body is complete, and again after each suspension, if req->asset or req->route is
 * set. Replies with the asset, 413 for a body that was too large, 500 or 507 for one that could not
 * be stored, or 400 for invalid JSON; else calls the route's handler. */
static zi_handler_result run_handler(zi_server_request *req)
{
    zi_handler_result result;
    if (req->asset) {
        zi_connection_set_state(req->server->connections, req->peer, ZI_CONNECTION_RESPONSE);
        return reply_asset(req, req->asset);
    }
    if (req->too_large)
        return zi_reply_error(req, 413, NULL, "the body is too large; the maximum is %zu bytes",
                              req->route->body);
    if (req->upload_errno) return reply_not_stored(req);
    if (!req->started) {
        req->started = true;
        zi_connection_set_state(req->server->connections, req->peer, ZI_CONNECTION_RESPONSE);
        if ((req->route->flags & ZI_ROUTE_JSON) && parse_or_reject_json(req, &result))
            return result;
    }
    return req->route->handle(req);
}

/* A zeroed request with the server, connection, start time (zi_monotonic_seconds) and where it
 * comes from; NULL: out of memory. on_request_completed frees it. method is borrowed. */
static zi_server_request *create_request(zi_server *server, struct MHD_Connection *connection,
                                         const char *url, const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    zi_server_request *req = calloc(1, sizeof *req);
    if (req) req->url = zi_path_normalize(url);
    if (!req || !req->url) {
        free(req);
        return NULL;
    }
    req->server = server;
    req->began = zi_monotonic_seconds();
    req->connection = connection;
    req->method = method;
    req->peer = info ? info->socket_context : NULL;
    zi_text_init(&req->body, ZI_BODY_IMAGE);
    zi_server_request_read_client(req);
    return req;
}

/* MHD_AccessHandlerCallback; cls: the zi_server. Called when headers, parts of the body and the
 * end have arrived; the first call creates the request in *state. Consumes all data (*size becomes
 * 0). MHD_NO closes the connection. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    (void)version;
    zi_handler_result result;
    zi_server_request *req = *state;
    if (!req) {
        *state = req = create_request(cls, connection, url, method);
        if (!req) return MHD_NO;
        zi_connection_set_state(req->server->connections, req->peer, ZI_CONNECTION_BODY);
        if (route_and_check_head(req, &result)) return result;
        if (req->route && req->route->flags & ZI_ROUTE_UPLOAD)
            zi_connection_set_state(req->server->connections, req->peer, ZI_CONNECTION_UPLOAD);
        return MHD_YES;
    }
    if (*size) {
        bool should_continue = receive_body(req, data, *size);
        *size = 0;
        return should_continue ? MHD_YES : MHD_NO;
    }
    return run_handler(req);
}

/* MHD_RequestCompletedCallback: frees the request in *state with its temporary file, and takes it
 * off the waiters; cancels its job if req->cancel_job is set and the reply was not sent to its end
 * (the client disconnected, or the server stops). cls: the zi_server. *state may be NULL. */
static void on_request_completed(void *cls, struct MHD_Connection *connection, void **state,
                                 enum MHD_RequestTerminationCode code)
{
    (void)connection;
    zi_server *server = cls;
    zi_server_request *req = *state;
    if (!req) return;
    if (req->waiter.listed) zi_waiter_remove(server->events, &req->waiter);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && req->cancel_job && req->job)
        zi_jobs_cancel(server->jobs, req->job);
    zi_connection_set_state(server->connections, req->peer, ZI_CONNECTION_HEADERS);
    if (req->free_user) req->free_user(req->user);
    for (int i = 0; i < ZI_PATH_PARAMETERS; i++) free(req->parameters[i]);
    remove_upload(req);
    zi_text_free(&req->body);
    cJSON_Delete(req->json);
    free(req->url);
    free(req);
    *state = NULL;
}

/* MHD_NotifyConnectionCallback: registers a new connection's socket in server->connections, which
 * closes slow ones, or removes one that has ended. *state: its zi_connection; NULL: out of memory.
 * cls: the zi_server. */
static void on_connection_changed(void *cls, struct MHD_Connection *connection, void **state,
                                  enum MHD_ConnectionNotificationCode code)
{
    zi_server *server = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *state = info ? zi_connection_add(server->connections, info->connect_fd) : NULL;
    } else {
        zi_connection_remove(server->connections, *state);
        *state = NULL;
    }
}

/* MHD_LogCallback: logs the message's first line as a rate-limited warning. Ignores "Failed to
 * send", which means that the client disconnected. cls: the zi_server. */
static void on_log_message(void *cls, const char *format, va_list args)
{
    zi_server *server = cls;
    char text[500];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\r\n")] = 0;
    if (!strncmp(text, "Failed to send", 14)) return; /* the client disconnected */
    zi_log_rate_limited(server->log, "http: %s", text);
}

bool zi_http_start(zi_server *server, zi_error *error)
{
    int socket;
    if (!zi_listen(server->options.host, server->options.port, &socket, server->url,
                   sizeof server->url, error))
        return false;
    server->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log_message, server,
        MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
        MHD_OPTION_CONNECTION_LIMIT, zi_connections_limit(server->connections),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
        on_request_completed, server, MHD_OPTION_NOTIFY_CONNECTION, on_connection_changed, server,
        MHD_OPTION_END);
    if (server->daemon) return true;
    close(socket);
    return zi_error_set(error, ZI_ERROR_IO, server->url,
                        "cannot start the HTTP server: %s; stop other programs, or raise the "
                        "limits of open files and processes (ulimit -n, ulimit -u)",
                        strerror(errno));
}

void zi_http_stop(zi_server *server)
{
    if (server->daemon) MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
}
