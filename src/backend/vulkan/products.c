/* Which shader computes a product, and with tiles of which size. */
#include "backend/vulkan/operations.h"

enum { THREADS = 256, DEPTH = 32 }; /* as the shaders have them */

/* Best first: the first row is taken that the device has, and that gives enough workgroups to keep
 * it busy. The last row of each kind takes all products. */
static const struct {
    int kind;               /* as in gpu_tiling */
    uint32_t rows, columns; /* of a tile */
    uint32_t least_tiles;
} tilings[] = {
    {GPU_MATRICES, 128, 128, 96}, {GPU_MATRICES, 128, 64, 96}, {GPU_MATRICES, 64, 64, 0},
    {GPU_DOTS, 128, 128, 96},     {GPU_DOTS, 64, 64, 0},       {GPU_FLOATS, 128, 128, 96},
    {GPU_FLOATS, 64, 64, 0},
};

/* Shares a tile out among the subgroups of a workgroup: sets the size of each one's part, as square
 * as it can be, of whole matrices. False: that cannot be. */
static bool share_out(const gpu_matrix *matrix, uint32_t rows, uint32_t columns, uint32_t part[2])
{
    uint32_t count = THREADS / matrix->subgroup;
    part[0] = rows;
    part[1] = columns;
    for (; count > 1; count /= 2) {
        bool halve_rows =
            part[0] >= part[1] ? part[0] % (2 * matrix->m) == 0 : part[1] % (2 * matrix->n) != 0;
        part[halve_rows ? 0 : 1] /= 2;
    }
    return part[0] && part[1] && part[0] % matrix->m == 0 && part[1] % matrix->n == 0;
}

/* Whether a device can compute tiles of this size with its matrices. */
static bool has_tiling(const gpu_capabilities *c, uint32_t rows, uint32_t columns)
{
    uint32_t part[2];
    if (!c->matrix.m || !share_out(&c->matrix, rows, columns, part)) return false;
    size_t operands = (size_t)(rows + columns) * (DEPTH + 8) * 2;
    size_t results = (size_t)THREADS / c->matrix.subgroup * c->matrix.m * c->matrix.n * 4;
    size_t exponents = (rows / c->matrix.m + columns / c->matrix.n) * sizeof(int32_t);
    return operands + results + exponents <= c->properties.limits.maxComputeSharedMemorySize;
}

gpu_tiling gpu_tiling_choose(const gpu_capabilities *capabilities, const gpu_product *product)
{
    gpu_tiling t = {0};
    for (size_t i = 0; i < sizeof tilings / sizeof *tilings; i++) {
        size_t tiles = gpu_div_up(product->rows, tilings[i].rows) *
                       gpu_div_up(product->columns, tilings[i].columns);
        if (tiles < tilings[i].least_tiles || (product->smallest && tilings[i].least_tiles))
            continue;
        if (tilings[i].kind == GPU_MATRICES &&
            (!product->matrices || !has_tiling(capabilities, tilings[i].rows, tilings[i].columns)))
            continue;
        if (tilings[i].kind == GPU_DOTS && !product->dots) continue;
        t = (gpu_tiling){tilings[i].kind, tilings[i].rows, tilings[i].columns, (uint32_t)tiles};
        break;
    }
    return t;
}

size_t gpu_pass_rows(const gpu_tiling *tiling, size_t rows, size_t room)
{
    size_t passes = gpu_div_up(rows, room);
    size_t each = gpu_div_up(gpu_div_up(rows, passes), tiling->rows) * tiling->rows;
    return each < room ? each : room;
}

bool gpu_tiling_forced(const gpu_exec *exec, gpu_tiling *tiling)
{
    const gpu_pipeline *p = exec->forced;
    if (!p) return false;
    bool matrices = p->shader == GPU_SHADER_linear_matrix || p->shader == GPU_SHADER_conv_matrix;
    bool dots = p->shader == GPU_SHADER_linear_dots;
    uint32_t side = 16 * p->constants[GPU_WEIGHT_CONSTANTS];
    if (matrices)
        *tiling = (gpu_tiling){GPU_MATRICES, p->constants[GPU_MATRIX_FIRST + 3],
                               p->constants[GPU_MATRIX_FIRST + 4], 0};
    else if (dots || p->shader == GPU_SHADER_linear)
        *tiling = (gpu_tiling){dots ? GPU_DOTS : GPU_FLOATS, side, side, 0};
    else
        *tiling = (gpu_tiling){0};
    return matrices || dots || p->shader == GPU_SHADER_linear ||
           p->shader == GPU_SHADER_linear_few || p->shader == GPU_SHADER_conv;
}

uint64_t gpu_matrix_cost(const gpu_tiling *tiling, size_t depth)
{
    const uint64_t speed = 8; /* of matrix units, about, compared with f32 */
    return (uint64_t)tiling->rows * tiling->columns * depth / speed;
}

void gpu_matrix_constants(const gpu_capabilities *capabilities, const gpu_tiling *tiling, bool wide,
                          uint32_t constants[GPU_MATRIX_CONSTANTS])
{
    const gpu_matrix *m = &capabilities->matrix;
    uint32_t part[2];
    share_out(m, tiling->rows, tiling->columns, part);
    const uint32_t own[] = {m->m,    m->n,    m->k, tiling->rows, tiling->columns,
                            part[0], part[1], wide};
    memcpy(constants + GPU_MATRIX_FIRST, own, sizeof own);
}
