/* The page's files, as they lie in the program. */
#ifndef ZI_SERVER_ASSETS_H
#define ZI_SERVER_ASSETS_H

#include <stddef.h>

typedef struct {
    const char *path; /* as in the URL: "/" for the page itself, "/app.js"; NULL ends the table */
    const char *type; /* Content-Type, "text/html; charset=utf-8" */
    const char *etag; /* with its quotes */
    const unsigned char *plain, *gzip; /* gzip: NULL where that is no smaller */
    size_t plain_size, gzip_size;
} zi_asset;

extern const zi_asset zi_assets[];

#endif
