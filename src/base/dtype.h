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
    ZI_DTYPE_COUNT
} zi_dtype;

/* As safetensors spells it ("F32", "BF16", ...). */
const char *zi_dtype_name(zi_dtype type);
size_t zi_dtype_size(zi_dtype type); /* bytes per element, or per block of elements */

/* Elements of a block; 1 where every element stands for itself. */
size_t zi_dtype_block(zi_dtype type);

/* Bytes of count elements, which are whole blocks. */
size_t zi_dtype_bytes(zi_dtype type, size_t count);

/* A type that safetensors knows; ZI_DTYPE_COUNT when the name is unknown. */
zi_dtype zi_dtype_parse(const char *name);

/* Whether type is one that the engine computes with: F32, F16 or BF16. */
static inline int zi_dtype_computes(zi_dtype type)
{
    return type == ZI_F32 || type == ZI_F16 || type == ZI_BF16;
}

static inline float zi_bf16_to_f32(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* IEEE half: shift exponent and mantissa into place, then scale by 2^112 to fix the bias, which
 * handles subnormal halves exactly; infinities and NaNs need their exponent filled up. */
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

/* n elements as f32, whole blocks of them; source needs no alignment. For computing types, F8_E4M3,
 * F8_E5M2, I8 and all block types. */
void zi_widen(zi_dtype type, const void *source, float *out, size_t n);

/* n values to a computing type or F8_E4M3, rounded half to even, or to Q8_0 or Q4_0, whole blocks
 * of them; out needs no alignment. F8_E4M3 has no infinity: what is larger than 448 becomes 448 (so
 * does torch). */
void zi_narrow(zi_dtype type, const float *source, void *out, size_t n);

#endif
