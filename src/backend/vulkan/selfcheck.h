/* The two sides of a self-check, and the cases that run on them. */
#ifndef ZI_BACKEND_VULKAN_SELFCHECK_H
#define ZI_BACKEND_VULKAN_SELFCHECK_H

#include "backend/vulkan/operations.h"

enum { GPU_CHECK_DEPTH = 256 }; /* most columns of a weight */

/* One of the two sides of a check. */
typedef struct {
    bool device;
    zi_backend *backend;
    zi_exec *exec;
    zi_buffer *memory;
    gpu_buffer own; /* the device's memory */
    zi_arena arena;
    size_t shift;    /* bytes by which the next tensor's address is not aligned */
    uint32_t random; /* state of the generator */
    bool short_of_memory;
    zi_error *error;
} gpu_side;

/* A case: computes on its side with a pipeline's constants, and returns the result. */
typedef zi_view gpu_case_fn(gpu_side *side, const uint32_t *constants);

/* A view with random values in [least, least + 2). */
zi_view gpu_check_values(gpu_side *s, size_t rows, size_t columns, float least);

/* The cases of narrow and quantize. */
zi_view gpu_check_narrow(gpu_side *s);
zi_view gpu_check_quantize(gpu_side *s);

extern gpu_case_fn *const gpu_cases[GPU_SHADER_COUNT];

#endif
