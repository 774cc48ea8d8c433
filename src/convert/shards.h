/* A part in safetensors files of a limited size, with an index where there are several. */
#ifndef ZI_CONVERT_SHARDS_H
#define ZI_CONVERT_SHARDS_H

#include "base/folder.h"
#include "convert/write.h"

typedef struct {
    zi_folder *folder;
    const char *dir, *stem; /* "vae/", "diffusion_pytorch_model" */
    const char *format;     /* of the metadata */
    size_t max_bytes;       /* bytes of tensors in a file, if they fit */
} zi_shard_files;

bool zi_write_shards(const zi_shard_files *shards, const zi_write_plan *plan,
                     zi_write_context *work, zi_error *error) ZI_CHECKED;

#endif
