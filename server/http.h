/* Requests and replies. A handler is called once the body is there; it replies and returns. */
#ifndef ZI_SERVER_HTTP_H
#define ZI_SERVER_HTTP_H

#include "server/internal.h"

#include <microhttpd.h>
#include <stdio.h>

enum {
    ZI_PATH_PARAMETERS = 2,
    ZI_BODY_JSON = 1 << 20, /* bytes; what most routes take */
    ZI_BODY_PICTURE = 64 << 20,
    ZI_MOST_PIXELS = 1 << 25, /* of a picture that a client sends */
};

typedef struct zi_call zi_call;
typedef enum MHD_Result zi_answer;

typedef struct {
    const char *method; /* NULL ends a table. GET serves HEAD as well. */
    const char *path;   /* "/api/jobs/{id}/events"; "{id}" is a part without slashes, and at the
                           end "{name*}" is all that is left */
    zi_answer (*handle)(zi_call *call);
    enum {
        ZI_ROUTE_KEYLESS = 1, /* needs no key */
        ZI_ROUTE_JSON = 2,    /* its body is an object of JSON: call->json */
        ZI_ROUTE_UPLOAD = 4   /* its body goes to a file: call->upload */
    } flags;
    size_t body; /* bytes, at most; 0: there is none */
} zi_route;

/* Paths that begin alike and speak of errors alike. */
typedef struct {
    const char *prefix;
    const zi_route *const *tables; /* NULL ends the list */
    /* An error as a client of these paths expects it. field may be NULL. */
    cJSON *(*error)(unsigned status, const char *message, const char *field);
} zi_family;

struct zi_call {
    zi_server *server;
    struct MHD_Connection *connection;
    const char *method, *url;
    const zi_family *family;
    const zi_route *route;                /* or: */
    const zi_asset *asset;                /* of the page */
    char *parameters[ZI_PATH_PARAMETERS]; /* what stands in the braces */
    zi_text body;
    cJSON *json;
    FILE *upload;
    char *upload_path; /* of a temporary file in the output folder, removed with the call */
    bool too_large, begun;
    double began; /* when, as zi_monotonic_seconds says it */
    size_t received;
    zi_connection *place;
    /* For a handler that waits for a job: see zi_call_wait. */
    zi_sleeper sleeper;
    uint64_t job;
    bool cancel_job; /* if the client goes away before the job has ended */
    void *user;      /* the handler's own; freed by free_user, if set, with the call */
    void (*free_user)(void *user);
};

/* ---- asking ---- */

/* A query parameter, or NULL. False: it is not valid UTF-8, and that was answered (*answer). */
bool zi_call_query(zi_call *call, const char *name, const char **out, zi_answer *answer);

/* The same for whole numbers. */
bool zi_call_query_int(zi_call *call, const char *name, int least, int most, int fallback, int *out,
                       zi_answer *answer);
const char *zi_call_header(zi_call *call, const char *name);

/* ---- replying ---- */

/* Takes the object over. */
zi_answer zi_reply_json(zi_call *call, unsigned status, cJSON *json);
zi_answer zi_reply_error(zi_call *call, unsigned status, const char *field, const char *format, ...)
    ZI_PRINTF(4, 5);
zi_answer zi_reply_refusal(zi_call *call, const zi_refusal *refusal);
zi_answer zi_reply_nothing(zi_call *call); /* 204 */

/* data is free()d. type is "image/png" and the like; extra headers may be NULL: {name, value, ...,
 * NULL}. */
zi_answer zi_reply_bytes(zi_call *call, unsigned status, const char *type, void *data, size_t size,
                         const char *const *headers);

/* A regular file; fd is closed. */
zi_answer zi_reply_file(zi_call *call, const char *type, int fd, const char *const *headers);

/* Any response; its reference is dropped. Adds what all responses carry. */
zi_answer zi_reply(zi_call *call, unsigned status, struct MHD_Response *response);

/* ---- waiting ---- */

/* Returns from the handler without a reply: it is called again when the job has had an event or
 * 15 seconds have passed. Begin with reading the job's state, and remember the latest event's
 * number from before that: cursor. */
zi_answer zi_call_wait(zi_call *call, uint64_t cursor);

/* Has models inspected, and says whether to wait for that; a request that has waited long enough
 * gets what is known. */
bool zi_call_waits_for_models(const zi_call *call);

/* An event stream. format turns an event into what the client reads (nothing: it is passed over)
 * and returns false when the stream ends with it. */
typedef bool (*zi_format_event)(void *user, const zi_event *event, zi_text *out);

typedef struct {
    uint64_t job;           /* 0: events of all */
    uint64_t cursor;        /* goes on behind this event, if resumes */
    bool resumes;           /* false: begins with what `snapshot` gives */
    bool cancels_job;       /* when the client goes away */
    zi_format_event format; /* NULL: the own API's; called with the events locked */
    /* Adds what takes its time, after some events were read; may be NULL. */
    void (*finish)(void *user, zi_text *out);
    /* What stands at the beginning and where events were lost; NULL: the own API's snapshot.
     * Returns false when the stream ends there. *cursor becomes the latest event it covers. */
    bool (*snapshot)(void *user, zi_server *server, uint64_t job, uint64_t *cursor, zi_text *out);
    void *user;
    void (*free_user)(void *user);
} zi_stream_options;

zi_answer zi_reply_stream(zi_call *call, const zi_stream_options *options);

/* Event streams that are open. */
size_t zi_streams_open(void);

/* ---- the daemon ---- */

bool zi_http_start(zi_server *server, zi_error *error) ZI_CHECKED;
void zi_http_stop(zi_server *server);

/* {"error": {"message", "field"}} */
cJSON *zi_error_json(unsigned status, const char *message, const char *field);

/* As Recipe in the OpenAPI file, of a picture's bytes; NULL after an error. */
cJSON *zi_infotext_json(const void *data, size_t size, zi_error *error);

extern const zi_route zi_jobs_routes[], zi_images_routes[], zi_models_routes[], zi_system_routes[];

/* APIs of others, and their errors. */
extern const zi_route zi_openai_routes[], zi_a1111_routes[];
cJSON *zi_openai_error(unsigned status, const char *message, const char *field);
cJSON *zi_a1111_error(unsigned status, const char *message, const char *field);

#endif
