/* GGUF models in several files, STEM-00001-of-00003.gguf and so on, as llama.cpp's gguf-split
 * writes them. Every file has the key split.count; the first one has the model's metadata. */
#ifndef ZI_IO_GGUF_SPLIT_H
#define ZI_IO_GGUF_SPLIT_H

#include "io/checkpoint.h"

/* Whether a path or file name ends in -NNNNN-of-MMMMM.gguf with 1 <= N <= M; sets *number and
 * *count to N and M then. False: *number and *count are unchanged. */
bool zi_gguf_shard_parse(const char *path, int *number, int *count);

/* Returns, in new memory, the path of file `number`, from 1, of the model of which `path`, as
 * zi_gguf_shard_parse takes it, is one file; whether it exists is not checked. NULL: memory is
 * short; no error is set. */
char *zi_gguf_shard_path(const char *path, int number);

/* Adds the other files of the model to a checkpoint of one GGUF file, if split.count says that
 * there are others: their tensors, not sorted, and the first file's metadata as checkpoint->gguf.
 * Fails with ZI_ERROR_NOT_FOUND for the first one that is missing, with ZI_ERROR_BAD_FORMAT when
 * they do not fit each other, with ZI_ERROR_UNSUPPORTED without such a name; close the checkpoint
 * then. */
bool zi_gguf_add_shards(zi_checkpoint *checkpoint, zi_error *error) ZI_CHECKED;

#endif
