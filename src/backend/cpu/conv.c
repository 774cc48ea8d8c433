/* 3x3 convolution in Winograd's domain (winograd.c): a feature map is cut into tiles of 4x4
 * results, tiles into blocks. At each of 36 points a block's transformed inputs [tiles, in] are
 * multiplied by the transformed weights [in, out].
 *
 * The feature map is processed in bands of a few rows of blocks. First all inputs of a band are
 * normed, transformed and packed into panels; then its results are written, which may happen on top
 * of its inputs: later bands need but one row of those, which is kept. Blocks depend on the
 * feature map's size alone, so neither bands nor threads change a bit of the results. */
#include "backend/cpu/internal.h"

enum {
    TILE = 4,    /* results of a tile, a side */
    POINTS = 36, /* (TILE + 2)^2 */
    TAPS = 9,
    PADDING = 16,          /* keeps points from lying powers of two apart, in one cache set */
    CHANNELS = 64,         /* of the input, that are transformed together */
    BLOCK = 48,            /* tiles of a block, a multiple of most tiers' mr */
    BLOCK_SIDE = 16,       /* most tiles of a block in one direction */
    BLOCK_PIXELS = 924,    /* most that a block reads: 3 x 16 tiles with their border */
    COLUMNS = 32,          /* of the results, for a task */
    BAND_FLOATS = 4 << 20, /* of transformed inputs, if they are not those of one row of blocks */
};

/* The arguments of a convolution, as in zi_conv3x3_args, with host addresses. */
typedef struct {
    zi_matrix weight; /* [out, in * 9] */
    bool nhwc;        /* [out, 9, in] */
    const float *bias;
    feature_map x, y, side;
    bool doubled, add;
    const zi_group_norm *norm;
    bool has_shortcut, has_moments;
    zi_matrix shortcut; /* [out, in] */
    const float *shortcut_bias;
    moments moments; /* those of x, and then those of y */
    size_t band;
} conv_args;

typedef struct {
    const cpu_exec *exec;
    conv_args *args;
    size_t in, out, points; /* a shortcut counts as TILE^2 points more: the pixels themselves */
    size_t tiles_high, tiles_wide, block_height, block_width;
    size_t blocks_high, blocks_wide, band;
    size_t panels;                      /* of a block's tiles */
    size_t chunks;                      /* of the input's channels */
    size_t columns;                     /* of a task */
    size_t weights_step, products_step; /* from one point to the next */
    float *a, *b;                       /* [in]: the norm */
    float *weights;                     /* [out / nr, POINTS, weights_step: in, nr] */
    float *side_weights;                /* [out / nr, in, nr] */
    float *inputs;                      /* [blocks of a band, points, panels, in, mr] */
    float *moments;                     /* [blocks of a band, 2, out] */
    float *above, *next;  /* [x.width, in]: the row of x above this band and the next one */
    size_t first, blocks; /* row of blocks where this band begins, and all its blocks */
} conv_job;

/* n / size, rounded up. */
static size_t div_round_up(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

/* Decides how a convolution is cut into blocks and bands, and takes memory for it, not cleared,
 * from the arena (addresses are NULL if that only measures or is too small). The job begins at the
 * first band and keeps args, which must live as long. */
static conv_job conv_prepare(const cpu_exec *exec, conv_args *args, zi_arena *arena)
{
    const zi_kernels *k = exec->kernels;
    conv_job j = {
        .exec = exec, .args = args, .in = args->weight.columns / TAPS, .out = args->weight.rows};
    j.points = POINTS + (args->has_shortcut ? TILE * TILE : 0);
    j.tiles_high = div_round_up(args->y.height, TILE);
    j.tiles_wide = div_round_up(args->y.width, TILE);
    j.block_width = smaller(j.tiles_wide, BLOCK_SIDE);
    j.block_height = smaller(smaller(j.tiles_high, BLOCK_SIDE), BLOCK / j.block_width);
    j.blocks_high = div_round_up(j.tiles_high, j.block_height);
    j.blocks_wide = div_round_up(j.tiles_wide, j.block_width);
    j.panels = div_round_up(j.block_width * j.block_height, k->mr);
    j.chunks = div_round_up(j.in, CHANNELS);
    j.columns = round_up(COLUMNS, k->nr);
    j.weights_step = j.in * k->nr + PADDING;
    j.products_step = j.panels * k->mr * j.columns + PADDING;
    size_t row = j.blocks_wide * j.points * j.panels * k->mr * j.in, wide = round_up(j.out, k->nr);
    size_t band = args->band ? args->band : BAND_FLOATS / row + (row > BAND_FLOATS);
    band = smaller(band, j.blocks_high);
    j.band = div_round_up(j.blocks_high, div_round_up(j.blocks_high, band));
    j.a = floats_of(zi_arena_floats(arena, 1, j.in));
    j.b = floats_of(zi_arena_floats(arena, 1, j.in));
    j.weights =
        floats_of(zi_arena_floats(arena, 1, div_round_up(j.out, k->nr) * POINTS * j.weights_step));
    j.side_weights = floats_of(zi_arena_floats(arena, 1, args->has_shortcut ? j.in * wide : 0));
    j.inputs = floats_of(zi_arena_floats(arena, 1, j.band * row));
    j.moments = floats_of(zi_arena_floats(arena, 1, j.band * j.blocks_wide * 2 * j.out));
    j.above = floats_of(zi_arena_floats(arena, 1, args->y.width * j.in));
    j.next = floats_of(zi_arena_floats(arena, 1, args->y.width * j.in));
    return j;
}

/* Floats for a thread: what a task of the transforms or one of the products takes, whichever is
 * more. */
size_t conv_scratch(const zi_kernels *kernels)
{
    size_t points = POINTS + TILE * TILE, columns = round_up(COLUMNS, kernels->nr);
    size_t transform = (BLOCK_PIXELS + points * kernels->mr) * CHANNELS;
    size_t multiply =
        (points * round_up(BLOCK, kernels->mr) + TILE * TILE) * columns + points * PADDING;
    return transform > multiply ? transform : multiply;
}

/* ---- the weights ---- */

/* Packs rows [row, row + rows) of the weights (F32, F16 or BF16), at most nr, n of their channels
 * from c on, as f32 into taps [n, TAPS, nr], or [TAPS, n, nr] if the weights are NHWC; missing rows
 * are zero. */
static void pack_taps(const conv_job *job, size_t row, size_t rows, size_t c, size_t n, float *taps)
{
    const zi_kernels *kernels = job->exec->kernels;
    const zi_matrix *w = &job->args->weight;
    bool nhwc = job->args->nhwc;
    size_t runs = nhwc ? TAPS : 1, length = nhwc ? n : n * TAPS, in = job->in;
    size_t first = row * in * TAPS + (nhwc ? c : c * TAPS);
    for (size_t i = 0; i < runs; i++)
        kernels->pack_rows(w->type,
                           (const char *)w->data + (first + i * in) * zi_dtype_size(w->type),
                           in * TAPS, rows, length, kernels->nr, taps + i * n * kernels->nr);
}

/* Transforms the weights (F32, F16 or BF16) of panel task / chunks, nr results, and of chunk task %
 * chunks of the input channels to job->weights, and packs those of the shortcut, if there is one,
 * to job->side_weights. */
static void weights_task(void *context, size_t task, size_t worker)
{
    const conv_job *job = context;
    const zi_kernels *kernels = job->exec->kernels;
    const zi_matrix *shortcut = &job->args->shortcut;
    bool nhwc = job->args->nhwc;
    size_t panel = task / job->chunks, c = task % job->chunks * CHANNELS, in = job->in;
    size_t n = smaller(CHANNELS, in - c), nr = kernels->nr, row = panel * nr;
    size_t rows = smaller(nr, job->out - row), at = row * in + c;
    float *taps = worker_scratch(job->exec, worker);
    pack_taps(job, row, rows, c, n, taps);
    for (size_t i = 0; i < n; i++)
        winograd_weights(taps + i * (nhwc ? nr : TAPS * nr), nhwc ? n * nr : nr, nr,
                         job->weights + panel * POINTS * job->weights_step + (c + i) * nr,
                         job->weights_step);
    if (job->args->has_shortcut)
        kernels->pack_rows(shortcut->type,
                           (const char *)shortcut->data + at * zi_dtype_size(shortcut->type), in,
                           rows, n, nr, job->side_weights + (panel * in + c) * nr);
}

/* ---- blocks ---- */

/* A block of tiles: [top, top + height) x [left, left + width) of the feature map. */
typedef struct {
    size_t top, left, height, width;
} block;

/* Block number `index` of this band, row by row. Its members count tiles, from the top left of the
 * whole feature map; blocks at the right and lower edges are smaller. */
static block block_at(const conv_job *job, size_t index)
{
    block b = {.top = (job->first + index / job->blocks_wide) * job->block_height,
               .left = index % job->blocks_wide * job->block_width};
    b.height = smaller(job->block_height, job->tiles_high - b.top);
    b.width = smaller(job->block_width, job->tiles_wide - b.left);
    return b;
}

/* The row of x (before upsampling) at the first result of row of blocks `block_row`, which counts
 * from the top of the feature map. The 3x3 window also reads the row above it. */
static size_t first_input_row(const conv_job *job, size_t block_row)
{
    return block_row * job->block_height * TILE / (job->args->doubled ? 2 : 1);
}

/* Address of channel c of a pixel of x by the results' coordinates, which must be inside. Rows
 * above this band, which may be overwritten by results, come from the copy in job->above: only the
 * last of them can be asked for. */
static const float *input_pixel(const conv_job *job, size_t row, size_t column, size_t c)
{
    const conv_args *args = job->args;
    if (args->doubled) {
        row /= 2;
        column /= 2;
    }
    const float *line =
        row < first_input_row(job, job->first) ? job->above : args->x.data + row * args->x.stride;
    return line + column * job->in + c;
}

/* ---- first half: from x to panels ---- */

/* Copies to out [4 b->height + 2, 4 b->width + 2, pixel] what a block reads of channels [c, c + n),
 * border included: after norm and SiLU if there is a norm. Zeros outside the feature map, and for
 * channels from n up to `pixel`. */
static void load_block(const conv_job *job, const block *b, size_t c, size_t n, size_t pixel,
                       float *out)
{
    const conv_args *args = job->args;
    size_t H = args->y.height, W = args->y.width, left = b->left * TILE;
    size_t width = b->width * TILE + 2; /* which begins one to the left */
    size_t begin = left == 0, end = smaller(width, W + 1 - left);
    const float *scale = job->a + c, *shift = job->b + c;
    for (size_t i = 0; i < b->height * TILE + 2; i++, out += width * pixel) {
        size_t row = b->top * TILE + i; /* one below */
        if (row == 0 || row > H) {
            memset(out, 0, width * pixel * sizeof *out);
            continue;
        }
        memset(out, 0, begin * pixel * sizeof *out);
        memset(out + end * pixel, 0, (width - end) * pixel * sizeof *out);
        for (size_t j = begin; j < end; j++) {
            const float *x = input_pixel(job, row - 1, left + j - 1, c);
            float *y = out + j * pixel;
            if (args->norm)
                for (size_t k = 0; k < n; k++) y[k] = x[k] * scale[k] + shift[k];
            else
                memcpy(y, x, n * sizeof *y);
            for (size_t k = n; k < pixel; k++) y[k] = 0;
        }
        if (args->norm)
            job->exec->kernels->silu_mul(out + begin * pixel, NULL, (end - begin) * pixel);
    }
}

/* Copies n channels from c on of 4x4 pixels of x as they are, without the norm, to out: 16 pixels
 * that lie `step` floats apart. top, left: in pixels of y; zeros outside the feature map. */
static void copy_tile(const conv_job *job, size_t top, size_t left, size_t c, size_t n, float *out,
                      size_t step)
{
    for (size_t i = 0; i < TILE * TILE; i++, out += step) {
        size_t row = top + i / TILE, column = left + i % TILE;
        if (row < job->args->y.height && column < job->args->y.width)
            memcpy(out, input_pixel(job, row, column, c), n * sizeof *out);
        else
            memset(out, 0, n * sizeof *out);
    }
}

/* Transforms tiles [first, first + count) of a block, row by row, at most mr, from `loaded`
 * (load_block with the same c, n and pixel) to points [points, mr, pixel]. The 16 pixels of a
 * shortcut, channels [c, c + n) of x untransformed, follow the 36 points. Rows from `count` on stay
 * as they are. */
static void transform_tiles(const conv_job *job, const block *b, const float *loaded, size_t first,
                            size_t count, size_t c, size_t n, size_t pixel, float *points)
{
    size_t row = (b->width * TILE + 2) * pixel, step = job->exec->kernels->mr * pixel;
    for (size_t t = 0; t < count; t++, points += pixel) {
        size_t i = (first + t) / b->width * TILE, j = (first + t) % b->width * TILE;
        winograd_input(loaded + i * row + j * pixel, row, pixel, pixel, points, step);
        if (job->args->has_shortcut)
            copy_tile(job, b->top * TILE + i, b->left * TILE + j, c, n, points + POINTS * step,
                      step);
    }
}

/* Loads (after norm and SiLU, if there is a norm), transforms and packs chunk task % chunks of the
 * channels of block task / chunks of this band into job->inputs. One task more, the last, copies
 * the last row of x of this band, if it is not the last of x, to job->next for the next band. */
static void transform_task(void *context, size_t task, size_t worker)
{
    const conv_job *job = context;
    const zi_kernels *kernels = job->exec->kernels;
    if (task == job->blocks * job->chunks) {
        const feature_map *x = &job->args->x;
        size_t row = first_input_row(job, job->first + job->band);
        if (row < x->height)
            memcpy(job->next, x->data + (row - 1) * x->stride, x->width * job->in * sizeof(float));
        return;
    }
    block b = block_at(job, task / job->chunks);
    size_t c = task % job->chunks * CHANNELS, mr = kernels->mr, tiles = b.height * b.width;
    size_t n = smaller(CHANNELS, job->in - c), pixel = round_up(n, 4);
    float *loaded = worker_scratch(job->exec, worker);
    float *points = loaded + BLOCK_PIXELS * CHANNELS;
    float *panels = job->inputs + task / job->chunks * job->points * job->panels * job->in * mr;
    load_block(job, &b, c, n, pixel, loaded);
    for (size_t p = 0; p * mr < tiles; p++) {
        size_t count = smaller(mr, tiles - p * mr);
        transform_tiles(job, &b, loaded, p * mr, count, c, n, pixel, points);
        for (size_t i = 0; i < job->points; i++)
            kernels->pack_a(points + i * mr * pixel, pixel, count, n,
                            panels + ((i * job->panels + p) * job->in + c) * mr);
    }
}

/* ---- second half: products and results ---- */

/* Multiplies the tiles of block `index` of this band by the weights of n result channels from
 * `column` (whole panels) on, at job->points points: 36, and the 16 pixels of a shortcut, by its
 * weights. Point i of products begins at i * products_step: for each tile a row of job->columns
 * floats, the first for `column`. Tiles and channels are rounded up to whole panels. */
static void multiply_points(const conv_job *job, size_t index, size_t tiles, size_t column,
                            size_t n, float *products)
{
    const zi_kernels *kernels = job->exec->kernels;
    size_t mr = kernels->mr, nr = kernels->nr, in = job->in;
    const float *inputs = job->inputs + index * job->points * job->panels * in * mr;
    for (size_t i = 0; i < job->points; i++) {
        for (size_t j = 0; j < n; j += nr) {
            size_t panel = (column + j) / nr;
            const float *weights = i < POINTS
                                       ? job->weights + (panel * POINTS + i) * job->weights_step
                                       : job->side_weights + panel * in * nr;
            for (size_t p = 0; p * mr < tiles; p++)
                kernels->tile(in, inputs + p * in * mr, weights,
                              products + p * mr * job->columns + j, job->columns, false);
        }
        inputs += job->panels * in * mr;
        products += job->products_step;
    }
}

/* Writes 4x4 results plus bias to channels [column, column + n) of y at pixel (top, left), or adds
 * them if `add`; pixels outside y are skipped. values: 16 pixels that lie `step` floats apart.
 * bias: of all channels of y, not NULL. */
static void put_tile(const feature_map *y, size_t top, size_t left, size_t column, size_t n,
                     const float *values, size_t step, const float *bias, bool add)
{
    for (size_t i = 0; i < TILE * TILE; i++, values += step) {
        size_t row = top + i / TILE, at = left + i % TILE;
        if (row >= y->height || at >= y->width) continue;
        float *out = y->data + row * y->stride + at * y->channels + column;
        if (add)
            for (size_t c = 0; c < n; c++) out[c] += values[c] + bias[column + c];
        else
            for (size_t c = 0; c < n; c++) out[c] = values[c] + bias[column + c];
    }
}

/* Sets the moments, in job->moments, of channels [column, column + n) of block `index` of this band
 * from the results in y, which must be complete there. */
static void measure_block(const conv_job *job, const block *b, size_t index, size_t column,
                          size_t n)
{
    const feature_map *y = &job->args->y;
    size_t top = b->top * TILE, left = b->left * TILE;
    float *mean = job->moments + index * 2 * job->out + column;
    block_moments(y->data + top * y->stride + left * job->out + column, y->stride,
                  smaller(b->height * TILE, y->height - top),
                  smaller(b->width * TILE, y->width - left), job->out, n, mean, mean + job->out);
}

/* Computes result channels [k * columns, (k + 1) * columns), k = task / blocks, fewer at the end,
 * of block task % blocks of this band: products, transform back, bias; writes y and, with a
 * shortcut, side; then moments of the block if they are wanted. */
static void multiply_task(void *context, size_t task, size_t worker)
{
    const conv_job *job = context;
    const conv_args *args = job->args;
    size_t index = task % job->blocks, column = task / job->blocks * job->columns;
    size_t n = smaller(job->columns, job->out - column);
    size_t step = job->products_step, wide = round_up(n, 4);
    block b = block_at(job, index);
    float *products = worker_scratch(job->exec, worker), *results = products + job->points * step;
    multiply_points(job, index, b.height * b.width, column, n, products);
    for (size_t t = 0; t < b.height * b.width; t++, products += job->columns) {
        size_t top = (b.top + t / b.width) * TILE, left = (b.left + t % b.width) * TILE;
        winograd_output(products, step, wide, results);
        put_tile(&args->y, top, left, column, n, results, wide, args->bias, args->add);
        if (args->has_shortcut)
            put_tile(&args->side, top, left, column, n, products + POINTS * step, step,
                     args->shortcut_bias, false);
    }
    if (args->has_moments) measure_block(job, &b, index, column, n);
}

/* ---- bands ---- */

/* Merges the moments of this band's blocks (job->moments), in their order, into args->moments,
 * which the bands before are in already. */
static void collect_moments(const conv_job *job)
{
    const feature_map *y = &job->args->y;
    for (size_t i = 0; i < job->blocks; i++) {
        block b = block_at(job, i);
        const float *mean = job->moments + i * 2 * job->out;
        add_moments(&job->args->moments, mean, mean + job->out, job->out,
                    smaller(b.height * TILE, y->height - b.top * TILE) *
                        smaller(b.width * TILE, y->width - b.left * TILE));
    }
}

/* The arguments with host addresses, all borrowed. weight and moments may be those of a plan, which
 * have no memory yet. */
static conv_args args_of(const zi_conv3x3_args *a)
{
    conv_args args = {.weight = cpu_matrix(a->weight),
                      .nhwc = a->weight->nhwc,
                      .bias = vector_of(a->bias),
                      .x = cpu_map(&a->x),
                      .y = cpu_map(&a->y),
                      .side = cpu_map(&a->side),
                      .doubled = a->doubled,
                      .add = a->add,
                      .norm = a->norm,
                      .has_shortcut = a->shortcut != NULL,
                      .shortcut_bias = vector_of(a->shortcut_bias),
                      .has_moments = a->moments.buffer != NULL,
                      .band = a->band};
    if (a->shortcut) args.shortcut = cpu_matrix(a->shortcut);
    if (args.has_moments) args.moments = moments_of(a->moments, args.x.height * args.x.width);
    return args;
}

/* Computes all results from transformed weights, band by band from the top. Afterwards job->first
 * is past the last row of blocks; above and next have changed places after each band. */
static void run_bands(conv_job *job)
{
    const cpu_exec *exec = job->exec;
    for (; job->first < job->blocks_high; job->first += job->band) {
        job->blocks = smaller(job->band, job->blocks_high - job->first) * job->blocks_wide;
        zi_pool_run(exec->pool, job->blocks * job->chunks + 1, transform_task, job);
        zi_pool_run(exec->pool, job->blocks * div_round_up(job->out, job->columns), multiply_task,
                    job);
        if (job->args->has_moments) collect_moments(job);
        float *above = job->above;
        job->above = job->next;
        job->next = above;
    }
}

/* y = (or += if a->add) the 3x3 convolution of x (doubled, with norm and SiLU, where asked for) in
 * a border of zeros, plus bias; side = 1x1 shortcut of x itself, plus its own bias. a->moments: in,
 * those of x for the norm; out, those of y. Overwrites workspace and thread scratch. Complete on
 * return. */
void cpu_conv3x3(zi_exec *base, const zi_conv3x3_args *a)
{
    const cpu_exec *exec = exec_of(base);
    conv_args args = args_of(a);
    zi_arena arena = zi_arena_within(a->workspace);
    conv_job job = conv_prepare(exec, &args, &arena);
    if (args.norm) group_coefficients(args.norm, &args.moments, job.a, job.b);
    if (args.has_moments) clear_moments(&args.moments, job.out);
    zi_pool_run(exec->pool, div_round_up(job.out, exec->kernels->nr) * job.chunks, weights_task,
                &job);
    run_bands(&job);
}

/* Bytes that cpu_conv3x3 takes from its workspace, alignment included, for arguments of these
 * shapes, with this band, and with or without a shortcut; SIZE_MAX: more than fit into a size_t.
 * The tensors need no memory yet. Computes nothing. */
size_t cpu_conv3x3_workspace(const zi_exec *base, const zi_conv3x3_args *a)
{
    zi_arena arena = zi_arena_measure();
    conv_args args = args_of(a);
    conv_prepare((const cpu_exec *)base, &args, &arena);
    return arena.overflow ? SIZE_MAX : arena.peak;
}
