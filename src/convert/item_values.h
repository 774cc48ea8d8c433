/* Numbers of entries in f32, and in the form that an item stores them in. */
#ifndef ZI_CONVERT_ITEM_VALUES_H
#define ZI_CONVERT_ITEM_VALUES_H

#include "convert/plan.h"

/* A row of a matrix falls into segments of this many numbers, whole blocks and groups of any kind;
 * a row of a convolution is one segment. */
enum { ZI_SEGMENT_VALUES = 1 << 15 };

/* Numbers of a segment, or of the last one of a row. */
size_t zi_item_segment(const zi_write_item *item);

/* `n` numbers of a row from column `from` on, in the order in which the item has them. scratch: as
 * many floats again. Grouped numbers are what mx.dequantize makes of them. */
void zi_item_read_values(const zi_write_item *item, size_t row, size_t from, size_t n,
                         float *scratch, float *out);

/* Where they go: all bytes of their numbers, and the scales and biases of their groups. */
typedef struct {
    uint8_t *values, *scales, *biases;
} zi_item_buffers;

/* Stores n numbers (which are changed) in an item's form. False when a half cannot hold one of
 * them. factor: of scaled numbers. */
bool zi_item_store_values(const zi_write_item *item, float *x, size_t n, float factor,
                          zi_item_buffers to);

#endif
