/* A session: the operation queue and memory of one request on an engine. */
#ifndef ZI_SESSION_H
#define ZI_SESSION_H

#include "engine.h"
#include "model/run.h"

typedef struct {
    zi_exec *exec;
    zi_buffer *memory;
    zi_arena arena; /* hands out all of memory */
    zi_run run;     /* exec and arena are set; the caller sets the other fields */
} zi_session;

/* Takes all views that the session works with from the arena. Called twice: first with a measuring
 * arena, see arena.h. */
typedef void (*zi_reserve_fn)(void *user, const zi_exec *exec, zi_arena *arena);

/* Opens a session with the memory that `plan` takes. fast: integer products for quantized weights.
 * Fails with ZI_ERROR_NO_MEMORY when memory is short. Several sessions may be open on one engine,
 * each used by one thread. */
bool zi_session_open(zi_engine *engine, bool fast, zi_exec_limits limits, zi_reserve_fn plan,
                     void *user, zi_session *out, zi_error *error) ZI_CHECKED;
void zi_session_close(zi_session *session);

/* Host access to the values of a contiguous view: in place if the backend's memory is visible to
 * the host, else a copy. Waits for pending operations. Valid until the next operation that writes
 * to the view. The caller calls zi_fetched_values_free. */
typedef struct {
    const float *values;
    float *copy;
} zi_fetched_values;
bool zi_fetch_values(zi_exec *exec, zi_view view, zi_fetched_values *out,
                     zi_error *error) ZI_CHECKED;
void zi_fetched_values_free(zi_fetched_values *values);

#endif
