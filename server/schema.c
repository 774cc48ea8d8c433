#include "server/schema.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

extern const unsigned char zi_openapi[];
extern const size_t zi_openapi_size;

cJSON *zi_schema_strings(const char *const *strings)
{
    cJSON *array = cJSON_CreateArray();
    for (; *strings; strings++) cJSON_AddItemToArray(array, cJSON_CreateString(*strings));
    return array;
}

static bool is_number(const zi_parameter *p)
{
    return p->type == ZI_PARAMETER_INT || p->type == ZI_PARAMETER_REAL;
}

/* ---- generation parameters ---- */

static void add_text(cJSON *to, const char *name, const char *text)
{
    cJSON_AddItemToObject(to, name, text && *text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

static void add_number(cJSON *to, const char *name, double value, bool known)
{
    cJSON_AddItemToObject(to, name, known ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

static void add_default(cJSON *to, const zi_parameter *p)
{
    char text[64];
    zi_parameter_print_default(p, text);
    if (p->choices)
        cJSON_AddStringToObject(to, "default", p->choices[0]);
    else
        add_number(to, "default", p->default_value, p->default_value || p->zero_off);
    add_text(to, "default_text", text);
}

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
    add_text(json, "note", p->note);
    cJSON_AddBoolToObject(json, "required", p->required);
    add_default(json, p);
    cJSON_AddBoolToObject(json, "zero_off", p->zero_off);
    add_number(json, "min", p->min, ranged);
    add_number(json, "max", zi_parameter_max(p, true), ranged);
    add_number(json, "multiple", p->multiple, p->multiple > 0);
    cJSON_AddItemToObject(json, "choices",
                          p->choices ? zi_schema_strings(p->choices) : cJSON_CreateNull());
    add_text(json, "place", places[p->place]);
    add_number(json, "low", p->low, slides);
    add_number(json, "high", p->high, slides);
    add_number(json, "step", p->step, slides);
    return json;
}

cJSON *zi_schema_parameters(void)
{
    cJSON *array = cJSON_CreateArray();
    for (const zi_parameter *p = zi_parameters; p->name; p++)
        cJSON_AddItemToArray(array, parameter_json(p));
    return array;
}

/* ---- the OpenAPI description of an object ---- */

static void add_type(cJSON *schema, const char *type, bool required)
{
    const char *const both[] = {type, "null"};
    cJSON_AddItemToObject(schema, "type",
                          required ? cJSON_CreateString(type) : cJSON_CreateStringArray(both, 2));
}

static void describe_text(cJSON *schema, const zi_parameter *p)
{
    double max = zi_parameter_max(p, true);
    add_type(schema, "string", p->required);
    /* Bytes are at least as many as characters, which are meant here. */
    if (p->min) cJSON_AddNumberToObject(schema, "minLength", p->min);
    if (max) cJSON_AddNumberToObject(schema, "maxLength", max);
}

static void describe_number(cJSON *schema, const zi_parameter *p)
{
    add_type(schema, p->type == ZI_PARAMETER_INT ? "integer" : "number", p->required);
    cJSON_AddNumberToObject(schema, "minimum", p->min);
    cJSON_AddNumberToObject(schema, "maximum", zi_parameter_max(p, true));
    if (p->multiple) cJSON_AddNumberToObject(schema, "multipleOf", p->multiple);
}

static void describe_choice(cJSON *schema, const zi_parameter *p)
{
    cJSON *choices = zi_schema_strings(p->choices);
    if (!p->required) cJSON_AddItemToArray(choices, cJSON_CreateNull());
    add_type(schema, "string", p->required);
    cJSON_AddItemToObject(schema, "enum", choices);
}

/* As raw text: a number of 16 digits would be rounded. */
static void describe_seed(cJSON *schema)
{
    cJSON_AddRawToObject(schema, "oneOf",
                         "[{\"type\":\"string\",\"pattern\":\"^[0-9]{1,20}$\"},"
                         "{\"type\":\"integer\",\"minimum\":0,\"maximum\":9007199254740991},"
                         "{\"type\":\"null\"}]");
}

/* A sentence of what the row says, where the file says nothing. */
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

static void describe_field(cJSON *schema, const zi_parameter *p)
{
    add_description(schema, p);
    switch (p->type) {
    case ZI_PARAMETER_TEXT:
        describe_text(schema, p);
        break;
    case ZI_PARAMETER_INT:
    case ZI_PARAMETER_REAL:
        describe_number(schema, p);
        break;
    case ZI_PARAMETER_BOOL:
        add_type(schema, "boolean", p->required);
        break;
    case ZI_PARAMETER_CHOICE:
        describe_choice(schema, p);
        break;
    case ZI_PARAMETER_SEED:
        describe_seed(schema);
        break;
    }
}

/* Adds what the table says to an object's schema, of which the file has descriptions. */
static void describe_object(cJSON *schema, const zi_parameter *table)
{
    cJSON *written = cJSON_DetachItemFromObject(schema, "properties");
    cJSON_AddStringToObject(schema, "type", "object");
    cJSON *properties = cJSON_AddObjectToObject(schema, "properties");
    cJSON *required = cJSON_CreateArray();
    for (const zi_parameter *p = table; p->name; p++) {
        cJSON *field = cJSON_DetachItemFromObjectCaseSensitive(written, p->name);
        if (!field) field = cJSON_CreateObject();
        describe_field(field, p);
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
        if (kind->schema) describe_object(cJSON_GetObjectItem(schemas, kind->schema), kind->params);
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    return text;
}
