/* Number formats of stored tensors. */
#ifndef ZI_BASE_DTYPE_H
#define ZI_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    ZI_F32 = 0,
    ZI_F16,
    ZI_BF16,
    ZI_F64,
    ZI_F8_E4M3,
    ZI_F8_E5M2,
    ZI_F8_E8M0, /* powers of two: scales of MX formats */
    ZI_I8,
    ZI_U8,
    ZI_I16,
    ZI_U16,
    ZI_I32,
    ZI_U32,
    ZI_I64,
    ZI_U64,
    ZI_BOOL,
    ZI_Q4_0, /* blocks, as GGUF files have them: see blocks.h */
    ZI_Q4_1,
    ZI_Q5_0,
    ZI_Q5_1,
    ZI_Q8_0,
    ZI_Q2_K,
    ZI_Q3_K,
    ZI_Q4_K,
    ZI_Q5_K,
    ZI_Q6_K,
    ZI_IQ4_NL,
    ZI_IQ4_XS,
    ZI_DTYPE_COUNT
} zi_dtype;

/* Returns the type's name as safetensors or GGUF spells it ("F32", "BF16", "Q8_0", ...), a
 * constant; "?" when type is ZI_DTYPE_COUNT or above. */
const char *zi_dtype_name(zi_dtype type);

/* Returns the bytes of an element, or of a whole block for types that are stored in blocks. type
 * must be below ZI_DTYPE_COUNT. */
size_t zi_dtype_size(zi_dtype type);

/* Returns the number of elements in a block; 1 for types that are not stored in blocks. type must
 * be below ZI_DTYPE_COUNT. */
size_t zi_dtype_block(zi_dtype type);

/* Returns the bytes of count elements, which must be whole blocks: the rest of an incomplete one is
 * not counted. type must be below ZI_DTYPE_COUNT. Does not check for overflow. */
size_t zi_dtype_bytes(zi_dtype type, size_t count);

/* Returns the type that a safetensors header names "F32", "BF16" and so on, case-sensitively;
 * ZI_DTYPE_COUNT when the name is unknown or that of a GGUF block type. */
zi_dtype zi_dtype_parse(const char *name);

/* Whether type is one that the engine computes with: F32, F16 or BF16. */
static inline int zi_dtype_computes(zi_dtype type)
{
    return type == ZI_F32 || type == ZI_F16 || type == ZI_BF16;
}

/* Returns the value of a bfloat16 given as its bits. Exact. */
static inline float zi_bf16_to_f32(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Returns the value of an IEEE half given as its bits, exactly. Exponent and mantissa are shifted
 * into place and scaled by 2^112 to fix the bias, which is right for subnormal halves, too;
 * infinities and NaNs need their exponent filled up. */
static inline float zi_f16_to_f32(uint16_t bits)
{
    uint32_t magnitude = (uint32_t)(bits & 0x7fff) << 13;
    float value;
    memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;
    uint32_t wide;
    memcpy(&wide, &value, sizeof wide);
    if ((bits & 0x7c00) == 0x7c00) wide |= 0x7f800000u;
    wide |= (uint32_t)(bits & 0x8000) << 16;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Converts n elements to f32. type must be F32, F16, BF16, F8_E4M3, F8_E5M2, F8_E8M0, I8 (no
 * scale is applied) or a block type, of which n must be whole blocks; others give NaNs. source
 * needs no alignment.
 */
void zi_widen(zi_dtype type, const void *source, float *out, size_t n);

/* Converts n f32 values to F32, F16, BF16 or F8_E4M3, rounded half to even, or to whole blocks
 * as zi_quantize_blocks does; other types get zeros. out needs no alignment. What is too large
 * becomes infinity in F16 and BF16, but in F8_E4M3 448, as does infinity (as in torch). NaN stays
 * NaN in the float types. */
void zi_narrow(zi_dtype type, const float *source, void *out, size_t n);

#endif
