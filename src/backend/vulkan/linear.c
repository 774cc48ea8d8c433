/* Products with weights, and rows of weights. */
#include "backend/vulkan/internal.h"

enum {
    FEW = 8,           /* rows of x up to which the weight is read once for every four of them */
    ROTATED_ROWS = 256 /* rows of x that are rotated at a time */
};

/* As shaders/weights.glsl numbers them. */
enum { HAS_BIASES = 1, SWIZZLED = 2, ONE_FACTOR = 4, ROW_FACTORS = 8 };
_Static_assert(ZI_F32 == 0 && ZI_F16 == 1 && ZI_BF16 == 2 && ZI_F8_E4M3 == 4 && ZI_F8_E5M2 == 5 &&
                   ZI_F8_E8M0 == 6 && ZI_I8 == 7 && ZI_Q4_0 == 16 && ZI_Q2_K == 21 &&
                   ZI_IQ4_NL == 26 && ZI_IQ4_XS == 27 && ZI_CODES_E4M3 == 3,
               "weights.glsl numbers them otherwise");

void gpu_describe_weight(const zi_weight *w, gpu_weight_push *push,
                         uint32_t constants[GPU_WEIGHT_CONSTANTS])
{
    size_t columns = w->padded_columns ? w->padded_columns : w->data.columns;
    size_t bytes = w->bits ? columns * (size_t)w->bits / 8 : zi_dtype_bytes(w->data.type, columns);
    uint32_t flags = (w->biases.buffer ? HAS_BIASES : 0) | (w->swizzled ? SWIZZLED : 0);
    if (w->factors.buffer) flags |= w->factors.columns > 1 ? ROW_FACTORS : ONE_FACTOR;
    *push = (gpu_weight_push){.data = gpu_address(w->data),
                              .scales = gpu_address(w->scales),
                              .biases = gpu_address(w->biases),
                              .factors = gpu_address(w->factors),
                              .rows = (uint32_t)w->data.rows,
                              .columns = (uint32_t)w->data.columns,
                              .row_bytes = (uint32_t)bytes,
                              .groups = w->bits ? (uint32_t)(columns / w->group) : 0,
                              .first_row = (uint32_t)w->first_row};
    constants[0] = w->bits ? 0 : (uint32_t)w->data.type;
    constants[1] = (uint32_t)w->bits;
    constants[2] = (uint32_t)w->codes;
    constants[3] = w->bits ? (uint32_t)w->group : 32;
    constants[4] = (uint32_t)w->scales.type;
    constants[5] = flags;
}

/* ---- products ---- */

typedef struct {
    gpu_weight_push w;
    uint64_t x, bias, y;
    uint32_t T, unused;
} linear_push;

/* Whether a product of so many rows is computed by linear_few: for a few rows, or if linear
 * computes wrong values on this device. */
static bool wants_few(gpu_exec *exec, size_t rows, const uint32_t *constants)
{
    if (exec->forced) return exec->forced->shader == GPU_SHADER_linear_few;
    gpu_shader wanted = rows <= FEW ? GPU_SHADER_linear_few : GPU_SHADER_linear;
    return (rows <= FEW) == gpu_usable(exec, wanted, constants, GPU_WEIGHT_CONSTANTS);
}

/* y = x w^T + bias; w is not rotated, or x is rotated likewise. */
static void multiply(gpu_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias,
                     zi_view y)
{
    uint32_t constants[GPU_WEIGHT_CONSTANTS];
    linear_push push = {
        .x = gpu_address(x), .bias = gpu_vector(bias), .y = gpu_address(y), .T = (uint32_t)x.rows};
    gpu_range ranges[] = {gpu_reads(x), gpu_writes(y)};
    gpu_work work = {.push = &push,
                     .push_size = offsetof(linear_push, unused),
                     .ranges = ranges,
                     .range_count = 2};
    gpu_describe_weight(w, &push.w, constants);
    bool few = wants_few(exec, x.rows, constants);
    if (few) {
        gpu_spread(w->data.rows, work.groups);
        work.groups[2] = (uint32_t)gpu_div_up(x.rows, 4);
        work.cost = 4 * w->data.columns;
        work.axis = 3;
    } else {
        work.cost = 64 * 64 * w->data.columns;
        work.axis = 2;
        work.groups[0] = (uint32_t)gpu_div_up(w->data.rows, 64);
        work.groups[1] = (uint32_t)gpu_div_up(x.rows, 64);
        work.groups[2] = 1;
    }
    gpu_dispatch(exec, few ? GPU_SHADER_linear_few : GPU_SHADER_linear, constants,
                 GPU_WEIGHT_CONSTANTS, &work);
}

/* to = from with each run of `size` values rotated; they may be the same. */
static void rotate(gpu_exec *exec, zi_view from, zi_view to, size_t size)
{
    struct {
        uint64_t x, y;
        uint32_t runs, size;
    } push = {gpu_address(from), gpu_address(to), (uint32_t)(from.rows * from.columns / size),
              (uint32_t)size};
    gpu_range ranges[] = {gpu_reads(from), gpu_writes(to)};
    gpu_work work = {.push = &push, .push_size = sizeof push, .ranges = ranges, .range_count = 2};
    gpu_spread(push.runs, work.groups);
    gpu_dispatch(exec, GPU_SHADER_rotate, NULL, 0, &work);
}

void gpu_linear(zi_exec *base, zi_view x, const zi_weight *w, const zi_weight *bias, zi_view y)
{
    gpu_exec *exec = gpu_exec_of(base);
    if (!x.rows) return;
    if (!w->rotation) {
        multiply(exec, x, w, bias, y);
        return;
    }
    for (size_t row = 0; row < x.rows; row += ROTATED_ROWS) {
        size_t rows = x.rows - row < ROTATED_ROWS ? x.rows - row : ROTATED_ROWS;
        zi_view rotated = zi_view_columns(exec->rotated, 0, rows * x.columns);
        rotated = zi_view_reshape(rotated, rows, x.columns);
        rotate(exec, zi_view_rows(x, row, rows), rotated, w->rotation);
        multiply(exec, rotated, w, bias, zi_view_rows(y, row, rows));
    }
}

/* ---- rows ---- */

void gpu_embed(zi_exec *base, const zi_weight *w, const int32_t *rows, size_t n, zi_view y)
{
    gpu_exec *exec = gpu_exec_of(base);
    uint32_t constants[GPU_WEIGHT_CONSTANTS];
    struct {
        gpu_weight_push w;
        uint64_t rows, y;
        uint32_t n, unused;
    } push = {.y = gpu_address(y), .n = (uint32_t)n};
    if (!n) return;
    push.rows = gpu_stage(exec, rows, n * sizeof *rows, NULL, NULL);
    if (!push.rows) return;
    gpu_describe_weight(w, &push.w, constants);
    gpu_range range = gpu_writes(y);
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(w->data.columns, 512), (uint32_t)n, 1},
                     .ranges = &range,
                     .range_count = 1};
    gpu_dispatch(exec, GPU_SHADER_embed, constants, GPU_WEIGHT_CONSTANTS, &work);
    if (w->rotation) rotate(exec, y, y, w->rotation);
}

/* ---- scratch memory ---- */

void gpu_plan(zi_exec *base, zi_arena *arena, zi_exec_limits limits)
{
    gpu_exec *exec = gpu_exec_of(base);
    exec->rotated = zi_arena_floats(arena, 1, ROTATED_ROWS * limits.depth);
    exec->partials = zi_arena_floats(arena, 1, GPU_MOMENT_PARTS * 3 * (size_t)ZI_MAX_CHANNELS);
}
