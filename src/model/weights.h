/* Binding: every weight of a module is looked up by name, checked for shape and type, and imported
 * into the backend. Tables describe modules. After the first failure, later calls do nothing, so
 * that a model binds in straight-line code and checks `failed` once at the end. */
#ifndef ZI_MODEL_WEIGHTS_H
#define ZI_MODEL_WEIGHTS_H

#include "backend/backend.h"
#include "io/layout.h"
#include "io/source.h"

/* How random matrices are quantized, for benchmarks: to blocks, or as zi_weight has the other
 * fields. Only matrices are whose columns are whole blocks, or multiples of 64 (rotated: of the
 * rotation), no convolutions. */
typedef struct {
    zi_dtype blocks; /* IQ4_NL or IQ4_XS, with all else 0; 0: none */
    zi_codes codes;
    int bits; /* 0: I8 with a factor for each row */
    size_t group;
    zi_dtype scale_type;
    bool swizzled;
    size_t rotation;
} zi_random_format;

/* The weights of one component, by canonical names. Matrices stay in the mapped file as they are
 * stored; vectors (norms, biases) are copied as f32. */
typedef struct {
    zi_backend *backend;       /* borrowed; NULL: binding only checks names, shapes and types */
    zi_checkpoint *checkpoint; /* one reference; NULL: weights are random, for benchmarks */
    zi_source source;
    zi_naming naming;         /* of the file, for error texts */
    bool zeros;               /* pad tokens missing from an MLX file were replaced by zeros */
    bool pads_from_reference; /* missing pad tokens were taken from the reference model */
    /* One reference, of zi_weights_add_reference; NULL: none. */
    zi_checkpoint *reference_checkpoint;
    zi_source reference; /* the reference model's tensors of the same component */
    void *noise;         /* random data that all matrices share, for benchmarks */
    zi_dtype noise_type;
    const zi_random_format *noise_format; /* of the matrices; NULL: not quantized */
    void *noise_codes, *noise_scales;     /* what quantized matrices share; NULL: none are */
    zi_weight **list;                     /* [count] the bound weights, in order of binding */
    size_t count;
    void **owned; /* [owned_count] f32 copies of vectors and scales */
    size_t owned_count;
    zi_buffer **buffers;
    size_t buffer_count;
    bool *used; /* [source.count] whether each entry was bound or ignored */
    bool failed;
    zi_error *error;    /* while binding; else NULL */
    const char *config; /* borrowed while binding, for error texts: the config file that shapes come
                           from; NULL: none, they come from the tensors or GGUF metadata */
} zi_weights;

/* Opens the files of a component that is present in the layout, which may then be freed. backend:
 * borrowed, NULL: binding only checks. group: as in zi_source_create. The caller sets out->error
 * and, if there is one, out->config before zi_weights_bind, and calls zi_weights_close or a
 * function that takes ownership and does both, such as zi_qwen_bind. *out is unchanged after a
 * failure. */
bool zi_weights_open(const zi_layout *layout, zi_component component, size_t group,
                     zi_backend *backend, zi_weights *out, zi_error *error) ZI_CHECKED;

/* Opens the weights of a language model in an open checkpoint, whose reference it takes, also on
 * failure; *out is unchanged then. group, backend, and what the caller does next: as for
 * zi_weights_open. */
bool zi_weights_open_language(zi_checkpoint *checkpoint, size_t group, zi_backend *backend,
                              zi_weights *out, zi_error *error) ZI_CHECKED;

/* Random weights, always the same, for any name that is bound: matrices of small values of `type`
 * (they share one array), vectors and pad tokens of ones. largest: elements of the largest matrix
 * that will be bound, whole blocks of the format. format: how matrices are quantized, borrowed as
 * long as the weights live; NULL: they are not. Ownership as for zi_weights_open. False: memory is
 * short, and *out is unchanged. */
bool zi_weights_random(zi_dtype type, const zi_random_format *format, size_t largest,
                       zi_backend *backend, zi_weights *out, zi_error *error) ZI_CHECKED;

/* Opens the same component of another model's layout, which may then be freed, to take pad tokens
 * from it that these weights lack: those that have the right shape. To be called before
 * zi_weights_bind, once. False: it cannot be opened; *error is set, and the weights stay open. */
bool zi_weights_add_reference(zi_weights *weights, const zi_layout *reference,
                              zi_error *error) ZI_CHECKED;

/* Frees the bound weights, their copies and buffers, which no pending operation may use, drops the
 * reference to the checkpoint and zeroes *weights. A zeroed struct is allowed, NULL is not. The
 * backend stays. */
void zi_weights_close(zi_weights *weights);

/* Says that the weights will not be needed soon: a backend that is short of memory makes room in
 * theirs first. They can be used nevertheless. */
void zi_weights_set_idle(const zi_weights *weights);

/* ---- modules ---- */

typedef enum {
    ZI_SLOT_VECTOR, /* [rows] */
    ZI_SLOT_ROW,    /* [1, rows]: a pad token. A missing one is taken from the reference, which sets
                       weights->pads_from_reference; else, in MLX files, it becomes zeros, which
                       sets weights->zeros */
    ZI_SLOT_MATRIX, /* [rows, columns] */
    ZI_SLOT_CONV1,  /* [rows, columns, 1, 1] */
    ZI_SLOT_CONV3   /* [rows, columns, 3, 3] */
} zi_slot_kind;

/* One weight of a module. */
typedef struct {
    const char *name; /* behind the module's prefix; NULL ends a table */
    zi_slot_kind kind;
    int rows, columns; /* indices into the module's sizes */
    size_t where;      /* offset of the const zi_weight * in the module's struct */
} zi_slot;

/* Binds the weights of a table, named prefix ("layers.0.") + slot name, and stores pointers to
 * them, valid until zi_weights_close, in the struct `module`. sizes: dimensions that slots refer to
 * by index. The first failure sets weights->failed and *weights->error and ends the call, later
 * pointers untouched; if failed is set already, it does nothing. */
void zi_weights_bind(zi_weights *weights, const char *prefix, const zi_slot *table,
                     const size_t *sizes, void *module);

/* Bytes of the weights of a table that the struct `module` has, as they are imported. */
size_t zi_weights_bytes(const zi_slot *table, const void *module);

/* Whether a tensor of this canonical name exists; does not mark it as used. Random weights have
 * every name. */
bool zi_weights_has(const zi_weights *weights, const char *name);

/* Marks all tensors whose canonical names begin with prefix (printf-like) as used, so that
 * zi_weights_end_binding accepts them, though they are not bound. */
void zi_weights_ignore(zi_weights *weights, const char *prefix, ...) ZI_PRINTF(2, 3);

/* Ends binding and clears weights->error and config, which stay after a failure. Fails with
 * ZI_ERROR_BAD_FORMAT for the first tensor that was neither bound nor ignored, since the file is
 * then of another model. Does not look at weights->failed, which the caller checks before. Closes
 * nothing. */
bool zi_weights_end_binding(zi_weights *weights, zi_error *error) ZI_CHECKED;

#endif
