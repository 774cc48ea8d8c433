/* MLX's affine quantization (mx.quantize): values of a row in groups, each with scale and bias. */
#ifndef ZI_IO_QUANTIZE_H
#define ZI_IO_QUANTIZE_H

#include "base/dtype.h"

#include <stdbool.h>

/* Quantizes one group w [n] to `bits` bits, 8 or 4 (n even): q [n * bits / 8] bytes (4 bits: low
 * half first), and one scale and one bias as elements of `type` (F32, F16 or BF16). A value is
 * about scale times q plus bias. Bit-identical to mx.quantize. */
void zi_quantize_group(const float *w, size_t n, int bits, zi_dtype type, uint8_t *q, void *scale,
                       void *bias);

#endif
