/* Weights: what the files that keep them share. Callers of these functions hold memory_mutex where
 * nothing else is said. */
#ifndef ZI_BACKEND_VULKAN_WEIGHTS_H
#define ZI_BACKEND_VULKAN_WEIGHTS_H

#include "backend/vulkan/internal.h"

enum { GPU_WEIGHT_ALIGNMENT = 256 };

/* The latest submission of a session that uses a group. */
typedef struct {
    const gpu_exec *exec;
    uint64_t number;
} gpu_group_use;

struct gpu_group {
    gpu_memory memory; /* no handle: not resident */
    VkDeviceSize size;
    gpu_buffer *members;
    uint64_t last; /* when one of them was used last; 0: never */
    bool idle;
    gpu_group_use *uses; /* of resident weights */
    size_t use_count, use_capacity;
    const gpu_exec *loader; /* whose submission `loaded_in` copies the weights here; NULL: they are
                               there */
    uint64_t loaded_in;
    gpu_group *next;
};

/* ---- residency.c ---- */

/* Whether the weights of a group are in device memory. */
static inline bool gpu_is_resident(const gpu_group *group)
{
    return group->memory.handle != VK_NULL_HANDLE;
}

/* Takes the memory of a group that no pending submission uses. */
void gpu_evict(gpu_backend *gpu, gpu_group *group);

/* Notes that the submission that the session records uses the group. False: memory is short. */
bool gpu_note_use(gpu_group *group, const gpu_exec *exec);

/* Frees a group that has no members any more, and that no pending submission uses. */
void gpu_free_group(gpu_backend *gpu, gpu_group *group);

/* Whether so many more bytes are within the limit. */
bool gpu_fits(gpu_backend *gpu, uint64_t size);

/* Makes stale groups leave if that makes room for `size` bytes; otherwise none leaves, and the
 * result is false. */
bool gpu_replace_stale(gpu_backend *gpu, uint64_t size, uint64_t before, bool idle_too);

/* ---- weights.c ---- */

/* Copies a weight to memory that nothing uses, through staging memory if the host does not see it.
 * False: memory is short, which is kept in the session. For callers with or without the mutex. */
bool gpu_copy_weight(gpu_exec *exec, const gpu_buffer *weight, const gpu_place *to);

/* ---- streaming.c ---- */

/* Bytes that the session's streams need beside what they have: they must not be given to weights
 * that would have to leave again. */
uint64_t gpu_missing_stream(const gpu_exec *exec);

/* Copies a weight to memory of the submission that is recorded. Returns where it is; 0: memory is
 * short, which is kept in the session. Without the mutex. */
uint64_t gpu_stream(gpu_exec *exec, const gpu_buffer *weight);

/* Returns where the submission that is recorded has a weight already; 0: nowhere. */
uint64_t gpu_find_streamed(const gpu_exec *exec, const gpu_buffer *weight);

#endif
