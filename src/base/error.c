#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes text, in place and of the same length, one line of valid UTF-8, whatever a file name or a
 * foreign library brought along: control characters become spaces, bytes that are no UTF-8, as
 * where a long name was cut, question marks. */
static void clean_text(char *text)
{
    size_t size = strlen(text), length;
    for (size_t i = 0; i < size; i += length ? length : 1) {
        length = zi_utf8_sequence(text + i, size - i);
        if (!length) text[i] = '?';
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) text[i] = ' ';
    }
}

/* Fills *error, if it is not NULL, with code, subject (NULL: "") and the text "FILE: MESSAGE" (file
 * NULL: the message alone). Returns false. The error is made aside, as the arguments may lie in
 * *error. */
static bool fill_error(zi_error *error, zi_error_code code, const char *file, const char *subject,
                       const char *format, va_list args)
{
    if (!error) return false;
    zi_error made = {.code = code};
    if (file) snprintf(made.text, sizeof made.text, "%s: ", file);
    made.message = strlen(made.text);
    vsnprintf(made.text + made.message, sizeof made.text - made.message, format, args);
    snprintf(made.subject, sizeof made.subject, "%s", subject ? subject : "");
    clean_text(made.text);
    clean_text(made.subject);
    *error = made;
    return false;
}

bool zi_error_set(zi_error *error, zi_error_code code, const char *subject, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill_error(error, code, subject, subject, format, args);
    va_end(args);
    return false;
}

bool zi_error_set_in(zi_error *error, zi_error_code code, const char *file, const char *subject,
                     const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill_error(error, code, file, subject, format, args);
    va_end(args);
    return false;
}

bool zi_error_no_memory(zi_error *error, size_t bytes)
{
    char size[32];
    return zi_error_set(error, ZI_ERROR_NO_MEMORY, NULL,
                        "out of memory: could not get %s; close other programs, or use a smaller "
                        "image or model",
                        zi_format_bytes(bytes, size));
}

bool zi_error_cancelled(zi_error *error)
{
    return zi_error_set(error, ZI_ERROR_CANCELLED, NULL, "cancelled");
}

zi_error_code zi_error_code_of_errno(void)
{
    return errno == ENOENT || errno == ENOTDIR ? ZI_ERROR_NOT_FOUND : ZI_ERROR_IO;
}

bool zi_check_reserved(const void *reserved, size_t size, zi_error *error)
{
    const unsigned char *bytes = reserved;
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "reserved",
                                "is not 0: clear the struct before it is filled, or update the "
                                "library");
    return true;
}

/* ---- the library ---- */

const char *zi_version(void)
{
    return ZI_VERSION;
}

void zi_free(void *pointer)
{
    free(pointer);
}
