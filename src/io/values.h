/* Reads tensor values as f32, and generates values for tests and benchmarks. */
#ifndef ZI_IO_VALUES_H
#define ZI_IO_VALUES_H

#include "base/matrix.h"
#include "io/source.h"

/* Returns a matrix view [rows, columns] of an entry's stored values, in stored order, with the
 * scales and biases of its groups; all borrowed. rows times columns must be the number of its
 * values. If the scales have a factor, it is stored at *factor, which the matrix refers to. The
 * scales of a ZI_SCALED entry are not part of it: the caller multiplies. */
zi_matrix zi_entry_matrix(const zi_entry *entry, size_t rows, size_t columns, float *factor);

/* Reads n values of a row, from column `from` on, as f32 into out, with scales and biases applied,
 * but a rotation not undone; otherwise as zi_matrix_stored_values. */
void zi_entry_read_stored(const zi_entry *entry, size_t rows, size_t columns, size_t row,
                          size_t from, size_t n, float *out);

/* Reads all values of an entry, in stored order, as f32 into out [rows, columns], with scales and
 * biases applied. Not checked: rows times columns is the number of its values, a row is whole
 * blocks or groups, and if a ZI_SCALED entry has a scale per row, these are the rows. */
void zi_entry_read_values(const zi_entry *entry, size_t rows, size_t columns, float *out);

/* Reads one row, from 0 and below rows, of zi_entry_read_values into out [columns], under the same
 * conditions. */
void zi_entry_read_row(const zi_entry *entry, size_t rows, size_t columns, size_t row, float *out);

/* Whether n floats are all finite. */
bool zi_floats_finite(const float *x, size_t n);

/* Whether n values of a type that zi_widen reads, which are whole blocks, are all finite; true for
 * other types. data needs no alignment. */
bool zi_values_finite(zi_dtype type, const void *data, size_t n);

/* Fails with ZI_ERROR_BAD_FORMAT when a value of the entry is not finite, or when it is a norm
 * weight that is all zeros. Fails when memory is short, too. Reads every value. */
bool zi_entry_check_values(const zi_entry *entry, zi_error *error) ZI_CHECKED;

/* Fails with ZI_ERROR_BAD_FORMAT when all values of the entry are zero, or memory is short. Reads
 * rows up to the first that is not. */
bool zi_entry_check_not_zero(const zi_entry *entry, zi_error *error) ZI_CHECKED;

/* Fails with ZI_ERROR_BAD_FORMAT for the first tensor, by name, that has a value that is not finite
 * among those that are looked at: the first and the last row of each matrix, and all values of a
 * vector. So it takes little time with any model. Fails when memory is short, too. */
bool zi_source_sample_values(const zi_source *source, zi_error *error) ZI_CHECKED;

/* Fails with ZI_ERROR_BAD_FORMAT for the first tensor, by name, with a value that is not finite, or
 * norm weight that is all zeros; other tensors may be zero. Fails when memory is short, too. Reads
 * every value, which takes as long as reading the files. */
bool zi_source_check_values(const zi_source *source, zi_error *error) ZI_CHECKED;

/* Sets all n values to `value`. */
void zi_values_fill(float *values, size_t n, float value);

/* Returns `count` pseudorandom values in -0.025..0.025 of type F32, F16, BF16, IQ4_NL or IQ4_XS
 * (whole blocks), as weights for benchmarks; the same ones in every call. The caller frees them
 * with free(). NULL: memory is short; no error is set. */
void *zi_values_random(zi_dtype type, size_t count);

#endif
