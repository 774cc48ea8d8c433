/* The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
 * https://github.com/huggingface/safetensors#format */
#ifndef ZI_IO_SAFETENSORS_H
#define ZI_IO_SAFETENSORS_H

#include "io/checkpoint.h"

/* Adds the tensors of a mapped file to the array (grown with realloc, names with strdup). What was
 * added stays there after a failure, for the caller to free. */
bool zi_safetensors_parse(const char *path, const zi_mapping *mapping, int file,
                          zi_tensor **tensors, size_t *count, zi_error *error) ZI_CHECKED;

#endif
