/* Device memory: allocations, the limit that all of them share, and the buffers of sessions. */
#include "backend/vulkan/internal.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

/* Shaders count the elements of a buffer with 31 bits. */
static const VkDeviceSize MAX_BUFFER = (VkDeviceSize)1 << 33;

/* ---- the limit ---- */

/* What the driver says that this process may take; without VK_EXT_memory_budget, the memory's size
 * less a reserve for others. */
static uint64_t ask_driver(gpu_backend *gpu)
{
    const uint64_t least = 64u << 20, most = 1u << 30;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    uint32_t heap = gpu->capabilities.heap;
    uint64_t size = gpu->capabilities.memory.memoryHeaps[heap].size, reserve = size / 8;
    if (!gpu->capabilities.memory_budget) {
        reserve = reserve < least ? least : reserve > most ? most : reserve;
        return size > reserve ? size - reserve : 0;
    }
    gpu->vk.GetPhysicalDeviceMemoryProperties2(gpu->instance.devices[gpu->options.device],
                                               &properties);
    /* The budget is for the process, which has other memory, too: of the driver, of other
     * backends. */
    uint64_t used = gpu->used, usage = budget.heapUsage[heap];
    uint64_t other = (usage > used ? usage - used : 0) + least;
    uint64_t left = budget.heapBudget[heap] > other ? budget.heapBudget[heap] - other : 0;
    /* A session's buffer in the host's memory may be in the same heap. Then the budget can be used
     * up, but weights must still be streamed: so the limit is at least what that takes. */
    uint64_t needed = gpu->shared ? gpu->session + gpu->layers : 0;
    return left > needed ? left : needed;
}

uint64_t gpu_memory_limit(gpu_backend *gpu, bool refresh)
{
    if (refresh && gpu->device) gpu->limit = gpu->vram ? gpu->vram : ask_driver(gpu);
    uint64_t limit = gpu->limit, proved = gpu->proved;
    return proved < limit ? proved : limit;
}

void zi_vulkan_limit_memory(zi_backend *backend, uint64_t vram)
{
    gpu_backend *gpu = gpu_of(backend);
    gpu->vram = vram;
    pthread_mutex_lock(&gpu->state_mutex); /* while it is not opened anew */
    gpu_fit_limit(gpu);
    pthread_mutex_unlock(&gpu->state_mutex);
}

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
    *map = kind == GPU_HOST_MEMORY || kind == GPU_CACHED_MEMORY;
    if (kind == GPU_VISIBLE_MEMORY) {
        type = find_type(gpu, allowed, device | host);
        if (is_whole(gpu, type) && !gpu->options.staging) {
            *map = true;
            return type;
        }
    }
    bool cached = kind == GPU_CACHED_MEMORY || kind == GPU_SPILLED_MEMORY;
    if (cached) type = find_type(gpu, allowed, host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    if (cached && type >= 0) return type;
    type = find_type(gpu, allowed, *map || cached ? host : device);
    if (cached) return type;
    return type >= 0 || *map ? type : find_type(gpu, allowed, 0);
}

/* Whether memory of a type is in the heap that the limit is for. */
static bool in_limited_heap(const gpu_backend *gpu, int type)
{
    const VkPhysicalDeviceMemoryProperties *memory = &gpu->capabilities.memory;
    return memory->memoryTypes[type].heapIndex == gpu->capabilities.heap;
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
        char what[80], size[32];
        snprintf(what, sizeof what, "%s of memory could not be had",
                 zi_format_bytes(m->size, size));
        return gpu_error(gpu, error, result, what);
    }
    m->counted = kind == GPU_DEVICE_MEMORY || kind == GPU_VISIBLE_MEMORY;
    m->shared = kind == GPU_SPILLED_MEMORY && in_limited_heap(gpu, type);
    m->address = vk->GetBufferDeviceAddress(
        gpu->device,
        &(VkBufferDeviceAddressInfo){.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                     .buffer = m->handle});
    return true;
}

/* Fails if the driver, or the shaders' arithmetic, cannot take memory of this size as one. */
static bool check_size(const gpu_backend *gpu, VkDeviceSize size, zi_error *error)
{
    char needed[32], allowed[32];
    VkDeviceSize max = gpu->capabilities.max_allocation;
    if (max > MAX_BUFFER) max = MAX_BUFFER;
    return size <= max ||
           zi_error_set_in(error, ZI_ERROR_NO_MEMORY, gpu->capabilities.summary.name, "device",
                           "%s of device memory are needed in one piece, but at most %s can be had "
                           "there; choose a smaller image",
                           zi_format_bytes(size, needed), zi_format_bytes(max, allowed));
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
    if (!check_size(gpu, size, error)) return false;
    VkResult result = gpu->vk.CreateBuffer(gpu->device, &info, NULL, &m.handle);
    if (result != VK_SUCCESS) return gpu_error(gpu, error, result, "a buffer could not be made");
    if (bind_memory(gpu, kind, &m, error)) {
        m.serial = ++gpu->serial;
        if (m.counted) gpu->used += m.size;
        if (m.shared) gpu->shared += m.size;
        *out = m;
        return true;
    }
    gpu_memory_free(gpu, &m);
    return false;
}

void gpu_memory_free(gpu_backend *gpu, gpu_memory *memory)
{
    if (!memory->handle) return; /* there is none, perhaps no device either */
    if (memory->counted) gpu->used -= memory->size;
    if (memory->shared) gpu->shared -= memory->size;
    gpu->vk.DestroyBuffer(gpu->device, memory->handle, NULL);
    gpu->vk.FreeMemory(gpu->device, memory->memory, NULL);
    *memory = (gpu_memory){0};
}

/* ---- buffers of sessions ---- */

/* Fails with what is needed and what there is. The caller holds memory_mutex. */
static bool refuse(gpu_backend *gpu, uint64_t size, zi_error *error)
{
    char needed[32], left[32], all[32];
    uint64_t limit = gpu_memory_limit(gpu, false), pinned;
    uint64_t taken = gpu->used - gpu_resident_bytes(gpu, &pinned) + pinned;
    if (atomic_load(&gpu->lost))
        return gpu_error(gpu, error, VK_ERROR_DEVICE_LOST, "memory could not be had");
    return zi_error_set_in(
        error, ZI_ERROR_NO_MEMORY, gpu->capabilities.summary.name, "device",
        "too little memory: this needs %s, and %s of %s of device memory are free, "
        "and the host's memory is too short as well; choose a smaller image",
        zi_format_bytes(size, needed), zi_format_bytes(limit > taken ? limit - taken : 0, left),
        zi_format_bytes(limit, all));
}

/* Bytes that must stay free beside a buffer of a session, so that all sessions can stream their
 * weights; *most: what that leaves for the buffer once all weights have left. The caller holds
 * memory_mutex. */
static uint64_t streaming_bytes(gpu_backend *gpu, uint64_t *most)
{
    uint64_t limit = gpu_memory_limit(gpu, false), session = gpu->session, pinned;
    uint64_t streams = gpu->used - gpu_resident_bytes(gpu, &pinned) - session;
    /* Groups of weights also hold parts of the layers beside. */
    uint64_t more = gpu->layers ? gpu->layers + 2 * gpu_share(limit) : 0;
    uint64_t taken = session + streams + more;
    *most = limit > taken ? limit - taken : 0;
    return more;
}

/* Allocates a session's buffer in device memory, if it fits there beside what streaming needs;
 * weights leave for it, those first that are idle. *full: it does not fit; then no more leave than
 * the driver made us try. False otherwise: *error is set. The caller holds memory_mutex. */
static bool allocate_on_device(gpu_backend *gpu, uint64_t size, gpu_memory *out, bool *full,
                               zi_error *error)
{
    zi_error why;
    uint64_t most, more = streaming_bytes(gpu, &most);
    *full = false;
    while (size <= most && gpu_make_room(gpu, size + more)) {
        if (gpu_memory_alloc(gpu, GPU_DEVICE_MEMORY, size, out, &why)) return true;
        if (why.code != ZI_ERROR_NO_MEMORY) {
            if (error) *error = why;
            return false;
        }
        gpu->proved = gpu->used + size - 1; /* so some weight must go, or there is no room */
        more = streaming_bytes(gpu, &most);
    }
    *full = true;
    return false;
}

/* Allocates a session's buffer: in the host's memory if that of the device is too short, since a
 * device that computes over the bus is slow, but one without room for weights fails. The caller
 * holds memory_mutex. */
static bool allocate(gpu_backend *gpu, uint64_t size, gpu_memory *out, zi_error *error)
{
    bool full;
    if (!check_size(gpu, size, error)) return false;
    if (allocate_on_device(gpu, size, out, &full, error)) return true;
    if (!full) return false;
    zi_error why;
    if (gpu_memory_alloc(gpu, GPU_SPILLED_MEMORY, size, out, &why)) return true;
    if (why.code == ZI_ERROR_NO_MEMORY) return refuse(gpu, size, error);
    if (error) *error = why;
    return false;
}

/* Counts a session's new buffer, and notes it for the report if no larger one is open. The caller
 * holds memory_mutex. */
static void count_buffer(gpu_backend *gpu, const gpu_memory *memory)
{
    if (!gpu->session && !gpu->spilled) gpu->largest = 0;
    *(memory->counted ? &gpu->session : &gpu->spilled) += memory->size;
    if (memory->size < gpu->largest) return;
    gpu->largest = memory->size;
    gpu->largest_spilled = !memory->counted;
}

bool gpu_alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error)
{
    gpu_backend *gpu = gpu_of(backend);
    gpu_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return zi_error_no_memory(error, sizeof *buffer);
    if (!gpu_enter(gpu, error)) {
        free(buffer);
        return false;
    }
    gpu->proved = UINT64_MAX;
    gpu_fit_limit(gpu); /* others may have taken memory since */
    pthread_mutex_lock(&gpu->memory_mutex);
    bool ok = allocate(gpu, size, &buffer->memory, error);
    if (ok) count_buffer(gpu, &buffer->memory);
    pthread_mutex_unlock(&gpu->memory_mutex);
    if (!ok) {
        gpu_leave(gpu);
        free(buffer);
        return false;
    }
    buffer->base = (zi_buffer){.backend = backend, .size = size};
    *out = &buffer->base;
    return true;
}

void gpu_release(zi_buffer *base)
{
    gpu_backend *gpu = gpu_of(base->backend);
    gpu_buffer *buffer = (gpu_buffer *)base;
    if (buffer->group) {
        gpu_weight_release(gpu, buffer);
    } else {
        pthread_mutex_lock(&gpu->memory_mutex); /* the numbers go together */
        *(buffer->memory.counted ? &gpu->session : &gpu->spilled) -= buffer->memory.size;
        gpu_memory_free(gpu, &buffer->memory);
        pthread_mutex_unlock(&gpu->memory_mutex);
        gpu_leave(gpu);
    }
    free(buffer);
}
