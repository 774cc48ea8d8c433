/* Products with weights, and rows of weights. */
#include "backend/vulkan/internal.h"

enum {
    FEW = 8,              /* rows of x up to which the weight is read once for every four of them */
    ROTATED_ROWS = 256,   /* rows of x that are rotated at a time */
    NARROWED_ROWS = 2048, /* of the greatest depth: rows of x that are f16 at a time */
    MOST_NARROWED = 16384, /* of any depth */
    NARROWED_DEPTH = 32    /* what their depth is a multiple of */
};

/* As shaders/weights.glsl numbers them. */
enum { HAS_BIASES = 1, SWIZZLED = 2, ONE_FACTOR = 4, ROW_FACTORS = 8, ALIGNED = 16 };
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
    if (gpu_address(w->data) % 8 == 0 && bytes % 8 == 0 && w->data.columns % 8 == 0)
        flags |= ALIGNED;
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

/* y = x w^T + bias for a few rows of x. */
static void multiply_few(gpu_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias,
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
    gpu_spread(w->data.rows, work.groups);
    work.groups[2] = (uint32_t)gpu_div_up(x.rows, 4);
    gpu_dispatch(exec, GPU_SHADER_linear_few, constants, GPU_WEIGHT_CONSTANTS, &work);
}

/* y = x w^T + bias in f32. */
static void multiply_floats(gpu_exec *exec, const gpu_tiling *tiling, zi_view x, const zi_weight *w,
                            const zi_weight *bias, zi_view y)
{
    uint32_t constants[GPU_WEIGHT_CONSTANTS + 1];
    linear_push push = {
        .x = gpu_address(x), .bias = gpu_vector(bias), .y = gpu_address(y), .T = (uint32_t)x.rows};
    gpu_range ranges[] = {gpu_reads(x), gpu_writes(y)};
    gpu_work work = {.push = &push,
                     .push_size = offsetof(linear_push, unused),
                     .groups = {(uint32_t)gpu_div_up(w->data.rows, tiling->columns),
                                (uint32_t)gpu_div_up(x.rows, tiling->rows), 1},
                     .ranges = ranges,
                     .range_count = 2};
    gpu_describe_weight(w, &push.w, constants);
    constants[GPU_WEIGHT_CONSTANTS] = tiling->rows / 16;
    gpu_dispatch(exec, GPU_SHADER_linear, constants, GPU_WEIGHT_CONSTANTS + 1, &work);
}

/* ---- products with cooperative matrices ---- */

/* Elements of a row of x as f16. */
static size_t padded(size_t columns)
{
    return gpu_div_up(columns, NARROWED_DEPTH) * NARROWED_DEPTH;
}

/* Makes exec->halves hold the rows of x; nothing is done if they are there. */
static void narrow(gpu_exec *exec, zi_view x)
{
    gpu_range from = gpu_reads(x);
    if (exec->narrowed.begin == from.begin && exec->narrowed.end == from.end &&
        exec->narrowed_columns == x.columns)
        return;
    struct {
        uint64_t x, y, exponents;
        uint32_t rows, columns, padded, unused;
    } push = {.x = from.begin,
              .y = gpu_address(exec->halves),
              .exponents = gpu_address(exec->exponents),
              .rows = (uint32_t)x.rows,
              .columns = (uint32_t)x.columns,
              .padded = (uint32_t)padded(x.columns)};
    gpu_range ranges[] = {from, gpu_writes(exec->halves), gpu_writes(exec->exponents)};
    gpu_work work = {.push = &push, .push_size = sizeof push, .ranges = ranges, .range_count = 3};
    gpu_spread(x.rows, work.groups);
    gpu_dispatch(exec, GPU_SHADER_narrow, NULL, 0, &work);
    exec->narrowed = from;
    exec->narrowed_columns = x.columns;
}

/* Whether values of a weight, without the factors of load_factor, may be none of f16. */
static bool is_wide(const zi_weight *w)
{
    return w->bits || (w->data.type != ZI_F16 && w->data.type != ZI_I8 &&
                       w->data.type != ZI_F8_E4M3 && w->data.type != ZI_F8_E5M2);
}

/* y = x w^T + bias for as many rows of x as exec->halves has room for. */
static void multiply_matrices(gpu_exec *exec, const gpu_tiling *tiling, zi_view x,
                              const zi_weight *w, const zi_weight *bias, zi_view y)
{
    uint32_t constants[GPU_MATRIX_CONSTANTS];
    narrow(exec, x);
    struct {
        gpu_weight_push w;
        uint64_t x, exponents, bias, y;
        uint32_t T, padded;
    } push = {.x = gpu_address(exec->halves),
              .exponents = gpu_address(exec->exponents),
              .bias = gpu_vector(bias),
              .y = gpu_address(y),
              .T = (uint32_t)x.rows,
              .padded = (uint32_t)padded(x.columns)};
    gpu_range ranges[] = {gpu_reads(exec->halves), gpu_reads(exec->exponents), gpu_writes(y)};
    gpu_work work = {.push = &push, .push_size = sizeof push, .ranges = ranges, .range_count = 3};
    gpu_describe_weight(w, &push.w, constants);
    gpu_matrix_constants(&exec->gpu->capabilities, tiling, is_wide(w), constants);
    gpu_spread(gpu_div_up(x.rows, tiling->rows) * gpu_div_up(w->data.rows, tiling->columns),
               work.groups);
    gpu_dispatch(exec, GPU_SHADER_linear_matrix, constants, GPU_MATRIX_CONSTANTS, &work);
}

/* Rows of x that exec->halves has room for. */
static size_t narrowed_rows(const gpu_exec *exec, size_t columns)
{
    size_t room = exec->halves.columns / (2 * padded(columns));
    return room < exec->exponents.columns ? room : exec->exponents.columns;
}

/* ---- all products ---- */

/* y = x w^T + bias; w is not rotated, or x is rotated likewise. */
static void multiply(gpu_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias,
                     zi_view y)
{
    size_t room = exec->halves.buffer ? narrowed_rows(exec, x.columns) : 0;
    gpu_product product = {x.rows, w->data.rows, exec->base.fast && room > 0};
    if (x.rows <= FEW) {
        multiply_few(exec, x, w, bias, y);
        return;
    }
    gpu_tiling tiling = gpu_tiling_choose(&exec->gpu->capabilities, &product);
    if (!tiling.matrices) {
        multiply_floats(exec, &tiling, x, w, bias, y);
        return;
    }
    /* Passes of about as many rows each, whole tiles. */
    size_t passes = gpu_div_up(x.rows, room);
    size_t rows = gpu_div_up(gpu_div_up(x.rows, passes), tiling.rows) * tiling.rows;
    if (rows > room) rows = room;
    for (size_t row = 0; row < x.rows; row += rows) {
        size_t n = x.rows - row < rows ? x.rows - row : rows;
        multiply_matrices(exec, &tiling, zi_view_rows(x, row, n), w, bias, zi_view_rows(y, row, n));
    }
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
    exec->narrowed = (gpu_range){0};
    exec->rotated = zi_arena_floats(arena, 1, ROTATED_ROWS * limits.depth);
    exec->partials = zi_arena_floats(arena, 1, GPU_MOMENT_PARTS * 3 * (size_t)ZI_MAX_CHANNELS);
    exec->halves = exec->exponents = (zi_view){0};
    if (!exec->base.fast || !exec->gpu->capabilities.matrix.m) return;
    exec->halves =
        zi_arena_take(arena, ZI_U8, 1, 2 * NARROWED_ROWS * padded(limits.depth) + GPU_ALIGNMENT);
    exec->halves.offset += gpu_gap(exec->halves);
    exec->halves.columns -= GPU_ALIGNMENT;
    exec->exponents = zi_arena_floats(arena, 1, MOST_NARROWED);
}
