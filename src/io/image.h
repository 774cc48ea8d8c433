/* Image files: the interface between image.c and the formats (png.c, jpeg.c, webp.c). */
#ifndef ZI_IO_IMAGE_H
#define ZI_IO_IMAGE_H

#include "base/text.h"
#include "io/image_metadata.h"

enum {
    ZI_IMAGE_SIDE_MAX = 16384,     /* pixels, checked before anything is allocated */
    ZI_IMAGE_BYTES_MAX = 1 << 30,  /* of an image file */
    ZI_IMAGE_RECIPE_MAX = 1 << 20, /* of an infotext, in bytes */
};

/* Allocates an RGB image, 8 bits per channel, with uninitialised pixels, for zi_image_free. Fails,
 * *out unchanged, with ZI_ERROR_UNSUPPORTED when a side is not in 1..ZI_IMAGE_SIDE_MAX, or when
 * memory is short. name: the file named in errors. */
bool zi_image_new(const char *name, uint32_t width, uint32_t height, zi_image **out,
                  zi_error *error) ZI_CHECKED;

/* Checks image and options (NULL: defaults) and appends the image file that zi_image_save would
 * write to out, which may have grown after a failure, too. With ZI_FORMAT_BY_NAME the name tells
 * the format; errors begin with it. What the checks refuse is ZI_ERROR_INVALID_ARGUMENT, also an
 * infotext that is not UTF-8 or above ZI_IMAGE_RECIPE_MAX bytes. */
bool zi_image_encode_named(const zi_image *image, const char *name, const zi_save_options *options,
                           zi_text *out, zi_error *error) ZI_CHECKED;

/* Decodes an image file in memory, with the results and failures of zi_image_load: the first bytes
 * tell the format. The name is for errors only. infotext may be NULL. Outputs are untouched after a
 * failure. */
bool zi_image_decode_named(const uint8_t *data, size_t size, const char *name, zi_image **out,
                           char **infotext, zi_error *error) ZI_CHECKED;

/* zi_image_decode, which describes max_pixels, with the texts of the file in place of the infotext:
 * *metadata, which begins as {0}, is the caller's to free, after a failure, too. name: for
 * errors; NULL: "the image". */
bool zi_image_read(const uint8_t *data, size_t size, const char *name, size_t max_pixels,
                   zi_image **out, zi_image_metadata *metadata, zi_error *error) ZI_CHECKED;

/* Reads the image size in pixels, as stored and perhaps 0, from the first bytes of a file of this
 * format. False: they do not contain it, or the format is none of the three; width and height are
 * unchanged, and no error is set. */
bool zi_image_read_size(const uint8_t *data, size_t size, zi_format format, uint32_t *width,
                        uint32_t *height);

/* One format each; name is for errors, no pointer is NULL. Encoders append a file, with
 * options->infotext if not NULL, to out, which may have grown after a failure, too; image and
 * options were checked, quality (not for PNG) is 1 to 100. Decoders set *out to a new RGB image and
 * add the file's texts to *metadata, which the caller frees; after a failure *out is unchanged, but
 * *metadata may have texts. */
bool zi_png_encode(const zi_image *image, const char *name, const zi_save_options *options,
                   zi_text *out, zi_error *error) ZI_CHECKED;
bool zi_png_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                   zi_image_metadata *metadata, zi_error *error) ZI_CHECKED;
bool zi_jpeg_encode(const zi_image *image, const char *name, const zi_save_options *options,
                    zi_text *out, zi_error *error) ZI_CHECKED;
bool zi_jpeg_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                    zi_image_metadata *metadata, zi_error *error) ZI_CHECKED;
bool zi_webp_encode(const zi_image *image, const char *name, const zi_save_options *options,
                    zi_text *out, zi_error *error) ZI_CHECKED;
bool zi_webp_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                    zi_image_metadata *metadata, zi_error *error) ZI_CHECKED;

/* Appends an EXIF block (a TIFF header and two directories, without JPEG's prefix) that holds the
 * infotext, valid UTF-8, as its UserComment, in at most max bytes. Fails with ZI_ERROR_UNSUPPORTED,
 * nothing appended, if it does not fit, or when memory is short; a part may be appended then. name:
 * for errors. */
bool zi_exif_write(const char *name, const char *infotext, size_t max, zi_text *out,
                   zi_error *error) ZI_CHECKED;

#endif
