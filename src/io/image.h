/* Image files: the interface between image.c and the formats (png.c, jpeg.c, webp.c). */
#ifndef ZI_IO_IMAGE_H
#define ZI_IO_IMAGE_H

#include "base/text.h"

enum {
    ZI_IMAGE_SIDE_MAX = 16384,     /* pixels, checked before anything is allocated */
    ZI_IMAGE_BYTES_MAX = 1 << 30,  /* of an image file */
    ZI_IMAGE_RECIPE_MAX = 1 << 20, /* of an infotext, in bytes */
};

/* Allocates an RGB image, 8 bits per channel, with uninitialised pixels, for zi_image_free. Fails
 * when a side is not in 1..ZI_IMAGE_SIDE_MAX; name: the file named in errors. */
bool zi_image_new(const char *name, uint32_t width, uint32_t height, zi_image **out,
                  zi_error *error) ZI_CHECKED;

/* zi_image_save without the file: checks image and options (NULL: defaults) and appends the encoded
 * image to out, which may have grown after a failure, too. With ZI_FORMAT_BY_NAME the name tells
 * the format; errors begin with it. */
bool zi_image_encode_named(const zi_image *image, const char *name, const zi_save_options *options,
                           zi_text *out, zi_error *error) ZI_CHECKED;

/* zi_image_load without the file: the first bytes tell the format. The name is for errors only.
 * infotext may be NULL. Outputs are untouched after a failure. */
bool zi_image_decode_named(const uint8_t *data, size_t size, const char *name, zi_image **out,
                           char **infotext, zi_error *error) ZI_CHECKED;

/* Reads the image size in pixels from the first bytes of a file of this format; false: they do not
 * contain it, or the format is ZI_FORMAT_BY_NAME. */
bool zi_image_read_size(const uint8_t *data, size_t size, zi_format format, uint32_t *width,
                        uint32_t *height);

/* One format each. Encoders append the file's bytes, with options->infotext in them if not NULL, to
 * out; image and options have been checked, and the quality is never 0. Decoders set *out to a new
 * RGB image and *infotext to new memory, or NULL when the file has none. After a failure nothing
 * needs freeing; *out of a decoder is untouched, out of an encoder may have grown. */
bool zi_png_encode(const zi_image *image, const char *name, const zi_save_options *options,
                   zi_text *out, zi_error *error) ZI_CHECKED;
bool zi_png_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                   char **infotext, zi_error *error) ZI_CHECKED;
bool zi_jpeg_encode(const zi_image *image, const char *name, const zi_save_options *options,
                    zi_text *out, zi_error *error) ZI_CHECKED;
bool zi_jpeg_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                    char **infotext, zi_error *error) ZI_CHECKED;
bool zi_webp_encode(const zi_image *image, const char *name, const zi_save_options *options,
                    zi_text *out, zi_error *error) ZI_CHECKED;
bool zi_webp_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                    char **infotext, zi_error *error) ZI_CHECKED;

/* Appends an EXIF block (a TIFF header and two directories) that holds the infotext, valid UTF-8,
 * as its UserComment, in at most max bytes. */
bool zi_exif_write(const char *name, const char *infotext, size_t max, zi_text *out,
                   zi_error *error) ZI_CHECKED;

/* The UserComment of an EXIF block as UTF-8 in new memory; NULL when there is none that can be
 * read. Fails only when memory is short: cameras write many kinds of irregular EXIF. */
bool zi_exif_read(const uint8_t *data, size_t size, char **infotext, zi_error *error) ZI_CHECKED;

#endif
