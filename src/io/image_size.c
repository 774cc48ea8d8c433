/* Reads the image size from a file's first bytes, before anything of that size is allocated. */
#include "io/image.h"

#include <string.h>

#include <webp/decode.h>

/* The unsigned number in `count` bytes, at most four, the most significant first. */
static uint32_t big_endian(const uint8_t *bytes, int count)
{
    uint32_t value = 0;
    while (count-- > 0) value = value << 8 | *bytes++;
    return value;
}

/* Reads the size from IHDR, which comes first: signature (not checked), length, "IHDR", width,
 * height. False: it is not there, or cut off; width and height are unchanged. */
static bool png_size(const uint8_t *data, size_t size, uint32_t *width, uint32_t *height)
{
    if (size < 24 || memcmp(data + 12, "IHDR", 4) != 0) return false;
    *width = big_endian(data + 16, 4);
    *height = big_endian(data + 20, 4);
    return true;
}

/* Reads the size from the first start of a frame (0xc0 to 0xcf but for three that mean other
 * things): marker, length, precision, height, width. Skips the segments before. False: none within
 * the data; width and height are unchanged. */
static bool jpeg_size(const uint8_t *data, size_t size, uint32_t *width, uint32_t *height)
{
    size_t at = 2;
    while (at + 9 <= size) {
        if (data[at] != 0xff) return false;
        uint8_t marker = data[at + 1];
        if (marker == 0xff) { /* filling */
            at++;
            continue;
        }
        bool frame =
            marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
        if (frame) {
            *height = big_endian(data + at + 5, 2);
            *width = big_endian(data + at + 7, 2);
            return true;
        }
        at += 2 + big_endian(data + at + 2, 2);
    }
    return false;
}

/* Reads the size through libwebp. False: damaged or cut off; width and height are unchanged. */
static bool webp_size(const uint8_t *data, size_t size, uint32_t *width, uint32_t *height)
{
    int w, h;
    if (!WebPGetInfo(data, size, &w, &h)) return false;
    *width = (uint32_t)w;
    *height = (uint32_t)h;
    return true;
}

bool zi_image_read_size(const uint8_t *data, size_t size, zi_format format, uint32_t *width,
                        uint32_t *height)
{
    switch (format) {
    case ZI_FORMAT_PNG:
        return png_size(data, size, width, height);
    case ZI_FORMAT_JPEG:
        return jpeg_size(data, size, width, height);
    case ZI_FORMAT_WEBP:
        return webp_size(data, size, width, height);
    case ZI_FORMAT_BY_NAME:
        break;
    }
    return false;
}
