/* PNG through libpng. The infotext is a text chunk `parameters`, as PIL writes it: tEXt where
 * Latin-1 is enough, else iTXt. */
#include "io/image.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* All that one call needs. libpng leaves by longjmp: what must survive that lives here and not in
 * the locals of the function that called setjmp. */
typedef struct {
    const char *name, *trouble; /* the file's name, the first words of an error */
    zi_error_code code;
    zi_error *error;
    png_structp png;
    png_infop info;
    zi_text *out;        /* encoding: the destination, */
    char *text;          /* the infotext as it goes into its chunk */
    const uint8_t *data; /* decoding: what is left of the file, */
    size_t size;
    zi_image *image; /* what comes of it */
} job;

/* libpng's error function: sets the job's error, with the code job.code, in place of an earlier
 * one, and leaves by longjmp. */
static void on_error(png_structp png, png_const_charp message)
{
    const job *it = png_get_error_ptr(png);
    zi_error_set(it->error, it->code, it->name, "%s: %s%s", it->trouble, message,
                 it->code == ZI_ERROR_BAD_FORMAT ? "; fetch or save it again"
                                                 : "; close other programs");
    png_longjmp(png, 1);
}

/* libpng's warning function: ignores them. */
static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* libpng's write function: appends to job.out. Out of memory: leaves by png_error. */
static void write_bytes(png_structp png, png_bytep data, size_t size)
{
    job *it = png_get_io_ptr(png);
    zi_text_append(it->out, data, size);
    if (it->out->failed) png_error(png, "out of memory");
}

/* libpng's flush function: nothing to do. */
static void flush_bytes(png_structp png)
{
    (void)png;
}

/* libpng's read function: takes the next bytes of job.data. Too few left: leaves by png_error. */
static void read_bytes(png_structp png, png_bytep data, size_t size)
{
    job *it = png_get_io_ptr(png);
    if (size > it->size) png_error(png, "the file ends too early");
    memcpy(data, it->data, size);
    it->data += size;
    it->size -= size;
}

/* Returns the infotext (UTF-8) in new memory: as Latin-1 when that has all its characters (up to
 * U+00FF), else as it is. Sets *latin1 to which of them. NULL: out of memory; *latin1 is unchanged,
 * and no error is set. */
static char *to_chunk_text(const char *infotext, bool *latin1)
{
    size_t left = strlen(infotext);
    char *text = malloc(left + 1), *to = text;
    if (!text) return NULL;
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)infotext;
    utf8proc_int32_t c = 0;
    while (left) {
        utf8proc_ssize_t n = utf8proc_iterate(from, (utf8proc_ssize_t)left, &c);
        if (n <= 0 || c > 0xff) break;
        *to++ = (char)c;
        from += n;
        left -= (size_t)n;
    }
    *to = 0;
    *latin1 = !left;
    if (left) memcpy(text, infotext, strlen(infotext) + 1);
    return text;
}

/* Appends the image to job.out, with job.text as the chunk `parameters` if not NULL: tEXt if
 * latin1, else iTXt. job.png and info must exist. False: the job's error is set. */
static bool encode_png(job *it, const zi_image *image, bool latin1)
{
    if (setjmp(png_jmpbuf(it->png))) return false;
    png_set_write_fn(it->png, it, write_bytes, flush_bytes);
    png_set_IHDR(it->png, it->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (it->text) {
        char key[] = "parameters", none[] = "";
        png_text text = {.compression =
                             latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE,
                         .key = key,
                         .text = it->text,
                         .lang = none,
                         .lang_key = none};
        png_set_text(it->png, it->info, &text, 1);
    }
    png_write_info(it->png, it->info);
    for (int y = 0; y < image->height; y++)
        png_write_row(it->png, image->pixels + (size_t)y * (size_t)image->width * 3);
    png_write_end(it->png, NULL);
    return true;
}

bool zi_png_encode(const zi_image *image, const char *name, const zi_save_options *options,
                   zi_text *out, zi_error *error)
{
    bool ok = false, latin1 = true;
    job it = {.name = name,
              .trouble = "cannot encode as PNG",
              .code = ZI_ERROR_NO_MEMORY,
              .error = error,
              .out = out};
    if (options->infotext && !(it.text = to_chunk_text(options->infotext, &latin1))) {
        zi_error_no_memory(error, strlen(options->infotext));
        goto out;
    }
    it.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &it, on_error, on_warning);
    if (it.png) it.info = png_create_info_struct(it.png);
    if (!it.info) {
        zi_error_set(error, ZI_ERROR_NO_MEMORY, name,
                     "cannot start libpng: out of memory, or it is another version than zimage was "
                     "built with; close other programs, or build zimage again");
        goto out;
    }
    ok = encode_png(&it, image, latin1);
out:
    png_destroy_write_struct(&it.png, &it.info);
    free(it.text);
    return ok;
}

/* Whether all chunks, up to IEND, which must be there, are within the file of 8 bytes or more (the
 * signature is not checked). libpng would first get and clear the memory for a chunk of 2 GB and
 * then see that the file has no such bytes. */
static bool whole_chunks(const uint8_t *data, size_t size)
{
    size_t at = 8; /* behind the signature */
    while (size >= at + 12) {
        uint32_t length = png_get_uint_32(data + at);
        if (length > size - at - 12) return false;
        if (memcmp(data + at + 4, "IEND", 4) == 0) return true;
        at += 12 + (size_t)length;
    }
    return false;
}

/* Has libpng turn every kind of PNG into 8-bit RGB, transparent pixels blended with black. Call it
 * between png_read_info and png_read_update_info; errors leave by longjmp. */
static void ask_for_rgb(job *it)
{
    const png_color_16 black = {0};
    png_set_expand(it->png); /* palettes, fewer bits, a transparent colour */
    png_set_scale_16(it->png);
    png_set_gray_to_rgb(it->png);
    png_set_background(it->png, &black, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1.0);
}

/* Decodes job.data into job.image (new, RGB; it may be set after a failure, too); the text chunks
 * stay in job.info. job.png and info must exist. False: the job's error is set. */
static bool decode_png(job *it)
{
    if (setjmp(png_jmpbuf(it->png))) return false;
    png_set_read_fn(it->png, it, read_bytes);
    /* A bad checksum is an error in any chunk, for the infotext as for the pixels. */
    png_set_crc_action(it->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    /* Values are taken as they are, as PIL does: no gamma, no profiles. */
    png_set_keep_unknown_chunks(it->png, PNG_HANDLE_CHUNK_NEVER,
                                (png_const_bytep) "cHRM\0gAMA\0iCCP\0sRGB", 4);
    png_read_info(it->png, it->info);
    if (!zi_image_new(it->name, png_get_image_width(it->png, it->info),
                      png_get_image_height(it->png, it->info), &it->image, it->error))
        return false;
    ask_for_rgb(it);
    int passes = png_set_interlace_handling(it->png);
    png_read_update_info(it->png, it->info);
    size_t stride = (size_t)it->image->width * 3;
    if (png_get_rowbytes(it->png, it->info) != stride)
        png_error(it->png, "its colours cannot be turned into RGB");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < it->image->height; y++)
            png_read_row(it->png, it->image->pixels + (size_t)y * stride, NULL);
    png_read_end(it->png, it->info);
    return true;
}

/* Adds the file's text chunks and EXIF block. An iTXt that is not UTF-8 is left out, as in PIL.
 * False: memory is short; the job's error is set. */
static bool read_metadata(const job *it, zi_image_metadata *metadata)
{
    png_textp texts = NULL;
    png_uint_32 exif_size = 0;
    png_bytep exif = NULL;
    if (setjmp(png_jmpbuf(it->png))) return false;
    int count = png_get_text(it->png, it->info, &texts, NULL);
    for (int i = 0; i < count; i++) {
        const char *text = texts[i].text ? texts[i].text : "";
        size_t size = strlen(text);
        bool international = texts[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        if (international && !zi_utf8_valid(text, size)) continue;
        if (!strcmp(texts[i].key, "XML:com.adobe.xmp"))
            zi_image_metadata_add_xmp(metadata, text, size);
        else
            zi_image_metadata_add(metadata, texts[i].key, text, size);
    }
    if (png_get_eXIf_1(it->png, it->info, &exif_size, &exif))
        zi_image_metadata_add_exif(metadata, exif, exif_size);
    return true;
}

bool zi_png_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                   zi_image_metadata *metadata, zi_error *error)
{
    if (!whole_chunks(data, size))
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, name,
                            "damaged PNG image: the file ends too early; fetch or save it again");
    bool ok = false;
    job it = {.name = name,
              .trouble = "damaged PNG image",
              .code = ZI_ERROR_BAD_FORMAT,
              .error = error,
              .data = data,
              .size = size};
    it.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &it, on_error, on_warning);
    if (it.png) it.info = png_create_info_struct(it.png);
    if (!it.info) {
        zi_error_set(error, ZI_ERROR_NO_MEMORY, name,
                     "cannot start libpng: out of memory, or it is another version than zimage was "
                     "built with; close other programs, or build zimage again");
        goto out;
    }
    if (!decode_png(&it) || !read_metadata(&it, metadata)) goto out;
    *out = it.image;
    it.image = NULL;
    ok = true;
out:
    png_destroy_read_struct(&it.png, &it.info, NULL);
    zi_image_free(it.image);
    return ok;
}
