/* Parts of zi_quantize_blocks (blocks.h): the quantizers that search for scales, and helpers. */
#ifndef ZI_BASE_QUANTIZE_BLOCKS_H
#define ZI_BASE_QUANTIZE_BLOCKS_H

#include "base/blocks.h"

/* Returns 1 / scale, or 0 for 0. */
static inline float inverse_of(float scale)
{
    return scale == 0 ? 0 : 1 / scale;
}

/* Stores a value as little-endian IEEE half at an address without alignment, and returns the value
 * that readers get back. */
static inline float store_half(uint8_t *at, float value)
{
    uint16_t bits;
    zi_narrow(ZI_F16, &value, at, 1);
    memcpy(&bits, at, sizeof bits);
    return zi_f16_to_f32(bits);
}

/* Stores 32 codes of 4 bits in 16 bytes: the first 16 codes in the low nibbles. Higher bits of the
 * codes are ignored. */
static inline void pack_nibbles(const uint8_t *q, uint8_t *to)
{
    for (size_t i = 0; i < 16; i++) to[i] = (uint8_t)((q[i] & 15) | q[i + 16] << 4);
}

/* Each quantizes the values of one block, 256 or for IQ4_NL 32, to a block of its type. */
void zi_quantize_q2_k(const float *x, uint8_t *block);
void zi_quantize_q3_k(const float *x, uint8_t *block);
void zi_quantize_q4_k(const float *x, uint8_t *block);
void zi_quantize_q5_k(const float *x, uint8_t *block);
void zi_quantize_q6_k(const float *x, uint8_t *block);
void zi_quantize_iq4_nl(const float *x, uint8_t *block);
void zi_quantize_iq4_xs(const float *x, uint8_t *block);

#endif
