#include "base/dtype.h"
#include "base/blocks.h"

#include <math.h>

static const struct {
    const char *name;
    size_t size, block;
} dtypes[ZI_DTYPE_COUNT] = {
    [ZI_F32] = {"F32", 4, 1},
    [ZI_F16] = {"F16", 2, 1},
    [ZI_BF16] = {"BF16", 2, 1},
    [ZI_F64] = {"F64", 8, 1},
    [ZI_F8_E4M3] = {"F8_E4M3", 1, 1},
    [ZI_F8_E5M2] = {"F8_E5M2", 1, 1},
    [ZI_F8_E8M0] = {"F8_E8M0", 1, 1},
    [ZI_I8] = {"I8", 1, 1},
    [ZI_U8] = {"U8", 1, 1},
    [ZI_I16] = {"I16", 2, 1},
    [ZI_U16] = {"U16", 2, 1},
    [ZI_I32] = {"I32", 4, 1},
    [ZI_U32] = {"U32", 4, 1},
    [ZI_I64] = {"I64", 8, 1},
    [ZI_U64] = {"U64", 8, 1},
    [ZI_BOOL] = {"BOOL", 1, 1},
    [ZI_Q4_0] = {"Q4_0", 2 + 16, 32},
    [ZI_Q4_1] = {"Q4_1", 2 + 2 + 16, 32},
    [ZI_Q5_0] = {"Q5_0", 2 + 4 + 16, 32},
    [ZI_Q5_1] = {"Q5_1", 2 + 2 + 4 + 16, 32},
    [ZI_Q8_0] = {"Q8_0", 2 + 32, 32},
    [ZI_Q2_K] = {"Q2_K", 16 + 64 + 2 + 2, 256},
    [ZI_Q3_K] = {"Q3_K", 32 + 64 + 12 + 2, 256},
    [ZI_Q4_K] = {"Q4_K", 2 + 2 + 12 + 128, 256},
    [ZI_Q5_K] = {"Q5_K", 2 + 2 + 12 + 32 + 128, 256},
    [ZI_Q6_K] = {"Q6_K", 128 + 64 + 16 + 2, 256},
    [ZI_IQ4_NL] = {"IQ4_NL", 2 + 16, 32},
    [ZI_IQ4_XS] = {"IQ4_XS", 2 + 2 + 4 + 128, 256},
};

const char *zi_dtype_name(zi_dtype type)
{
    return type < ZI_DTYPE_COUNT ? dtypes[type].name : "?";
}

size_t zi_dtype_size(zi_dtype type)
{
    return dtypes[type].size;
}

size_t zi_dtype_block(zi_dtype type)
{
    return dtypes[type].block;
}

size_t zi_dtype_bytes(zi_dtype type, size_t count)
{
    return count / dtypes[type].block * dtypes[type].size;
}

zi_dtype zi_dtype_parse(const char *name)
{
    for (int i = 0; i < ZI_DTYPE_COUNT; i++)
        if (dtypes[i].block == 1 && strcmp(name, dtypes[i].name) == 0) return (zi_dtype)i;
    return ZI_DTYPE_COUNT;
}

/* Returns the value of an FP8 code (float8_e4m3fn) exactly: four bits of exponent and three of
 * mantissa are shifted into place and scaled by 2^120. There is no infinity; all ones is NaN. */
static float e4m3_to_f32(uint8_t code)
{
    uint32_t magnitude = (uint32_t)(code & 0x7f) << 20;
    float value;
    memcpy(&value, &magnitude, sizeof value);
    value = (code & 0x7f) == 0x7f ? NAN : value * 0x1p120f;
    return code & 0x80 ? -value : value;
}

/* Returns the value of an exponent of the MX formats (float8_e8m0fnu) exactly: 2^(code - 127); NaN
 * for 255. */
static float e8m0_to_f32(uint8_t code)
{
    uint32_t bits = code ? (uint32_t)code << 23 : 0x00400000; /* 2^-127 is subnormal */
    float value;
    memcpy(&value, &bits, sizeof value);
    return code == 255 ? NAN : value;
}

void zi_widen(zi_dtype type, const void *source, float *out, size_t n)
{
    const char *bytes = source; /* files promise no alignment, so halves are copied out */
    const uint8_t *codes = source;
    uint16_t half;
    switch (type) {
    case ZI_F32:
        memcpy(out, source, n * sizeof *out);
        break;
    case ZI_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = zi_bf16_to_f32(half);
        }
        break;
    case ZI_F16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = zi_f16_to_f32(half);
        }
        break;
    case ZI_F8_E4M3:
        for (size_t i = 0; i < n; i++) out[i] = e4m3_to_f32(codes[i]);
        break;
    case ZI_F8_E5M2: /* the upper byte of a half */
        for (size_t i = 0; i < n; i++) out[i] = zi_f16_to_f32((uint16_t)(codes[i] << 8));
        break;
    case ZI_F8_E8M0:
        for (size_t i = 0; i < n; i++) out[i] = e8m0_to_f32(codes[i]);
        break;
    case ZI_I8:
        for (size_t i = 0; i < n; i++) out[i] = (int8_t)codes[i];
        break;
    default:
        zi_dequantize(type, source, out, n);
    }
}

/* Returns the bit pattern of an f32. */
static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Returns the bits of the nearest bfloat16, half to even. What is too large becomes infinity; NaN
 * stays NaN. */
static uint16_t to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40); /* a quiet NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Rounds a finite magnitude (bits of an f32 without sign), half to even, to a format with `kept`
 * bits of mantissa and smallest exponent `min_exponent` (biased as f32's). Returns the format's
 * bits, without sign; the caller excludes what would overflow. Adding a power of two whose last bit
 * is the format's last bit lets the machine round. */
static uint32_t round_magnitude(uint32_t magnitude, uint32_t kept, uint32_t min_exponent)
{
    uint32_t exponent = magnitude >> 23;
    if (exponent < min_exponent) exponent = min_exponent;
    uint32_t large_bits = (exponent + 23 - kept) << 23;
    float large, absolute;
    memcpy(&large, &large_bits, sizeof large);
    memcpy(&absolute, &magnitude, sizeof absolute);
    return bits_of(absolute + large) - large_bits + ((exponent - min_exponent) << kept);
}

/* Returns the bits of the nearest IEEE half, half to even. Magnitudes from 65520 become infinity;
 * NaN stays NaN. */
static uint16_t to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and up */
    return (uint16_t)(sign | round_magnitude(magnitude, 10, 113));
}

/* Returns the FP8 code (float8_e4m3fn) of the nearest value, half to even. Magnitudes from 448,
 * infinity too, become 448; NaN stays NaN. */
static uint8_t to_e4m3(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint8_t)(sign | 0x7f);
    if (magnitude >= 0x43e00000) return (uint8_t)(sign | 0x7e); /* 448 and up */
    return (uint8_t)(sign | round_magnitude(magnitude, 3, 121));
}

void zi_narrow(zi_dtype type, const float *source, void *out, size_t n)
{
    uint8_t *codes = out;
    switch (type) {
    case ZI_F32:
        memcpy(out, source, n * sizeof *source);
        break;
    case ZI_F8_E4M3:
        for (size_t i = 0; i < n; i++) codes[i] = to_e4m3(source[i]);
        break;
    case ZI_F16:
    case ZI_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t bits = type == ZI_F16 ? to_f16(source[i]) : to_bf16(source[i]);
            memcpy(codes + 2 * i, &bits, sizeof bits);
        }
        break;
    default: /* zeros for types that are no block types: callers have refused these */
        zi_quantize_blocks(type, source, out, n);
    }
}
