/* Quantization formats that ComfyUI files declare as JSON, in metadata or in comfy_quant tensors.
 */
#ifndef ZI_IO_FORMATS_H
#define ZI_IO_FORMATS_H

#include "io/checkpoint.h"

/* Fails with ZI_ERROR_UNSUPPORTED when a tensor's name or the metadata _quantization_metadata
 * declare a quantization format that is not supported, with ZI_ERROR_BAD_FORMAT when these metadata
 * are not JSON with "layers" that have a "format" each. True when nothing is declared. Tensors
 * NAME.comfy_quant are not read: see zi_formats_check_layer. */
bool zi_formats_check(const zi_checkpoint *checkpoint, zi_error *error) ZI_CHECKED;

/* Checks marker, the tensor NAME.comfy_quant (JSON as U8) of a weight. Fails with
 * ZI_ERROR_UNSUPPORTED if the format that it names is not supported, with ZI_ERROR_BAD_FORMAT if it
 * is not such JSON or the format is not that of weights of `type`. */
bool zi_formats_check_layer(const zi_checkpoint *checkpoint, const zi_tensor *marker, zi_dtype type,
                            zi_error *error) ZI_CHECKED;

/* Bytes of a buffer for zi_formats_layer_json. */
enum { ZI_FORMAT_TEXT = 40 };

/* Writes the JSON of such a tensor, {"format": "..."} with closing NUL, for weights of F8_E4M3,
 * F8_E5M2 or I8. For other types text stays unchanged: set it to "" before to tell. */
void zi_formats_layer_json(zi_dtype type, char text[ZI_FORMAT_TEXT]);

#endif
