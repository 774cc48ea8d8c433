/* Writes one component as sharded safetensors files, with an index file when there are several. */
#ifndef ZI_CONVERT_SHARDS_H
#define ZI_CONVERT_SHARDS_H

#include "base/folder.h"
#include "convert/write.h"

typedef struct {
    zi_output_folder *folder; /* receives the files; borrowed */
    const char *dir, *stem;   /* "vae/", "diffusion_pytorch_model" */
    const char *format;       /* "format" in the files' metadata: "pt" or "mlx" */
    size_t max_bytes;         /* of tensors in a shard; a larger tensor gets a shard of its own */
} zi_shard_files;

/* Writes all items of a sorted plan to DIR/STEM.safetensors, or if they exceed max_bytes to
 * DIR/STEM-00001-of-0000N.safetensors and so on, and then STEM.safetensors.index.json. Nothing for
 * an empty plan. Files are registered with the folder, also after a failure; it removes them when
 * it is discarded. */
bool zi_write_shards(const zi_shard_files *shards, const zi_write_plan *plan,
                     zi_write_context *work, zi_error *error) ZI_CHECKED;

#endif
