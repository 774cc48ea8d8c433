/* What openai.c (requests) and openai_replies.c share: OpenAI's images API. */
#ifndef ZI_SERVER_OPENAI_H
#define ZI_SERVER_OPENAI_H

#include "server/client_request.h"
#include "server/compat.h"

enum { ZI_OPENAI_URL = 1 /* index of "url" in response_format */ };

/* The body of POST /v1/images/generations; kept in req->user for the reply. */
typedef struct {
    zi_client_request client;
    const char *model, *size, *requested_quality; /* borrowed from req->json */
    int response, background, partial;
    bool stream, response_given;
    char quality[16];
    /* State of a stream. */
    zi_server *server;
    uint64_t job;
    bool pending, ended, failed;
    size_t images_sent;               /* images */
    int previews_sent, preview_level; /* previews_sent: of the current image; preview_level: of the
                                         last preview that was sent */
} zi_openai_request;

/* Replies with the images, or the error, of req->job when it has ended: 409 if it was cancelled,
 * 500 if it made no images or its record is gone. Else suspends the request, whose handler is then
 * called again. Borrows req->user, which is a zi_openai_request. */
zi_handler_result zi_openai_reply_when_done(zi_server_request *req);

/* Replies with a stream of the images of req->job, of partial images and of errors, by its events
 * after `cursor`. Takes ownership of req->user, a zi_openai_request, also on failure (MHD_NO), and
 * sets it to NULL. The job is cancelled on failure, and if the client disconnects before the
 * end. */
zi_handler_result zi_openai_reply_stream(zi_server_request *req, uint64_t cursor);

#endif
