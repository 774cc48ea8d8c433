/* Values of stored tensors, as f32. */
#ifndef ZI_IO_VALUES_H
#define ZI_IO_VALUES_H

#include "base/matrix.h"
#include "io/source.h"

/* An entry looked at as a matrix [rows, columns], without the factors of a scaled one. */
zi_matrix zi_entry_matrix(const zi_entry *entry, size_t rows, size_t columns);

/* The same as f32 [rows, columns], times its factors, of which there may be one for each row. */
void zi_entry_read_values(const zi_entry *entry, size_t rows, size_t columns, float *out);

/* Row number `row` of it. */
void zi_entry_read_row(const zi_entry *entry, size_t rows, size_t columns, size_t row, float *out);

/* Fails for the first tensor with a value that is not finite, and for the first norm of zeros
 * alone. Reads everything. */
bool zi_source_check_values(const zi_source *source, zi_error *error) ZI_CHECKED;

void zi_values_fill(float *values, size_t n, float value);

/* count values up to 0.025 as F32, F16 or BF16, for weights that only need to cost time; free() it.
 * NULL: memory is short. */
void *zi_values_random(zi_dtype type, size_t count);

#endif
