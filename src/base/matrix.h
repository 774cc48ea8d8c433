/* A stored matrix in host memory. */
#ifndef ZI_BASE_MATRIX_H
#define ZI_BASE_MATRIX_H

#include "base/groups.h"

#include <stdbool.h>

/* [rows, columns], row-major; data is borrowed (mapped) and promises no alignment. What the fields
 * from bits on mean: see zi_weight in backend.h. */
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
    zi_codes codes;
    size_t padded_columns; /* of a row in memory; 0: as many as columns */
    bool swizzled;
    size_t first_row;
    size_t rotation;
} zi_matrix;

/* Largest rotation: values that are rotated together. */
enum { ZI_MAX_ROTATION = 4096 };

/* Columns of a row in memory, padding included. */
static inline size_t zi_matrix_stride(const zi_matrix *matrix)
{
    return matrix->padded_columns ? matrix->padded_columns : matrix->columns;
}

/* Bytes from one row in memory to the next. */
static inline size_t zi_matrix_row_bytes(const zi_matrix *matrix)
{
    size_t columns = zi_matrix_stride(matrix);
    return matrix->bits ? columns * (size_t)matrix->bits / 8
                        : zi_dtype_bytes(matrix->type, columns);
}

/* Return the sides of a tensor of swizzled scales: its tiles are whole. */
static inline size_t zi_swizzled_rows(size_t rows)
{
    return (rows + 127) / 128 * 128;
}

static inline size_t zi_swizzled_groups(size_t groups)
{
    return (groups + 3) / 4 * 4;
}

/* Returns the index of the scale of a row and group among swizzled scales of rows of `groups`
 * groups. These lie in tiles of 128 rows and 4 groups, as Nvidia's matrix units read them. Scales
 * of missing rows and groups fill the last tiles up. */
static inline size_t zi_swizzled_index(size_t row, size_t group, size_t groups)
{
    size_t tile = row / 128 * (zi_swizzled_groups(groups) / 4) + group / 4;
    return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + group % 4;
}

/* Sets scales [n] to the scales of groups [first, first + n) of a row of a matrix in groups, as f32
 * and times its factor, if row_scale has one. biases: likewise to their biases, for a matrix that
 * has them; NULL: not wanted. */
void zi_matrix_scales(const zi_matrix *matrix, size_t row, size_t first, size_t n, float *scales,
                      float *biases);

/* Writes n values of row `row`, from column `from` on (both not checked), as f32 to out, with
 * scales, biases and factors, but as they are stored: still rotated, if rotation is not 0. `from`
 * is where a block or group begins; n is whole blocks, or ends with the row. */
void zi_matrix_stored_values(const zi_matrix *matrix, size_t row, size_t from, size_t n,
                             float *out);

/* Writes row `row` (from 0, not checked) as `columns` f32 values to out, dequantized: if bits is
 * not 0, from the codes, scales and biases of its groups; else by zi_widen, whose types are
 * allowed; times the matrix's or the row's factor, if row_scale has one; rotation is undone. */
void zi_matrix_row(const zi_matrix *matrix, size_t row, float *out);

/* Rotates each run of `size` values of x [n] in place: multiplies it by the Kronecker power of
 * [1 1 1 -1; 1 1 -1 1; 1 -1 1 1; -1 1 1 1] / 2 that has this size, which is symmetric and its own
 * inverse. size: a power of four, from 4 to ZI_MAX_ROTATION, which divides n. */
void zi_rotate(float *x, size_t n, size_t size);

#endif
