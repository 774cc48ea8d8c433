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
    float *packed;    /* the input of a product, see linear.c */
    double *partials; /* for sums over a whole picture, see norm.c */
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
 * Plain (bits 0): of a computing type. In groups (bits 8 or 4, as MLX stores them): each run of
 * `group` numbers of a row, which divides `columns`, shares a scale and a bias [rows,
 * columns/group], and stands for q * scale + bias with q from 0 on, one byte each, or two to a
 * byte, low one first. */
typedef struct {
    const void *data;
    zi_dtype type;
    size_t rows, columns;
    int bits;
    size_t group; /* 32, 64 or 128 */
    const void *scales, *biases;
    zi_dtype scale_type;
} zi_matrix;

/* A stored convolution [out, in, size, size] with its bias [out]; size is 1 or 3. */
typedef struct {
    const void *data;
    zi_dtype type;
    size_t out, in, size;
    const float *bias;
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

typedef struct {
    const float *weight, *bias; /* [channels] */
    size_t channels, groups;
    float eps;
} zi_group_norm;

/* y [H, W, C] = group_norm(x [H, W, C]). */
void zi_group_norm_apply(zi_ops *ops, const zi_group_norm *norm, const float *x, size_t pixels,
                         float *y);

/* y [H+2, W+2, C] = silu(group_norm(x [H, W, C])) inside a border of zeros, as conv wants it. */
void zi_group_norm_silu_pad(zi_ops *ops, const zi_group_norm *norm, const float *x, size_t H,
                            size_t W, float *y);

/* ---- pointwise.c ---- */

void zi_add(zi_ops *ops, float *x, const float *y, size_t n); /* x += y */
/* x = silu(x) * y (SwiGLU's gate). */
void zi_silu_mul(zi_ops *ops, float *x, const float *y, size_t n);

/* Turns pairs of each head by the row's angles: x [T, heads * dim], cosines and sines [T, dim/2].
 * interleaved: pairs (0,1), (2,3), ... as complex numbers; otherwise (i, i + dim/2). */
void zi_rope(zi_ops *ops, float *x, size_t T, size_t heads, size_t dim, const float *cosines,
             const float *sines, bool interleaved);

/* ---- conv.c ---- */

/* Floats that zi_conv3x3 needs for the packed weights of a layer. */
size_t zi_conv3x3_workspace(const zi_ops *ops, size_t in, size_t out);

/* y [H, W, out] = conv (3x3, stride 1) of x [H+2, W+2, in], which carries its border of zeros. */
void zi_conv3x3(zi_ops *ops, const zi_conv *conv, const float *x, size_t H, size_t W,
                float *workspace, float *y);

/* y [H+2, W+2, C]: x [H, W, C] inside a border of zeros. */
void zi_pad(zi_ops *ops, const float *x, size_t H, size_t W, size_t C, float *y);

/* y [2H+2, 2W+2, C]: x [H, W, C] with each pixel doubled, inside a border of zeros. */
void zi_upsample_pad(zi_ops *ops, const float *x, size_t H, size_t W, size_t C, float *y);

#endif
