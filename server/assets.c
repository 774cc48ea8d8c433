#include "server/assets.h"
#include "server/schema.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAX_PAGE = 1 << 20 };

/* The placeholder in index.html for the generation parameters. */
static const char marker[] = "@PARAMETERS@";

/* Appends the generation parameters as JSON that is safe in a <script> element: "<" becomes
 * \u003c. Sets out->failed when out of memory. */
static void append_parameters(zi_text *out)
{
    cJSON *json = zi_schema_parameters();
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    out->failed |= !text;
    for (const char *c = text; c && *c; c++)
        if (*c == '<')
            zi_text_puts(out, "\\u003c");
        else
            zi_text_append(out, c, 1);
    cJSON_free(text);
}

/* Appends the file's content, with the generation parameters as JSON in place of the first marker,
 * if it has one. Sets out->failed when out of memory or over out's ceiling. */
static void append_page_file(const zi_page_file *file, zi_text *out)
{
    const char *data = (const char *)file->data;
    const char *at = memmem(data, file->size, marker, sizeof marker - 1);
    size_t before = at ? (size_t)(at - data) : file->size;
    zi_text_append(out, data, before);
    if (!at) return;
    append_parameters(out);
    at += sizeof marker - 1;
    zi_text_append(out, at, file->size - (size_t)(at - data));
}

/* The 64-bit FNV-1a hash of size bytes. */
static uint64_t fnv1a_64(const char *data, size_t size)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        value = (value ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
    return value;
}

/* Sets asset->gzip and gzip_size from asset->plain, or leaves them, NULL and 0, when that would not
 * be smaller. False: out of memory; they are unchanged. */
static bool compress_asset(zi_asset *asset)
{
    z_stream z = {.next_in = (Bytef *)asset->plain, .avail_in = (uInt)asset->plain_size};
    enum { GZIP_WINDOW = 15 + 16 };
    if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return false;
    char *data = malloc(asset->plain_size + 1);
    z.next_out = (Bytef *)data;
    z.avail_out = (uInt)asset->plain_size;
    bool smaller = data && deflate(&z, Z_FINISH) == Z_STREAM_END;
    if (smaller) {
        asset->gzip = data;
        asset->gzip_size = z.total_out;
    } else {
        free(data);
    }
    deflateEnd(&z);
    return data != NULL;
}

/* Fills in a zeroed asset; path and type are borrowed from file. False: out of memory, or the file
 * is larger than MAX_PAGE; what is set must still be freed, with its table, by zi_assets_free. */
static bool create_asset(const zi_page_file *file, zi_asset *asset)
{
    zi_text text;
    zi_text_init(&text, MAX_PAGE);
    append_page_file(file, &text);
    asset->path = file->path;
    asset->type = file->type;
    asset->plain_size = text.size;
    asset->plain = zi_text_take(&text);
    if (!asset->plain) return false;
    snprintf(asset->etag, sizeof asset->etag, "\"%016" PRIx64 "\"",
             fnv1a_64(asset->plain, asset->plain_size));
    return compress_asset(asset);
}

bool zi_assets_create(zi_asset **out, zi_error *error)
{
    size_t count = 0;
    while (zi_page_files[count].path) count++;
    zi_asset *assets = calloc(count + 1, sizeof *assets);
    bool ok = assets != NULL;
    for (size_t i = 0; ok && i < count; i++) ok = create_asset(&zi_page_files[i], &assets[i]);
    if (ok) {
        *out = assets;
        return true;
    }
    zi_assets_free(assets);
    return zi_error_no_memory(error, MAX_PAGE);
}

void zi_assets_free(zi_asset *assets)
{
    for (zi_asset *asset = assets; asset && asset->path; asset++) {
        free(asset->plain);
        free(asset->gzip);
    }
    free(assets);
}
