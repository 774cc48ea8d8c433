#include "server/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const zi_route *const own_route_tables[] = {zi_jobs_routes, zi_images_routes,
                                                   zi_models_routes, zi_system_routes, NULL};
enum { API_GROUPS = 4 };
/* The last one matches any path. */
static const zi_api_group groups[API_GROUPS] = {
    {"/api/", own_route_tables, zi_error_json},
    {"/v1/", (const zi_route *const[]){zi_openai_routes, NULL}, zi_openai_error},
    {"/sdapi/", (const zi_route *const[]){zi_a1111_routes, NULL}, zi_a1111_error},
    {"/", (const zi_route *const[]){NULL}, zi_error_json}, /* files of the web page */
};

/* ---- paths that stand for others ---- */

/* Whether a path, without doubled slashes, is one of OpenAI's without /v1, which clients send whose
 * base URL lacks it. */
static bool lacks_v1(const char *path)
{
    return !strcmp(path, "/models") || !strncmp(path, "/models/", 8) ||
           !strncmp(path, "/images/", 8);
}

char *zi_path_normalize(const char *path)
{
    char *out = malloc(strlen(path) + 4), *to = out;
    if (!out) return NULL;
    for (; *path; path++)
        if (*path != '/' || to == out || to[-1] != '/') *to++ = *path;
    if (to > out + 1 && to[-1] == '/') to--;
    *to = 0;
    if (lacks_v1(out)) {
        memmove(out + 3, out, strlen(out) + 1);
        memcpy(out, "/v1", 3);
    }
    return out;
}

/* ---- matching ---- */

/* Copies the value of a {parameter} to req->parameters[*count] in place of an earlier one, and
 * increments *count. False: it is empty or there are too many, and nothing changes; or out of
 * memory, and the copy is NULL. */
static bool store_path_parameter(zi_server_request *req, int *count, const char *text,
                                 size_t length)
{
    if (*count == ZI_PATH_PARAMETERS || !length) return false;
    free(req->parameters[*count]);
    req->parameters[(*count)++] = strndup(text, length);
    return req->parameters[*count - 1] != NULL;
}

/* Whether url, already decoded, matches a route's path as zi_route describes it; stores the values
 * of {parameters} in req, some of them also when it does not match (the next match
 * replaces them). False, too: out of memory. */
static bool match_path(zi_server_request *req, const char *path, const char *url)
{
    int count = 0;
    while (*path) {
        if (*path != '{') {
            if (*path++ != *url++) return false;
            continue;
        }
        bool rest = strchr(path, '}')[-1] == '*';
        size_t length = rest ? strlen(url) : strcspn(url, "/");
        if (!store_path_parameter(req, &count, url, length)) return false;
        url += length;
        path = strchr(path, '}') + 1;
    }
    return !*url;
}

/* Whether a route serves a method; a route of GET also serves HEAD. */
static bool accepts_method(const zi_route *route, const char *method)
{
    return !strcmp(route->method, method) ||
           (!strcmp(route->method, "GET") && !strcmp(method, "HEAD"));
}

void zi_route_find(zi_server_request *req, char *allowed, size_t size)
{
    size_t group = 0;
    while (group < API_GROUPS - 1 &&
           strncmp(req->url, groups[group].prefix, strlen(groups[group].prefix)) != 0)
        group++;
    req->api = &groups[group];
    allowed[0] = 0;
    for (const zi_route *const *table = req->api->tables; *table; table++)
        for (const zi_route *route = *table; route->method; route++) {
            if (!match_path(req, route->path, req->url)) continue;
            req->link = route->flags & ZI_ROUTE_LINK &&
                        (accepts_method(route, req->method) || !strcmp(req->method, "OPTIONS"));
            if (accepts_method(route, req->method)) {
                req->route = route;
                return;
            }
            size_t length = strlen(allowed);
            snprintf(allowed + length, size - length, "%s%s", length ? ", " : "", route->method);
        }
}

/* ---- suggestions ---- */

enum { MAX_TYPOS = 2, MAX_LENGTH = 60 /* bytes of a path that is compared letter by letter */ };

/* Whether any API has a route with this path, and without a parameter in it. */
static bool has_route(const char *path)
{
    for (size_t group = 0; group < API_GROUPS; group++)
        for (const zi_route *const *table = groups[group].tables; *table; table++)
            for (const zi_route *route = *table; route->method; route++)
                if (!strcmp(route->path, path)) return true;
    return false;
}

/* The number of letters to insert, remove or replace to make one text of the other. Both have at
 * most MAX_LENGTH bytes. */
static int count_typos(const char *a, const char *b)
{
    int row[MAX_LENGTH + 1], length = (int)strlen(b);
    for (int k = 0; k <= length; k++) row[k] = k;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int k = 0; k < length; k++) {
            int replaced = diagonal + (a[i] != b[k]);
            diagonal = row[k + 1];
            int shorter = (row[k] < row[k + 1] ? row[k] : row[k + 1]) + 1;
            row[k + 1] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[length];
}

/* The path without parameters that differs least from this one, in at most MAX_TYPOS letters; NULL:
 * none. */
static const char *nearest_path(const char *path)
{
    const char *nearest = NULL;
    int best = MAX_TYPOS + 1;
    if (strlen(path) > MAX_LENGTH) return NULL;
    for (size_t group = 0; group < API_GROUPS; group++)
        for (const zi_route *const *table = groups[group].tables; *table; table++)
            for (const zi_route *route = *table; route->method; route++) {
                if (strchr(route->path, '{') || strlen(route->path) > MAX_LENGTH) continue;
                int typos = count_typos(path, route->path);
                if (typos < best) best = typos, nearest = route->path;
            }
    return nearest;
}

bool zi_route_suggest(const char *path, char *out, size_t size)
{
    static const char *const prefixes[] = {"", "/v1", "/sdapi/v1", "/api"};
    /* Too many segments at the start ("/v1/v1/models"), or too few ("/txt2img"). */
    for (const char *end = path; end; end = *end ? strchr(end + 1, '/') : NULL)
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
            int length = snprintf(out, size, "%s%s", prefixes[i], end);
            if (length > 0 && (size_t)length < size && has_route(out)) return true;
        }
    const char *nearest = nearest_path(path);
    return nearest && snprintf(out, size, "%s", nearest) < (int)size;
}
