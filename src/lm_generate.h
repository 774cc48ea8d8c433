/* Text generation with a language model. */
#ifndef ZI_LM_GENERATE_H
#define ZI_LM_GENERATE_H

#include "model/lm.h"
#include "sample_token.h"
#include "session.h"

typedef struct {
    const int32_t *ids;       /* [count], the prompt */
    size_t count, max_tokens; /* max_tokens: that may be added; 0: none is generated */
    zi_sampling sampling;
    /* Called with every generated token except stop tokens; returning false cancels. May be NULL.
     */
    bool (*token)(void *user, int32_t id);
    bool (*layer_done)(void *user, double fraction); /* as in zi_run */
    void *user;
} zi_lm_request;

typedef struct {
    int32_t *ids; /* [count], the generated tokens; the caller frees them with free() */
    size_t count;
    bool ended;                         /* by a stop token, not by max_tokens */
    double read_seconds, write_seconds; /* prompt processing and token generation */
} zi_lm_result;

/* Generates up to max_tokens tokens, in a session of its own with exact (f32) arithmetic. False,
 * with *error set and *out unchanged: a sampling parameter is out of range, the prompt is empty,
 * prompt and max_tokens exceed the model's context, a callback returned false (ZI_ERROR_CANCELLED),
 * or a failure. The caller frees out->ids with free(). */
bool zi_lm_generate(zi_engine *engine, const zi_lm *lm, const zi_lm_request *request,
                    zi_lm_result *out, zi_error *error) ZI_CHECKED;

#endif
