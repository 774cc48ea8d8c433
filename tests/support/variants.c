#include "variants.h"
#include "base/blocks.h"
#include "base/matrix.h"
#include "io/json.h"
#include "io/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void zi_test_tensors_add(zi_test_tensors *tensors, const char *name, zi_dtype type, int dims,
                         const size_t *shape, const void *data)
{
    size_t n = 1;
    zi_tensor_out *out;
    tensors->list = realloc(tensors->list, (tensors->count + 1) * sizeof *tensors->list);
    out = &tensors->list[tensors->count++];
    *out = (zi_tensor_out){.name = strdup(name), .type = type, .dims = dims};
    for (int i = 0; i < dims; i++) n *= out->shape[i] = shape[i];
    size_t bytes = zi_dtype_bytes(type, n);
    out->data = memcpy(malloc(bytes + 1), data, bytes);
}

void zi_test_tensors_free(zi_test_tensors *tensors)
{
    for (size_t i = 0; i < tensors->count; i++) {
        free((void *)(uintptr_t)tensors->list[i].name);
        free((void *)(uintptr_t)tensors->list[i].data);
    }
    free(tensors->list);
    *tensors = (zi_test_tensors){0};
}

/* ---- number formats: values [rows, columns] become what is stored for them ---- */

/* A matrix on its way, without the end of its name. */
typedef struct {
    zi_test_tensors *out;
    char module[ZI_MAX_KEY];
    float *values;
    size_t rows, columns;
} job;

static void store(const job *j, const char *suffix, zi_dtype type, size_t columns, const void *data)
{
    char name[ZI_MAX_KEY + 16];
    snprintf(name, sizeof name, "%s%s", j->module, suffix);
    zi_test_tensors_add(j->out, name, type, 2, (size_t[]){j->rows, columns}, data);
}

static float largest(const float *x, size_t n)
{
    float max_value = 0;
    for (size_t i = 0; i < n; i++) max_value = fmaxf(max_value, fabsf(x[i]));
    return max_value;
}

/* Rounds the values to a type by zi_narrow, and stores them. */
static void store_rounded(job *j, zi_dtype type)
{
    size_t n = j->rows * j->columns;
    void *data = malloc(zi_dtype_bytes(type, n));
    zi_narrow(type, j->values, data, n);
    zi_widen(type, data, j->values, n);
    store(j, ".weight", type, j->columns, data);
    free(data);
}

/* E5M2 is the upper half of F16. */
static void store_e5m2(job *j)
{
    size_t n = j->rows * j->columns;
    uint16_t *half = malloc(n * sizeof *half);
    uint8_t *data = malloc(n);
    zi_narrow(ZI_F16, j->values, half, n);
    for (size_t i = 0; i < n; i++) {
        data[i] = (uint8_t)(half[i] >> 8);
        j->values[i] = zi_f16_to_f32(half[i] & 0xff00);
    }
    store(j, ".weight", ZI_F8_E5M2, j->columns, data);
    free(half);
    free(data);
}

static void store_scaled(job *j, const char *suffix)
{
    size_t n = j->rows * j->columns;
    float scale = largest(j->values, n) / 448;
    char name[ZI_MAX_KEY + 16];
    for (size_t i = 0; i < n; i++) j->values[i] /= scale;
    store_rounded(j, ZI_F8_E4M3);
    for (size_t i = 0; i < n; i++) j->values[i] *= scale;
    snprintf(name, sizeof name, "%s%s", j->module, suffix);
    zi_test_tensors_add(j->out, name, ZI_F32, 0, NULL, &scale);
}

static void store_i8(job *j)
{
    static const char says[] = "{\"format\": \"int8_tensorwise\"}";
    int8_t *data = malloc(j->rows * j->columns);
    float *scales = malloc(j->rows * sizeof *scales);
    char name[ZI_MAX_KEY + 16];
    for (size_t i = 0; i < j->rows; i++) {
        float *row = j->values + i * j->columns;
        scales[i] = largest(row, j->columns) / 127;
        for (size_t c = 0; c < j->columns; c++) {
            int8_t q = (int8_t)rintf(row[c] / scales[i]);
            data[i * j->columns + c] = q;
            row[c] = (float)q * scales[i];
        }
    }
    store(j, ".weight", ZI_I8, j->columns, data);
    store(j, ".weight_scale", ZI_F32, 1, scales);
    snprintf(name, sizeof name, "%s.comfy_quant", j->module);
    zi_test_tensors_add(j->out, name, ZI_U8, 1, (size_t[]){sizeof says - 1}, says);
    free(data);
    free(scales);
}

static void store_groups(job *j, int bits, size_t group)
{
    size_t n = j->rows * j->columns, groups = n / group, bytes = group * (size_t)bits / 8;
    uint8_t *q = malloc(groups * bytes);
    uint16_t *scales = malloc(groups * 2), *biases = malloc(groups * 2);
    for (size_t g = 0; g < groups; g++) {
        float *x = j->values + g * group, scale, bias;
        zi_quantize_group(x, group, bits, ZI_F16, q + g * bytes, &scales[g], &biases[g]);
        scale = zi_f16_to_f32(scales[g]);
        bias = zi_f16_to_f32(biases[g]);
        for (size_t i = 0; i < group; i++) {
            int number = bits == 8 ? q[g * bytes + i] : q[g * bytes + i / 2] >> (i % 2 * 4) & 15;
            x[i] = (float)number * scale + bias;
        }
    }
    store(j, ".weight", ZI_U32, j->columns * (size_t)bits / 32, q);
    store(j, ".scales", ZI_F16, j->columns / group, scales);
    store(j, ".biases", ZI_F16, j->columns / group, biases);
    free(q);
    free(scales);
    free(biases);
}

/* Number of the table's value that is nearest to x. */
static uint8_t nearest_code(float x)
{
    int best = 0;
    for (int i = 1; i < 16; i++)
        if (fabsf(x - zi_iq4_values[i]) < fabsf(x - zi_iq4_values[best])) best = i;
    return (uint8_t)best;
}

/* Writes 32 values as 16 bytes of codes; scale: of the table's values. */
static void write_codes(const float *x, float scale, uint8_t *out)
{
    for (size_t i = 0; i < 16; i++) {
        float low = scale != 0 ? x[i] / scale : 0, high = scale != 0 ? x[i + 16] / scale : 0;
        out[i] = (uint8_t)(nearest_code(low) | nearest_code(high) << 4);
    }
}

/* The f16 number nearest to a scale, which is written to out. */
static float write_scale(float scale, uint8_t *out)
{
    zi_narrow(ZI_F16, &scale, out, 1);
    zi_widen(ZI_F16, out, &scale, 1);
    return scale;
}

static void store_iq4_nl(job *j)
{
    size_t n = j->rows * j->columns;
    uint8_t *data = malloc(zi_dtype_bytes(ZI_IQ4_NL, n)), *at = data;
    for (size_t i = 0; i < n; i += 32, at += 18)
        write_codes(j->values + i, write_scale(largest(j->values + i, 32) / 127, at), at + 2);
    zi_widen(ZI_IQ4_NL, data, j->values, n);
    store(j, ".weight", ZI_IQ4_NL, j->columns, data);
    free(data);
}

/* Groups' scales are whole shares, 1 to 31 (every other group negative), of the block's. */
static void store_iq4_xs(job *j)
{
    size_t n = j->rows * j->columns;
    uint8_t *data = calloc(1, zi_dtype_bytes(ZI_IQ4_XS, n)), *at = data;
    for (size_t i = 0; i < n; i += 256, at += 136) {
        float d = write_scale(largest(j->values + i, 256) / 127 / 31, at);
        for (size_t g = 0; g < 8; g++) {
            const float *x = j->values + i + 32 * g;
            float share = d != 0 ? ceilf(largest(x, 32) / 127 / d) : 1;
            int whole = share < 1 ? 1 : share > 31 ? 31 : (int)share;
            int stored = (g % 2 ? -whole : whole) + 32;
            at[4 + g / 2] |= (uint8_t)((stored & 15) << g % 2 * 4);
            at[2 + g / 4] |= (uint8_t)(stored >> 4 << g % 4 * 2);
            write_codes(x, d * (float)(stored - 32), at + 8 + 16 * g);
        }
    }
    zi_widen(ZI_IQ4_XS, data, j->values, n);
    store(j, ".weight", ZI_IQ4_XS, j->columns, data);
    free(data);
}

/* Stores {"format": "...", ...} as the matrix's marker. */
static void store_marker(const job *j, const char *says)
{
    char name[ZI_MAX_KEY + 16];
    snprintf(name, sizeof name, "%s.comfy_quant", j->module);
    zi_test_tensors_add(j->out, name, ZI_U8, 1, (size_t[]){strlen(says)}, says);
}

/* Stores 2, 3, 5 or 6 bits as MLX does: a stream of bits, lowest first, with F16 scales. */
static void store_bits(job *j, int bits, size_t group)
{
    size_t groups = j->columns / group, bytes = j->columns * (size_t)bits / 8;
    uint8_t *q = calloc(j->rows, bytes);
    uint16_t *scales = malloc(j->rows * groups * 2), *biases = malloc(j->rows * groups * 2);
    for (size_t g = 0; g < j->rows * groups; g++) {
        float *x = j->values + g * group, low = x[0], high = x[0];
        for (size_t i = 1; i < group; i++) {
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
        }
        float scale = (high - low) / (float)((1 << bits) - 1);
        zi_narrow(ZI_F16, &scale, &scales[g], 1);
        zi_narrow(ZI_F16, &low, &biases[g], 1);
        scale = zi_f16_to_f32(scales[g]);
        low = zi_f16_to_f32(biases[g]);
        for (size_t i = 0; i < group; i++) {
            int code = scale > 0 ? (int)rintf((x[i] - low) / scale) : 0;
            code = code < 0 ? 0 : code >= 1 << bits ? (1 << bits) - 1 : code;
            for (int b = 0; b < bits; b++) {
                size_t place = (g % groups * group + i) * (size_t)bits + (size_t)b;
                q[g / groups * bytes + place / 8] |= (uint8_t)((code >> b & 1) << place % 8);
            }
            x[i] = (float)code * scale + low;
        }
    }
    store(j, ".weight", ZI_U32, bytes / 4, q);
    store(j, ".scales", ZI_F16, groups, scales);
    store(j, ".biases", ZI_F16, groups, biases);
    free(q);
    free(scales);
    free(biases);
}

/* The E2M1 code nearest to a value; *meaning: what it stands for. */
static uint8_t nearest_e2m1(float value, float *meaning)
{
    static const float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    uint8_t best = 0;
    for (uint8_t i = 1; i < 8; i++)
        if (fabsf(magnitudes[i] - fabsf(value)) < fabsf(magnitudes[best] - fabsf(value))) best = i;
    *meaning = value < 0 ? -magnitudes[best] : magnitudes[best];
    return value < 0 ? best | 8 : best;
}

/* The scale of a group, stored as a byte: E4M3 of `exact`, or the exponent of the power of two next
 * above it. */
static uint8_t narrow_scale(zi_dtype type, float exact, float *scale)
{
    uint8_t code;
    int exponent;
    if (type == ZI_F8_E4M3)
        zi_narrow(type, &exact, &code, 1);
    else
        code = exact > 0 ? (uint8_t)(frexpf(exact, &exponent), exponent + 127) : 1;
    zi_widen(type, &code, scale, 1);
    return code;
}

/* Returns the index of a scale in ComfyUI's files, written out from the description of the format.
 */
static size_t tiled_place(size_t row, size_t group, size_t groups)
{
    size_t tile = row / 128 * ((groups + 3) / 4) + group / 4;
    return tile * 128 * 4 + row % 32 * 16 + row % 128 / 32 * 4 + group % 4;
}

/* Stores floats of 4 or 8 bits with a scale per group, of MLX (tiled false) or of ComfyUI, where
 * rows are padded with zeros and NVFP4 has a factor. */
static void store_floats(job *j, bool four, size_t group, zi_dtype type, bool tiled)
{
    size_t rows = tiled ? (j->rows + group - 1) / group * group : j->rows,
           groups = j->columns / group;
    size_t bytes = j->columns / (four ? 2 : 1), wide = tiled ? (groups + 3) / 4 * 4 : groups;
    size_t tall = tiled ? (rows + 127) / 128 * 128 : rows;
    bool factored = tiled && four;
    uint8_t *q = calloc(rows, bytes), *scales = calloc(tall, wide);
    float max_value = four ? 6 : 448, factor = 1;
    if (factored) factor = largest(j->values, j->rows * j->columns) / (6 * 448);
    for (size_t g = 0; g < j->rows * groups; g++) {
        float *x = j->values + g * group, scale;
        uint8_t code = narrow_scale(type, largest(x, group) / max_value / factor, &scale);
        scales[tiled ? tiled_place(g / groups, g % groups, groups) : g] = code;
        scale = factor * scale;
        for (size_t i = 0; i < group; i++) {
            size_t at = g * group + i;
            float value = scale > 0 ? x[i] / scale : 0;
            if (four) {
                uint8_t half = nearest_e2m1(value, &value);
                q[at / 2] |= (uint8_t)(half << ((at % 2 == 1) != tiled ? 4 : 0));
            } else {
                zi_narrow(ZI_F8_E4M3, &value, &q[at], 1);
                zi_widen(ZI_F8_E4M3, &q[at], &value, 1);
            }
            x[i] = value * scale;
        }
    }
    job padded = *j;
    padded.rows = rows;
    store(&padded, ".weight",
          !tiled ? ZI_U32
          : four ? ZI_U8
                 : ZI_F8_E4M3,
          tiled ? bytes : bytes / 4, q);
    padded.rows = tall;
    store(&padded, tiled ? ".weight_scale" : ".scales", tiled && four ? ZI_F8_E4M3 : ZI_U8, wide,
          scales);
    if (factored) {
        char name[ZI_MAX_KEY + 16];
        snprintf(name, sizeof name, "%s.weight_scale_2", j->module);
        zi_test_tensors_add(j->out, name, ZI_F32, 0, NULL, &factor);
    }
    if (tiled) store_marker(j, four ? "{\"format\": \"nvfp4\"}" : "{\"format\": \"mxfp8\"}");
    free(q);
    free(scales);
}

/* Stores int8 of the rotated values; the meaning is rotated back. */
static void store_rotated(job *j)
{
    enum { SIZE = 64 };
    zi_rotate(j->values, j->rows * j->columns, SIZE);
    store_i8(j);
    zi_rotate(j->values, j->rows * j->columns, SIZE);
    zi_tensor_out *marker = &j->out->list[j->out->count - 1]; /* which store_i8 has added */
    free((void *)(uintptr_t)marker->name);
    free((void *)(uintptr_t)marker->data);
    j->out->count--;
    store_marker(j, "{\"format\": \"int8_tensorwise\", \"convrot\": true, "
                    "\"convrot_groupsize\": 64}");
}

static void store_matrix(job *j, zi_test_format format)
{
    switch (format) {
    case ZI_AS_F16:
        store_rounded(j, ZI_F16);
        break;
    case ZI_AS_E4M3:
        store_rounded(j, ZI_F8_E4M3);
        break;
    case ZI_AS_E5M2:
        store_e5m2(j);
        break;
    case ZI_AS_SCALED_E4M3:
        store_scaled(j, ".weight_scale");
        break;
    case ZI_AS_LEGACY_E4M3:
        store_scaled(j, ".scale_weight");
        break;
    case ZI_AS_I8:
        store_i8(j);
        break;
    case ZI_AS_Q4:
        store_groups(j, 4, 64);
        break;
    case ZI_AS_Q8_32:
        store_groups(j, 8, 32);
        break;
    case ZI_AS_Q8_0:
        store_rounded(j, ZI_Q8_0);
        break;
    case ZI_AS_IQ4_XS:
        if (j->columns % 256 == 0) {
            store_iq4_xs(j);
            break;
        }
        /* fall through */
    case ZI_AS_IQ4_NL:
        store_iq4_nl(j);
        break;
    case ZI_AS_Q2_32:
        store_bits(j, 2, 32);
        break;
    case ZI_AS_Q3:
        store_bits(j, 3, 64);
        break;
    case ZI_AS_Q5_128:
        store_bits(j, 5, j->columns % 128 ? 64 : 128);
        break;
    case ZI_AS_Q6:
        store_bits(j, 6, 64);
        break;
    case ZI_AS_MLX_MXFP4:
        store_floats(j, true, 32, ZI_F8_E8M0, false);
        break;
    case ZI_AS_MLX_MXFP8:
        store_floats(j, false, 32, ZI_F8_E8M0, false);
        break;
    case ZI_AS_MLX_NVFP4:
        store_floats(j, true, 16, ZI_F8_E4M3, false);
        break;
    case ZI_AS_NVFP4:
        store_floats(j, true, 16, ZI_F8_E4M3, true);
        break;
    case ZI_AS_MXFP8:
        store_floats(j, false, 32, ZI_F8_E8M0, true);
        break;
    case ZI_AS_CONVROT:
        store_rotated(j);
        break;
    }
}

/* ---- a part ---- */

static size_t entry_count(const zi_entry *entry)
{
    size_t n = 1;
    for (int i = 0; i < entry->dims; i++) n *= entry->shape[i];
    return n;
}

/* The name of one of the parts of a fused tensor. */
static const char *part_name(const char *first, int slice, char name[ZI_MAX_KEY])
{
    snprintf(name, ZI_MAX_KEY, "%s", first);
    char *q = strstr(name, ".to_q.");
    if (slice > 0 && q) q[4] = "qkv"[slice];
    return name;
}

/* Returns the number that the columns of a matrix must be a multiple of. */
static size_t whole_columns(zi_test_format format)
{
    bool small = format == ZI_AS_Q2_32 || (format >= ZI_AS_MLX_MXFP4 && format <= ZI_AS_MXFP8);
    return small ? 32 : 64;
}

/* Entry number i, with those that are stored together with it. */
static void make_tensor(const zi_source *source, const zi_entry *entry, const zi_stored_name *as,
                        zi_test_format format, zi_test_tensors *out, zi_test_tensors *meaning)
{
    size_t n = entry_count(entry), parts = (size_t)as->slices;
    char name[ZI_MAX_KEY];
    job j = {.out = out,
             .values = malloc(n * parts * sizeof(float)),
             .rows = entry->shape[0] * parts,
             .columns = n / entry->shape[0]};
    for (size_t i = 0; i < parts; i++) {
        const zi_entry *part = zi_source_find(source, part_name(entry->name, (int)i, name));
        zi_widen(part->tensor->type, part->data, j.values + i * n, n);
    }
    snprintf(j.module, sizeof j.module, "%s", as->name);
    char *end = strstr(j.module, ".weight");
    if (entry->kind == ZI_TENSOR_MATRIX && j.columns % whole_columns(format) == 0) {
        *end = 0;
        store_matrix(&j, format);
    } else {
        size_t shape[ZI_MAX_DIMS];
        memcpy(shape, entry->shape, sizeof shape);
        shape[0] *= parts;
        zi_test_tensors_add(out, as->name, ZI_F32, entry->dims, shape, j.values);
    }
    for (size_t i = 0; meaning && i < parts; i++)
        zi_test_tensors_add(meaning, part_name(entry->name, (int)i, name), ZI_F32, entry->dims,
                            entry->shape, j.values + i * n);
    free(j.values);
}

void zi_variant_make_of(const zi_source *source, zi_naming naming, zi_test_format format,
                        zi_test_tensors *out, zi_test_tensors *meaning)
{
    *out = (zi_test_tensors){0};
    if (meaning) *meaning = (zi_test_tensors){0};
    for (size_t i = 0; i < source->count; i++) {
        zi_stored_name as;
        if (!CHECK(zi_key_format(naming, source->entries[i].name, ZI_ROLE_WEIGHT,
                                 &source->vae_depth, &as)))
            continue;
        if (as.slice == 0) make_tensor(source, &source->entries[i], &as, format, out, meaning);
    }
    if (format == ZI_AS_LEGACY_E4M3)
        zi_test_tensors_add(out, "scaled_fp8", ZI_F8_E4M3, 1, (size_t[]){0}, "");
}

void zi_variant_make_golden(const char *model, zi_component part, zi_naming naming,
                            zi_test_format format, zi_test_tensors *out, zi_test_tensors *meaning)
{
    zi_weights weights;
    zi_golden_component(model, part, &weights);
    zi_variant_make_of(&weights.source, naming, format, out, meaning);
    zi_weights_close(&weights);
}

void zi_variant_make(zi_component part, zi_naming naming, zi_test_format format,
                     zi_test_tensors *out, zi_test_tensors *meaning)
{
    zi_variant_make_golden("model", part, naming, format, out, meaning);
}

/* ---- a text encoder's GGUF ---- */

enum { MAX_TOKENS = 2048 };

/* The reference model's tokenizer.json as GGUF has it. */
typedef struct {
    cJSON *json;
    const char *tokens[MAX_TOKENS], *merges[MAX_TOKENS];
    int32_t kinds[MAX_TOKENS];
    char pairs[MAX_TOKENS][64];
    size_t count, merge_count;
} vocabulary;

static void set_token(vocabulary *v, const char *text, int id, int kind)
{
    if (!CHECK(id >= 0 && id < MAX_TOKENS)) return;
    v->tokens[id] = text;
    v->kinds[id] = kind;
    if ((size_t)id >= v->count) v->count = (size_t)id + 1;
}

static bool read_vocabulary(vocabulary *v, zi_error *error)
{
    enum { NORMAL = 1, CONTROL = 3 };
    const char *path = zi_test_data_path("golden/model/tokenizer/tokenizer.json");
    if (!zi_json_read(path, 1 << 24, &v->json, error)) return false;
    const cJSON *model = zi_json_find(v->json, "model"), *item;
    cJSON_ArrayForEach(item, zi_json_find(model, "vocab"))
        set_token(v, item->string, item->valueint, NORMAL);
    cJSON_ArrayForEach(item, zi_json_find(v->json, "added_tokens")) set_token(
        v, zi_json_find(item, "content")->valuestring, zi_json_find(item, "id")->valueint, CONTROL);
    cJSON_ArrayForEach(item, zi_json_find(model, "merges"))
    {
        char *pair = v->pairs[v->merge_count];
        if (cJSON_IsString(item))
            snprintf(pair, sizeof v->pairs[0], "%s", item->valuestring);
        else
            snprintf(pair, sizeof v->pairs[0], "%s %s", item->child->valuestring,
                     item->child->next->valuestring);
        v->merges[v->merge_count++] = pair;
    }
    return CHECK(v->count > 1000 && v->merge_count > 900);
}

bool zi_variant_write_encoder_gguf(const char *path, const zi_test_tensors *tensors,
                                   zi_error *error)
{
    static const char *const architecture[] = {"qwen3"}, *const model[] = {"gpt2"};
    static const char *const pre[] = {"qwen2"};
    static const uint32_t layers = 4;
    static const float eps = 1e-6f, theta = 1e6f;
    static vocabulary v;
    v = (vocabulary){0};
    bool ok = read_vocabulary(&v, error);
    const zi_gguf_out values[] = {
        {"general.architecture", ZI_GGUF_STRING, false, 1, architecture},
        {"qwen3.block_count", ZI_GGUF_U32, false, 1, &layers},
        {"qwen3.attention.layer_norm_rms_epsilon", ZI_GGUF_F32, false, 1, &eps},
        {"qwen3.rope.freq_base", ZI_GGUF_F32, false, 1, &theta},
        {"tokenizer.ggml.model", ZI_GGUF_STRING, false, 1, model},
        {"tokenizer.ggml.pre", ZI_GGUF_STRING, false, 1, pre},
        {"tokenizer.ggml.tokens", ZI_GGUF_STRING, true, v.count, v.tokens},
        {"tokenizer.ggml.token_type", ZI_GGUF_I32, true, v.count, v.kinds},
        {"tokenizer.ggml.merges", ZI_GGUF_STRING, true, v.merge_count, v.merges},
    };
    ok = ok && zi_gguf_write(path, values, sizeof values / sizeof *values, tensors->list,
                             tensors->count, NULL, NULL, error);
    cJSON_Delete(v.json);
    return ok;
}
