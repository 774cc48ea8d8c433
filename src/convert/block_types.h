/* Which of ggml's block types a tensor gets in a GGUF file. */
#ifndef ZI_CONVERT_BLOCK_TYPES_H
#define ZI_CONVERT_BLOCK_TYPES_H

#include "convert/plan.h"

/* Returns the block type for a matrix when the file as a whole gets `wanted`: the type itself; or
 * one with more bits where rows are no whole blocks or, unless `wanted` is Q4_0 or Q8_0, where
 * errors cost the image most (outside attention and feed forward). item->entries and component must
 * be set; rows must be multiples of 32. */
zi_dtype zi_block_type_for(const zi_write_item *item, zi_dtype wanted);

#endif
