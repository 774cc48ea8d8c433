/* What the APIs of others share: their requests wait for a job and carry pictures as base64. */
#ifndef ZI_SERVER_FOREIGN_H
#define ZI_SERVER_FOREIGN_H

#include "server/http.h"

/* Submits a job that lives as long as its client waits. */
bool zi_foreign_submit(zi_call *call, const zi_job_request *request,
                       zi_refusal *refusal) ZI_CHECKED;

/* The same for images. */
bool zi_foreign_generate(zi_call *call, const zi_generation *generation,
                         zi_refusal *refusal) ZI_CHECKED;

/* Whether call->job has ended; else *answer is what the handler returns to be called again. why is
 * filled when it failed. */
bool zi_foreign_ended(zi_call *call, zi_job_state *state, zi_refusal *why, zi_answer *answer);

/* Appends a stored picture, with its infotext, in base64. */
bool zi_foreign_picture(zi_server *server, const char *id, zi_format format, int quality,
                        zi_text *out, zi_error *error) ZI_CHECKED;

/* Appends {"name": value, ...} without the closing brace, for what is too long for cJSON to follow.
 * Takes object over. */
void zi_foreign_open(cJSON *object, zi_text *out);

/* Replies with what was gathered. */
zi_answer zi_foreign_reply(zi_call *call, zi_text *out);

/* The model that a client means by its name, by the last part of it, without its extension or with
 * A1111's hash behind it; in new memory, NULL: there is none. */
char *zi_foreign_model(zi_server *server, const char *said);

/* The last part of a model's name without its extension, in new memory. */
char *zi_foreign_short(const char *name);

/* Takes the seed that a client gives as a number; below 0 it asks for any. */
void zi_foreign_seed(double seed, zi_generation *generation);

/* Takes the guidance that a client gives on the scale of A1111, where 1 is off. */
void zi_foreign_cfg(double cfg, zi_generation *generation);

/* What a field called "seed" of those APIs takes. */
#define ZI_FOREIGN_SEED(offset_)                                                                   \
    {                                                                                              \
        .name = "seed", .type = ZI_PARAMETER_REAL, .offset = offset_, .min = -1,                   \
        .max = 9007199254740991.0                                                                  \
    }

#endif
