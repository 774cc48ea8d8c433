#include "session.h"

#include <stdlib.h>

/* Allocates a buffer of the size that a measuring arena found; *out is for zi_buffer_release.
 * False, with *error set and *out unchanged: that size overflowed (ZI_ERROR_NO_MEMORY), or
 * zi_buffer_alloc failed. */
static bool allocate_memory(zi_backend *backend, const zi_arena *measured, zi_buffer **out,
                            zi_error *error)
{
    if (!measured->overflow) return zi_buffer_alloc(backend, measured->peak, out, error);
    return zi_error_set(
        error, ZI_ERROR_NO_MEMORY, NULL,
        "this needs more memory than the machine can address; choose a smaller image");
}

bool zi_session_open(zi_engine *engine, bool fast, zi_exec_limits limits, zi_reserve_fn plan,
                     void *user, zi_session *out, zi_error *error)
{
    zi_backend *backend = engine->backend;
    *out = (zi_session){.arena = zi_arena_measure()};
    if (!backend->ops->begin(backend, fast, &out->exec, error)) return false;
    backend->ops->plan(out->exec, &out->arena, limits);
    plan(user, out->exec, &out->arena);
    if (!allocate_memory(backend, &out->arena, &out->memory, error)) {
        zi_session_close(out);
        return false;
    }
    out->arena = zi_arena_in(out->memory);
    backend->ops->plan(out->exec, &out->arena, limits);
    plan(user, out->exec, &out->arena);
    if (out->arena.overflow) { /* the second plan took more than the first */
        zi_session_close(out);
        return zi_error_no_memory(error, SIZE_MAX);
    }
    out->run = (zi_run){.exec = out->exec, .arena = &out->arena};
    return true;
}

void zi_session_close(zi_session *session)
{
    if (session->exec) session->exec->ops->end(session->exec);
    zi_buffer_release(session->memory);
    *session = (zi_session){0};
}

bool zi_fetch_values(zi_exec *exec, zi_view view, zi_fetched_values *out, zi_error *error)
{
    *out = (zi_fetched_values){.values = zi_view_host(view)};
    if (out->values) return zi_wait(exec, error);
    size_t bytes = view.rows * view.columns * sizeof *out->values;
    out->values = out->copy = malloc(bytes);
    if (out->copy ? zi_read(exec, view, out->copy, error) : zi_error_no_memory(error, bytes))
        return true;
    zi_fetched_values_free(out);
    return false;
}

void zi_fetched_values_free(zi_fetched_values *values)
{
    free(values->copy);
    *values = (zi_fetched_values){0};
}
