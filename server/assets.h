/* The page's files: as they lie in the program, and as they are served. */
#ifndef ZI_SERVER_ASSETS_H
#define ZI_SERVER_ASSETS_H

#include "base/error.h"

/* Made by cmake/assets.cmake from the files in web/. */
typedef struct {
    const char *path; /* as in the URL: "/" for the page itself, "/app.js"; NULL ends the table */
    const char *type; /* Content-Type, "text/html; charset=utf-8" */
    const unsigned char *data;
    size_t size;
} zi_page_file;

extern const zi_page_file zi_page_files[];

typedef struct {
    const char *path, *type; /* those of the file; path NULL ends a table */
    char etag[20];           /* with its quotes */
    char *plain, *gzip;      /* gzip: NULL where that is no smaller */
    size_t plain_size, gzip_size;
} zi_asset;

/* Makes the table of what is served: the files, the page with the generation parameters in it. */
bool zi_assets_create(zi_asset **out, zi_error *error) ZI_CHECKED;
void zi_assets_free(zi_asset *assets);

#endif
