/* Formats of quantized weights that ComfyUI's files name in JSON. */
#ifndef ZI_IO_FORMATS_H
#define ZI_IO_FORMATS_H

#include "io/checkpoint.h"

/* Refuses a checkpoint in which a tensor's name or the metadata tells of a format that is not
 * supported. */
bool zi_formats_check(const zi_checkpoint *checkpoint, zi_error *error) ZI_CHECKED;

/* Refuses what a marker (a tensor NAME.comfy_quant, JSON in bytes) says about a weight of that
 * type, unless it is supported and true. */
bool zi_formats_check_layer(const zi_checkpoint *checkpoint, const zi_tensor *marker, zi_dtype type,
                            zi_error *error) ZI_CHECKED;

/* Such a marker for weights of F8_E4M3, F8_E5M2 or I8. */
enum { ZI_FORMAT_TEXT = 40 };
void zi_formats_layer_json(zi_dtype type, char text[ZI_FORMAT_TEXT]);

#endif
