#include "base/matrix.h"

/* Writes row `row` of a matrix with 8 or 4 bits in groups, which divide its columns, as f32 to out
 * [columns]: code * scale + bias of its group. Codes are bytes, or nibbles, the low one first. */
static void row_of_groups(const zi_matrix *w, size_t row, float *out)
{
    size_t groups = w->columns / w->group, width = zi_dtype_size(w->scale_type);
    const uint8_t *q = (const uint8_t *)w->data + row * w->columns * (size_t)w->bits / 8;
    for (size_t g = 0, i = 0; g < groups; g++) {
        size_t at = (row * groups + g) * width;
        float scale, bias;
        zi_widen(w->scale_type, (const char *)w->scales + at, &scale, 1);
        zi_widen(w->scale_type, (const char *)w->biases + at, &bias, 1);
        for (size_t end = i + w->group; i < end; i++) {
            int number = w->bits == 8 ? q[i] : q[i / 2] >> (i % 2 * 4) & 15;
            out[i] = (float)number * scale + bias;
        }
    }
}

void zi_matrix_row(const zi_matrix *matrix, size_t row, float *out)
{
    if (matrix->bits) {
        row_of_groups(matrix, row, out);
        return;
    }
    size_t before = zi_dtype_bytes(matrix->type, row * matrix->columns);
    zi_widen(matrix->type, (const char *)matrix->data + before, out, matrix->columns);
    float scale = matrix->row_scale ? matrix->row_scale[matrix->row_scales > 1 ? row : 0] : 1;
    for (size_t i = 0; matrix->row_scale && i < matrix->columns; i++) out[i] *= scale;
}
