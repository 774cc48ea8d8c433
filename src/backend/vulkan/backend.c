/* The backend itself: the opened device and the table of operations. */
#include "backend/vulkan/operations.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static const char PORTABILITY[] = "VK_KHR_portability_subset"; /* of MoltenVK */

bool gpu_error(gpu_backend *gpu, zi_error *error, VkResult result, const char *what)
{
    const char *name = gpu->capabilities.summary.name;
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
        return zi_error_set_in(error, ZI_ERROR_NO_MEMORY, name, "device",
                               "%s; there is too little memory", what);
    if (result == VK_ERROR_DEVICE_LOST) {
        atomic_store(&gpu->lost, true);
        return zi_error_set_in(error, ZI_ERROR_IO, name, "device",
                               "%s: the driver has reset the device; try again", what);
    }
    return zi_error_set_in(error, ZI_ERROR_IO, name, "device", "%s (Vulkan error %d)", what,
                           (int)result);
}

/* Sets the device's functions. False, with *error set: one is missing. */
static bool find_functions(gpu_backend *gpu, zi_error *error)
{
    const char *missing = NULL;
#define FIND(name)                                                                                 \
    gpu->vk.name = (PFN_vk##name)gpu->vk.GetDeviceProcAddr(gpu->device, "vk" #name);               \
    if (!gpu->vk.name) missing = "vk" #name;
    GPU_DEVICE_FUNCTIONS(FIND)
#undef FIND
    if (gpu->options.intercept) gpu->options.intercept(gpu->options.user, &gpu->vk);
    return !missing || zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, gpu->capabilities.summary.name,
                                       "device", "its driver has no %s", missing);
}

/* Opens the logical device with the features that are needed, and its queue. */
static bool open_device(gpu_backend *gpu, VkPhysicalDevice physical, zi_error *error)
{
    gpu_features features;
    const VkBool32 on = VK_TRUE;
    const float priority = 1;
    gpu_features_clear(&features);
    for (size_t i = 0; i < gpu_needed_feature_count; i++)
        memcpy((char *)&features + gpu_needed_features[i].offset, &on, sizeof on);
    gpu_matrix_needs matrices;
    gpu_matrix_request(&gpu->capabilities.matrix, &matrices, &features);
    gpu_dot_needs dots;
    const char *extensions[4];
    uint32_t extension_count = matrices.extension_count;
    memcpy(extensions, matrices.extensions, sizeof matrices.extensions);
    if (gpu->capabilities.dots) {
        gpu_dots_request(&dots, &features);
        extensions[extension_count++] = dots.extension;
    }
    if (gpu_has_extension(&gpu->instance, physical, PORTABILITY)) /* must be asked for then */
        extensions[extension_count++] = PORTABILITY;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = gpu->capabilities.queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features.all,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = extension_count,
                               .ppEnabledExtensionNames = extensions};
    gpu->vk = gpu->instance.vk;
    VkResult result = gpu->vk.CreateDevice(physical, &info, NULL, &gpu->device);
    if (result != VK_SUCCESS)
        return gpu_error(gpu, error, result,
                         result == VK_ERROR_INITIALIZATION_FAILED ||
                                 result == VK_ERROR_TOO_MANY_OBJECTS
                             ? "the device could not be opened; does another program use it?"
                             : "the device could not be opened");
    if (!find_functions(gpu, error)) return false;
    gpu->vk.GetDeviceQueue(gpu->device, gpu->capabilities.queue_family, 0, &gpu->queue);
    return true;
}

/* Makes the layout that all pipelines have: push constants only. */
static bool create_layout(gpu_backend *gpu, zi_error *error)
{
    VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, GPU_MAX_PUSH};
    VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                       .pushConstantRangeCount = 1,
                                       .pPushConstantRanges = &range};
    VkResult result = gpu->vk.CreatePipelineLayout(gpu->device, &info, NULL, &gpu->layout);
    return result == VK_SUCCESS ||
           gpu_error(gpu, error, result, "a pipeline layout could not be made");
}

/* Changes what a device has to what tests want of it. */
static void leave_out(const zi_vulkan_options *options, gpu_capabilities *c)
{
    if (options->no_matrices) c->matrix = (gpu_matrix){0};
    if (options->slow_dots) c->dots = c->has_dots && !c->matrix.m;
}

/* Opens the device number options.device of the instance. */
static bool open_numbered(gpu_backend *gpu, zi_error *error)
{
    const zi_vulkan_options *options = &gpu->options;
    if (options->device >= gpu->instance.count)
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, "device",
                            "there is no Vulkan device %zu; the last one has the number %u",
                            options->device, gpu->instance.count - 1);
    VkPhysicalDevice physical = gpu->instance.devices[options->device];
    gpu_capabilities_read(&gpu->instance, physical, &gpu->capabilities);
    leave_out(options, &gpu->capabilities);
    const zi_vulkan_device *summary = &gpu->capabilities.summary;
    if (*summary->missing)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, summary->name, "device",
                               "zimage cannot use this device: it lacks %s", summary->missing);
    if (!*gpu->variant) /* others may be reading it when the device is opened anew */
        snprintf(gpu->variant, sizeof gpu->variant, "vulkan %s, %s", summary->name,
                 summary->driver);
    if (!open_device(gpu, physical, error) || !create_layout(gpu, error)) return false;
    gpu->proved = UINT64_MAX;
    gpu_memory_limit(gpu, true);
    return true;
}

bool gpu_open(gpu_backend *gpu, zi_error *error)
{
    if (!gpu_instance_open(&gpu->options, &gpu->instance, error) || !open_numbered(gpu, error))
        return false;
    gpu_cache_open(gpu);
    return true;
}

void gpu_close(gpu_backend *gpu)
{
    if (gpu->layout) {
        gpu_cache_close(gpu);
        gpu_pipelines_free(gpu);
        gpu->vk.DestroyPipelineLayout(gpu->device, gpu->layout, NULL);
    }
    if (gpu->device && gpu->vk.DestroyDevice) gpu->vk.DestroyDevice(gpu->device, NULL);
    gpu->layout = VK_NULL_HANDLE;
    gpu->device = VK_NULL_HANDLE;
    gpu_instance_close(&gpu->instance);
}

/* Frees the backend; sessions and buffers must be gone. */
static void destroy(zi_backend *backend)
{
    gpu_backend *gpu = gpu_of(backend);
    gpu_close(gpu);
    pthread_mutex_destroy(&gpu->queue_mutex);
    pthread_mutex_destroy(&gpu->memory_mutex);
    pthread_mutex_destroy(&gpu->pipeline_mutex);
    pthread_mutex_destroy(&gpu->state_mutex);
    free(gpu->cache.folder);
    free(gpu);
}

/* Initializes a mutex that a thread may lock again. */
static void init_recursive(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static const zi_backend_ops gpu_ops = {
    .name = "vulkan",
    .alloc = gpu_alloc,
    .import = gpu_import,
    .set_idle = gpu_set_idle,
    .release = gpu_release,
    .begin = gpu_begin,
    .plan = gpu_plan,
    .end = gpu_end,
    .write = gpu_write,
    .read = gpu_read,
    .submit = gpu_submit,
    .wait = gpu_wait,
    .linear = gpu_linear,
    .embed = gpu_embed,
    .attention = gpu_attention,
    .norm = gpu_norm,
    .rope = gpu_rope,
    .elementwise = gpu_elementwise,
    .permute = gpu_permute,
    .conv3x3 = gpu_conv3x3,
    .conv3x3_workspace = gpu_conv3x3_workspace,
    .moments = gpu_moments,
    .group_norm = gpu_group_norm,
    .check_finite = gpu_check_finite,
    .check_moments = gpu_check_moments,
    .peak = gpu_peak,
    .destroy = destroy,
};

bool zi_vulkan_backend_create(const zi_vulkan_options *options, zi_backend **out, zi_error *error)
{
    gpu_backend *gpu = calloc(1, sizeof *gpu);
    if (!gpu) return zi_error_no_memory(error, sizeof *gpu);
    gpu->base = (zi_backend){&gpu_ops, gpu->variant};
    gpu->options = *options;
    gpu->vram = options->vram;
    pthread_mutex_init(&gpu->queue_mutex, NULL);
    pthread_mutex_init(&gpu->memory_mutex, NULL);
    init_recursive(&gpu->pipeline_mutex);
    init_recursive(&gpu->state_mutex);
    gpu_pace_init(gpu);
    if (options->cache) gpu->cache.folder = strdup(options->cache);
    bool copied = gpu->cache.folder || !options->cache || zi_error_no_memory(error, PATH_MAX);
    if (!copied || !gpu_open(gpu, error)) {
        destroy(&gpu->base);
        return false;
    }
    *out = &gpu->base;
    return true;
}
