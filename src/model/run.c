#include "model/run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { MAX_NAME = 64 };

static bool all_finite(const float *x, size_t n)
{
    /* x - x is 0 for finite values only; summing keeps the loop free of branches. */
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] - x[i];
    return sum == 0;
}

bool zi_run_layer_done(const zi_run *run, double fraction, const float *x, size_t rows,
                       size_t columns, zi_error *error, const char *name, ...)
{
    char text[MAX_NAME];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    if (run->tap) run->tap(run->tap_user, text, x, rows, columns);
    if (!all_finite(x, rows * columns))
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, text,
                            "the results are not finite numbers; the model's weights are "
                            "damaged or not for this program");
    if (run->layer_done && !run->layer_done(run->user, fraction)) return zi_error_cancelled(error);
    return true;
}

void zi_run_tap(const zi_run *run, const float *data, size_t rows, size_t columns, const char *name,
                ...)
{
    if (!run->tap) return;
    char text[MAX_NAME];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    run->tap(run->tap_user, text, data, rows, columns);
}
