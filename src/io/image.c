#include "io/image.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* Whether data begins with PNG's signature. */
static bool is_png(const uint8_t *data, size_t size)
{
    return size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0;
}

/* Whether data begins with the start of a JPEG file. */
static bool is_jpeg(const uint8_t *data, size_t size)
{
    return size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0;
}

/* Whether data begins with the header of a WebP file. */
static bool is_webp(const uint8_t *data, size_t size)
{
    return size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0;
}

static const struct codec {
    bool (*is)(const uint8_t *data, size_t size);
    bool (*encode)(const zi_image *image, const char *name, const zi_save_options *options,
                   zi_text *out, zi_error *error);
    bool (*decode)(const uint8_t *data, size_t size, const char *name, zi_image **out,
                   zi_image_metadata *metadata, zi_error *error);
} codecs[] = {
    [ZI_FORMAT_PNG] = {is_png, zi_png_encode, zi_png_decode},
    [ZI_FORMAT_JPEG] = {is_jpeg, zi_jpeg_encode, zi_jpeg_decode},
    [ZI_FORMAT_WEBP] = {is_webp, zi_webp_encode, zi_webp_decode},
};

/* Whether text is, as a whole, this lower-case word, in upper or lower case (ASCII, whatever the
 * locale). */
static bool same_word(const char *text, const char *word)
{
    for (; *text && *word; text++, word++) {
        char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
        if (c != *word) return false;
    }
    return *text == *word;
}

/* Sets *format by the extension of a file name or path: .png, .jpg, .jpeg or .webp, in any case.
 * Fails with ZI_ERROR_INVALID_ARGUMENT, *format unchanged, for another one, or none. */
static bool format_of_name(const char *name, zi_format *format, zi_error *error)
{
    static const struct {
        const char *extension;
        zi_format format;
    } known[] = {{".png", ZI_FORMAT_PNG},
                 {".jpg", ZI_FORMAT_JPEG},
                 {".jpeg", ZI_FORMAT_JPEG},
                 {".webp", ZI_FORMAT_WEBP}};
    const char *slash = strrchr(name, '/');
    const char *dot = strrchr(slash ? slash : name, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof known[0]; i++) {
        if (!same_word(dot, known[i].extension)) continue;
        *format = known[i].format;
        return true;
    }
    return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, name, "path",
                           "the file name must end in .png, .jpg or .webp");
}

/* How errors call what has no name. */
static const char bytes_name[] = "the image";

bool zi_image_new(const char *name, uint32_t width, uint32_t height, zi_image **out,
                  zi_error *error)
{
    if (!width || !height || width > ZI_IMAGE_SIDE_MAX || height > ZI_IMAGE_SIDE_MAX)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, name,
                            "has %lu x %lu pixels, but a side must be from 1 to %d pixels; use a "
                            "smaller copy of the image",
                            (unsigned long)width, (unsigned long)height, ZI_IMAGE_SIDE_MAX);
    size_t size = (size_t)width * height * 3; /* within 2^30 */
    zi_image *image = malloc(sizeof *image);
    uint8_t *pixels = malloc(size);
    if (!image || !pixels) {
        free(image);
        free(pixels);
        return zi_error_no_memory(error, size);
    }
    *image = (zi_image){(int)width, (int)height, pixels};
    *out = image;
    return true;
}

void zi_image_free(zi_image *image)
{
    if (!image) return;
    free(image->pixels);
    free(image);
}

bool zi_image_encode_named(const zi_image *image, const char *name, const zi_save_options *options,
                           zi_text *out, zi_error *error)
{
    zi_save_options full = options ? *options : (zi_save_options){0};
    if (!ZI_CHECK_RESERVED(&full, error)) return false;
    if (full.format == ZI_FORMAT_BY_NAME && !format_of_name(name, &full.format, error))
        return false;
    if (full.format < ZI_FORMAT_PNG || full.format > ZI_FORMAT_WEBP)
        return zi_error_set_in(
            error, ZI_ERROR_INVALID_ARGUMENT, name, "format",
            "%d is not an image format; 1 (PNG) to 3 (WebP) are, and 0 is that of the name",
            (int)full.format);
    if (full.quality < 0 || full.quality > 100)
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, name, "quality",
                               "the quality is %d; it must be from 1 to 100", full.quality);
    if (!full.quality) full.quality = 95;
    if (image->width < 1 || image->height < 1 || image->width > ZI_IMAGE_SIDE_MAX ||
        image->height > ZI_IMAGE_SIDE_MAX)
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, name, "image",
                               "the image has %d x %d pixels; a side must be from 1 to %d",
                               image->width, image->height, ZI_IMAGE_SIDE_MAX);
    if (full.infotext) {
        size_t size = strlen(full.infotext);
        if (size > ZI_IMAGE_RECIPE_MAX)
            return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, name, "infotext",
                                   "the generation parameters have %zu bytes, but at most %d are "
                                   "possible; shorten the prompt",
                                   size, ZI_IMAGE_RECIPE_MAX);
        if (!zi_utf8_valid(full.infotext, size))
            return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, name, "infotext",
                                   "the generation parameters are not valid UTF-8 text");
    }
    return codecs[full.format].encode(image, name, &full, out, error);
}

/* The format that a file's first bytes show; ZI_FORMAT_WEBP + 1: none of the three. */
static zi_format format_of_bytes(const uint8_t *data, size_t size)
{
    zi_format format = ZI_FORMAT_PNG;
    while (format <= ZI_FORMAT_WEBP && !codecs[format].is(data, size)) format++;
    return format;
}

bool zi_image_probe(const char *path)
{
    uint8_t begin[16];
    FILE *file = zi_is_file(path) ? fopen(path, "rb") : NULL;
    size_t size = file ? fread(begin, 1, sizeof begin, file) : 0;
    if (file) fclose(file);
    return format_of_bytes(begin, size) <= ZI_FORMAT_WEBP;
}

/* Fails with ZI_ERROR_UNSUPPORTED if an image of this format has more than max_pixels pixels, or
 * with ZI_ERROR_BAD_FORMAT if its first bytes do not say how many. */
static bool check_pixels(const uint8_t *data, size_t size, zi_format format, const char *name,
                         size_t max_pixels, zi_error *error)
{
    uint32_t width, height;
    if (!zi_image_read_size(data, size, format, &width, &height))
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, name,
            "does not say how many pixels it has: the image is damaged; use another copy of it");
    return (uint64_t)width * height <= max_pixels ||
           zi_error_set(error, ZI_ERROR_UNSUPPORTED, name,
                        "has %lu x %lu pixels, but at most %zu pixels in all are allowed; use a "
                        "smaller copy of the image",
                        (unsigned long)width, (unsigned long)height, max_pixels);
}

bool zi_image_read(const uint8_t *data, size_t size, const char *name, size_t max_pixels,
                   zi_image **out, zi_image_metadata *metadata, zi_error *error)
{
    zi_format format = format_of_bytes(data, size);
    if (!name) name = bytes_name;
    if (format > ZI_FORMAT_WEBP)
        return zi_error_set(
            error, ZI_ERROR_UNSUPPORTED, name,
            "is not a PNG, JPEG or WebP image; use the file that the image generator "
            "wrote");
    if (max_pixels && !check_pixels(data, size, format, name, max_pixels, error)) return false;
    zi_image *image = NULL;
    if (!codecs[format].decode(data, size, name, &image, metadata, error)) return false;
    if (metadata->failed) {
        zi_image_free(image);
        return zi_error_no_memory(error, ZI_IMAGE_TEXT_MAX);
    }
    *out = image;
    return true;
}

/* zi_image_decode_named with zi_image_decode's limit. */
static bool decode(const uint8_t *data, size_t size, const char *name, size_t max_pixels,
                   zi_image **out, char **infotext, zi_error *error)
{
    zi_image *image = NULL;
    zi_image_metadata metadata = {0};
    char *found = NULL;
    bool ok = zi_image_read(data, size, name, max_pixels, &image, &metadata, error) &&
              (!infotext || zi_image_metadata_infotext(&metadata, &found, NULL, error));
    zi_image_metadata_free(&metadata);
    if (!ok) {
        zi_image_free(image);
        return false;
    }
    *out = image;
    if (infotext) *infotext = found;
    return true;
}

bool zi_image_decode_named(const uint8_t *data, size_t size, const char *name, zi_image **out,
                           char **infotext, zi_error *error)
{
    return decode(data, size, name, 0, out, infotext, error);
}

bool zi_image_save(const zi_image *image, const char *path, const zi_save_options *options,
                   zi_error *error)
{
    bool ok = false;
    zi_output output = {0};
    zi_text bytes;
    zi_text_init(&bytes, ZI_IMAGE_BYTES_MAX);
    if (!zi_image_encode_named(image, path, options, &bytes, error)) goto out;
    if (!zi_output_open_named(&output, path, error)) goto out;
    ok =
        zi_output_write(&output, bytes.data, bytes.size, error) && zi_output_commit(&output, error);
out:
    zi_output_discard(&output);
    zi_text_free(&bytes);
    return ok;
}

bool zi_image_load(const char *path, zi_image **out, char **infotext, zi_error *error)
{
    char *data;
    size_t size;
    if (!zi_file_read(path, ZI_IMAGE_BYTES_MAX, &data, &size, error)) return false;
    bool ok = zi_image_decode_named((const uint8_t *)data, size, path, out, infotext, error);
    free(data);
    return ok;
}

bool zi_image_encode(const zi_image *image, const zi_save_options *options, uint8_t **data,
                     size_t *size, zi_error *error)
{
    zi_text bytes;
    zi_text_init(&bytes, ZI_IMAGE_BYTES_MAX);
    bool ok = zi_image_encode_named(image, bytes_name, options, &bytes, error);
    if (ok) {
        size_t count = bytes.size;
        char *taken = zi_text_take(&bytes);
        ok = taken || zi_error_no_memory(error, count);
        if (ok) *data = (uint8_t *)taken;
        if (ok) *size = count;
    }
    zi_text_free(&bytes);
    return ok;
}

bool zi_image_decode(const void *data, size_t size, size_t max_pixels, zi_image **out,
                     char **infotext, zi_error *error)
{
    return decode(data, size, bytes_name, max_pixels, out, infotext, error);
}
