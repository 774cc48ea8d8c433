/* Products with integer dot products: whether a device has them, how it is opened with them, and
 * what is computed so.
 *
 * Each run of 32 values of a row of x becomes signed codes of eight bits with a scale, and a
 * weight's codes stay what they are. The products of a run are added as integers. */
#include "backend/vulkan/operations.h"

enum {
    RUN = 32,             /* as the shaders have it */
    QUANTIZED_ROWS = 2048 /* of the greatest depth: rows of x that are codes at a time */
};

/* ---- the device ---- */

#ifdef ZI_DOT_SHADERS

bool gpu_dots_find(const gpu_instance *instance, VkPhysicalDevice device, bool *out)
{
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dots = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR};
    VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR speed = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                       .pNext = &speed};
    gpu_features features;
    *out = false;
    if (!gpu_has_extension(instance, device, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME))
        return false;
    gpu_features_clear(&features);
    features.v12.pNext = &dots;
    instance->vk.GetPhysicalDeviceFeatures2(device, &features.all);
    instance->vk.GetPhysicalDeviceProperties2(device, &all);
    *out = dots.shaderIntegerDotProduct;
    return *out && speed.integerDotProduct4x8BitPackedSignedAccelerated;
}

void gpu_dots_request(gpu_dot_needs *needs, gpu_features *features)
{
    needs->dots = (VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
        .pNext = features->v12.pNext,
        .shaderIntegerDotProduct = VK_TRUE};
    features->v12.pNext = &needs->dots;
    needs->extension = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
}

#else

bool gpu_dots_find(const gpu_instance *instance, VkPhysicalDevice device, bool *out)
{
    (void)instance;
    (void)device;
    return *out = false;
}

void gpu_dots_request(gpu_dot_needs *needs, gpu_features *features)
{
    (void)needs;
    (void)features;
}

#endif

/* ---- rows of x ---- */

/* Elements of a row of x as codes. */
static size_t padded(size_t columns)
{
    return gpu_div_up(columns, RUN) * RUN;
}

void gpu_dots_plan(gpu_exec *exec, zi_arena *arena, size_t depth)
{
    exec->codes = exec->scales = (zi_view){0};
    if (!exec->base.fast || !exec->gpu->capabilities.dots) return;
    size_t codes = QUANTIZED_ROWS * padded(depth);
    exec->codes = zi_arena_take(arena, ZI_U8, 1, codes + GPU_ALIGNMENT);
    exec->codes.offset += gpu_gap(exec->codes);
    exec->codes.columns -= GPU_ALIGNMENT;
    exec->scales = zi_arena_floats(arena, 1, codes / RUN * 2 + GPU_ALIGNMENT / sizeof(float));
    exec->scales.offset += gpu_gap(exec->scales);
    exec->scales.columns -= GPU_ALIGNMENT / sizeof(float);
}

void gpu_quantize(gpu_exec *exec, zi_view x)
{
    gpu_range from = gpu_reads(x);
    if (gpu_is_converted(exec, x)) return;
    struct {
        uint64_t x, codes, scales;
        uint32_t rows, columns, padded, unused;
    } push = {.x = from.begin,
              .codes = gpu_address(exec->codes),
              .scales = gpu_address(exec->scales),
              .rows = (uint32_t)x.rows,
              .columns = (uint32_t)x.columns,
              .padded = (uint32_t)padded(x.columns)};
    gpu_range ranges[] = {from, gpu_writes(exec->codes), gpu_writes(exec->scales)};
    gpu_work work = {.push = &push, .push_size = sizeof push, .ranges = ranges, .range_count = 3};
    gpu_spread(x.rows, work.groups);
    gpu_dispatch(exec, GPU_SHADER_quantize, NULL, 0, &work);
}

/* ---- products ---- */

bool gpu_dots_suit(const gpu_exec *exec, const zi_weight *w)
{
    if (!exec->codes.buffer || padded(w->data.columns) > exec->codes.columns) return false;
    if (w->bits) return w->codes == ZI_CODES_INTEGER && w->group % RUN == 0;
    switch (w->data.type) {
    case ZI_I8:
    case ZI_Q4_0:
    case ZI_Q4_1:
    case ZI_Q5_0:
    case ZI_Q5_1:
    case ZI_Q8_0:
    case ZI_Q4_K:
    case ZI_Q5_K:
    case ZI_IQ4_NL:
    case ZI_IQ4_XS:
        return true;
    default: /* no integers, or scales for sixteen values */
        return false;
    }
}

/* Sets the constants of linear_dots that are not the weight's. */
static void set_constants(const gpu_tiling *tiling, gpu_linear_product *p)
{
    memset(p->constants + GPU_WEIGHT_CONSTANTS, 0,
           sizeof p->constants - GPU_WEIGHT_CONSTANTS * sizeof *p->constants);
    p->constants[GPU_WEIGHT_CONSTANTS] = tiling->rows / 16;
}

bool gpu_dots_usable(gpu_exec *exec, const gpu_tiling *tiling, gpu_linear_product *p)
{
    set_constants(tiling, p);
    return gpu_usable(exec, GPU_SHADER_quantize, NULL, 0) &&
           gpu_usable(exec, GPU_SHADER_linear_dots, p->constants, GPU_WEIGHT_CONSTANTS + 1);
}

/* Computes rows [row, row + n) of a product, for which exec->codes has room. */
static void multiply_rows(gpu_exec *exec, const gpu_tiling *tiling, const gpu_linear_product *p,
                          size_t row, size_t n)
{
    const uint64_t speed = 3; /* about, compared with f32 */
    zi_view x = zi_view_rows(p->x, row, n), y = zi_view_rows(p->y, row, n);
    gpu_quantize(exec, x);
    struct {
        gpu_weight_push w;
        uint64_t x, scales, bias, y;
        uint32_t T, padded;
    } push = {.w = p->push,
              .x = gpu_address(exec->codes),
              .scales = gpu_address(exec->scales),
              .bias = p->bias,
              .y = gpu_address(y),
              .T = (uint32_t)x.rows,
              .padded = (uint32_t)padded(x.columns)};
    gpu_range ranges[] = {gpu_reads(exec->codes), gpu_reads(exec->scales), gpu_writes(y)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(p->w->data.rows, tiling->columns),
                                (uint32_t)gpu_div_up(x.rows, tiling->rows), 1},
                     .ranges = ranges,
                     .range_count = 3,
                     .cost = (uint64_t)tiling->rows * tiling->columns * push.padded / speed,
                     .axis = 2};
    gpu_dispatch(exec, GPU_SHADER_linear_dots, p->constants, GPU_WEIGHT_CONSTANTS + 1, &work);
}

void gpu_multiply_dots(gpu_exec *exec, const gpu_tiling *tiling, gpu_linear_product *p)
{
    size_t rows = gpu_pass_rows(tiling, p->x.rows, exec->codes.columns / padded(p->x.columns));
    set_constants(tiling, p);
    for (size_t row = 0; row < p->x.rows; row += rows)
        multiply_rows(exec, tiling, p, row, p->x.rows - row < rows ? p->x.rows - row : rows);
}
