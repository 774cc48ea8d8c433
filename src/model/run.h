/* What every stage of a request gets: where to compute, memory, and who is watching. */
#ifndef ZI_MODEL_RUN_H
#define ZI_MODEL_RUN_H

#include "backend/arena.h"

/* A test looks at intermediate results by name: data [rows, columns]. */
typedef void (*zi_tap_fn)(void *user, const char *name, const float *data, size_t rows,
                          size_t columns);

typedef struct {
    zi_exec *exec;
    zi_arena *arena;
    /* Called after every layer with the share of the stage that is done; false: stop. May be NULL.
     */
    bool (*layer_done)(void *user, double fraction);
    void *user;
    zi_tap_fn tap; /* may be NULL */
    void *tap_user;
} zi_run;

/* After a layer: makes sure that its output x is finite, and reports progress. name is printf-like
 * and names the layer for errors. */
bool zi_run_finish_layer(const zi_run *run, double fraction, zi_view x, zi_error *error,
                         const char *name, ...) ZI_CHECKED ZI_PRINTF(5, 6);

/* Has what was recorded begin, and reports progress; fails when the request was cancelled. */
bool zi_run_progress(const zi_run *run, double fraction, zi_error *error) ZI_CHECKED;

/* Shows data to the tap, if there is one; a feature map with a row for each pixel. name is
 * printf-like. */
void zi_run_tap(const zi_run *run, zi_view data, const char *name, ...) ZI_PRINTF(3, 4);
void zi_run_tap_map(const zi_run *run, const zi_feature_map *map, const char *name);

#endif
