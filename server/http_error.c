#include "server/http_error.h"
#include "server/hide_paths.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Sets http_error->field to a field's name (not NULL), cut to whole UTF-8 characters that fit and
 * before invalid UTF-8: clients may send any name. */
static void copy_field_name(zi_http_error *http_error, const char *field)
{
    size_t size = strlen(field), fits = 0, next;
    while (fits < size && (next = zi_utf8_sequence(field + fits, size - fits)) &&
           fits + next < sizeof http_error->field)
        fits += next;
    memcpy(http_error->field, field, fits);
    http_error->field[fits] = 0;
}

bool zi_http_error_set(zi_http_error *http_error, unsigned status, const char *field,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    http_error->status = status;
    copy_field_name(http_error, field ? field : "");
    vsnprintf(http_error->text, sizeof http_error->text, format, args);
    va_end(args);
    return false;
}

void zi_http_error_append(zi_http_error *http_error, const char *text)
{
    size_t length = strlen(http_error->text);
    snprintf(http_error->text + length, sizeof http_error->text - length, "%s", text);
}

bool zi_http_error_no_memory(zi_http_error *http_error)
{
    return zi_http_error_set(http_error, 500, NULL, "the server is out of memory; try again later");
}

bool zi_http_error_shutting_down(zi_http_error *http_error)
{
    return zi_http_error_set(http_error, 503, NULL,
                             "the server is shutting down; try again when it has restarted");
}

bool zi_http_error_forgotten_job(zi_http_error *http_error)
{
    return zi_http_error_set(http_error, 500, NULL,
                             "the job has ended, but the server has forgotten its result, since it "
                             "remembers only the last 100 jobs; GET /api/images lists the images");
}

unsigned zi_http_status_of_errno(int why)
{
    return why == ENOSPC || why == EDQUOT ? 507 : 500;
}

bool zi_http_error_not_stored(zi_http_error *http_error, int why)
{
    return zi_http_error_set(http_error, zi_http_status_of_errno(why), NULL,
                             "nothing was stored, since the uploaded file cannot be written to the "
                             "server's output folder, where uploads are checked first: %s; free "
                             "space on that disk, or make the folder writable for the server",
                             strerror(why));
}

/* The HTTP status for an error code of the library, as zi_http_error_from describes it: 400, 404,
 * 409, else 500. */
static unsigned http_status(zi_error_code code)
{
    switch (code) {
    case ZI_ERROR_INVALID_ARGUMENT:
        return 400;
    case ZI_ERROR_NOT_FOUND:
        return 404;
    case ZI_ERROR_EXISTS:
        return 409;
    default:
        return 500;
    }
}

/* Whether the table has a row of that name; a NULL table has none. */
static bool is_field(const zi_parameter *table, const char *name)
{
    for (; table && table->name; table++)
        if (!strcmp(table->name, name)) return true;
    return false;
}

bool zi_http_error_from(zi_http_error *http_error, const zi_parameter *table, const char *field,
                        const zi_error *error)
{
    char text[sizeof error->text];
    if (!field && is_field(table, error->subject)) field = error->subject;
    zi_hide_paths(error->text, text, sizeof text);
    return zi_http_error_set(http_error, http_status(error->code), field, "%s", text);
}

bool zi_http_error_from_body(zi_http_error *http_error, const char *what, const zi_error *error)
{
    char text[sizeof error->text];
    bool bad_file = error->code == ZI_ERROR_BAD_FORMAT || error->code == ZI_ERROR_UNSUPPORTED;
    zi_hide_paths(error->text + error->message, text, sizeof text);
    return zi_http_error_set(http_error, bad_file ? 400 : http_status(error->code), NULL, "%s: %s",
                             what, text);
}
