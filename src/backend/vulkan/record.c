/* Sessions: operations append commands to a log; a submission turns the log into a command buffer.
 * Where an earlier submission had the same log, its command buffer is submitted again: so the
 * layers of a step are recorded once, though model code knows nothing of it. */
#include "backend/vulkan/internal.h"

#include <stdlib.h>

/* ---- the log ---- */

typedef enum { DISPATCH, COPY, BARRIER } command_kind;

/* What all entries begin with; padding is zero, so that logs can be compared. */
typedef struct {
    uint32_t kind, size; /* size: of the whole entry */
} command;

typedef struct {
    command head;
    const gpu_pipeline *pipeline;
    uint32_t groups[3], push_size;
    unsigned char push[GPU_MAX_PUSH];
} dispatch;

typedef struct {
    command head;
    VkBuffer from, to;
    VkBufferCopy region;
} copy;

/* Appends an entry, which begins with a command whose size it sets. False, with the session's error
 * set: memory is short. */
static bool append(gpu_exec *exec, command_kind kind, void *entry, size_t size)
{
    if (exec->log_size + size > exec->log_capacity) {
        size_t capacity = 2 * exec->log_capacity + 65536;
        unsigned char *log = realloc(exec->log, capacity);
        if (!log && !exec->failure.code) zi_error_no_memory(&exec->failure, capacity);
        if (!log) return false;
        exec->log = log;
        exec->log_capacity = capacity;
    }
    *(command *)entry = (command){(uint32_t)kind, (uint32_t)size};
    memcpy(exec->log + exec->log_size, entry, size);
    exec->log_size += size;
    return true;
}

/* ---- barriers ---- */

static gpu_range range_of(zi_view view, bool write)
{
    uint64_t begin = gpu_address(view);
    size_t elements = view.rows ? (view.rows - 1) * view.stride + view.columns : 0;
    if (!begin) return (gpu_range){0};
    return (gpu_range){begin, begin + elements * zi_dtype_size(view.type), write};
}

gpu_range gpu_reads(zi_view view)
{
    return range_of(view, false);
}

gpu_range gpu_writes(zi_view view)
{
    return range_of(view, true);
}

/* Whether one of the two writes to what the other accesses. */
static bool conflict(const gpu_range *a, const gpu_range *b)
{
    return (a->write || b->write) && a->begin < b->end && b->begin < a->end;
}

/* Notes what the next command accesses, and appends a barrier before it if one of the commands
 * since the last barrier conflicts with that. */
static void order(gpu_exec *exec, const gpu_range *ranges, size_t count)
{
    bool needed = exec->range_count + count > GPU_MAX_RANGES;
    for (size_t i = 0; !needed && i < count; i++)
        for (size_t j = 0; !needed && j < exec->range_count; j++)
            needed = conflict(&ranges[i], &exec->ranges[j]);
    if (needed) {
        command barrier;
        append(exec, BARRIER, &barrier, sizeof barrier);
        exec->range_count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].begin < ranges[i].end) exec->ranges[exec->range_count++] = ranges[i];
        if (conflict(&ranges[i], &exec->narrowed)) exec->narrowed = (gpu_range){0};
    }
}

/* ---- commands ---- */

void gpu_dispatch(gpu_exec *exec, gpu_shader shader, const uint32_t *constants,
                  size_t constant_count, const gpu_work *work)
{
    zi_error *error = exec->failure.code ? NULL : &exec->failure;
    const gpu_pipeline *pipeline =
        gpu_pipeline_find(exec->gpu, shader, constants, constant_count, error);
    if (!pipeline) return;
    dispatch d;
    memset(&d, 0, sizeof d);
    d.pipeline = pipeline;
    d.push_size = (uint32_t)work->push_size;
    memcpy(d.groups, work->groups, sizeof d.groups);
    memcpy(d.push, work->push, work->push_size);
    order(exec, work->ranges, work->range_count);
    append(exec, DISPATCH, &d, sizeof d);
}

/* Appends a copy between buffers; if it goes on where the command before, a copy, ends, makes that
 * one longer. */
static void append_copy(gpu_exec *exec, VkBuffer from, VkBuffer to, VkBufferCopy region)
{
    copy c;
    if (exec->log_size >= sizeof c) {
        command last;
        unsigned char *at = exec->log + exec->log_size - sizeof c;
        memcpy(&last, at, sizeof last);
        memcpy(&c, at, sizeof c);
        if (last.kind == COPY && last.size == sizeof c && c.from == from && c.to == to &&
            c.region.srcOffset + c.region.size == region.srcOffset &&
            c.region.dstOffset + c.region.size == region.dstOffset) {
            c.region.size += region.size;
            memcpy(at, &c, sizeof c);
            return;
        }
    }
    memset(&c, 0, sizeof c);
    c.from = from;
    c.to = to;
    c.region = region;
    append(exec, COPY, &c, sizeof c);
}

/* ---- host memory for writes ---- */

static const size_t CHUNK = 1u << 20;

/* Makes the staging memory's current chunk one with room for `size` bytes. False, with *error set:
 * memory is short. */
static bool make_room(gpu_backend *gpu, gpu_staging *staging, size_t size, zi_error *error)
{
    while (staging->chunk < staging->count &&
           staging->chunks[staging->chunk].size - staging->used < size) {
        staging->chunk++;
        staging->used = 0;
    }
    if (staging->chunk < staging->count) return true;
    gpu_memory *grown = realloc(staging->chunks, (staging->count + 1) * sizeof *grown);
    if (!grown) return zi_error_no_memory(error, sizeof *grown);
    staging->chunks = grown;
    if (!gpu_memory_alloc(gpu, GPU_HOST_MEMORY, size > CHUNK ? size : CHUNK, &grown[staging->count],
                          error))
        return false;
    staging->count++;
    return true;
}

uint64_t gpu_stage(gpu_exec *exec, const void *data, size_t size, VkBuffer *buffer,
                   VkDeviceSize *offset)
{
    gpu_staging *staging = &exec->staging[exec->submitted % GPU_SLOTS];
    size_t taken = (size + 15) / 16 * 16;
    if (!make_room(exec->gpu, staging, taken, exec->failure.code ? NULL : &exec->failure)) return 0;
    gpu_memory *chunk = &staging->chunks[staging->chunk];
    size_t at = staging->used;
    memcpy(chunk->host + at, data, size);
    staging->used += taken;
    if (buffer) {
        *buffer = chunk->handle;
        *offset = at;
    }
    return chunk->address + at;
}

void gpu_write(zi_exec *base, zi_view to, const void *from)
{
    gpu_exec *exec = gpu_exec_of(base);
    gpu_buffer *buffer = (gpu_buffer *)to.buffer;
    size_t bytes = to.columns * zi_dtype_size(to.type), stride = to.stride * zi_dtype_size(to.type);
    size_t rows = zi_view_contiguous(to) ? 1 : to.rows;
    if (rows == 1) bytes *= to.rows;
    VkBuffer staged;
    VkDeviceSize offset;
    if (!bytes || !to.rows || !gpu_stage(exec, from, bytes * rows, &staged, &offset)) return;
    gpu_range range = gpu_writes(to);
    order(exec, &range, 1);
    for (size_t row = 0; row < rows; row++)
        append_copy(
            exec, staged, buffer->handle,
            (VkBufferCopy){offset + row * bytes, buffer->offset + to.offset + row * stride, bytes});
}

/* ---- command buffers ---- */

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

static void record_dispatch(gpu_exec *exec, VkCommandBuffer commands, const dispatch *d)
{
    const gpu_functions *vk = &exec->gpu->vk;
    vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, d->pipeline->handle);
    vk->CmdPushConstants(commands, exec->gpu->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, d->push_size,
                         d->push);
    vk->CmdDispatch(commands, d->groups[0], d->groups[1], d->groups[2]);
}

/* Records the session's log. Begins with a barrier, for what earlier submissions wrote. */
static VkResult record_log(gpu_exec *exec, VkCommandBuffer commands)
{
    const gpu_functions *vk = &exec->gpu->vk;
    /* It may be submitted again before its last submission has ended. */
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    VkResult result = vk->BeginCommandBuffer(commands, &info);
    if (result != VK_SUCCESS) return result;
    record_barrier(exec, commands);
    command head;
    for (size_t at = 0; at < exec->log_size; at += head.size) {
        dispatch d;
        copy c;
        memcpy(&head, exec->log + at, sizeof head);
        if (head.kind == DISPATCH) {
            memcpy(&d, exec->log + at, sizeof d);
            record_dispatch(exec, commands, &d);
        } else if (head.kind == COPY) {
            memcpy(&c, exec->log + at, sizeof c);
            vk->CmdCopyBuffer(commands, c.from, c.to, 1, &c.region);
        } else {
            record_barrier(exec, commands);
        }
    }
    record_host_barrier(exec, commands);
    return vk->EndCommandBuffer(commands);
}

/* Sets *done to the number of the latest submission that has ended. */
static bool has_ended(const gpu_exec *exec, uint64_t number)
{
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &exec->timeline,
                                .pValues = &number};
    return exec->gpu->vk.WaitSemaphores(exec->gpu->device, &info, 0) == VK_SUCCESS;
}

/* Returns the recording to use for a new log: one that has never been used, else the one that was
 * used longest ago, whose submission has ended. */
static gpu_recording *choose_recording(gpu_exec *exec)
{
    if (exec->recording_count < GPU_RECORDINGS) return &exec->recordings[exec->recording_count++];
    gpu_recording *oldest = exec->recordings;
    for (size_t i = 1; i < exec->recording_count; i++)
        if (exec->recordings[i].last < oldest->last) oldest = &exec->recordings[i];
    return has_ended(exec, oldest->last) ? oldest : NULL;
}

/* Makes a recording of the session's log. NULL, with the session's error set: it cannot be made. */
static gpu_recording *make_recording(gpu_exec *exec)
{
    gpu_backend *gpu = exec->gpu;
    gpu_recording *r = choose_recording(exec);
    if (!r) return NULL;
    unsigned char *log = malloc(exec->log_size);
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = exec->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    free(r->log);
    r->log = log;
    r->size = 0;
    if (!log) {
        zi_error_no_memory(&exec->failure, exec->log_size);
        return NULL;
    }
    VkResult result =
        r->commands ? VK_SUCCESS : gpu->vk.AllocateCommandBuffers(gpu->device, &info, &r->commands);
    if (result == VK_SUCCESS) result = record_log(exec, r->commands);
    if (result != VK_SUCCESS) {
        gpu_error(gpu, &exec->failure, result, "commands could not be recorded");
        return NULL;
    }
    memcpy(log, exec->log, exec->log_size);
    r->size = exec->log_size;
    return r;
}

/* Finds the recording of the session's log, or makes it. */
static gpu_recording *find_recording(gpu_exec *exec)
{
    for (size_t i = 0; i < exec->recording_count; i++) {
        gpu_recording *r = &exec->recordings[i];
        if (r->size == exec->log_size && !memcmp(r->log, exec->log, r->size)) return r;
    }
    return make_recording(exec);
}

/* ---- submissions ---- */

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
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &exec->timeline,
                                .pValues = &number};
    VkResult result = exec->gpu->vk.WaitSemaphores(exec->gpu->device, &info, UINT64_MAX);
    if (result != VK_SUCCESS && exec->failure.code == ZI_OK)
        gpu_error(exec->gpu, &exec->failure, result, "computing failed");
    look_at_checks(exec);
    if (exec->failure.code == ZI_OK) return true;
    if (error) *error = exec->failure;
    return false;
}

/* Submits a recording as number exec->submitted + 1. */
static void submit_recording(gpu_exec *exec, gpu_recording *r)
{
    gpu_backend *gpu = exec->gpu;
    uint64_t number = exec->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {.sType =
                                                  VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &number};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &r->commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &exec->timeline};
    pthread_mutex_lock(&gpu->queue_mutex);
    VkResult result = gpu->vk.QueueSubmit(gpu->queue, 1, &info, VK_NULL_HANDLE);
    pthread_mutex_unlock(&gpu->queue_mutex);
    if (result != VK_SUCCESS) {
        gpu_error(gpu, &exec->failure, result, "commands could not be submitted");
        return;
    }
    r->last = exec->submitted = number;
}

/* Submits the log, if it is not empty, and empties it. */
static void submit_log(gpu_exec *exec)
{
    if (exec->log_size && exec->failure.code == ZI_OK) {
        gpu_recording *r = find_recording(exec);
        if (r) submit_recording(exec, r);
    }
    exec->log_size = exec->range_count = 0;
    gpu_staging *next = &exec->staging[exec->submitted % GPU_SLOTS];
    next->chunk = next->used = 0;
}

bool gpu_submit(zi_exec *base, zi_error *error)
{
    gpu_exec *exec = gpu_exec_of(base);
    submit_log(exec);
    /* With that, the staging memory of the next submission is free, too. */
    return wait_for(exec, exec->submitted > 1 ? exec->submitted - 2 : 0, error);
}

bool gpu_wait(zi_exec *base, zi_error *error)
{
    gpu_exec *exec = gpu_exec_of(base);
    submit_log(exec);
    return wait_for(exec, exec->submitted, error);
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
    append_copy(exec, buffer->handle, exec->readback.handle,
                (VkBufferCopy){buffer->offset + from.offset, 0, range.end - range.begin});
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
    exec->base = (zi_exec){backend->ops, backend, fast};
    exec->gpu = gpu_of(backend);
    if (!create_parts(exec, error)) {
        gpu_end(&exec->base);
        return false;
    }
    *out = &exec->base;
    return true;
}

void gpu_end(zi_exec *base)
{
    gpu_exec *exec = gpu_exec_of(base);
    gpu_backend *gpu = exec->gpu;
    if (exec->submitted) wait_for(exec, exec->submitted, NULL);
    for (size_t i = 0; i < GPU_SLOTS; i++) {
        for (size_t j = 0; j < exec->staging[i].count; j++)
            gpu_memory_free(gpu, &exec->staging[i].chunks[j]);
        free(exec->staging[i].chunks);
    }
    for (size_t i = 0; i < exec->recording_count; i++) free(exec->recordings[i].log);
    gpu_memory_free(gpu, &exec->readback);
    gpu_memory_free(gpu, &exec->flags);
    gpu->vk.DestroySemaphore(gpu->device, exec->timeline, NULL);
    gpu->vk.DestroyCommandPool(gpu->device, exec->pool, NULL);
    free(exec->recordings);
    free(exec->checks);
    free(exec->log);
    free(exec);
}
