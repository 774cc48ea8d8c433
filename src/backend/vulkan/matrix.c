/* Cooperative matrices: which a device has, and how it is opened with them. */
#include "backend/vulkan/instance.h"

#include <stdlib.h>

#ifdef ZI_MATRIX_SHADERS

/* Whether the shaders can use matrices of this kind: see shaders/matrix.glsl. */
static bool fits(const VkCooperativeMatrixPropertiesKHR *p)
{
    return p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->scope == VK_SCOPE_SUBGROUP_KHR &&
           p->KSize % 8 == 0 && 32 % p->KSize == 0 && p->MSize <= 32 && p->NSize <= 32 &&
           32 % p->MSize == 0 && 32 % p->NSize == 0;
}

/* Sets the sizes of *out to those of the largest matrices that the shaders can use; leaves it if
 * there are none. */
static void choose_sizes(const gpu_instance *instance, VkPhysicalDevice device, gpu_matrix *out)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)instance->get(
            instance->handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    uint32_t n = 0, best = 0;
    if (!get || get(device, &n, NULL) != VK_SUCCESS) return;
    VkCooperativeMatrixPropertiesKHR *all = calloc(n ? n : 1, sizeof *all);
    for (uint32_t i = 0; all && i < n; i++)
        all[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (!all || get(device, &n, all) != VK_SUCCESS) n = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t work = all[i].MSize * all[i].NSize * all[i].KSize;
        /* Beyond 16 x 16 x 16 a matrix takes more registers than it spares loads. */
        if (!fits(&all[i]) || work > 4096 || work <= best) continue;
        best = work;
        out->m = all[i].MSize;
        out->n = all[i].NSize;
        out->k = all[i].KSize;
    }
    free(all);
}

void gpu_matrix_find(const gpu_instance *instance, VkPhysicalDevice device, gpu_matrix *out)
{
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
        .pNext = &matrices};
    VkPhysicalDeviceVulkan11Properties properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES};
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT range = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                       .pNext = &properties};
    gpu_features features;
    *out = (gpu_matrix){0};
    if (!gpu_has_extension(instance, device, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) return;
    bool controlled =
        gpu_has_extension(instance, device, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    gpu_features_clear(&features);
    features.v12.pNext = controlled ? (void *)&sizes : (void *)&matrices;
    if (controlled) properties.pNext = &range;
    instance->vk.GetPhysicalDeviceFeatures2(device, &features.all);
    instance->vk.GetPhysicalDeviceProperties2(device, &all);
    if (!matrices.cooperativeMatrix || !features.v12.shaderFloat16 ||
        !features.v12.vulkanMemoryModel || !properties.subgroupSize ||
        properties.subgroupSize > 64 || properties.subgroupSize < 8)
        return;
    out->subgroup = properties.subgroupSize;
    out->sized = controlled && sizes.subgroupSizeControl && sizes.computeFullSubgroups &&
                 range.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    choose_sizes(instance, device, out);
}

void gpu_matrix_request(const gpu_matrix *matrix, gpu_matrix_needs *needs, gpu_features *features)
{
    *needs = (gpu_matrix_needs){
        .sizes = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
                  .subgroupSizeControl = VK_TRUE,
                  .computeFullSubgroups = VK_TRUE},
        .matrices = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
                     .cooperativeMatrix = VK_TRUE}};
    if (!matrix->m) return;
    features->v12.shaderFloat16 = features->v12.vulkanMemoryModel = VK_TRUE;
    features->v12.pNext = &needs->matrices;
    needs->extensions[needs->extension_count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    if (!matrix->sized) return;
    needs->matrices.pNext = &needs->sizes;
    needs->extensions[needs->extension_count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
}

#else

void gpu_matrix_find(const gpu_instance *instance, VkPhysicalDevice device, gpu_matrix *out)
{
    (void)instance;
    (void)device;
    *out = (gpu_matrix){0};
}

void gpu_matrix_request(const gpu_matrix *matrix, gpu_matrix_needs *needs, gpu_features *features)
{
    (void)matrix;
    (void)features;
    *needs = (gpu_matrix_needs){0};
}

#endif
