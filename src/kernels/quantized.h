/* The layout of quantized panels, and portable C functions that fill them.
 *
 * A group of a panel of R rows (of a) or columns (of b): values [group / step, R, step], each
 * `width` bytes, then scales [R], f32, then for a the sums scale * sum(q) [R], f32, and sum(q) [R],
 * int32; for b the biases [R], f32. Panels are aligned as floats are. */
#ifndef ZI_KERNELS_QUANTIZED_H
#define ZI_KERNELS_QUANTIZED_H

#include "kernels/kernels.h"

#include <math.h>

#define Q_MAX 127.0f /* the largest magnitude of q */

/* Copies the quantized values of one row or column, number `row` of `rows`, into a panel [steps,
 * rows, bytes]: `steps` pieces of `bytes` bytes. */
static inline void store_steps(const void *numbers, size_t steps, size_t bytes, size_t row,
                               size_t rows, void *out)
{
    for (size_t i = 0; i < steps; i++)
        memcpy((char *)out + (i * rows + row) * bytes, (const char *)numbers + i * bytes, bytes);
}

/* Sets q [group] from x [group], and *sum to the sum of q; returns the scale. */
typedef float (*quantize_fn)(const float *x, size_t group, int16_t *q, int32_t *sum);

/* Returns the largest |x[i]|, 0 for n = 0, found by comparing bits, whose order is the same. A NaN
 * is larger than infinity, and either is returned if there is one, so that it ends up in the
 * group's scale. */
static inline float largest_magnitude(const float *x, size_t n)
{
    uint32_t max_value = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        if (bits > max_value) max_value = bits;
    }
    float value;
    memcpy(&value, &max_value, sizeof value);
    return value;
}

/* The factor that maps `max_value` to `top`; 0 if it is NaN, infinite, or so small (below 2^-120)
 * that the factor might not be finite. */
static inline float inverse_scale(float max_value, float top)
{
    return max_value >= 0x1p-120f ? top / max_value : 0;
}

/* Sets q [group] to round(x / scale), at most 127 in magnitude, and *sum to the sum of q; returns
 * the scale, the largest magnitude / 127. Below 2^-120 all q are 0. A NaN or infinity in x makes
 * the scale a NaN or infinite; q and *sum are unspecified then. */
static inline float quantize_values(const float *x, size_t group, int16_t *q, int32_t *sum)
{
    float max_value = largest_magnitude(x, group), inverse = inverse_scale(max_value, Q_MAX);
    *sum = 0;
    for (size_t i = 0; i < group; i++) *sum += q[i] = (int16_t)lrintf(x[i] * inverse);
    return max_value / Q_MAX;
}

/* Narrows values from -128 to 127 to signed bytes in place: in the first `group` bytes of q, the
 * rest of which is of no use afterwards. */
static inline void narrow_values(int16_t *q, size_t group)
{
    int8_t *narrow = (int8_t *)q; /* in place: each is read before its place is overwritten */
    for (size_t i = 0; i < group; i++) narrow[i] = (int8_t)q[i];
}

/* Quantizes n <= rows rows of x [n, k] (row stride ldx) by `numbers`, group by group, into a panel
 * of `rows` rows as laid out at the top of this file: values of `width` 1 or 2 bytes in steps of
 * `step`, which divides group, then scales and sums. Missing rows are zero. k is whole groups. */
static inline void quantize_rows(const float *x, size_t ldx, size_t n, size_t k, size_t group,
                                 size_t rows, size_t step, size_t width, quantize_fn numbers,
                                 void *out)
{
    char *at = out;
    for (size_t begin = 0; begin < k; begin += group) {
        float *scales = (float *)(void *)(at + rows * group * width), *sums = scales + rows;
        int32_t *whole = (int32_t *)(void *)(sums + rows);
        for (size_t r = 0; r < rows; r++) {
            int16_t q[ZI_MAX_GROUP] = {0};
            int32_t sum = 0;
            scales[r] = r < n ? numbers(x + r * ldx + begin, group, q, &sum) : 0;
            sums[r] = scales[r] * (float)sum;
            whole[r] = sum;
            if (width == 1) narrow_values(q, group);
            store_steps(q, group / step, step * width, r, rows, at);
        }
        at = (char *)(whole + rows);
    }
}

/* Stores n <= columns scales, then biases, which follow the values of a group of columns: out [2,
 * columns], zeros for missing columns. */
static inline void place_scales(const float *scales, const float *biases, size_t n, size_t columns,
                                float *out)
{
    for (size_t j = 0; j < columns; j++) {
        out[j] = j < n ? scales[j] : 0;
        out[columns + j] = j < n ? biases[j] : 0;
    }
}

/* Packs one group of n <= columns columns, bytes q [n, group] (row stride ldq) with a scale and a
 * bias each, as laid out at the top of this file: values of `width` 1 or 2 bytes in steps of
 * `step`, which divides group. Missing columns are zero. */
static inline void pack_group_columns(const uint8_t *q, size_t ldq, size_t n, size_t group,
                                      const float *scales, const float *biases, size_t columns,
                                      size_t step, size_t width, void *out)
{
    for (size_t j = 0; j < columns; j++) {
        uint16_t numbers[ZI_MAX_GROUP] = {0};
        if (j < n && width == 1) memcpy(numbers, q + j * ldq, group);
        for (size_t i = 0; j < n && width == 2 && i < group; i++) numbers[i] = q[j * ldq + i];
        store_steps(numbers, group / step, step * width, j, columns, out);
    }
    place_scales(scales, biases, n, columns,
                 (float *)(void *)((char *)out + columns * group * width));
}

#endif
