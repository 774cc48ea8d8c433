/* Finds the route of a path. */
#ifndef ZI_SERVER_ROUTE_H
#define ZI_SERVER_ROUTE_H

#include "server/http.h"

/* Returns the path that a request's path stands for, in new memory: without doubled slashes and a
 * slash at the end, and OpenAI's paths with /v1. NULL: out of memory. */
char *zi_path_normalize(const char *path);

/* Sets req->api by req->url, req->link, and req->route to the route of req->url and method, with
 * its path parameters, or leaves it NULL; only then `allowed` (size bytes) lists the methods of
 * routes with this path, "GET, POST"; "": there is no such path, or out of memory. */
void zi_route_find(zi_server_request *req, char *allowed, size_t size);

/* Writes the path of the API that a client may have meant by a path that does not exist, to out.
 * False: there is none, and out has no meaning. */
bool zi_route_suggest(const char *path, char *out, size_t size);

#endif
