#include "server/schema.h"
#include "server/json.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

extern const unsigned char zi_openapi[];
extern const size_t zi_openapi_size;

/* Whether it is an int or real parameter; a seed is none. */
static bool is_number(const zi_parameter *p)
{
    return p->type == ZI_PARAMETER_INT || p->type == ZI_PARAMETER_REAL;
}

/* ---- generation parameters ---- */

/* Adds `default` (a number, or the name of a choice; null: none) and `default_text` (the default in
 * words; "": none). */
static void add_default(cJSON *to, const zi_parameter *p)
{
    char text[64];
    zi_parameter_print_default(p, text);
    if (p->choices)
        cJSON_AddStringToObject(to, "default", p->choices[0]);
    else
        zi_json_add_number(to, "default", p->default_value, p->default_value || p->zero_off);
    zi_json_add_text(to, "default_text", text);
}

/* Describes a parameter as new JSON, schema Parameter, with the server's limits. What does not
 * apply is null. Out of memory: NULL, or members are missing. */
static cJSON *parameter_json(const zi_parameter *p)
{
    static const char *const types[] = {
        [ZI_PARAMETER_TEXT] = "text",     [ZI_PARAMETER_INT] = "integer",
        [ZI_PARAMETER_REAL] = "number",   [ZI_PARAMETER_BOOL] = "boolean",
        [ZI_PARAMETER_CHOICE] = "choice", [ZI_PARAMETER_SEED] = "seed"};
    static const char *const places[] = {
        [ZI_PAGE_OWN] = NULL, [ZI_PAGE_MAIN] = "main", [ZI_PAGE_MORE] = "more"};
    bool ranged = is_number(p) || p->type == ZI_PARAMETER_TEXT, slides = p->high > p->low;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", p->name);
    cJSON_AddStringToObject(json, "type", types[p->type]);
    cJSON_AddStringToObject(json, "label", p->label);
    cJSON_AddStringToObject(json, "help", p->help);
    zi_json_add_text(json, "note", p->note);
    cJSON_AddBoolToObject(json, "required", p->required);
    add_default(json, p);
    cJSON_AddBoolToObject(json, "zero_off", p->zero_off);
    zi_json_add_number(json, "min", p->min, ranged);
    zi_json_add_number(json, "max", zi_parameter_max(p, true), ranged);
    zi_json_add_number(json, "multiple", p->multiple, p->multiple > 0);
    cJSON_AddItemToObject(json, "choices",
                          p->choices ? zi_json_strings(p->choices) : cJSON_CreateNull());
    zi_json_add_text(json, "place", places[p->place]);
    zi_json_add_number(json, "low", p->low, slides);
    zi_json_add_number(json, "high", p->high, slides);
    zi_json_add_number(json, "step", p->step, slides);
    return json;
}

cJSON *zi_schema_parameters(void)
{
    cJSON *array = cJSON_CreateArray();
    for (const zi_parameter *p = zi_parameters; p->name; p++)
        cJSON_AddItemToArray(array, parameter_json(p));
    return array;
}

/* ---- OpenAPI schemas ---- */

/* Adds the JSON Schema keyword "type": type, or [type, "null"] when the field is not required. The
 * schema must not have it yet. */
static void add_type(cJSON *schema, const char *type, bool required)
{
    const char *const both[] = {type, "null"};
    cJSON_AddItemToObject(schema, "type",
                          required ? cJSON_CreateString(type) : cJSON_CreateStringArray(both, 2));
}

/* Adds the JSON Schema keywords of a text field: type (with null unless it is required), and the
 * limits in bytes, where they are not 0, as minLength and maxLength. */
static void add_text_keywords(cJSON *schema, const zi_parameter *p)
{
    double max = zi_parameter_max(p, true);
    add_type(schema, "string", p->required);
    /* The limits are bytes; minLength and maxLength count characters, of which there are no more.
     */
    if (p->min) cJSON_AddNumberToObject(schema, "minLength", p->min);
    if (max) cJSON_AddNumberToObject(schema, "maxLength", max);
}

/* Adds the JSON Schema keywords of a number field: type (with null unless it is required), and
 * the server's minimum and maximum. Not multipleOf: the server rounds down to a multiple. */
static void add_number_keywords(cJSON *schema, const zi_parameter *p)
{
    add_type(schema, p->type == ZI_PARAMETER_INT ? "integer" : "number", p->required);
    cJSON_AddNumberToObject(schema, "minimum", p->min);
    cJSON_AddNumberToObject(schema, "maximum", zi_parameter_max(p, true));
}

/* Adds the JSON Schema keywords of a choice: type and enum, with null unless it is required. */
static void add_choice_keywords(cJSON *schema, const zi_parameter *p)
{
    cJSON *choices = zi_json_strings(p->choices);
    if (!p->required) cJSON_AddItemToArray(choices, cJSON_CreateNull());
    add_type(schema, "string", p->required);
    cJSON_AddItemToObject(schema, "enum", choices);
}

/* Adds the JSON Schema of a seed: a string of digits, an integer up to 2^64-1, or null, for a
 * required seed, too. As raw text, since cJSON would round a number of 20 digits. */
static void add_seed_keywords(cJSON *schema)
{
    cJSON_AddRawToObject(schema, "oneOf",
                         "[{\"type\":\"string\",\"pattern\":\"^[0-9]{1,20}$\"},"
                         "{\"type\":\"integer\",\"minimum\":0,\"maximum\":18446744073709551615},"
                         "{\"type\":\"null\"}]");
}

/* Adds a description made from the row's help, its limit in bytes (texts alone) and its default;
 * nothing if the schema has a description, the row has no help, or out of memory. */
static void add_description(cJSON *schema, const zi_parameter *p)
{
    zi_text text;
    char standard[64];
    double max = zi_parameter_max(p, true);
    if (cJSON_HasObjectItem(schema, "description") || !p->help) return;
    zi_text_init(&text, 1000);
    zi_text_printf(&text, "%c%s", toupper((unsigned char)p->help[0]), p->help + 1);
    if (p->type == ZI_PARAMETER_TEXT && max)
        zi_text_printf(&text, "; at most %.0f bytes of UTF-8", max);
    zi_parameter_print_default(p, standard);
    if (*standard) zi_text_printf(&text, "; null: %s", standard);
    zi_text_puts(&text, ".");
    if (!text.failed) cJSON_AddStringToObject(schema, "description", text.data);
    zi_text_free(&text);
}

/* Adds description, type and range of a field to its JSON Schema, as far as there is memory. */
static void add_field_keywords(cJSON *schema, const zi_parameter *p)
{
    add_description(schema, p);
    switch (p->type) {
    case ZI_PARAMETER_TEXT:
        add_text_keywords(schema, p);
        break;
    case ZI_PARAMETER_INT:
    case ZI_PARAMETER_REAL:
        add_number_keywords(schema, p);
        break;
    case ZI_PARAMETER_BOOL:
        add_type(schema, "boolean", p->required);
        break;
    case ZI_PARAMETER_CHOICE:
        add_choice_keywords(schema, p);
        break;
    case ZI_PARAMETER_SEED:
        add_seed_keywords(schema);
        break;
    }
}

/* Completes an object's JSON Schema in place from the table of its fields, in the table's order:
 * adds type, properties and required, and forbids other fields. openapi.json has only descriptions.
 * Properties that are not in the table are dropped. A row without a name ends the table. */
static void complete_object_schema(cJSON *schema, const zi_parameter *table)
{
    cJSON *written = cJSON_DetachItemFromObject(schema, "properties");
    cJSON_AddStringToObject(schema, "type", "object");
    cJSON *properties = cJSON_AddObjectToObject(schema, "properties");
    cJSON *required = cJSON_CreateArray();
    for (const zi_parameter *p = table; p->name; p++) {
        cJSON *field = cJSON_DetachItemFromObjectCaseSensitive(written, p->name);
        if (!field) field = cJSON_CreateObject();
        add_field_keywords(field, p);
        cJSON_AddItemToObject(properties, p->name, field);
        if (p->required) cJSON_AddItemToArray(required, cJSON_CreateString(p->name));
    }
    if (required->child)
        cJSON_AddItemToObject(schema, "required", required);
    else
        cJSON_Delete(required);
    cJSON_AddFalseToObject(schema, "additionalProperties");
    cJSON_Delete(written);
}

/* ---- the whole description ---- */

char *zi_schema_openapi(void)
{
    cJSON *json = cJSON_ParseWithLength((const char *)zi_openapi, zi_openapi_size);
    cJSON *components = cJSON_GetObjectItem(json, "components");
    cJSON *schemas = cJSON_GetObjectItem(components, "schemas");
    for (const zi_job_kind *kind = zi_job_kinds; json && kind->name; kind++)
        if (kind->schema)
            complete_object_schema(cJSON_GetObjectItem(schemas, kind->schema), kind->params);
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    return text;
}
