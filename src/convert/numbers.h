/* Numbers of entries in f32, and in the form that an item stores them in. */
#ifndef ZI_CONVERT_NUMBERS_H
#define ZI_CONVERT_NUMBERS_H

#include "convert/plan.h"

/* A row of a matrix falls into segments of this many numbers, whole blocks and groups of any kind;
 * a row of a convolution is one segment. */
enum { ZI_SEGMENT = 1 << 15 };

/* Numbers of a segment, or of the last one of a row. */
size_t zi_segment(const zi_item *item);

/* `n` numbers of a row from column `from` on, in the order in which the item has them. scratch: as
 * many floats again. Grouped numbers are what mx.dequantize makes of them. */
void zi_numbers_read(const zi_item *item, size_t row, size_t from, size_t n, float *scratch,
                     float *out);

/* Where they go: all bytes of their numbers, and the scales and biases of their groups. */
typedef struct {
    uint8_t *numbers, *scales, *biases;
} zi_written;

/* Stores n numbers (which are changed) in an item's form. False when a half cannot hold one of
 * them. factor: of scaled numbers. */
bool zi_numbers_write(const zi_item *item, float *x, size_t n, float factor, zi_written to);

#endif
