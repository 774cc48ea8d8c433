#include "base/blocks.h"

#include <math.h>

/* A group as it is stored. Types without minimum have -0 there: adding it changes no number, not
 * even a zero's sign. */
typedef struct {
    uint8_t q[ZI_BLOCK_GROUP];
    float scale, minimum;
} group;

static float half_at(const uint8_t *at)
{
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return zi_f16_to_f32(bits);
}

/* ---- blocks of 32: one group each ---- */

/* Low nibbles are the first half of the group, high ones the second. */
static void read_nibbles(const uint8_t *from, uint8_t *q)
{
    for (size_t i = 0; i < 16; i++) {
        q[i] = from[i] & 15;
        q[i + 16] = from[i] >> 4;
    }
}

/* Adds a fifth bit, one of 32 for each number. */
static void add_fifth_bits(const uint8_t *from, uint8_t *q)
{
    for (size_t i = 0; i < 32; i++) q[i] |= (uint8_t)((from[i / 8] >> i % 8 & 1) << 4);
}

static void read_q4_0(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    read_nibbles(block + 2, out->q);
}

static void read_q4_1(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    out->minimum = half_at(block + 2);
    read_nibbles(block + 4, out->q);
}

static void read_q5_0(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    read_nibbles(block + 6, out->q);
    add_fifth_bits(block + 2, out->q);
}

static void read_q5_1(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    out->minimum = half_at(block + 2);
    read_nibbles(block + 8, out->q);
    add_fifth_bits(block + 4, out->q);
}

static void read_q8_0(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    for (size_t i = 0; i < 32; i++) out->q[i] = block[2 + i] ^ 0x80; /* from signed to 128 and up */
}

/* ---- blocks of 256: eight or sixteen groups, whose scales are values of a few bits ---- */

/* Two bits each of group g of sixteen: of 128 values, those 32 apart share a byte. */
static void read_pairs(const uint8_t *from, size_t g, uint8_t *q)
{
    from += g / 8 * 32 + g % 2 * 16;
    for (size_t i = 0; i < 16; i++) q[i] = from[i] >> g % 8 / 2 * 2 & 3;
}

static void read_q2_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *scales = block, *numbers = block + 16, *factors = block + 80;
    out->scale = half_at(factors) * (float)(scales[g] & 15);
    out->minimum = -(half_at(factors + 2) * (float)(scales[g] >> 4));
    read_pairs(numbers, g, out->q);
}

static void read_q3_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *third = block + g % 2 * 16, *numbers = block + 32, *scales = block + 96;
    int low = scales[g % 8] >> g / 8 * 4 & 15, high = scales[8 + g % 4] >> g / 4 * 2 & 3;
    out->scale = half_at(block + 108) * (float)((low | high << 4) - 32);
    read_pairs(numbers, g, out->q);
    for (size_t i = 0; i < 16; i++) out->q[i] |= (uint8_t)((third[i] >> g / 2 & 1) << 2);
}

/* Scale and minimum of group g of eight, six bits each in twelve bytes. */
static void read_sixes(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *s = block + 4;
    int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
    int minimum = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | (s[g] >> 6) << 4;
    out->scale = half_at(block) * (float)scale;
    out->minimum = -(half_at(block + 2) * (float)minimum);
}

/* Four bits each of group g of eight: two groups share 32 bytes. */
static void read_fours(const uint8_t *from, size_t g, uint8_t *q)
{
    for (size_t i = 0; i < 32; i++) q[i] = from[g / 2 * 32 + i] >> g % 2 * 4 & 15;
}

static void read_q4_k(const uint8_t *block, size_t g, group *out)
{
    read_sixes(block, g, out);
    read_fours(block + 16, g, out->q);
}

static void read_q5_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *fifth = block + 16;
    read_sixes(block, g, out);
    read_fours(block + 48, g, out->q);
    for (size_t i = 0; i < 32; i++) out->q[i] |= (uint8_t)((fifth[i] >> g & 1) << 4);
}

static void read_q6_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *low = block + g / 8 * 64 + g % 4 * 16; /* of 128 values, those 64 apart share */
    const uint8_t *scales = block + 192;
    out->scale = half_at(block + 208) * (float)(int8_t)scales[g];
    read_pairs(block + 128, g, out->q);
    for (size_t i = 0; i < 16; i++)
        out->q[i] = (uint8_t)(out->q[i] << 4 | (low[i] >> g % 8 / 4 * 4 & 15));
}

/* ---- all of them ---- */

static const struct {
    size_t group;
    int zero;
    void (*read)(const uint8_t *block, size_t g, group *out);
} types[ZI_DTYPE_COUNT] = {
    [ZI_Q4_0] = {32, 8, read_q4_0},   [ZI_Q4_1] = {32, 0, read_q4_1},
    [ZI_Q5_0] = {32, 16, read_q5_0},  [ZI_Q5_1] = {32, 0, read_q5_1},
    [ZI_Q8_0] = {32, 128, read_q8_0}, [ZI_Q2_K] = {16, 0, read_q2_k},
    [ZI_Q3_K] = {16, 4, read_q3_k},   [ZI_Q4_K] = {32, 0, read_q4_k},
    [ZI_Q5_K] = {32, 0, read_q5_k},   [ZI_Q6_K] = {16, 32, read_q6_k},
};

size_t zi_block_group(zi_dtype type)
{
    return types[type].group;
}

static void read_group(zi_dtype type, const void *row, size_t number, group *out)
{
    size_t groups = zi_dtype_block(type) / types[type].group;
    out->minimum = -0.0f;
    types[type].read((const uint8_t *)row + number / groups * zi_dtype_size(type), number % groups,
                     out);
}

void zi_block_read(zi_dtype type, const void *row, size_t number, uint8_t *q, float *scale,
                   float *bias)
{
    group g;
    read_group(type, row, number, &g);
    memcpy(q, g.q, types[type].group);
    *scale = g.scale;
    *bias = g.minimum - (float)types[type].zero * g.scale;
}

void zi_dequantize(zi_dtype type, const void *blocks, float *out, size_t n)
{
    size_t size = types[type].group;
    int zero = types[type].zero;
    group g;
    for (size_t i = 0; i < n; i += size) {
        read_group(type, blocks, i / size, &g);
        for (size_t j = 0; j < size; j++) out[i + j] = (float)(g.q[j] - zero) * g.scale + g.minimum;
    }
}

/* The largest of 32 magnitudes, NaN when one is. */
static float largest(const float *x)
{
    float most = 0;
    for (size_t i = 0; i < 32; i++)
        if (!(fabsf(x[i]) <= most) && most == most) most = fabsf(x[i]);
    return most;
}

void zi_quantize_q8_0(const float *x, void *blocks, size_t n)
{
    uint8_t *out = blocks;
    for (size_t i = 0; i < n; i += 32) {
        float scale = largest(x + i) / 127, inverse = scale == 0 ? 0 : 1 / scale;
        zi_narrow(ZI_F16, &scale, out, 1);
        out += 2;
        for (size_t j = 0; j < 32; j++) {
            float whole = roundf(x[i + j] * inverse);
            /* Infinities, NaNs and blocks whose scale has no inverse become zeros. */
            *out++ = fabsf(whole) <= 127 ? (uint8_t)(int8_t)whole : 0;
        }
    }
}

/* The number of largest magnitude, the first of equal ones, decides: it becomes -8 or all but. */
void zi_quantize_q4_0(const float *x, void *blocks, size_t n)
{
    uint8_t *out = blocks;
    for (size_t i = 0; i < n; i += 32) {
        float most = x[i];
        for (size_t j = 1; j < 32; j++)
            if (fabsf(x[i + j]) > fabsf(most)) most = x[i + j];
        float scale = most / -8, inverse = scale == 0 ? 0 : 1 / scale;
        uint8_t q[32];
        for (size_t j = 0; j < 32; j++) {
            float whole = truncf(x[i + j] * inverse + 8.5f);
            /* What is no number becomes zero. */
            q[j] = whole >= 0 && whole <= 16 ? (uint8_t)(whole < 15 ? whole : 15) : 8;
        }
        zi_narrow(ZI_F16, &scale, out, 1);
        out += 2;
        for (size_t j = 0; j < 16; j++) *out++ = (uint8_t)(q[j] | q[j + 16] << 4);
    }
}
