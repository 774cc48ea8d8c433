#include "server/fields.h"
#include "server/json.h"
#include "server/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- values that are text ---- */

/* Whether the text, which may have blanks around it, is a decimal number. If so, *number becomes a
 * JSON number in no tree, which borrows a long text as its digits (zi_json_digits). */
static bool text_as_number(const char *text, cJSON *number)
{
    static const char blanks[] = " \t\r\n";
    char *end;
    text += strspn(text, blanks);
    size_t length = strspn(text, "+-.0123456789eE");
    if (!length || text[length + strspn(text + length, blanks)]) return false;
    double value = strtod(text, &end);
    if (end != text + length || !isfinite(value)) return false;
    *number = (cJSON){.type = cJSON_Number, .valuedouble = value};
    if (!text[length] && length > ZI_JSON_EXACT_DIGITS) number->valuestring = (char *)text;
    return true;
}

/* Whether the text or number stands for true or false, in the words of pydantic, with which A1111
 * reads requests; *flag becomes a JSON bool in no tree. */
static bool value_as_bool(const cJSON *item, cJSON *flag)
{
    static const char *const words[][6] = {{"false", "no", "off", "0", "n", "f"},
                                           {"true", "yes", "on", "1", "y", "t"}};
    for (int value = 0; value < 2; value++) {
        bool same = cJSON_IsNumber(item) && item->valuedouble == value;
        for (int i = 0; cJSON_IsString(item) && i < 6; i++)
            same |= !strcasecmp(item->valuestring, words[value][i]);
        if (same) *flag = (cJSON){.type = value ? cJSON_True : cJSON_False};
        if (same) return true;
    }
    return false;
}

/* Returns the value as the type demands, if it is text (or for a flag a number) that stands for
 * one, in *copy, which borrows from item; else the item itself. */
static const cJSON *convert_text(const cJSON *item, zi_parameter_type type, cJSON *copy)
{
    bool number =
        type == ZI_PARAMETER_INT || type == ZI_PARAMETER_REAL || type == ZI_PARAMETER_SEED;
    if (number && cJSON_IsString(item) && text_as_number(item->valuestring, copy)) return copy;
    if (type == ZI_PARAMETER_BOOL && value_as_bool(item, copy)) return copy;
    return item;
}

/* ---- values that ask for nothing ---- */

/* Whether the item has this value; a text in any letter case, and also one that stands for it
 * ("0", "false"). */
static bool has_value(const cJSON *item, const cJSON *value)
{
    cJSON copy;
    if (cJSON_IsString(item) && cJSON_IsString(value))
        return !strcasecmp(item->valuestring, value->valuestring);
    if (cJSON_IsNumber(value)) item = convert_text(item, ZI_PARAMETER_REAL, &copy);
    if (cJSON_IsBool(value)) item = convert_text(item, ZI_PARAMETER_BOOL, &copy);
    return cJSON_Compare(item, value, true);
}

/* Whether the item is "", [] or {}. */
static bool is_empty(const cJSON *item)
{
    return (cJSON_IsString(item) && !*item->valuestring) ||
           ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

/* Whether the value is the same as no field at all. Out of memory: false. */
static bool is_neutral(const cJSON *item, const zi_client_field *field)
{
    if (cJSON_IsNull(item) || (field->role == ZI_FIELD_REFUSED && is_empty(item))) return true;
    cJSON *values = field->neutral ? cJSON_Parse(field->neutral) : NULL;
    const cJSON *value;
    bool found = false;
    cJSON_ArrayForEach(value, values) found |= has_value(item, value);
    cJSON_Delete(values);
    return found;
}

/* ---- errors ---- */

/* Appends the values of a JSON array such as ["a",1] to the message, as "a" or 1. */
static void append_values(const char *array, zi_http_error *http_error)
{
    cJSON *values = cJSON_Parse(array);
    const cJSON *value;
    cJSON_ArrayForEach(value, values)
    {
        char *text = cJSON_PrintUnformatted(value);
        if (value != values->child) zi_http_error_append(http_error, " or ");
        zi_http_error_append(http_error, text ? text : "?");
        cJSON_free(text);
    }
    cJSON_Delete(values);
}

/* Sets the error that a field is not supported, with the start of its value, and the neutral values
 * of the table; returns false. */
static bool set_unsupported_error(const cJSON *item, const zi_client_field *field,
                                  zi_http_error *http_error)
{
    char *value = cJSON_PrintUnformatted(item);
    const char *text = value ? value : "?";
    bool is_long = strlen(text) > 60;
    int shown = is_long ? 40 : (int)strlen(text);
    while (is_long && ((unsigned char)text[shown] & 0xc0) == 0x80) shown--; /* whole characters */
    zi_http_error_set(http_error, 400, item->string,
                      "%s: is not supported, so it cannot be %.*s%s; omit it%s", item->string,
                      shown, text, is_long ? "..." : "", field->neutral ? ", or send " : "");
    if (field->neutral) append_values(field->neutral, http_error);
    cJSON_free(value);
    return false;
}

/* Sets the error for a field that the table does not have, which lists the fields that are used, if
 * there are any; returns false. */
static bool set_unknown_error(const cJSON *item, const zi_client_field *table,
                              zi_http_error *http_error)
{
    bool any = false;
    zi_params_set_unknown_error(item->string, http_error);
    for (const zi_client_field *field = table; field->name; field++)
        if (field->role != ZI_FIELD_NO_EFFECT && field->role != ZI_FIELD_REFUSED)
            zi_params_append_known(field->name, &any, http_error);
    return false;
}

/* ---- reading ---- */

/* Whether the row is for all names with one beginning. */
static bool is_pattern(const zi_client_field *field)
{
    return field->name[strlen(field->name) - 1] == '*';
}

/* Whether the name is the field's, or begins like it if that ends with '*'. */
static bool is_named(const zi_client_field *field, const char *name)
{
    return is_pattern(field) ? !strncmp(name, field->name, strlen(field->name) - 1)
                             : !strcmp(name, field->name);
}

/* Returns the first row of the table for that name; NULL: there is none. */
static const zi_client_field *find_field(const zi_client_field *table, const char *name)
{
    while (table->name && !is_named(table, name)) table++;
    return table->name ? table : NULL;
}

/* A whole request while it is read. */
typedef struct {
    const cJSON *object;
    const zi_client_field *table;
    bool lenient;
    void *out;
} request_reading;

/* The value of a field, as the type of its parameter demands. */
typedef union {
    const char *text;
    int integer; /* also the index of a choice */
    double real;
    bool flag;
    uint64_t seed;
} field_value;

/* The type and range of a used field, under its name. */
static zi_parameter parameter_of(const zi_client_field *field)
{
    zi_parameter row = field->own ? *field->own : *zi_parameter_find(field->parameter);
    row.name = field->name;
    row.offset = field->offset;
    row.given = field->given;
    return row;
}

/* Reads the value into its place in the struct `out`; lenient: as in zi_client_fields_read. False:
 * it is not valid; *http_error is a 400. */
static bool read_value(const zi_parameter *row, const cJSON *item, bool lenient, void *out,
                       zi_http_error *http_error)
{
    cJSON copy;
    if (lenient) item = convert_text(item, row->type, &copy);
    return zi_params_read_field(row, item, out, http_error);
}

/* Whether both items are valid values of their fields, which are of one type, and differ. */
static bool differ(const cJSON *item, const zi_client_field *field, const cJSON *also,
                   const zi_client_field *other, bool lenient)
{
    field_value a = {0}, b = {0};
    zi_http_error ignored;
    zi_parameter row = parameter_of(field), other_row = parameter_of(other);
    row.offset = other_row.offset = row.given = other_row.given = 0;
    if (!read_value(&row, item, lenient, &a, &ignored) ||
        !read_value(&other_row, also, lenient, &b, &ignored))
        return false;
    switch (row.type) {
    case ZI_PARAMETER_TEXT:
        return strcmp(a.text, b.text) != 0;
    case ZI_PARAMETER_INT:
    case ZI_PARAMETER_CHOICE:
        return a.integer != b.integer;
    case ZI_PARAMETER_REAL:
        return a.real != b.real;
    case ZI_PARAMETER_BOOL:
        return a.flag != b.flag;
    case ZI_PARAMETER_SEED:
        return a.seed != b.seed;
    }
    return false;
}

enum { MAX_PATH = 200 }; /* bytes of the names of nested objects and a field */

/* Finds the first used field, in the order of the tables, for that offset of the request, in the
 * object and those in it. Returns its value, its row in *found, and in path the prefix and its name
 * with those of its objects. NULL: there is none. */
static const cJSON *find_first(const cJSON *object, const zi_client_field *table, size_t offset,
                               const char *prefix, const zi_client_field **found, char *path)
{
    const cJSON *first = NULL;
    for (const zi_client_field *field = table; field->name && !first; field++) {
        bool used = field->role == ZI_FIELD_USED && field->offset == offset;
        if (!used && field->role != ZI_FIELD_OBJECT) continue;
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field->name);
        char inner[MAX_PATH];
        if (!item || is_neutral(item, field)) continue;
        snprintf(path, MAX_PATH, "%s%s", prefix, field->name);
        snprintf(inner, sizeof inner, "%s%s.", prefix, field->name);
        *found = field;
        first = used ? item : find_first(item, field->members, offset, inner, found, path);
    }
    return first;
}

/* Checks that the item has the same value as the first field of the request for the same place,
 * which may be in another object. False: *http_error names both. */
static bool check_other_names(const request_reading *reading, const cJSON *item,
                              const zi_client_field *field, zi_http_error *http_error)
{
    char path[MAX_PATH];
    const zi_client_field *other;
    const cJSON *also =
        find_first(reading->object, reading->table, field->offset, "", &other, path);
    return !also || also == item || !differ(item, field, also, other, reading->lenient) ||
           zi_http_error_set(http_error, 400, field->name,
                             "%s: has another value than %s, but both are names of one "
                             "parameter; send one of them",
                             field->name, path);
}

static bool read_members(const request_reading *reading, const cJSON *object,
                         const zi_client_field *table, zi_http_error *http_error);

/* Reads one member of an object, whose row of the table is `field`. False: *http_error is set. */
static bool read_field(const request_reading *reading, const cJSON *item,
                       const zi_client_field *field, zi_http_error *http_error)
{
    if (field->role == ZI_FIELD_NO_EFFECT || is_neutral(item, field)) return true;
    if (field->role == ZI_FIELD_REFUSED) return set_unsupported_error(item, field, http_error);
    if (field->role == ZI_FIELD_USED) {
        zi_parameter row = parameter_of(field);
        return check_other_names(reading, item, field, http_error) &&
               read_value(&row, item, reading->lenient, reading->out, http_error);
    }
    if (!cJSON_IsObject(item))
        return zi_http_error_set(http_error, 400, item->string,
                                 "%s: must be a JSON object, such as {}", item->string);
    if (field->role == ZI_FIELD_ELSEWHERE ||
        read_members(reading, item, field->members, http_error))
        return true;
    zi_http_error inner = *http_error; /* its text begins with the member's name */
    return zi_http_error_set(http_error, inner.status, inner.field, "%s.%s", item->string,
                             inner.text);
}

/* Reads the members of the request, or of an object in it, by the object's table. False:
 * *http_error is set. */
static bool read_members(const request_reading *reading, const cJSON *object,
                         const zi_client_field *table, zi_http_error *http_error)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const zi_client_field *field = find_field(table, item->string);
        if (!field) return set_unknown_error(item, table, http_error);
        /* A row for many names never fills the request, so a name may come twice; to check each
         * would take the square of their number. */
        if ((!is_pattern(field) && !zi_params_check_unique(object, item, http_error)) ||
            !read_field(reading, item, field, http_error))
            return false;
    }
    return true;
}

bool zi_client_fields_read(const cJSON *object, const zi_client_field *table, bool lenient,
                           void *out, zi_http_error *http_error)
{
    const request_reading reading = {object, table, lenient, out};
    return read_members(&reading, object, table, http_error);
}
