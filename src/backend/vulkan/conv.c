/* Convolutions and group norms of feature maps.
 *
 * Results may take the place of the input. So the input of a band of rows is copied to the
 * workspace first, with norm and SiLU, and only then are the band's results written. A band keeps
 * the two rows that the next one needs from it. */
#include "backend/vulkan/operations.h"

enum { TAPS = 9, TILE = 64, BLOCK_ROWS = 4, MATRIX_DEPTH = 32 };

/* ---- parts ---- */

void gpu_copy_map(gpu_exec *exec, zi_view x, size_t channels, zi_view coefficients, bool activate,
                  zi_view y)
{
    struct {
        uint64_t x, y, coefficients;
        uint32_t columns, stride, channels, unused;
    } push = {.x = gpu_address(x),
              .y = gpu_address(y),
              .coefficients = gpu_address(coefficients),
              .columns = (uint32_t)x.columns,
              .stride = (uint32_t)x.stride,
              .channels = (uint32_t)channels};
    const uint32_t constant = activate;
    gpu_range ranges[] = {gpu_reads(x), gpu_reads(coefficients), gpu_writes(y)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(x.columns, 256), (uint32_t)x.rows, 1},
                     .ranges = ranges,
                     .range_count = 3};
    if (x.rows) gpu_dispatch(exec, GPU_SHADER_copy_map, &constant, 1, &work);
}

void gpu_compute_coefficients(gpu_exec *exec, const zi_group_norm *norm, zi_view moments,
                              size_t channels, size_t pixels, zi_view coefficients)
{
    struct {
        uint64_t moments, weight, bias, coefficients;
        uint32_t channels, groups;
        float pixels, eps;
    } push = {.moments = gpu_address(moments),
              .weight = gpu_vector(exec, norm->weight),
              .bias = gpu_vector(exec, norm->bias),
              .coefficients = gpu_address(coefficients),
              .channels = (uint32_t)channels,
              .groups = (uint32_t)norm->groups,
              .pixels = (float)pixels,
              .eps = norm->eps};
    gpu_range ranges[] = {gpu_reads(moments), gpu_writes(coefficients)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(norm->groups, 32), 1, 1},
                     .ranges = ranges,
                     .range_count = 2};
    gpu_dispatch(exec, GPU_SHADER_group_norm_coefficients, NULL, 0, &work);
}

void gpu_order_weights(gpu_exec *exec, const zi_weight *w, size_t taps, zi_view to)
{
    uint32_t constants[GPU_WEIGHT_CONSTANTS];
    struct {
        gpu_weight_push w;
        uint64_t y;
        uint32_t taps, nhwc;
    } push = {.y = gpu_address(to), .taps = (uint32_t)taps, .nhwc = w->nhwc};
    gpu_range range = gpu_writes(to);
    gpu_work work = {
        .push = &push,
        .push_size = sizeof push,
        .groups = {(uint32_t)gpu_div_up(w->data.columns, 512), (uint32_t)w->data.rows, 1},
        .ranges = &range,
        .range_count = 1};
    gpu_describe_weight(exec, w, &push.w, constants);
    gpu_dispatch(exec, GPU_SHADER_conv_weights, constants, GPU_WEIGHT_CONSTANTS, &work);
}

/* A product of a band: rows [first, first + rows) of y from rows of x without gaps, of which the
 * first one is number x_first of the map. */
typedef struct {
    zi_view x, w;
    const zi_weight *bias;
    zi_feature_map y;
    size_t taps, in, first, rows;
    int x_first;
    bool doubled, add;
} product;

/* Whether a product is computed with cooperative matrices; sets the tiling and constants for them.
 */
static bool choose_matrices(gpu_exec *exec, const product *p, gpu_tiling *tiling,
                            uint32_t constants[GPU_MATRIX_CONSTANTS])
{
    const gpu_capabilities *c = &exec->gpu->capabilities;
    uint32_t own[GPU_MATRIX_CONSTANTS] = {(uint32_t)p->taps};
    gpu_product shape = {.rows = p->rows * p->y.width,
                         .columns = p->y.channels,
                         .matrices = exec->base.fast && p->in % MATRIX_DEPTH == 0};
    bool forced = exec->forced && exec->forced->constants[0] == p->taps &&
                  gpu_tiling_forced(exec, tiling),
         usable = forced && tiling->kind == GPU_MATRICES;
    for (int attempt = 0; !usable && !forced && shape.matrices && attempt < 2; attempt++) {
        shape.smallest = attempt;
        *tiling = gpu_tiling_choose(c, &shape);
        if (tiling->kind != GPU_MATRICES) break;
        gpu_matrix_constants(c, tiling, true, own);
        usable = gpu_usable(exec, GPU_SHADER_conv_matrix, own, GPU_MATRIX_CONSTANTS);
    }
    if (!usable) return false;
    gpu_matrix_constants(c, tiling, true, own);
    memcpy(constants, own, sizeof own);
    return true;
}

static void convolve(gpu_exec *exec, const product *p)
{
    zi_view y = zi_view_rows(p->y.view, p->first, p->rows);
    struct {
        uint64_t x, w, bias, y;
        uint32_t width, height, first, rows;
        int32_t x_first;
        uint32_t doubled, in, out, y_stride, add;
    } push = {.x = gpu_address(p->x),
              .w = gpu_address(p->w),
              .bias = gpu_vector(exec, p->bias),
              .y = gpu_address(y),
              .width = (uint32_t)p->y.width,
              .height = (uint32_t)p->y.view.rows,
              .first = (uint32_t)p->first,
              .rows = (uint32_t)p->rows,
              .x_first = p->x_first,
              .doubled = p->doubled,
              .in = (uint32_t)p->in,
              .out = (uint32_t)p->y.channels,
              .y_stride = (uint32_t)p->y.view.stride,
              .add = p->add};
    uint32_t constants[GPU_MATRIX_CONSTANTS] = {(uint32_t)p->taps};
    gpu_range ranges[] = {gpu_reads(p->x), gpu_reads(p->w), gpu_writes(y)};
    gpu_work work = {.push = &push, .push_size = sizeof push, .ranges = ranges, .range_count = 3};
    gpu_tiling tiling;
    if (choose_matrices(exec, p, &tiling, constants)) {
        gpu_spread(gpu_div_up(p->rows * p->y.width, tiling.rows) *
                       gpu_div_up(p->y.channels, tiling.columns),
                   work.groups);
        work.cost = gpu_matrix_cost(&tiling, p->taps * p->in);
        work.axis = 1;
        gpu_dispatch(exec, GPU_SHADER_conv_matrix, constants, GPU_MATRIX_CONSTANTS, &work);
        return;
    }
    work.groups[0] = (uint32_t)gpu_div_up(p->rows * p->y.width, TILE);
    work.groups[1] = (uint32_t)gpu_div_up(p->y.channels, TILE);
    work.groups[2] = 1;
    work.cost = (uint64_t)TILE * TILE * p->taps * p->in;
    work.axis = 1;
    gpu_dispatch(exec, GPU_SHADER_conv, constants, 1, &work);
}

/* ---- convolutions ---- */

/* What lies in the workspace of a convolution. */
typedef struct {
    size_t band;          /* rows of x, at least two */
    zi_view coefficients; /* [2, in] */
    zi_view weights;      /* [out, 9 * in] */
    zi_view side_weights; /* [out, in] */
    zi_view rows;         /* [band + 2, width * in]: what the 3x3 convolution reads */
    zi_view raw;          /* [band, width * in]: what the shortcut reads */
} workspace;

static workspace take_workspace(const gpu_exec *exec, const zi_conv3x3_args *a, zi_arena *arena)
{
    size_t in = a->x.channels, out = a->y.channels, row = a->x.width * in;
    size_t band = exec->band_bytes / (row * sizeof(float));
    if (a->band) band = a->doubled ? a->band * BLOCK_ROWS / 2 : a->band * BLOCK_ROWS;
    if (band > a->x.view.rows) band = a->x.view.rows;
    if (band < 2) band = 2;
    workspace w = {.band = band};
    w.coefficients = zi_arena_floats(arena, 2, in);
    w.weights = zi_arena_floats(arena, out, TAPS * in);
    w.rows = zi_arena_floats(arena, band + 2, row);
    if (!a->shortcut) return w;
    w.side_weights = zi_arena_floats(arena, out, in);
    w.raw = zi_arena_floats(arena, band, row);
    return w;
}

size_t gpu_conv3x3_workspace(const zi_exec *exec, const zi_conv3x3_args *args)
{
    zi_arena arena = zi_arena_measure();
    zi_conv3x3_args a = *args;
    a.x.channels = a.weight->data.columns / TAPS;
    a.y.channels = a.weight->data.rows;
    take_workspace((const gpu_exec *)exec, &a, &arena);
    return arena.overflow ? SIZE_MAX : arena.peak + GPU_ALIGNMENT;
}

/* Makes w->rows hold rows [first - 1, end] of x, as far as there are any: two of them are there
 * from the band before. */
static void load_band(gpu_exec *exec, const zi_conv3x3_args *a, const workspace *w, size_t first,
                      size_t end)
{
    size_t from = first ? first + 1 : 0, to = end < a->x.view.rows ? end + 1 : end;
    zi_view coefficients = a->norm ? w->coefficients : (zi_view){0};
    if (first)
        gpu_copy_map(exec, zi_view_rows(w->rows, w->band, 2), a->x.channels, (zi_view){0}, false,
                     zi_view_rows(w->rows, 0, 2));
    if (to > from)
        gpu_copy_map(exec, zi_view_rows(a->x.view, from, to - from), a->x.channels, coefficients,
                     a->norm != NULL, zi_view_rows(w->rows, from + 1 - first, to - from));
}

/* Computes the results of rows [first, end) of x. */
static void run_band(gpu_exec *exec, const zi_conv3x3_args *a, const workspace *w, size_t first,
                     size_t end)
{
    size_t times = a->doubled ? 2 : 1;
    product p = {.x = w->rows,
                 .w = w->weights,
                 .bias = a->bias,
                 .y = a->y,
                 .taps = TAPS,
                 .in = a->x.channels,
                 .first = first * times,
                 .rows = (end - first) * times,
                 .x_first = (int)first - 1,
                 .doubled = a->doubled,
                 .add = a->add};
    load_band(exec, a, w, first, end);
    if (a->shortcut)
        gpu_copy_map(exec, zi_view_rows(a->x.view, first, end - first), a->x.channels, (zi_view){0},
                     false, zi_view_rows(w->raw, 0, end - first));
    convolve(exec, &p);
    if (!a->shortcut) return;
    p.x = w->raw;
    p.x_first = (int)first;
    p.w = w->side_weights;
    p.bias = a->shortcut_bias;
    p.y = a->side;
    p.taps = 1;
    p.add = false;
    convolve(exec, &p);
}

void gpu_conv3x3(zi_exec *base, const zi_conv3x3_args *a)
{
    gpu_exec *exec = gpu_exec_of(base);
    zi_view aligned = a->workspace;
    aligned.offset += gpu_gap(aligned);
    aligned.columns -= GPU_ALIGNMENT;
    zi_arena arena = zi_arena_within(aligned);
    workspace w = take_workspace(exec, a, &arena);
    size_t H = a->x.view.rows;
    if (a->norm)
        gpu_compute_coefficients(exec, a->norm, a->moments, a->x.channels, H * a->x.width,
                                 w.coefficients);
    gpu_order_weights(exec, a->weight, TAPS, w.weights);
    if (a->shortcut) gpu_order_weights(exec, a->shortcut, 1, w.side_weights);
    for (size_t first = 0; first < H; first += w.band)
        run_band(exec, a, &w, first, first + w.band < H ? first + w.band : H);
    if (a->moments.buffer) gpu_moments(base, &a->y, a->moments);
}

/* ---- group norms ---- */

void gpu_sum_moments(gpu_exec *exec, zi_view partials, size_t parts, size_t channels,
                     zi_view moments)
{
    struct {
        uint64_t partials, moments;
        uint32_t parts, channels;
    } push = {gpu_address(partials), gpu_address(moments), (uint32_t)parts, (uint32_t)channels};
    gpu_range ranges[] = {gpu_reads(partials), gpu_writes(moments)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(channels, 32), 1, 1},
                     .ranges = ranges,
                     .range_count = 2};
    gpu_dispatch(exec, GPU_SHADER_moments_sum, NULL, 0, &work);
}

void gpu_moments(zi_exec *base, const zi_feature_map *map, zi_view moments)
{
    gpu_exec *exec = gpu_exec_of(base);
    size_t rows = gpu_div_up(map->view.rows, GPU_MOMENT_PARTS);
    size_t parts = gpu_div_up(map->view.rows, rows);
    struct {
        uint64_t x, partials;
        uint32_t height, width, channels, stride, rows, unused;
    } push = {.x = gpu_address(map->view),
              .partials = gpu_address(exec->partials),
              .height = (uint32_t)map->view.rows,
              .width = (uint32_t)map->width,
              .channels = (uint32_t)map->channels,
              .stride = (uint32_t)map->view.stride,
              .rows = (uint32_t)rows};
    gpu_range ranges[] = {gpu_reads(map->view), gpu_writes(exec->partials)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(map->channels, 32), (uint32_t)parts, 1},
                     .ranges = ranges,
                     .range_count = 2};
    gpu_dispatch(exec, GPU_SHADER_moments, NULL, 0, &work);
    gpu_sum_moments(exec, exec->partials, parts, map->channels, moments);
}

void gpu_group_norm(zi_exec *base, const zi_group_norm *norm, zi_view moments,
                    const zi_feature_map *map, zi_view y)
{
    gpu_exec *exec = gpu_exec_of(base);
    /* The sums of parts are not needed any more when the coefficients are computed. */
    zi_view coefficients =
        zi_view_reshape(zi_view_columns(exec->partials, 0, 2 * map->channels), 2, map->channels);
    gpu_compute_coefficients(exec, norm, moments, map->channels, map->view.rows * map->width,
                             coefficients);
    gpu_copy_map(exec, map->view, map->channels, coefficients, false,
                 zi_view_reshape(y, map->view.rows, map->width * map->channels));
}
