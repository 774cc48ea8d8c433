#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static bool fill(zi_error *error, zi_status status, const char *format, va_list args)
{
    if (error) {
        error->status = status;
        vsnprintf(error->text, sizeof error->text, format, args);
        /* One line, whatever a file name or a foreign library brought along. */
        for (char *c = error->text; *c; c++)
            if ((unsigned char)*c < 0x20) *c = ' ';
    }
    return false;
}

bool zi_fail(zi_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(error, ZI_FAILED, format, args);
    va_end(args);
    return false;
}

bool zi_misuse(zi_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(error, ZI_MISUSE, format, args);
    va_end(args);
    return false;
}

bool zi_cancelled(zi_error *error)
{
    zi_fail(error, "cancelled");
    if (error) error->status = ZI_CANCELLED;
    return false;
}

bool zi_out_of_memory(zi_error *error, size_t bytes)
{
    return zi_fail(error, "out of memory: could not get %zu bytes; a smaller picture needs less",
                   bytes);
}
