/* The shaders, compiled to SPIR-V when zimage is built: shaders/NAME.comp for each NAME. */
#ifndef ZI_BACKEND_VULKAN_SHADERS_H
#define ZI_BACKEND_VULKAN_SHADERS_H

#include <stddef.h>
#include <stdint.h>

#define GPU_SHADERS(S)                                                                             \
    S(linear)     /* products of many rows */                                                      \
    S(linear_few) /* products of a few rows */                                                     \
    S(embed)      /* rows of a weight */                                                           \
    S(rotate)     /* rotates runs of a row */                                                      \
    S(attention)                                                                                   \
    S(norm) /* RMS and layer norms */                                                              \
    S(rope)                                                                                        \
    S(elementwise)                                                                                 \
    S(permute)                                                                                     \
    S(check)        /* for values that are not finite */                                           \
    S(conv_weights) /* weights of a convolution, in the order in which conv reads them */          \
    S(copy_map)     /* rows of a feature map, with norm and SiLU */                                \
    S(conv)         /* 3x3 and 1x1 convolutions */                                                 \
    S(moments)      /* of parts of a feature map */                                                \
    S(moments_sum)  /* of all parts */                                                             \
    S(group_norm_coefficients)                                                                     \
    S(narrow) /* rows as f16, for products with cooperative matrices */                            \
    S(peak)   /* the device's speed */

/* Those for devices with fast integer dot products. Without a compiler or headers that know these,
 * there is no code of them. */
#define GPU_DOT_SHADERS(S)                                                                         \
    S(quantize) /* rows as codes of eight bits */                                                  \
    S(linear_dots)

/* Those for devices with cooperative matrices. Without a compiler that knows these, there is no
 * code of them. */
#define GPU_MATRIX_SHADERS(S)                                                                      \
    S(linear_matrix) /* products of many rows */                                                   \
    S(conv_matrix)   /* convolutions */                                                            \
    S(attention_matrix)                                                                            \
    S(peak_matrix) /* the speed of the device's matrix units */

typedef enum {
#define GPU_SHADER_ENUM(name) GPU_SHADER_##name,
    GPU_SHADERS(GPU_SHADER_ENUM) GPU_DOT_SHADERS(GPU_SHADER_ENUM) GPU_FIRST_MATRIX_SHADER,
    GPU_LAST_OTHER_SHADER = GPU_FIRST_MATRIX_SHADER - 1,
    GPU_MATRIX_SHADERS(GPU_SHADER_ENUM)
#undef GPU_SHADER_ENUM
        GPU_SHADER_COUNT
} gpu_shader;

typedef struct {
    const char *name;
    const uint32_t *words; /* SPIR-V */
    size_t size;           /* bytes */
} gpu_shader_code;

extern const gpu_shader_code gpu_shaders[GPU_SHADER_COUNT];

#endif
