#include "base/blocks.h"

#include <math.h>

/* A group as it is stored. Types without minimum have -0 there: adding it changes no number, not
 * even a zero's sign. */
typedef struct {
    uint8_t q[ZI_BLOCK_GROUP];
    float scale, minimum;
} group;

/* Returns the IEEE half, little-endian, that is stored at this address, which needs no alignment,
 * as f32. */
static float half_at(const uint8_t *at)
{
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return zi_f16_to_f32(bits);
}

/* ---- blocks of 32: one group each ---- */

/* Unpacks 16 bytes to 32 codes of 4 bits, one in a byte of q: the low nibbles are the first 16
 * codes, the high ones the last 16. */
static void unpack_nibbles(const uint8_t *from, uint8_t *q)
{
    for (size_t i = 0; i < 16; i++) {
        q[i] = from[i] & 15;
        q[i + 16] = from[i] >> 4;
    }
}

/* Adds bit 4 to the 32 codes in q, which have four bits so far, from the 32 bits at `from` (4
 * bytes, lowest bit first). */
static void add_fifth_bits(const uint8_t *from, uint8_t *q)
{
    for (size_t i = 0; i < 32; i++) q[i] |= (uint8_t)((from[i / 8] >> i % 8 & 1) << 4);
}

/* Unpacks a Q4_0 block (f16 scale, nibbles): sets out->scale and out->q; the caller subtracts the
 * zero of 8. A block is one group, so g is ignored; out->minimum is left as it is. */
static void read_q4_0(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    unpack_nibbles(block + 2, out->q);
}

/* Unpacks a Q4_1 block (f16 scale, f16 minimum, nibbles): sets out->scale, minimum (to be added)
 * and q. A block is one group, so g is ignored. */
static void read_q4_1(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    out->minimum = half_at(block + 2);
    unpack_nibbles(block + 4, out->q);
}

/* Unpacks a Q5_0 block (f16 scale, 32 fifth bits, nibbles): sets out->scale and out->q; the caller
 * subtracts the zero of 16. A block is one group, so g is ignored; out->minimum is left as it
 * is. */
static void read_q5_0(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    unpack_nibbles(block + 6, out->q);
    add_fifth_bits(block + 2, out->q);
}

/* Unpacks a Q5_1 block (f16 scale, f16 minimum, 32 fifth bits, nibbles): sets out->scale, minimum
 * (to be added) and q. A block is one group, so g is ignored. */
static void read_q5_1(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    out->minimum = half_at(block + 2);
    unpack_nibbles(block + 8, out->q);
    add_fifth_bits(block + 4, out->q);
}

/* Unpacks a Q8_0 block (f16 scale, 32 int8): sets out->scale and out->q, to which 128 is added to
 * make it unsigned; the caller subtracts that zero. A block is one group, so g is ignored;
 * out->minimum is left as it is. */
static void read_q8_0(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    for (size_t i = 0; i < 32; i++) out->q[i] = block[2 + i] ^ 0x80; /* from signed to 128 and up */
}

/* ---- blocks of 256: eight or sixteen groups, whose scales are values of a few bits ---- */

/* Unpacks the sixteen 2-bit codes of group g (0 to 15) of a block of 256, one in a byte of q. from:
 * the block's 64 bytes of codes. Of 128 numbers, those 32 apart share a byte. */
static void unpack_2bit_codes(const uint8_t *from, size_t g, uint8_t *q)
{
    from += g / 8 * 32 + g % 2 * 16;
    for (size_t i = 0; i < 16; i++) q[i] = from[i] >> g % 8 / 2 * 2 & 3;
}

/* Unpacks group g (0 to 15, of 16 numbers) of a Q2_K block: sets out->scale, minimum (negated, to
 * be added) and q (2-bit codes). Scale and minimum are 4 bits each, times f16 factors of the
 * block. */
static void read_q2_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *scales = block, *numbers = block + 16, *factors = block + 80;
    out->scale = half_at(factors) * (float)(scales[g] & 15);
    out->minimum = -(half_at(factors + 2) * (float)(scales[g] >> 4));
    unpack_2bit_codes(numbers, g, out->q);
}

/* Unpacks group g (0 to 15, of 16 numbers) of a Q3_K block: sets out->scale (6 bits, signed, times
 * the block's f16 factor) and q (3-bit codes; the caller subtracts the zero of 4). out->minimum is
 * left as it is. */
static void read_q3_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *third = block + g % 2 * 16, *numbers = block + 32, *scales = block + 96;
    int low = scales[g % 8] >> g / 8 * 4 & 15, high = scales[8 + g % 4] >> g / 4 * 2 & 3;
    out->scale = half_at(block + 108) * (float)((low | high << 4) - 32);
    unpack_2bit_codes(numbers, g, out->q);
    for (size_t i = 0; i < 16; i++) out->q[i] |= (uint8_t)((third[i] >> g / 2 & 1) << 2);
}

/* Sets scale and minimum of group g (0 to 7) of a Q4_K or Q5_K block: two f16 factors, then all
 * groups' scales and minimums of six bits each in twelve bytes. Stored minimums are to be
 * subtracted; out->minimum is negated, to be added. */
static void read_6bit_scales(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *s = block + 4;
    int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
    int minimum = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | (s[g] >> 6) << 4;
    out->scale = half_at(block) * (float)scale;
    out->minimum = -(half_at(block + 2) * (float)minimum);
}

/* Unpacks the 32 4-bit codes of group g (0 to 7) of a block of 256, one in a byte of q. from: the
 * block's 128 bytes of codes. Groups 2k and 2k + 1 are the low and high nibbles of the same 32
 * bytes. */
static void unpack_4bit_codes(const uint8_t *from, size_t g, uint8_t *q)
{
    for (size_t i = 0; i < 32; i++) q[i] = from[g / 2 * 32 + i] >> g % 2 * 4 & 15;
}

/* Unpacks group g (0 to 7, of 32 numbers) of a Q4_K block: sets out->scale, minimum (negated, to be
 * added) and q (4-bit codes). */
static void read_q4_k(const uint8_t *block, size_t g, group *out)
{
    read_6bit_scales(block, g, out);
    unpack_4bit_codes(block + 16, g, out->q);
}

/* Unpacks group g (0 to 7, of 32 numbers) of a Q5_K block: sets out->scale, minimum (negated, to be
 * added) and q (5-bit codes; the fifth bits are apart from the others). */
static void read_q5_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *fifth = block + 16;
    read_6bit_scales(block, g, out);
    unpack_4bit_codes(block + 48, g, out->q);
    for (size_t i = 0; i < 32; i++) out->q[i] |= (uint8_t)((fifth[i] >> g & 1) << 4);
}

/* Unpacks group g (0 to 15, of 16 numbers) of a Q6_K block: sets out->scale (int8 times the block's
 * f16 factor) and q (6-bit codes; the caller subtracts the zero of 32). out->minimum is left as it
 * is. */
static void read_q6_k(const uint8_t *block, size_t g, group *out)
{
    const uint8_t *low = block + g / 8 * 64 + g % 4 * 16; /* of 128 values, those 64 apart share */
    const uint8_t *scales = block + 192;
    out->scale = half_at(block + 208) * (float)(int8_t)scales[g];
    unpack_2bit_codes(block + 128, g, out->q);
    for (size_t i = 0; i < 16; i++)
        out->q[i] = (uint8_t)(out->q[i] << 4 | (low[i] >> g % 8 / 4 * 4 & 15));
}

/* ---- 4-bit codes that number the values of a table ---- */

const int8_t zi_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

/* Two values, to which 128 is added to make them unsigned: `low` is in the low byte. */
#define PAIR(high, low) ((high) + 128) << 8 | ((low) + 128)
/* The pairs of `high` and each value of the table. */
#define PAIRS(high)                                                                                \
    PAIR(high, -127), PAIR(high, -104), PAIR(high, -83), PAIR(high, -65), PAIR(high, -49),         \
        PAIR(high, -35), PAIR(high, -22), PAIR(high, -10), PAIR(high, 1), PAIR(high, 13),          \
        PAIR(high, 25), PAIR(high, 38), PAIR(high, 53), PAIR(high, 69), PAIR(high, 89),            \
        PAIR(high, 113)

/* By byte: the two values that its nibbles number. A look-up for both costs half of two; compilers
 * vectorize the rest of unpacking. */
static const uint16_t iq4_pairs[256] = {PAIRS(-127), PAIRS(-104), PAIRS(-83), PAIRS(-65),
                                        PAIRS(-49),  PAIRS(-35),  PAIRS(-22), PAIRS(-10),
                                        PAIRS(1),    PAIRS(13),   PAIRS(25),  PAIRS(38),
                                        PAIRS(53),   PAIRS(69),   PAIRS(89),  PAIRS(113)};

/* Unpacks 16 bytes of nibbles to the 32 table values that they number, one in a byte of q, to which
 * 128 is added to make it unsigned. */
static void unpack_table_values(const uint8_t *from, uint8_t *q)
{
    uint16_t pairs[16];
    for (size_t i = 0; i < 16; i++) pairs[i] = iq4_pairs[from[i]];
    for (size_t i = 0; i < 16; i++) {
        q[i] = (uint8_t)pairs[i];
        q[i + 16] = (uint8_t)(pairs[i] >> 8);
    }
}

/* Unpacks an IQ4_NL block (f16 scale, nibbles): sets out->scale and out->q; the caller subtracts
 * the zero of 128. A block is one group, so g is ignored; out->minimum is left as it is. */
static void read_iq4_nl(const uint8_t *block, size_t g, group *out)
{
    (void)g;
    out->scale = half_at(block);
    unpack_table_values(block + 2, out->q);
}

/* Unpacks group g (0 to 7, of 32 numbers) of an IQ4_XS block: sets out->scale (6 bits, signed, of
 * which the upper two are apart, times the block's f16 factor) and q; the caller subtracts the zero
 * of 128. out->minimum is left as it is. */
static void read_iq4_xs(const uint8_t *block, size_t g, group *out)
{
    int low = block[4 + g / 2] >> g % 2 * 4 & 15, high = block[2 + g / 4] >> g % 4 * 2 & 3;
    out->scale = half_at(block) * (float)((low | high << 4) - 32);
    unpack_table_values(block + 8 + 16 * g, out->q);
}

/* ---- all of them ---- */

static const struct {
    size_t group;
    int zero;
    void (*read)(const uint8_t *block, size_t g, group *out);
} types[ZI_DTYPE_COUNT] = {
    [ZI_Q4_0] = {32, 8, read_q4_0},       [ZI_Q4_1] = {32, 0, read_q4_1},
    [ZI_Q5_0] = {32, 16, read_q5_0},      [ZI_Q5_1] = {32, 0, read_q5_1},
    [ZI_Q8_0] = {32, 128, read_q8_0},     [ZI_Q2_K] = {16, 0, read_q2_k},
    [ZI_Q3_K] = {16, 4, read_q3_k},       [ZI_Q4_K] = {32, 0, read_q4_k},
    [ZI_Q5_K] = {32, 0, read_q5_k},       [ZI_Q6_K] = {16, 32, read_q6_k},
    [ZI_IQ4_NL] = {32, 128, read_iq4_nl}, [ZI_IQ4_XS] = {32, 128, read_iq4_xs},
};

size_t zi_block_group(zi_dtype type)
{
    return types[type].group;
}

/* A place in a row of blocks. */
typedef struct {
    zi_dtype type;
    const uint8_t *block;
    size_t g, groups, bytes; /* number of the group in the block, groups and bytes of a block */
} place;

/* The place of group `number`, from 0 and counted over all blocks of the row. type must be a block
 * type. */
static place place_of(zi_dtype type, const void *row, size_t number)
{
    size_t groups = zi_dtype_block(type) / types[type].group, bytes = zi_dtype_size(type);
    return (place){type, (const uint8_t *)row + number / groups * bytes, number % groups, groups,
                   bytes};
}

/* Unpacks the group at the place, to codes, scale and minimum (-0 for types without one), and moves
 * on to the next one. The caller subtracts types[type].zero from the codes, multiplies by the scale
 * and adds the minimum. */
static void read_next(place *at, group *out)
{
    out->minimum = -0.0f;
    types[at->type].read(at->block, at->g, out);
    if (++at->g < at->groups) return;
    at->g = 0;
    at->block += at->bytes;
}

void zi_blocks_read(zi_dtype type, const void *row, size_t first, size_t count, uint8_t *q,
                    float *scales, float *biases)
{
    place at = place_of(type, row, first);
    size_t size = types[type].group;
    float zero = (float)types[type].zero;
    group g;
    for (size_t i = 0; i < count; i++, q += size) {
        read_next(&at, &g);
        if (size == ZI_BLOCK_GROUP)
            memcpy(q, g.q, ZI_BLOCK_GROUP); /* the usual size, known to the compiler */
        else
            memcpy(q, g.q, size);
        scales[i] = g.scale;
        biases[i] = g.minimum - zero * g.scale;
    }
}

void zi_dequantize(zi_dtype type, const void *blocks, float *out, size_t n)
{
    size_t size = types[type].group;
    int zero = types[type].zero;
    group g;
    for (size_t i = 0; !size && i < n; i++) out[i] = NAN; /* no block type */
    if (!size) return;
    place at = place_of(type, blocks, 0);
    for (size_t i = 0; i < n; i += size) {
        read_next(&at, &g);
        for (size_t j = 0; j < size; j++) out[i + j] = (float)(g.q[j] - zero) * g.scale + g.minimum;
    }
}
