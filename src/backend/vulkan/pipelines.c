/* Compute pipelines: each shader is compiled for the values of its specialization constants when it
 * is needed first. */
#include "backend/vulkan/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Compiles gpu_pipeline.shader with its constants. */
static VkResult compile(gpu_backend *gpu, gpu_pipeline *p, size_t count)
{
    const gpu_shader_code *code = &gpu_shaders[p->shader];
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = code->size,
                                            .pCode = code->words};
    VkSpecializationMapEntry entries[GPU_MAX_CONSTANTS];
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * 4, sizeof(uint32_t)};
    VkSpecializationInfo constants = {(uint32_t)count, entries, count * sizeof(uint32_t),
                                      p->constants};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT, /* see pieces.c */
        .layout = gpu->layout,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .pName = "main",
                  .pSpecializationInfo = &constants}};
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = gpu->capabilities.matrix.subgroup};
    if (p->shader >= GPU_FIRST_MATRIX_SHADER && gpu->capabilities.matrix.sized) {
        info.stage.pNext = &size;
        info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT;
    }
    VkResult result =
        gpu->vk.CreateShaderModule(gpu->device, &module_info, NULL, &info.stage.module);
    if (result != VK_SUCCESS) return result;
    result = gpu->vk.CreateComputePipelines(gpu->device, gpu->cache.pipelines, 1, &info, NULL,
                                            &p->handle);
    gpu->vk.DestroyShaderModule(gpu->device, info.stage.module, NULL);
    return result;
}

/* Makes a pipeline and puts it in front of the others. NULL, with *error set: it cannot be made. */
static gpu_pipeline *make_pipeline(gpu_backend *gpu, const gpu_pipeline *key, size_t count,
                                   zi_error *error)
{
    gpu_pipeline *p = malloc(sizeof *p);
    if (!p) {
        zi_error_no_memory(error, sizeof *p);
        return NULL;
    }
    *p = *key;
    VkResult result = compile(gpu, p, count);
    if (result != VK_SUCCESS) {
        char what[128];
        snprintf(what, sizeof what, "the driver could not compile the shader %s",
                 gpu_shaders[key->shader].name);
        gpu_error(gpu, error, result, what);
        free(p);
        return NULL;
    }
    p->next = gpu->pipelines;
    gpu->pipelines = p;
    gpu->cache.changed = true;
    return p;
}

const gpu_pipeline *gpu_pipeline_find(gpu_backend *gpu, gpu_shader shader,
                                      const uint32_t *constants, size_t count, zi_error *error)
{
    gpu_pipeline key = {.shader = shader};
    if (count) memcpy(key.constants, constants, count * sizeof *constants);
    pthread_mutex_lock(&gpu->pipeline_mutex);
    gpu_pipeline *p = gpu->pipelines;
    while (p && (p->shader != shader || memcmp(p->constants, key.constants, sizeof key.constants)))
        p = p->next;
    if (!p) p = make_pipeline(gpu, &key, count, error);
    if (p && !p->checked && !gpu_self_check(gpu, p, error)) p = NULL;
    if (gpu->cache.changed && !gpu->checks) gpu_cache_save(gpu);
    pthread_mutex_unlock(&gpu->pipeline_mutex);
    return p;
}

void gpu_pipelines_free(gpu_backend *gpu)
{
    while (gpu->pipelines) {
        gpu_pipeline *p = gpu->pipelines;
        gpu->pipelines = p->next;
        gpu->vk.DestroyPipeline(gpu->device, p->handle, NULL);
        free(p);
    }
}
