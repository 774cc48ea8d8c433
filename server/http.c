/* The daemon: from the first byte of a request to its handler. */
#include "server/http.h"
#include "server/listen.h"
#include "server/log.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    THREADS = 4,
    HEADER_BYTES = 16 << 10,
    IDLE_SECONDS = 30,   /* without a byte */
    DISCARDED = 16 << 20 /* of a body that is too large, before the connection is cut */
};

static const zi_route *const own_tables[] = {zi_jobs_routes, zi_images_routes, zi_models_routes,
                                             zi_system_routes, NULL};
static const zi_family families[] = {
    {"/api/", own_tables, zi_error_json},
    {"/v1/", (const zi_route *const[]){zi_openai_routes, NULL}, zi_openai_error},
    {"/sdapi/", (const zi_route *const[]){zi_a1111_routes, NULL}, zi_a1111_error},
    {"/", (const zi_route *const[]){NULL}, zi_error_json}, /* the page's files */
};

/* ---- routes ---- */

static bool take_parameter(zi_call *call, int *count, const char *text, size_t length)
{
    if (*count == ZI_PATH_PARAMETERS || !length) return false;
    free(call->parameters[*count]);
    call->parameters[(*count)++] = strndup(text, length);
    return call->parameters[*count - 1] != NULL;
}

/* Whether url is of this path; parameters are kept in the call. */
static bool matches(zi_call *call, const char *path, const char *url)
{
    int count = 0;
    while (*path) {
        if (*path != '{') {
            if (*path++ != *url++) return false;
            continue;
        }
        bool rest = strchr(path, '}')[-1] == '*';
        size_t length = rest ? strlen(url) : strcspn(url, "/");
        if (!take_parameter(call, &count, url, length)) return false;
        url += length;
        path = strchr(path, '}') + 1;
    }
    return !*url;
}

static bool takes(const zi_route *route, const char *method)
{
    return !strcmp(route->method, method) ||
           (!strcmp(route->method, "GET") && !strcmp(method, "HEAD"));
}

/* Finds call->route. allowed becomes the methods of a path that has others ("GET, POST"). */
static void find_route(zi_call *call, char *allowed, size_t size)
{
    allowed[0] = 0;
    for (const zi_route *const *table = call->family->tables; *table; table++)
        for (const zi_route *route = *table; route->method; route++) {
            if (!matches(call, route->path, call->url)) continue;
            if (takes(route, call->method)) {
                call->route = route;
                return;
            }
            size_t length = strlen(allowed);
            snprintf(allowed + length, size - length, "%s%s", length ? ", " : "", route->method);
        }
}

/* ---- the page ---- */

static bool accepts(zi_call *call, const char *coding)
{
    const char *header = zi_call_header(call, "Accept-Encoding");
    const char *at = header ? strstr(header, coding) : NULL;
    return at && strncmp(at + strlen(coding), ";q=0", 4) != 0;
}

static zi_answer send_asset(zi_call *call, const zi_asset *asset)
{
    const char *known = zi_call_header(call, "If-None-Match"), *coding = NULL;
    char *data = asset->plain;
    size_t size = asset->plain_size;
    bool same = known && strstr(known, asset->etag);
    if (asset->gzip && accepts(call, "gzip")) {
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
    return zi_reply(call, same ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, response);
}

static const zi_asset *find_asset(const zi_call *call)
{
    for (const zi_asset *asset = call->server->assets; asset->path; asset++)
        if (!strcmp(asset->path, call->url)) return asset;
    return NULL;
}

/* ---- checking a request before its body ---- */

static zi_answer not_found(zi_call *call, const char *allowed)
{
    if (!allowed[0]) return zi_reply_error(call, 404, NULL, "%s: there is no such path", call->url);
    cJSON *json = call->family->error(405, "this path takes other methods", NULL);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (!text) return MHD_NO;
    const char *headers[] = {"Allow", allowed, NULL};
    return zi_reply_bytes(call, 405, "application/json", text, strlen(text), headers);
}

static zi_claim read_claim(zi_call *call)
{
    return (zi_claim){.host = zi_call_header(call, "Host"),
                      .origin = zi_call_header(call, "Origin"),
                      .site = zi_call_header(call, "Sec-Fetch-Site"),
                      .key = zi_call_header(call, "X-API-Key"),
                      .authorization = zi_call_header(call, "Authorization"),
                      .cookie =
                          MHD_lookup_connection_value(call->connection, MHD_COOKIE_KIND, "zimage")};
}

/* True: answered. */
static bool refused(zi_call *call, bool asset, bool keyless, zi_answer *answer)
{
    zi_server *s = call->server;
    zi_claim claim = read_claim(call);
    const char *why = NULL;
    unsigned status = 403;
    if (!zi_guard_host(s->guard, &claim))
        why = "Host is not this server's name; use the address that it printed at its start";
    else if (!asset && !zi_guard_origin(&claim))
        why = "requests from other sites' pages are refused";
    else if (!keyless && !zi_guard_key(s->guard, &claim))
        status = 401, why = "the key is missing or wrong; send it as X-API-Key or as a bearer";
    if (!why) return false;
    atomic_fetch_add(&s->refused, 1);
    zi_log_refusal(s->log, "refused %s %s: %s", call->method, call->url, why);
    *answer = zi_reply_error(call, status, NULL, "%s", why);
    return true;
}

static bool is_json(zi_call *call)
{
    const char *type = zi_call_header(call, "Content-Type");
    size_t length = type ? strcspn(type, "; ") : 0;
    return length == 16 && !strncasecmp(type, "application/json", 16);
}

/* True: answered. What the headers say about the body. */
static bool body_refused(zi_call *call, zi_answer *answer)
{
    const char *length = zi_call_header(call, "Content-Length");
    const zi_route *route = call->route;
    bool chunked = zi_call_header(call, "Transfer-Encoding") != NULL;
    unsigned long long size = length ? strtoull(length, NULL, 10) : 0;
    if (!route->body && !(size || chunked)) return false;
    if (size > route->body || (!route->body && chunked)) {
        if (!route->body && size <= ZI_BODY_JSON) return false; /* it is read and ignored */
        *answer = zi_reply_error(call, 413, NULL, "the body is too large; %zu bytes are the most",
                                 route->body);
        return true;
    }
    if ((route->flags & ZI_ROUTE_JSON) && !is_json(call)) {
        *answer = zi_reply_error(call, 415, NULL,
                                 "the body must be JSON: send Content-Type: application/json");
        return true;
    }
    return false;
}

/* A request's headers are there. True: answered. */
static bool begin(zi_call *call, zi_answer *answer)
{
    char allowed[100];
    zi_server *s = call->server;
    atomic_fetch_add(&s->requests, 1);
    call->family = families;
    while (strncmp(call->url, call->family->prefix, strlen(call->family->prefix)) != 0)
        if (++call->family == families + sizeof families / sizeof *families) {
            call->family--; /* "*" and the like */
            break;
        }
    if (!zi_utf8_valid(call->url, strlen(call->url))) {
        *answer = zi_reply_error(call, 400, NULL, "the path is not valid UTF-8");
        return true;
    }
    find_route(call, allowed, sizeof allowed);
    const zi_asset *asset = call->route ? NULL : find_asset(call);
    bool keyless = asset || (call->route && call->route->flags & ZI_ROUTE_KEYLESS);
    if (refused(call, asset != NULL, keyless, answer)) return true;
    if (asset) {
        bool reads = !strcmp(call->method, "GET") || !strcmp(call->method, "HEAD");
        bool body =
            zi_call_header(call, "Content-Length") || zi_call_header(call, "Transfer-Encoding");
        /* What is answered here ends the connection, and a page has many files. */
        call->asset = reads && !body ? asset : NULL;
        if (!call->asset) *answer = reads ? send_asset(call, asset) : not_found(call, "GET");
        return !call->asset;
    }
    if (!call->route) {
        *answer = not_found(call, allowed);
        return true;
    }
    return body_refused(call, answer);
}

/* ---- the body ---- */

static bool open_upload(zi_call *call)
{
    static atomic_uint number;
    char name[80];
    snprintf(name, sizeof name, ".upload.part-%ld-%u", (long)getpid(),
             atomic_fetch_add(&number, 1));
    call->upload_path = zi_path_join(call->server->options.output, name);
    int fd = call->upload_path
                 ? open(call->upload_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
                 : -1;
    call->upload = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (fd >= 0 && !call->upload) close(fd);
    return call->upload != NULL;
}

/* False: the connection is to be cut. */
static bool receive(zi_call *call, const char *data, size_t size)
{
    call->received += size;
    size_t most = call->route->body;
    if (call->received > most || !most) {
        call->too_large |= most != 0;
        return call->received <= most + DISCARDED;
    }
    if (call->route->flags & ZI_ROUTE_UPLOAD) {
        if (!call->upload && !open_upload(call)) return false;
        return fwrite(data, 1, size, call->upload) == size;
    }
    zi_text_append(&call->body, data, size);
    return !call->body.failed;
}

/* True: answered. Turns the body into call->json. */
static bool json_refused(zi_call *call, zi_answer *answer)
{
    const char *end = NULL;
    const char *why = NULL;
    if (!zi_utf8_valid(call->body.data ? call->body.data : "", call->body.size))
        why = "the body is not valid UTF-8";
    else if (call->body.size && memchr(call->body.data, 0, call->body.size))
        why = "the body has a NUL byte";
    else if (!(call->json =
                   cJSON_ParseWithOpts(call->body.data ? call->body.data : "", &end, true)))
        why = "the body is not JSON";
    else if (!cJSON_IsObject(call->json))
        why = "the body must be an object of JSON";
    if (!why) return false;
    *answer = zi_reply_error(call, 400, NULL, "%s", why);
    return true;
}

/* ---- what libmicrohttpd calls ---- */

static zi_answer handle(zi_call *call)
{
    zi_answer answer;
    if (call->asset) {
        zi_connection_stage(call->server->connections, call->place, ZI_IS_SERVED);
        return send_asset(call, call->asset);
    }
    if (call->too_large)
        return zi_reply_error(call, 413, NULL, "the body is too large; %zu bytes are the most",
                              call->route->body);
    if (!call->begun) {
        call->begun = true;
        zi_connection_stage(call->server->connections, call->place, ZI_IS_SERVED);
        if ((call->route->flags & ZI_ROUTE_JSON) && json_refused(call, &answer)) return answer;
    }
    return call->route->handle(call);
}

static zi_call *new_call(zi_server *server, struct MHD_Connection *connection, const char *url,
                         const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    zi_call *call = calloc(1, sizeof *call);
    if (!call) return NULL;
    call->server = server;
    call->began = zi_monotonic_seconds();
    call->connection = connection;
    call->url = url;
    call->method = method;
    call->place = info ? info->socket_context : NULL;
    zi_text_init(&call->body, ZI_BODY_PICTURE);
    return call;
}

static enum MHD_Result serve(void *cls, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *data,
                             size_t *size, void **state)
{
    (void)version;
    zi_answer answer;
    zi_call *call = *state;
    if (!call) {
        *state = call = new_call(cls, connection, url, method);
        if (!call) return MHD_NO;
        zi_connection_stage(call->server->connections, call->place, ZI_WAITS_FOR_BODY);
        if (begin(call, &answer)) return answer;
        if (call->route && call->route->flags & ZI_ROUTE_UPLOAD)
            zi_connection_stage(call->server->connections, call->place, ZI_UPLOADS);
        return MHD_YES;
    }
    if (*size) {
        bool should_continue = receive(call, data, *size);
        *size = 0;
        return should_continue ? MHD_YES : MHD_NO;
    }
    return handle(call);
}

static void completed(void *cls, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode code)
{
    (void)connection;
    zi_server *server = cls;
    zi_call *call = *state;
    if (!call) return;
    if (call->sleeper.listed) zi_sleeper_remove(server->events, &call->sleeper);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && call->cancel_job && call->job)
        zi_jobs_cancel(server->jobs, call->job);
    zi_connection_stage(server->connections, call->place, ZI_WAITS_FOR_HEADERS);
    if (call->free_user) call->free_user(call->user);
    for (int i = 0; i < ZI_PATH_PARAMETERS; i++) free(call->parameters[i]);
    if (call->upload) fclose(call->upload);
    if (call->upload_path) unlink(call->upload_path);
    free(call->upload_path);
    zi_text_free(&call->body);
    cJSON_Delete(call->json);
    free(call);
    *state = NULL;
}

static void connection_changed(void *cls, struct MHD_Connection *connection, void **state,
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

static void complain(void *cls, const char *format, va_list args)
{
    zi_server *server = cls;
    char text[500];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\r\n")] = 0;
    if (!strncmp(text, "Failed to send", 14)) return; /* a client went away, as clients do */
    zi_log_refusal(server->log, "http: %s", text);
}

bool zi_http_start(zi_server *server, zi_error *error)
{
    int socket;
    if (!zi_listen(server->options.host, server->options.port, &socket, server->address,
                   sizeof server->address, error))
        return false;
    server->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, serve, server, MHD_OPTION_EXTERNAL_LOGGER, complain, server,
        MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
        MHD_OPTION_CONNECTION_LIMIT, zi_connections_limit(server->connections),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
        completed, server, MHD_OPTION_NOTIFY_CONNECTION, connection_changed, server,
        MHD_OPTION_END);
    if (server->daemon) return true;
    close(socket);
    return zi_error_set(error, ZI_ERROR_IO, server->address, "the HTTP server does not start: %s",
                        strerror(errno));
}

void zi_http_stop(zi_server *server)
{
    if (server->daemon) MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
}
