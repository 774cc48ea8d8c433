#include "io/values.h"

#include <stdlib.h>

zi_matrix zi_entry_matrix(const zi_entry *entry, size_t rows, size_t columns)
{
    zi_matrix m = {
        .data = entry->data, .type = entry->tensor->type, .rows = rows, .columns = columns};
    if (entry->packing == ZI_GROUPED) {
        m.bits = entry->bits;
        m.group = entry->group;
        m.scales = entry->scales.data;
        m.biases = entry->biases.data;
        m.scale_type = entry->scales.tensor->type;
    }
    return m;
}

void zi_entry_read_row(const zi_entry *entry, size_t rows, size_t columns, size_t row, float *out)
{
    zi_matrix m = zi_entry_matrix(entry, rows, columns);
    float factor;
    zi_matrix_row(&m, row, out);
    if (entry->packing != ZI_SCALED) return;
    const zi_rows *factors = &entry->scales;
    zi_dtype type = factors->tensor->type;
    size_t at = factors->count > 1 ? row * zi_dtype_size(type) : 0;
    zi_widen(type, factors->data + at, &factor, 1);
    for (size_t i = 0; i < columns; i++) out[i] *= factor;
}

void zi_entry_read_values(const zi_entry *entry, size_t rows, size_t columns, float *out)
{
    for (size_t i = 0; i < rows; i++) zi_entry_read_row(entry, rows, columns, i, out + i * columns);
}

/* Sets the shape in which an entry's rows are read: the first side, and the product of the others
 * (1 if there is none). A vector is one row if its values are stored plainly (blocks may cover all
 * of it), else a row per value, as its scales are. */
static void get_row_shape(const zi_entry *entry, size_t *rows, size_t *columns)
{
    *rows = *columns = 1;
    for (int d = 0; d < entry->dims; d++) {
        bool row = d == 0 && (entry->dims > 1 || entry->packing != ZI_PLAIN);
        *(row ? rows : columns) *= entry->shape[d];
    }
}

/* The largest magnitude of n floats, as its bits: those of infinity and NaN are the largest. */
static uint32_t max_magnitude_bits(const float *x, size_t n)
{
    uint32_t max = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        max = bits > max ? bits : max;
    }
    return max;
}

bool zi_floats_finite(const float *x, size_t n)
{
    return max_magnitude_bits(x, n) < 0x7f800000;
}

bool zi_values_finite(zi_dtype type, const void *data, size_t n)
{
    enum { BLOCK = 1024 };
    float x[BLOCK];
    bool floats = zi_dtype_computes(type) || type == ZI_F8_E4M3 || type == ZI_F8_E5M2;
    if (!floats && zi_dtype_block(type) == 1) return true;
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t count = n - at < BLOCK ? n - at : BLOCK;
        zi_widen(type, (const char *)data + zi_dtype_bytes(type, at), x, count);
        if (!zi_floats_finite(x, count)) return false;
    }
    return true;
}

/* Sets the error that a tensor has values that are not finite; `where` says among which, if not
 * all, else "". Returns false. */
static bool fail_not_finite(const zi_entry *entry, const char *where, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry), entry->tensor->name,
                           "tensor %s has values that are not finite (NaN or infinity)%s: the file "
                           "is damaged; fetch it again",
                           entry->tensor->name, where);
}

/* Sets the error that a tensor is all zeros. Returns false. */
static bool fail_zero(const zi_entry *entry, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry), entry->tensor->name,
                           "tensor %s is all zeros: the file is damaged; fetch it again",
                           entry->tensor->name);
}

bool zi_entry_check_values(const zi_entry *entry, zi_error *error)
{
    size_t rows, columns;
    get_row_shape(entry, &rows, &columns);
    float *row = malloc((columns + 1) * sizeof *row);
    bool zero = true, finite = true;
    if (!row) return zi_error_no_memory(error, columns * sizeof *row);
    for (size_t i = 0; finite && i < rows; i++) {
        zi_entry_read_row(entry, rows, columns, i, row);
        finite = zi_floats_finite(row, columns);
        zero = zero && max_magnitude_bits(row, columns) == 0;
    }
    free(row);
    if (!finite) return fail_not_finite(entry, "", error);
    bool norm = entry->kind == ZI_TENSOR_VECTOR && strstr(entry->name, ".weight");
    return !zero || !norm || fail_zero(entry, error);
}

bool zi_entry_check_not_zero(const zi_entry *entry, zi_error *error)
{
    size_t rows, columns;
    get_row_shape(entry, &rows, &columns);
    float *row = malloc((columns + 1) * sizeof *row);
    bool zero = true;
    if (!row) return zi_error_no_memory(error, columns * sizeof *row);
    for (size_t i = 0; zero && i < rows; i++) {
        zi_entry_read_row(entry, rows, columns, i, row);
        zero = max_magnitude_bits(row, columns) == 0;
    }
    free(row);
    return !zero || fail_zero(entry, error);
}

bool zi_source_check_values(const zi_source *source, zi_error *error)
{
    for (size_t i = 0; i < source->count; i++)
        if (!zi_entry_check_values(&source->entries[i], error)) return false;
    return true;
}

/* Fails, as zi_source_sample_values does, for this entry. */
static bool sample_entry(const zi_entry *entry, zi_error *error)
{
    size_t rows, columns;
    get_row_shape(entry, &rows, &columns);
    size_t step = entry->dims < 2 || rows < 3 ? 1 : rows - 1;
    float *row = malloc((columns + 1) * sizeof *row);
    bool finite = true;
    if (!row) return zi_error_no_memory(error, columns * sizeof *row);
    for (size_t i = 0; finite && i < rows; i += step) {
        zi_entry_read_row(entry, rows, columns, i, row);
        finite = zi_floats_finite(row, columns);
    }
    free(row);
    return finite || fail_not_finite(entry, step > 1 ? " in its first or last row" : "", error);
}

bool zi_source_sample_values(const zi_source *source, zi_error *error)
{
    for (size_t i = 0; i < source->count; i++)
        if (!sample_entry(&source->entries[i], error)) return false;
    return true;
}

void zi_values_fill(float *values, size_t n, float value)
{
    for (size_t i = 0; i < n; i++) values[i] = value;
}

/* Advances *state, which must not be 0, and returns it: xorshift32, a fast generator of sufficient
 * quality. */
static uint32_t xorshift(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

void *zi_values_random(zi_dtype type, size_t count)
{
    enum { CHUNK = 256 };
    size_t width = zi_dtype_size(type);
    char *data = malloc(count * width);
    uint32_t state = 2463534242u;
    for (size_t i = 0; data && i < count; i += CHUNK) {
        float values[CHUNK];
        size_t n = count - i < CHUNK ? count - i : CHUNK;
        for (size_t j = 0; j < n; j++)
            values[j] = ((float)(xorshift(&state) >> 8) * 0x1p-24f - 0.5f) * 0.05f;
        zi_narrow(type, values, data + i * width, n);
    }
    return data;
}
