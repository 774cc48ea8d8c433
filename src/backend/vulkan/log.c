/* The log of a session: what its operations append. */
#include "backend/vulkan/log.h"

#include <stdlib.h>

/* ---- the log ---- */

/* Appends an entry, which begins with a command whose size it sets. False, with the session's error
 * set: memory is short. */
static bool append(gpu_exec *exec, gpu_command_kind kind, void *entry, size_t size)
{
    if (exec->log_size + size > exec->log_capacity) {
        size_t capacity = 2 * exec->log_capacity + 65536;
        unsigned char *log = realloc(exec->log, capacity);
        if (!log && !exec->failure.code) zi_error_no_memory(&exec->failure, capacity);
        if (!log) return false;
        exec->log = log;
        exec->log_capacity = capacity;
    }
    *(gpu_command *)entry = (gpu_command){(uint32_t)kind, (uint32_t)size};
    memcpy(exec->log + exec->log_size, entry, size);
    exec->log_size += size;
    exec->log_cost += gpu_command_cost(exec->log + exec->log_size - size);
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
        gpu_command barrier;
        append(exec, GPU_BARRIER, &barrier, sizeof barrier);
        exec->range_count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].begin < ranges[i].end) exec->ranges[exec->range_count++] = ranges[i];
        if (conflict(&ranges[i], &exec->narrowed)) exec->narrowed = (gpu_range){0};
    }
}

/* ---- commands ---- */

bool gpu_usable(gpu_exec *exec, gpu_shader shader, const uint32_t *constants, size_t constant_count)
{
    zi_error *error = exec->failure.code ? NULL : &exec->failure;
    const gpu_pipeline *p = gpu_pipeline_find(exec->gpu, shader, constants, constant_count, error);
    return !p || !p->wrong;
}

/* Fills *error for a pipeline that is wrong, where none can take its place. */
static void refuse(gpu_backend *gpu, gpu_shader shader, zi_error *error)
{
    const zi_vulkan_device *device = &gpu->capabilities.summary;
    zi_error_set(error, ZI_ERROR_UNSUPPORTED, device->name,
                 "the shader %s computes wrong values with the driver %s; another version of the "
                 "driver may be right",
                 gpu_shaders[shader].name, device->driver);
}

void gpu_dispatch(gpu_exec *exec, gpu_shader shader, const uint32_t *constants,
                  size_t constant_count, const gpu_work *work)
{
    zi_error *error = exec->failure.code ? NULL : &exec->failure;
    const gpu_pipeline *pipeline =
        gpu_pipeline_find(exec->gpu, shader, constants, constant_count, error);
    if (pipeline && pipeline->wrong) refuse(exec->gpu, shader, error);
    if (!pipeline || pipeline->wrong) return;
    exec->forced_used |= pipeline == exec->forced;
    gpu_dispatch_command d;
    memset(&d, 0, sizeof d);
    d.pipeline = pipeline;
    d.push_size = (uint32_t)work->push_size;
    d.cost = work->cost;
    d.axis = (uint32_t)work->axis;
    memcpy(d.groups, work->groups, sizeof d.groups);
    memcpy(d.push, work->push, work->push_size);
    order(exec, work->ranges, work->range_count);
    append(exec, GPU_DISPATCH, &d, sizeof d);
}

void gpu_append_copy(gpu_exec *exec, gpu_command_kind kind, const gpu_memory *from,
                     const gpu_memory *to, VkBufferCopy region)
{
    gpu_copy_command c;
    if (exec->log_size >= sizeof c) {
        gpu_command last;
        unsigned char *at = exec->log + exec->log_size - sizeof c;
        memcpy(&last, at, sizeof last);
        memcpy(&c, at, sizeof c);
        if (last.kind == kind && last.size == sizeof c && c.from_serial == from->serial &&
            c.to_serial == to->serial && c.region.srcOffset + c.region.size == region.srcOffset &&
            c.region.dstOffset + c.region.size == region.dstOffset) {
            c.region.size += region.size;
            exec->log_cost -= gpu_command_cost(at);
            memcpy(at, &c, sizeof c);
            exec->log_cost += gpu_command_cost(at);
            return;
        }
    }
    memset(&c, 0, sizeof c);
    c.from = from->handle;
    c.to = to->handle;
    c.from_serial = from->serial;
    c.to_serial = to->serial;
    c.region = region;
    append(exec, kind, &c, sizeof c);
}

void gpu_upload(gpu_exec *exec, const gpu_place *from, const gpu_place *to, size_t size)
{
    gpu_append_copy(exec, GPU_UPLOAD, &from->memory, &to->memory,
                    (VkBufferCopy){from->offset, to->offset, size});
}

/* ---- host memory for writes ---- */

static const size_t CHUNK = 1u << 20;

uint64_t gpu_stage(gpu_exec *exec, const void *data, size_t size, gpu_place *place)
{
    gpu_staging *staging = &exec->staging[exec->submitted % GPU_SLOTS];
    zi_error *error = exec->failure.code ? NULL : &exec->failure;
    size_t taken = (size + 15) / 16 * 16;
    gpu_place at;
    if (!gpu_staging_take(staging, taken, 16, &at) &&
        (!gpu_staging_grow(exec->gpu, staging, taken > CHUNK ? taken : CHUNK, error) ||
         !gpu_staging_take(staging, taken, 16, &at)))
        return 0;
    memcpy(at.memory.host + at.offset, data, size);
    if (place) *place = at;
    return at.memory.address + at.offset;
}

void gpu_write(zi_exec *base, zi_view to, const void *from)
{
    gpu_exec *exec = gpu_exec_of(base);
    gpu_buffer *buffer = (gpu_buffer *)to.buffer;
    size_t bytes = to.columns * zi_dtype_size(to.type), stride = to.stride * zi_dtype_size(to.type);
    size_t rows = zi_view_contiguous(to) ? 1 : to.rows;
    if (rows == 1) bytes *= to.rows;
    gpu_place staged;
    if (!bytes || !to.rows || !gpu_stage(exec, from, bytes * rows, &staged)) return;
    gpu_range range = gpu_writes(to);
    order(exec, &range, 1);
    for (size_t row = 0; row < rows; row++)
        gpu_append_copy(
            exec, GPU_COPY, &staged.memory, &buffer->memory,
            (VkBufferCopy){staged.offset + row * bytes, to.offset + row * stride, bytes});
}
