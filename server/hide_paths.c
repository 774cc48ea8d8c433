#include "server/hide_paths.h"

#include <stdbool.h>
#include <string.h>

/* Whether text, which begins with a slash, begins with a path of the API. */
static bool is_api_path(const char *text)
{
    static const char *const prefixes[] = {"/api/", "/v1/", "/sdapi/"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (!strncmp(text, prefixes[i], strlen(prefixes[i]))) return true;
    return false;
}

/* The length of the absolute path at the start of text; 0: there is none. */
static size_t path_length(const char *text)
{
    if (*text != '/' || is_api_path(text)) return 0;
    size_t length = strcspn(text, " \t'\",;:()[]{}<>|");
    return length > 1 && text[1] != '/' ? length : 0;
}

/* The length of path without its last component: up to and with the last slash that something
 * follows. */
static size_t folder_length(const char *path, size_t length)
{
    while (length && path[length - 1] == '/') length--;
    while (length && path[length - 1] != '/') length--;
    return length;
}

void zi_hide_paths(const char *text, char *out, size_t size)
{
    size_t count = 0;
    const char *at = text, *colon = path_length(text) ? strstr(text, ": ") : NULL;
    if (colon) at += folder_length(text, (size_t)(colon - text));
    for (; *at && count + 1 < size; at++) {
        bool starts = at == text || strchr(" \t'\"(=,[", at[-1]);
        if (starts) at += folder_length(at, path_length(at));
        out[count++] = *at;
    }
    out[count] = 0;
}
