/* What the dot_rows slots of the tiers share: which types there are, and how large their blocks. */
#ifndef ZI_KERNELS_DOT_H
#define ZI_KERNELS_DOT_H

#include "base/blocks.h"
#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Numbers of a block of a type; 32 for types without blocks, which are taken in 32s. A constant
 * where the type is one. Only types of zi_kernels_dot. */
INLINE size_t block_numbers(zi_dtype type)
{
    return type == ZI_Q4_K || type == ZI_Q5_K || type == ZI_Q6_K || type == ZI_IQ4_XS ? 256 : 32;
}

/* Bytes of block_numbers numbers of a type. A constant where the type is one. Only types of
 * zi_kernels_dot. */
INLINE size_t block_bytes(zi_dtype type)
{
    return type == ZI_F32      ? 128
           : type == ZI_Q8_0   ? 34
           : type == ZI_Q4_0   ? 18
           : type == ZI_Q4_1   ? 20
           : type == ZI_Q5_0   ? 22
           : type == ZI_Q5_1   ? 24
           : type == ZI_Q4_K   ? 144
           : type == ZI_Q5_K   ? 176
           : type == ZI_Q6_K   ? 210
           : type == ZI_IQ4_NL ? 18
           : type == ZI_IQ4_XS ? 136
                               : 64;
}

/* y[j] = DOT(type, row j, x, k) for n rows that are ldw bytes apart, with the type a constant.
 * Types that zi_kernels_dot does not name are left out: callers have asked it. */
#define DOT_EACH_ROW(DOT, type, w, ldw, n, x, k, y)                                                \
    switch (type) {                                                                                \
        DOT_ROWS_OF(ZI_F32, DOT, w, ldw, n, x, k, y);                                              \
        DOT_ROWS_OF(ZI_F16, DOT, w, ldw, n, x, k, y);                                              \
        DOT_ROWS_OF(ZI_BF16, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q4_0, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q4_1, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q5_0, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q5_1, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q8_0, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q4_K, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q5_K, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_Q6_K, DOT, w, ldw, n, x, k, y);                                             \
        DOT_ROWS_OF(ZI_IQ4_NL, DOT, w, ldw, n, x, k, y);                                           \
        DOT_ROWS_OF(ZI_IQ4_XS, DOT, w, ldw, n, x, k, y);                                           \
    default:                                                                                       \
        break;                                                                                     \
    }
#define DOT_ROWS_OF(name, DOT, w, ldw, n, x, k, y)                                                 \
    case name:                                                                                     \
        for (size_t j = 0; j < (n); j++) (y)[j] = DOT(name, (const char *)(w) + j * (ldw), x, k);  \
        break

#endif
