/* A part in safetensors files of a limited size, with an index where there are several. */
#ifndef ZI_CONVERT_SHARDS_H
#define ZI_CONVERT_SHARDS_H

#include "base/folder.h"
#include "convert/write.h"

typedef struct {
    zi_output_folder *folder;
    const char *dir, *stem; /* "vae/", "diffusion_pytorch_model" */
    const char *format;     /* of the metadata */
    size_t most;            /* bytes of tensors in a file, if they fit */
} zi_shards;

bool zi_shards_write(const zi_shards *shards, const zi_plan *plan, zi_work *work,
                     zi_error *error) ZI_CHECKED;

#endif
