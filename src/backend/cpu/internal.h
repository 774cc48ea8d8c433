/* What the files of the CPU backend share. */
#ifndef ZI_CPU_INTERNAL_H
#define ZI_CPU_INTERNAL_H

#include "backend/arena.h"
#include "backend/cpu/cpu.h"
#include "base/matrix.h"

enum {
    FEW_ROWS = 4,      /* not worth packing */
    MAX_ROWS = 1152,   /* rows of a product that are packed at once */
    QUERY_BLOCK = 192, /* rows of an attention task */
    KEY_BLOCK = 256,   /* keys looked at together */
    NORM_CHUNKS = 64,  /* chunks of a feature map whose moments are computed separately */
};

/* The next multiple of `multiple` (not 0) that is at least n. */
static inline size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* The smaller of two sizes. */
static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- sessions ---- */

typedef struct {
    zi_exec base;
    const zi_kernels *kernels;
    zi_pool *pool;
    float *scratch; /* [threads, scratch_stride] */
    size_t scratch_stride;
    float *packed;    /* the input of a product, see linear.c */
    float *partials;  /* for moments of a whole feature map, see group_norm.c */
    zi_error failure; /* what check_finite found; code ZI_OK: nothing */
} cpu_exec;

/* The CPU session that begins with exec, which must be one of this backend. */
static inline cpu_exec *exec_of(zi_exec *exec)
{
    return (cpu_exec *)exec;
}

/* A thread's part of the session's scratch memory, scratch_stride floats, not cleared. worker: the
 * thread's index in the pool. */
static inline float *worker_scratch(const cpu_exec *exec, size_t worker)
{
    return exec->scratch + worker * exec->scratch_stride;
}

/* ---- sharing out work ---- */

/* Works on rows (or elements, or tiles) [begin, end) of a job, the context; may run in any thread.
 */
typedef void (*row_fn)(const void *context, size_t begin, size_t end);

/* Cuts rows [0, n) into runs of `grain` rows (grain 0: of one row) and calls fn for each of them on
 * the session's threads, in no particular order; returns when all are done. The last run may be
 * shorter; n = 0 calls nothing. */
void run_rows(cpu_exec *exec, size_t n, size_t grain, row_fn fn, const void *context);

/* ---- views in host memory ---- */

/* Host address of the first element of a view, borrowed; the caller must know that it is f32. NULL
 * for a view without memory. */
static inline float *floats_of(zi_view view)
{
    return zi_view_host(view);
}

/* Host address of a weight's values, borrowed; the caller must know that they are f32. NULL if
 * weight is NULL or has no memory. */
static inline const float *vector_of(const zi_weight *weight)
{
    return weight ? zi_view_host(weight->data) : NULL;
}

/* A weight (not NULL) as a matrix with host addresses; borrows values, scales, biases and factors
 * (NULL where the weight has none), copies none. */
zi_matrix cpu_matrix(const zi_weight *w);

/* A feature map [height, width, channels] whose rows lie `stride` floats apart. */
typedef struct {
    float *data;
    size_t height, width, channels, stride;
} feature_map;

/* A feature map with its host address, borrowed; a row of the view is a row of pixels. data is NULL
 * for one without memory. */
feature_map cpu_map(const zi_feature_map *map);

/* Of each channel its mean and the sum of squared deviations from it. */
typedef struct {
    double pixels; /* that they are of */
    double *mean, *m2;
} moments;

/* The moments of a feature map of this many pixels that a view holds: means, and m2 ZI_MAX_CHANNELS
 * doubles after them. Borrows the memory; computes nothing. */
static inline moments moments_of(zi_view view, size_t pixels)
{
    double *mean = zi_view_host(view);
    return (moments){(double)pixels, mean, mean + ZI_MAX_CHANNELS};
}

/* A view of the same memory, which holds moments, as F64 values [2, channels]: means, then m2,
 * ZI_MAX_CHANNELS doubles from one row to the next. */
static inline zi_view moments_view(zi_view view, size_t channels)
{
    return (zi_view){view.buffer, view.offset, ZI_F64, 2, channels, ZI_MAX_CHANNELS};
}

/* ---- values ---- */

/* Four floats that GCC and Clang keep in one register on every 64-bit machine. */
typedef float quad __attribute__((vector_size(16)));

/* Loads four floats from an address of any alignment. */
static inline quad quad_load(const float *x)
{
    quad value;
    memcpy(&value, x, sizeof value);
    return value;
}

/* Stores four floats to an address of any alignment. */
static inline void quad_store(float *x, quad value)
{
    memcpy(x, &value, sizeof value);
}

/* An output tile that may extend beyond the edge of the matrix: then c is a buffer, whose existing
 * rows x columns are copied to the target at the end. */
typedef struct {
    float *c, *target;
    size_t ldc, target_ldc, rows, columns;
    float buffer[ZI_MAX_MR * ZI_MAX_NR];
} edge_tile;

/* Sets all of *p for the tile of mr x nr at c, of which rows x columns exist. The kernel then
 * writes to p->c with row stride p->ldc: c itself, or a buffer if not all exist; edge_tile_end
 * completes it. filled: the kernel accumulates, so existing values are copied to the buffer (the
 * rest of it is not set). */
static inline void edge_tile_begin(edge_tile *p, float *c, size_t ldc, size_t rows, size_t columns,
                                   size_t mr, size_t nr, bool filled)
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

/* Copies the existing part of a buffered tile to the matrix; does nothing where the kernel wrote to
 * the matrix itself. */
static inline void edge_tile_end(const edge_tile *p)
{
    if (p->c == p->target) return;
    for (size_t i = 0; i < p->rows; i++)
        memcpy(p->target + i * p->target_ldc, p->c + i * p->ldc, p->columns * sizeof *p->c);
}

/* Floats of scratch memory that linear.c needs for each thread. */
size_t linear_scratch(const zi_kernels *kernels);

/* Floats for the packed input of a product, MAX_ROWS (linear.c) rows of up to `depth` values, in
 * f32 (integer panels need less): cpu_exec's `packed`. */
size_t linear_packed(const zi_kernels *kernels, size_t depth);

/* Floats of scratch memory that attention needs for each thread, for heads of up to dim values. */
size_t attention_scratch(const zi_kernels *kernels, size_t dim);

/* Floats of scratch memory that conv.c needs for each thread, whatever the convolution. */
size_t conv_scratch(const zi_kernels *kernels);

/* ---- matvec.c ---- */

/* y [T, N] = x [T, K] w^T [K, N] + bias [N], for a few rows of x (more work, too, but slowly); bias
 * may be NULL. Runs on the session's threads, shared out by rows of w, and returns when y is
 * complete. */
void matvec(cpu_exec *exec, const float *x, size_t T, const zi_matrix *w, const float *bias,
            float *y);

/* ---- attention.c ---- */

/* The arguments of an attention, as in zi_attention_args, with host addresses. */
typedef struct {
    const float *q; /* [T, heads * dim] */
    float *k;       /* [S, kv_heads * dim]; overwritten when integer */
    const float *v; /* [S, kv_heads * dim] */
    float *out;     /* [T, heads * dim] */
    size_t T, S, heads, kv_heads, dim;
    bool causal, integer;
} attention_args;

/* out = softmax(q k^T / sqrt(dim)) v for each head, in f32, causal if args->causal, for a few rows
 * of q (in matvec.c). args->integer is ignored, k unchanged. Complete on return. */
void attend_few(cpu_exec *exec, const attention_args *args);

/* ---- group_norm.c ---- */

/* Sets a and b, [channels] each, so that group_norm(x) = a x + b for each channel of a feature map
 * that has the moments m, which stay; m->pixels is not 0, and norm->groups divides the channels. */
void group_coefficients(const zi_group_norm *norm, const moments *m, float *a, float *b);

/* Sets mean [n] and m2 [n], the sum of squared deviations from it, of n channels (any n) over
 * height x width (not 0) pixels. x is the block's first pixel at the first of these channels;
 * pixels lie `channels` floats apart, rows `stride` floats. */
void block_moments(const float *x, size_t stride, size_t height, size_t width, size_t channels,
                   size_t n, float *mean, float *m2);

/* Sets *m, whose arrays have room for these channels, to the moments of no pixels, all zero. */
void clear_moments(moments *m, size_t channels);

/* Merges a block's moments (Chan et al.), of `channels` channels over `pixels` (not 0) pixels, into
 * *total, which is then of both. */
void add_moments(moments *total, const float *mean, const float *m2, size_t channels,
                 size_t pixels);

/* ---- winograd.c; n channels (a multiple of four) lie together, pixels and points apart ---- */

/* Transforms 6x6 pixels x, which lie `pixel` floats apart and their rows `row`, to out: 36 points
 * [6, 6] of n values each (n a multiple of four), which lie `step` floats apart. */
void winograd_input(const float *x, size_t row, size_t pixel, size_t n, float *out, size_t step);

/* Transforms the 3x3 taps w, row by row, of n values each (n a multiple of four), which lie `tap`
 * floats apart, to out: 36 points [6, 6] of n values each, which lie `step` floats apart. */
void winograd_weights(const float *w, size_t tap, size_t n, float *out, size_t step);

/* Transforms products m at 36 points, of n values each (n a multiple of four), which lie `step`
 * floats apart, back to 4x4 pixels out [4, 4, n], without bias. */
void winograd_output(const float *m, size_t step, size_t n, float *out);

/* ---- operations, as zi_backend_ops has them and backend.h describes them; all are complete when
 * they return ---- */

void cpu_linear(zi_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias, zi_view y);
void cpu_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n, zi_view y);
void cpu_attention(zi_exec *base, const zi_attention_args *a);
void cpu_norm(zi_exec *base, const zi_norm_args *args);
void cpu_rope(zi_exec *exec, const zi_rope_args *args);
void cpu_elementwise(zi_exec *base, zi_elementwise_kind kind, zi_view x, zi_view y, float a,
                     float b);
void cpu_permute(zi_exec *exec, const zi_permute_args *args);
void cpu_conv3x3(zi_exec *base, const zi_conv3x3_args *a);
size_t cpu_conv3x3_workspace(const zi_exec *base, const zi_conv3x3_args *a);
void cpu_moments(zi_exec *base, const zi_feature_map *map, zi_view out);
void cpu_group_norm(zi_exec *base, const zi_group_norm *norm, zi_view stored,
                    const zi_feature_map *map, zi_view y);
void cpu_check_finite(zi_exec *exec, zi_view x, const char *name);

#endif
