/* Numbers in blocks, as ggml stores them: Q4_0 to Q8_0 in blocks of 32, Q2_K to Q6_K in blocks of
 * 256. Within a block, groups of 32 or 16 values share a scale and a minimum, and stand for
 *     (q - zero) * scale + minimum
 * with q from 0 on and one zero for all of a type. */
#ifndef ZI_BASE_BLOCKS_H
#define ZI_BASE_BLOCKS_H

#include "base/dtype.h"

enum { ZI_BLOCK_GROUP = 32 }; /* the larger of the two */

/* Numbers of a group of a block type, 32 or 16; 0 for any other type. */
size_t zi_block_group(zi_dtype type);

/* Group number `group` of a row of blocks: q [zi_block_group], and scale and bias such that values
 * are q * scale + bias. */
void zi_block_read(zi_dtype type, const void *row, size_t group, uint8_t *q, float *scale,
                   float *bias);

/* n values of a block type, the same bits as gguf-py's dequantize gives. */
void zi_dequantize(zi_dtype type, const void *blocks, float *out, size_t n);

/* n values to blocks of Q8_0 or Q4_0, the same bytes as gguf-py's quantize gives. */
void zi_quantize_q8_0(const float *x, void *blocks, size_t n);
void zi_quantize_q4_0(const float *x, void *blocks, size_t n);

#endif
