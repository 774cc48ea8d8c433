/* Routes of /api/images and /api/recipe. */
#include "server/http.h"
#include "server/range.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THUMBNAIL_SIDE = 256 };

/* Replies with an error of the library, without a field. Status by its code:
 * ZI_ERROR_INVALID_ARGUMENT 400, NOT_FOUND 404, EXISTS 409, any other 500. */
static zi_handler_result reply_library_error(zi_server_request *req, const zi_error *error)
{
    zi_http_error http_error;
    zi_http_error_from(&http_error, NULL, NULL, error);
    return zi_reply_http_error(req, &http_error);
}

/* Replies 404; the message names the id in the path. */
static zi_handler_result reply_no_image(zi_server_request *req)
{
    return zi_reply_error(req, 404, NULL, "%s: no such image; GET /api/images lists the images",
                          req->parameters[0]);
}

/* GET /api/images: a page of the history, newest first. Query: limit (1 to 200; default 50), cursor
 * (`next` of another page), q (search words, at most 500 bytes), model, seed. Replies 400 when one
 * is malformed or out of range; the cursor's image may have been deleted. */
static zi_handler_result list_images(zi_server_request *req)
{
    zi_history_query q = {.limit = 50};
    zi_handler_result result;
    zi_error error = {0};
    if (!zi_server_request_query_int(req, "limit", 1, 200, 50, &q.limit, &result) ||
        !zi_server_request_query(req, "cursor", &q.cursor, &result) ||
        !zi_server_request_query(req, "q", &q.words, &result) ||
        !zi_server_request_query(req, "model", &q.model, &result) ||
        !zi_server_request_query(req, "seed", &q.seed, &result))
        return result;
    if (q.cursor && !zi_image_id_valid(q.cursor))
        return zi_reply_error(req, 400, "cursor",
                              "cursor '%s' is not a value of the field next of an earlier reply; "
                              "send such a value, or leave cursor out for the first page",
                              q.cursor);
    if (q.words && strlen(q.words) > 500)
        return zi_reply_error(
            req, 400, "q", "q has %zu bytes; at most 500 are allowed, so send fewer search words",
            strlen(q.words));
    char *text = zi_history_list_text(req->server->history, &q, &error);
    return text ? zi_reply_bytes(req, 200, "application/json", text, strlen(text), NULL)
                : reply_library_error(req, &error);
}

/* The history row of the image in the path, which the caller deletes. NULL: an error was sent (404
 * for a malformed or unknown id, 500 when the database failed), and the handler returns *result. */
static cJSON *find_image_row(zi_server_request *req, zi_handler_result *result)
{
    zi_error error;
    cJSON *image = NULL;
    const char *id = req->parameters[0];
    bool ok =
        !zi_image_id_valid(id) || zi_history_get_row(req->server->history, id, &image, &error);
    if (!image) *result = ok ? reply_no_image(req) : reply_library_error(req, &error);
    return image;
}

/* GET /api/images/{id}: the image's history row as JSON, with the member "link", the URL of the PNG
 * file for clients without a key; 404 if there is none or the id is malformed. */
static zi_handler_result get_image(zi_server_request *req)
{
    zi_handler_result result;
    zi_text link;
    cJSON *image = find_image_row(req, &result);
    if (!image) return result;
    zi_text_init(&link, 1 << 12);
    zi_server_request_image_link(req, req->parameters[0], "png", 0, &link);
    if (!link.failed) cJSON_AddStringToObject(image, "link", link.data);
    zi_text_free(&link);
    return zi_reply_json(req, 200, image);
}

/* DELETE /api/images/{id}: deletes the image from disk and history, publishes the event "deleted"
 * and replies 204; 404 if there is no such image. 500 when its file cannot be removed: the image
 * stays. */
static zi_handler_result delete_image(zi_server_request *req)
{
    zi_error error;
    bool found;
    const char *id = req->parameters[0];
    if (!zi_image_id_valid(id)) return reply_no_image(req);
    if (!zi_history_delete(req->server->history, id, &found, &error))
        return reply_library_error(req, &error);
    if (!found) return reply_no_image(req);
    cJSON *data = cJSON_CreateObject();
    cJSON_AddStringToObject(data, "image", id);
    zi_events_publish(req->server->events, "deleted", data);
    return zi_reply_nothing(req);
}

/* ---- files ---- */

static const struct {
    const char *name, *type, *extension;
    zi_format format;
} formats[] = {{"png", "image/png", "png", ZI_FORMAT_PNG},
               {"jpeg", "image/jpeg", "jpg", ZI_FORMAT_JPEG},
               {"webp", "image/webp", "webp", ZI_FORMAT_WEBP}};
enum { FORMATS = sizeof formats / sizeof *formats };

/* Replies with the image in the path converted to formats[format], with its infotext; 404 if its
 * file is missing, 500 if it cannot be decoded; 304, without converting it, to a client that has
 * it. quality: 1 to 100, for JPEG and WebP; PNG ignores it. etag and headers as for
 * zi_reply_bytes_range. */
static zi_handler_result send_converted(zi_server_request *req, int format, int quality,
                                        const char *etag, const char *const *headers)
{
    zi_image *image = NULL;
    char *infotext = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    zi_error error;
    if (zi_etag_known(req, etag)) return zi_reply_known(req, formats[format].type, etag, headers);
    if (!zi_history_load_image(req->server->history, req->parameters[0], &image, &infotext, &error))
        return reply_library_error(req, &error);
    if (!image) return reply_no_image(req);
    zi_save_options save = {
        .format = formats[format].format, .quality = quality, .infotext = infotext};
    bool ok = zi_image_encode(image, &save, &data, &size, &error);
    zi_image_free(image);
    free(infotext);
    if (!ok) return reply_library_error(req, &error);
    return zi_reply_bytes_range(req, formats[format].type, data, size, etag, headers);
}

/* Reads the query parameter `format` into *format as an index into formats; 0 (PNG) if it is
 * absent. False: a 400 was sent, and the handler returns *result; *format is then of no use. */
static bool read_format_query(zi_server_request *req, int *format, zi_handler_result *result)
{
    const char *name;
    if (!zi_server_request_query(req, "format", &name, result)) return false;
    for (*format = 0; *format < FORMATS; ++*format)
        if (!name || !strcmp(name, formats[*format].name)) return true;
    *result = zi_reply_error(req, 400, "format", "format '%s' is not png, jpeg or webp", name);
    return false;
}

/* Cache-Control of image files, which never change; only private caches may keep them. */
static const char immutable[] = "private, max-age=31536000, immutable";

/* Replies with the image in the path as formats[format], or the part of it that the request wants:
 * the stored PNG, or converted with this quality. download: browsers save it (Content-Disposition).
 * 404: no such image, or its file is missing. */
static zi_handler_result send_image_file(zi_server_request *req, int format, int quality,
                                         bool download)
{
    zi_handler_result result;
    char disposition[100], etag[80];
    cJSON *image = find_image_row(req, &result);
    if (!image) return result;
    cJSON_Delete(image);
    snprintf(disposition, sizeof disposition, "%s; filename=\"zimage-%s.%s\"",
             download ? "attachment" : "inline", req->parameters[0], formats[format].extension);
    const char *headers[] = {"Content-Disposition", disposition, "Cache-Control", immutable, NULL};
    snprintf(etag, sizeof etag, "\"%s-%s-%d\"", req->parameters[0], formats[format].name,
             format ? quality : 0);
    if (format) return send_converted(req, format, quality, etag, headers);
    int fd;
    zi_error error;
    uint8_t *unsaved;
    size_t size = 0;
    if (!zi_history_copy_unsaved(req->server->history, req->parameters[0], &unsaved, &size, &error))
        return reply_library_error(req, &error);
    if (unsaved) return zi_reply_bytes_range(req, "image/png", unsaved, size, etag, headers);
    if (!zi_history_open_file(req->server->history, req->parameters[0], &fd, &error))
        return reply_library_error(req, &error);
    return fd < 0 ? reply_no_image(req) : zi_reply_file_range(req, "image/png", fd, etag, headers);
}

/* GET /api/images/{id}/file: the stored PNG, or converted if the query has another `format`, with
 * `quality` 1 to 100 (default 95; PNG ignores it). download=1 makes browsers save it
 * (Content-Disposition). 400: malformed query; 404: no such image, or its file is missing. */
static zi_handler_result get_image_file(zi_server_request *req)
{
    int format, quality, download;
    zi_handler_result result;
    if (!read_format_query(req, &format, &result) ||
        !zi_server_request_query_int(req, "quality", 1, 100, 95, &quality, &result) ||
        !zi_server_request_query_int(req, "download", 0, 1, 0, &download, &result))
        return result;
    return send_image_file(req, format, quality, download);
}

/* GET /api/images/{id}/link/{token}: the image's file for everyone who has the link, with the query
 * of get_image_file except `format`, which is the token's extension. 404, too: a wrong token. */
static zi_handler_result get_linked_image(zi_server_request *req)
{
    int format = 0, quality, download;
    zi_handler_result result;
    const char *token = req->parameters[1], *dot = strchr(token, '.');
    while (format < FORMATS && (!dot || strcmp(dot + 1, formats[format].name) != 0)) format++;
    if (format == FORMATS || dot - token != ZI_LINK_TOKEN - 1 ||
        !zi_link_token_matches(req->server->links, req->parameters[0], token))
        return zi_reply_error(
            req, 404, NULL,
            "this link is incomplete, or not valid any more; ask for a new one (the "
            "field link of GET /api/images/{id})");
    if (!zi_server_request_query_int(req, "quality", 1, 100, 95, &quality, &result) ||
        !zi_server_request_query_int(req, "download", 0, 1, 0, &download, &result))
        return result;
    return send_image_file(req, format, quality, download);
}

/* ---- thumbnails ---- */

/* Fills out->pixels, which the caller has allocated: RGB [height, width, 3], `in` (RGB, too) scaled
 * to out's size, which must not be larger. Box filter: each pixel is the rounded mean of the pixels
 * it covers, in whole pixels. */
static void downscale(const zi_image *in, zi_image *out)
{
    for (int y = 0; y < out->height; y++) {
        int top = (int)((int64_t)y * in->height / out->height);
        int bottom = (int)((int64_t)(y + 1) * in->height / out->height);
        for (int x = 0; x < out->width; x++) {
            int left = (int)((int64_t)x * in->width / out->width);
            int right = (int)((int64_t)(x + 1) * in->width / out->width);
            unsigned sum[3] = {0}, count = (unsigned)((bottom - top) * (right - left));
            for (int i = top; i < bottom; i++)
                for (int k = left; k < right; k++)
                    for (int c = 0; c < 3; c++)
                        sum[c] +=
                            in->pixels[((size_t)i * (size_t)in->width + (size_t)k) * 3 + (size_t)c];
            uint8_t *pixel = out->pixels + ((size_t)y * (size_t)out->width + (size_t)x) * 3;
            for (int c = 0; c < 3; c++) pixel[c] = (uint8_t)((sum[c] + count / 2) / count);
        }
    }
}

/* Makes the image's thumbnail: the bytes of a WebP file without infotext, in new memory; its longer
 * side is reduced to 256 pixels if it has more. *data is NULL when the image has no file, which is
 * no failure. False: the same, and *error is set. */
static bool make_thumbnail(zi_history *history, const char *id, uint8_t **data, size_t *size,
                           zi_error *error)
{
    zi_image *image = NULL, small = {0};
    *data = NULL;
    if (!zi_history_load_image(history, id, &image, NULL, error)) return false;
    if (!image) return true;
    int longer = image->width > image->height ? image->width : image->height;
    int max = longer < MAX_THUMBNAIL_SIDE ? longer : MAX_THUMBNAIL_SIDE;
    small.width = image->width * max / longer;
    small.height = image->height * max / longer;
    if (!small.width) small.width = 1;
    if (!small.height) small.height = 1;
    small.pixels = malloc((size_t)small.width * (size_t)small.height * 3);
    bool ok = small.pixels || zi_error_no_memory(error, (size_t)longer);
    zi_save_options save = {.format = ZI_FORMAT_WEBP, .quality = 80};
    if (ok) downscale(image, &small);
    ok = ok && zi_image_encode(&small, &save, data, size, error);
    zi_image_free(image);
    free(small.pixels);
    return ok;
}

/* GET /api/images/{id}/thumbnail: a WebP file, longer side at most 256 pixels, or the part of it
 * that the request wants; it is made and, if possible, stored if it does not exist yet. 404: no
 * such image, or no thumbnail yet and the image's file is missing. */
static zi_handler_result get_thumbnail(zi_server_request *req)
{
    zi_handler_result result;
    zi_error error;
    cJSON *image = find_image_row(req, &result);
    if (!image) return result;
    cJSON_Delete(image);
    zi_history *history = req->server->history;
    char *path = zi_history_thumbnail_path(history, req->parameters[0]);
    const char *headers[] = {"Cache-Control", immutable, NULL}, *id = req->parameters[0];
    char etag[80];
    int fd = -1;
    snprintf(etag, sizeof etag, "\"%s-thumbnail\"", id);
    /* A thumbnail that cannot be opened is made again. */
    bool ok = path && zi_history_open_path(path, id, &fd, NULL);
    free(path);
    if (ok && fd >= 0) return zi_reply_file_range(req, "image/webp", fd, etag, headers);
    uint8_t *data;
    size_t size = 0;
    if (!make_thumbnail(history, id, &data, &size, &error)) return reply_library_error(req, &error);
    if (!data) return reply_no_image(req);
    zi_history_store_thumbnail(history, id, data, size);
    return zi_reply_bytes_range(req, "image/webp", data, size, etag, headers);
}

/* ---- infotexts ---- */

cJSON *zi_infotext_json(const void *data, size_t size, zi_error *error)
{
    char *text = NULL;
    if (!zi_image_inspect_data(data, size, ZI_MAX_UPLOAD_PIXELS, &text, error)) return NULL;
    cJSON *json = cJSON_Parse(text);
    if (!json) zi_error_no_memory(error, strlen(text));
    free(text);
    return json;
}

/* POST /api/recipe: size and generation parameters of the image file that is the body
 * (zi_infotext_json). Stores nothing. 400 for an empty body, a damaged or unsupported image, or too
 * many pixels. */
static zi_handler_result post_infotext(zi_server_request *req)
{
    zi_error error;
    zi_http_error http_error;
    if (!req->body.size)
        return zi_reply_error(req, 400, NULL,
                              "the request has no body; send the bytes of a PNG, JPEG or WebP file "
                              "as the body (curl --data-binary @FILE)");
    cJSON *json = zi_infotext_json(req->body.data, req->body.size, &error);
    if (json) return zi_reply_json(req, 200, json);
    zi_http_error_from_body(&http_error, "the image", &error);
    return zi_reply_http_error(req, &http_error);
}

const zi_route zi_images_routes[] = {
    {"GET", "/api/images", list_images, 0, 0},
    {"GET", "/api/images/{id}", get_image, 0, 0},
    {"DELETE", "/api/images/{id}", delete_image, 0, 0},
    {"GET", "/api/images/{id}/file", get_image_file, 0, 0},
    {"GET", "/api/images/{id}/link/{token}", get_linked_image, ZI_ROUTE_LINK, 0},
    {"GET", "/api/images/{id}/thumbnail", get_thumbnail, 0, 0},
    {"POST", "/api/recipe", post_infotext, 0, ZI_BODY_IMAGE},
    {0}};
