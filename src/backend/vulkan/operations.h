/* The operations of the Vulkan backend, and parts of them. */
#ifndef ZI_BACKEND_VULKAN_OPERATIONS_H
#define ZI_BACKEND_VULKAN_OPERATIONS_H

#include "backend/vulkan/internal.h"

/* ---- operations, as zi_backend_ops has them ---- */

void gpu_plan(zi_exec *exec, zi_arena *arena, zi_exec_limits limits);
void gpu_linear(zi_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias, zi_view y);
void gpu_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n, zi_view y);
void gpu_attention(zi_exec *exec, const zi_attention_args *args);
void gpu_norm(zi_exec *exec, const zi_norm_args *args);
void gpu_rope(zi_exec *exec, const zi_rope_args *args);
void gpu_elementwise(zi_exec *exec, zi_elementwise_kind kind, zi_view x, zi_view y, float a,
                     float b);
void gpu_permute(zi_exec *exec, const zi_permute_args *args);
void gpu_conv3x3(zi_exec *exec, const zi_conv3x3_args *args);
size_t gpu_conv3x3_workspace(const zi_exec *exec, const zi_conv3x3_args *args);
void gpu_moments(zi_exec *exec, const zi_feature_map *map, zi_view moments);
void gpu_group_norm(zi_exec *exec, const zi_group_norm *norm, zi_view moments,
                    const zi_feature_map *map, zi_view y);
/* ---- parts of operations, which are checked apart ---- */

/* y [rows, columns], without gaps, = rows of a feature map of this stride, with coefficients (0:
 * none) and SiLU where asked for. */
void gpu_copy_map(gpu_exec *exec, zi_view x, size_t channels, zi_view coefficients, bool activate,
                  zi_view y);

/* coefficients [2, channels] = those of the norm of a map with these moments. */
void gpu_compute_coefficients(gpu_exec *exec, const zi_group_norm *norm, zi_view moments,
                              size_t channels, size_t pixels, zi_view coefficients);

/* to [out, taps, in] = the weight as f32. */
void gpu_order_weights(gpu_exec *exec, const zi_weight *w, size_t taps, zi_view to);

/* moments [channels, 2] = those of `parts` parts [parts, 3, channels]. */
void gpu_sum_moments(gpu_exec *exec, zi_view partials, size_t parts, size_t channels,
                     zi_view moments);

/* Makes exec->halves hold the rows of x, for which it has room; nothing is done if they are there.
 */
void gpu_narrow(gpu_exec *exec, zi_view x);

/* Makes exec->codes and exec->scales hold the rows of x, for which they have room; nothing is done
 * if they are there. */
void gpu_quantize(gpu_exec *exec, zi_view x);

/* Runs the loop of gpu_peak in workgroups of 256 invocations. Writes 0.75 to `out` if the factor is
 * 1/32 and there is one round. */
void gpu_run_loop(gpu_exec *exec, gpu_range out, uint32_t groups, uint32_t rounds, float factor);

/* Runs the loop of gpu_peak for matrix units, which the device has, in workgroups of 256
 * invocations. Writes `expected` to `out` if it is gpu_matrix_loop_result. */
void gpu_run_matrix_loop(gpu_exec *exec, gpu_range out, uint32_t groups, uint32_t rounds,
                         float expected);

/* The sum of the loop's products at one place, for matrices of depth k. */
float gpu_matrix_loop_result(uint32_t k, uint32_t rounds);

void gpu_check_finite(zi_exec *exec, zi_view x, const char *name);
void gpu_check_moments(zi_exec *exec, zi_view moments, size_t channels, const char *name);

double gpu_peak(zi_backend *backend, bool fast);

/* ---- weights of operations ---- */

/* The rows of a weight from its device memory, where it is for the submission that is recorded:
 * push constants and specialization constants that shaders/weights.glsl has. */
typedef struct {
    uint64_t data, scales, biases, factors;
    uint32_t rows, columns, row_bytes, groups, first_row, unused;
} gpu_weight_push;
enum { GPU_WEIGHT_CONSTANTS = 6 };
/* Flags of a weight, the last of these constants, as in shaders/weights.glsl. */
enum {
    GPU_HAS_BIASES = 1,
    GPU_SWIZZLED = 2,
    GPU_ONE_FACTOR = 4,
    GPU_ROW_FACTORS = 8,
    GPU_ALIGNED = 16
};
void gpu_describe_weight(gpu_exec *exec, const zi_weight *w, gpu_weight_push *push,
                         uint32_t constants[GPU_WEIGHT_CONSTANTS]);

/* ---- products.c ---- */

/* What the choice of a shader for a product depends on. */
typedef struct {
    size_t rows, columns; /* of the result */
    bool matrices;        /* f16 operands will do, and the depth suits them */
    bool smallest;        /* only the smallest tiles */
    bool dots;            /* x as codes of eight bits will do, and the weight has such codes */
} gpu_product;

/* How a product is computed: workgroups compute tiles of this size. */
typedef struct {
    enum {
        GPU_FLOATS,
        GPU_DOTS,
        GPU_MATRICES
    } kind; /* f32, integer dot products, or cooperative
               matrices */
    uint32_t rows, columns, tiles;
} gpu_tiling;

/* Chooses how a product of many rows is computed on a device, by a table. */
gpu_tiling gpu_tiling_choose(const gpu_capabilities *capabilities, const gpu_product *product);

/* Fills in the constants that shaders/matrix.glsl has for such a tiling. wide: the second operand
 * may have values that f16 does not have. */
enum { GPU_MATRIX_FIRST = 6, GPU_MATRIX_CONSTANTS = 14 };
void gpu_matrix_constants(const gpu_capabilities *capabilities, const gpu_tiling *tiling, bool wide,
                          uint32_t constants[GPU_MATRIX_CONSTANTS]);

/* Rows of each pass of a product, of whole tiles and about as many in each: at most `room`. */
size_t gpu_pass_rows(const gpu_tiling *tiling, size_t rows, size_t room);

/* Sets the tiling of the pipeline of a self-check, if that computes products or convolutions; else
 * the result is false. */
bool gpu_tiling_forced(const gpu_exec *exec, gpu_tiling *tiling);

/* The cost of a workgroup with matrices, see gpu_work. */
uint64_t gpu_matrix_cost(const gpu_tiling *tiling, size_t depth);

/* ---- linear.c and dots.c ---- */

/* y = x w^T + bias; w is not rotated, or x is rotated likewise. */
typedef struct {
    zi_view x, y;
    const zi_weight *w;
    gpu_weight_push push;
    uint64_t bias;
    uint32_t constants[GPU_MATRIX_CONSTANTS]; /* of which those of the weight are set */
} gpu_linear_product;

/* Whether the rows of x are in exec->halves or exec->codes already. If not, notes that they are
 * now: the caller converts them. */
bool gpu_is_converted(gpu_exec *exec, zi_view x);

/* Takes scratch memory for products of such depth, if the session computes with dot products. */
void gpu_dots_plan(gpu_exec *exec, zi_arena *arena, size_t depth);

/* Whether the session can compute products with this weight with integer dot products. */
bool gpu_dots_suit(const gpu_exec *exec, const zi_weight *w);

/* Whether the shaders for it are right on this device. Sets the constants. */
bool gpu_dots_usable(gpu_exec *exec, const gpu_tiling *tiling, gpu_linear_product *p);

/* Computes a product so. */
void gpu_multiply_dots(gpu_exec *exec, const gpu_tiling *tiling, gpu_linear_product *p);

#endif
