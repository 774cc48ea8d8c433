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

/* Opens a session with the memory that `plan` takes (called twice, see zi_reserve_fn). fast:
 * integer products for quantized weights. Fails with ZI_ERROR_NO_MEMORY when memory is short; *out
 * may then be closed, too, or left. Several sessions may be open on one engine, each used by one
 * thread. */
bool zi_session_open(zi_engine *engine, bool fast, zi_exec_limits limits, zi_reserve_fn plan,
                     void *user, zi_session *out, zi_error *error) ZI_CHECKED;

/* Ends pending operations, frees the memory and zeroes *session. A zeroed session is allowed. */
void zi_session_close(zi_session *session);

/* Values of a view in host memory. */
typedef struct {
    const float *values; /* [rows, columns] */
    float *copy;         /* NULL: values are in the view's own memory */
} zi_fetched_values;

/* Waits for pending operations and gives the host access to the values of a contiguous f32 view: in
 * place if the backend's memory is visible to the host, else as a copy. They are valid until the
 * next operation that writes to the view. The caller calls zi_fetched_values_free. */
bool zi_fetch_values(zi_exec *exec, zi_view view, zi_fetched_values *out,
                     zi_error *error) ZI_CHECKED;

/* Frees the copy, if there is one, and zeroes *values; a zeroed struct is allowed. */
void zi_fetched_values_free(zi_fetched_values *values);

#endif
