/* The matrix product behind every linear layer. The input is packed (or quantized) once into panels
 * of a tile's height. A task then owns a block of the output: it packs a slice of the weights to
 * panels that stay in its cache, and runs its rows over them. */
#include "base/blocks.h"
#include "backend/cpu/internal.h"

enum {
    BLOCK_N = 64,          /* columns of a task */
    BLOCK_BYTES = 4096,    /* of a column packed at once: the block stays in the second cache */
    BLOCK_K = BLOCK_BYTES, /* most values in them */
};

/* The pack format of panels: dense f32, or quantized groups. A unit of depth is one value per row,
 * or one group. */
typedef struct {
    bool integer;
    size_t mr, nr, unit;
    size_t a_bytes, b_bytes; /* of a panel, per unit */
    size_t depth;            /* of the weights packed at once, a multiple of every group */
} pack_format;

typedef struct {
    cpu_exec *exec;
    const float *x; /* [T, K] */
    const zi_matrix *w;
    const float *bias;
    float *y; /* [T, N] */
    size_t T, column_blocks, rows_per_task;
    pack_format panels;
} linear_job;

/* Values of w that the integer kernels take as a group, 32 or 64; groups of 128 and rows of I8 are
 * split into groups of 64 with the same scale, and groups of floats (E2M1, E4M3) are rounded to
 * bytes with one scale (zi_codes_to_bytes). 0: they do not support w, such as floats, blocks with
 * groups of 16 (Q2_K, Q3_K, Q6_K), or blocks with a factor. */
static size_t group_unit(const zi_matrix *w)
{
    if (w->bits && w->codes == ZI_CODES_INTEGER) return smaller(w->group, ZI_MAX_GROUP);
    if ((w->bits || w->type == ZI_I8) && w->columns % ZI_MAX_GROUP == 0) return ZI_MAX_GROUP;
    if (w->bits) return w->columns % 32 == 0 ? 32 : 0;
    size_t group = zi_block_group(w->type);
    return group == 32 && !w->row_scale ? group : 0;
}

/* Integer panels if the session is fast and the integer kernels support w, otherwise f32 panels. */
static pack_format choose_pack_format(const cpu_exec *exec, const zi_matrix *w)
{
    const zi_kernels *k = exec->kernels;
    size_t unit = group_unit(w);
    if (!unit || !exec->base.fast)
        return (pack_format){false, k->mr, k->nr, 1, k->mr * 4, k->nr * 4, BLOCK_BYTES / 4};
    return (pack_format){true,
                         k->qmr,
                         k->qnr,
                         unit,
                         zi_qa_bytes(k, unit),
                         zi_qb_bytes(k, unit),
                         BLOCK_BYTES / k->q_width};
}

/* Floats of scratch memory for one slice of depth of nr rows, which are widened to f32 before they
 * are packed. */
static size_t widened_floats(size_t nr)
{
    return nr * (BLOCK_BYTES / 4);
}

/* Floats for a thread: one panel of widened rows, and the packed weights of a task. Before
 * that, the same memory holds a tile of rotated input (pack_rotated_tile). */
size_t linear_scratch(const zi_kernels *kernels)
{
    size_t nr = kernels->nr > kernels->qnr ? kernels->nr : kernels->qnr;
    return widened_floats(nr) + round_up(BLOCK_N, nr) * (BLOCK_BYTES / 4 + BLOCK_K / 32 * 2);
}

enum { ROTATED_TILE = ZI_MAX_MR * ZI_MAX_ROTATION }; /* floats, at most */
_Static_assert(ROTATED_TILE <= BLOCK_N * (BLOCK_BYTES / 4 + BLOCK_K / 32 * 2),
               "a thread's scratch memory has room for a tile of rotated input");

size_t linear_packed(const zi_kernels *kernels, size_t depth)
{
    size_t mr = kernels->mr > kernels->qmr ? kernels->mr : kernels->qmr;
    return (MAX_ROWS + mr) * depth;
}

/* ---- the input ---- */

/* The panel of packed input (borrowed) that begins with row `row` of the job's x, a multiple of mr,
 * at depth 0. */
static char *input_panel(const linear_job *job, size_t row)
{
    const pack_format *p = &job->panels;
    return (char *)job->exec->packed + row / p->mr * (job->w->columns / p->unit) * p->a_bytes;
}

/* A row_fn: packs tiles [begin, end) of the job's x, mr rows each of all columns (fewer at the
 * end), into panels, or quantizes them if the panels are of integers. */
static void pack_input(const void *context, size_t begin, size_t end)
{
    const linear_job *job = context;
    const zi_kernels *kernels = job->exec->kernels;
    size_t K = job->w->columns, mr = job->panels.mr;
    for (size_t tile = begin; tile < end; tile++) {
        size_t row = tile * mr, rows = smaller(mr, job->T - row);
        void *panel = input_panel(job, row);
        if (job->panels.integer)
            kernels->quantize(job->x + row * K, K, rows, K, job->panels.unit, panel);
        else
            kernels->pack_a(job->x + row * K, K, rows, K, panel);
    }
}

/* Packs tile `tile` of the job's x as pack_input does, but rotated as w is: a stretch of columns at
 * a time is copied to rows [mr, stretch], which has room for ZI_MAX_ROTATION values per row. */
static void pack_rotated_tile(const linear_job *job, size_t tile, float *rows)
{
    const zi_kernels *kernels = job->exec->kernels;
    const pack_format *p = &job->panels;
    size_t K = job->w->columns, rotation = job->w->rotation, row = tile * p->mr;
    size_t n = smaller(p->mr, job->T - row), stretch = rotation > p->unit ? rotation : p->unit;
    for (size_t begin = 0; begin < K; begin += stretch) {
        char *panel = input_panel(job, row) + begin / p->unit * p->a_bytes;
        for (size_t i = 0; i < n; i++)
            memcpy(rows + i * stretch, job->x + (row + i) * K + begin, stretch * sizeof *rows);
        zi_rotate(rows, n * stretch, rotation);
        if (p->integer)
            kernels->quantize(rows, stretch, n, stretch, p->unit, panel);
        else
            kernels->pack_a(rows, stretch, n, stretch, (float *)(void *)panel);
    }
}

enum { TILES = 4 }; /* tiles of input that a task packs */

/* A pool task: packs TILES tiles of the job's x, fewer at the end, rotated, with the worker's
 * scratch memory. */
static void pack_rotated_task(void *context, size_t task, size_t worker)
{
    const linear_job *job = context;
    size_t tiles = (job->T + job->panels.mr - 1) / job->panels.mr;
    for (size_t tile = task * TILES; tile < smaller((task + 1) * TILES, tiles); tile++)
        pack_rotated_tile(job, tile, worker_scratch(job->exec, worker));
}

/* ---- the weights ---- */

/* Scales and biases of some rows of w, by group of the columns that are packed at once. Only groups
 * of 32 and more have biases. */
typedef struct {
    float scales[BLOCK_K / 16][ZI_MAX_NR], biases[BLOCK_K / 32][ZI_MAX_NR];
} group_table;

/* Sets *out to scales and biases (if there are any), as f32, of rows [row, row + n) of w, which is
 * in groups, for the groups that columns [depth, depth + k) belong to; group 0 of it is that of
 * column `depth`. n is at most ZI_MAX_NR, k BLOCK_K. */
static void read_scales(const zi_matrix *w, size_t row, size_t n, size_t depth, size_t k,
                        group_table *out)
{
    size_t first = depth / w->group, groups = (depth + k + w->group - 1) / w->group - first;
    float scales[BLOCK_K / 16], biases[BLOCK_K / 32];
    for (size_t j = 0; j < n; j++) {
        zi_matrix_scales(w, row + j, first, groups, scales, w->biases ? biases : NULL);
        for (size_t g = 0; g < groups; g++) out->scales[g][j] = scales[g];
        for (size_t g = 0; w->biases && g < groups; g++) out->biases[g][j] = biases[g];
    }
}

/* Returns the codes [n, unit] of rows [row, row + n) of w, which is in groups, from `column` on, as
 * bytes, and sets *stride to their row stride. unit: group_unit(w), which divides column. Integers
 * of 8 bits are borrowed from w, other codes unpacked to spread [n, unit]. */
static const uint8_t *read_group_values(const zi_matrix *w, size_t row, size_t n, size_t column,
                                        uint8_t *spread, size_t *stride)
{
    size_t unit = group_unit(w), bytes = zi_matrix_row_bytes(w);
    const uint8_t *first = (const uint8_t *)w->data + row * bytes;
    *stride = bytes;
    if (w->bits == 8 && w->codes == ZI_CODES_INTEGER) return first + column;
    for (size_t j = 0; j < n; j++)
        zi_codes_unpack(w->codes, w->bits, first + j * bytes, column, unit, spread + j * unit);
    *stride = unit;
    return spread;
}

/* Rounds the unpacked floats q [n, unit] of n rows to bytes in place, with a scale and a bias for
 * each row: scales and biases [n]. table: scales of their groups from number g on. */
static void round_floats(const zi_matrix *w, uint8_t *q, size_t n, size_t unit,
                         const group_table *table, size_t g, float *scales, float *biases)
{
    for (size_t j = 0; j < n; j++) {
        float parts[ZI_MAX_GROUP / 16];
        for (size_t i = 0; i < unit / w->group; i++) parts[i] = table->scales[g + i][j];
        zi_codes_to_bytes(w->codes, q + j * unit, unit, w->group, parts, &scales[j], &biases[j]);
    }
}

/* Packs rows [row, row + n), n <= nr, of w, which is in groups, k values each from column `depth`
 * on, into a panel of integers with their scales and biases; floats are rounded to bytes. Missing
 * rows are zero. depth and k are whole units. */
static void pack_groups(const linear_job *job, size_t row, size_t n, size_t depth, size_t k,
                        char *panel)
{
    const zi_matrix *w = job->w;
    size_t unit = job->panels.unit, stride;
    group_table table;
    uint8_t spread[ZI_MAX_NR * ZI_MAX_GROUP];
    float rounded[2][ZI_MAX_NR];
    read_scales(w, row, n, depth, k, &table);
    for (size_t p = 0; p < k; p += unit, panel += job->panels.b_bytes) {
        size_t g = (depth + p) / w->group - depth / w->group;
        const float *scales = rounded[0], *biases = rounded[1];
        const uint8_t *q = read_group_values(w, row, n, depth + p, spread, &stride);
        if (w->codes == ZI_CODES_INTEGER) {
            scales = table.scales[g];
            biases = table.biases[g];
        } else {
            round_floats(w, spread, n, unit, &table, g, rounded[0], rounded[1]);
        }
        job->exec->kernels->pack_group(q, stride, n, unit, scales, biases, panel);
    }
}

/* The factor that the values of a row are multiplied by; 1 where w has none. */
static float row_factor(const zi_matrix *w, size_t row)
{
    return w->row_scale ? w->row_scale[w->row_scales > 1 ? row : 0] : 1;
}

/* Reads `units` units of a row of I8 or of blocks, from `column` on: sets q [units, unit], scales
 * and biases [units] so that a value, the row's factor included, is q scale + bias. unit:
 * group_unit(w), which divides column. */
static void read_units(const zi_matrix *w, size_t row, size_t column, size_t units, size_t unit,
                       uint8_t *q, float *scales, float *biases)
{
    const uint8_t *data = (const uint8_t *)w->data + row * zi_dtype_bytes(w->type, w->columns);
    if (w->type != ZI_I8) {
        zi_blocks_read(w->type, data, column / unit, units, q, scales, biases);
        return;
    }
    for (size_t i = 0; i < units * unit; i++)
        q[i] = data[column + i] ^ 0x80; /* from signed to 128 and up */
    for (size_t u = 0; u < units; u++) {
        scales[u] = row_factor(w, row);
        biases[u] = -128 * scales[u];
    }
}

/* Packs rows [row, row + n) of w, n <= qnr, which is I8 or in blocks, k values each from column
 * `depth` on, factors included, into a panel of integers; missing rows are zero. depth and k are
 * whole units. */
static void pack_units(const linear_job *job, size_t row, size_t n, size_t depth, size_t k,
                       char *panel)
{
    enum { RUN = 256, UNITS = RUN / 32 }; /* values of a row that are unpacked at once */
    size_t unit = job->panels.unit;
    float scales[UNITS][ZI_MAX_NR], biases[UNITS][ZI_MAX_NR];
    uint8_t q[ZI_MAX_NR * RUN];
    for (size_t p = 0; p < k; p += RUN) {
        size_t units = smaller(RUN, k - p) / unit;
        for (size_t j = 0; j < n; j++) {
            float s[UNITS], b[UNITS];
            read_units(job->w, row + j, depth + p, units, unit, q + j * RUN, s, b);
            for (size_t u = 0; u < units; u++) scales[u][j] = s[u], biases[u][j] = b[u];
        }
        for (size_t u = 0; u < units; u++, panel += job->panels.b_bytes)
            job->exec->kernels->pack_group(q + u * unit, RUN, n, unit, scales[u], biases[u], panel);
    }
}

/* Packs rows [row, row + n) of w, n <= nr, k values each from column `depth` on, into a panel in
 * the job's format, as they are stored (w's rotation is that of the input); missing rows are zero.
 * plain: room for [nr, k], overwritten where f32 panels need values to be widened first. */
static void pack_weights(const linear_job *job, size_t row, size_t n, size_t depth, size_t k,
                         float *plain, char *panel)
{
    const zi_kernels *kernels = job->exec->kernels;
    const zi_matrix *w = job->w;
    if (job->panels.integer) {
        if (w->bits)
            pack_groups(job, row, n, depth, k, panel);
        else
            pack_units(job, row, n, depth, k, panel);
    } else if (w->bits || w->row_scale || !zi_dtype_computes(w->type)) {
        for (size_t j = 0; j < n; j++) zi_matrix_stored_values(w, row + j, depth, k, plain + j * k);
        kernels->pack_rows(ZI_F32, plain, k, n, k, kernels->nr, (float *)(void *)panel);
    } else {
        const char *source =
            (const char *)w->data + (row * w->columns + depth) * zi_dtype_size(w->type);
        kernels->pack_rows(w->type, source, w->columns, n, k, kernels->nr, (float *)(void *)panel);
    }
}

/* ---- the product ---- */

/* Computes the tile of y at (row, column), multiples of mr and nr, from columns [depth, depth + k)
 * of x and a panel of weights: overwrites it if depth is 0, otherwise adds to it. No bias; what
 * lies outside y is not written. */
static void compute_tile(const linear_job *job, const char *panel, size_t row, size_t column,
                         size_t depth, size_t k)
{
    const zi_kernels *kernels = job->exec->kernels;
    const pack_format *p = &job->panels;
    size_t N = job->w->rows;
    const char *input = input_panel(job, row) + depth / p->unit * p->a_bytes;
    edge_tile c;
    edge_tile_begin(&c, job->y + row * N + column, N, smaller(p->mr, job->T - row),
                    smaller(p->nr, N - column), p->mr, p->nr, depth > 0);
    if (p->integer)
        kernels->qtile(k / p->unit, p->unit, input, panel, c.c, c.ldc, depth > 0);
    else
        kernels->tile(k, (const float *)(const void *)input, (const float *)(const void *)panel,
                      c.c, c.ldc, depth > 0);
    edge_tile_end(&c);
}

/* Adds job->bias (not NULL) to rows [row0, row1), columns [column0, column1) of y. */
static void add_bias(const linear_job *job, size_t row0, size_t row1, size_t column0,
                     size_t column1)
{
    size_t N = job->w->rows;
    for (size_t i = row0; i < row1; i++)
        for (size_t j = column0; j < column1; j++) job->y[i * N + j] += job->bias[j];
}

/* Computes, with bias if there is one, BLOCK_N columns of y, block task % column_blocks, of
 * rows_per_task rows, block task / column_blocks; both fewer at the end. Packs the weights for them
 * into the worker's scratch memory, a slice of depth at a time. */
static void linear_task(void *context, size_t task, size_t worker)
{
    const linear_job *job = context;
    const pack_format *p = &job->panels;
    size_t N = job->w->rows, K = job->w->columns;
    size_t column0 = task % job->column_blocks * BLOCK_N, column1 = smaller(column0 + BLOCK_N, N);
    size_t row0 = task / job->column_blocks * job->rows_per_task;
    size_t row1 = smaller(row0 + job->rows_per_task, job->T);
    float *plain = worker_scratch(job->exec, worker);
    char *panels = (char *)(plain + widened_floats(p->nr));

    for (size_t depth = 0; depth < K; depth += p->depth) {
        size_t k = smaller(p->depth, K - depth), bytes = k / p->unit * p->b_bytes;
        for (size_t j = column0; j < column1; j += p->nr)
            pack_weights(job, j, smaller(p->nr, column1 - j), depth, k, plain,
                         panels + (j - column0) / p->nr * bytes);
        for (size_t i = row0; i < row1; i += p->mr)
            for (size_t j = column0; j < column1; j += p->nr)
                compute_tile(job, panels + (j - column0) / p->nr * bytes, i, j, depth, k);
    }
    if (job->bias) add_bias(job, row0, row1, column0, column1);
}

/* Computes y for all of the job's rows, at most MAX_ROWS: packs x into panels in exec->packed, then
 * multiplies block by block of columns. Sets column_blocks and rows_per_task. */
static void linear_chunk(linear_job *job)
{
    cpu_exec *exec = job->exec;
    size_t mr = job->panels.mr, T = job->T;
    size_t tiles = (T + mr - 1) / mr;
    if (job->w->rotation)
        zi_pool_run(exec->pool, (tiles + TILES - 1) / TILES, pack_rotated_task, job);
    else
        run_rows(exec, tiles, TILES, pack_input, job);
    job->column_blocks = (job->w->rows + BLOCK_N - 1) / BLOCK_N;
    /* Few columns (a small model) leave threads idle: split the rows, too, but keep enough of them
     * together to pay for the packing. */
    size_t wanted = 8 * zi_pool_threads(exec->pool);
    size_t splits = job->column_blocks < wanted ? wanted / job->column_blocks : 1;
    size_t min_rows = round_up(64, mr), rows = round_up((T + splits - 1) / splits, mr);
    job->rows_per_task = rows < min_rows ? min_rows : rows;
    size_t row_blocks = (T + job->rows_per_task - 1) / job->rows_per_task;
    zi_pool_run(exec->pool, job->column_blocks * row_blocks, linear_task, job);
}

/* y [T, N] = x [T, K] w^T + bias (NULL: none), without gaps between rows. Up to FEW_ROWS rows that
 * do not take integer panels go to matvec; others are computed in chunks of at most MAX_ROWS
 * rows. */
static void multiply_matrices(cpu_exec *exec, const float *x, size_t T, const zi_matrix *w,
                              const float *bias, float *y)
{
    if (T <= FEW_ROWS && !choose_pack_format(exec, w).integer) {
        if (w->rotation) {
            x = memcpy(exec->packed, x, T * w->columns * sizeof *x);
            zi_rotate(exec->packed, T * w->columns, w->rotation);
        }
        matvec(exec, x, T, w, bias, y);
        return;
    }
    size_t chunks = (T + MAX_ROWS - 1) / MAX_ROWS, rows = (T + chunks - 1) / chunks;
    for (size_t begin = 0; begin < T; begin += rows) {
        linear_job job = {.exec = exec,
                          .x = x + begin * w->columns,
                          .w = w,
                          .bias = bias,
                          .y = y + begin * w->rows,
                          .T = smaller(rows, T - begin),
                          .panels = choose_pack_format(exec, w)};
        linear_chunk(&job);
    }
}

/* y [T, N] = x [T, K] w^T + bias [N] (NULL: none), f32, without gaps; with integer products if the
 * session is fast and the kernels have them for w (group_unit). In parallel; complete on return. */
void cpu_linear(zi_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias, zi_view y)
{
    zi_matrix matrix = cpu_matrix(w);
    multiply_matrices(exec_of(exec), floats_of(x), x.rows, &matrix, vector_of(bias), floats_of(y));
}

/* y [n, columns], whose rows may have gaps, = the rows of w with the numbers rows [n], from 0, as
 * f32, factors included; numbers must be in range, which is not checked. Runs in the calling
 * thread. */
void cpu_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n, zi_view y)
{
    zi_matrix matrix = cpu_matrix(w);
    (void)exec;
    for (size_t i = 0; i < n; i++)
        zi_matrix_row(&matrix, (size_t)rows[i], floats_of(zi_view_rows(y, i, 1)));
}
