/* Weights that are copied to the device for one submission alone. */
#include "backend/vulkan/weights.h"
#include "base/text.h"

#include <stdlib.h>

/* Returns the staging memory to which the submission that is recorded streams weights. */
static gpu_staging *stream_of(gpu_exec *exec)
{
    return &exec->streams[exec->one_stream ? 0 : exec->submitted % GPU_SLOTS];
}

uint64_t gpu_missing_stream(const gpu_exec *exec)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < (exec->one_stream ? 1 : GPU_SLOTS); i++) {
        uint64_t size = gpu_staging_size(&exec->streams[i]);
        if (size < exec->stream_need) missing += exec->stream_need - size;
    }
    return missing;
}

/* Has all submissions from this one on share what it streams to, for which they wait for each
 * other, and frees what the earlier ones used. */
static void give_up_overlap(gpu_exec *exec)
{
    gpu_staging *current = stream_of(exec), kept = *current;
    if (exec->one_stream || !gpu_wait_finished(exec, exec->submitted)) return;
    *current = (gpu_staging){.kind = kept.kind};
    for (size_t i = 0; i < GPU_SLOTS; i++) gpu_staging_free(exec->gpu, &exec->streams[i]);
    exec->streams[0] = kept;
    exec->one_stream = true;
}

/* Sets the session's failure: `size` bytes more do not fit beside what the submission has already.
 */
static void fail_to_stream(gpu_exec *exec, const gpu_staging *stream, uint64_t size)
{
    gpu_backend *gpu = exec->gpu;
    uint64_t pinned, resident = gpu_resident_bytes(gpu, &pinned), used = gpu->used;
    uint64_t limit = gpu_memory_limit(gpu, false), needed = stream->total + pinned + size;
    uint64_t others = used - resident - stream->total;
    char bytes[32], left[32], all[32];
    if (exec->failure.code) return;
    if (atomic_load(&gpu->lost)) {
        gpu_error(gpu, &exec->failure, VK_ERROR_DEVICE_LOST, "computing failed");
        return;
    }
    zi_error_set_in(
        &exec->failure, ZI_ERROR_NO_MEMORY, gpu->capabilities.summary.name, "device",
        "too little device memory for the weights of even one layer: they need at least "
        "%s, and %s of %s are free; choose weights of a lower precision",
        zi_format_bytes(needed, bytes), zi_format_bytes(limit > others ? limit - others : 0, left),
        zi_format_bytes(limit, all));
}

/* Counts the bytes that the session's streams lack for a layer. The caller holds memory_mutex. */
static void count_lacking(gpu_exec *exec)
{
    uint64_t size = 0;
    for (size_t i = 0; i < GPU_SLOTS; i++) size += gpu_staging_size(&exec->streams[i]);
    uint64_t lacking = exec->layer > size ? exec->layer - size : 0;
    exec->gpu->layers += lacking - exec->lacking; /* modulo 2^64 */
    exec->lacking = lacking;
}

/* Adds device memory to a stream, for which weights leave. The more attempts failed, the more is
 * done for it. */
static bool grow_stream(gpu_exec *exec, uint64_t size, int attempt)
{
    gpu_backend *gpu = exec->gpu;
    if (attempt) give_up_overlap(exec);
    gpu_staging *stream = stream_of(exec);
    const uint64_t chunk = 1u << 20;
    uint64_t share = gpu_share(gpu_memory_limit(gpu, false));
    uint64_t more = attempt ? size : share < chunk ? share : chunk;
    if (more < size) more = size;
    pthread_mutex_lock(&gpu->memory_mutex);
    uint64_t others = attempt ? 0 : gpu->layers - exec->lacking; /* what other sessions lack */
    bool ok = gpu_make_room(gpu, more + others);
    if (ok && !gpu_staging_grow(gpu, stream, more, NULL)) {
        gpu->proved = gpu->used;
        ok = false;
    }
    if (!ok && attempt) fail_to_stream(exec, stream, size);
    count_lacking(exec);
    pthread_mutex_unlock(&gpu->memory_mutex);
    return ok;
}

uint64_t gpu_stream(gpu_exec *exec, const gpu_buffer *weight)
{
    uint64_t size = weight->base.size ? weight->base.size : 1;
    gpu_place at;
    if (exec->failure.code) return 0;
    if (exec->streamed_count == exec->streamed_capacity) {
        size_t capacity = 2 * exec->streamed_capacity + 64;
        gpu_streamed *grown = realloc(exec->streamed, capacity * sizeof *grown);
        if (!grown) {
            zi_error_no_memory(&exec->failure, capacity * sizeof *grown);
            return 0;
        }
        exec->streamed = grown;
        exec->streamed_capacity = capacity;
    }
    bool taken = gpu_staging_take(stream_of(exec), size, GPU_WEIGHT_ALIGNMENT, &at);
    for (int attempt = 0; !taken && attempt < 2; attempt++)
        taken = grow_stream(exec, size, attempt) &&
                gpu_staging_take(stream_of(exec), size, GPU_WEIGHT_ALIGNMENT, &at);
    if (!taken || !gpu_copy_weight(exec, weight, &at)) return 0;
    uint64_t address = at.memory.address + at.offset;
    exec->streamed[exec->streamed_count++] = (gpu_streamed){weight, address};
    uint64_t total = stream_of(exec)->total;
    if (total > exec->stream_need) exec->stream_need = total;
    return address;
}

/* Once weights have become idle, those of another component are used: what the streams needed so
 * far says nothing of them, and they may all fit. So each stream is given up when it is free next.
 */
static void forget_streams(gpu_exec *exec, gpu_staging *staging, bool idle)
{
    uint64_t latest = exec->gpu->idle_weights;
    if (exec->idle_weights != latest) {
        exec->idle_weights = latest;
        exec->stream_need = 0;
        exec->streams_to_free = GPU_SLOTS;
    }
    if (!exec->streams_to_free || !idle) return;
    exec->streams_to_free--;
    gpu_staging_free(exec->gpu, staging);
}

void gpu_reserve_layer(gpu_exec *exec, uint64_t bytes)
{
    gpu_backend *gpu = exec->gpu;
    if (bytes == exec->layer) return;
    pthread_mutex_lock(&gpu->memory_mutex);
    exec->layer = bytes;
    count_lacking(exec);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

void gpu_reset_stream(gpu_exec *exec, bool idle)
{
    gpu_backend *gpu = exec->gpu;
    gpu_staging *staging = stream_of(exec);
    if (exec->one_stream && staging->total) idle = gpu_wait_finished(exec, exec->submitted) && idle;
    forget_streams(exec, staging, idle);
    VkDeviceSize least = exec->stream_need, size = gpu_staging_size(staging);
    pthread_mutex_lock(&gpu->memory_mutex);
    if (!size || (size < least && !gpu_make_room(gpu, least - size))) least = 0;
    gpu_staging_reset(gpu, staging, least, idle);
    count_lacking(exec);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

uint64_t gpu_find_streamed(const gpu_exec *exec, const gpu_buffer *weight)
{
    for (size_t i = 0; i < exec->streamed_count; i++)
        if (exec->streamed[i].weight == weight) return exec->streamed[i].address;
    return 0;
}
