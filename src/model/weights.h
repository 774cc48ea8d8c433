/* Binding: every tensor that a component needs, found by name and checked for shape and type. The
 * first failure sticks, so a component binds in straight lines and asks once at the end. */
#ifndef ZI_MODEL_WEIGHTS_H
#define ZI_MODEL_WEIGHTS_H

#include "io/source.h"
#include "ops/ops.h"

/* The weights of one component. Matrices stay where the file is mapped; vectors (norms, biases) are
 * small and kept as f32 copies. */
typedef struct {
    zi_checkpoint checkpoint;
    zi_checkpoint *opened; /* of a language model, whose tensors are found in `source`; or NULL */
    zi_source source;
    const char *prefix; /* before every name: "" or "model." */
    int bits;           /* 8 or 4: matrices are quantized in groups of 64 while binding; or 0 */
    bool random;        /* no checkpoint: weights are made up, for benchmarks */
    void *noise;        /* the random matrix data that all matrices share */
    zi_dtype noise_type;
    void **owned; /* vectors and quantized matrices */
    size_t owned_count;
    bool *used; /* by tensor of the checkpoint, or by entry of the source */
    bool failed;
    zi_error *error; /* while binding */
} zi_weights;

/* Opens DIR/NAME.safetensors or its shards. Begin binding with weights->error set. */
bool zi_weights_open(const char *dir, const char *name, zi_weights *out,
                     zi_error *error) ZI_CHECKED;

/* Takes over an open checkpoint of a language model in any layout, also on failure. group: as for
 * zi_source_create. */
bool zi_weights_open_language(zi_checkpoint *checkpoint, size_t group, zi_weights *out,
                              zi_error *error) ZI_CHECKED;

/* Random weights of type for any name that is asked for: matrices of small values, vectors of ones.
 * largest: elements of the largest matrix. bits: 0, or those of quantized matrices. */
bool zi_weights_random(zi_dtype type, int bits, size_t largest, zi_weights *out,
                       zi_error *error) ZI_CHECKED;

void zi_weights_close(zi_weights *weights);

/* name is printf-like. On failure the result is empty and weights->failed is set. */
zi_matrix zi_weights_matrix(zi_weights *weights, size_t rows, size_t columns, const char *name, ...)
    ZI_PRINTF(4, 5);
const float *zi_weights_vector(zi_weights *weights, size_t n, const char *name, ...)
    ZI_PRINTF(3, 4);

/* A single row, stored as [1, n]. */
const float *zi_weights_row(zi_weights *weights, size_t n, const char *name);

/* The weight NAME.weight [out, in, size, size] and NAME.bias [out] of a convolution. */
zi_conv zi_weights_conv(zi_weights *weights, size_t out, size_t in, size_t size, const char *name,
                        ...) ZI_PRINTF(5, 6);

/* NAME.weight and NAME.bias [channels] of a group norm. */
zi_group_norm zi_weights_group_norm(zi_weights *weights, size_t channels, size_t groups, float eps,
                                    const char *name, ...) ZI_PRINTF(5, 6);

bool zi_weights_has(const zi_weights *weights, const char *name);

/* Fails for the first tensor that nobody asked for: the file is of another model. */
bool zi_weights_all_used(zi_weights *weights, zi_error *error) ZI_CHECKED;

#endif
