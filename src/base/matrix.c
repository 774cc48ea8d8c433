#include "base/matrix.h"

/* Reads n swizzled scales, which are bytes, as zi_matrix_scales does, without factor. ComfyUI's
 * library takes an exponent of 0 for the scale 0, not 2^-127. */
static void read_swizzled(const zi_matrix *w, size_t row, size_t first, size_t n, float *scales)
{
    enum { CHUNK = 64 };
    size_t groups = zi_matrix_stride(w) / w->group;
    for (size_t begin = 0, count; begin < n; begin += count) {
        uint8_t codes[CHUNK];
        count = n - begin < CHUNK ? n - begin : CHUNK;
        for (size_t g = 0; g < count; g++)
            codes[g] =
                ((const uint8_t *)
                     w->scales)[zi_swizzled_index(w->first_row + row, first + begin + g, groups)];
        zi_widen(w->scale_type, codes, scales + begin, count);
        for (size_t g = 0; w->scale_type == ZI_F8_E8M0 && g < count; g++)
            if (!codes[g]) scales[begin + g] = 0;
    }
}

void zi_matrix_scales(const zi_matrix *w, size_t row, size_t first, size_t n, float *scales,
                      float *biases)
{
    size_t at = (row * (zi_matrix_stride(w) / w->group) + first) * zi_dtype_size(w->scale_type);
    if (w->swizzled)
        read_swizzled(w, row, first, n, scales);
    else
        zi_widen(w->scale_type, (const char *)w->scales + at, scales, n);
    for (size_t g = 0; w->row_scale && g < n; g++) scales[g] = w->row_scale[0] * scales[g];
    if (w->biases && biases) zi_widen(w->scale_type, (const char *)w->biases + at, biases, n);
}

/* zi_matrix_stored_values of a matrix in groups: code * scale, plus bias where there are biases,
 * rounded after each operation. */
static void values_of_groups(const zi_matrix *w, size_t row, size_t from, size_t n, float *out)
{
    enum { CHUNK = 128 }; /* values: whole groups */
    const uint8_t *codes = (const uint8_t *)w->data + row * zi_matrix_row_bytes(w);
    for (size_t at = 0, count; at < n; at += count, out += count) {
        uint8_t q[CHUNK];
        float scales[CHUNK / 16], biases[CHUNK / 16];
        count = n - at < CHUNK ? n - at : CHUNK;
        zi_codes_unpack(w->codes, w->bits, codes, from + at, count, q);
        zi_codes_values(w->codes, q, count, out);
        zi_matrix_scales(w, row, (from + at) / w->group, (count + w->group - 1) / w->group, scales,
                         biases);
        for (size_t g = 0, i = 0; i < count; g++) {
            size_t end = i + w->group < count ? i + w->group : count;
            if (w->biases)
                for (; i < end; i++) out[i] = out[i] * scales[g] + biases[g];
            else
                for (; i < end; i++) out[i] *= scales[g];
        }
    }
}

void zi_matrix_stored_values(const zi_matrix *w, size_t row, size_t from, size_t n, float *out)
{
    if (w->bits) {
        values_of_groups(w, row, from, n, out);
        return;
    }
    size_t before = row * zi_matrix_row_bytes(w) + zi_dtype_bytes(w->type, from);
    zi_widen(w->type, (const char *)w->data + before, out, n);
    float factor = w->row_scale ? w->row_scale[w->row_scales > 1 ? row : 0] : 1;
    for (size_t i = 0; w->row_scale && i < n; i++) out[i] *= factor;
}

void zi_matrix_row(const zi_matrix *matrix, size_t row, float *out)
{
    zi_matrix_stored_values(matrix, row, 0, matrix->columns, out);
    if (matrix->rotation) zi_rotate(out, matrix->columns, matrix->rotation);
}

/* ---- rotation ---- */

/* Multiplies four values, each `step` after the one before, by the 4 x 4 matrix: half their sum,
 * minus the values in reverse. */
static inline void rotate_four(float *x, size_t step)
{
    float a = x[0], b = x[step], c = x[2 * step], d = x[3 * step];
    float half = 0.5f * ((a + b) + (c + d));
    x[0] = half - d;
    x[step] = half - c;
    x[2 * step] = half - b;
    x[3 * step] = half - a;
}

void zi_rotate(float *x, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i += 4) rotate_four(x + i, 1);
    for (size_t step = 4; step < size; step *= 4)
        for (size_t i = 0; i < n; i += 4 * step)
            for (size_t j = 0; j < step; j++) rotate_four(x + i + j, step);
}
