/* MLX's affine quantization (mx.quantize): numbers of a row in groups, each with scale and bias. */
#ifndef ZI_IO_QUANTIZE_H
#define ZI_IO_QUANTIZE_H

#include "base/dtype.h"

#include <stdbool.h>

/* One group w [n], bits 8 or 4: q [n * bits / 8] bytes (of 4 bits the low half first), scale and
 * bias as elements of type, an F32, F16 or BF16. The same bits as mx.quantize gives. */
void zi_quantize_group(const float *w, size_t n, int bits, zi_dtype type, uint8_t *q, void *scale,
                       void *bias);

#endif
