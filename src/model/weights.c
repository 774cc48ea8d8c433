#include "model/weights.h"
#include "io/quantize.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NAME = 256 };

bool zi_weights_open(const char *dir, const char *name, zi_weights *out, zi_error *error)
{
    zi_weights weights = {.prefix = ""};
    if (!zi_checkpoint_open_dir(dir, name, &weights.checkpoint, error)) return false;
    size_t count = weights.checkpoint.tensor_count;
    weights.used = calloc(count + 1, sizeof *weights.used);
    if (!weights.used) {
        zi_weights_close(&weights);
        return zi_out_of_memory(error, count);
    }
    *out = weights;
    return true;
}

static bool open_language(size_t group, zi_weights *weights, zi_error *error)
{
    if (!zi_source_create_language(weights->opened, group, &weights->source, error)) return false;
    weights->used = calloc(weights->source.count + 1, sizeof *weights->used);
    return weights->used || zi_out_of_memory(error, weights->source.count);
}

bool zi_weights_open_language(zi_checkpoint *checkpoint, size_t group, zi_weights *out,
                              zi_error *error)
{
    zi_weights weights = {.prefix = "", .opened = malloc(sizeof *checkpoint)};
    if (!weights.opened) {
        zi_checkpoint_close(checkpoint);
        return zi_out_of_memory(error, sizeof *checkpoint);
    }
    *weights.opened = *checkpoint;
    *checkpoint = (zi_checkpoint){0};
    if (!open_language(group, &weights, error)) {
        zi_weights_close(&weights);
        return false;
    }
    *out = weights;
    return true;
}

/* A fast generator is enough for weights that only need to cost time. */
static uint32_t xorshift(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Numbers up to 0.025 as F32, F16 or BF16. */
static void *make_noise(zi_dtype type, size_t count)
{
    enum { CHUNK = 256 };
    size_t width = zi_dtype_size(type);
    char *noise = malloc(count * width);
    uint32_t state = 2463534242u;
    for (size_t i = 0; noise && i < count; i += CHUNK) {
        float values[CHUNK];
        size_t n = count - i < CHUNK ? count - i : CHUNK;
        for (size_t j = 0; j < n; j++)
            values[j] = ((float)(xorshift(&state) >> 8) * 0x1p-24f - 0.5f) * 0.05f;
        zi_narrow(type, values, noise + i * width, n);
    }
    return noise;
}

bool zi_weights_random(zi_dtype type, int bits, size_t largest, zi_weights *out, zi_error *error)
{
    zi_weights weights = {.prefix = "", .bits = bits, .random = true, .noise_type = type};
    weights.noise = make_noise(type, largest);
    if (!weights.noise) return zi_out_of_memory(error, largest * zi_dtype_size(type));
    *out = weights;
    return true;
}

void zi_weights_close(zi_weights *weights)
{
    zi_source_free(&weights->source);
    if (weights->opened) zi_checkpoint_close(weights->opened);
    free(weights->opened);
    zi_checkpoint_close(&weights->checkpoint);
    for (size_t i = 0; i < weights->owned_count; i++) free(weights->owned[i]);
    free(weights->owned);
    free(weights->used);
    free(weights->noise);
    *weights = (zi_weights){0};
}

/* The tensor of that name and shape, or NULL and a recorded failure. dims of 1 are not ignored. */
static const zi_tensor *find(zi_weights *weights, const char *name, const size_t *shape, int dims)
{
    char full[MAX_NAME + 16], wanted[ZI_SHAPE_TEXT], found[ZI_SHAPE_TEXT];
    snprintf(full, sizeof full, "%s%s", weights->prefix, name);
    const zi_tensor *tensor = zi_checkpoint_find(&weights->checkpoint, full);
    if (!tensor) {
        weights->failed = true;
        zi_fail(weights->error, "%s: tensor %s is missing%s", weights->checkpoint.files[0].path,
                full, weights->checkpoint.file_count > 1 ? " (nor is it in the other shards)" : "");
        return NULL;
    }
    bool same = tensor->dims == dims;
    for (int i = 0; same && i < dims; i++) same = tensor->shape[i] == shape[i];
    const char *file = zi_tensor_file(&weights->checkpoint, tensor);
    if (!same) {
        weights->failed = true;
        zi_fail(weights->error, "%s: tensor %s has shape %s, the config asks for %s", file, full,
                zi_shape_text(tensor->shape, tensor->dims, found),
                zi_shape_text(shape, dims, wanted));
        return NULL;
    }
    if (!zi_dtype_computes(tensor->type)) {
        weights->failed = true;
        zi_fail(weights->error, "%s: tensor %s is %s; F32, F16 and BF16 are supported here", file,
                full, zi_dtype_name(tensor->type));
        return NULL;
    }
    weights->used[tensor - weights->checkpoint.tensors] = true;
    return tensor;
}

/* Memory that lives as long as the weights. */
static void *own(zi_weights *weights, size_t bytes)
{
    void **grown = realloc(weights->owned, (weights->owned_count + 1) * sizeof *grown);
    void *block = malloc(bytes ? bytes : 1);
    if (grown) weights->owned = grown;
    if (!grown || !block) {
        free(block);
        weights->failed = true;
        zi_out_of_memory(weights->error, bytes);
        return NULL;
    }
    weights->owned[weights->owned_count++] = block;
    return block;
}

static void quantize(const zi_matrix *from, zi_matrix *to, uint8_t *q, char *scales, char *biases)
{
    float values[ZI_MAX_GROUP];
    size_t width = zi_dtype_size(from->type), group_bytes = to->group * (size_t)to->bits / 8;
    for (size_t g = 0; g < from->rows * from->columns / to->group; g++) {
        const char *source = (const char *)from->data + g * to->group * width;
        zi_widen(from->type, source, values, to->group);
        zi_quantize_group(values, to->group, to->bits, from->type, q + g * group_bytes,
                          scales + g * width, biases + g * width);
    }
}

/* The matrix in groups, where the rule for shapes allows it. */
static zi_matrix quantized(zi_weights *weights, zi_matrix from)
{
    const size_t shape[2] = {from.rows, from.columns};
    if (!weights->bits || !from.data || !zi_quantizable(shape, 2)) return from;
    zi_matrix to = from;
    to.bits = weights->bits;
    to.group = 64;
    to.scale_type = from.type;
    size_t count = from.rows * from.columns;
    if (weights->random) { /* any bytes will do */
        to.scales = to.biases = from.data;
        return to;
    }
    uint8_t *q = own(weights, count * (size_t)to.bits / 8);
    char *scales = own(weights, 2 * count / to.group * zi_dtype_size(from.type));
    if (weights->failed) return (zi_matrix){0};
    char *biases = scales + count / to.group * zi_dtype_size(from.type);
    quantize(&from, &to, q, scales, biases);
    to.data = q;
    to.scales = scales;
    to.biases = biases;
    return to;
}

/* ---- of a language model ---- */

/* The entry of that name and shape, or NULL and a recorded failure. */
static const zi_entry *find_entry(zi_weights *weights, const char *name, const size_t *shape,
                                  int dims)
{
    char full[MAX_NAME + 16], wanted[ZI_SHAPE_TEXT], found[ZI_SHAPE_TEXT];
    snprintf(full, sizeof full, "%s%s", weights->prefix, name);
    const zi_entry *entry = zi_source_find(&weights->source, full);
    bool same = entry && entry->dims == dims;
    for (int i = 0; same && i < dims; i++) same = entry->shape[i] == shape[i];
    if (same) {
        weights->used[entry - weights->source.entries] = true;
        return entry;
    }
    weights->failed = true;
    if (!entry)
        zi_fail(weights->error, "%s: tensor %s is missing", weights->opened->files[0].path, full);
    else
        zi_fail(weights->error, "%s: tensor %s has shape %s, the config asks for %s",
                zi_entry_file(entry), entry->tensor->name,
                zi_shape_text(entry->shape, entry->dims, found),
                zi_shape_text(shape, dims, wanted));
    return NULL;
}

static zi_matrix entry_matrix(zi_weights *weights, const char *name, const size_t *shape)
{
    const zi_entry *entry = find_entry(weights, name, shape, 2);
    if (!entry) return (zi_matrix){0};
    zi_matrix m = {
        .data = entry->data, .type = entry->tensor->type, .rows = shape[0], .columns = shape[1]};
    if (entry->packing == ZI_GROUPED) {
        m.bits = entry->bits;
        m.group = entry->group;
        m.scales = entry->scales.data;
        m.biases = entry->biases.data;
        m.scale_type = entry->scales.tensor->type;
    } else if (entry->packing == ZI_SCALED) {
        float *scale = own(weights, entry->scales.count * sizeof *scale);
        if (!scale) return (zi_matrix){0};
        zi_widen(entry->scales.tensor->type, entry->scales.data, scale, entry->scales.count);
        m.row_scale = scale;
        m.row_scales = entry->scales.count;
    }
    return m;
}

static const float *entry_vector(zi_weights *weights, size_t n, const char *name)
{
    const zi_entry *entry = find_entry(weights, name, &n, 1);
    float *values = entry ? own(weights, n * sizeof *values) : NULL;
    if (values) zi_widen(entry->tensor->type, entry->data, values, n);
    return values;
}

/* ---- of any ---- */

/* As it is stored. */
static zi_matrix matrix(zi_weights *weights, const char *name, const size_t *shape, int dims)
{
    if (weights->failed) return (zi_matrix){0};
    zi_matrix m = {
        .data = weights->noise, .type = weights->noise_type, .rows = shape[0], .columns = shape[1]};
    if (weights->random) return m;
    if (weights->opened) return entry_matrix(weights, name, shape);
    const zi_tensor *tensor = find(weights, name, shape, dims);
    if (!tensor) return (zi_matrix){0};
    m.data = tensor->data;
    m.type = tensor->type;
    return m;
}

/* n values stored as [n] (dims 1) or [1, n] (dims 2). */
static const float *values_of(zi_weights *weights, size_t n, int dims, const char *name)
{
    if (weights->failed) return NULL;
    const zi_tensor *tensor = NULL;
    const size_t shape[2] = {1, n};
    if (!weights->random && !(tensor = find(weights, name, shape + 2 - dims, dims))) return NULL;
    float *values = own(weights, n * sizeof *values);
    if (!values) return NULL;
    if (tensor) zi_widen(tensor->type, tensor->data, values, n);
    for (size_t i = 0; !tensor && i < n; i++) values[i] = 1;
    return values;
}

static const float *vector(zi_weights *weights, size_t n, const char *name)
{
    if (weights->opened && !weights->failed) return entry_vector(weights, n, name);
    return values_of(weights, n, 1, name);
}

const float *zi_weights_row(zi_weights *weights, size_t n, const char *name)
{
    return values_of(weights, n, 2, name);
}

#define FORMAT_NAME(buffer, format)                                                                \
    char buffer[MAX_NAME];                                                                         \
    va_list args;                                                                                  \
    va_start(args, format);                                                                        \
    vsnprintf(buffer, sizeof buffer - 16, format, args);                                           \
    va_end(args)

zi_matrix zi_weights_matrix(zi_weights *weights, size_t rows, size_t columns, const char *name, ...)
{
    FORMAT_NAME(text, name);
    return quantized(weights, matrix(weights, text, (size_t[]){rows, columns}, 2));
}

const float *zi_weights_vector(zi_weights *weights, size_t n, const char *name, ...)
{
    FORMAT_NAME(text, name);
    return vector(weights, n, text);
}

zi_conv zi_weights_conv(zi_weights *weights, size_t out, size_t in, size_t size, const char *name,
                        ...)
{
    FORMAT_NAME(text, name);
    size_t end = strlen(text);
    memcpy(text + end, ".weight", sizeof ".weight");
    zi_matrix w = matrix(weights, text, (size_t[]){out, in, size, size}, 4);
    memcpy(text + end, ".bias", sizeof ".bias");
    return (zi_conv){w.data, w.type, out, in, size, vector(weights, out, text)};
}

zi_group_norm zi_weights_group_norm(zi_weights *weights, size_t channels, size_t groups, float eps,
                                    const char *name, ...)
{
    FORMAT_NAME(text, name);
    size_t end = strlen(text);
    memcpy(text + end, ".weight", sizeof ".weight");
    const float *weight = vector(weights, channels, text);
    memcpy(text + end, ".bias", sizeof ".bias");
    return (zi_group_norm){weight, vector(weights, channels, text), channels, groups, eps};
}

bool zi_weights_has(const zi_weights *weights, const char *name)
{
    return weights->random || zi_source_find(&weights->source, name) ||
           zi_checkpoint_find(&weights->checkpoint, name);
}

bool zi_weights_all_used(zi_weights *weights, zi_error *error)
{
    for (size_t i = 0; i < weights->checkpoint.tensor_count; i++) {
        const zi_tensor *tensor = &weights->checkpoint.tensors[i];
        if (!weights->used[i])
            return zi_fail(error,
                           "%s: tensor %s is not part of the model that the config describes",
                           zi_tensor_file(&weights->checkpoint, tensor), tensor->name);
    }
    return true;
}
