/* Recordings: a piece of a session's log is turned into a command buffer. Where an earlier piece
 * was the same, its command buffer is submitted again: so the layers of a step are recorded once,
 * though model code knows nothing of it. */
#include "backend/vulkan/log.h"

#include <stdlib.h>

static void record_barrier(gpu_exec *exec, VkCommandBuffer commands)
{
    const VkPipelineStageFlags work =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    exec->gpu->vk.CmdPipelineBarrier(commands, work, work, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* Makes what commands wrote visible to the host. */
static void record_host_barrier(gpu_exec *exec, VkCommandBuffer commands)
{
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask =
                                   VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    exec->gpu->vk.CmdPipelineBarrier(
        commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static void record_dispatch(gpu_exec *exec, VkCommandBuffer commands, const gpu_dispatch_command *d)
{
    const gpu_functions *vk = &exec->gpu->vk;
    vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, d->pipeline->handle);
    vk->CmdPushConstants(commands, exec->gpu->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, d->push_size,
                         d->push);
    vk->CmdDispatchBase(commands, d->base[0], d->base[1], d->base[2], d->groups[0], d->groups[1],
                        d->groups[2]);
}

/* Records the piece's uploads alone, or all its other commands. */
static void record_commands(gpu_exec *exec, const gpu_piece *piece, VkCommandBuffer commands,
                            bool uploads)
{
    const gpu_functions *vk = &exec->gpu->vk;
    gpu_command head;
    for (size_t at = 0; at < piece->size; at += head.size) {
        gpu_dispatch_command d;
        gpu_copy_command c;
        memcpy(&head, piece->log + at, sizeof head);
        if (uploads != (head.kind == GPU_UPLOAD)) continue;
        if (head.kind == GPU_DISPATCH) {
            memcpy(&d, piece->log + at, sizeof d);
            record_dispatch(exec, commands, &d);
        } else if (head.kind == GPU_BARRIER) {
            record_barrier(exec, commands);
        } else {
            memcpy(&c, piece->log + at, sizeof c);
            vk->CmdCopyBuffer(commands, c.from, c.to, 1, &c.region);
        }
    }
}

/* Records a piece of a log. After its uploads, which overlap with what was submitted before, comes
 * a barrier, for what they and earlier submissions wrote. */
static VkResult record_piece(gpu_exec *exec, const gpu_piece *piece, VkCommandBuffer commands)
{
    const gpu_functions *vk = &exec->gpu->vk;
    /* It may be submitted again before its last submission has ended. */
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    VkResult result = vk->BeginCommandBuffer(commands, &info);
    if (result != VK_SUCCESS) return result;
    record_commands(exec, piece, commands, true);
    record_barrier(exec, commands);
    record_commands(exec, piece, commands, false);
    record_host_barrier(exec, commands);
    return vk->EndCommandBuffer(commands);
}

/* Returns the recording to use for a new piece: one that has never been used, else the one that was
 * used longest ago, whose piece ends now at the latest. NULL: the session has failed. */
static gpu_recording *choose_recording(gpu_exec *exec)
{
    if (exec->recording_count < GPU_RECORDINGS) return &exec->recordings[exec->recording_count++];
    gpu_recording *oldest = exec->recordings;
    for (size_t i = 1; i < exec->recording_count; i++)
        if (exec->recordings[i].last < oldest->last) oldest = &exec->recordings[i];
    VkResult result = gpu_wait_value(exec, exec->counter, oldest->last, true);
    if (result == VK_SUCCESS) return oldest;
    gpu_error(exec->gpu, &exec->failure, result, "computing failed");
    return NULL;
}

/* Makes a recording of a piece. NULL, with the session's error set: it cannot be made. */
static gpu_recording *make_recording(gpu_exec *exec, const gpu_piece *piece)
{
    gpu_backend *gpu = exec->gpu;
    gpu_recording *r = choose_recording(exec);
    if (!r) return NULL;
    unsigned char *log = malloc(piece->size);
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = exec->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    free(r->log);
    r->log = log;
    r->size = 0;
    if (!log) {
        zi_error_no_memory(&exec->failure, piece->size);
        return NULL;
    }
    VkResult result =
        r->commands ? VK_SUCCESS : gpu->vk.AllocateCommandBuffers(gpu->device, &info, &r->commands);
    if (result == VK_SUCCESS) result = record_piece(exec, piece, r->commands);
    if (result != VK_SUCCESS) {
        gpu_error(gpu, &exec->failure, result, "commands could not be recorded");
        return NULL;
    }
    memcpy(log, piece->log, piece->size);
    r->size = piece->size;
    return r;
}

gpu_recording *gpu_find_recording(gpu_exec *exec, const gpu_piece *piece)
{
    for (size_t i = 0; i < exec->recording_count; i++) {
        gpu_recording *r = &exec->recordings[i];
        if (r->size == piece->size && !memcmp(r->log, piece->log, r->size)) return r;
    }
    return make_recording(exec, piece);
}
