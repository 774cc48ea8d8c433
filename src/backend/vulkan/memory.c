/* Device memory: buffers of sessions have an allocation of their own; weights, which are many,
 * share blocks, since drivers allow only some thousand allocations. */
#include "backend/vulkan/internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { ALIGNMENT = 256 };
static const VkDeviceSize BLOCK = 256u << 20; /* bytes of memory that weights share */
static const size_t UPLOAD = 16u << 20;       /* bytes that are copied to the device at a time */

struct gpu_block {
    gpu_memory memory;
    VkDeviceSize used;
    gpu_buffer *buffers; /* those that lie in it */
    gpu_block *next;
};

/* ---- allocations ---- */

/* Returns the first type among `allowed` (a bit for each) that has all of these properties; -1:
 * none. */
static int find_type(const gpu_backend *gpu, uint32_t allowed, VkMemoryPropertyFlags properties)
{
    const VkPhysicalDeviceMemoryProperties *memory = &gpu->capabilities.memory;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++)
        if (allowed >> i & 1 && (memory->memoryTypes[i].propertyFlags & properties) == properties)
            return (int)i;
    return -1;
}

/* Whether a heap is as large as any of the device's own: then all of its memory is visible. */
static bool is_whole(const gpu_backend *gpu, int type)
{
    const VkPhysicalDeviceMemoryProperties *memory = &gpu->capabilities.memory;
    return type >= 0 && memory->memoryHeaps[memory->memoryTypes[type].heapIndex].size >=
                            gpu->capabilities.summary.memory;
}

/* Chooses the type of memory of a kind, and whether it is to be mapped. -1: none. */
static int choose_type(const gpu_backend *gpu, gpu_memory_kind kind, uint32_t allowed, bool *map)
{
    const VkMemoryPropertyFlags device = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                       VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    int type = -1;
    *map = kind != GPU_DEVICE_MEMORY;
    if (kind == GPU_VISIBLE_MEMORY) {
        type = find_type(gpu, allowed, device | host);
        if (is_whole(gpu, type) && !gpu->options.staging) return type;
        *map = false;
    }
    if (kind == GPU_CACHED_MEMORY)
        type = find_type(gpu, allowed, host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    if (type >= 0 && *map) return type;
    type = find_type(gpu, allowed, *map ? host : device);
    return type >= 0 || *map ? type : find_type(gpu, allowed, 0);
}

/* Gives memory->handle memory of this kind, mapped where it is to be, and an address. */
static bool bind_memory(gpu_backend *gpu, gpu_memory_kind kind, gpu_memory *m, zi_error *error)
{
    const gpu_functions *vk = &gpu->vk;
    VkMemoryRequirements needs;
    bool map;
    vk->GetBufferMemoryRequirements(gpu->device, m->handle, &needs);
    int type = choose_type(gpu, kind, needs.memoryTypeBits, &map);
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .pNext = &flags,
                                 .allocationSize = needs.size,
                                 .memoryTypeIndex = (uint32_t)type};
    VkResult result = type < 0 ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                               : vk->AllocateMemory(gpu->device, &info, NULL, &m->memory);
    if (result == VK_SUCCESS) result = vk->BindBufferMemory(gpu->device, m->handle, m->memory, 0);
    if (result == VK_SUCCESS && map)
        result = vk->MapMemory(gpu->device, m->memory, 0, VK_WHOLE_SIZE, 0, (void **)&m->host);
    if (result != VK_SUCCESS) {
        char what[64];
        snprintf(what, sizeof what, "%.0f MB of memory could not be had", (double)m->size / 1e6);
        return gpu_error(gpu, error, result, what);
    }
    m->address = vk->GetBufferDeviceAddress(
        gpu->device,
        &(VkBufferDeviceAddressInfo){.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                     .buffer = m->handle});
    return true;
}

bool gpu_memory_alloc(gpu_backend *gpu, gpu_memory_kind kind, VkDeviceSize size, gpu_memory *out,
                      zi_error *error)
{
    gpu_memory m = {.size = size ? size : 1};
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = m.size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT};
    if (size > gpu->capabilities.max_allocation)
        return zi_error_set(error, ZI_ERROR_NO_MEMORY, gpu->capabilities.summary.name,
                            "%.0f MB are needed at once, but the driver allows at most %.0f MB",
                            (double)size / 1e6, (double)gpu->capabilities.max_allocation / 1e6);
    VkResult result = gpu->vk.CreateBuffer(gpu->device, &info, NULL, &m.handle);
    if (result != VK_SUCCESS) return gpu_error(gpu, error, result, "a buffer could not be made");
    if (bind_memory(gpu, kind, &m, error)) {
        *out = m;
        return true;
    }
    gpu_memory_free(gpu, &m);
    return false;
}

void gpu_memory_free(gpu_backend *gpu, gpu_memory *memory)
{
    if (!memory->handle) return; /* there is none, perhaps no device either */
    gpu->vk.DestroyBuffer(gpu->device, memory->handle, NULL);
    gpu->vk.FreeMemory(gpu->device, memory->memory, NULL);
    *memory = (gpu_memory){0};
}

/* ---- buffers of sessions ---- */

bool gpu_alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error)
{
    gpu_backend *gpu = gpu_of(backend);
    gpu_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return zi_error_no_memory(error, sizeof *buffer);
    if (!gpu_enter(gpu, error)) {
        free(buffer);
        return false;
    }
    if (!gpu_memory_alloc(gpu, GPU_DEVICE_MEMORY, size, &buffer->memory, error)) {
        gpu_leave(gpu);
        free(buffer);
        return false;
    }
    buffer->base = (zi_buffer){.backend = backend, .size = size};
    buffer->handle = buffer->memory.handle;
    buffer->address = buffer->memory.address;
    *out = &buffer->base;
    return true;
}

/* ---- weights ---- */

/* Takes a place of `size` bytes in a block, a new one if need be, for the buffer. The caller holds
 * memory_mutex. */
static bool take_place(gpu_backend *gpu, size_t size, gpu_buffer *buffer, zi_error *error)
{
    VkDeviceSize needed = ((size ? size : 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    gpu_block *block = gpu->blocks;
    while (block && block->memory.size - block->used < needed) block = block->next;
    if (!block) {
        block = calloc(1, sizeof *block);
        if (!block) return zi_error_no_memory(error, sizeof *block);
        if (!gpu_memory_alloc(gpu, GPU_VISIBLE_MEMORY, needed > BLOCK ? needed : BLOCK,
                              &block->memory, error)) {
            free(block);
            return false;
        }
        block->next = gpu->blocks;
        gpu->blocks = block;
    }
    buffer->block = block;
    buffer->handle = block->memory.handle;
    buffer->offset = block->used;
    buffer->address = block->memory.address + block->used;
    buffer->next = block->buffers;
    block->used += needed;
    block->buffers = buffer;
    return true;
}

/* Gives a place in a block back; memory is freed when nothing lies in it any more. The caller holds
 * memory_mutex. */
static void leave_place(gpu_backend *gpu, gpu_buffer *buffer)
{
    gpu_block *block = buffer->block;
    gpu_buffer **place = &block->buffers;
    while (*place != buffer) place = &(*place)->next;
    *place = buffer->next;
    if (block->buffers) return;
    gpu_block **at = &gpu->blocks;
    while (*at != block) at = &(*at)->next;
    *at = block->next;
    gpu_memory_free(gpu, &block->memory);
    free(block);
}

/* Copies host memory to a place that the host does not see, through a session of its own. */
static bool upload(gpu_backend *gpu, gpu_buffer *buffer, const void *data, size_t size,
                   zi_error *error)
{
    zi_exec *exec;
    bool ok = gpu_begin(&gpu->base, false, &exec, error);
    if (!ok) return false;
    for (size_t at = 0; ok && at < size; at += UPLOAD) {
        size_t n = size - at < UPLOAD ? size - at : UPLOAD;
        zi_view to = {&buffer->base, at, ZI_U8, 1, n, n};
        gpu_write(exec, to, (const char *)data + at);
        ok = gpu_submit(exec, error);
    }
    ok = ok && gpu_wait(exec, error);
    gpu_end(exec);
    return ok;
}

/* Copies what was imported to the buffer's place. */
static bool fill(gpu_backend *gpu, gpu_buffer *buffer, zi_error *error)
{
    unsigned char *host = buffer->block->memory.host;
    if (!host) return upload(gpu, buffer, buffer->source, buffer->base.size, error);
    memcpy(host + buffer->offset, buffer->source, buffer->base.size);
    return true;
}

/* gpu_import while the device cannot be opened anew. */
static bool import(gpu_backend *gpu, gpu_buffer *buffer, zi_error *error)
{
    pthread_mutex_lock(&gpu->memory_mutex);
    bool ok = take_place(gpu, buffer->base.size, buffer, error);
    pthread_mutex_unlock(&gpu->memory_mutex);
    return ok && fill(gpu, buffer, error);
}

bool gpu_import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                zi_error *error)
{
    gpu_backend *gpu = gpu_of(backend);
    gpu_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return zi_error_no_memory(error, sizeof *buffer);
    buffer->base = (zi_buffer){.backend = backend, .size = size};
    buffer->source = data;
    bool entered = gpu_enter(gpu, error), ok = entered && import(gpu, buffer, error);
    if (ok)
        *out = &buffer->base;
    else if (buffer->block)
        gpu_release(&buffer->base);
    else
        free(buffer);
    if (entered) gpu_leave(gpu);
    return ok;
}

void gpu_weights_drop(gpu_backend *gpu)
{
    for (gpu_block *block = gpu->blocks; block; block = block->next) {
        VkDeviceSize size = block->memory.size;
        gpu_memory_free(gpu, &block->memory);
        block->memory.size = size;
    }
}

bool gpu_weights_restore(gpu_backend *gpu, zi_error *error)
{
    bool ok = true;
    for (gpu_block *block = gpu->blocks; ok && block; block = block->next) {
        ok = gpu_memory_alloc(gpu, GPU_VISIBLE_MEMORY, block->memory.size, &block->memory, error);
        for (gpu_buffer *b = block->buffers; ok && b; b = b->next) {
            b->handle = block->memory.handle;
            b->address = block->memory.address + b->offset;
            ok = fill(gpu, b, error);
        }
    }
    return ok;
}

void gpu_release(zi_buffer *base)
{
    gpu_backend *gpu = gpu_of(base->backend);
    gpu_buffer *buffer = (gpu_buffer *)base;
    if (buffer->block) {
        pthread_mutex_lock(&gpu->memory_mutex);
        leave_place(gpu, buffer);
        pthread_mutex_unlock(&gpu->memory_mutex);
    } else {
        gpu_memory_free(gpu, &buffer->memory);
        gpu_leave(gpu);
    }
    free(buffer);
}
