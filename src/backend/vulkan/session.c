/* Sessions: what they submit, and what they wait for. */
#include "backend/vulkan/log.h"
#include "base/machine.h"

#include <stdlib.h>

/* ---- waiting ---- */

VkResult gpu_wait_value(const gpu_exec *exec, VkSemaphore semaphore, uint64_t value, bool forever)
{
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &semaphore,
                                .pValues = &value};
    return exec->gpu->vk.WaitSemaphores(exec->gpu->device, &info, forever ? UINT64_MAX : 0);
}

uint64_t gpu_finished(const gpu_exec *exec)
{
    const gpu_functions *vk = &exec->gpu->vk;
    uint64_t number = 0;
    VkResult result = vk->GetSemaphoreCounterValue(exec->gpu->device, exec->timeline, &number);
    return result == VK_SUCCESS ? number : 0;
}

bool gpu_wait_finished(const gpu_exec *exec, uint64_t number)
{
    VkResult result = gpu_wait_value(exec, exec->timeline, number, true);
    if (result == VK_SUCCESS) return true;
    return gpu_error(exec->gpu, NULL, result, "computing failed");
}

/* Stores the first failure in the order of its checks, if a check has failed. */
static void look_at_checks(gpu_exec *exec)
{
    const uint32_t *flags = (const uint32_t *)(const void *)exec->flags.host;
    for (size_t i = 0; exec->failure.code == ZI_OK && i < exec->check_count; i++)
        if (((const volatile uint32_t *)flags)[i])
            zi_error_not_finite(&exec->failure, exec->checks[i]);
}

/* Waits until a submission has ended and looks at the checks. False: something went wrong in the
 * session; *error is set, if error is not NULL. */
static bool wait_for(gpu_exec *exec, uint64_t number, zi_error *error)
{
    VkResult result = gpu_wait_value(exec, exec->timeline, number, true);
    if (result != VK_SUCCESS && exec->failure.code == ZI_OK)
        gpu_error(exec->gpu, &exec->failure, result, "computing failed");
    look_at_checks(exec);
    if (exec->failure.code == ZI_OK) return true;
    if (error) *error = exec->failure;
    return false;
}

/* ---- submissions ---- */

/* Waits until at most one piece is unfinished, and notes how long the others took. False, with the
 * session's error set: computing failed. */
static bool keep_pace(gpu_exec *exec)
{
    while (exec->noted + 1 < exec->pieces) {
        const gpu_pending *p = &exec->pending[(exec->noted + 1) % GPU_PIECES];
        VkResult result = gpu_wait_value(exec, exec->counter, exec->noted + 1, false);
        bool exact = result == VK_TIMEOUT;
        if (exact) result = gpu_wait_value(exec, exec->counter, exec->noted + 1, true);
        if (result != VK_SUCCESS)
            return gpu_error(exec->gpu, &exec->failure, result, "computing failed");
        double now = zi_monotonic_seconds();
        gpu_pace_note(exec->gpu, p->cost, now - (p->begun > exec->ended ? p->begun : exec->ended),
                      exact);
        exec->ended = now;
        exec->noted++;
    }
    return true;
}

/* Submits a recording, as piece number exec->pieces + 1; the last one of its submission, whose
 * number is exec->submitted + 1, ends that. */
static bool submit_recording(gpu_exec *exec, gpu_recording *r, uint64_t cost, bool last)
{
    gpu_backend *gpu = exec->gpu;
    const uint64_t numbers[] = {exec->pieces + 1, exec->submitted + 1};
    const VkSemaphore semaphores[] = {exec->counter, exec->timeline};
    VkTimelineSemaphoreSubmitInfo timeline = {.sType =
                                                  VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = last ? 2 : 1,
                                              .pSignalSemaphoreValues = numbers};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &r->commands,
                         .signalSemaphoreCount = last ? 2 : 1,
                         .pSignalSemaphores = semaphores};
    pthread_mutex_lock(&gpu->queue_mutex);
    VkResult result = gpu->vk.QueueSubmit(gpu->queue, 1, &info, VK_NULL_HANDLE);
    pthread_mutex_unlock(&gpu->queue_mutex);
    if (result != VK_SUCCESS)
        return gpu_error(gpu, &exec->failure, result, "commands could not be submitted");
    r->last = ++exec->pieces;
    exec->submitted += last;
    exec->pending[r->last % GPU_PIECES] = (gpu_pending){cost, zi_monotonic_seconds()};
    return true;
}

/* Submits the log in pieces, and empties it; the session may fail at that. */
static void submit_log(gpu_exec *exec)
{
    gpu_cut cut = {0};
    gpu_piece piece;
    while (exec->failure.code == ZI_OK && gpu_next_piece(exec, &cut, &piece)) {
        gpu_recording *r = gpu_find_recording(exec, &piece);
        if (!r || !keep_pace(exec)) break;
        submit_recording(exec, r, piece.cost, cut.at == exec->log_size);
    }
    exec->log_cost = 0;
    exec->log_size = exec->range_count = exec->streamed_count = 0;
}

/* Waits until a submission has ended, with which the memory of the next one is free, and looks at
 * whether the memory still fits the limit. Ends as wait_for. */
static bool finish_submitting(gpu_exec *exec, uint64_t number, zi_error *error)
{
    enum { OFTEN = 16 };
    size_t slot = exec->submitted % GPU_SLOTS;
    bool ok = wait_for(exec, number, error);
    gpu_staging_reset(exec->gpu, &exec->staging[slot], 0, ok);
    gpu_reset_stream(exec, ok);
    if (++exec->gpu->submissions % OFTEN == 0) gpu_fit_limit(exec->gpu);
    return ok;
}

bool gpu_submit(zi_exec *base, zi_error *error)
{
    gpu_exec *exec = gpu_exec_of(base);
    submit_log(exec);
    return finish_submitting(exec, exec->submitted > 1 ? exec->submitted - 2 : 0, error);
}

bool gpu_wait(zi_exec *base, zi_error *error)
{
    gpu_exec *exec = gpu_exec_of(base);
    submit_log(exec);
    return finish_submitting(exec, exec->submitted, error);
}

/* Makes exec->readback at least this large. */
static bool make_readback(gpu_exec *exec, size_t size, zi_error *error)
{
    if (exec->readback.size >= size) return true;
    gpu_memory_free(exec->gpu, &exec->readback);
    return gpu_memory_alloc(exec->gpu, GPU_CACHED_MEMORY, size, &exec->readback, error);
}

bool gpu_read(zi_exec *base, zi_view from, void *to, zi_error *error)
{
    gpu_exec *exec = gpu_exec_of(base);
    const gpu_buffer *buffer = (const gpu_buffer *)from.buffer;
    size_t element = zi_dtype_size(from.type), bytes = from.columns * element;
    gpu_range range = gpu_reads(from);
    if (!gpu_wait(base, error)) return false;
    if (range.begin == range.end) return true;
    if (!make_readback(exec, range.end - range.begin, error)) return false;
    gpu_append_copy(exec, GPU_COPY, &buffer->memory, &exec->readback,
                    (VkBufferCopy){from.offset, 0, range.end - range.begin});
    if (!gpu_wait(base, error)) return false;
    for (size_t row = 0; row < from.rows; row++)
        memcpy((char *)to + row * bytes, exec->readback.host + row * from.stride * element, bytes);
    return true;
}

/* ---- sessions ---- */

/* Gives a session its pool of command buffers, semaphore, and flags for checks. */
static bool create_parts(gpu_exec *exec, zi_error *error)
{
    gpu_backend *gpu = exec->gpu;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = gpu->capabilities.queue_family};
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                       .pNext = &type};
    exec->recordings = calloc(GPU_RECORDINGS, sizeof *exec->recordings);
    exec->checks = calloc(GPU_MAX_CHECKS, sizeof *exec->checks);
    if (!exec->recordings || !exec->checks) return zi_error_no_memory(error, GPU_RECORDINGS);
    VkResult result = gpu->vk.CreateCommandPool(gpu->device, &pool, NULL, &exec->pool);
    if (result == VK_SUCCESS)
        result = gpu->vk.CreateSemaphore(gpu->device, &semaphore, NULL, &exec->timeline);
    if (result == VK_SUCCESS)
        result = gpu->vk.CreateSemaphore(gpu->device, &semaphore, NULL, &exec->counter);
    if (result != VK_SUCCESS) return gpu_error(gpu, error, result, "a session could not be opened");
    if (!gpu_memory_alloc(gpu, GPU_HOST_MEMORY, GPU_MAX_CHECKS * sizeof(uint32_t), &exec->flags,
                          error))
        return false;
    memset(exec->flags.host, 0, GPU_MAX_CHECKS * sizeof(uint32_t));
    return true;
}

bool gpu_begin(zi_backend *backend, bool fast, zi_exec **out, zi_error *error)
{
    gpu_exec *exec = calloc(1, sizeof *exec);
    if (!exec) return zi_error_no_memory(error, sizeof *exec);
    exec->base = (zi_exec){.ops = backend->ops, .backend = backend, .fast = fast};
    exec->gpu = gpu_of(backend);
    if (!gpu_enter(exec->gpu, error)) {
        free(exec);
        return false;
    }
    exec->base.halves = fast && exec->gpu->capabilities.matrix.m;
    for (size_t i = 0; i < GPU_SLOTS; i++) {
        exec->staging[i].kind = GPU_HOST_MEMORY;
        exec->streams[i].kind = GPU_VISIBLE_MEMORY;
    }
    exec->band_bytes = gpu_share(gpu_memory_limit(exec->gpu, true));
    if (!create_parts(exec, error)) {
        gpu_end(&exec->base);
        return false;
    }
    *out = &exec->base;
    return true;
}

/* Returns when the device does nothing for the session any more, also after a failure. */
static void settle(gpu_exec *exec)
{
    gpu_backend *gpu = exec->gpu;
    VkResult result =
        exec->pieces ? gpu_wait_value(exec, exec->counter, exec->pieces, true) : VK_SUCCESS;
    if (result == VK_SUCCESS) return;
    gpu_error(gpu, NULL, result, "computing failed"); /* notes a device that is lost */
    pthread_mutex_lock(&gpu->queue_mutex);
    gpu->vk.DeviceWaitIdle(gpu->device);
    pthread_mutex_unlock(&gpu->queue_mutex);
}

void gpu_end(zi_exec *base)
{
    gpu_exec *exec = gpu_exec_of(base);
    gpu_backend *gpu = exec->gpu;
    settle(exec);
    gpu_weights_forget(exec);
    gpu_reserve_layer(exec, 0);
    for (size_t i = 0; i < GPU_SLOTS; i++) {
        gpu_staging_free(gpu, &exec->staging[i]);
        gpu_staging_free(gpu, &exec->streams[i]);
    }
    for (size_t i = 0; i < exec->recording_count; i++) free(exec->recordings[i].log);
    gpu_memory_free(gpu, &exec->readback);
    gpu_memory_free(gpu, &exec->flags);
    gpu->vk.DestroySemaphore(gpu->device, exec->timeline, NULL);
    gpu->vk.DestroySemaphore(gpu->device, exec->counter, NULL);
    gpu->vk.DestroyCommandPool(gpu->device, exec->pool, NULL);
    free(exec->recordings);
    free(exec->checks);
    free(exec->piece);
    free(exec->streamed);
    free(exec->log);
    free(exec);
    gpu_leave(gpu);
}
