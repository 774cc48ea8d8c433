/* The reference model written in other layouts and number formats, for tests. */
#ifndef ZI_TEST_VARIANTS_H
#define ZI_TEST_VARIANTS_H

#include "golden.h"

/* How the matrices whose rows are whole groups of 64 are stored; the rest is F32, in GGUF F16. */
typedef enum {
    ZI_AS_F16,
    ZI_AS_E4M3,
    ZI_AS_E5M2,
    ZI_AS_SCALED_E4M3, /* a factor for each tensor: NAME.weight_scale */
    ZI_AS_LEGACY_E4M3, /* the same as NAME.scale_weight, beside scaled_fp8 */
    ZI_AS_I8,          /* a factor for each row, and markers comfy_quant */
    ZI_AS_Q4,          /* MLX, 4 bits in groups of 64 */
    ZI_AS_Q8_32,       /* MLX, 8 bits in groups of 32 */
    ZI_AS_Q8_0         /* GGUF's blocks */
} zi_test_format;

/* Tensors with names and data of their own. */
typedef struct {
    zi_tensor_out *list;
    size_t count;
} zi_test_tensors;

/* Makes a part of the reference model, in the names of a layout. meaning, if not NULL: what the
 * stored numbers stand for, worked out here, as F32 by canonical names. */
void zi_variant_make(zi_component part, zi_naming naming, zi_test_format format,
                     zi_test_tensors *out, zi_test_tensors *meaning);

/* Copies of all of these go to one more. */
void zi_variant_add(zi_test_tensors *tensors, const char *name, zi_dtype type, int dims,
                    const size_t *shape, const void *data);

void zi_variant_free(zi_test_tensors *tensors);

/* Writes a text encoder's GGUF file with the reference model's tokenizer in it. */
bool zi_variant_write_encoder(const char *path, const zi_test_tensors *tensors, zi_error *error);

#endif
