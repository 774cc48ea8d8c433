/* Binding: every weight that a module consists of, found by name, checked for shape and type and
 * made known to the backend. Modules are described by tables. The first failure sticks, so a model
 * binds in straight lines and asks once at the end. */
#ifndef ZI_MODEL_WEIGHTS_H
#define ZI_MODEL_WEIGHTS_H

#include "backend/backend.h"
#include "io/layout.h"
#include "io/source.h"

/* The weights of one component of a model, by canonical names. Matrices stay as they are stored,
 * where the file is mapped; vectors (norms, biases) are small and kept as f32 copies. */
typedef struct {
    zi_backend *backend;       /* NULL: binding only checks names, shapes and types */
    zi_checkpoint *checkpoint; /* shared; NULL: weights are random, for benchmarks */
    zi_source source;
    zi_naming naming; /* of the file, for error texts */
    bool zeros;       /* rows that MLX files may lack were taken as zeros */
    void *noise;      /* the random data that all matrices share */
    zi_dtype noise_type;
    int noise_bits;   /* 8 or 4: random matrices are in groups of 64; or 0 */
    zi_weight **list; /* all that were bound, in the order of binding */
    size_t count;
    void **owned; /* vectors and factors */
    size_t owned_count;
    zi_buffer **buffers;
    size_t buffer_count;
    bool *used; /* by entry of the source */
    bool failed;
    zi_error *error; /* while binding; else NULL */
} zi_weights;

/* Opens the files of a part that is there. group: as for zi_source_create. Begin binding with
 * weights->error set. */
bool zi_weights_open(const zi_layout *layout, zi_component component, size_t group,
                     zi_backend *backend, zi_weights *out, zi_error *error) ZI_CHECKED;

/* Takes over a shared checkpoint of a language model in any layout, also on failure. group: as for
 * zi_source_create. */
bool zi_weights_open_language(zi_checkpoint *checkpoint, size_t group, zi_backend *backend,
                              zi_weights *out, zi_error *error) ZI_CHECKED;

/* Random weights of type for any name that is asked for: matrices of small values, vectors of ones.
 * largest: elements of the largest matrix. bits: 0, or those of quantized matrices. */
bool zi_weights_random(zi_dtype type, int bits, size_t largest, zi_backend *backend,
                       zi_weights *out, zi_error *error) ZI_CHECKED;

void zi_weights_close(zi_weights *weights);

/* ---- modules ---- */

typedef enum {
    ZI_SLOT_VECTOR, /* [rows] */
    ZI_SLOT_ROW, /* [1, rows]: a pad token, which the seed repository's converter to MLX loses: of
                    MLX's files alone a missing one is zeros, and weights->zeros is set */
    ZI_SLOT_MATRIX, /* [rows, columns] */
    ZI_SLOT_CONV1,  /* [rows, columns, 1, 1] */
    ZI_SLOT_CONV3   /* [rows, columns, 3, 3] */
} zi_slot_kind;

/* A weight of a module. */
typedef struct {
    const char *name; /* behind the module's own; NULL ends a table */
    zi_slot_kind kind;
    int rows, columns; /* which of the module's sizes */
    size_t where;      /* offset in the module's struct of a const zi_weight * */
} zi_slot;

/* Binds the weights of a table to the struct at `module`, whose names begin with `prefix`
 * ("layers.0."). On failure weights->failed is set. */
void zi_weights_bind(zi_weights *weights, const char *prefix, const zi_slot *table,
                     const size_t *sizes, void *module);

/* Whether there is a tensor of that canonical name. */
bool zi_weights_has(const zi_weights *weights, const char *name);

/* Tensors whose names begin so are of no use here. */
void zi_weights_ignore(zi_weights *weights, const char *prefix, ...) ZI_PRINTF(2, 3);

/* Ends binding. Fails for the first tensor that nobody asked for: the file is of another model. */
bool zi_weights_end_binding(zi_weights *weights, zi_error *error) ZI_CHECKED;

#endif
