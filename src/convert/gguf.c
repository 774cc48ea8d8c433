/* Writes one component as a GGUF file: a transformer for ComfyUI-GGUF and stable-diffusion.cpp, or
 * a text encoder as llama.cpp does. */
#include "convert/gguf_metadata.h"

#include <stdlib.h>
#include <string.h>

/* general.file_type (llama.cpp's LLAMA_FTYPE) of the type that takes most bytes, among those that
 * have such a number; 0, F32's, when there is none. */
static uint32_t file_type(const zi_write_plan *plan)
{
    static const struct {
        zi_dtype type;
        uint32_t number;
    } types[] = {{ZI_F32, 0},   {ZI_F16, 1},   {ZI_BF16, 32}, {ZI_Q4_0, 2},    {ZI_Q4_1, 3},
                 {ZI_Q5_0, 8},  {ZI_Q5_1, 9},  {ZI_Q8_0, 7},  {ZI_Q2_K, 10},   {ZI_Q3_K, 12},
                 {ZI_Q4_K, 15}, {ZI_Q5_K, 17}, {ZI_Q6_K, 18}, {ZI_IQ4_NL, 25}, {ZI_IQ4_XS, 30}};
    size_t bytes[ZI_DTYPE_COUNT] = {0}, largest = 0;
    for (size_t i = 0; i < plan->count; i++) bytes[plan->items[i].type] += plan->items[i].bytes;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (bytes[types[i].type] > bytes[types[largest].type]) largest = i;
    return types[largest].number;
}

bool zi_conversion_write_gguf(zi_conversion *conversion, zi_error *error)
{
    bool text = !conversion->components[ZI_COMPONENT_TRANSFORMER].checkpoint;
    const zi_write_plan *plan =
        &conversion->components[text ? ZI_COMPONENT_TEXT_ENCODER : ZI_COMPONENT_TRANSFORMER].plan;
    const char *arch = text ? "qwen3" : "lumina2";
    uint32_t type = file_type(plan), version = 2;
    const zi_gguf_out general[] = {
        {"general.architecture", ZI_GGUF_STRING, false, 1, &arch},
        {"general.file_type", ZI_GGUF_U32, false, 1, &type},
        {"general.quantization_version", ZI_GGUF_U32, false, 1, &version},
    };
    size_t count = sizeof general / sizeof *general;
    zi_gguf_encoder_metadata more = {0};
    bool ok = !text || zi_gguf_encoder_metadata_create(conversion, &more, error);
    zi_gguf_out *values = malloc((count + more.count) * sizeof *values);
    if (ok && !values) ok = zi_error_no_memory(error, count * sizeof *values);
    if (ok) {
        memcpy(values, general, sizeof general);
        if (more.count) memcpy(values + count, more.values, more.count * sizeof *values);
        ok = zi_write_gguf(conversion->options->destination, values, count + more.count, plan,
                           &conversion->work, error);
    }
    free(values);
    zi_gguf_encoder_metadata_free(&more);
    return ok;
}
