/* The files of the web page: as embedded in the program, and as served. */
#ifndef ZI_SERVER_ASSETS_H
#define ZI_SERVER_ASSETS_H

#include "base/error.h"

/* A file of web/ as embedded at build time by cmake/assets.cmake. */
typedef struct {
    const char *path; /* URL path: "/" for the page itself, "/app.js"; NULL ends the table */
    const char *type; /* Content-Type: "text/html; charset=utf-8" */
    const unsigned char *data;
    size_t size;
} zi_page_file;

extern const zi_page_file zi_page_files[];

typedef struct {
    const char *path, *type; /* as in zi_page_file; path NULL ends a table */
    char etag[20];           /* with the quotes */
    char *plain, *gzip; /* plain: the content; gzip: compressed, NULL when that is not smaller */
    size_t plain_size, gzip_size;
} zi_asset;

/* Builds the table *out of served files from zi_page_files: inserts the generation parameters into
 * the page, computes ETags and compresses. Free with zi_assets_free. False, with *out unchanged and
 * *error set: out of memory, which a served file of more than 1 MiB counts as. */
bool zi_assets_create(zi_asset **out, zi_error *error) ZI_CHECKED;

/* Frees a whole table, also one that was filled only in part. NULL is allowed. */
void zi_assets_free(zi_asset *assets);

#endif
