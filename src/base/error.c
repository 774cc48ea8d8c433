#include "base/error.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Makes one line of text, whatever a file name or a foreign library brought along: control
 * characters become spaces, bytes that are no UTF-8, as where a long name was cut, question marks.
 */
static void clean(char *text)
{
    size_t size = strlen(text), length;
    for (size_t i = 0; i < size; i += length ? length : 1) {
        length = zi_utf8_sequence(text + i, size - i);
        if (!length) text[i] = '?';
        if ((unsigned char)text[i] < 0x20) text[i] = ' ';
    }
}

static bool fill(zi_error *error, zi_status status, const char *format, va_list args)
{
    if (error) {
        error->status = status;
        vsnprintf(error->text, sizeof error->text, format, args);
        clean(error->text);
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
