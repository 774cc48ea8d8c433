#include "base/dtype.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[ZI_DTYPE_COUNT] = {
    [ZI_F32] = {"F32", 4}, [ZI_F16] = {"F16", 2},         [ZI_BF16] = {"BF16", 2},
    [ZI_F64] = {"F64", 8}, [ZI_F8_E4M3] = {"F8_E4M3", 1}, [ZI_F8_E5M2] = {"F8_E5M2", 1},
    [ZI_I8] = {"I8", 1},   [ZI_U8] = {"U8", 1},           [ZI_I16] = {"I16", 2},
    [ZI_U16] = {"U16", 2}, [ZI_I32] = {"I32", 4},         [ZI_U32] = {"U32", 4},
    [ZI_I64] = {"I64", 8}, [ZI_U64] = {"U64", 8},         [ZI_BOOL] = {"BOOL", 1},
};

const char *zi_dtype_name(zi_dtype type)
{
    return type < ZI_DTYPE_COUNT ? dtypes[type].name : "?";
}

size_t zi_dtype_size(zi_dtype type)
{
    return dtypes[type].size;
}

zi_dtype zi_dtype_parse(const char *name)
{
    for (int i = 0; i < ZI_DTYPE_COUNT; i++)
        if (strcmp(name, dtypes[i].name) == 0) return (zi_dtype)i;
    return ZI_DTYPE_COUNT;
}

void zi_widen(zi_dtype type, const void *source, float *out, size_t n)
{
    const char *bytes = source; /* files promise no alignment, so halves are copied out */
    uint16_t half;
    switch (type) {
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
    default: /* ZI_F32; callers have refused the rest */
        memcpy(out, source, n * sizeof *out);
    }
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40); /* a quiet NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Adding a power of two so large that the half's last bit becomes the sum's last bit lets the
 * machine round, half to even. */
static uint16_t to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and up */
    uint32_t exponent = magnitude >> 23;
    if (exponent < 113) exponent = 113; /* subnormal halves share the least exponent */
    uint32_t large_bits = (exponent + 13) << 23;
    float large, absolute;
    memcpy(&large, &large_bits, sizeof large);
    memcpy(&absolute, &magnitude, sizeof absolute);
    uint32_t rounded = bits_of(absolute + large) - large_bits; /* in units of the half's last bit */
    return (uint16_t)(sign | (rounded + ((exponent - 113) << 10)));
}

void zi_narrow(zi_dtype type, const float *source, void *out, size_t n)
{
    if (type == ZI_F32) {
        memcpy(out, source, n * sizeof *source);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t bits = type == ZI_F16 ? to_f16(source[i]) : to_bf16(source[i]);
        memcpy((char *)out + 2 * i, &bits, sizeof bits);
    }
}
