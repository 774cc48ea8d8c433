/* Numbers to blocks whose scales are found by a search for the least squared error. */
#include "base/quantize_blocks.h"

#include <math.h>

enum { BLOCK = 256, MAX_GROUPS = 16 };

/* Returns the whole number, as f32, nearest to the value, limited to low..high, of which magnitudes
 * are below 2^22; low for NaN. Half goes to even. Without a branch, so that compilers vectorize. */
static inline float nearest(float value, float low, float high)
{
    value = value > low ? value : low;
    value = value < high ? value : high;
    return (value + 0x1.8p23f) - 0x1.8p23f;
}

/* Returns the sum of n products of three numbers each; n is a multiple of 8. */
static float sum3(const float *restrict a, const float *restrict b, const float *restrict c,
                  size_t n)
{
    float sums[8] = {0};
    for (size_t i = 0; i < n; i += 8)
        for (size_t j = 0; j < 8; j++) sums[j] += a[i + j] * b[i + j] * c[i + j];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
           ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/* ---- the scale with the least error ---- */

/* How much the error of each value counts: large weights move the result more. */
static void set_importance(const float *x, size_t n, float *importance)
{
    float squares = 0;
    for (size_t i = 0; i < n; i++) squares += x[i] * x[i];
    float mean = squares / (float)n;
    for (size_t i = 0; i < n; i++) importance[i] = mean + x[i] * x[i];
}

/* Returns the value of largest magnitude, with its sign; 0 if all are tiny or NaN. */
static float find_extreme(const float *x, size_t n)
{
    float extreme = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    return fabsf(extreme) > 1e-30f ? extreme : 0;
}

/* The numbers that codes stand for: low..high or, if table is not NULL, its 16 numbers, ascending.
 */
typedef struct {
    float low, high, step; /* step: between the tries of fit_scale */
    const int8_t *table;
} code_set;

/* Sets codes [n] to the indices, as f32, of the table's numbers that are nearest to x / scale. */
static void find_in_table(const int8_t *table, const float *restrict x, size_t n, float inverse,
                          float *restrict codes)
{
    for (size_t j = 0; j < n; j++) codes[j] = 0;
    for (int i = 0; i < 15; i++) {
        float middle = 0.5f * (float)(table[i] + table[i + 1]);
        for (size_t j = 0; j < n; j++) codes[j] += x[j] * inverse > middle ? 1.0f : 0.0f;
    }
}

/* Sets numbers [n] to those of the set that are nearest to x times inverse, 1 / scale. n is at most
 * 32. */
static void find_numbers(const code_set *set, const float *restrict x, size_t n, float inverse,
                         float *restrict numbers)
{
    if (set->table) {
        find_in_table(set->table, x, n, inverse, numbers);
        for (size_t j = 0; j < n; j++) numbers[j] = set->table[(int)numbers[j]];
        return;
    }
    for (size_t j = 0; j < n; j++) numbers[j] = nearest(x[j] * inverse, set->low, set->high);
}

/* Returns the scale for which the set's numbers times the scale come nearest to x [n], with the
 * least squared error; 0 if all are 0. Tries scales that put the extreme value near either end of
 * the set, each improved to the best one for the numbers that it gives. */
static float fit_scale(const float *x, const float *importance, size_t n, const code_set *set)
{
    enum { TRIES = 6 };
    float numbers[32], extreme = find_extreme(x, n), best = 0, scale = 0;
    if (extreme == 0) return 0;
    for (int i = -2 * TRIES - 1; i <= 2 * TRIES; i++) { /* both ends, alternately */
        float end = i % 2 ? set->low : -set->low;
        float inverse = (end + set->step * (float)(i / 2)) / extreme;
        find_numbers(set, x, n, inverse, numbers);
        float xq = sum3(importance, x, numbers, n), qq = sum3(importance, numbers, numbers, n);
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            scale = xq / qq;
        }
    }
    return scale;
}

/* The codes 0..top stand for scale * code - minimum. */
typedef struct {
    float scale, minimum; /* neither is negative */
} offset_scale;

/* Sets codes [n] to the nearest ones 0..top. */
static void find_codes(const float *restrict x, size_t n, int top, offset_scale s,
                       float *restrict codes)
{
    float inverse = inverse_of(s.scale);
    for (size_t i = 0; i < n; i++) codes[i] = nearest((x[i] + s.minimum) * inverse, 0, (float)top);
}

/* Returns the weighted squared error of x [n] with the nearest codes 0..top; n is at most 32. */
static float offset_error(const float *x, const float *importance, size_t n, int top,
                          offset_scale s)
{
    float codes[32], differences[32];
    find_codes(x, n, top, s, codes);
    for (size_t i = 0; i < n; i++) differences[i] = s.scale * codes[i] - s.minimum - x[i];
    return sum3(importance, differences, differences, n);
}

/* Returns scale and minimum that have the least squared error for the codes which `first` gives;
 * `first` itself where the codes are all equal. */
static offset_scale refit_offset(const float *x, const float *importance, size_t n, int top,
                                 offset_scale first)
{
    static const float ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    float codes[32];
    find_codes(x, n, top, first, codes);
    double weight = sum3(importance, ones, ones, n), q1 = sum3(importance, codes, ones, n);
    double q2 = sum3(importance, codes, codes, n), x1 = sum3(importance, x, ones, n);
    double xq = sum3(importance, x, codes, n), determinant = weight * q2 - q1 * q1;
    if (!(determinant > 1e-6 * weight * q2)) return first;
    double scale = (weight * xq - x1 * q1) / determinant;
    double minimum = (q1 * xq - q2 * x1) / determinant;
    if (minimum < 0) { /* it is subtracted, and cannot be added */
        minimum = 0;
        scale = xq / q2;
    }
    return scale > 0 ? (offset_scale){(float)scale, (float)minimum} : first;
}

/* Returns the scale and minimum of a group x [n] with the least squared error among several tries:
 * ranges that are smaller or larger than that of the values, improved for the codes they give. */
static offset_scale fit_offset(const float *x, const float *importance, size_t n, int top)
{
    enum { TRIES = 6 };
    float min_value = 0, max_value = x[0], step = top > 3 ? 0.25f : 0.12f;
    for (size_t i = 0; i < n; i++) {
        if (x[i] < min_value) min_value = x[i];
        if (x[i] > max_value) max_value = x[i];
    }
    offset_scale found = {0, -min_value};
    if (!(max_value - min_value > 1e-30f)) return found;
    found.scale = (max_value - min_value) / (float)top;
    float error = offset_error(x, importance, n, top, found);
    for (int i = -2; i <= TRIES; i++) {
        offset_scale tried = {(max_value - min_value) / ((float)top + (float)i * step), -min_value};
        tried = refit_offset(x, importance, n, top, tried);
        float its = offset_error(x, importance, n, top, tried);
        if (its < error) error = its, found = tried;
    }
    return found;
}

/* ---- blocks of 256 with scales and minimums ---- */

/* The scales of a block's groups as codes 0..limit, and the codes of all values. */
typedef struct {
    uint8_t scales[MAX_GROUPS], minimums[MAX_GROUPS], q[BLOCK];
} offset_block;

/* Returns the largest of n numbers, of which none is negative. */
static float largest(const float *x, size_t n)
{
    float max_value = 0;
    for (size_t i = 0; i < n; i++) max_value = x[i] > max_value ? x[i] : max_value;
    return max_value;
}

/* Returns a number, which is not negative, divided by a factor as a code 0..limit. */
static int code_of(float number, float factor, int limit)
{
    return (int)nearest(number * inverse_of(factor), 0, (float)limit);
}

/* Sets the codes of a group's scale and minimum, near the wanted ones, to those with the least
 * error. factor, base: what one step of each stands for. */
static void choose_offset_codes(const float *x, const float *importance, size_t n, int top,
                                int limit, float factor, float base, offset_scale wanted,
                                uint8_t *scale, uint8_t *minimum)
{
    int s = code_of(wanted.scale, factor, limit), m = code_of(wanted.minimum, base, limit);
    float best = INFINITY;
    *scale = *minimum = 0;
    for (int i = s > 0 ? s - 1 : 0; i <= s + 1 && i <= limit; i++)
        for (int j = m > 0 ? m - 1 : 0; j <= m + 1 && j <= limit; j++) {
            offset_scale tried = {factor * (float)i, base * (float)j};
            float error = offset_error(x, importance, n, top, tried);
            if (error < best) best = error, *scale = (uint8_t)i, *minimum = (uint8_t)j;
        }
}

/* Quantizes 256 values in groups of `size` to codes 0..top; scales and minimums are codes 0..limit
 * times two f16 factors, which are stored at `factors`. */
static void quantize_offset_block(const float *x, size_t size, int top, int limit, uint8_t *factors,
                                  offset_block *out)
{
    float importance[BLOCK], scales[MAX_GROUPS], minimums[MAX_GROUPS];
    size_t groups = BLOCK / size;
    for (size_t g = 0; g < groups; g++) {
        set_importance(x + g * size, size, importance + g * size);
        offset_scale found = fit_offset(x + g * size, importance + g * size, size, top);
        scales[g] = found.scale;
        minimums[g] = found.minimum;
    }
    float factor = store_half(factors, largest(scales, groups) / (float)limit);
    float base = store_half(factors + 2, largest(minimums, groups) / (float)limit);
    for (size_t g = 0; g < groups; g++) {
        const float *values = x + g * size;
        choose_offset_codes(values, importance + g * size, size, top, limit, factor, base,
                            (offset_scale){scales[g], minimums[g]}, &out->scales[g],
                            &out->minimums[g]);
        offset_scale chosen = {factor * (float)out->scales[g], base * (float)out->minimums[g]};
        float codes[32];
        find_codes(values, size, top, chosen, codes);
        for (size_t i = 0; i < size; i++) out->q[g * size + i] = (uint8_t)codes[i];
    }
}

/* Stores sixteen codes of 2 bits of group g (0 to 15) in a block's 64 bytes of codes, which must
 * begin as zeros. */
static void pack_2bit_codes(const uint8_t *q, size_t g, uint8_t *to)
{
    to += g / 8 * 32 + g % 2 * 16;
    for (size_t i = 0; i < 16; i++) to[i] |= (uint8_t)((q[i] & 3) << g % 8 / 2 * 2);
}

/* Stores the scales and minimums, six bits each, of a Q4_K or Q5_K block's 8 groups in 12 bytes. */
static void pack_6bit_scales(const offset_block *b, uint8_t *to)
{
    memset(to, 0, 12);
    for (size_t g = 0; g < 4; g++) {
        to[g] |= b->scales[g];
        to[g + 4] |= b->minimums[g];
    }
    for (size_t g = 4; g < 8; g++) {
        to[g + 4] = (uint8_t)((b->scales[g] & 15) | (b->minimums[g] & 15) << 4);
        to[g - 4] |= (uint8_t)(b->scales[g] >> 4 << 6);
        to[g] |= (uint8_t)(b->minimums[g] >> 4 << 6);
    }
}

/* Stores the low four bits of 256 codes in groups of 32: groups 2k and 2k + 1 share 32 bytes. */
static void pack_4bit_codes(const uint8_t *q, uint8_t *to)
{
    for (size_t i = 0; i < BLOCK / 2; i++) {
        const uint8_t *pair = q + i / 32 * 64 + i % 32;
        to[i] = (uint8_t)((pair[0] & 15) | pair[32] << 4);
    }
}

void zi_quantize_q2_k(const float *x, uint8_t *block)
{
    offset_block b;
    quantize_offset_block(x, 16, 3, 15, block + 80, &b);
    memset(block + 16, 0, 64);
    for (size_t g = 0; g < 16; g++) {
        block[g] = (uint8_t)(b.scales[g] | b.minimums[g] << 4);
        pack_2bit_codes(b.q + 16 * g, g, block + 16);
    }
}

void zi_quantize_q4_k(const float *x, uint8_t *block)
{
    offset_block b;
    quantize_offset_block(x, 32, 15, 63, block, &b);
    pack_6bit_scales(&b, block + 4);
    pack_4bit_codes(b.q, block + 16);
}

void zi_quantize_q5_k(const float *x, uint8_t *block)
{
    offset_block b;
    quantize_offset_block(x, 32, 31, 63, block, &b);
    pack_6bit_scales(&b, block + 4);
    memset(block + 16, 0, 32);
    for (size_t i = 0; i < BLOCK; i++) block[16 + i % 32] |= (uint8_t)((b.q[i] >> 4) << i / 32);
    pack_4bit_codes(b.q, block + 48);
}

/* ---- blocks of 256 with signed scales ---- */

/* The signed codes of a block's scales, and the codes of all values: number - low, or the index in
 * the table. */
typedef struct {
    int scales[MAX_GROUPS];
    uint8_t q[BLOCK];
} signed_block;

/* Sets the codes of x [n] for a scale: number - low, or the index in the table. */
static void set_codes(const float *x, size_t n, const code_set *set, float scale, uint8_t *q)
{
    float codes[32], first = set->table ? 0 : set->low;
    if (set->table)
        find_in_table(set->table, x, n, inverse_of(scale), codes);
    else
        find_numbers(set, x, n, inverse_of(scale), codes);
    for (size_t i = 0; i < n; i++) q[i] = (uint8_t)(codes[i] - first);
}

/* Returns the weighted squared error of x [n] with the set's nearest numbers times the scale. */
static float scale_error(const float *x, const float *importance, size_t n, const code_set *set,
                         float scale)
{
    float numbers[32], differences[32];
    find_numbers(set, x, n, inverse_of(scale), numbers);
    for (size_t i = 0; i < n; i++) differences[i] = scale * numbers[i] - x[i];
    return sum3(importance, differences, differences, n);
}

/* Quantizes 256 values in groups of `size`; scales are codes -limit..limit - 1 times an f16 factor,
 * which is stored at `factor_at`. Of a scale's code and its neighbours, that with the least error
 * is taken. */
static void quantize_signed_block(const float *x, size_t size, const code_set *set, int limit,
                                  uint8_t *factor_at, signed_block *out)
{
    float importance[BLOCK], scales[MAX_GROUPS];
    size_t groups = BLOCK / size;
    for (size_t g = 0; g < groups; g++) {
        set_importance(x + g * size, size, importance + g * size);
        scales[g] = fit_scale(x + g * size, importance + g * size, size, set);
    }
    float factor = store_half(factor_at, find_extreme(scales, groups) / (float)-limit);
    for (size_t g = 0; g < groups; g++) {
        const float *values = x + g * size;
        float best = INFINITY, low = (float)-limit, high = (float)(limit - 1);
        int code = (int)nearest(scales[g] * inverse_of(factor), low, high);
        out->scales[g] = code;
        for (int i = code - 1; i <= code + 1; i++) {
            if (i < -limit || i >= limit) continue;
            float error = scale_error(values, importance + g * size, size, set, factor * (float)i);
            if (error < best) best = error, out->scales[g] = i;
        }
        set_codes(values, size, set, factor * (float)out->scales[g], out->q + g * size);
    }
}

void zi_quantize_q3_k(const float *x, uint8_t *block)
{
    static const code_set set = {-4, 3, 0.12f, NULL};
    signed_block b;
    quantize_signed_block(x, 16, &set, 32, block + 108, &b);
    memset(block, 0, 108);
    for (size_t g = 0; g < 16; g++) {
        int code = b.scales[g] + 32;
        block[96 + g % 8] |= (uint8_t)((code & 15) << g / 8 * 4);
        block[104 + g % 4] |= (uint8_t)(code >> 4 << g / 4 * 2);
        pack_2bit_codes(b.q + 16 * g, g, block + 32);
        for (size_t i = 0; i < 16; i++)
            block[g % 2 * 16 + i] |= (uint8_t)((b.q[16 * g + i] >> 2) << g / 2);
    }
}

void zi_quantize_q6_k(const float *x, uint8_t *block)
{
    static const code_set set = {-32, 31, 0.3f, NULL};
    signed_block b;
    quantize_signed_block(x, 16, &set, 128, block + 208, &b);
    memset(block, 0, 192);
    for (size_t g = 0; g < 16; g++) {
        uint8_t high[16], *low = block + g / 8 * 64 + g % 4 * 16;
        for (size_t i = 0; i < 16; i++) {
            uint8_t code = b.q[16 * g + i];
            low[i] |= (uint8_t)((code & 15) << g % 8 / 4 * 4);
            high[i] = code >> 4;
        }
        pack_2bit_codes(high, g, block + 128);
        block[192 + g] = (uint8_t)(int8_t)b.scales[g];
    }
}

void zi_quantize_iq4_nl(const float *x, uint8_t *block)
{
    static const code_set set = {-127, 113, 3, zi_iq4_values};
    uint8_t q[32];
    float importance[32];
    set_importance(x, 32, importance);
    set_codes(x, 32, &set, store_half(block, fit_scale(x, importance, 32, &set)), q);
    pack_nibbles(q, block + 2);
}

void zi_quantize_iq4_xs(const float *x, uint8_t *block)
{
    static const code_set set = {-127, 113, 3, zi_iq4_values};
    signed_block b;
    quantize_signed_block(x, 32, &set, 32, block, &b);
    memset(block + 2, 0, 6);
    for (size_t g = 0; g < 8; g++) {
        int code = b.scales[g] + 32;
        block[4 + g / 2] |= (uint8_t)((code & 15) << g % 2 * 4);
        block[2 + g / 4] |= (uint8_t)(code >> 4 << g % 4 * 2);
        pack_nibbles(b.q + 32 * g, block + 8 + 16 * g);
    }
}
