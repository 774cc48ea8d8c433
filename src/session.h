/* One request's operations and memory on an engine. */
#ifndef ZI_SESSION_H
#define ZI_SESSION_H

#include "engine.h"
#include "model/run.h"

typedef struct {
    zi_exec *exec;
    zi_buffer *memory;
    zi_arena arena; /* all of it */
    zi_run run;     /* exec and arena; the rest is the caller's to set */
} zi_session;

/* Takes all that a session works with from the arena. Called twice, see arena.h. */
typedef void (*zi_reserve_fn)(void *user, const zi_exec *exec, zi_arena *arena);

/* fast: integer products where weights are quantized. Fails with ZI_ERROR_NO_MEMORY when the
 * machine has not enough. Several sessions may be open on an engine, each used by one thread. */
bool zi_session_open(zi_engine *engine, bool fast, zi_exec_limits limits, zi_reserve_fn plan,
                     void *user, zi_session *out, zi_error *error) ZI_CHECKED;
void zi_session_close(zi_session *session);

/* The values of a view without gaps, for the host: where they are, if it sees them there, or a
 * copy. They are good until the next operation that writes to the view; zi_fetched_values_free()
 * them. */
typedef struct {
    const float *values;
    float *copy;
} zi_fetched_values;
bool zi_fetch_values(zi_exec *exec, zi_view view, zi_fetched_values *out,
                     zi_error *error) ZI_CHECKED;
void zi_fetched_values_free(zi_fetched_values *values);

#endif
