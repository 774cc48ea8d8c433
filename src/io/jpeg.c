/* JPEG through libjpeg(-turbo), without chroma subsampling. The infotext is the UserComment of an
 * EXIF block in an APP1 marker. */
#include "io/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

enum {
    MARKER_MAX = 65533, /* bytes in a marker behind its length */
    SCANS_MAX = 500,    /* of a progressive file; a small one could ask for hours of work */
    BLOCK = 16384
};
static const char exif_id[6] = "Exif\0";                     /* and a second NUL */
static const char xmp_id[] = "http://ns.adobe.com/xap/1.0/"; /* and a NUL */

/* All that one call needs. libjpeg leaves by longjmp: what must survive that lives here and not in
 * the locals of the function that called setjmp. */
typedef struct {
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_destination_mgr destination;
    jmp_buf leave;
    const char *name, *trouble; /* the file's name, the first words of an error */
    zi_error_code code;
    zi_error *error;
    zi_text *out;    /* encoding: the destination */
    zi_image *image; /* decoding: what comes of it, */
    zi_image_metadata *metadata;
    JOCTET block[BLOCK];
} job;

/* libjpeg's error_exit: sets the job's error, with the code job.code, in place of an earlier one,
 * and leaves by longjmp to it->leave. */
static void on_error(j_common_ptr info)
{
    job *it = info->client_data;
    char message[JMSG_LENGTH_MAX];
    info->err->format_message(info, message);
    zi_error_set(it->error, it->code, it->name, "%s: %s%s", it->trouble, message,
                 it->code == ZI_ERROR_BAD_FORMAT ? "; fetch or save it again"
                                                 : "; close other programs");
    longjmp(it->leave, 1);
}

/* libjpeg's emit_message. The library paints over damage and warns; a warning that means lost
 * pixels is an error here (on_error). Others, and traces, are ignored. */
static void on_message(j_common_ptr info, int level)
{
    if (level >= 0) return;
    switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
        on_error(info);
        break;
    default:
        break;
    }
}

/* libjpeg's output_message: prints nothing. */
static void on_output(j_common_ptr info)
{
    (void)info; /* the library prints nothing */
}

/* libjpeg's progress_monitor while decoding: fails as on_error does once the file has more than
 * SCANS_MAX scans. */
static void on_progress(j_common_ptr info)
{
    job *it = info->client_data;
    const struct jpeg_decompress_struct *jpeg = (const struct jpeg_decompress_struct *)(void *)info;
    if (jpeg->input_scan_number <= SCANS_MAX) return;
    zi_error_set(
        it->error, it->code, it->name,
        "%s: it has more than %d passes (scans); save the image again with another program",
        it->trouble, SCANS_MAX);
    longjmp(it->leave, 1);
}

/* Sets up it->errors with the handlers above and returns it. */
static struct jpeg_error_mgr *set_errors(job *it)
{
    jpeg_std_error(&it->errors);
    it->errors.error_exit = on_error;
    it->errors.emit_message = on_message;
    it->errors.output_message = on_output;
    return &it->errors;
}

/* The destination is a block that libjpeg fills, emptied into job.out. (The library's own
 * jpeg_mem_dest leaves a dangling pointer behind when it fails.) */

/* libjpeg's init_destination: makes the empty block the buffer to fill. */
static void start_block(j_compress_ptr jpeg)
{
    job *it = jpeg->client_data;
    it->destination.next_output_byte = it->block;
    it->destination.free_in_buffer = BLOCK;
}

/* Appends the block's first `size` bytes to job.out. Out of memory: leaves by longjmp
 * (on_error). */
static void append_block(j_compress_ptr jpeg, size_t size)
{
    job *it = jpeg->client_data;
    zi_text_append(it->out, it->block, size);
    if (it->out->failed) ERREXIT1(jpeg, JERR_OUT_OF_MEMORY, 0);
}

/* libjpeg's empty_output_buffer: appends the full block to job.out and begins it again. Returns
 * TRUE; out of memory: leaves as append_block does. */
static boolean empty_block(j_compress_ptr jpeg)
{
    append_block(jpeg, BLOCK);
    start_block(jpeg);
    return TRUE;
}

/* libjpeg's term_destination: appends the filled part of the block to job.out. Out of memory:
 * leaves as append_block does. */
static void finish_block(j_compress_ptr jpeg)
{
    append_block(jpeg, BLOCK - jpeg->dest->free_in_buffer);
}

/* Creates jpeg, which the caller destroys, and appends the image to job.out, without chroma
 * subsampling. exif (not NULL): an APP1 marker's content of at most MARKER_MAX bytes, or empty.
 * False: the job's error is set; job.out may have grown. */
static bool encode_jpeg(job *it, j_compress_ptr jpeg, const zi_image *image, int quality,
                        const zi_text *exif)
{
    if (setjmp(it->leave)) return false;
    jpeg_create_compress(jpeg);
    it->destination.init_destination = start_block;
    it->destination.empty_output_buffer = empty_block;
    it->destination.term_destination = finish_block;
    jpeg->dest = &it->destination;
    jpeg->image_width = (JDIMENSION)image->width;
    jpeg->image_height = (JDIMENSION)image->height;
    jpeg->input_components = 3;
    jpeg->in_color_space = JCS_RGB;
    jpeg_set_defaults(jpeg);
    jpeg_set_quality(jpeg, quality, TRUE);
    jpeg->optimize_coding = TRUE;
    jpeg->comp_info[0].h_samp_factor = jpeg->comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(jpeg, TRUE);
    if (exif->size)
        jpeg_write_marker(jpeg, JPEG_APP0 + 1, (const JOCTET *)exif->data, (unsigned)exif->size);
    size_t stride = (size_t)image->width * 3;
    while (jpeg->next_scanline < jpeg->image_height) {
        JSAMPROW row = image->pixels + jpeg->next_scanline * stride;
        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
    return true;
}

bool zi_jpeg_encode(const zi_image *image, const char *name, const zi_save_options *options,
                    zi_text *out, zi_error *error)
{
    bool ok = false;
    job it = {.name = name,
              .trouble = "cannot encode as JPEG",
              .code = ZI_ERROR_NO_MEMORY,
              .error = error,
              .out = out};
    struct jpeg_compress_struct jpeg = {.client_data = &it};
    jpeg.err = set_errors(&it);
    zi_text exif;
    zi_text_init(&exif, MARKER_MAX);
    if (options->infotext) {
        zi_text_append(&exif, exif_id, sizeof exif_id);
        if (!zi_exif_write(name, options->infotext, MARKER_MAX - sizeof exif_id, &exif, error))
            goto out;
    }
    ok = encode_jpeg(&it, &jpeg, image, options->quality, &exif);
out:
    jpeg_destroy_compress(&jpeg);
    zi_text_free(&exif);
    return ok;
}

/* Adds the file's comments, EXIF blocks and XMP packets. stable-diffusion.cpp writes the comment
 * "parameters", a NUL and the text. Call it after jpeg_read_header. */
static void read_metadata(zi_image_metadata *metadata, j_decompress_ptr jpeg)
{
    static const char parameters[] = "parameters"; /* and a NUL */
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
        const char *text = (const char *)m->data;
        size_t size = m->data_length, key = sizeof parameters;
        if (m->marker == JPEG_COM && size > key && !memcmp(text, parameters, key))
            zi_image_metadata_add(metadata, parameters, text + key, size - key);
        else if (m->marker == JPEG_COM)
            zi_image_metadata_add(metadata, "comment", text, size);
        else if (size > sizeof exif_id && !memcmp(text, exif_id, sizeof exif_id))
            zi_image_metadata_add_exif(metadata, m->data + sizeof exif_id, size - sizeof exif_id);
        else if (size > sizeof xmp_id && !memcmp(text, xmp_id, sizeof xmp_id))
            zi_image_metadata_add_xmp(metadata, text + sizeof xmp_id, size - sizeof xmp_id);
    }
}

/* Creates jpeg, which the caller destroys, and decodes a file into job.image (new, RGB) and
 * job.metadata; either may be set after a failure, too. False: damaged, too large or CMYK; the
 * job's error is set. */
static bool decode_jpeg(job *it, j_decompress_ptr jpeg, const uint8_t *data, size_t size)
{
    if (setjmp(it->leave)) return false;
    jpeg_create_decompress(jpeg);
    it->progress.progress_monitor = on_progress;
    jpeg->progress = &it->progress;
    jpeg_mem_src(jpeg, data, (unsigned long)size);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_save_markers(jpeg, JPEG_COM, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK)
        return zi_error_set(
            it->error, ZI_ERROR_UNSUPPORTED, it->name,
            "is a JPEG image in CMYK colours, which is not supported; save it as RGB");
    if (!zi_image_new(it->name, jpeg->image_width, jpeg->image_height, &it->image, it->error))
        return false;
    read_metadata(it->metadata, jpeg);
    jpeg->out_color_space = JCS_RGB;
    jpeg_start_decompress(jpeg);
    size_t stride = (size_t)it->image->width * 3;
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = it->image->pixels + jpeg->output_scanline * stride;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
    return true;
}

bool zi_jpeg_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                    zi_image_metadata *metadata, zi_error *error)
{
    job it = {.name = name,
              .trouble = "damaged JPEG image",
              .code = ZI_ERROR_BAD_FORMAT,
              .error = error,
              .metadata = metadata};
    struct jpeg_decompress_struct jpeg = {.client_data = &it};
    jpeg.err = set_errors(&it);
    bool ok = decode_jpeg(&it, &jpeg, data, size);
    if (ok) {
        *out = it.image;
        it.image = NULL;
    }
    jpeg_destroy_decompress(&jpeg);
    zi_image_free(it.image);
    return ok;
}
