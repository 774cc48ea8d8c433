#include "model/weights.h"
#include "io/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NAME = 256 };

/* ---- opening and closing ---- */

/* Sets weights->source to the component's tensors in the open checkpoint, and weights->used. On
 * failure the caller closes the weights. */
static bool open_source(zi_weights *weights, zi_component component, size_t group, zi_error *error)
{
    const zi_checkpoint *one = weights->checkpoint;
    if (!zi_source_create(&one, 1, component, group, &weights->source, error)) return false;
    weights->used = calloc(weights->source.count + 1, sizeof *weights->used);
    return weights->used || zi_error_no_memory(error, weights->source.count);
}

bool zi_weights_open(const zi_layout *layout, zi_component component, size_t group,
                     zi_backend *backend, zi_weights *out, zi_error *error)
{
    zi_weights weights = {.backend = backend, .naming = layout->naming};
    if (!zi_layout_open_component(layout, component, &weights.checkpoint, error)) return false;
    if (!open_source(&weights, component, group, error)) {
        zi_weights_close(&weights);
        return false;
    }
    *out = weights;
    return true;
}

bool zi_weights_add_reference(zi_weights *weights, const zi_layout *reference, zi_error *error)
{
    if (!zi_layout_open_component(reference, weights->source.component,
                                  &weights->reference_checkpoint, error))
        return false;
    const zi_checkpoint *one = weights->reference_checkpoint;
    return zi_source_create(&one, 1, weights->source.component, 0, &weights->reference, error);
}

bool zi_weights_open_language(zi_checkpoint *checkpoint, size_t group, zi_backend *backend,
                              zi_weights *out, zi_error *error)
{
    zi_weights weights = {.backend = backend,
                          .checkpoint = checkpoint,
                          .naming = checkpoint->gguf ? ZI_NAMES_GGUF : ZI_NAMES_DIFFUSERS};
    bool ok = zi_source_create_language(checkpoint, group, &weights.source, error);
    if (ok) weights.used = calloc(weights.source.count + 1, sizeof *weights.used);
    if (ok && !weights.used) ok = zi_error_no_memory(error, weights.source.count);
    if (!ok) {
        zi_weights_close(&weights);
        return false;
    }
    *out = weights;
    return true;
}

/* Sets weights->noise_codes and noise_scales for matrices of up to `largest` values: codes without
 * NaNs, and scales, all alike, that keep values small; they do for every order of scales. Of a
 * format of blocks: only noise_codes, the blocks. False: memory is short; the caller closes the
 * weights. */
static bool make_random_codes(zi_weights *weights, size_t largest, zi_error *error)
{
    const zi_random_format *format = weights->noise_format;
    if (format->blocks) {
        weights->noise_codes = zi_values_random(format->blocks, largest);
        return weights->noise_codes ||
               zi_error_no_memory(error, zi_dtype_bytes(format->blocks, largest));
    }
    size_t scales = largest / 16 + (128 << 10); /* swizzled ones are padded to 128 rows */
    uint8_t *codes = weights->noise_codes = zi_values_random(ZI_BF16, largest / 2 + 1);
    uint8_t *bytes = weights->noise_scales = malloc(scales * sizeof(float));
    if (!codes || !bytes) return zi_error_no_memory(error, largest);
    for (size_t i = 0; format->codes == ZI_CODES_E4M3 && i < largest; i++) codes[i] &= 0xb7;
    float value = 0x1p-8f;
    if (format->scale_type == ZI_F8_E8M0)
        memset(bytes, 127 - 8, scales);
    else
        for (size_t i = 0; i < scales; i++)
            zi_narrow(format->scale_type, &value, bytes + i * zi_dtype_size(format->scale_type), 1);
    return true;
}

bool zi_weights_random(zi_dtype type, const zi_random_format *format, size_t largest,
                       zi_backend *backend, zi_weights *out, zi_error *error)
{
    zi_weights weights = {.backend = backend, .noise_format = format, .noise_type = type};
    weights.noise = zi_values_random(type, largest);
    if (!weights.noise) return zi_error_no_memory(error, zi_dtype_bytes(type, largest));
    if (format && !make_random_codes(&weights, largest, error)) {
        zi_weights_close(&weights);
        return false;
    }
    *out = weights;
    return true;
}

void zi_weights_set_idle(const zi_weights *weights)
{
    for (size_t i = 0; i < weights->buffer_count; i++) zi_buffer_set_idle(weights->buffers[i]);
}

void zi_weights_close(zi_weights *weights)
{
    for (size_t i = 0; i < weights->buffer_count; i++) zi_buffer_release(weights->buffers[i]);
    free(weights->buffers);
    for (size_t i = 0; i < weights->count; i++) free(weights->list[i]);
    free(weights->list);
    zi_source_free(&weights->source);
    zi_checkpoint_release(weights->checkpoint);
    zi_source_free(&weights->reference);
    zi_checkpoint_release(weights->reference_checkpoint);
    for (size_t i = 0; i < weights->owned_count; i++) free(weights->owned[i]);
    free(weights->owned);
    free(weights->used);
    free(weights->noise);
    free(weights->noise_codes);
    free(weights->noise_scales);
    *weights = (zi_weights){0};
}

/* ---- lookup ---- */

/* Sets weights->failed and the error: `bytes` of memory are short. */
static void fail_memory(zi_weights *weights, size_t bytes)
{
    weights->failed = true;
    zi_error_no_memory(weights->error, bytes);
}

/* Sets weights->failed and the error: a tensor is missing, by the name that the file's layout has
 * for this canonical name. ZI_ERROR_INCOMPLETE for a pad token, which a reference can provide. */
static void fail_missing(zi_weights *weights, const char *name)
{
    zi_stored_name stored;
    bool known =
        zi_key_format(weights->naming, name, ZI_ROLE_WEIGHT, &weights->source.vae_depth, &stored);
    const char *called = known ? stored.name : name;
    bool pad = zi_is_pad_token(name), head = !strcmp(name, "lm_head.weight");
    weights->failed = true;
    zi_error_set_in(weights->error, pad ? ZI_ERROR_INCOMPLETE : ZI_ERROR_BAD_FORMAT,
                    weights->checkpoint->files[0].path, called,
                    "tensor %s is missing%s%s; fetch the model again%s", called,
                    weights->checkpoint->file_count > 1 ? " in all files of the model" : "",
                    head ? ", though \"tie_word_embeddings\" is false in its config.json" : "",
                    pad ? ", or take it from a reference model (a complete Z-Image model)"
                    : head
                        ? "; if the tensor is missing in that, too, set \"tie_word_embeddings\" to "
                          "true in config.json"
                        : "");
}

/* Sets weights->failed and the error: the entry does not have this shape [dims]. */
static void fail_shape(zi_weights *weights, const zi_entry *entry, const size_t *shape, int dims)
{
    char wanted[ZI_SHAPE_TEXT], found[ZI_SHAPE_TEXT];
    const char *stored = entry->tensor->name;
    bool renamed = strcmp(stored, entry->name) != 0;
    const char *names = weights->source.component == ZI_COMPONENT_TEXT_ENCODER
                            ? " (in transformers: "
                            : " (in diffusers: ";
    weights->failed = true;
    zi_error_set_in(weights->error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry), stored,
                    "tensor %s%s%s%s has shape %s, but by %s it must have %s; %s", stored,
                    renamed ? names : "", renamed ? entry->name : "", renamed ? ")" : "",
                    zi_shape_text(entry->shape, entry->dims, found),
                    weights->config             ? weights->config
                    : weights->checkpoint->gguf ? "the metadata and the other tensors of the model"
                                                : "the other tensors of the model",
                    zi_shape_text(shape, dims, wanted),
                    weights->config ? "use the weights and the config file of the same model"
                                    : "fetch the model again");
}

/* Whether the entry's side i is `wanted`, or that padded as the entry's format does. */
static bool side_matches(const zi_entry *entry, int i, size_t wanted)
{
    size_t side = entry->shape[i], padding = entry->swizzled ? entry->group : 0;
    return side == wanted ||
           (padding && side % padding == 0 && wanted < side && side - wanted < padding);
}

/* The entry of this canonical name, which it marks as used; it must have this shape, or be padded
 * from it. NULL: it is missing or has another shape, and weights->failed and the error are set. */
static const zi_entry *use_entry(zi_weights *weights, const char *name, const size_t *shape,
                                 int dims)
{
    const zi_entry *entry = zi_source_find(&weights->source, name);
    if (!entry) {
        fail_missing(weights, name);
        return NULL;
    }
    bool matches = entry->dims == dims;
    for (int i = 0; matches && i < dims; i++) matches = side_matches(entry, i, shape[i]);
    if (!matches) {
        fail_shape(weights, entry, shape, dims);
        return NULL;
    }
    weights->used[entry - weights->source.entries] = true;
    return entry;
}

/* ---- memory ---- */

/* The list of pointers with room for one more, reallocated when count is 0 or a power of two; the
 * caller stores the result and counts. NULL: memory is short, failed is set, list stays valid. */
static void *grow_list(zi_weights *weights, void *list, size_t count)
{
    if (count & (count - 1)) return list; /* capacity is a power of two */
    void *grown = realloc(list, (count ? 2 * count : 1) * sizeof(void *));
    if (!grown) fail_memory(weights, count * sizeof(void *));
    return grown;
}

/* n floats, not cleared, freed with the weights. NULL: memory is short, failed is set. */
static float *allocate_floats(zi_weights *weights, size_t n)
{
    void **grown = grow_list(weights, weights->owned, weights->owned_count);
    float *values = malloc(n ? n * sizeof *values : 1);
    if (grown) weights->owned = grown;
    if (!grown || !values) {
        free(values);
        fail_memory(weights, n * sizeof *values);
        return NULL;
    }
    weights->owned[weights->owned_count++] = values;
    return values;
}

/* A contiguous view [rows, columns] of `bytes` bytes of host memory, imported into the backend, as
 * a buffer that the weights release; data must live as long as they do. Without a backend, and
 * after a failure (which sets failed), a view of this shape without buffer. */
static zi_view import_view(zi_weights *weights, const void *data, zi_dtype type, size_t bytes,
                           size_t rows, size_t columns)
{
    zi_view view = {.type = type, .rows = rows, .columns = columns, .stride = columns};
    if (!weights->backend) return view; /* binding only checks */
    zi_buffer **grown = grow_list(weights, weights->buffers, weights->buffer_count);
    if (!grown) return view;
    weights->buffers = grown;
    if (!zi_buffer_import(weights->backend, data, bytes, &view.buffer, weights->error)) {
        weights->failed = true;
        return view;
    }
    weights->buffers[weights->buffer_count++] = view.buffer;
    return view;
}

/* Imports n floats as a view of one row, as import_view does. values may be NULL after a failed
 * allocation: the view is then zeroed. */
static zi_view import_floats(zi_weights *weights, const float *values, size_t n)
{
    return values ? import_view(weights, values, ZI_F32, n * sizeof *values, 1, n) : (zi_view){0};
}

/* ---- binding by kind ---- */

/* Sets out->factors to a copy, as f32, of an entry's scales per row or tensor, or of the factor of
 * its groups' scales. Failures set weights->failed. */
static void bind_factors(zi_weights *weights, const zi_rows *stored, zi_weight *out)
{
    float *factors = allocate_floats(weights, stored->count);
    if (factors) zi_widen(stored->tensor->type, stored->data, factors, stored->count);
    out->factors = import_floats(weights, factors, stored->count);
}

/* Sets out's scales and biases, and what says how codes and scales lie, to those of an entry in
 * groups. Failures set weights->failed. */
static void bind_groups(zi_weights *weights, const zi_entry *entry, size_t rows, zi_weight *out)
{
    zi_dtype type = entry->scale_type;
    size_t groups = entry->padded_columns / entry->group;
    size_t bytes = (entry->swizzled ? entry->scales.count : rows * groups) * zi_dtype_size(type);
    out->codes = entry->codes;
    out->bits = entry->bits;
    out->group = entry->group;
    out->padded_columns = entry->padded_columns;
    out->swizzled = entry->swizzled;
    out->first_row = entry->swizzled ? entry->row : 0;
    out->scales = import_view(weights, entry->scales.data, type, bytes, rows, groups);
    if (entry->biases.tensor)
        out->biases = import_view(weights, entry->biases.data, type, bytes, rows, groups);
    if (entry->factor.tensor) bind_factors(weights, &entry->factor, out);
}

/* Sets *out to an entry as it is stored, as a matrix [rows, columns], with what belongs to its
 * groups, or its factors (copied as f32). Failures set weights->failed. */
static void bind_as_stored(zi_weights *weights, const zi_entry *entry, size_t rows, size_t columns,
                           zi_weight *out)
{
    out->data = import_view(weights, entry->data, entry->tensor->type, entry->bytes, rows, columns);
    out->rotation = entry->rotation;
    if (entry->packing == ZI_GROUPED) bind_groups(weights, entry, rows, out);
    if (entry->packing == ZI_SCALED) bind_factors(weights, &entry->scales, out);
}

/* Sets out->data to a copy of an entry's values [rows, columns] as one row of f32, with scales
 * applied. Failures set weights->failed. */
static void bind_as_f32(zi_weights *weights, const zi_entry *entry, size_t rows, size_t columns,
                        zi_weight *out)
{
    float *values = allocate_floats(weights, rows * columns);
    if (values) zi_entry_read_values(entry, rows, columns, values);
    out->data = import_floats(weights, values, rows * columns);
}

/* Sets out->data to a row of n floats of this value. Failures set weights->failed. */
static void bind_constant(zi_weights *weights, size_t n, float value, zi_weight *out)
{
    float *values = allocate_floats(weights, n);
    if (values) zi_values_fill(values, n, value);
    out->data = import_floats(weights, values, n);
}

/* Sets out->data to a copy of the tensor [n] as f32, which the weights own. A missing tensor,
 * another shape or short memory sets weights->failed and the error. */
static void bind_vector(zi_weights *weights, const char *name, size_t n, zi_weight *out)
{
    const zi_entry *entry = use_entry(weights, name, &n, 1);
    bool whole = entry && entry->packing == ZI_PLAIN; /* blocks may cover the whole row */
    if (entry) bind_as_f32(weights, entry, whole ? 1 : n, whole ? n : 1, out);
}

/* Sets out->data to a copy of the tensor [1, n] as f32. If it is missing: of the reference's, if
 * that has one of this shape, and weights->pads_from_reference is set; else, for an MLX file, to
 * zeros, and weights->zeros is set. Other failures set weights->failed. */
static void bind_pad_token(zi_weights *weights, const char *name, size_t n, zi_weight *out)
{
    bool missing = !zi_source_find(&weights->source, name);
    const zi_entry *other = missing ? zi_source_find(&weights->reference, name) : NULL;
    if (other && other->dims == 2 && other->shape[0] == 1 && other->shape[1] == n) {
        weights->pads_from_reference = true;
        bind_as_f32(weights, other, 1, n, out);
        return;
    }
    if (missing && weights->naming == ZI_NAMES_MLX) {
        weights->zeros = true;
        bind_constant(weights, n, 0, out);
        return;
    }
    const zi_entry *entry = use_entry(weights, name, (size_t[]){1, n}, 2);
    if (entry) bind_as_f32(weights, entry, 1, n, out);
}

/* Binds a convolution's weight, whose side, 1 or 3, the caller has set in out->kernel: as stored
 * if convolutions read the type, else as f32. A missing tensor or another shape sets
 * weights->failed. */
static void bind_conv(zi_weights *weights, const char *name, size_t out_channels,
                      size_t in_channels, zi_weight *out)
{
    size_t side = out->kernel, columns = in_channels * side * side;
    const zi_entry *entry =
        use_entry(weights, name, (size_t[]){out_channels, in_channels, side, side}, 4);
    if (!entry) return;
    out->nhwc = entry->nhwc;
    if (entry->packing == ZI_PLAIN && zi_dtype_computes(entry->tensor->type)) {
        bind_as_stored(weights, entry, out_channels, columns, out);
        return;
    }
    bind_as_f32(weights, entry, out_channels, columns, out);
    out->data = zi_view_reshape(out->data, out_channels, columns);
}

/* Binds random codes or blocks as a quantized matrix of weights->noise_format. */
static void bind_random_codes(zi_weights *weights, size_t rows, size_t columns, zi_weight *out)
{
    const zi_random_format *format = weights->noise_format;
    if (format->blocks) {
        out->data = import_view(weights, weights->noise_codes, format->blocks,
                                zi_dtype_bytes(format->blocks, rows * columns), rows, columns);
        return;
    }
    size_t group = format->bits ? format->group : columns, groups = columns / group;
    size_t padded = zi_swizzled_rows(rows) * zi_swizzled_groups(groups);
    size_t bytes = format->bits ? rows * columns / 8 * (size_t)format->bits : rows * columns;
    zi_dtype type = format->bits ? ZI_U8 : ZI_I8;
    out->data = import_view(weights, weights->noise_codes, type, bytes, rows, columns);
    out->codes = format->codes;
    out->bits = format->bits;
    out->rotation = format->rotation;
    zi_view scales =
        import_view(weights, weights->noise_scales, format->scale_type,
                    (format->swizzled ? padded : rows * groups) * zi_dtype_size(format->scale_type),
                    rows, groups);
    if (!format->bits) {
        out->factors = zi_view_reshape(scales, 1, rows);
        return;
    }
    out->group = group;
    out->swizzled = format->swizzled;
    out->scales = scales;
    if (format->codes == ZI_CODES_INTEGER) out->biases = scales;
}

/* Whether rows of so many columns can be quantized to a format. */
static bool format_fits(const zi_random_format *format, size_t columns)
{
    size_t whole = format->blocks          ? zi_dtype_block(format->blocks)
                   : format->rotation > 64 ? format->rotation
                                           : 64;
    return columns >= whole && columns % whole == 0;
}

/* Binds random data as a matrix, quantized if weights->noise_format is set, it is no convolution,
 * and its rows are whole blocks or groups. */
static void bind_random(zi_weights *weights, size_t rows, size_t columns, zi_weight *out)
{
    const zi_random_format *format = weights->noise_format;
    zi_dtype type = weights->noise_type;
    if (!out->kernel && format && format_fits(format, columns)) {
        bind_random_codes(weights, rows, columns, out);
        return;
    }
    out->data = import_view(weights, weights->noise, type, rows * columns * zi_dtype_size(type),
                            rows, columns);
}

/* Binds the tensor of this full name to *out, which the caller has zeroed, by the slot's kind and
 * dimensions (sizes by index); of weights without a checkpoint: random matrices and vectors of
 * ones. Failures set weights->failed and *weights->error; *out may then be set in part. */
static void bind_slot(zi_weights *weights, const char *name, const zi_slot *slot,
                      const size_t *sizes, zi_weight *out)
{
    bool matrix = slot->kind >= ZI_SLOT_MATRIX;
    size_t rows = sizes[slot->rows], columns = matrix ? sizes[slot->columns] : 0;
    out->kernel = slot->kind == ZI_SLOT_CONV3 ? 3 : slot->kind == ZI_SLOT_CONV1;
    if (!weights->checkpoint && matrix)
        bind_random(weights, rows, out->kernel == 3 ? columns * 9 : columns, out);
    else if (!weights->checkpoint)
        bind_constant(weights, rows, 1, out);
    else if (out->kernel)
        bind_conv(weights, name, rows, columns, out);
    else if (slot->kind == ZI_SLOT_VECTOR)
        bind_vector(weights, name, rows, out);
    else if (slot->kind == ZI_SLOT_ROW)
        bind_pad_token(weights, name, rows, out);
    else {
        const zi_entry *entry = use_entry(weights, name, (size_t[]){rows, columns}, 2);
        if (entry) bind_as_stored(weights, entry, rows, columns, out);
    }
}

/* Appends a zeroed weight with a copy of this name to weights->list, which owns it. NULL: memory is
 * short, failed is set. */
static zi_weight *add_weight(zi_weights *weights, const char *name)
{
    size_t length = strlen(name) + 1;
    zi_weight **grown = grow_list(weights, weights->list, weights->count);
    if (!grown) return NULL;
    weights->list = grown;
    zi_weight *weight = calloc(1, sizeof *weight + length); /* followed by its name */
    if (!weight) {
        fail_memory(weights, sizeof *weight);
        return NULL;
    }
    weight->name = memcpy(weight + 1, name, length);
    weights->list[weights->count++] = weight;
    return weight;
}

void zi_weights_bind(zi_weights *weights, const char *prefix, const zi_slot *table,
                     const size_t *sizes, void *module)
{
    for (const zi_slot *slot = table; slot->name && !weights->failed; slot++) {
        char name[MAX_NAME];
        snprintf(name, sizeof name, "%s%s", prefix, slot->name);
        zi_weight *weight = add_weight(weights, name);
        if (!weight) return;
        bind_slot(weights, name, slot, sizes, weight);
        memcpy((char *)module + slot->where, &weight, sizeof weight);
    }
}

size_t zi_weights_bytes(const zi_slot *table, const void *module)
{
    size_t bytes = 0;
    for (const zi_slot *slot = table; slot->name; slot++) {
        const zi_weight *w;
        memcpy(&w, (const char *)module + slot->where, sizeof w);
        if (!w) continue;
        const zi_view *const views[] = {&w->data, &w->scales, &w->biases, &w->factors};
        for (size_t i = 0; i < sizeof views / sizeof *views; i++)
            if (views[i]->buffer) bytes += views[i]->buffer->size;
    }
    return bytes;
}

bool zi_weights_has(const zi_weights *weights, const char *name)
{
    return !weights->checkpoint || zi_source_find(&weights->source, name);
}

void zi_weights_ignore(zi_weights *weights, const char *prefix, ...)
{
    char text[MAX_NAME];
    va_list args;
    va_start(args, prefix);
    vsnprintf(text, sizeof text, prefix, args);
    va_end(args);
    for (size_t i = 0; i < weights->source.count; i++)
        if (strncmp(weights->source.entries[i].name, text, strlen(text)) == 0)
            weights->used[i] = true;
}

/* Sets ZI_ERROR_BAD_FORMAT: the entry was not bound. Returns false. */
static bool fail_unused(const zi_weights *weights, const zi_entry *entry, zi_error *error)
{
    const char *name = entry->tensor->name, *file = zi_entry_file(entry);
    if (weights->config)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, file, name,
                               "tensor %s is not part of the model that %s describes; use the "
                               "weights and the config file of the same model",
                               name, weights->config);
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, file, name,
                           "tensor %s has no place in the model that the other tensors make: the "
                           "file is damaged, or has another kind of model; use another file of "
                           "this model, or fetch it again",
                           name);
}

bool zi_weights_end_binding(zi_weights *weights, zi_error *error)
{
    for (size_t i = 0; i < weights->source.count; i++)
        if (!weights->used[i]) return fail_unused(weights, &weights->source.entries[i], error);
    weights->error = NULL; /* these are borrowed for binding only */
    weights->config = NULL;
    return true;
}
