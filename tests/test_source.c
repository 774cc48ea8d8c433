/* Components by canonical tensor names: the reference model in every layout, and refused files. */
#include "harness.h"
#include "io/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool open_source(const char *path, const char *stem, zi_component part,
                        zi_checkpoint *checkpoint, zi_source *source)
{
    zi_error error = {0};
    const char *full = zi_test_data_path(path);
    if (!CHECK_OK(stem ? zi_checkpoint_open_dir(full, stem, checkpoint, &error)
                       : zi_checkpoint_open(full, checkpoint, &error),
                  error))
        return false;
    const zi_checkpoint *one = checkpoint;
    if (CHECK_OK(zi_source_create(&one, 1, part, 0, source, &error), error)) return true;
    zi_checkpoint_close(checkpoint);
    return false;
}

static void close_source(zi_checkpoint *checkpoint, zi_source *source)
{
    zi_source_free(source);
    zi_checkpoint_close(checkpoint);
}

/* ---- the reference model ---- */

static float value_at(const zi_entry *entry, size_t i)
{
    float value;
    zi_widen(entry->tensor->type, entry->data + i * zi_dtype_size(entry->tensor->type), &value, 1);
    return value;
}

/* Where the i-th number of a kernel lies that is stored [out, h, w, in]. */
static size_t nhwc_place(const zi_entry *entry, size_t i)
{
    size_t in = entry->shape[1], area = entry->shape[2] * entry->shape[3];
    size_t o = i / (in * area), c = i / area % in, p = i % area;
    return (o * area + p) * in + c;
}

/* As many numbers as in the original, equal up to the rounding to 16 bits. */
static bool same_values(const zi_entry *entry, const zi_entry *original)
{
    size_t count = 1;
    for (int d = 0; d < original->dims; d++) count *= original->shape[d];
    for (size_t i = 0; i < count; i++) {
        float a = value_at(entry, entry->nhwc ? nhwc_place(entry, i) : i);
        float b = value_at(original, i);
        if (!(fabsf(a - b) <= 4e-3f * fabsf(b) + 1e-6f)) return false;
    }
    return true;
}

static void check_entry(const char *path, const zi_entry *entry, const zi_entry *original)
{
    CHECK_MSG(entry->kind == original->kind && entry->dims == original->dims &&
                  memcmp(entry->shape, original->shape, sizeof entry->shape) == 0,
              "%s: %s has another shape", path, entry->name);
    CHECK(entry->row + entry->rows <= entry->tensor->shape[0]);
    if (entry->packing == ZI_GROUPED) {
        size_t scales = entry->shape[0] * entry->shape[1] / entry->group;
        CHECK_MSG(entry->bits == 8 && entry->group == 64, "%s: %d bits in %zu", entry->name,
                  entry->bits, entry->group);
        CHECK(entry->scales.count == scales && entry->biases.count == scales);
        CHECK(entry->bytes == entry->shape[0] * entry->shape[1]);
    } else if (zi_dtype_computes(entry->tensor->type)) {
        CHECK_MSG(same_values(entry, original), "%s: %s has other values", path, entry->name);
    } else {
        CHECK_MSG(entry->tensor->type == ZI_F8_E4M3 && entry->packing == ZI_PLAIN,
                  "%s: %s is no plain fp8", path, entry->name);
        CHECK(entry->bytes == original->shape[0] * original->shape[1]);
    }
}

/* Every file of the reference model has the same entries as its diffusers folder, fused or not. */
static void layouts_agree(void)
{
    static const char *const folders[ZI_WEIGHT_COMPONENTS][2] = {
        {"golden/model/transformer", "diffusion_pytorch_model"},
        {"golden/model/text_encoder", "model"},
        {"golden/model/vae", "diffusion_pytorch_model"}};
    static const struct {
        const char *path;
        zi_component part;
        int lacks;
    } rows[] = {
        {"golden/comfyui/seed_single_file.safetensors", ZI_COMPONENT_TRANSFORMER, 0},
        {"golden/comfyui/seed_single_file.safetensors", ZI_COMPONENT_TEXT_ENCODER, 0},
        {"golden/comfyui/seed_single_file.safetensors", ZI_COMPONENT_VAE, 0},
        {"golden/comfyui/split_ae.safetensors", ZI_COMPONENT_VAE, 0},
        {"golden/comfyui/split_diffusion_model_fp8_e4m3fn.safetensors", ZI_COMPONENT_TRANSFORMER,
         0},
        {"golden/mlx/FP16/weights.safetensors", ZI_COMPONENT_TRANSFORMER, 2}, /* the pad tokens */
        {"golden/mlx/FP8/weights.safetensors", ZI_COMPONENT_TRANSFORMER, 2},
        {"golden/mlx/FP16/text_encoder.safetensors", ZI_COMPONENT_TEXT_ENCODER, 0},
        {"golden/mlx/FP16/vae.safetensors", ZI_COMPONENT_VAE, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_checkpoint reference, checkpoint;
        zi_source original, source;
        zi_component part = rows[i].part;
        if (!open_source(folders[part][0], folders[part][1], part, &reference, &original)) return;
        CHECK(original.count == reference.tensor_count);
        if (open_source(rows[i].path, NULL, part, &checkpoint, &source)) {
            int lacks = 0;
            for (size_t j = 0; j < original.count; j++) {
                const zi_entry *entry = zi_source_find(&source, original.entries[j].name);
                if (entry) check_entry(rows[i].path, entry, &original.entries[j]);
                lacks += !entry;
            }
            CHECK_MSG(lacks == rows[i].lacks && source.count + lacks == original.count,
                      "%s: %d entries are missing, %zu there", rows[i].path, lacks, source.count);
            close_source(&checkpoint, &source);
        }
        close_source(&reference, &original);
    }
}

static void absent_parts_are_empty(void)
{
    zi_checkpoint checkpoint;
    zi_source source;
    if (!open_source("golden/comfyui/split_ae.safetensors", NULL, ZI_COMPONENT_TRANSFORMER,
                     &checkpoint, &source))
        return;
    CHECK(source.count == 0 && !source.file && !zi_source_find(&source, "x_pad_token"));
    close_source(&checkpoint, &source);
}

/* ---- made up ones ---- */

/* Reads "NAME TYPE SIZES" up to the next "; ". Data are zeros, or the text behind a "=". */
static const char *make_tensor(const char *text, zi_tensor *out)
{
    static const uint64_t zeros[4096];
    char name[128], type[16];
    int used = 0;
    CHECK(sscanf(text, "%127s %15[^ ;]%n", name, type, &used) == 2);
    *out =
        (zi_tensor){.name = strdup(name), .type = zi_dtype_parse(type), .count = 1, .data = zeros};
    CHECK_MSG(out->type < ZI_DTYPE_COUNT, "%s", type);
    for (text += used; *text == ' ' && text[1] != '='; text += used) {
        CHECK(sscanf(text, " %zu%n", &out->shape[out->dims], &used) == 1);
        out->count *= out->shape[out->dims++];
    }
    if (*text == ' ') {
        out->data = text + 2;
        out->dims = 1;
        out->count = out->shape[0] = strlen(text + 2);
        text += 2 + out->count;
    }
    out->bytes = out->count * zi_dtype_size(out->type);
    CHECK(out->bytes <= sizeof zeros);
    return *text == ';' ? text + 2 : text;
}

/* A checkpoint of these tensors, as a reader of files leaves it. */
static void make(const char *text, zi_checkpoint *out)
{
    enum { MAX_TENSORS = 8 };
    *out = (zi_checkpoint){0};
    out->files = calloc(1, sizeof *out->files);
    out->files[0].path = strdup("made.safetensors");
    out->file_count = 1;
    out->tensors = calloc(MAX_TENSORS, sizeof *out->tensors);
    while (*text && out->tensor_count < MAX_TENSORS)
        text = make_tensor(text, &out->tensors[out->tensor_count++]);
}

#define W "layers.0.feed_forward.w1"
#define QKV "layers.0.attention.qkv"
#define NVFP4 "{\"format\":\"nvfp4\"}"
#define MXFP8 "{\"format\":\"mxfp8\"}"
#define ROTATED(size)                                                                              \
    "{\"format\":\"int8_tensorwise\",\"convrot\":true,\"convrot_groupsize\":" size "}"

/* The same of q, k and v, as tensors of their own. */
#define SPLIT(rest)                                                                                \
    "layers.0.attention.to_q." rest "; layers.0.attention.to_k." rest                              \
    "; layers.0.attention.to_v." rest "; "

/* Files that are refused, and words of the error. Tensors are in the file's order. */
static const struct {
    const char *tensors, *metadata, *says;
    zi_error_code code;
    const char *subject; /* NULL: the file */
} refused[] = {
    {W ".weight BF16 4 64; "
       "model.diffusion_model." W ".weight BF16 4 64",
     NULL, "tensors " W ".weight and model.diffusion_model." W ".weight", ZI_ERROR_BAD_FORMAT,
     W ".weight"},
    {QKV ".weight BF16 12 64; "
         "layers.0.attention.to_k.weight BF16 4 64",
     NULL,
     "stand for the same part of the model, layers.0.attention.to_k.weight, which may be there "
     "only "
     "once; fetch the file again",
     ZI_ERROR_BAD_FORMAT, QKV ".weight"},
    {W ".weight F8_E4M3 4 64; " W ".weight_scale F32; " W ".scale_weight F32", NULL,
     "stand for the same part of the model, " W ".weight", ZI_ERROR_BAD_FORMAT, W ".weight_scale"},
    {W ".weight_scale F32", NULL, W ".weight_scale is there without the weight",
     ZI_ERROR_BAD_FORMAT, W ".weight_scale"},
    {W ".scales F16 4 1; " W ".biases F16 4 1", NULL, "without the weight", ZI_ERROR_BAD_FORMAT,
     W ".scales"},
    {W ".comfy_quant U8 4", NULL, "without the weight", ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    {W ".weight U32 4 16; " W ".scales F16 4 1", NULL,
     "but the tensor biases that belongs to it is missing", ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight U32 4 16; " W ".biases F16 4 1", NULL,
     "but the tensor scales that belongs to it is missing", ZI_ERROR_BAD_FORMAT, W ".biases"},
    {W ".weight U32 4 16", NULL, "the tensors scales and biases that belong to it are missing",
     ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight I8 4 16", NULL, "the tensor weight_scale that belongs to it is missing",
     ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight U8 4 16", NULL, "unknown format", ZI_ERROR_UNSUPPORTED, W ".weight"},
    {W ".weight I64 4 16", NULL, "not a type of weights", ZI_ERROR_UNSUPPORTED, W ".weight"},
    {W ".weight BF16 4 16; " W ".scales F16 4 1; " W ".biases F16 4 1", NULL,
     "it is of type BF16, and with scales like those of MLX it must be a matrix of type U32",
     ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight U32 4 16; " W ".scales F16 5 1; " W ".biases F16 5 1", NULL,
     W ".scales has shape [5, 1], but it must be a matrix of 4 rows, one for each row",
     ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight U32 4 16; " W ".scales F16 4 1; " W ".biases F16 4 2", NULL,
     W ".biases has shape [4, 2] and type F16, but its scales, " W
       ".scales, have shape [4, 1] and type F16",
     ZI_ERROR_BAD_FORMAT, W ".biases"},
    {W ".weight U32 4 16; " W ".scales F16 4 1; " W ".biases F32 4 1", NULL,
     ".scales, have shape [4, 1] and type F16, and both must be the same", ZI_ERROR_BAD_FORMAT,
     W ".biases"},
    {SPLIT("weight U32 6 16") SPLIT("scales F16 6 1") QKV ".biases F16 6 1", NULL,
     QKV ".biases belongs to layers.0.attention.to_k.weight, but only " QKV
         ".biases has q, k and v in one tensor;",
     ZI_ERROR_BAD_FORMAT, QKV ".biases"},
    {SPLIT("weight U32 6 16") QKV ".scales U8 6 4", NULL, "but only " QKV ".scales has q, k and v",
     ZI_ERROR_BAD_FORMAT, QKV ".scales"},
    {QKV ".weight F8_E4M3 6 16; " SPLIT("weight_scale F32 6"), NULL,
     "but only " QKV ".weight has q, k and v", ZI_ERROR_BAD_FORMAT,
     "layers.0.attention.to_k.weight_scale"},
    {W ".weight U32 4 16; " W ".scales I8 4 1; " W ".biases I8 4 1", NULL,
     "scales must be F32, F16 or BF16", ZI_ERROR_UNSUPPORTED, W ".scales"},
    {W ".weight U32 4 17; " W ".scales F16 4 1; " W ".biases F16 4 1", NULL,
     "no group size and number of bits", ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight U32 4 16; " W ".scales F16 4 0; " W ".biases F16 4 0", NULL,
     "no group size and number of bits", ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight U32 4 14; " W ".scales F16 4 1; " W ".biases F16 4 1", NULL,
     "no group size and number of bits", ZI_ERROR_BAD_FORMAT, W ".scales"},
    /* 8 bits in groups of 64, as such; but the norm says that rows have 32 values */
    {W ".weight U32 4 16; " W ".scales F16 4 1; " W
       ".biases F16 4 1; layers.0.ffn_norm1.weight F32 32",
     NULL, "no group size and number of bits", ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight U32 4 16; " W ".scales U8 4 3", NULL, "MLX's mode mxfp4, mxfp8 or nvfp4",
     ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight U32 4 16; " W ".scales U8 4 0", NULL, "MLX's mode", ZI_ERROR_BAD_FORMAT,
     W ".scales"},
    {W ".weight U32 4 16; " W ".scales U8 3 4", NULL, "a matrix of 4 rows, one for each row",
     ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight U32 4 16; " W ".scales U8 4 4; " W ".biases U8 4 4", NULL,
     "scales must be F32, F16 or BF16", ZI_ERROR_UNSUPPORTED, W ".scales"},
    {W ".weight U32 4 16; " W ".scales U8 4 4; layers.0.ffn_norm1.weight F32 64", NULL,
     "unpacked it has 128 columns, where other tensors of the model need 64", ZI_ERROR_BAD_FORMAT,
     W ".weight"},
    {W ".weight U32 4 16; " W ".scales F16 4 1; " W ".biases F16 4 1; " W ".weight_scale F32", NULL,
     "tensors " W ".weight_scale and " W ".scales belong to the same weight", ZI_ERROR_BAD_FORMAT,
     W ".weight_scale"},
    {W ".weight U32 4 16; " W ".scales F16 4 1; " W ".biases F16 4 1; " W ".weight_scale_2 F32",
     NULL, "tensors " W ".weight_scale_2 and " W ".scales belong to the same weight",
     ZI_ERROR_BAD_FORMAT, W ".weight_scale_2"},
    {W ".weight U32 4 16; " W ".scales U8 4 4; " W ".weight_scale_2 F32", NULL,
     "tensors " W ".weight_scale_2 and " W ".scales belong to the same weight", ZI_ERROR_BAD_FORMAT,
     W ".weight_scale_2"},
    {W ".weight F8_E4M3 4 16; " W ".scales F16 4 1; " W ".biases F16 4 1",
     "{\"layers\":{\"" W "\":{\"format\":\"float8_e4m3fn\"}}}",
     "it has the scales of MLX and the mark of a ComfyUI format", ZI_ERROR_BAD_FORMAT, W ".scales"},
    {W ".weight F8_E4M3 4 16; " W ".weight_scale F32 3", NULL,
     "[3], but it must have one value, or one column of 4 values", ZI_ERROR_BAD_FORMAT,
     W ".weight_scale"},
    {W ".weight F8_E4M3 4 16; " W ".weight_scale F32 4 2", NULL,
     "it must have one value, or one column of 4 values (one for each row", ZI_ERROR_BAD_FORMAT,
     W ".weight_scale"},
    {W ".weight F8_E4M3 4 16; " W ".weight_scale F32 1 4", NULL,
     "it must have one value, or one column of 4 values (one for each row", ZI_ERROR_BAD_FORMAT,
     W ".weight_scale"},
    {QKV ".weight F8_E4M3 12 16; " QKV ".weight_scale F32 4", NULL,
     "it must have one value, or one column of 12 values (one for each row", ZI_ERROR_BAD_FORMAT,
     QKV ".weight_scale"},
    {"layers.0.attention.to_q.weight F8_E4M3 12 16; " QKV ".weight_scale F32 12", NULL,
     QKV ".weight_scale is there without the weight", ZI_ERROR_BAD_FORMAT, QKV ".weight_scale"},
    {W ".weight F8_E4M3 4 16; " W ".weight_scale I32", NULL, "a scale must be F32, F16 or BF16",
     ZI_ERROR_UNSUPPORTED, W ".weight_scale"},
    {W ".weight F8_E4M3 4 64; " W ".weight_scale U8 128 4", NULL,
     "but the file does not say which format it is", ZI_ERROR_UNSUPPORTED, W ".weight_scale"},
    {W ".weight U8 4 32; " W ".weight_scale F8_E4M3 128 4", NULL,
     "but the file does not say which format it is", ZI_ERROR_UNSUPPORTED, W ".weight_scale"},
    {W ".weight BF16 4 16; " W ".weight_scale F32", NULL,
     "which is of type BF16, but only weights of type F8_E4M3, F8_E5M2 (fp8) or I8",
     ZI_ERROR_UNSUPPORTED, W ".weight_scale"},
    {QKV ".weight BF16 13 16", NULL,
     QKV ".weight has shape [13, 16], but its rows must be those of q, k and v",
     ZI_ERROR_BAD_FORMAT, QKV ".weight"},
    {QKV ".weight BF16 12", NULL, "q, k and v", ZI_ERROR_BAD_FORMAT, QKV ".weight"},
    {W ".weight BF16 16", NULL, "but it must be a matrix", ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight BF16 4 16 1 1", NULL, "but it must be a matrix", ZI_ERROR_BAD_FORMAT, W ".weight"},
    {"layers.0.ffn_norm1.weight F32 4 4", NULL, "one dimension", ZI_ERROR_BAD_FORMAT,
     "layers.0.ffn_norm1.weight"},
    {"x_pad_token F32 2 4", NULL, "a single row", ZI_ERROR_BAD_FORMAT, "x_pad_token"},
    {"layers.0.odd.weight F32 4", NULL,
     "tensor layers.0.odd.weight does not belong to a Z-Image model", ZI_ERROR_UNSUPPORTED,
     "layers.0.odd.weight"},
    {"double_blocks.0.x F32 4; "
     "single_blocks.0.x F32 4",
     NULL, "Flux", ZI_ERROR_UNSUPPORTED, NULL},
    {"layers.0.attention.to_q.lora_A.weight F32 4 4", NULL, "LoRA", ZI_ERROR_UNSUPPORTED, NULL},
    {W ".weight U8 4 32; " W ".weight_scale_2 F32", NULL,
     "the file does not say that " W ".weight is in that format", ZI_ERROR_UNSUPPORTED,
     W ".weight_scale_2"},
    {W ".weight U8 4 32; " W ".pre_quant_scale F32", NULL, "smoothed NVFP4", ZI_ERROR_UNSUPPORTED,
     W ".pre_quant_scale"},
    {W ".svd_up BF16 4 32", NULL, "SDNQ", ZI_ERROR_UNSUPPORTED, W ".svd_up"},
    {W ".wscales BF16 4 32", NULL, "Nunchaku", ZI_ERROR_UNSUPPORTED, W ".wscales"},
    {W ".weight F8_E4M3 4 32; " W ".comfy_quant U8 ={\"format\":\"mxfp8\"}", NULL,
     W ".weight is there, but the tensor weight_scale that belongs to it is missing",
     ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight I8 4 16; " W ".comfy_quant U8 ={\"format\":\"convrot_w4a4\"}", NULL,
     "the quantization named at " W ".comfy_quant is convrot_w4a4", ZI_ERROR_UNSUPPORTED,
     W ".comfy_quant"},
    {W ".weight F8_E5M2 4 16; " W ".comfy_quant U8 ={\"format\":\"float8_e4m3fn\"}", NULL,
     W ".comfy_quant says that the quantization is float8_e4m3fn, with weights of type F8_E4M3, "
       "but tensor " W ".weight is of type F8_E5M2",
     ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    /* rotated */
    {W ".weight I8 4 16; " W ".weight_scale F32 4; " W ".comfy_quant U8 =" ROTATED("8"), NULL,
     "\"convrot_groupsize\" of " W ".comfy_quant is 8, but it must be a power of four",
     ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    {W ".weight I8 4 16; " W ".weight_scale F32 4; " W ".comfy_quant U8 =" ROTATED("1"), NULL,
     "is 1, but it must be a power of four", ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    {W ".weight I8 4 16; " W ".weight_scale F32 4; " W ".comfy_quant U8 =" ROTATED("16384"), NULL,
     "is 16384, but it must be a power of four from 4 to 4096", ZI_ERROR_BAD_FORMAT,
     W ".comfy_quant"},
    {W ".weight I8 4 16; " W ".weight_scale F32 4; " W ".comfy_quant U8 =" ROTATED("\"16\""), NULL,
     "is \"16\", but it must be a power of four", ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    {W ".weight I8 4 16; " W ".weight_scale F32 4; " W ".comfy_quant U8 =" ROTATED("64"), NULL,
     W ".weight has shape [4, 16], but the quantization of this file needs a matrix with a "
       "multiple of 64 columns "
       "(\"convrot_groupsize\")",
     ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight F8_E4M3 4 16; " W ".weight_scale F32 4; " W
       ".comfy_quant U8 ={\"format\":\"float8_e4m3fn\",\"convrot\":true}",
     NULL, "supported for int8_tensorwise only", ZI_ERROR_UNSUPPORTED, W ".comfy_quant"},
    {W ".weight I8 4 16; " W ".weight_scale F32 4; " W
       ".comfy_quant U8 ={\"format\":\"int8_tensorwise\",\"convrot\":1}",
     NULL, "neither true nor false", ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    /* NVFP4 and MXFP8 */
    {W ".weight U8 4 32; " W ".weight_scale F8_E4M3 128 4; " W ".comfy_quant U8 =" NVFP4, NULL,
     W ".weight is there, but the tensor weight_scale_2 that belongs to it is missing",
     ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight U8 4 32; " W ".weight_scale F8_E4M3 4 4; " W ".weight_scale_2 F32; " W
       ".comfy_quant U8 =" NVFP4,
     NULL, W ".weight_scale has shape [4, 4], but for its weight it must be [128, 4]",
     ZI_ERROR_BAD_FORMAT, W ".weight_scale"},
    {W ".weight U8 4 32; " W ".weight_scale F32 128 4; " W ".weight_scale_2 F32; " W
       ".comfy_quant U8 =" NVFP4,
     NULL,
     W ".weight_scale is F32, but scales of NVFP4, the format that the file gives for this weight, "
       "must "
       "be F8_E4M3;",
     ZI_ERROR_UNSUPPORTED, W ".weight_scale"},
    {W ".weight U8 4 32; " W ".weight_scale F8_E4M3 128 4; " W ".weight_scale_2 I32; " W
       ".comfy_quant U8 =" NVFP4,
     NULL, W ".weight_scale_2 is I32, but a scale must be F32, F16 or BF16", ZI_ERROR_UNSUPPORTED,
     W ".weight_scale_2"},
    {W ".weight U8 4 32; " W ".weight_scale F8_E4M3 128 4; " W ".weight_scale_2 F32 2; " W
       ".comfy_quant U8 =" NVFP4,
     NULL, W ".weight_scale_2 has shape [2], but it must have one value;", ZI_ERROR_BAD_FORMAT,
     W ".weight_scale_2"},
    {W ".weight U8 4 33; " W ".weight_scale F8_E4M3 128 8; " W ".weight_scale_2 F32; " W
       ".comfy_quant U8 =" NVFP4,
     NULL, "as NVFP4 its columns should be a multiple of 8 bytes", ZI_ERROR_BAD_FORMAT,
     W ".weight"},
    {W ".weight U8 32; " W ".weight_scale F8_E4M3 128 4; " W ".weight_scale_2 F32; " W
       ".comfy_quant U8 =" NVFP4,
     NULL, "but it must be a matrix", ZI_ERROR_BAD_FORMAT, W ".weight"},
    {W ".weight F8_E4M3 4 48; " W ".weight_scale U8 128 4; " W ".comfy_quant U8 =" MXFP8, NULL,
     "as MXFP8 it must be a matrix whose columns are a multiple of 32", ZI_ERROR_BAD_FORMAT,
     W ".weight"},
    {W ".weight F8_E4M3 4 64; " W ".weight_scale F32 128 4; " W ".comfy_quant U8 =" MXFP8, NULL,
     "scales of MXFP8, the format that the file gives for this weight, must be U8 or F8_E8M0;",
     ZI_ERROR_UNSUPPORTED, W ".weight_scale"},
    {W ".weight F8_E4M3 4 64; " W ".weight_scale U8 128 4; " W
       ".comfy_quant U8 ={\"format\":\"mxfp8\",\"group_size\":16}",
     NULL, "\"group_size\" of " W ".comfy_quant is 16, and for mxfp8 only 32 is supported",
     ZI_ERROR_UNSUPPORTED, W ".comfy_quant"},
    {W ".weight F8_E4M3 4 64; " W ".weight_scale U8 128 4; " W ".weight_scale_2 F32; " W
       ".comfy_quant U8 =" MXFP8,
     NULL, "the file does not say that " W ".weight is in that format", ZI_ERROR_UNSUPPORTED,
     W ".weight_scale_2"},
    {W ".weight I8 4 16; " W ".weight_scale F32 4; " W ".weight_scale_2 F32; " W
       ".comfy_quant U8 ={\"format\":\"int8_tensorwise\"}",
     NULL, "the file does not say that " W ".weight is in that format", ZI_ERROR_UNSUPPORTED,
     W ".weight_scale_2"},
    {W ".weight F8_E4M3 4 16; " W ".comfy_quant U8 ={\"fo", NULL,
     "which says how a layer is quantized, is not JSON", ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    {W ".weight F8_E4M3 4 16; " W ".comfy_quant U8 ={}", NULL, "no \"format\"", ZI_ERROR_BAD_FORMAT,
     W ".comfy_quant"},
    {W ".weight F8_E4M3 4 16; " W ".comfy_quant F32 4", NULL,
     "which says how a layer is quantized, is not JSON", ZI_ERROR_BAD_FORMAT, W ".comfy_quant"},
    {W ".weight BF16 4 16", "{\"layers\":{\"layers.1.a\":{\"format\":\"nvfp4\"}}}",
     "a layer layers.1.a, which zimage does not know", ZI_ERROR_UNSUPPORTED, "layers.1.a"},
    {W ".weight BF16 4 16", "{\"layers\":{\"" W "\":{\"format\":\"asym_w4a8_int8\"}}}",
     "the quantization named at " W " is asym_w4a8_int8", ZI_ERROR_UNSUPPORTED, W},
    {W ".weight BF16 4 16", "{\"layers\":{\"" W "\":{\"format\":\"nvfp4\"}}}",
     "metadata _quantization_metadata says that the quantization is nvfp4, with weights of type U8",
     ZI_ERROR_BAD_FORMAT, "_quantization_metadata"},
    {W ".weight BF16 4 16",
     "{\"layers\":", "_quantization_metadata, which says how layers are quantized, is not JSON",
     ZI_ERROR_BAD_FORMAT, "_quantization_metadata"},
    {W ".weight BF16 4 16", "{\"layers\":{\"a\":{}}}", "no \"format\"", ZI_ERROR_BAD_FORMAT, "a"},
};

static void refusals(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        zi_checkpoint checkpoint;
        zi_source source;
        zi_error error = {0};
        make(refused[i].tensors, &checkpoint);
        if (refused[i].metadata)
            CHECK_OK(zi_checkpoint_add_metadata(&checkpoint, "_quantization_metadata",
                                                refused[i].metadata, &error),
                     error);
        const zi_checkpoint *one = &checkpoint;
        bool ok = zi_source_create(&one, 1, ZI_COMPONENT_TRANSFORMER, 0, &source, &error);
        CHECK_MSG(!ok && strstr(error.text, refused[i].says) &&
                      strstr(error.text, "made.safetensors"),
                  "row %zu (%s): %s", i, refused[i].says, ok ? "accepted" : error.text);
        CHECK_ERROR(error, refused[i].code,
                    refused[i].subject ? refused[i].subject : "made.safetensors");
        if (ok) zi_source_free(&source);
        zi_checkpoint_close(&checkpoint);
    }
}

/* Shape, packing and rows of one entry of what is accepted. */
static void packings(void)
{
    static const struct {
        const char *tensors;
        size_t group;
        const char *name;
        size_t rows, columns, row, scales, scale_offset;
        zi_packing packing;
        int bits;
        size_t entry_group;
    } rows[] = {
        {W ".weight U32 4 32; " W ".scales BF16 4 2; " W ".biases BF16 4 2", 0, W ".weight", 4, 128,
         0, 8, 0, ZI_GROUPED, 8, 64},
        {W ".weight U32 4 16; " W ".scales F16 4 2; " W ".biases F16 4 2", 0, W ".weight", 4, 128,
         0, 8, 0, ZI_GROUPED, 4, 64},
        {W ".weight U32 4 16; " W ".scales F16 4 2; " W ".biases F16 4 2", 32, W ".weight", 4, 64,
         0, 8, 0, ZI_GROUPED, 8, 32},
        {W ".weight U32 4 64; " W ".scales F16 4 2; " W ".biases F16 4 2", 0, W ".weight", 4, 256,
         0, 8, 0, ZI_GROUPED, 8, 128},
        {W ".weight U32 4 4; " W ".scales F16 4 1; " W ".biases F16 4 1", 0, W ".weight", 4, 32, 0,
         4, 0, ZI_GROUPED, 4, 32},
        {QKV ".weight U32 12 16; " QKV ".scales F16 12 1; " QKV ".biases F16 12 1", 0,
         "layers.0.attention.to_v.weight", 4, 64, 8, 4, 16, ZI_GROUPED, 8, 64},
        {W ".weight F8_E4M3 4 16", 0, W ".weight", 4, 16, 0, 0, 0, ZI_PLAIN, 0, 0},
        {W ".weight F8_E4M3 4 16; " W ".weight_scale F32; " W ".input_scale F32", 0, W ".weight", 4,
         16, 0, 1, 0, ZI_SCALED, 0, 0},
        {W ".weight F8_E5M2 4 16; " W ".scale_weight F32 1; " W ".scale_input F32 1; "
           "scaled_fp8 F8_E5M2 0",
         0, W ".weight", 4, 16, 0, 1, 0, ZI_SCALED, 0, 0},
        {W ".weight I8 4 16; " W ".weight_scale F32 4 1; " W
           ".comfy_quant U8 ={\"format\":\"int8_tensorwise\"}",
         0, W ".weight", 4, 16, 0, 4, 0, ZI_SCALED, 0, 0},
        {W ".weight I8 1 16; " W ".weight_scale F32 1 1", 0, W ".weight", 1, 16, 0, 1, 0, ZI_SCALED,
         0, 0},
        {QKV ".weight I8 12 16; " QKV ".weight_scale F32 12", 0, "layers.0.attention.to_k.weight",
         4, 16, 4, 4, 16, ZI_SCALED, 0, 0},
        {QKV ".weight I8 12 16; " QKV ".weight_scale F32 12 1", 0, "layers.0.attention.to_v.weight",
         4, 16, 8, 4, 32, ZI_SCALED, 0, 0},
        {QKV ".weight F8_E4M3 12 16; " QKV ".weight_scale F32 1", 0,
         "layers.0.attention.to_v.weight", 4, 16, 8, 1, 0, ZI_SCALED, 0, 0},
        {"x_pad_token F16 16", 0, "x_pad_token", 1, 16, 0, 0, 0, ZI_PLAIN, 0, 0},
        {"norm_final.weight F16 16; "
         "x_pad_token F16 1 16",
         0, "x_pad_token", 1, 16, 0, 0, 0, ZI_PLAIN, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_checkpoint checkpoint;
        zi_source source;
        zi_error error = {0};
        make(rows[i].tensors, &checkpoint);
        const zi_checkpoint *one = &checkpoint;
        if (!CHECK_MSG(
                zi_source_create(&one, 1, ZI_COMPONENT_TRANSFORMER, rows[i].group, &source, &error),
                "row %zu: %s", i, error.text))
            return;
        const zi_entry *e = zi_source_find(&source, rows[i].name);
        if (!CHECK(e != NULL)) return;
        CHECK_MSG(e->dims == 2 && e->shape[0] == rows[i].rows && e->shape[1] == rows[i].columns &&
                      e->packing == rows[i].packing && e->bits == rows[i].bits &&
                      e->group == rows[i].entry_group,
                  "row %zu: [%zu, %zu], packing %d, %d bits in %zu", i, e->shape[0], e->shape[1],
                  e->packing, e->bits, e->group);
        const zi_tensor *stored = e->tensor;
        const uint8_t *data = stored->data;
        CHECK(e->row == rows[i].row);
        CHECK(e->data == data + e->row * (stored->bytes / stored->shape[0]));
        CHECK_MSG(e->scales.count == rows[i].scales, "row %zu: %zu scales", i, e->scales.count);
        if (e->scales.tensor) {
            data = e->scales.tensor->data;
            CHECK(e->scales.data == data + rows[i].scale_offset);
        }
        zi_source_free(&source);
        zi_checkpoint_close(&checkpoint);
    }
}

/* mflux keeps diffusers' names for most of a VAE, and stores all its kernels as MLX does. */
static void mflux_kernels_are_nhwc(void)
{
    static const char plain[] = "decoder.up_blocks.0.resnets.0.conv1.weight BF16 8 4 3 3; "
                                "decoder.conv_in.weight BF16 8 4 3 3";
    static const char mflux[] = "decoder.up_blocks.0.resnets.0.conv1.weight BF16 8 3 3 4; "
                                "decoder.conv_in.conv.weight BF16 8 3 3 4";
    for (int i = 0; i < 2; i++) {
        zi_checkpoint checkpoint;
        zi_source source;
        zi_error error = {0};
        make(i ? mflux : plain, &checkpoint);
        const zi_checkpoint *one = &checkpoint;
        if (!CHECK_OK(zi_source_create(&one, 1, ZI_COMPONENT_VAE, 0, &source, &error), error))
            return;
        for (size_t j = 0; j < source.count; j++) {
            const zi_entry *e = &source.entries[j];
            CHECK(e->nhwc == (i == 1) && e->dims == 4 && e->shape[0] == 8 && e->shape[1] == 4 &&
                  e->shape[2] == 3 && e->shape[3] == 3);
        }
        CHECK(source.count == 2 && source.vae_depth.blocks == 1);
        zi_source_free(&source);
        zi_checkpoint_close(&checkpoint);
    }
}

/* Parts of one model from several files; the same tensor in two of them is refused. */
static void several_files(void)
{
    static const char a[] = W ".weight BF16 4 16";
    static const char b[] = "x_pad_token BF16 1 16; "
                            "decoder.conv_in.bias BF16 16";
    zi_checkpoint first, second, third;
    zi_source source;
    zi_error error = {0};
    make(a, &first);
    make(b, &second);
    const zi_checkpoint *both[2] = {&first, &second}, *twice[2] = {&first, &first};
    if (CHECK_OK(zi_source_create(both, 2, ZI_COMPONENT_TRANSFORMER, 0, &source, &error), error)) {
        const zi_entry *pad = zi_source_find(&source, "x_pad_token");
        CHECK(source.count == 2 && pad && pad->checkpoint == &second);
        CHECK(pad && strcmp(zi_entry_file(pad), "made.safetensors") == 0);
        zi_source_free(&source);
    }
    CHECK(!zi_source_create(twice, 2, ZI_COMPONENT_TRANSFORMER, 0, &source, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, W ".weight");
    CHECK(strstr(error.text, "tensors " W ".weight and " W ".weight stand for the same part"));
    make(a, &third);
    third.files[0].path[0] = 'M';
    twice[1] = &third;
    CHECK(!zi_source_create(twice, 2, ZI_COMPONENT_TRANSFORMER, 0, &source, &error));
    CHECK_MSG(strstr(error.text, ", and tensor " W ".weight in ") &&
                  strstr(error.text, "made.safetensors") && strstr(error.text, "Made.safetensors"),
              "%s", error.text);
    zi_checkpoint_close(&third);
    zi_checkpoint_close(&first);
    zi_checkpoint_close(&second);
}

int main(void)
{
    RUN(layouts_agree);
    RUN(absent_parts_are_empty);
    RUN(refusals);
    RUN(packings);
    RUN(mflux_kernels_are_nhwc);
    RUN(several_files);
    return zi_test_result();
}
