#include "server/json.h"
#include "base/json_nul.h"
#include "server/hide_paths.h"

#include <string.h>

/* ---- parsing ---- */

/* Moves *at behind the next number of a valid JSON text that begins outside strings, and returns
 * where that number begins. There must be one. */
static const char *next_number(const char **at)
{
    const char *c = *at;
    while (*c != '-' && (*c < '0' || *c > '9'))
        c = *c == '"' ? zi_json_skip_text(c + 1, NULL) : c + 1;
    *at = c + strspn(c, "+-.0123456789eE");
    return c;
}

/* Whether a text that cJSON has read as a number is one in JSON: there is no superfluous 0 at its
 * beginning, and there are digits on both sides of a point. */
static bool is_json_number(const char *text, size_t size)
{
    const char *digits = text + (*text == '-');
    size_t whole = strspn(digits, "0123456789");
    bool begins_well = whole == 1 || (whole && *digits != '0');
    const char *point = memchr(text, '.', size);
    return begins_well && (!point || strspn(point + 1, "0123456789"));
}

/* Gives the long numbers among the items of a list, and below them, their text: cJSON has a text
 * for every item, and deletes it with the item. *at: the JSON text from the first of them on; it is
 * moved behind the last. */
static void keep_digits(cJSON *item, const char **at)
{
    for (; item; item = item->next) {
        if (item->child) keep_digits(item->child, at);
        if (!cJSON_IsNumber(item)) continue;
        const char *number = next_number(at);
        size_t size = (size_t)(*at - number);
        bool keeps = size > ZI_JSON_EXACT_DIGITS && is_json_number(number, size);
        char *copy = keeps ? cJSON_malloc(size + 1) : NULL;
        if (!copy) continue;
        memcpy(copy, number, size);
        copy[size] = 0;
        item->valuestring = copy;
    }
}

cJSON *zi_json_parse_exact(const char *text, const char **end)
{
    cJSON *json = cJSON_ParseWithOpts(text, end, true);
    keep_digits(json, &text);
    return json;
}

const char *zi_json_digits(const cJSON *item)
{
    return cJSON_IsNumber(item) ? item->valuestring : NULL;
}

/* ---- members ---- */

void zi_json_add_text(cJSON *object, const char *name, const char *text)
{
    cJSON_AddItemToObject(object, name, text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

void zi_json_add_number(cJSON *object, const char *name, double value, bool known)
{
    cJSON_AddItemToObject(object, name, known ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

void zi_json_hide_paths(cJSON *value)
{
    if (cJSON_IsString(value)) {
        char *text = value->valuestring;
        size_t size = strlen(text) + 1;
        char *hidden = cJSON_malloc(size);
        if (hidden) {
            zi_hide_paths(text, hidden, size);
            value->valuestring = hidden;
            cJSON_free(text);
        } else {
            *text = 0;
        }
    }
    for (cJSON *item = value ? value->child : NULL; item; item = item->next)
        zi_json_hide_paths(item);
}

cJSON *zi_json_strings(const char *const *strings)
{
    cJSON *array = cJSON_CreateArray();
    for (; *strings; strings++) cJSON_AddItemToArray(array, cJSON_CreateString(*strings));
    return array;
}
