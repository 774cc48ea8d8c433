/* The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
 * https://github.com/huggingface/safetensors#format */
#ifndef ZI_IO_SAFETENSORS_H
#define ZI_IO_SAFETENSORS_H

#include "io/checkpoint.h"

/* The byte offset of the tensor data, read from a file's first eight bytes; 0: not a safetensors
 * file. */
enum { ZI_SAFETENSORS_LENGTH = 8 };
uint64_t zi_safetensors_data_offset(const uint8_t bytes[ZI_SAFETENSORS_LENGTH]);

/* Adds the tensors and metadata of a mapped file, which is checkpoint->files[file]. After a failure
 * the checkpoint may hold some of them; zi_checkpoint_close frees them. */
bool zi_safetensors_parse(const char *path, const zi_mapping *mapping, int file,
                          zi_checkpoint *checkpoint, zi_error *error) ZI_CHECKED;

#endif
