/* Codes of a few bits, of which groups share a scale, as MLX and ComfyUI store them in matrices. */
#ifndef ZI_BASE_GROUPS_H
#define ZI_BASE_GROUPS_H

#include "base/dtype.h"

/* A kind of codes: it says what a code stands for before its group's scale is applied, and how
 * codes lie in a row. */
typedef enum {
    ZI_CODES_INTEGER,   /* an integer from 0 on, of 2 to 6 or 8 bits, in one stream of bits, lowest
                           bits first */
    ZI_CODES_E2M1,      /* a float of 4 bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; the
                           even column in the low half of a byte */
    ZI_CODES_E2M1_HIGH, /* likewise, the even column in the high half */
    ZI_CODES_E4M3       /* F8_E4M3, a byte each */
} zi_codes;

/* Unpacks n codes of `bits` bits of a row, from number `from` on, a multiple of eight, to one byte
 * each. bits: 4 for E2M1, 8 for E4M3. The row's codes must end with whole groups of eight, which
 * may be read to their end. */
void zi_codes_unpack(zi_codes codes, int bits, const uint8_t *row, size_t from, size_t n,
                     uint8_t *out);

/* Converts n unpacked codes to the values that they stand for, without scale. Exact. */
void zi_codes_values(zi_codes codes, const uint8_t *q, size_t n, float *out);

/* Rounds n floats (codes E2M1 or E4M3, unpacked in q), of which each `group` share
 * one of `scales`, to bytes in place, which share *scale and *bias: a value is about q * *scale +
 * *bias. Exact for E2M1 under scales that are powers of two within a factor of 8. Otherwise an
 * error is at most 1/190 of the largest value that the n could have. A NaN or infinity among the
 * values makes *scale NaN. */
void zi_codes_to_bytes(zi_codes codes, uint8_t *q, size_t n, size_t group, const float *scales,
                       float *scale, float *bias);

#endif
