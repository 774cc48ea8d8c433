/* Which of ggml's block types a tensor gets in a GGUF file. */
#ifndef ZI_CONVERT_BLOCK_TYPES_H
#define ZI_CONVERT_BLOCK_TYPES_H

#include "convert/plan.h"

/* Returns the block type for a matrix when the file as a whole gets `wanted`: the type itself; or
 * one with more bits for a tensor whose errors cost the image most, or whose rows are no whole
 * blocks. item->entries and component must be set; rows must be multiples of 32. */
zi_dtype zi_block_type_for(const zi_write_item *item, zi_dtype wanted);

#endif
