#include "server/refusal.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* As much of a field's name as there is room for, in whole characters: a client may send any. */
static void name_field(zi_refusal *refusal, const char *field)
{
    size_t size = strlen(field), fits = 0, next;
    while (fits < size && (next = zi_utf8_sequence(field + fits, size - fits)) &&
           fits + next < sizeof refusal->field)
        fits += next;
    memcpy(refusal->field, field, fits);
    refusal->field[fits] = 0;
}

bool zi_refuse(zi_refusal *refusal, unsigned status, const char *field, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    refusal->status = status;
    name_field(refusal, field ? field : "");
    vsnprintf(refusal->text, sizeof refusal->text, format, args);
    va_end(args);
    return false;
}

bool zi_refuse_no_memory(zi_refusal *refusal)
{
    return zi_refuse(refusal, 500, NULL, "out of memory");
}

static unsigned status_of(zi_error_code code)
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

static bool is_field(const zi_parameter *table, const char *name)
{
    for (; table && table->name; table++)
        if (!strcmp(table->name, name)) return true;
    return false;
}

bool zi_refuse_error(zi_refusal *refusal, const zi_parameter *table, const char *field,
                     const zi_error *error)
{
    if (!field && is_field(table, error->subject)) field = error->subject;
    return zi_refuse(refusal, status_of(error->code), field, "%s", error->text);
}

bool zi_refuse_body(zi_refusal *refusal, const char *what, const zi_error *error)
{
    bool theirs = error->code == ZI_ERROR_BAD_FORMAT || error->code == ZI_ERROR_UNSUPPORTED;
    return zi_refuse(refusal, theirs ? 400 : status_of(error->code), NULL, "%s: %s", what,
                     error->text + error->message);
}
