#include "io/values.h"

#include <stdlib.h>

zi_matrix zi_entry_matrix(const zi_entry *entry, size_t rows, size_t columns, float *factor)
{
    zi_matrix m = {.data = entry->data,
                   .type = entry->tensor->type,
                   .rows = rows,
                   .columns = columns,
                   .rotation = entry->rotation};
    if (entry->packing == ZI_GROUPED) {
        m.codes = entry->codes;
        m.bits = entry->bits;
        m.group = entry->group;
        m.scales = entry->scales.data;
        m.biases = entry->biases.data;
        m.scale_type = entry->scale_type;
        m.padded_columns = entry->padded_columns;
        m.swizzled = entry->swizzled;
        m.first_row = entry->row;
    }
    if (entry->factor.tensor) {
        zi_widen(entry->factor.tensor->type, entry->factor.data, factor, 1);
        m.row_scale = factor;
        m.row_scales = 1;
    }
    return m;
}

void zi_entry_read_stored(const zi_entry *entry, size_t rows, size_t columns, size_t row,
                          size_t from, size_t n, float *out)
{
    float factor;
    zi_matrix m = zi_entry_matrix(entry, rows, columns, &factor);
    zi_matrix_stored_values(&m, row, from, n, out);
    if (entry->packing != ZI_SCALED) return;
    size_t at = entry->scales.count > 1 ? row * zi_dtype_size(entry->scale_type) : 0;
    zi_widen(entry->scale_type, entry->scales.data + at, &factor, 1);
    for (size_t i = 0; i < n; i++) out[i] *= factor;
}

void zi_entry_read_row(const zi_entry *entry, size_t rows, size_t columns, size_t row, float *out)
{
    zi_entry_read_stored(entry, rows, columns, row, 0, columns, out);
    if (entry->rotation) zi_rotate(out, columns, entry->rotation);
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
    if (!*rows || !*columns) *rows = *columns = 0; /* the other number may be any one */
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
    bool floats = zi_dtype_computes(type) || (type >= ZI_F8_E4M3 && type <= ZI_F8_E8M0);
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
                           "is damaged or was converted wrongly; fetch or convert it again",
                           entry->tensor->name, where);
}

/* Sets the error that a tensor is all zeros. Returns false. */
static bool fail_zero(const zi_entry *entry, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry), entry->tensor->name,
                           "tensor %s is all zeros: the file is damaged or was converted wrongly; "
                           "fetch or convert it again",
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
    return !zero || !norm || !rows || fail_zero(entry, error);
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
    return !zero || !rows || fail_zero(entry, error);
}

bool zi_source_check_values(const zi_source *source, zi_error *error)
{
    for (size_t i = 0; i < source->count; i++)
        if (!zi_entry_check_values(&source->entries[i], error)) return false;
    return true;
}

/* Fails with ZI_ERROR_BAD_FORMAT if a value that is not finite is in the first or last row of a
 * matrix or anywhere in another tensor; or when memory is short. */
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

/* Fills `bytes` bytes, whole blocks of IQ4_NL or IQ4_XS, at random, behind scales for which values
 * are at most 0.025 in magnitude. */
static void fill_table_blocks(zi_dtype type, char *data, size_t bytes, uint32_t *state)
{
    float scale = (type == ZI_IQ4_XS ? 1.0f / 32 : 1.0f) * 0.025f / 127;
    for (size_t i = 0; i < bytes; i++) data[i] = (char)(xorshift(state) >> 24);
    for (size_t i = 0; i < bytes; i += zi_dtype_size(type)) zi_narrow(ZI_F16, &scale, data + i, 1);
}

void *zi_values_random(zi_dtype type, size_t count)
{
    enum { CHUNK = 256 };
    size_t width = zi_dtype_size(type), bytes = zi_dtype_bytes(type, count);
    char *data = malloc(bytes);
    uint32_t state = 2463534242u;
    if (zi_dtype_block(type) > 1) {
        if (data) fill_table_blocks(type, data, bytes, &state);
        return data;
    }
    for (size_t i = 0; data && i < count; i += CHUNK) {
        float values[CHUNK];
        size_t n = count - i < CHUNK ? count - i : CHUNK;
        for (size_t j = 0; j < n; j++)
            values[j] = ((float)(xorshift(&state) >> 8) * 0x1p-24f - 0.5f) * 0.05f;
        zi_narrow(type, values, data + i * width, n);
    }
    return data;
}
