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
