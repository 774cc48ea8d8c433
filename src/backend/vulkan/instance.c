#include "backend/vulkan/instance.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the loader ---- */

/* Opens the loader's library; NULL: there is none. */
static void *open_library(void)
{
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so", "libvulkan.1.dylib",
                                        "/opt/homebrew/lib/libvulkan.1.dylib", "libMoltenVK.dylib"};
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

/* Lets the options' function replace functions that were found. */
static void intercept(gpu_instance *instance, const zi_vulkan_options *options)
{
    if (options && options->intercept) options->intercept(options->user, &instance->vk);
}

/* Finds the loader's entry points in instance->library. False, with *error set: it is no loader. */
static bool find_loader(gpu_instance *instance, const zi_vulkan_options *options, zi_error *error)
{
    /* POSIX lets dlsym's result be used as a function, ISO C does not: so it is copied. */
    void *symbol = dlsym(instance->library, "vkGetInstanceProcAddr");
    memcpy(&instance->get, &symbol, sizeof symbol);
    const char *missing = instance->get ? NULL : "vkGetInstanceProcAddr";
#define FIND(name)                                                                                 \
    if (instance->get)                                                                             \
        instance->vk.name = (PFN_vk##name)instance->get(VK_NULL_HANDLE, "vk" #name);               \
    if (!instance->vk.name && !missing) missing = "vk" #name;
    GPU_LOADER_FUNCTIONS(FIND)
#undef FIND
    intercept(instance, options);
    return !missing || zi_error_set(error, ZI_ERROR_NOT_FOUND, NULL,
                                    "the Vulkan loader of this system has no %s", missing);
}

bool zi_vulkan_plausible(void)
{
#ifdef __linux__
    static const char *const paths[] = {"/dev/dri", "/dev/nvidiactl", "/dev/dxg", "/dev/mali0",
                                        "/dev/kgsl-3d0"};
    bool found = false;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        found = found || access(paths[i], F_OK) == 0;
    return found;
#else
    return true;
#endif
}

/* ---- the instance ---- */

/* Finds the instance's functions. False, with *error set: one is missing. */
static bool find_functions(gpu_instance *instance, const zi_vulkan_options *options,
                           zi_error *error)
{
    const char *missing = NULL;
#define FIND(name)                                                                                 \
    instance->vk.name = (PFN_vk##name)instance->get(instance->handle, "vk" #name);                 \
    if (!instance->vk.name) missing = "vk" #name;
    GPU_INSTANCE_FUNCTIONS(FIND)
#undef FIND
    intercept(instance, options);
    return !missing || zi_error_set(error, ZI_ERROR_UNSUPPORTED, NULL,
                                    "the Vulkan loader of this system has no %s", missing);
}

/* Called by the validation layer with each of its messages. */
static VKAPI_ATTR VkBool32 VKAPI_CALL pass_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                   VkDebugUtilsMessageTypeFlagsEXT types,
                                                   const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                   void *user)
{
    const zi_vulkan_options *options = user;
    (void)severity;
    (void)types;
    if (options->messages) options->messages(options->user, data->pMessage);
    return VK_FALSE;
}

/* Has messages of the validation layer sent to the options' function, which must stay as long as
 * the instance. Without the extension it does nothing. */
static void set_messenger(gpu_instance *instance, const zi_vulkan_options *options)
{
    PFN_vkCreateDebugUtilsMessengerEXT create = (PFN_vkCreateDebugUtilsMessengerEXT)instance->get(
        instance->handle, "vkCreateDebugUtilsMessengerEXT");
    VkDebugUtilsMessengerCreateInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = pass_message,
        .pUserData = (void *)(uintptr_t)options};
    if (create) create(instance->handle, &info, NULL, &instance->messenger);
}

/* Fills *error for an instance that could not be made or gives no devices. Returns false. */
static bool fail(zi_error *error, VkResult result)
{
    switch (result) {
    case VK_SUCCESS:
    case VK_ERROR_INCOMPATIBLE_DRIVER: /* the loader has found no driver */
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, NULL,
                            "there is no Vulkan device here; is the GPU's driver installed?");
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return zi_error_set(error, ZI_ERROR_NO_MEMORY, NULL,
                            "Vulkan could not be started; there is too little memory");
    case VK_ERROR_LAYER_NOT_PRESENT:
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, NULL, "Vulkan has no validation layer here");
    default:
        return zi_error_set(error, ZI_ERROR_IO, NULL, "Vulkan could not be started (error %d)",
                            (int)result);
    }
}

/* Sets *count to the number of a device's extensions, or of those for instances (device NULL), or
 * fills list [*count] with them. */
static void list_extensions(const gpu_instance *instance, VkPhysicalDevice device, uint32_t *count,
                            VkExtensionProperties *list)
{
    if (device)
        instance->vk.EnumerateDeviceExtensionProperties(device, NULL, count, list);
    else
        instance->vk.EnumerateInstanceExtensionProperties(NULL, count, list);
}

bool gpu_has_extension(const gpu_instance *instance, VkPhysicalDevice device, const char *name)
{
    uint32_t count = 0;
    bool found = false;
    list_extensions(instance, device, &count, NULL);
    VkExtensionProperties *list = calloc(count ? count : 1, sizeof *list);
    if (list) list_extensions(instance, device, &count, list);
    for (uint32_t i = 0; list && i < count; i++)
        found = found || !strcmp(list[i].extensionName, name);
    free(list);
    return found;
}

/* Makes the instance. False, with *error set: the driver or the layer refused. */
static bool create_instance(gpu_instance *instance, const zi_vulkan_options *options,
                            zi_error *error)
{
    static const char *const layers[] = {"VK_LAYER_KHRONOS_validation"};
    const char *extensions[2];
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                     .pApplicationName = "zimage",
                                     .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &application,
                                 .ppEnabledLayerNames = layers,
                                 .ppEnabledExtensionNames = extensions};
    if (options && options->validation) {
        info.enabledLayerCount = 1;
        extensions[info.enabledExtensionCount++] = "VK_EXT_debug_utils";
    }
#ifdef VK_KHR_portability_enumeration /* else devices of MoltenVK are left out */
    if (gpu_has_extension(instance, NULL, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
        extensions[info.enabledExtensionCount++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        info.flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
#endif
    VkResult result = instance->vk.CreateInstance(&info, NULL, &instance->handle);
    if (result != VK_SUCCESS) return fail(error, result);
    if (!find_functions(instance, options, error)) return false;
    if (options && options->validation) set_messenger(instance, options);
    return true;
}

/* Sets instance->devices. False, with *error set: there is none, or memory is short. */
static bool find_devices(gpu_instance *instance, zi_error *error)
{
    VkResult result =
        instance->vk.EnumeratePhysicalDevices(instance->handle, &instance->count, NULL);
    if (result != VK_SUCCESS || !instance->count) return fail(error, result);
    instance->devices = calloc(instance->count, sizeof *instance->devices);
    if (!instance->devices) return zi_error_no_memory(error, instance->count * sizeof(void *));
    result = instance->vk.EnumeratePhysicalDevices(instance->handle, &instance->count,
                                                   instance->devices);
    /* VK_INCOMPLETE: one has come since. */
    return result == VK_SUCCESS || result == VK_INCOMPLETE || fail(error, result);
}

bool gpu_instance_open(const zi_vulkan_options *options, gpu_instance *out, zi_error *error)
{
    gpu_instance instance = {.library = open_library()};
    if (!instance.library)
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, NULL,
                            "there is no Vulkan loader (libvulkan) on this system; it comes with "
                            "the GPU's driver or as the package libvulkan1");
    if (find_loader(&instance, options, error) && create_instance(&instance, options, error) &&
        find_devices(&instance, error)) {
        *out = instance;
        return true;
    }
    gpu_instance_close(&instance);
    return false;
}

void gpu_instance_close(gpu_instance *instance)
{
    if (instance->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)instance->get(instance->handle,
                                                               "vkDestroyDebugUtilsMessengerEXT");
        destroy(instance->handle, instance->messenger, NULL);
    }
    if (instance->handle && instance->vk.DestroyInstance)
        instance->vk.DestroyInstance(instance->handle, NULL);
    free(instance->devices);
    /* The library stays open: drivers leave threads and thread-local data behind. */
    *instance = (gpu_instance){0};
}

/* ---- devices ---- */

#define V11(name)                                                                                  \
    {                                                                                              \
#name, offsetof(gpu_features, v11.name)                                                    \
    }
#define V12(name)                                                                                  \
    {                                                                                              \
#name, offsetof(gpu_features, v12.name)                                                    \
    }
const gpu_feature gpu_needed_features[] = {
    V11(storageBuffer16BitAccess), V12(storageBuffer8BitAccess), V12(bufferDeviceAddress),
    V12(timelineSemaphore),        V12(scalarBlockLayout),
};
const size_t gpu_needed_feature_count = sizeof gpu_needed_features / sizeof *gpu_needed_features;

void gpu_features_clear(gpu_features *f)
{
    *f = (gpu_features){.all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                        .v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                        .v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    f->all.pNext = &f->v11;
    f->v11.pNext = &f->v12;
}

/* Returns the first needed feature that the device lacks; NULL: none. */
static const char *missing_feature(const gpu_instance *instance, VkPhysicalDevice device)
{
    gpu_features features;
    gpu_features_clear(&features);
    instance->vk.GetPhysicalDeviceFeatures2(device, &features.all);
    for (size_t i = 0; i < gpu_needed_feature_count; i++) {
        VkBool32 has;
        memcpy(&has, (const char *)&features + gpu_needed_features[i].offset, sizeof has);
        if (!has) return gpu_needed_features[i].name;
    }
    return NULL;
}

/* Sets out->queue_family to a family of queues that compute, one that does not draw if there is
 * one: a desktop's own work then waits less. False: there is none. */
static bool find_queue_family(const gpu_instance *instance, VkPhysicalDevice device,
                              gpu_capabilities *out)
{
    enum { MAX = 16 };
    VkQueueFamilyProperties families[MAX];
    uint32_t count = MAX;
    bool found = false;
    instance->vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, families);
    for (uint32_t i = count; i-- > 0;) {
        VkQueueFlags flags = families[i].queueFlags;
        if (!(flags & VK_QUEUE_COMPUTE_BIT) || (found && flags & VK_QUEUE_GRAPHICS_BIT)) continue;
        out->queue_family = i;
        found = true;
    }
    return found;
}

/* Returns the largest heap of the device's own, and sets *bytes to its size. */
static uint32_t device_heap(const VkPhysicalDeviceMemoryProperties *memory, uint64_t *bytes)
{
    uint32_t largest = 0;
    *bytes = 0;
    for (uint32_t i = 0; i < memory->memoryHeapCount; i++)
        if (memory->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT &&
            memory->memoryHeaps[i].size > *bytes) {
            largest = i;
            *bytes = memory->memoryHeaps[i].size;
        }
    return largest;
}

static zi_vulkan_kind kind_of(VkPhysicalDeviceType type)
{
    static const zi_vulkan_kind kinds[] = {
        [VK_PHYSICAL_DEVICE_TYPE_OTHER] = ZI_VULKAN_OTHER,
        [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = ZI_VULKAN_INTEGRATED,
        [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = ZI_VULKAN_DISCRETE,
        [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = ZI_VULKAN_VIRTUAL,
        [VK_PHYSICAL_DEVICE_TYPE_CPU] = ZI_VULKAN_SOFTWARE};
    return (size_t)type < sizeof kinds / sizeof *kinds ? kinds[type] : ZI_VULKAN_OTHER;
}

/* Sets out->summary.missing to what the backend needs and the device lacks, if there is something.
 */
static void note_missing(const gpu_instance *instance, VkPhysicalDevice device,
                         gpu_capabilities *out)
{
    const VkPhysicalDeviceLimits *limits = &out->properties.limits;
    const char *feature;
    char *missing = out->summary.missing;
    size_t size = sizeof out->summary.missing;
    if (out->properties.apiVersion < VK_API_VERSION_1_2)
        snprintf(missing, size, "Vulkan 1.2; its driver has %u.%u",
                 VK_API_VERSION_MAJOR(out->properties.apiVersion),
                 VK_API_VERSION_MINOR(out->properties.apiVersion));
    else if (!find_queue_family(instance, device, out))
        snprintf(missing, size, "a queue that computes");
    else if ((feature = missing_feature(instance, device)))
        snprintf(missing, size, "%s", feature);
    else if (limits->maxComputeWorkGroupInvocations < 256 ||
             limits->maxComputeWorkGroupSize[0] < 256 || limits->maxComputeSharedMemorySize < 32768)
        snprintf(missing, size, "workgroups of 256 with 32 KB of shared memory");
}

void gpu_capabilities_read(const gpu_instance *instance, VkPhysicalDevice device,
                           gpu_capabilities *out)
{
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &driver};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &maintenance};
    *out = (gpu_capabilities){0};
    instance->vk.GetPhysicalDeviceProperties2(device, &properties);
    instance->vk.GetPhysicalDeviceMemoryProperties(device, &out->memory);
    out->properties = properties.properties;
    out->max_allocation = maintenance.maxMemoryAllocationSize;
    out->summary.kind = kind_of(out->properties.deviceType);
    out->heap = device_heap(&out->memory, &out->summary.memory);
    out->memory_budget = gpu_has_extension(instance, device, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    snprintf(out->summary.name, sizeof out->summary.name, "%s", out->properties.deviceName);
    snprintf(out->summary.driver, sizeof out->summary.driver, "%s %s", driver.driverName,
             driver.driverInfo);
    note_missing(instance, device, out);
    if (*out->summary.missing) return;
    gpu_matrix_find(instance, device, &out->matrix);
    out->dots = gpu_dots_find(instance, device, &out->has_dots) && !out->matrix.m;
    snprintf(out->summary.features, sizeof out->summary.features, "%s",
             out->matrix.m ? "cooperative matrices"
             : out->dots   ? "integer dot products"
                           : "");
}

bool zi_vulkan_list(zi_vulkan_device **out, size_t *count, zi_error *error)
{
    gpu_instance instance;
    if (!gpu_instance_open(NULL, &instance, error)) return false;
    zi_vulkan_device *devices = calloc(instance.count, sizeof *devices);
    for (uint32_t i = 0; devices && i < instance.count; i++) {
        gpu_capabilities capabilities;
        gpu_capabilities_read(&instance, instance.devices[i], &capabilities);
        devices[i] = capabilities.summary;
    }
    size_t found = instance.count;
    gpu_instance_close(&instance);
    if (!devices) return zi_error_no_memory(error, found * sizeof *devices);
    *out = devices;
    *count = found;
    return true;
}
