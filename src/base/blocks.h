/* Numbers in blocks, as ggml stores them: Q4_0 to Q8_0 and IQ4_NL in blocks of 32, Q2_K to Q6_K and
 * IQ4_XS in blocks of 256. Within a block, groups of 32 or 16 values share a scale and a minimum,
 * and stand for (q - zero) * scale + minimum with q from 0 on and one zero for all of a type. */
#ifndef ZI_BASE_BLOCKS_H
#define ZI_BASE_BLOCKS_H

#include "base/dtype.h"

enum { ZI_BLOCK_GROUP = 32 }; /* the larger of the two */

/* The 16 values that the 4-bit codes of IQ4_NL and IQ4_XS stand for, before their scale, in
 * ascending order. */
extern const int8_t zi_iq4_values[16];

/* Returns how many numbers of a block type share a scale (a group): 32 or 16. 0 for types that are
 * not stored in blocks. */
size_t zi_block_group(zi_dtype type);

/* Reads `count` groups of a row of blocks, from number `first` on, counted from 0 over the whole
 * row. Sets q [count, zi_block_group(type)] to their codes, one in a byte, and scales and biases
 * [count] such that the numbers of a group are scale * q + bias. type must be a block type. Does
 * not check the numbers of groups. */
void zi_blocks_read(zi_dtype type, const void *row, size_t first, size_t count, uint8_t *q,
                    float *scales, float *biases);

/* Converts n numbers of a block type, which are whole blocks, to f32. Gives the same bits as
 * gguf-py's dequantize. blocks needs no alignment. Other types give NaNs. */
void zi_dequantize(zi_dtype type, const void *blocks, float *out, size_t n);

/* Quantizes n values, which are whole blocks, to blocks of a block type; out needs no alignment.
 * Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are the same bytes as gguf-py's quantize gives. The others are
 * found by a search for the scales with the least squared error. What is not finite gets some code,
 * but may also get into the scale of its block. Other types get zeros. */
void zi_quantize_blocks(zi_dtype type, const float *x, void *blocks, size_t n);

#endif
