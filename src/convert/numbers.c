#include "convert/numbers.h"
#include "io/quantize.h"

#include <math.h>

size_t zi_segment(const zi_item *item)
{
    bool whole = item->entries[0]->nhwc != item->nhwc;
    return whole || item->columns < ZI_SEGMENT ? item->columns : ZI_SEGMENT;
}

/* ---- reading ---- */

static float number_at(const zi_rows *rows, size_t i)
{
    float value;
    zi_dtype type = rows->tensor->type;
    zi_widen(type, rows->data + i * zi_dtype_size(type), &value, 1);
    return value;
}

static float rounded(zi_dtype type, float value)
{
    if (type == ZI_F32) return value;
    uint16_t half;
    zi_narrow(type, &value, &half, 1);
    zi_widen(type, &half, &value, 1);
    return value;
}

/* Products and sums are rounded to the type of the scales, each, as mx.dequantize does. */
static void read_grouped(const zi_entry *entry, size_t row, size_t from, size_t n, float *out)
{
    size_t columns = entry->shape[1], groups = columns / entry->group;
    size_t per_byte = 8 / (size_t)entry->bits;
    const uint8_t *q = entry->data + (row * columns + from) / per_byte;
    zi_dtype type = entry->scales.tensor->type;
    float scale = 0, bias = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % entry->group == 0) {
            size_t group = row * groups + (from + i) / entry->group;
            scale = number_at(&entry->scales, group);
            bias = number_at(&entry->biases, group);
        }
        int value = per_byte == 1 ? q[i] : q[i / 2] >> i % 2 * 4 & 15;
        out[i] = rounded(type, rounded(type, (float)value * scale) + bias);
    }
}

static void read_entry(const zi_entry *entry, size_t row, size_t columns, size_t from, size_t n,
                       float *out)
{
    if (entry->packing == ZI_GROUPED) {
        read_grouped(entry, row, from, n, out);
        return;
    }
    zi_dtype type = entry->tensor->type;
    zi_widen(type, entry->data + zi_dtype_bytes(type, row * columns + from), out, n);
    if (entry->packing != ZI_SCALED) return;
    float factor = number_at(&entry->scales, entry->scales.count > 1 ? row : 0);
    for (size_t i = 0; i < n; i++) out[i] *= factor;
}

/* x [rows, columns] -> y [columns, rows] */
static void transpose(const float *x, size_t rows, size_t columns, float *y)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
}

void zi_numbers_read(const zi_item *item, size_t row, size_t from, size_t n, float *scratch,
                     float *out)
{
    const zi_entry *const *entry = item->entries;
    while (item->rows > 1 && row >= (*entry)->shape[0]) row -= (*entry++)->shape[0];
    bool moved = (*entry)->nhwc != item->nhwc;
    read_entry(*entry, row, item->columns, from, n, moved ? scratch : out);
    if (!moved) return;
    size_t channels = (*entry)->shape[1], pixels = n / channels;
    if (item->nhwc)
        transpose(scratch, channels, pixels, out);
    else
        transpose(scratch, pixels, channels, out);
}

/* ---- writing ---- */

/* Whether halves hold all numbers that are finite. */
static bool halves_hold(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        magnitude = magnitude < INFINITY ? magnitude : 0;
        most = magnitude > most ? magnitude : most;
    }
    return most < 65520;
}

static bool write_grouped(const zi_form *form, float *x, size_t n, zi_written to)
{
    size_t size = zi_dtype_size(form->type), bytes = form->group * (size_t)form->bits / 8;
    uint8_t numbers[128 * sizeof(float)]; /* of the largest group */
    for (size_t i = 0; i < n; i += form->group) {
        zi_narrow(form->type, x + i, numbers, form->group);
        zi_widen(form->type, numbers, x + i, form->group);
        zi_quantize_group(x + i, form->group, form->bits, form->type, to.numbers, to.scales,
                          to.biases);
        to.numbers += bytes;
        to.scales += size;
        to.biases += size;
    }
    return true;
}

bool zi_numbers_write(const zi_item *item, float *x, size_t n, float factor, zi_written to)
{
    const zi_form *form = &item->form;
    if (form->type == ZI_F16 && !halves_hold(x, n)) return false;
    if (form->packing == ZI_GROUPED) return write_grouped(form, x, n, to);
    if (form->packing == ZI_SCALED)
        for (size_t i = 0; i < n; i++) x[i] /= factor;
    zi_narrow(form->type, x, to.numbers, n);
    return true;
}
