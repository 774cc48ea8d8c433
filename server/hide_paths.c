#include "server/hide_paths.h"

#include <stdlib.h>
#include <string.h>

static const char path_ends[] = " \t'\",;:()[]{}<>|";

/* The folders of zi_hide_folders, without slashes at the end; they live until others take their
 * place. */
static char **known_folders;
static size_t known_count;

/* Adds a copy of the path without slashes at its end, unless it is "/" or relative. False: out of
 * memory; the last known folder is then NULL. */
static bool add_folder(const char *path)
{
    size_t length = *path == '/' ? strlen(path) : 0;
    while (length && path[length - 1] == '/') length--;
    if (!length) return true;
    known_folders[known_count] = strndup(path, length);
    return known_folders[known_count++] != NULL;
}

bool zi_hide_folders(const char *const *folders, size_t count)
{
    bool ok = true;
    while (known_count) free(known_folders[--known_count]);
    free(known_folders);
    known_folders = count ? calloc(count, 2 * sizeof *known_folders) : NULL;
    if (!known_folders) return !count;
    for (size_t i = 0; i < count && ok; i++) {
        char *real = folders[i] ? realpath(folders[i], NULL) : NULL;
        ok = (!folders[i] || add_folder(folders[i])) && (!real || add_folder(real));
        free(real);
    }
    if (!ok) known_count--; /* the one that was not copied */
    return ok;
}

/* The length of the longest known folder with which text begins, which may begin with more than one
 * slash; 0: with none. */
static size_t known_length(const char *text)
{
    size_t longest = 0, slashes = strspn(text, "/");
    for (size_t i = 0; slashes && i < known_count; i++) {
        const char *path = text + slashes - 1;
        size_t length = strlen(known_folders[i]);
        if (length <= longest || strncmp(path, known_folders[i], length)) continue;
        if (path[length] == '/' || !path[length] || strchr(path_ends, path[length]))
            longest = length;
    }
    return longest ? slashes - 1 + longest : 0;
}

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
    size_t known = known_length(text);
    if (*text != '/' || (!known && is_api_path(text))) return 0;
    size_t length = known + strcspn(text + known, path_ends);
    return length > 1 ? length : 0;
}

/* Whether a path can start at `at`: at the start of the text, or behind a blank, a quote or the
 * like, or a colon, unless that is of a URL ("http://"; "file:" has a path). */
static bool can_start(const char *text, const char *at)
{
    if (at == text || strchr(" \t'\"(=,[", at[-1])) return true;
    bool file = at - text >= 5 && !strncmp(at - 5, "file:", 5);
    return at[-1] == ':' && (file || at[1] != '/');
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
    const char *at = text;
    const char *colon = path_length(text) ? strstr(text + known_length(text), ": ") : NULL;
    if (colon) at += folder_length(text, (size_t)(colon - text));
    for (; *at && count + 1 < size; at++) {
        if (*at == '/' && can_start(text, at)) at += folder_length(at, path_length(at));
        out[count++] = *at;
    }
    out[count] = 0;
}
