#include "base/json_nul.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

const char *zi_json_skip_text(const char *at, bool *nul)
{
    for (; *at && *at != '"'; at++) {
        if (*at != '\\' || !at[1]) continue;
        if (nul && !strncmp(at + 1, "u0000", 5)) *nul = true;
        at++;
    }
    return *at ? at + 1 : at;
}

bool zi_json_find_nul(const char *json, char *name, size_t size)
{
    const char *key = NULL;
    size_t length = 0;
    bool nul = false;
    if (!strstr(json, "\\u0000")) return false;
    while (*(json += strcspn(json, "\"")) && !nul) {
        const char *begin = json + 1, *end = zi_json_skip_text(begin, &nul);
        json = end + strspn(end, " \t\r\n");
        if (*json != ':') continue;
        key = begin;
        length = (size_t)(end - begin - 1);
    }
    snprintf(name, size, "%.*s", key ? (int)length : 8, key ? key : "the text");
    for (size_t end = strlen(name); end && !zi_utf8_valid(name, end);) name[--end] = 0;
    return nul;
}
