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

/* Opens a session with the memory that `plan` takes (called twice, see zi_reserve_fn); an engine
 * may have several, each used by one thread. *out need not be set before. fast: integer products
 * for quantized weights. limits: the largest among its operations. False, with *error set
 * (ZI_ERROR_NO_MEMORY, or as zi_buffer_alloc): *out may be closed, too, or left. */
bool zi_session_open(zi_engine *engine, bool fast, zi_exec_limits limits, zi_reserve_fn plan,
                     void *user, zi_session *out, zi_error *error) ZI_CHECKED;

/* Discards operations that are not submitted, waits for the others without reporting errors, frees
 * the memory and zeroes *session. A zeroed session is allowed, NULL is not. */
void zi_session_close(zi_session *session);

/* Values of a view in host memory. */
typedef struct {
    const float *values; /* [rows, columns] */
    float *copy;         /* NULL: values are in the view's own memory */
} zi_fetched_values;

/* Waits for pending operations and lets the host read the values of a contiguous f32 view: in place
 * if the backend's memory is visible to the host, else as a copy. They are valid until the next
 * operation that writes to the view. The caller calls zi_fetched_values_free. False, with *error
 * set (an operation failed, or out of memory): *out has nothing to free. */
bool zi_fetch_values(zi_exec *exec, zi_view view, zi_fetched_values *out,
                     zi_error *error) ZI_CHECKED;

/* Frees the copy, if there is one, and zeroes *values. A zeroed struct is allowed, NULL is not. */
void zi_fetched_values_free(zi_fetched_values *values);

#endif
