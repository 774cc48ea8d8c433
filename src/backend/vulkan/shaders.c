#include "backend/vulkan/shaders.h"

/* Each header has an array SHADER_spv; cmake/shaders.cmake makes them and the list of them. */
#include "vulkan_shaders.inc"

const gpu_shader_code gpu_shaders[GPU_SHADER_COUNT] = {
#define GPU_SHADER_ROW(shader) [GPU_SHADER_##shader] = {#shader, shader##_spv, sizeof shader##_spv},
    GPU_SHADERS(GPU_SHADER_ROW)
#ifdef ZI_DOT_SHADERS
        GPU_DOT_SHADERS(GPU_SHADER_ROW)
#endif
#ifdef ZI_MATRIX_SHADERS
            GPU_MATRIX_SHADERS(GPU_SHADER_ROW)
#endif
#undef GPU_SHADER_ROW
};
