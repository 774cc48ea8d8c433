/* Values of a write item: read from its source tensors as f32, and stored in the item's type or
 * quantization. */
#ifndef ZI_CONVERT_ITEM_VALUES_H
#define ZI_CONVERT_ITEM_VALUES_H

#include "convert/plan.h"

/* Values of a full segment. A row of a matrix is divided into segments of this size, which holds
 * whole blocks and groups of every quantization; a transposed convolution row is one segment. */
enum { ZI_SEGMENT_VALUES = 1 << 15 };

/* Number of values in the item's segments: ZI_SEGMENT_VALUES, or a whole row if that is shorter or
 * its order of dimensions changes. The last segment of a row may be shorter. */
size_t zi_item_segment(const zi_write_item *item);

/* Reads n values of one row of the item as f32, with scales applied, from column `from` on, where a
 * segment begins, at most to its end, in the item's element order. Values in MLX groups are bit for
 * bit what mx.dequantize gives. scratch and out: [n], without overlap. */
void zi_item_read_values(const zi_write_item *item, size_t row, size_t from, size_t n,
                         float *scratch, float *out);

/* Output buffers. scales and biases are used for MLX groups only. */
typedef struct {
    uint8_t *values, *scales, *biases;
} zi_item_buffers;

/* Converts n values, whole groups and blocks, to the item's storage and writes them to the buffers,
 * which have room for them; x may be overwritten. factor: the scale of a scaled tensor, by which
 * values are divided; else ignored. False: a finite value exceeds the range of the storage, or
 * gives blocks a scale that does; what is in the buffers then is not to be used. */
bool zi_item_store_values(const zi_write_item *item, float *x, size_t n, float factor,
                          zi_item_buffers to);

#endif
