/* The texts that an image file contains beside its pixels (PNG's text chunks, JPEG's comments, EXIF
 * and XMP fields), and the generation parameters that programs store in them. */
#ifndef ZI_IO_IMAGE_METADATA_H
#define ZI_IO_IMAGE_METADATA_H

#include "base/error.h"

enum {
    ZI_IMAGE_TEXTS_MAX = 64,            /* of a file; further ones are left out */
    ZI_IMAGE_TEXT_MAX = 4 << 20,        /* bytes of a text; of a longer one only the name is kept */
    ZI_IMAGE_TEXTS_BYTES_MAX = 16 << 20 /* bytes of all texts */
};

typedef struct {
    char *name; /* UTF-8: PNG's keyword, "UserComment", "comment", ... */
    char *text; /* UTF-8; NULL: too long, or in an unknown character set */
} zi_image_text;

/* Begins as {0}. */
typedef struct {
    zi_image_text *texts; /* [count], in the file's order */
    size_t count, bytes;
    bool failed; /* memory was short: a text is missing */
} zi_image_metadata;

/* Appends a copy of a text, up to its first NUL: UTF-8 if it is valid as that, else Latin-1. data
 * NULL: a text that cannot be read. Short memory sets metadata->failed. */
void zi_image_metadata_add(zi_image_metadata *metadata, const char *name, const char *data,
                           size_t size);

/* Frees the texts and zeroes the struct. */
void zi_image_metadata_free(zi_image_metadata *metadata);

/* The first text of this name, borrowed; NULL: there is none, or it cannot be read. */
const char *zi_image_metadata_find(const zi_image_metadata *metadata, const char *name);

/* Appends the fields of an XMP packet that can have generation parameters: "parameters" of
 * stable-diffusion.cpp, "UserComment" and "description"; and the packet itself, named "XMP". Short
 * memory sets metadata->failed. */
void zi_image_metadata_add_xmp(zi_image_metadata *metadata, const char *packet, size_t size);

/* Appends the fields of an EXIF block that can have generation parameters, among them
 * "UserComment". A malformed block adds what can be read of it: cameras write many kinds of
 * irregular EXIF. Short memory sets metadata->failed. */
void zi_image_metadata_add_exif(zi_image_metadata *metadata, const uint8_t *data, size_t size);

/* Sets *infotext to the generation parameters as A1111's infotext in new memory: as it stands in
 * the file, or translated from the form of another program; NULL: there are none. source, not NULL,
 * receives a constant text like "ComfyUI graph", which may tell of parameters that cannot be
 * translated; NULL: nothing is known. Fails when memory is short. */
bool zi_image_metadata_infotext(const zi_image_metadata *metadata, char **infotext,
                                const char **source, zi_error *error) ZI_CHECKED;

#endif
