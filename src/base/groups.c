#include "base/groups.h"

#include <math.h>
#include <stdbool.h>

/* ---- unpacking ---- */

/* Spreads the eight codes of `bits` bits (below 8) in the low bytes of x, the first one lowest, to
 * one byte each: halves of the word are moved apart, then halves of these, then pairs. */
static inline uint64_t spread_codes(uint64_t x, int bits)
{
    const uint64_t one = 1;
    uint64_t fours = (one << 4 * bits) - 1;
    uint64_t pairs = ((one << 2 * bits) - 1) * UINT64_C(0x0000000100000001);
    uint64_t single = ((one << bits) - 1) * UINT64_C(0x0001000100010001);
    x = (x & fours) | ((x >> 4 * bits) & fours) << 32;
    x = (x & pairs) | ((x >> 2 * bits) & pairs) << 16;
    return (x & single) | ((x >> bits) & single) << 8;
}

/* Loads the `bits` bytes (a constant where it is inlined) that hold eight codes, in at most two
 * parts: copied byte by byte to memory and read back as a word, they would have to be waited for.
 */
static inline __attribute__((always_inline)) uint64_t load_codes(int bits, const uint8_t *from)
{
    uint32_t four;
    uint16_t two;
    if (bits >= 4) memcpy(&four, from, sizeof four);
    if (bits == 2 || bits == 3) memcpy(&two, from, sizeof two);
    if (bits == 2) return two;
    if (bits == 3) return two | (uint64_t)from[2] << 16;
    if (bits == 4) return four;
    if (bits == 5) return four | (uint64_t)from[4] << 32;
    memcpy(&two, from + 4, sizeof two); /* 6 bits */
    return four | (uint64_t)two << 32;
}

/* Unpacks `eights` times eight codes of `bits` bits (a constant below 8 where it is inlined) from
 * `from`, to one byte each. swap: exchanges the halves of each byte first. */
static inline __attribute__((always_inline)) void
unpack_eights(int bits, bool swap, const uint8_t *from, size_t eights, uint8_t *out)
{
    const uint64_t low = UINT64_C(0x0f0f0f0f0f0f0f0f);
    for (size_t i = 0; i < eights; i++) {
        uint64_t x = load_codes(bits, from + i * (size_t)bits);
        if (swap) x = (x & low) << 4 | (x >> 4 & low);
        x = spread_codes(x, bits);
        memcpy(out + 8 * i, &x, sizeof x);
    }
}

/* Unpacks `eights` times eight codes, as zi_codes_unpack does. */
static void unpack_whole(zi_codes codes, int bits, const uint8_t *from, size_t eights, uint8_t *out)
{
    switch (bits) {
    case 2:
        unpack_eights(2, false, from, eights, out);
        break;
    case 3:
        unpack_eights(3, false, from, eights, out);
        break;
    case 4:
        if (codes == ZI_CODES_E2M1_HIGH)
            unpack_eights(4, true, from, eights, out);
        else
            unpack_eights(4, false, from, eights, out);
        break;
    case 5:
        unpack_eights(5, false, from, eights, out);
        break;
    case 6:
        unpack_eights(6, false, from, eights, out);
        break;
    default: /* 8 */
        memcpy(out, from, 8 * eights);
    }
}

void zi_codes_unpack(zi_codes codes, int bits, const uint8_t *row, size_t from, size_t n,
                     uint8_t *out)
{
    const uint8_t *first = row + from / 8 * (size_t)bits;
    uint8_t last[8];
    unpack_whole(codes, bits, first, n / 8, out);
    if (n % 8 == 0) return;
    unpack_whole(codes, bits, first + n / 8 * (size_t)bits, 1, last);
    memcpy(out + n / 8 * 8, last, n % 8);
}

/* ---- values ---- */

void zi_codes_values(zi_codes codes, const uint8_t *q, size_t n, float *out)
{
    static const float e2m1[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                   -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    if (codes == ZI_CODES_E4M3)
        zi_widen(ZI_F8_E4M3, q, out, n);
    else if (codes == ZI_CODES_INTEGER)
        for (size_t i = 0; i < n; i++) out[i] = (float)q[i];
    else
        for (size_t i = 0; i < n; i++) out[i] = e2m1[q[i] & 15];
}

/* ---- rounding to bytes with one scale ---- */

enum { ZERO = 128 }; /* the byte that stands for 0 */

/* Twice the value of an E2M1 code: -12 to 12. Comparisons instead of a table, so that compilers use
 * vectors. */
static inline int16_t doubled_e2m1(uint8_t code)
{
    int16_t m = code & 7, sign = (int16_t) - (code >> 3);
    m = (int16_t)(m + (m > 4) + (m > 5) + 3 * (m > 6));
    return (int16_t)((m ^ sign) - sign);
}

/* Replaces n E2M1 codes by bytes around ZERO in steps of the largest |scale| / (2 steps), which it
 * returns. The largest group gets whole steps; others are rounded in fixed point with 8 fractional
 * bits, which 16-bit integers hold: 12 * 10 * 256 + 128 < 2^15. */
static float round_e2m1(uint8_t *q, size_t n, size_t group, const float *scales, float max_value)
{
    float steps = group == 16 ? 10 : 8; /* groups of 32 have powers of two: 8 keeps them exact */
    float inverse = max_value >= 0x1p-100f ? steps * 256 / max_value : 0;
    for (size_t g = 0; g < n / group; g++, q += group) {
        float exact = scales[g] * inverse;
        int16_t factor = (int16_t)(exact < 0 ? exact - 0.5f : exact + 0.5f);
        for (size_t i = 0; i < group; i++)
            q[i] = (uint8_t)(((int16_t)(doubled_e2m1(q[i]) * factor + 128) >> 8) + ZERO);
    }
    return max_value / (2 * steps);
}

/* Returns the largest magnitude of a group's E4M3 codes, as a code without sign; 0x7f for NaN. */
static uint8_t largest_code(const uint8_t *q, size_t n)
{
    uint8_t max_value = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t magnitude = q[i] & 0x7f;
        max_value = magnitude > max_value ? magnitude : max_value;
    }
    return max_value;
}

/* Returns the value of an E4M3 code that is no NaN. Neither branches nor subnormal floats, which
 * are slow: for codes without exponent, m * 2^-9, 2^-6 is added in the exponent and subtracted. */
static inline float e4m3_value(uint8_t code)
{
    uint32_t magnitude = code & 0x7f, tiny = magnitude < 8;
    uint32_t bits = (magnitude << 20) + ((120 + tiny) << 23), offset = tiny ? 121u << 23 : 0;
    float value, subtracted;
    memcpy(&value, &bits, sizeof value);
    memcpy(&subtracted, &offset, sizeof subtracted);
    value -= subtracted;
    memcpy(&bits, &value, sizeof bits);
    bits |= (uint32_t)(code & 0x80) << 24;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Replaces n E4M3 codes (no NaN) by bytes around ZERO in steps of max_value / 127, which it
 * returns; max_value: the largest magnitude of a value. Adding 1.5 * 2^23 lets the machine round.
 */
static float round_e4m3(uint8_t *q, size_t n, size_t group, const float *scales, float max_value)
{
    float inverse = max_value >= 0x1p-100f ? 127 / max_value : 0;
    for (size_t g = 0; g < n / group; g++, q += group) {
        float factor = scales[g] * inverse;
        for (size_t i = 0; i < group; i++) {
            float value = e4m3_value(q[i]) * factor + 0x1.8p23f;
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            q[i] = (uint8_t)(bits + ZERO);
        }
    }
    return max_value / 127;
}

void zi_codes_to_bytes(zi_codes codes, uint8_t *q, size_t n, size_t group, const float *scales,
                       float *scale, float *bias)
{
    float max_value = 0;
    for (size_t g = 0; g < n / group; g++) {
        float value = 1;
        uint8_t code = codes == ZI_CODES_E4M3 ? largest_code(q + g * group, group) : 0;
        if (codes == ZI_CODES_E4M3) zi_widen(ZI_F8_E4M3, &code, &value, 1);
        value *= fabsf(scales[g]);
        max_value = value <= max_value
                        ? max_value
                        : value; /* a NaN is kept: later comparisons are false, too */
        if (max_value != max_value) break;
    }
    if (!(max_value <= 0x1p127f)) { /* NaN or infinity */
        memset(q, ZERO, n);
        *scale = *bias = NAN;
        return;
    }
    *scale = codes == ZI_CODES_E4M3 ? round_e4m3(q, n, group, scales, max_value)
                                    : round_e2m1(q, n, group, scales, max_value);
    *bias = -ZERO * *scale;
}
