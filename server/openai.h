/* What openai.c (requests) and openai_replies.c share: OpenAI's images API. */
#ifndef ZI_SERVER_OPENAI_H
#define ZI_SERVER_OPENAI_H

#include "server/compat.h"

enum { ZI_OPENAI_URL = 1 /* index of "url" in response_format */ };

/* Names of output_format, in the order of zi_format from ZI_FORMAT_PNG on. */
extern const char *const zi_openai_formats[];

/* The body of POST /v1/images/generations; kept in req->user for the reply. */
typedef struct {
    zi_generation generation;
    const char *model, *size, *requested_quality; /* borrowed from req->json */
    int format, response, background, compression, partial;
    bool stream;
    double seed, cfg; /* seed -1: random; cfg 0: not given */
    char quality[16];
    /* State of a stream. */
    zi_server *server;
    uint64_t job;
    bool pending, ended, failed;
    size_t images_sent;               /* images */
    int previews_sent, preview_level; /* previews_sent: of the current image; preview_level: of the
                                         last preview that was sent */
} zi_openai_request;

/* Replies with the images when the job has ended; else suspends the request. */
zi_handler_result zi_openai_reply_when_done(zi_server_request *req);

/* Replies with a stream of the job's events after `cursor`. The stream takes ownership of
 * req->user. */
zi_handler_result zi_openai_reply_stream(zi_server_request *req, uint64_t cursor);

#endif
