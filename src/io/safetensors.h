/* The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
 * https://github.com/huggingface/safetensors#format */
#ifndef ZI_IO_SAFETENSORS_H
#define ZI_IO_SAFETENSORS_H

#include "io/checkpoint.h"

/* Bytes before the first tensor's, from the first eight of a file; 0: it is no safetensors file. */
enum { ZI_SAFETENSORS_LENGTH = 8 };
uint64_t zi_safetensors_data_offset(const uint8_t bytes[ZI_SAFETENSORS_LENGTH]);

/* Adds the tensors and the metadata of a mapped file, the file-th of the checkpoint. What was added
 * stays there after a failure, for zi_checkpoint_close to free. */
bool zi_safetensors_parse(const char *path, const zi_mapping *mapping, int file,
                          zi_checkpoint *checkpoint, zi_error *error) ZI_CHECKED;

#endif
