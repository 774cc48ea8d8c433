#include "server/json.h"
#include "server/hide_paths.h"

#include <string.h>

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
