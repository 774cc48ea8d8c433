/* What every stage of a request gets: where to compute, memory, and who is watching. */
#ifndef ZI_MODEL_RUN_H
#define ZI_MODEL_RUN_H

#include "backend/cpu/ops.h"

/* A test looks at intermediate results by name: data [rows, columns]. */
typedef void (*zi_tap_fn)(void *user, const char *name, const float *data, size_t rows,
                          size_t columns);

typedef struct {
    zi_ops *ops;
    zi_arena *arena;
    /* Called after every layer with the share of the stage that is done; false: stop. May be NULL.
     */
    bool (*layer_done)(void *user, double fraction);
    void *user;
    zi_tap_fn tap; /* may be NULL */
    void *tap_user;
} zi_run;

/* After a layer: reports progress and makes sure that x [rows, columns] is finite. name is
 * printf-like and names the layer for taps and errors. */
bool zi_run_layer_done(const zi_run *run, double fraction, const float *x, size_t rows,
                       size_t columns, zi_error *error, const char *name, ...) ZI_PRINTF(7, 8);

void zi_run_tap(const zi_run *run, const float *data, size_t rows, size_t columns, const char *name,
                ...) ZI_PRINTF(5, 6);

#endif
