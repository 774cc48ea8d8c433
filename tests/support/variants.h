/* Components of the reference model with other tensor names and value formats. */
#ifndef ZI_TEST_VARIANTS_H
#define ZI_TEST_VARIANTS_H

#include "golden.h"

/* How matrices with rows of whole groups of 64 (for formats with groups of 16 and 32: of 32) are
 * stored; all other tensors are F32. Rounding is to the nearest code, not the best that the
 * format's own tools find. */
typedef enum {
    ZI_AS_F16,
    ZI_AS_E4M3,
    ZI_AS_E5M2,
    ZI_AS_SCALED_E4M3, /* a scale per tensor: NAME.weight_scale */
    ZI_AS_LEGACY_E4M3, /* a scale per tensor: NAME.scale_weight, and the marker scaled_fp8 */
    ZI_AS_I8,          /* a scale per row, and markers comfy_quant */
    ZI_AS_Q4,          /* MLX, 4 bits in groups of 64 */
    ZI_AS_Q8_32,       /* MLX, 8 bits in groups of 32 */
    ZI_AS_Q8_0,        /* GGUF's blocks */
    ZI_AS_IQ4_NL,
    ZI_AS_IQ4_XS,    /* IQ4_NL where rows are no blocks of 256 */
    ZI_AS_Q2_32,     /* MLX, 2 bits in groups of 32 */
    ZI_AS_Q3,        /* MLX, 3 bits in groups of 64 */
    ZI_AS_Q5_128,    /* MLX, 5 bits in groups of 128, if they divide a row, else of 64 */
    ZI_AS_Q6,        /* MLX, 6 bits in groups of 64 */
    ZI_AS_MLX_MXFP4, /* MLX's modes */
    ZI_AS_MLX_MXFP8,
    ZI_AS_MLX_NVFP4,
    ZI_AS_NVFP4, /* ComfyUI, padded and swizzled, with markers comfy_quant */
    ZI_AS_MXFP8,
    ZI_AS_CONVROT /* int8, rotated in groups of 64 */
} zi_test_format;

/* A list that owns its names and data. */
typedef struct {
    zi_tensor_out *list;
    size_t count;
} zi_test_tensors;

/* Creates a component of the reference model with the tensor names of a layout. meaning, if not
 * NULL, receives the dequantized F32 values under canonical names. Free both with
 * zi_test_tensors_free. */
void zi_variant_make(zi_component part, zi_naming naming, zi_test_format format,
                     zi_test_tensors *out, zi_test_tensors *meaning);

/* zi_variant_make for the model at a path below tests/data/golden. */
void zi_variant_make_golden(const char *model, zi_component part, zi_naming naming,
                            zi_test_format format, zi_test_tensors *out, zi_test_tensors *meaning);

/* zi_variant_make for any other component, whose tensors are plain. */
void zi_variant_make_of(const zi_source *source, zi_naming naming, zi_test_format format,
                        zi_test_tensors *out, zi_test_tensors *meaning);

/* Appends a tensor; copies name and data. */
void zi_test_tensors_add(zi_test_tensors *tensors, const char *name, zi_dtype type, int dims,
                         const size_t *shape, const void *data);

void zi_test_tensors_free(zi_test_tensors *tensors);

/* Writes the tensors of a text encoder as a GGUF file with the reference model's tokenizer. */
bool zi_variant_write_encoder_gguf(const char *path, const zi_test_tensors *tensors,
                                   zi_error *error);

#endif
