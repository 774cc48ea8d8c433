/* Continuing a text with a language model. */
#ifndef ZI_LM_GENERATE_H
#define ZI_LM_GENERATE_H

#include "model/lm.h"
#include "sample_token.h"
#include "session.h"

typedef struct {
    const int32_t *ids;       /* [count]: what is to be continued */
    size_t count, max_tokens; /* most: tokens that may be added */
    zi_sampling sampling;
    /* Called with every new token but those that end a text; false: stop. May be NULL. */
    bool (*token)(void *user, int32_t id);
    bool (*layer_done)(void *user, double fraction); /* as in zi_run */
    void *user;
} zi_lm_request;

typedef struct {
    int32_t *ids; /* [count], free() */
    size_t count;
    bool ended;                         /* the model came to an end by itself */
    double read_seconds, write_seconds; /* for the prompt, and for what was added */
} zi_lm_result;

/* In a session of its own, always with exact arithmetic. */
bool zi_lm_generate(zi_engine *engine, const zi_lm *lm, const zi_lm_request *request,
                    zi_lm_result *out, zi_error *error) ZI_CHECKED;

#endif
