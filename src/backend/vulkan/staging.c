/* Memory that the submissions under way take piece by piece: host memory from which commands copy,
 * and device memory for weights that stay there for one submission alone. */
#include "backend/vulkan/internal.h"

#include <stdlib.h>

bool gpu_staging_take(gpu_staging *s, VkDeviceSize size, VkDeviceSize alignment, gpu_place *out)
{
    for (; s->chunk < s->count; s->chunk++, s->used = 0) {
        VkDeviceSize at = (s->used + alignment - 1) & ~(alignment - 1);
        if (at > s->chunks[s->chunk].size || s->chunks[s->chunk].size - at < size) continue;
        *out = (gpu_place){s->chunks[s->chunk], at};
        s->used = at + size;
        s->total = ((s->total + alignment - 1) & ~(alignment - 1)) + size;
        return true;
    }
    return false;
}

bool gpu_staging_grow(gpu_backend *gpu, gpu_staging *s, VkDeviceSize size, zi_error *error)
{
    gpu_memory *grown = realloc(s->chunks, (s->count + 1) * sizeof *grown);
    if (!grown) return zi_error_no_memory(error, (s->count + 1) * sizeof *grown);
    s->chunks = grown;
    if (!gpu_memory_alloc(gpu, s->kind, size, &grown[s->count], error)) return false;
    s->count++;
    return true;
}

void gpu_staging_reset(gpu_backend *gpu, gpu_staging *s, VkDeviceSize least, bool idle)
{
    const VkDeviceSize keep = 8u << 20; /* of what was not used for long */
    enum { LONG = 64 };                 /* more than a step's submissions with one slot */
    VkDeviceSize total = s->total > least ? s->total : least;
    s->unused = total ? 0 : s->unused + 1;
    if (idle && s->unused > LONG && gpu_staging_size(s) > keep) gpu_staging_free(gpu, s);
    if (idle && total && (s->count > 1 || (s->count && s->chunks[0].size < total))) {
        gpu_staging_free(gpu, s);
        /* Where this fails, chunks are added again when they are needed. */
        if (!gpu_staging_grow(gpu, s, total, NULL)) s->count = 0;
    }
    s->chunk = 0;
    s->used = s->total = 0;
}

VkDeviceSize gpu_staging_size(const gpu_staging *s)
{
    VkDeviceSize size = 0;
    for (size_t i = 0; i < s->count; i++) size += s->chunks[i].size;
    return size;
}

void gpu_staging_free(gpu_backend *gpu, gpu_staging *s)
{
    for (size_t i = 0; i < s->count; i++) gpu_memory_free(gpu, &s->chunks[i]);
    free(s->chunks);
    *s = (gpu_staging){.kind = s->kind};
}
