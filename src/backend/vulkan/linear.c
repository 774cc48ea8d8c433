/* Products with weights, and rows of weights. */
#include "backend/vulkan/operations.h"
#include "base/text.h"

#include <stdlib.h>

enum {
    FEW = 8,              /* rows of x up to which the weight is read once for every four of them */
    ROTATED_ROWS = 256,   /* rows of x that are rotated at a time */
    NARROWED_ROWS = 2048, /* of the greatest depth: rows of x that are f16 at a time */
    MOST_NARROWED = 16384, /* of any depth */
    NARROWED_DEPTH = 32    /* what their depth is a multiple of */
};

/* Types as shaders/weights.glsl numbers them. */
_Static_assert(ZI_F32 == 0 && ZI_F16 == 1 && ZI_BF16 == 2 && ZI_F8_E4M3 == 4 && ZI_F8_E5M2 == 5 &&
                   ZI_F8_E8M0 == 6 && ZI_I8 == 7 && ZI_Q4_0 == 16 && ZI_Q2_K == 21 &&
                   ZI_IQ4_NL == 26 && ZI_IQ4_XS == 27 && ZI_CODES_E4M3 == 3,
               "weights.glsl numbers them otherwise");

/* Fails, in the session, if the driver cannot take all of a weight in one piece, or the shaders'
 * arithmetic of 31 bits cannot reach it: they count the elements of plain floats and the bytes of
 * all else. */
static void check_reach(gpu_exec *exec, const zi_weight *w, size_t row_bytes)
{
    bool floats = !w->bits && zi_dtype_block(w->data.type) == 1 && zi_dtype_size(w->data.type) > 1;
    size_t reach = w->data.rows * (floats ? w->data.columns : row_bytes);
    uint64_t bytes = (uint64_t)w->data.rows * row_bytes,
             most = exec->gpu->capabilities.max_allocation;
    uint64_t reached = floats ? (uint64_t)INT32_MAX * zi_dtype_size(w->data.type) : INT32_MAX;
    char size[32], limit[32];
    if ((reach > INT32_MAX || bytes > most) && !exec->failure.code)
        zi_error_set(&exec->failure, ZI_ERROR_UNSUPPORTED, w->name,
                     "this tensor has %s, and %s takes at most %s in one piece; choose another "
                     "precision, or compute with the processor",
                     zi_format_bytes(bytes, size), exec->gpu->capabilities.summary.name,
                     zi_format_bytes(most < reached ? most : reached, limit));
}

/* Sets how a weight lies in memory, but not where. */
static void describe_layout(const zi_weight *w, gpu_weight_push *push,
                            uint32_t constants[GPU_WEIGHT_CONSTANTS])
{
    size_t columns = w->padded_columns ? w->padded_columns : w->data.columns;
    size_t bytes = w->bits ? columns * (size_t)w->bits / 8 : zi_dtype_bytes(w->data.type, columns);
    uint32_t flags = (w->biases.buffer ? GPU_HAS_BIASES : 0) | (w->swizzled ? GPU_SWIZZLED : 0);
    if (w->factors.buffer) flags |= w->factors.columns > 1 ? GPU_ROW_FACTORS : GPU_ONE_FACTOR;
    *push = (gpu_weight_push){.rows = (uint32_t)w->data.rows,
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

void gpu_describe_weight(gpu_exec *exec, const zi_weight *w, gpu_weight_push *push,
                         uint32_t constants[GPU_WEIGHT_CONSTANTS])
{
    describe_layout(w, push, constants);
    check_reach(exec, w, push->row_bytes);
    push->data = gpu_weight(exec, w->data);
    push->scales = gpu_weight(exec, w->scales);
    push->biases = gpu_weight(exec, w->biases);
    push->factors = gpu_weight(exec, w->factors);
    if (push->data % 8 == 0 && push->row_bytes % 8 == 0 && push->columns % 8 == 0)
        constants[5] |= GPU_ALIGNED;
}

/* ---- products ---- */

typedef gpu_linear_product product;

/* Computes a product in f32: by linear with tiles of this size, or, if it has no rows, by
 * linear_few. */
static void multiply_floats(gpu_exec *exec, const gpu_tiling *tiling, product *p)
{
    struct {
        gpu_weight_push w;
        uint64_t x, bias, y;
        uint32_t T, unused;
    } push = {.w = p->push,
              .x = gpu_address(p->x),
              .bias = p->bias,
              .y = gpu_address(p->y),
              .T = (uint32_t)p->x.rows};
    gpu_range ranges[] = {gpu_reads(p->x), gpu_writes(p->y)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push - sizeof push.unused,
                     .ranges = ranges,
                     .range_count = 2};
    if (tiling->rows) {
        work.groups[0] = (uint32_t)gpu_div_up(p->w->data.rows, tiling->columns);
        work.groups[1] = (uint32_t)gpu_div_up(p->x.rows, tiling->rows);
        work.groups[2] = 1;
        work.cost = (uint64_t)tiling->rows * tiling->columns * p->w->data.columns;
        work.axis = 2;
        p->constants[GPU_WEIGHT_CONSTANTS] = tiling->rows / 16;
        gpu_dispatch(exec, GPU_SHADER_linear, p->constants, GPU_WEIGHT_CONSTANTS + 1, &work);
    } else {
        gpu_spread(p->w->data.rows, work.groups);
        work.groups[2] = (uint32_t)gpu_div_up(p->x.rows, 4);
        work.cost = 4 * p->w->data.columns;
        work.axis = 3;
        gpu_dispatch(exec, GPU_SHADER_linear_few, p->constants, GPU_WEIGHT_CONSTANTS, &work);
    }
}

/* ---- products with cooperative matrices ---- */

/* Elements of a row of x as f16. */
static size_t padded(size_t columns)
{
    return gpu_div_up(columns, NARROWED_DEPTH) * NARROWED_DEPTH;
}

bool gpu_is_converted(gpu_exec *exec, zi_view x)
{
    gpu_range from = gpu_reads(x);
    if (exec->narrowed.begin == from.begin && exec->narrowed.end == from.end &&
        exec->narrowed_columns == x.columns)
        return true;
    exec->narrowed = from;
    exec->narrowed_columns = x.columns;
    return false;
}

void gpu_narrow(gpu_exec *exec, zi_view x)
{
    gpu_range from = gpu_reads(x);
    if (gpu_is_converted(exec, x)) return;
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
}

/* Whether values of a weight, without the factors of load_factor, may be none of f16. */
static bool is_wide(const zi_weight *w)
{
    return w->bits || (w->data.type != ZI_F16 && w->data.type != ZI_I8 &&
                       w->data.type != ZI_F8_E4M3 && w->data.type != ZI_F8_E5M2);
}

/* Computes rows [row, row + n) of a product, for which exec->halves has room. */
static void multiply_matrices(gpu_exec *exec, const gpu_tiling *tiling, const product *p,
                              size_t row, size_t n)
{
    zi_view x = zi_view_rows(p->x, row, n), y = zi_view_rows(p->y, row, n);
    gpu_narrow(exec, x);
    struct {
        gpu_weight_push w;
        uint64_t x, exponents, bias, y;
        uint32_t T, padded;
    } push = {.w = p->push,
              .x = gpu_address(exec->halves),
              .exponents = gpu_address(exec->exponents),
              .bias = p->bias,
              .y = gpu_address(y),
              .T = (uint32_t)x.rows,
              .padded = (uint32_t)padded(x.columns)};
    gpu_range ranges[] = {gpu_reads(exec->halves), gpu_reads(exec->exponents), gpu_writes(y)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .ranges = ranges,
                     .range_count = 3,
                     .cost = gpu_matrix_cost(tiling, push.padded),
                     .axis = 1};
    gpu_spread(gpu_div_up(x.rows, tiling->rows) * gpu_div_up(p->w->data.rows, tiling->columns),
               work.groups);
    gpu_dispatch(exec, GPU_SHADER_linear_matrix, p->constants, GPU_MATRIX_CONSTANTS, &work);
}

/* Rows of x that exec->halves has room for. */
static size_t narrowed_rows(const gpu_exec *exec, size_t columns)
{
    size_t room = exec->halves.columns / (2 * padded(columns));
    return room < exec->exponents.columns ? room : exec->exponents.columns;
}

/* Computes a product in passes of about as many rows each, whole tiles. */
static void multiply_passes(gpu_exec *exec, const gpu_tiling *tiling, const product *p)
{
    size_t rows = gpu_pass_rows(tiling, p->x.rows, narrowed_rows(exec, p->x.columns));
    for (size_t row = 0; row < p->x.rows; row += rows)
        multiply_matrices(exec, tiling, p, row, p->x.rows - row < rows ? p->x.rows - row : rows);
}

/* ---- the choice ---- */

/* Whether a product can be computed so: the shader is right on this device. Sets its constants. */
static bool is_usable(gpu_exec *exec, const gpu_tiling *tiling, product *p)
{
    if (!tiling->rows)
        return gpu_usable(exec, GPU_SHADER_linear_few, p->constants, GPU_WEIGHT_CONSTANTS);
    if (tiling->kind == GPU_MATRICES) {
        gpu_matrix_constants(&exec->gpu->capabilities, tiling, is_wide(p->w), p->constants);
        return gpu_usable(exec, GPU_SHADER_narrow, NULL, 0) &&
               gpu_usable(exec, GPU_SHADER_linear_matrix, p->constants, GPU_MATRIX_CONSTANTS);
    }
    if (tiling->kind == GPU_DOTS) return gpu_dots_usable(exec, tiling, p);
    p->constants[GPU_WEIGHT_CONSTANTS] = tiling->rows / 16;
    return gpu_usable(exec, GPU_SHADER_linear, p->constants, GPU_WEIGHT_CONSTANTS + 1);
}

/* Chooses how a product is computed: linear_few, a tiling without rows, for a few rows, or where
 * all other shaders compute wrong values on this device. */
static gpu_tiling choose_tiling(gpu_exec *exec, product *p)
{
    const gpu_capabilities *c = &exec->gpu->capabilities;
    size_t room = exec->halves.buffer ? narrowed_rows(exec, p->x.columns) : 0;
    gpu_product shape = {.rows = p->x.rows,
                         .columns = p->w->data.rows,
                         .matrices = exec->base.fast && room > 0,
                         .dots = gpu_dots_suit(exec, p->w)};
    gpu_tiling tiling = {0};
    if (gpu_tiling_forced(exec, &tiling) || (p->x.rows <= FEW && is_usable(exec, &tiling, p)))
        return tiling;
    for (int attempt = 0; attempt < 4; attempt++) {
        shape.matrices = shape.matrices && attempt < 2;
        shape.dots = shape.dots && attempt < 2;
        shape.smallest = attempt % 2;
        tiling = gpu_tiling_choose(c, &shape);
        if (is_usable(exec, &tiling, p)) return tiling;
    }
    return (gpu_tiling){0};
}

/* y = x w^T + bias; w is not rotated, or x is rotated likewise. */
static void multiply(gpu_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias,
                     zi_view y)
{
    product p = {.x = x, .y = y, .w = w, .bias = gpu_vector(exec, bias)};
    gpu_describe_weight(exec, w, &p.push, p.constants);
    gpu_tiling tiling = choose_tiling(exec, &p);
    if (tiling.kind == GPU_MATRICES) {
        gpu_matrix_constants(&exec->gpu->capabilities, &tiling, is_wide(w), p.constants);
        multiply_passes(exec, &tiling, &p);
    } else if (tiling.kind == GPU_DOTS) {
        gpu_multiply_dots(exec, &tiling, &p);
    } else {
        memset(p.constants + GPU_WEIGHT_CONSTANTS, 0,
               sizeof p.constants - GPU_WEIGHT_CONSTANTS * sizeof *p.constants);
        multiply_floats(exec, &tiling, &p);
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

/* Copies rows of a weight, which is imported, from host memory for the submission that is recorded;
 * row_bytes: of one of them. Returns their device address; 0: there are none, or memory is short,
 * which is kept in the session. */
static uint64_t gather(gpu_exec *exec, zi_view from, size_t row_bytes, const int32_t *rows,
                       size_t n)
{
    const gpu_buffer *buffer = (const gpu_buffer *)from.buffer;
    if (!buffer || exec->failure.code) return 0;
    unsigned char *copy = malloc(n * row_bytes);
    if (!copy) {
        zi_error_no_memory(&exec->failure, n * row_bytes);
        return 0;
    }
    const unsigned char *data = (const unsigned char *)buffer->data + from.offset;
    for (size_t i = 0; i < n; i++)
        memcpy(copy + i * row_bytes, data + (size_t)rows[i] * row_bytes, row_bytes);
    uint64_t address = gpu_stage(exec, copy, n * row_bytes, NULL);
    free(copy);
    return address;
}

/* Replaces a weight's addresses by those of a copy of some of its rows, and numbers [n] by those of
 * the rows in the copy. So a table of embeddings needs no device memory. */
static void gather_rows(gpu_exec *exec, const zi_weight *w, int32_t *rows, size_t n,
                        gpu_weight_push *push)
{
    size_t scales = push->groups * zi_dtype_size(w->scales.type);
    push->data = gather(exec, w->data, push->row_bytes, rows, n);
    push->scales = gather(exec, w->scales, scales, rows, n);
    push->biases = gather(exec, w->biases, scales, rows, n);
    if (!w->bits && w->factors.columns > 1)
        push->factors = gather(exec, w->factors, sizeof(float), rows, n);
    else
        push->factors = gpu_weight(exec, w->factors);
    push->rows = (uint32_t)n;
    for (size_t i = 0; i < n; i++) rows[i] = (int32_t)i;
}

/* As zi_embed, with row numbers that may be changed. */
static void embed(gpu_exec *exec, const zi_weight *w, int32_t *rows, size_t n, zi_view y)
{
    uint32_t constants[GPU_WEIGHT_CONSTANTS];
    struct {
        gpu_weight_push w;
        uint64_t rows, y;
        uint32_t n, unused;
    } push = {.y = gpu_address(y), .n = (uint32_t)n};
    describe_layout(w, &push.w, constants);
    bool imported = ((const gpu_buffer *)w->data.buffer)->group != NULL;
    if (w->swizzled || !imported) /* a row's scales are not in one place, or not in the host's */
        gpu_describe_weight(exec, w, &push.w, constants);
    else
        gather_rows(exec, w, rows, n, &push.w);
    push.rows = gpu_stage(exec, rows, n * sizeof *rows, NULL);
    if (!push.rows) return;
    gpu_range range = gpu_writes(y);
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(w->data.columns, 512), (uint32_t)n, 1},
                     .ranges = &range,
                     .range_count = 1};
    gpu_dispatch(exec, GPU_SHADER_embed, constants, GPU_WEIGHT_CONSTANTS, &work);
    if (w->rotation) rotate(exec, y, y, w->rotation);
}

void gpu_embed(zi_exec *base, const zi_weight *w, const int32_t *rows, size_t n, zi_view y)
{
    gpu_exec *exec = gpu_exec_of(base);
    if (!n) return;
    int32_t *numbers = malloc(n * sizeof *numbers);
    if (numbers) {
        memcpy(numbers, rows, n * sizeof *numbers);
        embed(exec, w, numbers, n, y);
    } else if (!exec->failure.code) {
        zi_error_no_memory(&exec->failure, n * sizeof *numbers);
    }
    free(numbers);
}

/* ---- scratch memory ---- */

void gpu_plan(zi_exec *base, zi_arena *arena, zi_exec_limits limits)
{
    gpu_exec *exec = gpu_exec_of(base);
    gpu_reserve_layer(exec, limits.layer);
    exec->narrowed = (gpu_range){0};
    exec->rotated = zi_arena_floats(arena, 1, ROTATED_ROWS * limits.depth);
    exec->partials = zi_arena_floats(arena, 1, GPU_MOMENT_PARTS * 3 * (size_t)ZI_MAX_CHANNELS);
    exec->halves = exec->exponents = (zi_view){0};
    gpu_dots_plan(exec, arena, limits.depth);
    if (!exec->base.fast || !exec->gpu->capabilities.matrix.m) return;
    exec->halves =
        zi_arena_take(arena, ZI_U8, 1, 2 * NARROWED_ROWS * padded(limits.depth) + GPU_ALIGNMENT);
    exec->halves.offset += gpu_gap(exec->halves);
    exec->halves.columns -= GPU_ALIGNMENT;
    exec->exponents = zi_arena_floats(arena, 1, MOST_NARROWED);
}
