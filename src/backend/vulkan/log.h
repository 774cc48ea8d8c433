/* The log of a session: the commands that its operations append. */
#ifndef ZI_BACKEND_VULKAN_LOG_H
#define ZI_BACKEND_VULKAN_LOG_H

#include "backend/vulkan/internal.h"

typedef enum {
    GPU_DISPATCH,
    GPU_COPY,
    GPU_UPLOAD, /* a copy that comes before all else in its piece */
    GPU_BARRIER
} gpu_command_kind;

/* What all entries begin with; padding is zero, so that logs can be compared. */
typedef struct {
    uint32_t kind, size; /* size: of the whole entry */
} gpu_command;

typedef struct {
    gpu_command head;
    const gpu_pipeline *pipeline;
    uint64_t cost; /* of a group, see gpu_work */
    uint32_t base[3], groups[3];
    uint32_t axis, push_size;
    unsigned char push[GPU_MAX_PUSH];
} gpu_dispatch_command;

typedef struct {
    gpu_command head;
    VkBuffer from, to;
    /* A recording is invalid once a buffer of it is gone, though another one may have its handle.
     */
    uint64_t from_serial, to_serial;
    VkBufferCopy region;
} gpu_copy_command;

/* The cost of an entry of a log. */
uint64_t gpu_command_cost(const unsigned char *entry);

/* Appends a copy between buffers (kind GPU_COPY or GPU_UPLOAD); if it goes on where the command
 * before, a copy of this kind, ends, makes that one longer. */
void gpu_append_copy(gpu_exec *exec, gpu_command_kind kind, const gpu_memory *from,
                     const gpu_memory *to, VkBufferCopy region);

/* Finds the recording of a piece, or makes it. NULL, with the session's error set. */
gpu_recording *gpu_find_recording(gpu_exec *exec, const gpu_piece *piece);

/* Takes the next piece from a session's log, of about the budget's cost, and moves *cut on: whole
 * commands, or groups of a dispatch that may be computed apart. A piece that is not all of the log
 * lies in exec->piece. False: there is none left, or memory is short (kept in the session). */
bool gpu_next_piece(gpu_exec *exec, gpu_cut *cut, gpu_piece *piece);

#endif
