/* What model code computes with: operations on tensors in the memory of a backend.
 *
 * A backend is a device and a way to compute on it. It is a folder beside this file: it fills a
 * zi_backend_ops, and model code, which calls the functions at the end of this file, knows nothing
 * else of it. cpu/ is always there.
 *
 * There is no graph: operations are called in the order in which they are to happen, and a backend
 * executes or records them. They cannot fail: shapes are checked when weights are bound, and
 * memory is planned before the first of them. What goes wrong on a device is remembered:
 * zi_submit, zi_wait and zi_read report it from then on.
 *
 * Arguments that are passed by address are copied before a call returns, names and row numbers
 * too; a zi_weight stays where it is for as long as its model is loaded.
 *
 * Tensors that are computed with are f32. Rows are tokens, pixels or rows of pixels. Views have no
 * gaps between rows but where it says so: the views of feature maps, of elementwise operations,
 * of check_finite, read and write may have gaps. Offsets are multiples of 4 bytes. The views of an
 * operation do not overlap unless it says so. */
#ifndef ZI_BACKEND_BACKEND_H
#define ZI_BACKEND_BACKEND_H

#include "base/error.h"
#include "base/groups.h"

typedef struct zi_backend zi_backend;
typedef struct zi_backend_ops zi_backend_ops;

/* ---- memory ---- */

/* Memory of a backend, or a mapped file. A backend's own buffers begin with this. */
typedef struct {
    zi_backend *backend;
    size_t size;
    /* The memory's address in the host, which may access it only while no operation that uses it is
     * pending (see zi_wait); NULL: not visible to the host. */
    unsigned char *host;
} zi_buffer;

/* A tensor [rows, columns] in a buffer. */
typedef struct {
    zi_buffer *buffer; /* NULL: no tensor, as for an argument that is left out */
    size_t offset;     /* bytes */
    zi_dtype type;
    size_t rows, columns;
    size_t stride; /* elements from one row to the next; 0: every row is the same */
} zi_view;

/* The view of rows [row, row + rows) of a view; nothing is copied or checked. Not for types of
 * blocks. */
static inline zi_view zi_view_rows(zi_view view, size_t row, size_t rows)
{
    view.offset += row * view.stride * zi_dtype_size(view.type);
    view.rows = rows;
    return view;
}

/* The view of columns [column, column + columns) of a view, with gaps between rows; nothing is
 * copied or checked. Not for types of blocks. */
static inline zi_view zi_view_columns(zi_view view, size_t column, size_t columns)
{
    view.offset += column * zi_dtype_size(view.type);
    view.columns = columns;
    return view;
}

/* The view's elements as [rows, columns], as many as before; the view must be contiguous. Nothing
 * is checked. */
static inline zi_view zi_view_reshape(zi_view view, size_t rows, size_t columns)
{
    view.rows = rows;
    view.columns = view.stride = columns;
    return view;
}

/* Whether there are no gaps between rows. False when all rows are the same one (stride 0), unless
 * there is only one. */
static inline bool zi_view_contiguous(zi_view view)
{
    return view.stride == view.columns || view.rows == 1;
}

/* Host address of the first element, for use while no operation on it is pending. NULL: the view
 * has no buffer, or its memory is not visible to the host. */
static inline void *zi_view_host(zi_view view)
{
    return view.buffer && view.buffer->host ? view.buffer->host + view.offset : NULL;
}

/* ---- weights ---- */

/* A stored tensor: a matrix [rows, columns] in the type in which its file has it, or a vector,
 * which is f32 and has one row.
 *
 * Plain (bits 0): times a factor for all of it or for each row, if there are any. In groups (bits 2
 * to 8): each run of `group` elements of a row shares a scale and, if there are biases, a bias, and
 * stands for code * scale + bias, with codes as zi_codes says. A factor is for all scales.
 *
 * Rotated: what is stored is the weight times a rotation of each run of `rotation` elements of a
 * row (zi_rotate in matrix.h). So the product with the input, rotated likewise, is right. */
typedef struct {
    const char *name; /* canonical, see keymap.h; lives as long as the weights */
    zi_view data;     /* rows and columns count elements, however they are packed */
    int bits;
    zi_codes codes;
    size_t group; /* 16, 32, 64 or 128 */
    zi_view scales, biases;
    size_t padded_columns; /* of a row in memory, whole groups; 0: as many as columns */
    bool swizzled;         /* scales lie in tiles of 128 x 4, see matrix.h, of which row 0 of this
                              weight is row first_row; otherwise [rows, groups] */
    size_t first_row;
    size_t rotation; /* a power of four; 0: not rotated */
    zi_view factors; /* f32 [1, 1] or [1, rows] */
    size_t kernel;   /* of a convolution: its side, 1 or 3; columns are in * kernel * kernel */
    bool nhwc;       /* of a convolution: stored as [out, kernel, kernel, in], not [out, in, ...] */
} zi_weight;

/* Whether the weight is quantized (in groups, int8 or blocks; not fp8), so that fast operations can
 * use integer products. */
bool zi_weight_quantized(const zi_weight *weight);

/* ---- arguments ---- */

/* The largest dimensions of a session's operations: attention head width, depth of a product. */
typedef struct {
    size_t head_dim, depth;
    size_t layer; /* bytes of weights that are used from one submission to the next, at most; 0: not
                     known */
} zi_exec_limits;

/* Widest attention head and most channels of a group norm that backends must take. */
enum { ZI_MAX_HEAD = 1024, ZI_MAX_CHANNELS = 4096 };

/* softmax(q k^T / sqrt(dim)) v for each head. Head h reads key/value head h / (heads / kv_heads).
 */
typedef struct {
    zi_view q;   /* [T, heads * dim] */
    zi_view k;   /* [S, kv_heads * dim]; overwritten when fast */
    zi_view v;   /* [S, kv_heads * dim] */
    zi_view out; /* [T, heads * dim] */
    size_t heads, kv_heads, dim;
    bool causal; /* row t sees rows 0 to S - T + t */
    bool fast;   /* q and k may be quantized to eight bits, if the session computes fast */
} zi_attention_args;

typedef enum {
    ZI_RMS_NORM,     /* y = x / rms(x) * weight * (1 + scale); y may be x */
    ZI_ADD_RMS_NORM, /* y += gate * (x / rms(x) * weight); x is overwritten */
    ZI_LAYER_NORM    /* y = (x - mean) / sqrt(variance + eps) * (1 + scale) */
} zi_norm_kind;

/* For each row of x [T, D]. */
typedef struct {
    zi_norm_kind kind;
    zi_view x, y;            /* [T, D], without gaps */
    const zi_weight *weight; /* [D] */
    zi_view scale;           /* [1, D]; none: zeros */
    zi_view gate;            /* [1, D]; none: ones */
    float eps;
} zi_norm_args;

/* Rotates pairs of each head by the row's angles. */
typedef struct {
    zi_view x; /* [T, heads * dim], in place */
    size_t heads, dim;
    zi_view cosines, sines; /* [T, dim / 2] */
    bool interleaved;       /* pairs (0, 1), (2, 3), ...; otherwise (i, i + dim / 2) */
} zi_rope_args;

typedef enum {
    ZI_ADD,         /* x += y */
    ZI_ADD_SCALED,  /* x += a y */
    ZI_EXTRAPOLATE, /* x += a (x - y) */
    ZI_SILU,        /* x = silu(x) */
    ZI_SILU_MUL,    /* x = silu(x) y */
    ZI_TANH,        /* x = tanh(x) */
    ZI_DIVIDE_ADD,  /* x = x / a + b */
    ZI_ELEMENTWISE_COUNT
} zi_elementwise_kind;

/* Copies elements from one order to another: element (i, j, ...) of `extents` is at the offset
 * i * strides[0] + j * strides[1] + ... of each view. */
enum { ZI_PERMUTE_DIMS = 5 };
typedef struct {
    zi_view from, to; /* only where they begin counts */
    int dims;
    size_t extents[ZI_PERMUTE_DIMS], from_strides[ZI_PERMUTE_DIMS], to_strides[ZI_PERMUTE_DIMS];
} zi_permute_args;

/* A feature map [height, width, channels]: a view of `height` rows of width * channels elements. */
typedef struct {
    zi_view view;
    size_t width, channels;
} zi_feature_map;

/* What a group norm must know of a feature map are its moments: of each channel the mean, and m2,
 * the sum of squared deviations from it. They lie in a view of ZI_MOMENTS bytes a channel, room for
 * ZI_MAX_CHANNELS, into which only the backend looks. */
enum { ZI_MOMENTS = 16 };
typedef struct {
    const zi_weight *weight, *bias; /* [channels] */
    size_t groups;
    float eps;
} zi_group_norm;

/* A 3x3 convolution, stride 1, inside a border of zeros. Results may take the place of x: y and
 * side may share memory with x where their row r (doubled: rows 2r and 2r + 1) ends before row
 * r + 1 of x begins. */
typedef struct {
    const zi_weight *weight, *bias; /* kernel 3: [out, in * 9]; [out] */
    zi_feature_map x;               /* [H, W, in]; doubled: [H/2, W/2, in] */
    bool doubled;                   /* each pixel of x stands for 2x2 */
    const zi_group_norm *norm;      /* x passes through this and SiLU first; NULL: as it is */
    zi_feature_map y;               /* [H, W, out] */
    bool add;                       /* add to y instead of overwriting it */
    /* At once a 1x1 convolution of x itself: kernel 1, [out, in]; [out]. NULL: none. */
    const zi_weight *shortcut, *shortcut_bias;
    zi_feature_map side; /* its result, [H, W, out] */
    /* In: moments of x if there is a norm. Out: moments of y. Empty view: not needed. */
    zi_view moments;
    zi_view workspace; /* at least zi_conv3x3_workspace bytes */
    size_t band;       /* rows of blocks processed together; 0: the backend's choice */
} zi_conv3x3_args;

/* ---- backends ---- */

/* One session's operations on a backend, in their order, and their scratch memory. Sessions of one
 * backend may run at the same time; a session is used by one thread. A backend's own begin with
 * this. */
typedef struct {
    const zi_backend_ops *ops;
    zi_backend *backend;
    bool fast; /* integer products where weights are quantized */
    /* Computes with f16, too, because it is fast: what is not finite may be so in a session that is
     * not. */
    bool halves;
} zi_exec;

typedef struct zi_arena zi_arena; /* arena.h */

struct zi_backend_ops {
    const char *name; /* "cpu" */

    /* Memory of that size, not cleared. Sets the buffer only when it succeeds. */
    bool (*alloc)(zi_backend *, size_t size, zi_buffer **, zi_error *);
    /* Host memory, such as part of a mapped file, for weights: it stays there, unchanged and at any
     * address, for as long as the buffer is there. A backend may copy it. Sets the buffer only when
     * it succeeds. */
    bool (*import)(zi_backend *, const void *data, size_t size, zi_buffer **, zi_error *);
    void (*release)(zi_buffer *);
    /* An imported buffer will not be needed soon: a backend that is short of memory frees its copy
     * of that one first. NULL: the backend has no use for that. */
    void (*set_idle)(zi_buffer *);

    /* Sets *out only when it succeeds. */
    bool (*begin)(zi_backend *, bool fast, zi_exec **out, zi_error *);
    /* Takes scratch memory for operations from the arena, which may be measuring. */
    void (*plan)(zi_exec *, zi_arena *, zi_exec_limits);
    /* Discards unsubmitted operations and returns when none is running: buffers are released
     * right after. */
    void (*end)(zi_exec *);

    /* From and to host memory without gaps; in the order of the operations. Writing copies at once;
     * reading waits, as wait does, and reports what went wrong before it. */
    void (*write)(zi_exec *, zi_view, const void *);
    bool (*read)(zi_exec *, zi_view, void *, zi_error *);
    /* Has all recorded operations begin, and reports what is known to have gone wrong. Returns when
     * at most one earlier submission is unfinished: models call it after every layer, and progress
     * and cancellation are only as good as it keeps up with the device. */
    bool (*submit)(zi_exec *, zi_error *);
    /* Waits until all operations have finished, and reports errors. */
    bool (*wait)(zi_exec *, zi_error *);

    void (*linear)(zi_exec *, zi_view x, const zi_weight *, const zi_weight *bias, zi_view y);
    void (*embed)(zi_exec *, const zi_weight *, const int32_t *rows, size_t n, zi_view y);
    void (*attention)(zi_exec *, const zi_attention_args *);
    void (*norm)(zi_exec *, const zi_norm_args *);
    void (*rope)(zi_exec *, const zi_rope_args *);
    void (*elementwise)(zi_exec *, zi_elementwise_kind, zi_view x, zi_view y, float a, float b);
    void (*permute)(zi_exec *, const zi_permute_args *);
    void (*conv3x3)(zi_exec *, const zi_conv3x3_args *);
    size_t (*conv3x3_workspace)(const zi_exec *, const zi_conv3x3_args *);
    void (*moments)(zi_exec *, const zi_feature_map *, zi_view moments);
    void (*group_norm)(zi_exec *, const zi_group_norm *, zi_view moments, const zi_feature_map *,
                       zi_view y);
    void (*check_finite)(zi_exec *, zi_view, const char *name);
    void (*check_moments)(zi_exec *, zi_view moments, size_t channels, const char *name);

    /* Multiplications and additions per second, in registers, of all of the device, measured for
     * some 40 ms: in f32, or `fast` (integers, or matrix units). 0: there is no such arithmetic, or
     * measuring failed. */
    double (*peak)(zi_backend *, bool fast);

    void (*destroy)(zi_backend *); /* after its sessions and buffers are gone */
};

struct zi_backend {
    const zi_backend_ops *ops;
    /* Backends of the same variant give the same bits. Lives as long as the backend. */
    const char *variant;
};

/* ---- memory ---- */

/* Allocates size bytes of memory of the backend, not cleared; *out is for zi_buffer_release. False,
 * with *error set and *out unchanged: ZI_ERROR_NO_MEMORY, or the error of a scratch file that was
 * to replace memory. */
bool zi_buffer_alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error) ZI_CHECKED;

/* Makes a buffer of host memory at any address, for weights. data must stay, unchanged, until
 * zi_buffer_release(*out), which does not free it; a backend may copy it. False, with *error set:
 * out of memory; *out is unchanged. */
bool zi_buffer_import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                      zi_error *error) ZI_CHECKED;

/* Frees a buffer, which no pending operation may use; of an imported one not the host memory. NULL:
 * does nothing. */
void zi_buffer_release(zi_buffer *buffer);

/* Says that an imported buffer will not be needed soon, so that others may take its place in the
 * backend's memory; it can be used nevertheless. */
static inline void zi_buffer_set_idle(zi_buffer *buffer)
{
    const zi_backend_ops *ops = buffer->backend->ops;
    if (ops->set_idle) ops->set_idle(buffer);
}

/* ---- operations ---- */

/* y [T, N] = x [T, K] w^T + bias, with x and y f32, w [N, K] of any stored type and bias [N], which
 * may be NULL. If the session is fast and w is quantized, the products are integer ones. */
static inline void zi_linear(zi_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias,
                             zi_view y)
{
    exec->ops->linear(exec, x, w, bias, y);
}

/* y [n, columns] as f32 = the rows of w, of any stored type, with the numbers rows [n], from 0,
 * which are copied at once and must be in range: they are not checked. */
static inline void zi_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n,
                            zi_view y)
{
    exec->ops->embed(exec, w, rows, n, y);
}

/* args->out = softmax(q k^T / sqrt(dim)) v for each head, causal or not; several heads may share a
 * key/value head, see zi_attention_args. out must not overlap the others; k may be overwritten when
 * args->fast. */
static inline void zi_attention(zi_exec *exec, const zi_attention_args *args)
{
    exec->ops->attention(exec, args);
}

/* y = x / rms(x) * weight * (1 + scale) for each row, rms(x) = sqrt(mean(x^2) + eps). weight [D];
 * scale [1, D] may be a view without buffer (zeros); y may be x. */
static inline void zi_rms_norm(zi_exec *exec, zi_view x, const zi_weight *weight, float eps,
                               zi_view scale, zi_view y)
{
    exec->ops->norm(exec, &(zi_norm_args){ZI_RMS_NORM, x, y, weight, scale, {0}, eps});
}

/* y += gate * (x / rms(x) * weight) for each row, rms as in zi_rms_norm: the second norm of a
 * block, with gate [1, D] (a view without buffer: ones) and residual. x is overwritten. */
static inline void zi_rms_norm_add(zi_exec *exec, zi_view x, const zi_weight *weight, float eps,
                                   zi_view gate, zi_view y)
{
    exec->ops->norm(exec, &(zi_norm_args){ZI_ADD_RMS_NORM, x, y, weight, {0}, gate, eps});
}

/* y = (x - mean) / sqrt(variance + eps) * (1 + scale) for each row; scale [1, D] may be a view
 * without buffer (zeros). y must not overlap x. */
static inline void zi_layer_norm(zi_exec *exec, zi_view x, float eps, zi_view scale, zi_view y)
{
    exec->ops->norm(exec, &(zi_norm_args){ZI_LAYER_NORM, x, y, NULL, scale, {0}, eps});
}

/* Rotary position embedding: rotates pairs of elements of each head of args->x, in place, by the
 * angles of its row, given as cosines and sines. See zi_rope_args for shapes and pairs. */
static inline void zi_rope(zi_exec *exec, const zi_rope_args *args)
{
    exec->ops->rope(exec, args);
}

/* x += y; f32, of equal shape, without overlap. */
static inline void zi_add(zi_exec *exec, zi_view x, zi_view y)
{
    exec->ops->elementwise(exec, ZI_ADD, x, y, 0, 0);
}

/* x += a y; f32, of equal shape, without overlap. */
static inline void zi_add_scaled(zi_exec *exec, zi_view x, float a, zi_view y)
{
    exec->ops->elementwise(exec, ZI_ADD_SCALED, x, y, a, 0);
}

/* x += a (x - y); f32, of equal shape, without overlap. */
static inline void zi_extrapolate(zi_exec *exec, zi_view x, float a, zi_view y)
{
    exec->ops->elementwise(exec, ZI_EXTRAPOLATE, x, y, a, 0);
}

/* x = silu(x) = x / (1 + exp(-x)), f32, in place. */
static inline void zi_silu(zi_exec *exec, zi_view x)
{
    exec->ops->elementwise(exec, ZI_SILU, x, (zi_view){0}, 0, 0);
}

/* x = silu(x) y; f32, of equal shape, without overlap. */
static inline void zi_silu_mul(zi_exec *exec, zi_view x, zi_view y)
{
    exec->ops->elementwise(exec, ZI_SILU_MUL, x, y, 0, 0);
}

/* x = tanh(x), f32, in place. */
static inline void zi_tanh(zi_exec *exec, zi_view x)
{
    exec->ops->elementwise(exec, ZI_TANH, x, (zi_view){0}, 0, 0);
}

/* x = x / a + b, f32, in place; a is not 0. */
static inline void zi_divide_add(zi_exec *exec, zi_view x, float a, float b)
{
    exec->ops->elementwise(exec, ZI_DIVIDE_ADD, x, (zi_view){0}, a, b);
}

/* Copies f32 elements of args->from to args->to, which must not overlap, in another order: a box of
 * 2 to 5 dimensions, with strides in elements for each view. Only the first args->dims extents and
 * strides count. */
static inline void zi_permute(zi_exec *exec, const zi_permute_args *args)
{
    exec->ops->permute(exec, args);
}

/* to [rows, columns] = from, f32, without overlap; from may have stride 0, one row that stands for
 * all. The shape is that of `to`; that of from is not looked at. */
void zi_copy_rows(zi_exec *exec, zi_view from, zi_view to);

/* y = 3x3 convolution of x, stride 1, plus bias; added to y if args->add. Before, x passes through
 * group norm and SiLU (norm), has its pixels repeated (doubled), and gets a border of zeros. With a
 * shortcut, args->side = 1x1 convolution of x without the norm. args->moments, those of x for the
 * norm, become those of y. See zi_conv3x3_args for memory that may be shared. */
static inline void zi_conv3x3(zi_exec *exec, const zi_conv3x3_args *args)
{
    exec->ops->conv3x3(exec, args);
}

/* Bytes of args->workspace that zi_conv3x3 needs; SIZE_MAX: more than any memory has. Of args the
 * shapes of weight and shortcut, those of x and y (not their buffers), doubled, norm (NULL or not)
 * and args->band count. */
static inline size_t zi_conv3x3_workspace(const zi_exec *exec, const zi_conv3x3_args *args)
{
    return exec->ops->conv3x3_workspace(exec, args);
}

/* Writes the mean and the sum of squared deviations of each channel of x to `moments`, a view of
 * ZI_MOMENTS bytes for each of ZI_MAX_CHANNELS, also if x has fewer. Only the backend knows their
 * layout. */
static inline void zi_moments(zi_exec *exec, const zi_feature_map *x, zi_view moments)
{
    exec->ops->moments(exec, x, moments);
}

/* y [H * W, C], without gaps, = group_norm(x [H, W, C]) by the moments of x, which are known from
 * zi_moments or zi_conv3x3. No activation. */
static inline void zi_group_norm_apply(zi_exec *exec, const zi_group_norm *norm, zi_view moments,
                                       const zi_feature_map *x, zi_view y)
{
    exec->ops->group_norm(exec, norm, moments, x, y);
}

/* Values of x (f32 or f64) that are not finite make a later zi_submit, and the next zi_wait or
 * zi_read, fail with the name of the first such view (zi_error_not_finite). name is copied, cut to
 * 255 bytes. */
static inline void zi_check_finite(zi_exec *exec, zi_view x, const char *name)
{
    exec->ops->check_finite(exec, x, name);
}

/* Checks a feature map by its moments, which are finite exactly if its values are: if they are not,
 * a later zi_submit, and the next zi_wait or zi_read, fail with this name, as after
 * zi_check_finite. name is copied. channels: of the feature map. */
static inline void zi_check_moments(zi_exec *exec, zi_view moments, size_t channels,
                                    const char *name)
{
    exec->ops->check_moments(exec, moments, channels, name);
}

/* Sets *error, if error is not NULL, for values that are not finite: ZI_ERROR_BAD_FORMAT with the
 * subject `name`, which is copied. Returns false. */
bool zi_error_not_finite(zi_error *error, const char *name);

/* Whether an error is one of zi_error_not_finite. */
bool zi_error_is_not_finite(const zi_error *error);

/* Copies host memory, rows without gaps, to the view, in the order of the operations; `from` is
 * free for other use at once. It cannot fail. */
static inline void zi_write(zi_exec *exec, zi_view to, const void *from)
{
    exec->ops->write(exec, to, from);
}

/* Waits for all operations, then copies the view to host memory, rows without gaps. False:
 * something went wrong before; *error says what, and `to` is undefined. */
ZI_CHECKED static inline bool zi_read(zi_exec *exec, zi_view from, void *to, zi_error *error)
{
    return exec->ops->read(exec, from, to, error);
}

/* Has all recorded operations begin; waits until at most one earlier submission is unfinished.
 * False: something is known to have gone wrong; *error says what, and later calls fail, too. True:
 * failures may still show up later. */
ZI_CHECKED static inline bool zi_submit(zi_exec *exec, zi_error *error)
{
    return exec->ops->submit(exec, error);
}

/* Waits until all operations have finished. False: something went wrong in one of them; *error says
 * what, and later calls fail, too: the session is to be closed. */
ZI_CHECKED static inline bool zi_wait(zi_exec *exec, zi_error *error)
{
    return exec->ops->wait(exec, error);
}

#endif
