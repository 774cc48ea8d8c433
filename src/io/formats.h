/* Quantization formats that ComfyUI files declare as JSON, in metadata or in comfy_quant tensors.
 */
#ifndef ZI_IO_FORMATS_H
#define ZI_IO_FORMATS_H

#include "io/checkpoint.h"

/* The supported formats. */
typedef enum {
    ZI_QUANTIZATION_NONE,
    ZI_QUANTIZATION_FP8_E4M3, /* float8_e4m3fn */
    ZI_QUANTIZATION_FP8_E5M2, /* float8_e5m2 */
    ZI_QUANTIZATION_INT8,     /* int8_tensorwise, also rotated (ConvRot) */
    ZI_QUANTIZATION_NVFP4,    /* nvfp4 */
    ZI_QUANTIZATION_MXFP8,    /* mxfp8 */
    ZI_QUANTIZATIONS
} zi_quantization;

/* The format that a file declares for one layer. */
typedef struct {
    zi_quantization kind;
    size_t rotation; /* "convrot_groupsize" of a rotated layer; 0: not rotated */
} zi_layer_format;

/* ComfyUI's name of a format, such as "nvfp4"; a constant. Not for ZI_QUANTIZATION_NONE. */
const char *zi_quantization_name(zi_quantization format);

/* The type of a format's weights in files: U8 for NVFP4. Not for ZI_QUANTIZATION_NONE. */
zi_dtype zi_quantization_type(zi_quantization format);

/* Fails with ZI_ERROR_UNSUPPORTED when a tensor's name shows a quantization format that is not
 * supported. Reads no markers and no metadata. */
bool zi_formats_check(const zi_checkpoint *checkpoint, zi_error *error) ZI_CHECKED;

/* Sets *out to what marker, the tensor NAME.comfy_quant (JSON as U8), declares. Fails, *out
 * unchanged, with ZI_ERROR_UNSUPPORTED for an unknown format, with ZI_ERROR_BAD_FORMAT if it is not
 * such JSON, or its fields do not fit the format. */
bool zi_formats_read_marker(const zi_checkpoint *checkpoint, const zi_tensor *marker,
                            zi_layer_format *out, zi_error *error) ZI_CHECKED;

/* Receives a layer of the metadata: its name, perhaps without the prefix that the file's tensors
 * have; file: for errors. False stops zi_formats_read_metadata, with *error. */
typedef bool (*zi_layer_format_fn)(void *context, const char *file, const char *layer,
                                   zi_layer_format format, zi_error *error);

/* Calls fn for each layer of the metadata _quantization_metadata of all files. Fails as
 * zi_formats_read_marker does, or if fn fails. True, without calls, if there are none. */
bool zi_formats_read_metadata(const zi_checkpoint *checkpoint, zi_layer_format_fn fn, void *context,
                              zi_error *error) ZI_CHECKED;

/* Bytes of a buffer for zi_formats_layer_json. */
enum { ZI_FORMAT_TEXT = 96 };

/* Writes the JSON of a marker, {"format": "..."}, with "convrot" and its size if the layer is
 * rotated, and a closing NUL. Not for ZI_QUANTIZATION_NONE. */
void zi_formats_layer_json(zi_layer_format format, char text[ZI_FORMAT_TEXT]);

#endif
