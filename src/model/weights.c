#include "model/weights.h"
#include "io/quantize.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NAME = 256 };

static bool open_source(const zi_layout *layout, zi_part part, size_t group, zi_weights *weights,
                        zi_error *error)
{
    zi_checkpoint *checkpoint = weights->checkpoint;
    if (!zi_layout_open(layout, part, checkpoint, error)) return false;
    const zi_checkpoint *one = checkpoint;
    if (!zi_source_create(&one, 1, part, group, &weights->source, error)) return false;
    weights->used = calloc(weights->source.count + 1, sizeof *weights->used);
    return weights->used || zi_error_no_memory(error, weights->source.count);
}

bool zi_weights_open(const zi_layout *layout, zi_part part, size_t group, zi_weights *out,
                     zi_error *error)
{
    zi_weights weights = {.naming = layout->naming,
                          .checkpoint = calloc(1, sizeof *weights.checkpoint)};
    if (!weights.checkpoint) return zi_error_no_memory(error, sizeof *weights.checkpoint);
    if (!open_source(layout, part, group, &weights, error)) {
        zi_weights_close(&weights);
        return false;
    }
    *out = weights;
    return true;
}

static bool open_language(size_t group, zi_weights *weights, zi_error *error)
{
    if (!zi_source_create_language(weights->checkpoint, group, &weights->source, error))
        return false;
    weights->used = calloc(weights->source.count + 1, sizeof *weights->used);
    return weights->used || zi_error_no_memory(error, weights->source.count);
}

bool zi_weights_open_language(zi_checkpoint *checkpoint, size_t group, zi_weights *out,
                              zi_error *error)
{
    zi_weights weights = {.naming = checkpoint->gguf ? ZI_NAMES_GGUF : ZI_NAMES_DIFFUSERS,
                          .checkpoint = malloc(sizeof *checkpoint)};
    if (!weights.checkpoint) {
        zi_checkpoint_close(checkpoint);
        return zi_error_no_memory(error, sizeof *checkpoint);
    }
    *weights.checkpoint = *checkpoint;
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
    zi_weights weights = {.bits = bits, .noise_type = type};
    weights.noise = make_noise(type, largest);
    if (!weights.noise) return zi_error_no_memory(error, largest * zi_dtype_size(type));
    *out = weights;
    return true;
}

void zi_weights_close(zi_weights *weights)
{
    zi_source_free(&weights->source);
    if (weights->checkpoint) zi_checkpoint_close(weights->checkpoint);
    free(weights->checkpoint);
    for (size_t i = 0; i < weights->owned_count; i++) free(weights->owned[i]);
    free(weights->owned);
    free(weights->used);
    free(weights->noise);
    *weights = (zi_weights){0};
}

/* A tensor that is not there, by the name that such files have for it. */
static void miss(zi_weights *weights, const char *name)
{
    zi_stored stored;
    bool known = zi_key_write(weights->naming, name, ZI_ITSELF, &weights->source.form, &stored);
    weights->failed = true;
    zi_error_set_in(weights->error, ZI_ERROR_BAD_FORMAT, weights->checkpoint->files[0].path,
                    known ? stored.name : name, "tensor %s is missing%s",
                    known ? stored.name : name,
                    weights->checkpoint->file_count > 1 ? " (nor is it in the other shards)" : "");
}

/* The entry of that name and shape, or NULL and a recorded failure. dims of 1 are not ignored. */
static const zi_entry *find(zi_weights *weights, const char *name, const size_t *shape, int dims)
{
    char wanted[ZI_SHAPE_TEXT], found[ZI_SHAPE_TEXT];
    const zi_entry *entry = zi_source_find(&weights->source, name);
    if (!entry) {
        miss(weights, name);
        return NULL;
    }
    bool same = entry->dims == dims;
    for (int i = 0; same && i < dims; i++) same = entry->shape[i] == shape[i];
    if (!same) {
        bool renamed = strcmp(entry->tensor->name, name) != 0;
        weights->failed = true;
        zi_error_set_in(weights->error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry),
                        entry->tensor->name, "tensor %s%s%s%s has shape %s, the config asks for %s",
                        entry->tensor->name, renamed ? " (" : "", renamed ? name : "",
                        renamed ? ")" : "", zi_shape_text(entry->shape, entry->dims, found),
                        zi_shape_text(shape, dims, wanted));
        return NULL;
    }
    weights->used[entry - weights->source.entries] = true;
    return entry;
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
        zi_error_no_memory(weights->error, bytes);
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

/* The matrix in groups, where it is not yet and the rule for shapes allows it. */
static zi_matrix quantized(zi_weights *weights, zi_matrix from)
{
    const size_t shape[2] = {from.rows, from.columns};
    bool plain = from.data && !from.bits && !from.row_scale && zi_dtype_computes(from.type);
    if (!weights->bits || !plain || !zi_quantizable(shape, 2)) return from;
    zi_matrix to = from;
    to.bits = weights->bits;
    to.group = 64;
    to.scale_type = from.type;
    size_t count = from.rows * from.columns;
    if (!weights->checkpoint) { /* any bytes will do */
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

/* An entry as it is stored, looked at as [rows, columns]. */
static zi_matrix stored(zi_weights *weights, const zi_entry *entry, size_t rows, size_t columns)
{
    zi_matrix m = {
        .data = entry->data, .type = entry->tensor->type, .rows = rows, .columns = columns};
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

static zi_matrix matrix(zi_weights *weights, const char *name, size_t rows, size_t columns)
{
    if (weights->failed) return (zi_matrix){0};
    if (!weights->checkpoint)
        return (zi_matrix){
            .data = weights->noise, .type = weights->noise_type, .rows = rows, .columns = columns};
    const zi_entry *entry = find(weights, name, (size_t[]){rows, columns}, 2);
    return entry ? stored(weights, entry, rows, columns) : (zi_matrix){0};
}

/* The numbers of an entry as f32; a factor may be there for each of the first dimension. */
static float *widened(zi_weights *weights, const zi_entry *entry, size_t rows, size_t columns)
{
    zi_matrix m = stored(weights, entry, rows, columns);
    float *values = m.data ? own(weights, rows * columns * sizeof *values) : NULL;
    for (size_t i = 0; values && i < rows; i++) zi_matrix_row(&m, i, values + i * columns);
    return values;
}

static const float *filled(zi_weights *weights, size_t n, float value)
{
    float *values = own(weights, n * sizeof *values);
    for (size_t i = 0; values && i < n; i++) values[i] = value;
    return values;
}

static const float *vector(zi_weights *weights, size_t n, const char *name)
{
    if (weights->failed) return NULL;
    if (!weights->checkpoint) return filled(weights, n, 1);
    const zi_entry *entry = find(weights, name, &n, 1);
    bool whole = entry && entry->packing == ZI_PLAIN; /* blocks of numbers are whole rows */
    return entry ? widened(weights, entry, whole ? 1 : n, whole ? n : 1) : NULL;
}

const float *zi_weights_row(zi_weights *weights, size_t n, const char *name)
{
    if (weights->failed) return NULL;
    if (!weights->checkpoint) return filled(weights, n, 1);
    if (weights->naming == ZI_NAMES_MLX && !zi_source_find(&weights->source, name)) {
        weights->zeros = true;
        return filled(weights, n, 0);
    }
    const zi_entry *entry = find(weights, name, (size_t[]){1, n}, 2);
    return entry ? widened(weights, entry, 1, n) : NULL;
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
    return quantized(weights, matrix(weights, text, rows, columns));
}

const float *zi_weights_vector(zi_weights *weights, size_t n, const char *name, ...)
{
    FORMAT_NAME(text, name);
    return vector(weights, n, text);
}

/* The kernels alone: as they are stored, if convolutions can read them so. */
static zi_conv kernels(zi_weights *weights, const char *name, size_t out, size_t in, size_t size)
{
    zi_conv conv = {weights->noise, weights->noise_type, out, in, size, NULL, false};
    if (weights->failed || !weights->checkpoint) return conv;
    const zi_entry *entry = find(weights, name, (size_t[]){out, in, size, size}, 4);
    if (!entry) return (zi_conv){0};
    conv.nhwc = entry->nhwc;
    conv.data = entry->data;
    conv.type = entry->tensor->type;
    if (entry->packing == ZI_PLAIN && zi_dtype_computes(conv.type)) return conv;
    conv.data = widened(weights, entry, out, in * size * size);
    conv.type = ZI_F32;
    return conv;
}

zi_conv zi_weights_conv(zi_weights *weights, size_t out, size_t in, size_t size, const char *name,
                        ...)
{
    FORMAT_NAME(text, name);
    size_t end = strlen(text);
    memcpy(text + end, ".weight", sizeof ".weight");
    zi_conv conv = kernels(weights, text, out, in, size);
    memcpy(text + end, ".bias", sizeof ".bias");
    conv.bias = vector(weights, out, text);
    return conv;
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
    return !weights->checkpoint || zi_source_find(&weights->source, name);
}

void zi_weights_ignore(zi_weights *weights, const char *beginning, ...)
{
    FORMAT_NAME(text, beginning);
    for (size_t i = 0; i < weights->source.count; i++)
        if (strncmp(weights->source.entries[i].name, text, strlen(text)) == 0)
            weights->used[i] = true;
}

bool zi_weights_all_used(zi_weights *weights, zi_error *error)
{
    for (size_t i = 0; i < weights->source.count; i++) {
        const zi_entry *entry = &weights->source.entries[i];
        if (!weights->used[i])
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry),
                                   entry->tensor->name,
                                   "tensor %s is not part of the model that the config describes",
                                   entry->tensor->name);
    }
    return true;
}

/* Whether the numbers of an entry are finite; *zero: and nothing but zeros. */
static bool entry_finite(zi_weights *weights, const zi_entry *entry, float *row, size_t columns,
                         bool *zero)
{
    size_t rows = entry->dims ? entry->shape[0] : 1;
    zi_matrix m = stored(weights, entry, rows, columns);
    for (size_t i = 0; i < rows; i++) {
        float sum = 0, most = 0;
        zi_matrix_row(&m, i, row);
        for (size_t j = 0; j < columns; j++) {
            sum += row[j] - row[j];
            most = fmaxf(most, fabsf(row[j]));
        }
        if (sum != 0) return false;
        *zero = *zero && most == 0;
    }
    return true;
}

bool zi_weights_sound(zi_weights *weights, zi_error *error)
{
    for (size_t i = 0; i < weights->source.count; i++) {
        const zi_entry *entry = &weights->source.entries[i];
        const char *end = strstr(entry->name, ".weight");
        size_t columns = 1;
        for (int d = 1; d < entry->dims; d++) columns *= entry->shape[d];
        float *row = malloc((columns + 1) * sizeof *row);
        bool zero = true;
        if (!row) return zi_error_no_memory(error, columns * sizeof *row);
        bool finite = entry_finite(weights, entry, row, columns, &zero);
        free(row);
        if (!finite)
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry),
                                   entry->tensor->name, "tensor %s has numbers that are not finite",
                                   entry->tensor->name);
        if (zero && entry->kind == ZI_VECTOR && end)
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry),
                                   entry->tensor->name, "tensor %s is all zeros",
                                   entry->tensor->name);
    }
    return true;
}
