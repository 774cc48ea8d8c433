/* HTTP requests, routes and replies, on libmicrohttpd. A handler is called when the request's body
 * has arrived; it queues a reply and returns. */
#ifndef ZI_SERVER_HTTP_H
#define ZI_SERVER_HTTP_H

#include "server/internal.h"

#include <microhttpd.h>
#include <stdio.h>

enum {
    ZI_PATH_PARAMETERS = 2,
    ZI_BODY_JSON = 1 << 20,         /* maximum bytes of a JSON body */
    ZI_BODY_IMAGE = 64 << 20,       /* maximum bytes of an image file as the body */
    ZI_MAX_UPLOAD_PIXELS = 1 << 25, /* maximum width * height of an image that a client sends */
};

/* A request in progress. */
typedef struct zi_server_request zi_server_request;
/* What a handler returns: MHD_YES when a reply is queued or the request is suspended, MHD_NO to
 * close the connection. */
typedef enum MHD_Result zi_handler_result;

typedef struct {
    const char *method; /* NULL ends a table; "GET" also serves HEAD */
    const char *path; /* "/api/jobs/{id}/events": "{id}" matches one path segment; a final "{name*}"
                         matches the rest, slashes included */
    zi_handler_result (*handle)(zi_server_request *req);
    enum {
        ZI_ROUTE_KEYLESS = 1, /* no API key needed */
        ZI_ROUTE_JSON = 2,    /* the body must be a JSON object: req->json */
        ZI_ROUTE_UPLOAD = 4,  /* the body is written to a temporary file: req->upload */
        ZI_ROUTE_LINK = 8     /* the path has a token, which the handler checks: no key is needed,
                                 and any Host and Origin is allowed, also with OPTIONS */
    } flags;
    size_t body; /* maximum bytes of the body; 0: no body */
} zi_route;

/* An API: paths with a common prefix and error format. */
typedef struct {
    const char *prefix;
    const zi_route *const *tables; /* NULL ends the list */
    /* Makes the JSON body of an error reply; field (of the request) may be NULL. */
    cJSON *(*error)(unsigned status, const char *message, const char *field);
} zi_api_group;

struct zi_server_request {
    zi_server *server;
    struct MHD_Connection *connection;
    const char *method;
    char *url; /* the path, decoded and normalized (zi_path_normalize) */
    /* The client and its Host, from a trusted proxy's headers if the request came through one. */
    const char *host;         /* the Host header; NULL: not sent */
    char forwarded_host[260]; /* what host points to behind a proxy */
    bool https;               /* the client's connection is encrypted */
    zi_ip address;            /* the client's */
    const char *cors_origin;  /* a page of this origin ("*": any) may read the reply; NULL: none */
    unsigned retry_after;     /* seconds, of a reply with status 429; 0: the usual ones */
    const zi_api_group *api;
    bool link; /* the path is that of a link, and the method one that needs no key there (OPTIONS
                  is one, too) */
    const zi_route *route;                /* the matched route, or NULL and: */
    const zi_asset *asset;                /* the requested file of the web page */
    char *parameters[ZI_PATH_PARAMETERS]; /* values of the route's {parameters} */
    zi_text body;
    cJSON *json;
    FILE *upload;
    char *upload_path; /* a temporary file in the output folder, removed with the request */
    bool too_large, started;
    int upload_errno; /* why the body could not be stored, and is discarded; 0: nothing failed */
    double began;     /* zi_monotonic_seconds() at the start */
    size_t received;
    zi_connection *peer;
    /* For handlers that wait for a job; see zi_server_request_wait. */
    zi_waiter waiter;
    uint64_t job;
    bool cancel_job; /* cancel `job` if the client disconnects before it ends */
    void *user;      /* state of the handler; freed with free_user, if set */
    void (*free_user)(void *user);
};

/* ---- reading requests ---- */

/* Sets host, https and address of a request whose connection is set: from the connection and the
 * Host header, or if a trusted proxy (options.trusted_proxies) has sent it, from X-Forwarded-Host,
 * -Proto and -For, as far as there are such headers. */
void zi_server_request_read_client(zi_server_request *req);

/* Appends the URL of this server's root as the client knows it, without a slash at the end: the
 * public URL if there is one, else scheme and Host of the request, else server->url. */
void zi_server_request_base_url(const zi_server_request *req, zi_text *out);

/* Appends the URL of the file of the image `id` for clients without a key, in a format ("png",
 * "jpeg" or "webp"). quality: of JPEG and WebP, 1 to 100; 0: the usual one. */
void zi_server_request_image_link(const zi_server_request *req, const char *id, const char *format,
                                  int quality, zi_text *out);

/* Reads a query parameter, borrowed until the request ends; *out is NULL when it is absent or has
 * no "=". Returns false when it is not valid UTF-8: a 400 was sent, the handler returns *result,
 * and *out is unchanged. */
bool zi_server_request_query(zi_server_request *req, const char *name, const char **out,
                             zi_handler_result *result);

/* Reads an integer query parameter from min to max, fallback when it is absent; at most 9 digits,
 * without sign. Returns false when it is malformed or out of range: a 400 was sent, the handler
 * returns *result, and *out has no meaning. */
bool zi_server_request_query_int(zi_server_request *req, const char *name, int min, int max,
                                 int fallback, int *out, zi_handler_result *result);

/* The number of bytes of req->url that may be logged: all, or those before the token of a link,
 * which is a secret. */
int zi_server_request_logged_bytes(const zi_server_request *req);

/* The value of a request header; letter case of the name is ignored. NULL: not sent. Borrowed from
 * the connection until the request ends. */
const char *zi_server_request_header(zi_server_request *req, const char *name);

/* ---- replying ---- */

/* Replies with JSON and deletes it. NULL, as from a lack of memory, closes the connection
 * (MHD_NO). */
zi_handler_result zi_reply_json(zi_server_request *req, unsigned status, cJSON *json);
/* Replies with an error in the format of the request's API; its message is cut to 1023 bytes, then
 * control characters are escaped. field, of the request, may be NULL. Errors of status 500 and
 * above are also logged. */
zi_handler_result zi_reply_error(zi_server_request *req, unsigned status, const char *field,
                                 const char *format, ...) ZI_PRINTF(4, 5);
/* Replies with an error that a function has filled in, as zi_reply_error does. */
zi_handler_result zi_reply_http_error(zi_server_request *req, const zi_http_error *http_error);
/* Replies with an error of the library, as zi_reply_http_error does, but with this status. */
zi_handler_result zi_reply_library_error(zi_server_request *req, unsigned status,
                                         const zi_error *error);
/* Replies 204 No Content. */
zi_handler_result zi_reply_nothing(zi_server_request *req);

/* Replies with bytes, which are free()d in any case, without a copy; data may be NULL only if size
 * is 0. type: Content-Type; headers: {name, value, ..., NULL} or NULL. MHD_NO: out of memory. */
zi_handler_result zi_reply_bytes(zi_server_request *req, unsigned status, const char *type,
                                 void *data, size_t size, const char *const *headers);

/* Adds Content-Type and the headers {name, value, ..., NULL} to a response; headers may be NULL,
 * type must not. What fails is left out silently. */
void zi_add_headers(struct MHD_Response *response, const char *type, const char *const *headers);

/* Queues a response and releases it; NULL closes the connection. Adds the security headers of all
 * replies, those by which a page of an allowed origin may read it, no-store unless it has
 * Cache-Control, Retry-After to 429, WWW-Authenticate to 401; counts 500 and above in
 * server->failures. */
zi_handler_result zi_reply(zi_server_request *req, unsigned status, struct MHD_Response *response);

/* The message of status 429 after too many wrong API keys; takes the seconds to wait, unsigned. */
#define ZI_TOO_MANY_KEYS                                                                           \
    "too many wrong API keys came from this address, so that no key is checked now; try again in " \
    "%u seconds"

/* ---- waiting ---- */

/* Suspends a request until req->job (0: any job) has an event above cursor, for at most 15 seconds;
 * the handler returns the result and is called again (at once if there is one already). cursor:
 * zi_events_latest from before it read the state it waits on. Returns MHD_NO if the client has
 * disconnected or the server shuts down. */
zi_handler_result zi_server_request_wait(zi_server_request *req, uint64_t cursor);

/* Asks the scanner's thread to inspect models, in any case. Returns whether 2 seconds have not
 * passed since req->began: then the request should wait for the inspection, else reply with what is
 * known. Does not check whether there is anything to inspect: the caller does, before. */
bool zi_server_request_may_wait(const zi_server_request *req);

/* Appends an event as the client reads it, or nothing to skip it. Returns false when the stream
 * ends with it. */
typedef bool (*zi_event_formatter)(void *user, const zi_event *event, zi_text *out);

typedef struct {
    uint64_t job;              /* 0: events of all jobs */
    uint64_t cursor;           /* with `resumes`: send events with larger ids */
    bool resumes;              /* false: begin with a snapshot */
    bool cancels_job;          /* when the client disconnects before the end */
    zi_event_formatter format; /* NULL: format of the native API. Called with the events locked */
    /* Called without that lock after some events were formatted, to append what takes long; may be
     * NULL. */
    void (*append_deferred)(void *user, zi_text *out);
    /* Appends the present state, at the start and where events were lost, and sets *cursor to the
     * latest event it covers. Returns false when the stream ends there. NULL: the native API's
     * snapshot. */
    bool (*snapshot)(void *user, zi_server *server, uint64_t job, uint64_t *cursor, zi_text *out);
    void *user;
    void (*free_user)(void *user);
} zi_event_stream_options;

/* Replies with a stream of server-sent events (text/event-stream), which ends when format or
 * snapshot says so. Copies options; the stream owns options->user, and calls free_user, if set, at
 * its end or when the client disconnects. MHD_NO: out of memory; then the job was cancelled if
 * cancels_job is set, and free_user was called. */
zi_handler_result zi_reply_event_stream(zi_server_request *req,
                                        const zi_event_stream_options *options);

/* The number of open event streams of this process. */
size_t zi_event_streams_count(void);

/* ---- the daemon ---- */

/* Starts the HTTP server in threads of its own: listens by server->options and sets server->url and
 * server->daemon. All other members must be set. False: *error is set, nothing listens, and
 * server->daemon is NULL. */
bool zi_http_start(zi_server *server, zi_error *error) ZI_CHECKED;

/* Closes all connections, waits for the threads and sets server->daemon to NULL; does nothing if
 * the server was not started or was stopped before. Event streams and suspended requests must have
 * been resumed (zi_events_close). */
void zi_http_stop(zi_server *server);

/* ---- JSON of replies and events, routes ---- */

/* Adds "problems", an array of {"kind", "message"}, and "unsaved_images" to json. */
void zi_storage_add_json(cJSON *json, const zi_storage *storage);

/* A new JSON error of the native API: {"error": {"message", "field"}}, with null for a field of
 * NULL. status is ignored. Out of memory: NULL, or members are missing. */
cJSON *zi_error_json(unsigned status, const char *message, const char *field);

/* Decodes an image file's bytes: its size and generation parameters (null if it has none), as
 * schema Recipe in openapi.json. The caller deletes it. NULL: *error is set; the image is damaged,
 * of another kind or has more than ZI_MAX_UPLOAD_PIXELS, or out of memory. */
cJSON *zi_infotext_json(const void *data, size_t size, zi_error *error);

extern const zi_route zi_jobs_routes[], zi_images_routes[], zi_models_routes[], zi_system_routes[];

/* Compatibility APIs. */
extern const zi_route zi_openai_routes[], zi_a1111_routes[];

/* A new JSON error of OpenAI's API: {"error": {"message", "type", "param", "code"}}; type and code
 * follow from status; param is field, or null if that is NULL. Out of memory: NULL, or members are
 * missing. */
cJSON *zi_openai_error(unsigned status, const char *message, const char *field);

/* A new JSON error of A1111's API, which the caller deletes. Status 422 has FastAPI's form, whose
 * loc is ["body", field], or ["body"] if field is NULL; others ignore field. Out of memory: NULL,
 * or members are missing. */
cJSON *zi_a1111_error(unsigned status, const char *message, const char *field);

#endif
