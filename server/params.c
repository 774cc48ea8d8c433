#include "server/params.h"

#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

static bool is_field(const zi_param *fields, const char *name)
{
    for (; fields && fields->name; fields++)
        if (!strcmp(fields->name, name)) return true;
    return false;
}

bool zi_refuse_error(zi_refusal *refusal, const zi_param *fields, const char *field,
                     const zi_error *error)
{
    if (!field && is_field(fields, error->subject)) field = error->subject;
    return zi_refuse(refusal, status_of(error->code), field, "%s", error->text);
}

bool zi_refuse_body(zi_refusal *refusal, const char *what, const zi_error *error)
{
    bool theirs = error->code == ZI_ERROR_BAD_FORMAT || error->code == ZI_ERROR_UNSUPPORTED;
    return zi_refuse(refusal, theirs ? 400 : status_of(error->code), NULL, "%s: %s", what,
                     error->text + error->message);
}

bool zi_seed_parse(const char *text, uint64_t *out)
{
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno || value > UINT64_MAX) return false;
    *out = value;
    return true;
}

bool zi_params_set(cJSON *object, const char *name, cJSON *value)
{
    if (!value) return false;
    if (cJSON_GetObjectItemCaseSensitive(object, name))
        return cJSON_ReplaceItemInObjectCaseSensitive(object, name, value);
    return cJSON_AddItemToObject(object, name, value);
}

static bool read_text(const zi_param *p, const cJSON *item, const char **out, zi_refusal *refusal)
{
    if (!cJSON_IsString(item)) return zi_refuse(refusal, 400, p->name, "%s must be text", p->name);
    double size = (double)strlen(item->valuestring);
    if (size < p->min) return zi_refuse(refusal, 400, p->name, "%s is empty", p->name);
    if (size > p->max)
        return zi_refuse(refusal, 400, p->name, "%s has %.0f bytes; %.0f are the most", p->name,
                         size, p->max);
    *out = item->valuestring;
    return true;
}

static bool read_number(const zi_param *p, const cJSON *item, double *out, zi_refusal *refusal)
{
    bool whole = p->kind == ZI_PARAM_INT;
    double value = item->valuedouble;
    if (!cJSON_IsNumber(item) || (whole && value != floor(value)))
        return zi_refuse(refusal, 400, p->name, "%s must be a %snumber", p->name,
                         whole ? "whole " : "");
    if (!(value >= p->min && value <= p->max))
        return zi_refuse(refusal, 400, p->name, "%s is out of range; it goes from %g to %g",
                         p->name, p->min, p->max);
    if (p->multiple && fmod(value, p->multiple) != 0)
        return zi_refuse(refusal, 400, p->name, "%s must be a multiple of %d", p->name,
                         p->multiple);
    *out = value;
    return true;
}

static bool read_choice(const zi_param *p, const cJSON *item, int *out, zi_refusal *refusal)
{
    const char *text = cJSON_IsString(item) ? item->valuestring : "", *word = p->words;
    for (int i = 0;; i++) {
        size_t length = strcspn(word, "|");
        if (length == strlen(text) && !memcmp(word, text, length)) {
            *out = i;
            return true;
        }
        if (!word[length])
            return zi_refuse(refusal, 400, p->name, "%s must be one of %s", p->name, p->words);
        word += length + 1;
    }
}

static bool read_seed(const zi_param *p, const cJSON *item, zi_seed *out, zi_refusal *refusal)
{
    double value = item->valuedouble;
    bool number =
        cJSON_IsNumber(item) && value >= 0 && value <= 9007199254740991.0 && value == floor(value);
    if (number) out->value = (uint64_t)value;
    if (!number && !(cJSON_IsString(item) && zi_seed_parse(item->valuestring, &out->value)))
        return zi_refuse(refusal, 400, p->name,
                         "%s must be a whole number from 0 to 18446744073709551615, as text when "
                         "it is larger than 9007199254740991",
                         p->name);
    out->given = true;
    return true;
}

static bool read_one(const zi_param *p, const cJSON *item, void *out, zi_refusal *refusal)
{
    void *at = (char *)out + p->offset;
    double value;
    switch (p->kind) {
    case ZI_PARAM_TEXT:
        return read_text(p, item, at, refusal);
    case ZI_PARAM_INT:
        if (!read_number(p, item, &value, refusal)) return false;
        *(int *)at = (int)value;
        return true;
    case ZI_PARAM_REAL:
        return read_number(p, item, at, refusal);
    case ZI_PARAM_BOOL:
        if (!cJSON_IsBool(item))
            return zi_refuse(refusal, 400, p->name, "%s must be true or false", p->name);
        *(bool *)at = cJSON_IsTrue(item);
        return true;
    case ZI_PARAM_CHOICE:
        return read_choice(p, item, at, refusal);
    case ZI_PARAM_SEED:
        return read_seed(p, item, at, refusal);
    }
    return true;
}

static bool read_all(const cJSON *object, const zi_param *table, bool known_only, void *out,
                     zi_refusal *refusal)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const zi_param *p = table;
        while (p->name && strcmp(p->name, item->string) != 0) p++;
        if (!p->name && known_only) continue;
        if (!p->name)
            return zi_refuse(refusal, 400, item->string, "%s: there is no such field",
                             item->string);
        if (cJSON_GetObjectItemCaseSensitive(object, item->string) != item)
            return zi_refuse(refusal, 400, p->name, "%s stands there twice", p->name);
        if (!cJSON_IsNull(item) && !read_one(p, item, out, refusal)) return false;
    }
    for (const zi_param *p = table; p->name; p++) {
        const cJSON *there = cJSON_GetObjectItemCaseSensitive(object, p->name);
        if (p->required && (!there || cJSON_IsNull(there)))
            return zi_refuse(refusal, 400, p->name, "%s is missing", p->name);
    }
    return true;
}

bool zi_params_read(const cJSON *object, const zi_param *table, void *out, zi_refusal *refusal)
{
    return read_all(object, table, false, out, refusal);
}

bool zi_params_read_known(const cJSON *object, const zi_param *table, void *out,
                          zi_refusal *refusal)
{
    return !cJSON_IsObject(object) || read_all(object, table, true, out, refusal);
}
