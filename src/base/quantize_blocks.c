/* Numbers to blocks: the opposite of blocks.c, which describes how blocks are stored. */
#include "base/quantize_blocks.h"

#include <math.h>
#include <stdbool.h>

/* Stores bit 4 of 32 codes in 4 bytes, lowest bit first. */
static void pack_fifth_bits(const uint8_t *q, uint8_t *to)
{
    memset(to, 0, 4);
    for (size_t i = 0; i < 32; i++) to[i / 8] |= (uint8_t)((q[i] >> 4 & 1) << i % 8);
}

/* ---- blocks of 32, as gguf-py quantizes them ---- */

/* Quantizes 32 values to a Q8_0 block: the scale is the largest magnitude / 127. A NaN or infinity
 * makes the scale one, too, and all codes 0. A scale that has no inverse also makes all codes 0. */
static void quantize_q8_0(const float *x, uint8_t *block)
{
    float max_value = 0;
    for (size_t i = 0; i < 32; i++)
        if (!(fabsf(x[i]) <= max_value) && max_value == max_value) max_value = fabsf(x[i]);
    float inverse = inverse_of(max_value / 127);
    store_half(block, max_value / 127);
    for (size_t i = 0; i < 32; i++) {
        float whole = roundf(x[i] * inverse);
        block[2 + i] = fabsf(whole) <= 127 ? (uint8_t)(int8_t)whole : 0;
    }
}

/* Sets 32 codes from 0 to 2 `half` - 1 for scale * (code - half), and stores the scale, as an f16,
 * at `at`: the value of largest magnitude / -half. What is not finite gets the code for 0. */
static void quantize_symmetric(const float *x, int half, uint8_t *at, uint8_t q[32])
{
    float extreme = x[0];
    for (size_t i = 1; i < 32; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    float scale = extreme / (float)-half, inverse = inverse_of(scale);
    int top = 2 * half - 1;
    for (size_t i = 0; i < 32; i++) {
        float whole = truncf(x[i] * inverse + ((float)half + 0.5f));
        bool good = whole >= 0 && whole <= (float)(top + 1);
        q[i] = (uint8_t)(good ? (whole < (float)top ? whole : (float)top) : (float)half);
    }
    store_half(at, scale);
}

/* Sets 32 codes from 0 to top for scale * code + minimum, and stores both as f16s at `at`: the
 * smallest value and the range / top. What is not finite gets the code 0. */
static void quantize_with_minimum(const float *x, int top, uint8_t *at, uint8_t q[32])
{
    float min_value = x[0], max_value = x[0];
    for (size_t i = 1; i < 32; i++) {
        if (x[i] < min_value) min_value = x[i];
        if (x[i] > max_value) max_value = x[i];
    }
    float scale = (max_value - min_value) / (float)top, inverse = inverse_of(scale);
    for (size_t i = 0; i < 32; i++) {
        float whole = truncf((x[i] - min_value) * inverse + 0.5f);
        bool good = whole >= 0 && whole <= (float)(top + 1);
        q[i] = (uint8_t)(good ? (whole < (float)top ? whole : (float)top) : 0);
    }
    store_half(at, scale);
    store_half(at + 2, min_value);
}

static void quantize_q4_0(const float *x, uint8_t *block)
{
    uint8_t q[32];
    quantize_symmetric(x, 8, block, q);
    pack_nibbles(q, block + 2);
}

static void quantize_q4_1(const float *x, uint8_t *block)
{
    uint8_t q[32];
    quantize_with_minimum(x, 15, block, q);
    pack_nibbles(q, block + 4);
}

static void quantize_q5_0(const float *x, uint8_t *block)
{
    uint8_t q[32];
    quantize_symmetric(x, 16, block, q);
    pack_fifth_bits(q, block + 2);
    pack_nibbles(q, block + 6);
}

static void quantize_q5_1(const float *x, uint8_t *block)
{
    uint8_t q[32];
    quantize_with_minimum(x, 31, block, q);
    pack_fifth_bits(q, block + 4);
    pack_nibbles(q, block + 8);
}

/* ---- all of them ---- */

void zi_quantize_blocks(zi_dtype type, const float *x, void *blocks, size_t n)
{
    static void (*const quantizers[ZI_DTYPE_COUNT])(const float *x, uint8_t *block) = {
        [ZI_Q4_0] = quantize_q4_0,        [ZI_Q4_1] = quantize_q4_1,
        [ZI_Q5_0] = quantize_q5_0,        [ZI_Q5_1] = quantize_q5_1,
        [ZI_Q8_0] = quantize_q8_0,        [ZI_Q2_K] = zi_quantize_q2_k,
        [ZI_Q3_K] = zi_quantize_q3_k,     [ZI_Q4_K] = zi_quantize_q4_k,
        [ZI_Q5_K] = zi_quantize_q5_k,     [ZI_Q6_K] = zi_quantize_q6_k,
        [ZI_IQ4_NL] = zi_quantize_iq4_nl, [ZI_IQ4_XS] = zi_quantize_iq4_xs,
    };
    size_t values = zi_dtype_block(type);
    uint8_t *out = blocks;
    if (!quantizers[type]) memset(out, 0, zi_dtype_bytes(type, n));
    for (size_t i = 0; quantizers[type] && i < n; i += values, out += zi_dtype_size(type))
        quantizers[type](x + i, out);
}
