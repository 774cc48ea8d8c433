/* The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
 * https://github.com/huggingface/safetensors#format */
#ifndef ZI_IO_SAFETENSORS_H
#define ZI_IO_SAFETENSORS_H

#include "io/checkpoint.h"

/* Bytes of the header's length at the start of a file. */
enum { ZI_SAFETENSORS_LENGTH = 8 };

/* Returns the byte offset of the tensor data, from a file's first eight bytes; 0: not a safetensors
 * file, as the header would have more than 100 MiB. Nothing else is checked. */
uint64_t zi_safetensors_data_offset(const uint8_t bytes[ZI_SAFETENSORS_LENGTH]);

/* Parses the header of a mapped file, checkpoint->files[file], and appends its tensors, unsorted,
 * which point into the mapping, and its metadata. Fails with ZI_ERROR_BAD_FORMAT unless the tensors
 * fill the file without gaps or overlaps, with ZI_ERROR_UNSUPPORTED for an unknown type. After a
 * failure the checkpoint may hold some of them; zi_checkpoint_close frees them. */
bool zi_safetensors_parse(const char *path, const zi_mapping *mapping, int file,
                          zi_checkpoint *checkpoint, zi_error *error) ZI_CHECKED;

#endif
