/* What the APIs of others share: their requests wait for a job and carry pictures as base64. */
#ifndef ZI_SERVER_COMPAT_H
#define ZI_SERVER_COMPAT_H

#include "server/http.h"

/* Submits a job that lives as long as its client waits. */
bool zi_compat_submit(zi_server_request *req, const zi_job_request *request,
                      zi_http_error *http_error) ZI_CHECKED;

/* The same for images. */
bool zi_compat_submit_generate(zi_server_request *req, const zi_generation *generation,
                               zi_http_error *http_error) ZI_CHECKED;

/* Whether call->job has ended; else *answer is what the handler returns to be called again. why is
 * filled when it failed. */
bool zi_compat_job_ended(zi_server_request *req, zi_job_state *state, zi_http_error *error,
                         zi_handler_result *result);

/* Appends a stored picture, with its infotext, in base64. */
bool zi_compat_append_image(zi_server *server, const char *id, zi_format format, int quality,
                            zi_text *out, zi_error *error) ZI_CHECKED;

/* Appends {"name": value, ...} without the closing brace, for what is too long for cJSON to follow.
 * Takes object over. */
void zi_compat_append_open_object(cJSON *object, zi_text *out);

/* Replies with what was gathered. */
zi_handler_result zi_compat_reply_json_text(zi_server_request *req, zi_text *out);

/* The model that a client means by its name, by the last part of it, without its extension or with
 * A1111's hash behind it; in new memory, NULL: there is none. */
char *zi_compat_find_model(zi_server *server, const char *requested);

/* The last part of a model's name without its extension, in new memory. */
char *zi_compat_short_name(const char *name);

/* Takes the seed that a client gives as a number; below 0 it asks for any. */
void zi_compat_set_seed(double seed, zi_generation *generation);

/* Takes the guidance that a client gives on the scale of A1111, where 1 is off. */
void zi_compat_set_cfg_scale(double cfg, zi_generation *generation);

/* What a field called "seed" of those APIs takes. */
#define ZI_COMPAT_SEED(offset_)                                                                    \
    {                                                                                              \
        .name = "seed", .type = ZI_PARAMETER_REAL, .offset = offset_, .min = -1,                   \
        .max = 9007199254740991.0                                                                  \
    }

#endif
