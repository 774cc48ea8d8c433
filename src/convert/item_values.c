#include "convert/item_values.h"
#include "io/quantize.h"
#include "io/values.h"

#include <math.h>

size_t zi_item_segment(const zi_write_item *item)
{
    bool whole = item->entries[0]->nhwc != item->nhwc;
    return whole || item->columns < ZI_SEGMENT_VALUES ? item->columns : ZI_SEGMENT_VALUES;
}

/* ---- reading ---- */

/* Element i (from 0, counted through all rows) of the rows as f32. Their type must not be one of
 * blocks. */
static float element_at(const zi_rows *rows, size_t i)
{
    float value;
    zi_dtype type = rows->tensor->type;
    zi_widen(type, rows->data + i * zi_dtype_size(type), &value, 1);
    return value;
}

/* Rounds to F16 or BF16 and back. F32: returns value itself. Other types are not allowed. */
static float round_to(zi_dtype type, float value)
{
    if (type == ZI_F32) return value;
    uint16_t half;
    zi_narrow(type, &value, &half, 1);
    zi_widen(type, &half, &value, 1);
    return value;
}

/* Dequantizes n values of MLX's affine groups of one row, from column `from` on, where a group
 * begins; the last group need not be whole. Product and sum are each rounded to the type of the
 * scales, as mx.dequantize does. */
static void read_affine(const zi_entry *entry, size_t row, size_t from, size_t n, float *out)
{
    size_t columns = entry->shape[1], groups = columns / entry->group;
    const uint8_t *codes = entry->data + row * (columns * (size_t)entry->bits / 8);
    zi_dtype type = entry->scale_type;
    uint8_t q[128]; /* the largest group */
    for (size_t i = 0, count; i < n; i += count) {
        size_t group = row * groups + (from + i) / entry->group;
        float scale = element_at(&entry->scales, group), bias = element_at(&entry->biases, group);
        count = n - i < entry->group ? n - i : entry->group;
        zi_codes_unpack(entry->codes, entry->bits, codes, from + i, count, q);
        for (size_t j = 0; j < count; j++)
            out[i + j] = round_to(type, round_to(type, (float)q[j] * scale) + bias);
    }
}

/* Reads n values of one row [columns] of an entry as f32, with scales applied and rotation undone,
 * from column `from` on, where a group, block or rotation begins, in the entry's own element order.
 * n must be whole blocks. */
static void read_entry(const zi_entry *entry, size_t row, size_t columns, size_t from, size_t n,
                       float *out)
{
    if (entry->biases.tensor) {
        read_affine(entry, row, from, n, out);
        return;
    }
    zi_entry_read_stored(entry, entry->rows, columns, row, from, n, out);
    if (entry->rotation) zi_rotate(out, n, entry->rotation);
}

/* x [rows, columns] -> y [columns, rows]; they must not overlap. */
static void transpose(const float *x, size_t rows, size_t columns, float *y)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
}

void zi_item_read_values(const zi_write_item *item, size_t row, size_t from, size_t n,
                         float *scratch, float *out)
{
    const zi_entry *const *entry = item->entries;
    while (item->rows > 1 && row >= (*entry)->shape[0]) row -= (*entry++)->shape[0];
    bool transposed = (*entry)->nhwc != item->nhwc;
    read_entry(*entry, row, item->columns, from, n, transposed ? scratch : out);
    if (!transposed) return;
    size_t channels = (*entry)->shape[1], pixels = n / channels;
    if (item->nhwc)
        transpose(scratch, channels, pixels, out);
    else
        transpose(scratch, pixels, channels, out);
}

/* ---- writing ---- */

/* Whether no finite value rounds to an infinity of the type. Infinities and NaN are ignored. */
static bool fits_type(zi_dtype type, const float *x, size_t n)
{
    float max = 0, range = type == ZI_F16 ? 65520 : type == ZI_BF16 ? 0x1.ffp127f : INFINITY;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        magnitude = magnitude < INFINITY ? magnitude : 0;
        max = magnitude > max ? magnitude : max;
    }
    return max < range;
}

/* Quantizes n values, whole groups, as mx.quantize does, after rounding x in place to the type of
 * the scales. Always returns true. */
static bool write_grouped(const zi_value_storage *storage, float *x, size_t n, zi_item_buffers to)
{
    size_t size = zi_dtype_size(storage->type), bytes = storage->group * (size_t)storage->bits / 8;
    uint8_t narrowed[128 * sizeof(float)]; /* large enough for a group of 128 */
    for (size_t i = 0; i < n; i += storage->group) {
        zi_narrow(storage->type, x + i, narrowed, storage->group);
        zi_widen(storage->type, narrowed, x + i, storage->group);
        zi_quantize_group(x + i, storage->group, storage->bits, storage->type, to.values, to.scales,
                          to.biases);
        to.values += bytes;
        to.scales += size;
        to.biases += size;
    }
    return true;
}

bool zi_item_store_values(const zi_write_item *item, float *x, size_t n, float factor,
                          zi_item_buffers to)
{
    const zi_value_storage *storage = &item->storage;
    if (!fits_type(storage->type, x, n)) return false;
    if (storage->packing == ZI_GROUPED) return write_grouped(storage, x, n, to);
    if (storage->packing == ZI_SCALED)
        for (size_t i = 0; i < n; i++) x[i] /= factor;
    zi_narrow(storage->type, x, to.values, n);
    /* the scales of blocks are F16, and may be infinite */
    return zi_dtype_block(storage->type) == 1 || zi_values_finite(storage->type, to.values, n);
}
