/* Binding: every tensor that a component needs, found by name and checked for shape and type. The
 * first failure sticks, so a component binds in straight lines and asks once at the end. */
#ifndef ZI_MODEL_WEIGHTS_H
#define ZI_MODEL_WEIGHTS_H

#include "io/layout.h"
#include "io/source.h"
#include "backend/cpu/ops.h"

/* The weights of one part of a model, by canonical names. Matrices stay as they are stored, where
 * the file is mapped; vectors (norms, biases) are small and kept as f32 copies. */
typedef struct {
    zi_checkpoint *checkpoint; /* NULL: weights are made up, for benchmarks */
    zi_source source;
    zi_naming naming; /* of the file, for error texts */
    bool zeros;       /* rows that MLX files may lack were taken as zeros */
    int bits;         /* 8 or 4: matrices are quantized in groups of 64 while binding; or 0 */
    void *noise;      /* the random matrix data that all matrices share */
    zi_dtype noise_type;
    void **owned; /* vectors, scales and quantized matrices */
    size_t owned_count;
    bool *used; /* by entry of the source */
    bool failed;
    zi_error *error; /* while binding */
} zi_weights;

/* Opens the files of a part that is there. group: as for zi_source_create. Begin binding with
 * weights->error set. */
bool zi_weights_open(const zi_layout *layout, zi_part part, size_t group, zi_weights *out,
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

/* A single row [1, n]. The only ones are the pad tokens, which the seed repository's converter to
 * MLX loses: of MLX's files alone a missing one is zeros, and weights->zeros is set. */
const float *zi_weights_row(zi_weights *weights, size_t n, const char *name);

/* The weight NAME.weight [out, in, size, size] and NAME.bias [out] of a convolution. */
zi_conv zi_weights_conv(zi_weights *weights, size_t out, size_t in, size_t size, const char *name,
                        ...) ZI_PRINTF(5, 6);

/* NAME.weight and NAME.bias [channels] of a group norm. */
zi_group_norm zi_weights_group_norm(zi_weights *weights, size_t channels, size_t groups, float eps,
                                    const char *name, ...) ZI_PRINTF(5, 6);

/* Whether there is a tensor of that canonical name. */
bool zi_weights_has(const zi_weights *weights, const char *name);

/* What begins so is of no use: the part that draws no pictures. */
void zi_weights_ignore(zi_weights *weights, const char *beginning, ...) ZI_PRINTF(2, 3);

/* Fails for the first tensor that nobody asked for: the file is of another model. */
bool zi_weights_all_used(zi_weights *weights, zi_error *error) ZI_CHECKED;

/* Fails for the first tensor with a number that is not finite, and for the first norm of zeros
 * alone. Reads everything. */
bool zi_weights_sound(zi_weights *weights, zi_error *error) ZI_CHECKED;

#endif
