/* What the files of OpenAI's API share. */
#ifndef ZI_SERVER_OPENAI_H
#define ZI_SERVER_OPENAI_H

#include "server/compat.h"

enum { ZI_OPENAI_URL = 1 /* response: b64_json or url */ };

/* Names of image formats, in the order of zi_format from ZI_FORMAT_PNG on. */
extern const char *const zi_openai_formats[];

/* A request, which the call keeps for its reply. */
typedef struct {
    zi_generation generation;
    const char *model, *size, *requested_quality; /* as long as the call's JSON */
    int format, response, background, compression, partial;
    bool stream;
    double seed, cfg; /* seed -1: any; cfg 0: not given */
    char quality[16];
    /* Of a stream. */
    zi_server *server;
    uint64_t job;
    bool pending, ended, failed;
    size_t images_sent;               /* images */
    int previews_sent, preview_level; /* previews of the next one; how far the latest was */
} zi_openai_request;

/* The reply, when the job has ended; else waits for that. */
zi_handler_result zi_openai_reply_when_done(zi_server_request *req);

/* A stream of what happens behind the event of that number; takes call->user over. */
zi_handler_result zi_openai_reply_stream(zi_server_request *req, uint64_t cursor);

#endif
