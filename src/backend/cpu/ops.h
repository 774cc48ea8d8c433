/* Operations on f32 tensors, spread over the thread pool. They cannot fail: shapes were checked
 * when weights were bound, and all memory comes from the caller. Rows are tokens or pixels
 * (pictures are [height, width, channels]). Results do not depend on the number of threads: work is
 * split over rows and columns of the output, never inside a sum. */
#ifndef ZI_OPS_H
#define ZI_OPS_H

#include "base/arena.h"
#include "base/pool.h"
#include "kernels/kernels.h"

/* Where operations run and what they may use up. */
typedef struct {
    zi_kernels kernels;
    zi_pool *pool;
    bool fast;      /* integer products where weights are quantized */
    float *scratch; /* [threads, scratch_stride] */
    size_t scratch_stride;
    float *packed;   /* the input of a product, see linear.c */
    float *partials; /* for moments of a whole picture, see group_norm.c */
} zi_ops;

/* Widest attention head and most channels of a group norm that scratch memory is made for. */
enum { ZI_MAX_HEAD = 1024, ZI_MAX_CHANNELS = 4096 };

/* The largest that operations will meet: width of an attention head, inner side of a product. */
typedef struct {
    size_t head_dim, depth;
} zi_ops_limits;

/* Takes scratch memory for these from the arena (which may be measuring). */
void zi_ops_plan(zi_ops *ops, zi_arena *arena, zi_ops_limits limits);

/* A stored matrix [rows, columns], row-major; data is borrowed (mapped).
 *
 * Plain (bits 0): of a computing type, fp8, I8, or a block type whose blocks divide `columns`;
 * times a scale for all of it or for each row, if there are any. In groups (bits 8 or 4, as MLX
 * stores them): each run of `group` numbers of a row, which divides `columns`, shares a scale and a
 * bias [rows, columns/group], and stands for q * scale + bias with q from 0 on, one byte each, or
 * two to a byte, low one first. */
typedef struct {
    const void *data;
    zi_dtype type;
    size_t rows, columns;
    int bits;
    size_t group; /* 32, 64 or 128 */
    const void *scales, *biases;
    zi_dtype scale_type;
    const float *row_scale; /* [row_scales]; NULL: none */
    size_t row_scales;      /* 1 or rows */
} zi_matrix;

/* Whether it is made of integers, so that `fast` may compute with integers. */
bool zi_matrix_quantized(const zi_matrix *w);

/* A row [columns] as f32. */
void zi_matrix_row(const zi_matrix *w, size_t row, float *out);

/* A stored convolution [out, in, size, size], or [out, size, size, in] if nhwc, of a computing
 * type, with its bias [out]; size is 1 or 3. */
typedef struct {
    const void *data;
    zi_dtype type;
    size_t out, in, size;
    const float *bias;
    bool nhwc;
} zi_conv;

/* ---- linear.c ---- */

/* y [T, N] = x [T, K] w^T [K, N] + bias [N]; bias may be NULL. y is not x. */
void zi_linear(zi_ops *ops, const float *x, size_t T, const zi_matrix *w, const float *bias,
               float *y);

/* ---- attention.c ---- */

typedef struct {
    const float *q; /* [T, heads * dim] */
    float *k;       /* [S, kv_heads * dim]; overwritten when fast */
    const float *v; /* [S, kv_heads * dim] */
    float *out;     /* [T, heads * dim] */
    size_t T, S, heads, kv_heads, dim;
    bool causal; /* row t sees columns 0..t (needs S == T) */
    bool fast;   /* q and k may be quantized to eight bits, in groups */
} zi_attention_args;

/* softmax(q k^T / sqrt(dim)) v for each head, without ever holding the scores of more than a block
 * (Dao et al. 2022, FlashAttention). Head h reads key/value head h / (heads / kv_heads). */
void zi_attention(zi_ops *ops, const zi_attention_args *args);

/* ---- norm.c ---- */

/* y = x / rms(x) * weight [D] * (1 + scale [D]) for each row of x [T, D]; scale may be NULL. y may
 * be x. */
void zi_rms_norm(zi_ops *ops, const float *x, size_t T, size_t D, const float *weight, float eps,
                 const float *scale, float *y);

/* x += gate [D] * rms_norm(y): the second norm of a block, with gate (NULL: ones) and residual.
 * y is overwritten. */
void zi_add_rms_norm(zi_ops *ops, float *x, float *y, size_t T, size_t D, const float *weight,
                     float eps, const float *gate);

/* y = (x - mean) / sqrt(var + eps) * (1 + scale [D]) for each row: layer norm without weights. */
void zi_layer_norm(zi_ops *ops, const float *x, size_t T, size_t D, float eps, const float *scale,
                   float *y);

/* ---- group_norm.c ---- */

/* A picture [height, width, channels] whose rows lie `stride` floats apart. */
typedef struct {
    float *data;
    size_t height, width, channels, stride;
} zi_picture;

/* What a group norm must know of a picture: of each channel its mean and the sum of squared
 * deviations from it. */
typedef struct {
    double pixels;
    double mean[ZI_MAX_CHANNELS], spread[ZI_MAX_CHANNELS];
} zi_moments;

typedef struct {
    const float *weight, *bias; /* [channels] */
    size_t channels, groups;
    float eps;
} zi_group_norm;

void zi_moments_measure(zi_ops *ops, const zi_picture *x, zi_moments *out);

/* y [H * W, C] = group_norm(x [H, W, C]), whose moments are known. */
void zi_group_norm_apply(zi_ops *ops, const zi_group_norm *norm, const zi_moments *moments,
                         const zi_picture *x, float *y);

/* ---- pointwise.c ---- */

void zi_add(zi_ops *ops, float *x, const float *y, size_t n); /* x += y */
/* x = silu(x) * y (SwiGLU's gate). */
void zi_silu_mul(zi_ops *ops, float *x, const float *y, size_t n);

/* Turns pairs of each head by the row's angles: x [T, heads * dim], cosines and sines [T, dim/2].
 * interleaved: pairs (0,1), (2,3), ... as complex numbers; otherwise (i, i + dim/2). */
void zi_rope(zi_ops *ops, float *x, size_t T, size_t heads, size_t dim, const float *cosines,
             const float *sines, bool interleaved);

/* ---- conv.c ---- */

typedef struct {
    const zi_conv *conv;       /* 3x3 */
    zi_picture x;              /* [H, W, in]; doubled: [H/2, W/2, in] */
    bool doubled;              /* each pixel of x stands for 2x2 */
    const zi_group_norm *norm; /* x passes through this and SiLU first; NULL: as it is */
    zi_picture y;              /* [H, W, out] */
    bool add;                  /* add to y instead of overwriting it */
    /* At once a 1x1 convolution of x itself, [out, in], not in groups; NULL: none. */
    const zi_matrix *shortcut;
    const float *shortcut_bias;
    zi_picture side; /* its result, [H, W, out] */
    /* Those of x if there is a norm, replaced by those of y; NULL: of no interest. */
    zi_moments *moments;
    size_t band; /* rows of blocks that are worked on together; 0: what suits a cache */
} zi_conv3x3_args;

/* 3x3 convolution, stride 1, inside a border of zeros. Takes working memory from the arena and
 * gives it back. Results may take the place of x: y and side may share memory with x where their
 * row r (doubled: rows 2r and 2r + 1) ends before row r + 1 of x begins. */
void zi_conv3x3(zi_ops *ops, const zi_conv3x3_args *args, zi_arena *arena);

/* Adds what that takes to a measuring arena (of pictures only the shapes count). */
void zi_conv3x3_plan(const zi_ops *ops, const zi_conv3x3_args *args, zi_arena *arena);

#endif
