#include "model/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NAME = 64 };

bool zi_run_finish_layer(const zi_run *run, double fraction, zi_view x, zi_error *error,
                         const char *name, ...)
{
    char text[MAX_NAME];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    zi_check_finite(run->exec, x, text);
    return zi_run_progress(run, fraction, error);
}

bool zi_run_progress(const zi_run *run, double fraction, zi_error *error)
{
    if (!zi_submit(run->exec, error)) return false;
    if (run->layer_done && !run->layer_done(run->user, fraction)) return zi_error_cancelled(error);
    return true;
}

/* Reads data to the host, which waits for it, and passes it to the tap as rows of `columns`, which
 * divides its number of values. Passes nothing if memory is short or reading fails, and sets no
 * error. Only tests use taps, so the memory is not planned. */
static void read_and_tap(const zi_run *run, zi_view data, size_t columns, const char *name)
{
    size_t count = data.rows * data.columns;
    float *values = malloc(count * sizeof *values);
    if (values && zi_read(run->exec, data, values, NULL))
        run->tap(run->tap_user, name, values, count / columns, columns);
    free(values);
}

void zi_run_tap(const zi_run *run, zi_view data, const char *name, ...)
{
    char text[MAX_NAME];
    va_list args;
    if (!run->tap) return;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    read_and_tap(run, data, data.columns, text);
}

void zi_run_tap_map(const zi_run *run, const zi_feature_map *map, const char *name)
{
    if (run->tap) read_and_tap(run, map->view, map->channels, name);
}
