/* What the files of ops/ share. */
#ifndef ZI_OPS_INTERNAL_H
#define ZI_OPS_INTERNAL_H

#include "backend/cpu/ops.h"

enum {
    FEW_ROWS = 4,      /* not worth packing */
    MAX_ROWS = 1152,   /* rows of a product that are packed at once */
    QUERY_BLOCK = 192, /* rows of an attention task */
    KEY_BLOCK = 256,   /* keys looked at together */
    NORM_CHUNKS = 64,  /* parts of a picture whose moments are taken apart */
};

static inline size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline float *worker_scratch(const zi_ops *ops, size_t worker)
{
    return ops->scratch + worker * ops->scratch_stride;
}

/* Four floats that GCC and Clang keep in one register on every 64-bit machine. */
typedef float quad __attribute__((vector_size(16)));

static inline quad quad_load(const float *x)
{
    quad value;
    memcpy(&value, x, sizeof value);
    return value;
}

static inline void quad_store(float *x, quad value)
{
    memcpy(x, &value, sizeof value);
}

/* A tile of c of which only rows x columns may exist: then c is a buffer meanwhile. */
typedef struct {
    float *c, *target;
    size_t ldc, target_ldc, rows, columns;
    float buffer[ZI_MAX_MR * ZI_MAX_NR];
} part;

/* filled: the tile holds something that the kernel adds to. */
static inline void part_begin(part *p, float *c, size_t ldc, size_t rows, size_t columns, size_t mr,
                              size_t nr, bool filled)
{
    p->c = p->target = c;
    p->ldc = p->target_ldc = ldc;
    p->rows = rows;
    p->columns = columns;
    if (rows == mr && columns == nr) return;
    p->c = p->buffer;
    p->ldc = nr;
    for (size_t i = 0; filled && i < rows; i++)
        memcpy(p->c + i * nr, c + i * ldc, columns * sizeof *c);
}

static inline void part_end(const part *p)
{
    if (p->c == p->target) return;
    for (size_t i = 0; i < p->rows; i++)
        memcpy(p->target + i * p->target_ldc, p->c + i * p->ldc, p->columns * sizeof *p->c);
}

/* Floats of scratch memory that linear.c wants for a worker, and for the packed input of products
 * up to `depth` deep. */
size_t linear_scratch(const zi_kernels *kernels);
size_t linear_packed(const zi_kernels *kernels, size_t depth);

/* The same for a worker of attention.c. */
size_t attention_scratch(const zi_kernels *kernels, size_t dim);

/* The same for a worker of conv.c. */
size_t conv_scratch(const zi_kernels *kernels);

/* ---- matvec.c ---- */

/* zi_linear, for a few rows. */
void matvec(zi_ops *ops, const float *x, size_t T, const zi_matrix *w, const float *bias, float *y);

/* zi_attention, for a few rows. */
void attend_few(zi_ops *ops, const zi_attention_args *args);

/* ---- group_norm.c ---- */

/* group_norm(x) = a x + b, [channels] each. */
void group_coefficients(const zi_group_norm *norm, const zi_moments *moments, float *a, float *b);

/* Mean and sum of squared deviations of n channels over a block of pixels. */
void block_moments(const float *x, size_t stride, size_t height, size_t width, size_t channels,
                   size_t n, float *mean, float *spread);

/* Adds a block's moments of `channels` channels to those of a picture. */
void add_moments(zi_moments *total, const float *mean, const float *spread, size_t channels,
                 size_t pixels);

/* ---- winograd.c; n channels (a multiple of four) lie together, pixels and points apart ---- */

/* 6x6 pixels, of which one lies `pixel` and a row lies `row` after another, to 36 points that lie
 * `step` apart. */
void winograd_input(const float *x, size_t row, size_t pixel, size_t n, float *out, size_t step);

/* w [9, n], of which one tap lies `tap` after another, to 36 points that lie `step` apart. */
void winograd_weights(const float *w, size_t tap, size_t n, float *out, size_t step);

/* 36 points that lie `step` apart to out [4, 4, n]. */
void winograd_output(const float *m, size_t step, size_t n, float *out);

/* Calls fn for rows [begin, end) of n, in parallel, each call a run of up to `grain` rows. */
typedef void (*row_fn)(const void *context, size_t begin, size_t end);
void run_rows(zi_ops *ops, size_t n, size_t grain, row_fn fn, const void *context);

#endif
