/* The context that every stage of a request receives: operations, memory, progress and taps. */
#ifndef ZI_MODEL_RUN_H
#define ZI_MODEL_RUN_H

#include "backend/arena.h"

/* Receives a named intermediate result, data [rows, columns]; for tests. */
typedef void (*zi_tap_fn)(void *user, const char *name, const float *data, size_t rows,
                          size_t columns);

typedef struct {
    zi_exec *exec;
    zi_arena *arena;
    /* Called after every layer with the finished fraction of the stage, 0..1. Returning false
     * cancels the request. May be NULL. */
    bool (*layer_done)(void *user, double fraction);
    void *user;
    zi_tap_fn tap; /* may be NULL */
    void *tap_user;
} zi_run;

/* To be called after a layer: has its output x checked for values that are not finite, submits the
 * recorded operations and reports the finished fraction (0..1) of the stage. name: printf-like, the
 * layer named in errors. Fails as zi_run_progress does; a value that is not finite
 * (ZI_ERROR_BAD_FORMAT) may be reported by a later call only. */
bool zi_run_finish_layer(const zi_run *run, double fraction, zi_view x, zi_error *error,
                         const char *name, ...) ZI_CHECKED ZI_PRINTF(5, 6);

/* Submits the recorded operations and calls run->layer_done, if set, with the finished fraction of
 * the stage (0..1). Fails as zi_submit does if earlier operations went wrong, without that call, or
 * with ZI_ERROR_CANCELLED when layer_done returns false; the submitted operations still run. */
bool zi_run_progress(const zi_run *run, double fraction, zi_error *error) ZI_CHECKED;

/* Waits for data and passes it to run->tap, row by row as it is; does nothing if no tap is set, or
 * if reading fails. name: printf-like. */
void zi_run_tap(const zi_run *run, zi_view data, const char *name, ...) ZI_PRINTF(3, 4);

/* Waits for a feature map and passes it to run->tap, one row of channels per pixel; does nothing if
 * no tap is set, or if reading fails. name is no format. */
void zi_run_tap_map(const zi_run *run, const zi_feature_map *map, const char *name);

#endif
