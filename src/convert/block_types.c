#include "convert/block_types.h"

#include <string.h>

/* Whether the matrix is one of the attention or feed forward of a block, which together are nearly
 * all of a model. The others (embedders, modulation, final layer, token embeddings) are small, and
 * their errors reach every block. */
static bool is_in_block(const char *name)
{
    return strstr(name, ".attention.") || strstr(name, ".feed_forward.") ||
           strstr(name, ".self_attn.") || strstr(name, ".mlp.");
}

/* The type with blocks of 32 that has as many bits as one with blocks of 256, or the next ones. */
static zi_dtype type_of_short_blocks(zi_dtype type)
{
    switch (type) {
    case ZI_Q2_K:
    case ZI_Q3_K:
    case ZI_IQ4_XS:
        return ZI_IQ4_NL;
    case ZI_Q4_K:
        return ZI_Q5_0;
    case ZI_Q5_K:
        return ZI_Q5_1;
    default:
        return ZI_Q8_0;
    }
}

zi_dtype zi_block_type_for(const zi_write_item *item, zi_dtype wanted)
{
    const zi_entry *entry = item->entries[0];
    size_t width = entry->shape[entry->dims - 1];
    if (wanted == ZI_Q4_0 || wanted == ZI_Q8_0) return wanted; /* the same for all */
    if (!is_in_block(entry->name)) return ZI_Q8_0;
    return width % zi_dtype_block(wanted) ? type_of_short_blocks(wanted) : wanted;
}
