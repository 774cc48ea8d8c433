/* Declarations that a1111.c and a1111_txt2img.c, the API of AUTOMATIC1111's web UI (/sdapi/v1),
 * share. */
#ifndef ZI_SERVER_A1111_H
#define ZI_SERVER_A1111_H

#include "server/client_request.h"
#include "server/compat.h"

/* The body of POST /sdapi/v1/txt2img; kept in req->user for the reply. */
typedef struct {
    zi_client_request client;
    const char *scheduler, *sampler, *sampler_index; /* borrowed from the request's JSON */
    const char *model;                               /* override_settings.sd_model_checkpoint */
    int batch, rounds;
    bool send, restore;
} zi_a1111_request;

/* All fields of txt2img's body, of A1111 and of programs with the same API, and all settings, which
 * override_settings and POST options have; for a zi_a1111_request. */
extern const zi_client_field zi_a1111_fields[], zi_a1111_settings[];

/* Writes the Unix time `when` (seconds) in local time as A1111's job_timestamp, "20261130031724".
 * Writes "0" when `when` is 0, negative or cannot be converted. */
void zi_a1111_timestamp(double when, char text[20]);

/* Replies with *http_error, which is not changed. Status 400 is sent as 422, which A1111 has for
 * an invalid field; others are kept. */
zi_handler_result zi_a1111_reply_error(zi_server_request *req, const zi_http_error *http_error);

/* Finds the model that sd_model_checkpoint names, in options and override_settings, by
 * zi_compat_find_model's rule. *name becomes the full name in new memory; NULL: requested is NULL
 * or
 * "", which stand for no setting. False: *http_error is a 404 for that field of the request, also
 * when the models cannot be read or memory is short, and *name is NULL. */
bool zi_a1111_find_model(zi_server_request *req, const char *requested, const char *field,
                         char **name, zi_http_error *http_error) ZI_CHECKED;

/* Handles POST /sdapi/v1/txt2img. The first call validates the body (422; 404: unknown model) and
 * submits a generate job (429: queue full), which ends if the client disconnects. That and the
 * calls after each suspension wait for its end, then reply with the images as PNG in base64; an
 * interrupted job gives its finished images, [] if none. */
zi_handler_result zi_a1111_txt2img(zi_server_request *req);

/* A1111's name of a choice of the parameter "sampler", as its API and infotexts have it; "Euler"
 * for all others and NULL. A constant. */
const char *zi_a1111_sampler_name(const char *choice);

#endif
