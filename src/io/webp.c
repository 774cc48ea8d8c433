/* WebP through libwebp, lossy. The infotext is the UserComment of an EXIF chunk. Chunks are written
 * and read through libwebpmux. */
#include "io/image.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/encode.h>
#include <webp/mux.h>

typedef struct {
    zi_error_code code;
    const char *text;
} trouble;

/* Returns the error code and text (a constant) for a failure of libwebp's encoder; code must be
 * one. */
static trouble encode_trouble(WebPEncodingError code)
{
    switch (code) {
    case VP8_ENC_ERROR_OUT_OF_MEMORY:
    case VP8_ENC_ERROR_BAD_WRITE: /* write_bytes could not get more of it */
    case VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY:
        return (trouble){ZI_ERROR_NO_MEMORY, "out of memory; close other programs"};
    case VP8_ENC_ERROR_PARTITION0_OVERFLOW:
    case VP8_ENC_ERROR_PARTITION_OVERFLOW:
    case VP8_ENC_ERROR_FILE_TOO_BIG:
        return (trouble){ZI_ERROR_UNSUPPORTED, "too large for the format; save it as .png"};
    default:
        return (trouble){ZI_ERROR_UNSUPPORTED, "libwebp refuses it; save it as .png"};
    }
}

/* Sets the error for a status of libwebp's decoder other than OK: ZI_ERROR_NO_MEMORY,
 * ZI_ERROR_UNSUPPORTED for an unknown feature, else ZI_ERROR_BAD_FORMAT (damaged). Returns
 * false. */
static bool decode_failed(const char *name, VP8StatusCode code, zi_error *error)
{
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return zi_error_set(error, ZI_ERROR_NO_MEMORY, name, "out of memory; close other programs");
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, name,
                            "damaged WebP image: the file ends too early; fetch or save it again");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, name,
                            "is a WebP image of an unknown kind; save it as PNG");
    default:
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, name,
                            "damaged WebP image; fetch or save it again");
    }
}

/* libwebp's writer: appends to the zi_text in picture->custom_ptr. Returns 1; 0: out of memory. */
static int write_bytes(const uint8_t *data, size_t size, const WebPPicture *picture)
{
    zi_text *out = picture->custom_ptr;
    zi_text_append(out, data, size);
    return !out->failed;
}

/* Combines an encoded image and an EXIF block in *whole, which is {0} before and which the caller
 * clears. Returns libwebpmux's result. */
static WebPMuxError combine(const zi_text *picture, const zi_text *exif, WebPData *whole)
{
    const WebPData coded = {(const uint8_t *)picture->data, picture->size};
    const WebPData block = {(const uint8_t *)exif->data, exif->size};
    WebPMux *mux = WebPMuxNew();
    WebPMuxError result = mux ? WebPMuxSetImage(mux, &coded, 0) : WEBP_MUX_MEMORY_ERROR;
    if (result == WEBP_MUX_OK) result = WebPMuxSetChunk(mux, "EXIF", &block, 0);
    if (result == WEBP_MUX_OK) result = WebPMuxAssemble(mux, whole);
    WebPMuxDelete(mux);
    return result;
}

/* Combines an encoded image and an EXIF block into one file, appended to out. Fails when memory is
 * short, or with ZI_ERROR_UNSUPPORTED when libwebpmux refuses them; nothing is appended then. name:
 * for errors. */
static bool add_exif(const char *name, const zi_text *picture, const zi_text *exif, zi_text *out,
                     zi_error *error)
{
    WebPData whole = {0};
    WebPMuxError result = combine(picture, exif, &whole);
    bool ok = result == WEBP_MUX_OK;
    if (!ok)
        zi_error_set(error,
                     result == WEBP_MUX_MEMORY_ERROR ? ZI_ERROR_NO_MEMORY : ZI_ERROR_UNSUPPORTED,
                     name, "cannot put the generation parameters into the WebP file: %s",
                     result == WEBP_MUX_MEMORY_ERROR ? "out of memory; close other programs"
                                                     : "libwebp refuses them; save it as .png");
    if (ok) zi_text_append(out, whole.bytes, whole.size);
    ok = ok && (!out->failed || zi_error_no_memory(error, whole.size));
    WebPDataClear(&whole);
    return ok;
}

/* Appends the image, encoded at a quality of 1 to 100, lossy in any case, without the infotext, to
 * out. False, with an error: out may have grown. name: for errors. */
static bool encode_webp(const zi_image *image, const char *name, int quality, zi_text *out,
                        zi_error *error)
{
    WebPConfig config;
    WebPPicture picture;
    if (!WebPConfigPreset(&config, WEBP_PRESET_DEFAULT, (float)quality) ||
        !WebPPictureInit(&picture))
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, name,
                            "cannot start libwebp: it is another version than zimage was built "
                            "with; build zimage again with the installed version");
    picture.width = image->width;
    picture.height = image->height;
    picture.writer = write_bytes;
    picture.custom_ptr = out;
    bool ok = WebPPictureImportRGB(&picture, image->pixels, image->width * 3) &&
              WebPEncode(&config, &picture);
    trouble why = encode_trouble(picture.error_code);
    if (!ok) zi_error_set(error, why.code, name, "cannot encode as WebP: %s", why.text);
    WebPPictureFree(&picture);
    return ok;
}

bool zi_webp_encode(const zi_image *image, const char *name, const zi_save_options *options,
                    zi_text *out, zi_error *error)
{
    if (image->width > WEBP_MAX_DIMENSION || image->height > WEBP_MAX_DIMENSION)
        return zi_error_set_in(
            error, ZI_ERROR_INVALID_ARGUMENT, name, "image",
            "the image has %d x %d pixels, but WebP takes at most %d a side; save it as .png",
            image->width, image->height, WEBP_MAX_DIMENSION);
    if (!options->infotext) return encode_webp(image, name, options->quality, out, error);
    zi_text picture, exif;
    zi_text_init(&picture, out->ceiling);
    zi_text_init(&exif, out->ceiling);
    bool ok = encode_webp(image, name, options->quality, &picture, error) &&
              zi_exif_write(name, options->infotext, out->ceiling, &exif, error) &&
              add_exif(name, &picture, &exif, out, error);
    zi_text_free(&picture);
    zi_text_free(&exif);
    return ok;
}

/* Decodes an image with alpha into image->pixels, allocated by the caller, blended with black: that
 * is what premultiplied colours show, once their alpha is dropped. config is initialised. Fails as
 * decode_failed does: damaged, unsupported, or memory is short. */
static bool decode_alpha(const uint8_t *data, size_t size, WebPDecoderConfig *config,
                         zi_image *image, const char *name, zi_error *error)
{
    config->output.colorspace = MODE_rgbA;
    VP8StatusCode code = WebPDecode(data, size, config);
    if (code == VP8_STATUS_OK) {
        const WebPRGBABuffer *from = &config->output.u.RGBA;
        uint8_t *to = image->pixels;
        for (int y = 0; y < image->height; y++)
            for (int x = 0; x < image->width; x++, to += 3)
                memcpy(to, from->rgba + (size_t)y * (size_t)from->stride + (size_t)x * 4, 3);
    } else {
        decode_failed(name, code, error);
    }
    WebPFreeDecBuffer(&config->output);
    return code == VP8_STATUS_OK;
}

/* Decodes an image without alpha into image->pixels, allocated by the caller. config is
 * initialised. Fails as decode_failed does: damaged, unsupported, or memory is short. */
static bool decode_opaque(const uint8_t *data, size_t size, WebPDecoderConfig *config,
                          zi_image *image, const char *name, zi_error *error)
{
    size_t stride = (size_t)image->width * 3;
    config->output.colorspace = MODE_RGB;
    config->output.is_external_memory = 1;
    config->output.u.RGBA =
        (WebPRGBABuffer){image->pixels, (int)stride, stride * (size_t)image->height};
    VP8StatusCode code = WebPDecode(data, size, config);
    if (code != VP8_STATUS_OK) decode_failed(name, code, error);
    return code == VP8_STATUS_OK;
}

/* Adds the fields of the file's EXIF and XMP chunks. Short memory sets metadata->failed, or the
 * chunks are not found. */
static void read_metadata(const uint8_t *data, size_t size, zi_image_metadata *metadata)
{
    const WebPData whole = {data, size};
    WebPData chunk = {0};
    WebPMux *mux = WebPMuxCreate(&whole, 0);
    if (mux && WebPMuxGetChunk(mux, "EXIF", &chunk) == WEBP_MUX_OK)
        zi_image_metadata_add_exif(metadata, chunk.bytes, chunk.size);
    if (mux && WebPMuxGetChunk(mux, "XMP ", &chunk) == WEBP_MUX_OK)
        zi_image_metadata_add_xmp(metadata, (const char *)chunk.bytes, chunk.size);
    WebPMuxDelete(mux);
}

bool zi_webp_decode(const uint8_t *data, size_t size, const char *name, zi_image **out,
                    zi_image_metadata *metadata, zi_error *error)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, name,
                            "cannot start libwebp: it is another version than zimage was built "
                            "with; build zimage again with the installed version");
    VP8StatusCode code = WebPGetFeatures(data, size, &config.input);
    if (code != VP8_STATUS_OK) return decode_failed(name, code, error);
    if (config.input.has_animation)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, name,
                            "is an animated WebP image, and only still ones can be read; save one "
                            "frame of it as PNG");
    zi_image *image;
    if (!zi_image_new(name, (uint32_t)config.input.width, (uint32_t)config.input.height, &image,
                      error))
        return false;
    if (!(config.input.has_alpha ? decode_alpha : decode_opaque)(data, size, &config, image, name,
                                                                 error)) {
        zi_image_free(image);
        return false;
    }
    read_metadata(data, size, metadata);
    *out = image;
    return true;
}
