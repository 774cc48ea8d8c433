#include "server/params.h"
#include "server/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXACT_SEED 9007199254740991.0 /* 2^53 - 1: a double has no larger number's digits */

bool zi_seed_parse(const char *text, uint64_t *out)
{
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno || value > UINT64_MAX) return false;
    *out = value;
    return true;
}

/* ---- reading a field ---- */

/* What kind of value a JSON item is, in words. */
static const char *type_text(const cJSON *item)
{
    return cJSON_IsString(item)   ? "text"
           : cJSON_IsNumber(item) ? "a number"
           : cJSON_IsBool(item)   ? "true or false"
           : cJSON_IsArray(item)  ? "a list"
           : cJSON_IsObject(item) ? "an object"
                                  : "null";
}

/* Sets ZI_ERROR_INVALID_ARGUMENT with "must be TYPE, not ...", which names the item's kind of
 * value, and the parameter's name as subject; returns false. */
static bool set_type_error(const zi_parameter *p, const cJSON *item, const char *type,
                           zi_error *error)
{
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, p->name, "must be %s, not %s", type,
                        type_text(item));
}

/* Sets *out to the string of a JSON item, borrowed. False: it is no string, its length in bytes is
 * out of range, or it is not valid UTF-8; *error is set, and *out may have changed. */
static bool read_text(const zi_parameter *p, const cJSON *item, const char **out, zi_error *error)
{
    if (!cJSON_IsString(item)) return set_type_error(p, item, "text", error);
    *out = item->valuestring;
    return zi_parameter_check_text(p, *out, zi_parameter_max(p, true), error);
}

/* Stores a JSON number in *out, an int or a double by the parameter's type; an int that must be a
 * multiple is rounded down to one, the rule for sizes in all APIs. False: it is no number, not
 * whole (for an int), or out of the server's range; *error is set and *out unchanged. */
static bool read_number(const zi_parameter *p, const cJSON *item, void *out, zi_error *error)
{
    bool whole = p->type == ZI_PARAMETER_INT;
    double value = item->valuedouble;
    double max = zi_parameter_max(p, true);
    zi_parameter any = *p;
    any.multiple = 0;
    if (!cJSON_IsNumber(item))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, p->name,
                            "must be a %snumber from %.16g to %.16g, not %s", whole ? "whole " : "",
                            p->min, max, type_text(item));
    if (!zi_parameter_check(&any, value, max, error)) return false;
    if (whole)
        *(int *)out = p->multiple ? (int)value / p->multiple * p->multiple : (int)value;
    else
        *(double *)out = value;
    return true;
}

/* Stores a JSON bool in *out. False: it is none; *error is set and *out unchanged. */
static bool read_bool(const zi_parameter *p, const cJSON *item, bool *out, zi_error *error)
{
    if (!cJSON_IsBool(item)) return set_type_error(p, item, "true or false", error);
    *out = cJSON_IsTrue(item);
    return true;
}

/* Sets *out to the index of the choice that a JSON string names. False: it names none, or is no
 * string; *error is set and *out unchanged. */
static bool read_choice(const zi_parameter *p, const cJSON *item, int *out, zi_error *error)
{
    if (cJSON_IsString(item)) return zi_parameter_choose(p, item->valuestring, out, error);
    char *text = cJSON_PrintUnformatted(item); /* NULL: out of memory */
    bool ok = zi_parameter_choose(p, text ? text : "", out, error);
    cJSON_free(text);
    return ok;
}

/* Reads a seed, 0 to 2^64-1: a JSON string of digits, or a whole number, of whose digits none is
 * lost. False: it is neither; *error is set and *out unchanged. */
static bool read_seed(const zi_parameter *p, const cJSON *item, uint64_t *out, zi_error *error)
{
    double value = item->valuedouble;
    const char *digits = cJSON_IsString(item) ? item->valuestring : zi_json_digits(item);
    if (digits && zi_seed_parse(digits, out)) return true;
    if (!digits && !cJSON_IsNumber(item))
        return set_type_error(p, item, "a whole number from 0 to 18446744073709551615", error);
    bool exact = value >= 0 && value <= MAX_EXACT_SEED && value == floor(value);
    if (!digits && exact) {
        *out = (uint64_t)value;
        return true;
    }
    char number[40];
    snprintf(number, sizeof number, "%.17g", value);
    const char *quote = cJSON_IsString(item) ? "'" : "";
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, p->name,
                        "%s%s%s is not a whole number from 0 to 18446744073709551615; leave the "
                        "field out for a random seed",
                        quote, digits ? digits : number, quote);
}

/* Reads a JSON value that is not null into *out, whose C type follows from p->type (see
 * zi_parameter_type); a text is borrowed. False: wrong type or out of range; *error is set, and
 * only a text may have changed. */
static bool read_value(const zi_parameter *p, const cJSON *item, void *out, zi_error *error)
{
    switch (p->type) {
    case ZI_PARAMETER_TEXT:
        return read_text(p, item, out, error);
    case ZI_PARAMETER_INT:
    case ZI_PARAMETER_REAL:
        return read_number(p, item, out, error);
    case ZI_PARAMETER_BOOL:
        return read_bool(p, item, out, error);
    case ZI_PARAMETER_CHOICE:
        return read_choice(p, item, out, error);
    case ZI_PARAMETER_SEED:
        return read_seed(p, item, out, error);
    }
    return true;
}

bool zi_params_read_field(const zi_parameter *p, const cJSON *item, void *out,
                          zi_http_error *http_error)
{
    zi_error error = {0};
    if (!read_value(p, item, (char *)out + p->offset, &error))
        return zi_http_error_from(http_error, NULL, p->name, &error);
    if (p->given) *(bool *)((char *)out + p->given) = true;
    return true;
}

/* ---- reading an object ---- */

/* Returns the index of the row of that name; -1: none. */
static int find_row(const zi_parameter *table, const char *name)
{
    for (int i = 0; table[i].name; i++)
        if (!strcmp(table[i].name, name)) return i;
    return -1;
}

/* Checks that all required fields are present and not null. False: *http_error is a 400 that names
 * the first missing one. */
static bool check_required(const cJSON *object, const zi_parameter *table,
                           zi_http_error *http_error)
{
    for (const zi_parameter *p = table; p->name; p++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, p->name);
        if (p->required && (!item || cJSON_IsNull(item)))
            return zi_http_error_set(http_error, 400, p->name, "%s: is missing", p->name);
    }
    return true;
}

bool zi_params_check_unique(const cJSON *object, const cJSON *item, zi_http_error *http_error)
{
    return cJSON_GetObjectItemCaseSensitive(object, item->string) == item ||
           zi_http_error_set(http_error, 400, item->string, "%s: appears twice; send it once",
                             item->string);
}

bool zi_params_set_unknown_error(const char *name, zi_http_error *http_error)
{
    return zi_http_error_set(http_error, 400, name, "%s: unknown field; remove it", name);
}

void zi_params_append_known(const char *name, bool *any, zi_http_error *http_error)
{
    zi_http_error_append(http_error, *any ? ", " : ", or check its name: the fields are ");
    zi_http_error_append(http_error, name);
    *any = true;
}

/* Sets the error for an unknown field, which lists those that the table has; returns false. */
static bool set_unknown_error(const char *name, const zi_parameter *table,
                              zi_http_error *http_error)
{
    bool any = false;
    zi_params_set_unknown_error(name, http_error);
    for (const zi_parameter *p = table; p->name; p++)
        zi_params_append_known(p->name, &any, http_error);
    return false;
}

bool zi_params_read(const cJSON *object, const zi_parameter *table, void *out, zi_fields *fields,
                    zi_http_error *http_error)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        int row = find_row(table, item->string);
        if (row < 0) return set_unknown_error(item->string, table, http_error);
        if (!zi_params_check_unique(object, item, http_error)) return false;
        fields->given |= UINT64_C(1) << row;
        if (cJSON_IsNull(item))
            fields->null |= UINT64_C(1) << row;
        else if (!zi_params_read_field(&table[row], item, out, http_error))
            return false;
    }
    return check_required(object, table, http_error);
}

/* ---- structs ---- */

/* The place of a text parameter in the struct `params`. */
static const char **text_field(const zi_parameter *p, void *params)
{
    return (const char **)(void *)((char *)params + p->offset);
}

bool zi_params_copy_texts(const zi_parameter *table, void *params)
{
    bool ok = true;
    for (const zi_parameter *p = table; p->name; p++) {
        if (p->type != ZI_PARAMETER_TEXT || !*text_field(p, params)) continue;
        *text_field(p, params) = ok ? strdup(*text_field(p, params)) : NULL;
        ok = *text_field(p, params) != NULL;
    }
    return ok;
}

void zi_params_free_texts(const zi_parameter *table, void *params)
{
    for (const zi_parameter *p = table; p->name; p++)
        if (p->type == ZI_PARAMETER_TEXT) free((char *)*text_field(p, params));
}

/* Whether the value at `at`, whose C type follows from p->type, is not 0, false or NULL. */
static bool has_value(const zi_parameter *p, const void *at)
{
    switch (p->type) {
    case ZI_PARAMETER_TEXT:
        return *(const char *const *)at != NULL;
    case ZI_PARAMETER_INT:
    case ZI_PARAMETER_CHOICE:
        return *(const int *)at != 0;
    case ZI_PARAMETER_REAL:
        return *(const double *)at != 0;
    case ZI_PARAMETER_BOOL:
        return *(const bool *)at;
    case ZI_PARAMETER_SEED:
        return *(const uint64_t *)at != 0;
    }
    return false;
}

zi_fields zi_params_nonzero_fields(const zi_parameter *table, const void *params)
{
    zi_fields fields = {0, 0};
    for (int i = 0; table[i].name; i++)
        if (has_value(&table[i], (const char *)params + table[i].offset))
            fields.given |= UINT64_C(1) << i;
    return fields;
}

void zi_fields_add(zi_fields *fields, const zi_parameter *table, const char *name)
{
    uint64_t bit = UINT64_C(1) << find_row(table, name);
    fields->given |= bit;
    fields->null &= ~bit;
}

/* Returns the value at `at`, whose C type follows from p->type, as new JSON: a choice by its name,
 * a seed as a string of digits. NULL (not JSON's null): a text of NULL, or out of memory. */
static cJSON *value_json(const zi_parameter *p, const void *at)
{
    char digits[24];
    switch (p->type) {
    case ZI_PARAMETER_TEXT:
        return cJSON_CreateString(*(const char *const *)at);
    case ZI_PARAMETER_INT:
        return cJSON_CreateNumber(*(const int *)at);
    case ZI_PARAMETER_REAL:
        return cJSON_CreateNumber(*(const double *)at);
    case ZI_PARAMETER_BOOL:
        return cJSON_CreateBool(*(const bool *)at);
    case ZI_PARAMETER_CHOICE:
        return cJSON_CreateString(p->choices[*(const int *)at]);
    case ZI_PARAMETER_SEED:
        snprintf(digits, sizeof digits, "%" PRIu64, *(const uint64_t *)at);
        return cJSON_CreateString(digits);
    }
    return NULL;
}

cJSON *zi_params_json(const zi_parameter *table, const void *params, const zi_fields *fields)
{
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; table[i].name; i++) {
        uint64_t bit = UINT64_C(1) << i;
        const void *at = (const char *)params + table[i].offset;
        if (fields->given & bit)
            cJSON_AddItemToObject(object, table[i].name,
                                  fields->null & bit ? cJSON_CreateNull()
                                                     : value_json(&table[i], at));
    }
    return object;
}
