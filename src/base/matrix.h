/* A stored matrix in host memory. */
#ifndef ZI_BASE_MATRIX_H
#define ZI_BASE_MATRIX_H

#include "base/dtype.h"

/* [rows, columns], row-major; data is borrowed (mapped) and promises no alignment. What bits,
 * group, scales, biases and row_scale mean: see zi_weight in backend.h. */
typedef struct {
    const void *data;
    zi_dtype type;
    size_t rows, columns;
    int bits;
    size_t group;
    const void *scales, *biases;
    zi_dtype scale_type;
    const float *row_scale; /* [row_scales]; NULL: none */
    size_t row_scales;      /* 1 or rows */
} zi_matrix;

/* Writes row `row` (from 0, not checked) as `columns` f32 values to out, dequantized: if bits is
 * not 0, with the scales and biases of its groups; else by zi_widen, whose types are allowed, and
 * times the matrix's or the row's factor, if row_scale has one. */
void zi_matrix_row(const zi_matrix *matrix, size_t row, float *out);

#endif
