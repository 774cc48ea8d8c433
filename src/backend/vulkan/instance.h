/* The Vulkan loader, an instance of it, and what its devices can do. */
#ifndef ZI_BACKEND_VULKAN_INSTANCE_H
#define ZI_BACKEND_VULKAN_INSTANCE_H

#include "backend/vulkan/functions.h"
#include "backend/vulkan/vulkan.h"

typedef struct {
    void *library; /* of dlopen */
    PFN_vkGetInstanceProcAddr get;
    gpu_functions vk; /* those of the loader and the instance */
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice *devices;
    uint32_t count;
} gpu_instance;

/* Opens the loader, makes an instance and finds its devices, at least one. options: of them, only
 * what is for the validation layer and interception counts; NULL: neither. Ends as zi_vulkan_list.
 */
bool gpu_instance_open(const zi_vulkan_options *options, gpu_instance *out,
                       zi_error *error) ZI_CHECKED;

/* Frees all of it and zeroes *instance. A zeroed struct is allowed. */
void gpu_instance_close(gpu_instance *instance);

/* The cooperative matrices that a device multiplies, f16 [m, k] by [k, n], with sums in f32. */
typedef struct {
    uint32_t m, n, k;  /* 0: there are none */
    uint32_t subgroup; /* invocations of a subgroup */
    bool sized;        /* pipelines can ask for that many */
} gpu_matrix;

/* What a device has, as the backend needs to know it. */
typedef struct {
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    VkDeviceSize max_allocation;
    uint32_t queue_family; /* one that computes */
    uint32_t heap;         /* the largest one of the device's own */
    bool memory_budget;    /* the driver says how much of it may be used */
    gpu_matrix matrix;
    bool has_dots; /* integer dot products */
    bool dots;     /* they are used: they are fast, and there are no matrices */
    zi_vulkan_device summary;
} gpu_capabilities;

/* Finds out what a device has. summary.missing is set if the backend cannot use it. */
void gpu_capabilities_read(const gpu_instance *instance, VkPhysicalDevice device,
                           gpu_capabilities *out);

/* Whether the driver has an extension of this name for the device, or the loader one for instances
 * (device NULL). False, too, if memory is short. */
bool gpu_has_extension(const gpu_instance *instance, VkPhysicalDevice device, const char *name);

/* The features that the backend needs, in a chain of structs as Vulkan wants it. */
typedef struct {
    VkPhysicalDeviceFeatures2 all;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
} gpu_features;

/* Sets *features to the chain with no feature set. */
void gpu_features_clear(gpu_features *features);

/* Finds out which cooperative matrices a device with Vulkan 1.2 has. All zeros if it has none, or
 * if zimage was built without them. */
void gpu_matrix_find(const gpu_instance *instance, VkPhysicalDevice device, gpu_matrix *out);

/* The extensions, and the chain of features, that a device is opened with to use cooperative
 * matrices. */
typedef struct {
    const char *extensions[2];
    uint32_t extension_count;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT sizes;
#ifdef VK_KHR_cooperative_matrix
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices;
#endif
} gpu_matrix_needs;

/* Asks for the matrices in *features, to which *needs is chained. Does nothing but clear *needs if
 * there are none. */
void gpu_matrix_request(const gpu_matrix *matrix, gpu_matrix_needs *needs, gpu_features *features);

/* Finds out whether a device has integer dot products of packed bytes. Returns whether the driver
 * says that they are fast, too. False if zimage was built without them. */
bool gpu_dots_find(const gpu_instance *instance, VkPhysicalDevice device, bool *out);

/* The extension and the feature that a device is opened with to use integer dot products. */
typedef struct {
    const char *extension;
#ifdef VK_KHR_shader_integer_dot_product
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dots;
#endif
} gpu_dot_needs;

/* Asks for them in *features, to which *needs is chained. */
void gpu_dots_request(gpu_dot_needs *needs, gpu_features *features);

/* The needed features: a table of where each is in the chain, and its name. */
typedef struct {
    const char *name;
    size_t offset; /* of a VkBool32 in gpu_features */
} gpu_feature;
extern const gpu_feature gpu_needed_features[];
extern const size_t gpu_needed_feature_count;

#endif
