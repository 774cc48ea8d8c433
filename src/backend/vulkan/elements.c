/* Operations on rows and on single elements, and checks. */
#include "backend/vulkan/operations.h"

#include <stdio.h>

/* Workgroups for n rows: no more than a device may limit them to; the shaders loop over the rest.
 */
static uint32_t row_groups(size_t n)
{
    return (uint32_t)(n < 65535 ? n : 65535);
}

void gpu_norm(zi_exec *base, const zi_norm_args *a)
{
    gpu_exec *exec = gpu_exec_of(base);
    struct {
        uint64_t x, y, weight, scale, gate;
        uint32_t rows, D;
        float eps;
        uint32_t unused;
    } push = {.x = gpu_address(a->x),
              .y = gpu_address(a->y),
              .weight = gpu_vector(exec, a->weight),
              .scale = gpu_address(a->scale),
              .gate = gpu_address(a->gate),
              .rows = (uint32_t)a->x.rows,
              .D = (uint32_t)a->x.columns,
              .eps = a->eps};
    uint32_t constants[] = {a->x.columns > 256 ? 256 : 64, (uint32_t)a->kind};
    if (exec->forced)
        constants[0] = exec->forced->constants[0];
    else if (!gpu_usable(exec, GPU_SHADER_norm, constants, 2))
        constants[0] = constants[0] == 64 ? 256 : 64;
    gpu_range ranges[] = {gpu_reads(a->x), gpu_reads(a->scale), gpu_reads(a->gate),
                          gpu_writes(a->y)};
    gpu_work work = {.push = &push, .push_size = sizeof push, .ranges = ranges, .range_count = 4};
    if (!a->x.rows) return;
    gpu_spread(a->x.rows, work.groups);
    gpu_dispatch(exec, GPU_SHADER_norm, constants, 2, &work);
}

void gpu_rope(zi_exec *base, const zi_rope_args *a)
{
    struct {
        uint64_t x, cosines, sines;
        uint32_t rows, heads, dim, interleaved, sine_stride, cosine_stride;
    } push = {.x = gpu_address(a->x),
              .cosines = gpu_address(a->cosines),
              .sines = gpu_address(a->sines),
              .rows = (uint32_t)a->x.rows,
              .heads = (uint32_t)a->heads,
              .dim = (uint32_t)a->dim,
              .interleaved = a->interleaved,
              .sine_stride = (uint32_t)a->sines.stride,
              .cosine_stride = (uint32_t)a->cosines.stride};
    gpu_range ranges[] = {gpu_writes(a->x), gpu_reads(a->cosines), gpu_reads(a->sines)};
    gpu_work work = {
        .push = &push,
        .push_size = sizeof push,
        .groups = {(uint32_t)gpu_div_up(a->heads * (a->dim / 2), 64), row_groups(a->x.rows), 1},
        .ranges = ranges,
        .range_count = 3};
    if (a->x.rows) gpu_dispatch(gpu_exec_of(base), GPU_SHADER_rope, NULL, 0, &work);
}

void gpu_elementwise(zi_exec *base, zi_elementwise_kind kind, zi_view x, zi_view y, float a,
                     float b)
{
    if (zi_view_contiguous(x) && (!y.buffer || zi_view_contiguous(y)) && x.rows > 1 &&
        x.columns < 4096) { /* rows too short to share out */
        size_t elements = x.rows * x.columns;
        size_t columns = elements % 4096 ? x.columns : 4096;
        x = zi_view_reshape(x, elements / columns, columns);
        if (y.buffer) y = zi_view_reshape(y, elements / columns, columns);
    }
    struct {
        uint64_t x, y;
        uint32_t rows, columns, x_stride, y_stride;
        float a, b;
    } push = {gpu_address(x),
              gpu_address(y),
              (uint32_t)x.rows,
              (uint32_t)x.columns,
              (uint32_t)x.stride,
              (uint32_t)y.stride,
              a,
              b};
    const uint32_t constant = (uint32_t)kind;
    gpu_range ranges[] = {gpu_writes(x), gpu_reads(y)};
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)gpu_div_up(x.columns, 256), row_groups(x.rows), 1},
                     .ranges = ranges,
                     .range_count = 2};
    if (x.rows && x.columns)
        gpu_dispatch(gpu_exec_of(base), GPU_SHADER_elementwise, &constant, 1, &work);
}

/* The stretch of memory from the first to the last element of a box; an empty one for a weight. */
static gpu_range box_range(zi_view view, const zi_permute_args *a, const size_t *strides,
                           bool write)
{
    uint64_t begin = gpu_address(view), last = 0;
    if (!begin) return (gpu_range){0};
    for (int d = 0; d < a->dims; d++) last += (a->extents[d] - 1) * strides[d];
    return (gpu_range){begin, begin + (last + 1) * sizeof(float), write};
}

void gpu_permute(zi_exec *base, const zi_permute_args *a)
{
    gpu_exec *exec = gpu_exec_of(base);
    struct {
        uint64_t from, to;
        uint32_t extents[5], from_strides[5], to_strides[5], count;
    } push = {.from = gpu_weight(exec, a->from), .to = gpu_address(a->to)};
    size_t count = 1;
    int offset = ZI_PERMUTE_DIMS - a->dims;
    for (int d = 0; d < ZI_PERMUTE_DIMS; d++) {
        bool real = d >= offset;
        push.extents[d] = real ? (uint32_t)a->extents[d - offset] : 1;
        push.from_strides[d] = real ? (uint32_t)a->from_strides[d - offset] : 0;
        push.to_strides[d] = real ? (uint32_t)a->to_strides[d - offset] : 0;
        count *= push.extents[d];
    }
    push.count = (uint32_t)count;
    if (!count) return;
    gpu_range ranges[] = {box_range(a->from, a, a->from_strides, false),
                          box_range(a->to, a, a->to_strides, true)};
    gpu_work work = {.push = &push, .push_size = sizeof push, .ranges = ranges, .range_count = 2};
    gpu_spread(gpu_div_up(count, 256), work.groups);
    gpu_dispatch(exec, GPU_SHADER_permute, NULL, 0, &work);
}

/* ---- checks ---- */

/* Returns the number of the flag for checks of this name, the same one for every step; when there
 * are too many, the last one is for all others. */
static size_t flag_of(gpu_exec *exec, const char *name)
{
    size_t i = 0;
    char text[sizeof *exec->checks];
    snprintf(text, sizeof text, "%s", name);
    while (i < exec->check_count && strcmp(exec->checks[i], text) != 0) i++;
    if (i == GPU_MAX_CHECKS) return i - 1;
    if (i == exec->check_count) memcpy(exec->checks[exec->check_count++], text, sizeof text);
    return i;
}

void gpu_check_finite(zi_exec *base, zi_view x, const char *name)
{
    gpu_exec *exec = gpu_exec_of(base);
    struct {
        uint64_t x, flag;
        uint32_t rows, columns, stride, unused;
    } push = {.x = gpu_address(x),
              .flag = exec->flags.address + flag_of(exec, name) * sizeof(uint32_t),
              .rows = (uint32_t)x.rows,
              .columns = (uint32_t)x.columns,
              .stride = (uint32_t)x.stride};
    const uint32_t words = x.type == ZI_F64 ? 2 : 1;
    gpu_range range = gpu_reads(x);
    size_t groups = gpu_div_up(x.columns, 1024);
    gpu_work work = {.push = &push,
                     .push_size = sizeof push,
                     .groups = {(uint32_t)(groups < 256 ? groups : 256),
                                (uint32_t)(x.rows < 256 ? x.rows : 256), 1},
                     .ranges = &range,
                     .range_count = 1};
    if (x.rows && x.columns) gpu_dispatch(exec, GPU_SHADER_check, &words, 1, &work);
}

void gpu_check_moments(zi_exec *exec, zi_view moments, size_t channels, const char *name)
{
    moments.type = ZI_F32;
    gpu_check_finite(exec, zi_view_reshape(moments, 1, 2 * channels), name);
}
