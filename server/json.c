#include "server/json.h"

void zi_json_add_text(cJSON *object, const char *name, const char *text)
{
    cJSON_AddItemToObject(object, name, text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

void zi_json_add_number(cJSON *object, const char *name, double value, bool known)
{
    cJSON_AddItemToObject(object, name, known ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

cJSON *zi_json_strings(const char *const *strings)
{
    cJSON *array = cJSON_CreateArray();
    for (; *strings; strings++) cJSON_AddItemToArray(array, cJSON_CreateString(*strings));
    return array;
}
