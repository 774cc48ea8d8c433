/* /api/images, /api/infotext */
#include "server/http.h"

#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THUMBNAIL = 256 };

static zi_answer failed(zi_call *call, const zi_error *error)
{
    zi_refusal refusal;
    zi_refuse_error(&refusal, NULL, NULL, error);
    return zi_reply_refusal(call, &refusal);
}

static zi_answer no_image(zi_call *call)
{
    return zi_reply_error(call, 404, NULL, "%s: there is no such picture", call->parameters[0]);
}

static zi_answer list(zi_call *call)
{
    zi_history_query q = {.limit = 50};
    zi_answer answer;
    zi_error error = {0};
    if (!zi_call_query_int(call, "limit", 1, 200, 50, &q.limit, &answer) ||
        !zi_call_query(call, "cursor", &q.cursor, &answer) ||
        !zi_call_query(call, "q", &q.words, &answer) ||
        !zi_call_query(call, "model", &q.model, &answer) ||
        !zi_call_query(call, "seed", &q.seed, &answer))
        return answer;
    if (q.cursor && !zi_image_id_valid(q.cursor))
        return zi_reply_error(call, 400, "cursor", "cursor must be `next` of another page");
    if (q.words && strlen(q.words) > 500)
        return zi_reply_error(call, 400, "q", "q has more than 500 bytes");
    char *text = zi_history_text(call->server->history, &q, &error);
    return text ? zi_reply_bytes(call, 200, "application/json", text, strlen(text), NULL)
                : failed(call, &error);
}

/* The picture's row, or NULL and what to answer. */
static cJSON *find(zi_call *call, zi_answer *answer)
{
    zi_error error;
    cJSON *image = NULL;
    const char *id = call->parameters[0];
    bool ok = !zi_image_id_valid(id) || zi_history_get(call->server->history, id, &image, &error);
    if (!image) *answer = ok ? no_image(call) : failed(call, &error);
    return image;
}

static zi_answer get(zi_call *call)
{
    zi_answer answer;
    cJSON *image = find(call, &answer);
    return image ? zi_reply_json(call, 200, image) : answer;
}

static zi_answer delete_image(zi_call *call)
{
    zi_error error;
    bool found;
    const char *id = call->parameters[0];
    if (!zi_image_id_valid(id)) return no_image(call);
    if (!zi_history_delete(call->server->history, id, &found, &error)) return failed(call, &error);
    if (!found) return no_image(call);
    cJSON *data = cJSON_CreateObject();
    cJSON_AddStringToObject(data, "image", id);
    zi_events_publish(call->server->events, "deleted", data);
    return zi_reply_nothing(call);
}

/* ---- files ---- */

static const struct {
    const char *name, *type, *extension;
    zi_format format;
} formats[] = {{"png", "image/png", "png", ZI_FORMAT_PNG},
               {"jpeg", "image/jpeg", "jpg", ZI_FORMAT_JPEG},
               {"webp", "image/webp", "webp", ZI_FORMAT_WEBP}};
enum { FORMATS = sizeof formats / sizeof *formats };

/* The stored picture in another format, with its infotext. */
static zi_answer send_converted(zi_call *call, int format, int quality, const char *const *headers)
{
    zi_image *image = NULL;
    char *infotext = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    zi_error error;
    if (!zi_history_load(call->server->history, call->parameters[0], &image, &infotext, &error))
        return failed(call, &error);
    if (!image) return no_image(call);
    zi_save_options save = {
        .format = formats[format].format, .quality = quality, .infotext = infotext};
    bool ok = zi_image_encode(image, &save, &data, &size, &error);
    zi_image_free(image);
    free(infotext);
    if (!ok) return failed(call, &error);
    return zi_reply_bytes(call, 200, formats[format].type, data, size, headers);
}

static bool read_format(zi_call *call, int *format, zi_answer *answer)
{
    const char *name;
    if (!zi_call_query(call, "format", &name, answer)) return false;
    for (*format = 0; *format < FORMATS; ++*format)
        if (!name || !strcmp(name, formats[*format].name)) return true;
    *answer = zi_reply_error(call, 400, "format", "format must be png, jpeg or webp");
    return false;
}

/* A picture never changes; a browser may keep it, others may not. */
static const char lasting[] = "private, max-age=31536000, immutable";

static zi_answer file(zi_call *call)
{
    int format, quality, download;
    zi_answer answer;
    char disposition[100];
    if (!read_format(call, &format, &answer) ||
        !zi_call_query_int(call, "quality", 1, 100, 95, &quality, &answer) ||
        !zi_call_query_int(call, "download", 0, 1, 0, &download, &answer))
        return answer;
    cJSON *image = find(call, &answer);
    if (!image) return answer;
    cJSON_Delete(image);
    snprintf(disposition, sizeof disposition, "%s; filename=\"zimage-%s.%s\"",
             download ? "attachment" : "inline", call->parameters[0], formats[format].extension);
    const char *headers[] = {"Content-Disposition", disposition, "Cache-Control", lasting, NULL};
    if (format) return send_converted(call, format, quality, headers);
    int fd = zi_history_file(call->server->history, call->parameters[0]);
    return fd < 0 ? no_image(call) : zi_reply_file(call, "image/png", fd, headers);
}

/* ---- thumbnails ---- */

/* The mean of the pixels that fall on each pixel of a smaller picture: [h, w, 3] -> out. */
static void shrink(const zi_image *in, zi_image *out)
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

/* Writes it to path, if the picture is there. */
static bool make_thumbnail(const zi_history *history, const char *id, const char *path,
                           zi_error *error)
{
    zi_image *image = NULL, small = {0};
    if (!zi_history_load(history, id, &image, NULL, error)) return false;
    if (!image) return true;
    int longer = image->width > image->height ? image->width : image->height;
    int most = longer < THUMBNAIL ? longer : THUMBNAIL;
    small.width = image->width * most / longer;
    small.height = image->height * most / longer;
    if (!small.width) small.width = 1;
    if (!small.height) small.height = 1;
    small.pixels = malloc((size_t)small.width * (size_t)small.height * 3);
    bool ok = small.pixels || zi_error_no_memory(error, (size_t)longer);
    zi_save_options save = {.format = ZI_FORMAT_WEBP, .quality = 80};
    if (ok) shrink(image, &small);
    ok = ok && zi_image_save(&small, path, &save, error);
    zi_image_free(image);
    free(small.pixels);
    return ok;
}

static zi_answer thumbnail(zi_call *call)
{
    zi_answer answer;
    zi_error error;
    cJSON *image = find(call, &answer);
    if (!image) return answer;
    cJSON_Delete(image);
    zi_history *history = call->server->history;
    char *path = zi_history_thumbnail(history, call->parameters[0]);
    const char *headers[] = {"Cache-Control", lasting, NULL};
    bool ok = path || zi_error_no_memory(&error, 1);
    int fd = ok ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (ok && fd < 0) {
        ok = make_thumbnail(history, call->parameters[0], path, &error);
        if (ok) fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    free(path);
    if (!ok) return failed(call, &error);
    return fd < 0 ? no_image(call) : zi_reply_file(call, "image/webp", fd, headers);
}

/* ---- infotexts ---- */

cJSON *zi_infotext_json(const void *data, size_t size, zi_error *error)
{
    zi_image *image = NULL;
    char *infotext = NULL;
    if (!zi_image_decode(data, size, ZI_MOST_PIXELS, &image, &infotext, error)) return NULL;
    char *text = zi_image_json(image, infotext);
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    if (!json) zi_error_no_memory(error, 1 << 16);
    free(text);
    zi_image_free(image);
    free(infotext);
    return json;
}

static zi_answer infotext(zi_call *call)
{
    zi_error error;
    zi_refusal refusal;
    if (!call->body.size)
        return zi_reply_error(call, 400, NULL, "the body is empty; send a picture");
    cJSON *json = zi_infotext_json(call->body.data, call->body.size, &error);
    if (json) return zi_reply_json(call, 200, json);
    zi_refuse_body(&refusal, "the image", &error);
    return zi_reply_refusal(call, &refusal);
}

const zi_route zi_images_routes[] = {{"GET", "/api/images", list, 0, 0},
                                     {"GET", "/api/images/{id}", get, 0, 0},
                                     {"DELETE", "/api/images/{id}", delete_image, 0, 0},
                                     {"GET", "/api/images/{id}/file", file, 0, 0},
                                     {"GET", "/api/images/{id}/thumbnail", thumbnail, 0, 0},
                                     {"POST", "/api/recipe", infotext, 0, ZI_BODY_PICTURE},
                                     {0}};
