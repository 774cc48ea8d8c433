#include "convert/plan.h"
#include "base/matrix.h"
#include "convert/block_types.h"
#include "io/formats.h"
#include "io/layout.h"

#include <stdlib.h>
#include <string.h>

/* What each layout can store. quantized: how it stores quantized matrices at a precision; all zero:
 * it does not support the precision. */
static const struct {
    zi_value_storage quantized[ZI_PRECISION_IQ4_XS + 1];
    zi_dtype rest; /* type of the tensors that stay unquantized; ZI_DTYPE_COUNT: as in the source */
    size_t group;  /* a matrix is quantized only if its row length is a multiple of this */
    bool scaled;   /* can hold fp8 and I8 with scales */
    bool unscaled_fp8;  /* can hold fp8 without scales */
    bool ggml_blocks;   /* can hold ggml's quantized blocks */
    bool mlx_groups;    /* can hold MLX's quantized groups */
    bool f32_vectors;   /* vectors become F32 unless the precision is "original" */
    bool text_encoders; /* text encoders are quantized, too */
} layouts[ZI_NAMINGS] = {
    [ZI_NAMES_DIFFUSERS] =
        {.quantized =
             {[ZI_PRECISION_FP8].type = ZI_F8_E4M3, [ZI_PRECISION_FP8_E4M3FN].type = ZI_F8_E4M3},
         .rest = ZI_DTYPE_COUNT,
         .group = 64,
         .unscaled_fp8 = true},
    [ZI_NAMES_COMFYUI] = {.quantized = {[ZI_PRECISION_FP8] = {.packing = ZI_SCALED,
                                                              .type = ZI_F8_E4M3},
                                        [ZI_PRECISION_FP8_E4M3FN].type = ZI_F8_E4M3},
                          .rest = ZI_DTYPE_COUNT,
                          .group = 64,
                          .scaled = true,
                          .unscaled_fp8 = true},
    [ZI_NAMES_MLX] =
        {.quantized =
             {[ZI_PRECISION_FP8] = {.packing = ZI_GROUPED, .type = ZI_F16, .bits = 8, .group = 64},
              [ZI_PRECISION_Q8] = {.packing = ZI_GROUPED, .type = ZI_F16, .bits = 8, .group = 64},
              [ZI_PRECISION_Q4] = {.packing = ZI_GROUPED, .type = ZI_F16, .bits = 4, .group = 64}},
         .rest = ZI_F16,
         .group = 64,
         .mlx_groups = true},
    [ZI_NAMES_GGUF] = {.quantized = {[ZI_PRECISION_Q8].type = ZI_Q8_0,
                                     [ZI_PRECISION_Q4].type = ZI_Q4_0,
                                     [ZI_PRECISION_Q2_K].type = ZI_Q2_K,
                                     [ZI_PRECISION_Q3_K].type = ZI_Q3_K,
                                     [ZI_PRECISION_Q4_K].type = ZI_Q4_K,
                                     [ZI_PRECISION_Q5_K].type = ZI_Q5_K,
                                     [ZI_PRECISION_Q6_K].type = ZI_Q6_K,
                                     [ZI_PRECISION_Q4_1].type = ZI_Q4_1,
                                     [ZI_PRECISION_Q5_0].type = ZI_Q5_0,
                                     [ZI_PRECISION_Q5_1].type = ZI_Q5_1,
                                     [ZI_PRECISION_IQ4_NL].type = ZI_IQ4_NL,
                                     [ZI_PRECISION_IQ4_XS].type = ZI_IQ4_XS},
                       .rest = ZI_DTYPE_COUNT,
                       .group = 32,
                       .ggml_blocks = true,
                       .f32_vectors = true,
                       .text_encoders = true},
};

/* How a layout stores quantized matrices at a precision, a constant; NULL: the precision quantizes
 * nothing, or the layout does not support it. */
static const zi_value_storage *quantized_storage(zi_naming layout, zi_precision precision)
{
    const zi_value_storage *storage = &layouts[layout].quantized[precision];
    return storage->type ? storage : NULL;
}

/* The type to which a precision converts all tensors: F32, F16 or BF16; ZI_DTYPE_COUNT: it keeps or
 * quantizes them. */
static zi_dtype plain_type(zi_precision precision)
{
    return precision == ZI_PRECISION_FP32   ? ZI_F32
           : precision == ZI_PRECISION_FP16 ? ZI_F16
           : precision == ZI_PRECISION_BF16 ? ZI_BF16
                                            : ZI_DTYPE_COUNT;
}

bool zi_precision_quantizes(zi_precision precision)
{
    return precision != ZI_PRECISION_ORIGINAL && plain_type(precision) == ZI_DTYPE_COUNT;
}

bool zi_naming_supports(zi_naming layout, zi_precision precision)
{
    return !zi_precision_quantizes(precision) || quantized_storage(layout, precision);
}

bool zi_naming_quantizes(zi_naming layout, zi_component component)
{
    return component == ZI_COMPONENT_TRANSFORMER ||
           (component == ZI_COMPONENT_TEXT_ENCODER && layouts[layout].text_encoders);
}

/* ---- storage ---- */

/* Whether the scales of the entries, all ZI_SCALED, can serve the concatenated tensor unchanged:
 * they have one type, and are either the same single value in all entries, or one value per row in
 * all. Always sets *by_row to whether the first entry has one per row. */
static bool scales_can_be_joined(const zi_entry *const *entries, int count, bool *by_row)
{
    const zi_rows *first = &entries[0]->scales;
    *by_row = first->count > 1;
    for (int i = 0; i < count; i++) {
        const zi_rows *it = &entries[i]->scales;
        if (it->tensor->type != first->tensor->type || (it->count > 1) != *by_row) return false;
        if (!*by_row && memcmp(it->data, first->data, zi_dtype_size(it->tensor->type)) != 0)
            return false;
    }
    return true;
}

/* How an entry is stored; by_row is not set. */
static zi_value_storage entry_storage(const zi_entry *entry)
{
    return (zi_value_storage){.packing = entry->packing,
                              .type = entry->packing == ZI_GROUPED ? entry->scale_type
                                                                   : entry->tensor->type,
                              .bits = entry->bits,
                              .group = entry->group,
                              .codes = entry->codes,
                              .swizzled = entry->swizzled,
                              .rotation = entry->rotation};
}

/* Bytes of the codes of a stored row, with padding, of an entry of kind ZI_GROUPED; its scales and
 * biases are stored elsewhere. */
static size_t grouped_row_bytes(const zi_entry *entry)
{
    return entry->padded_columns * (size_t)entry->bits / 8;
}

/* Whether entries in swizzled groups can be joined: they have the same factor, and none but the
 * last has padded rows. */
static bool blocks_can_be_joined(const zi_entry *const *entries, int count)
{
    const zi_rows *first = &entries[0]->factor;
    for (int i = 0; i < count; i++) {
        const zi_rows *it = &entries[i]->factor;
        size_t rows = entries[i]->bytes / grouped_row_bytes(entries[i]);
        if (i < count - 1 && rows != entries[i]->shape[0]) return false;
        if (!it->tensor != !first->tensor) return false;
        if (it->tensor && (it->tensor->type != first->tensor->type ||
                           memcmp(it->data, first->data, zi_dtype_size(first->tensor->type)) != 0))
            return false;
    }
    return true;
}

/* Sets *storage to how the first entry is stored. False, and *storage is not to be used: another
 * entry is stored differently, or their scales cannot serve the concatenated tensor. */
static bool common_storage(const zi_entry *const *entries, int count, zi_value_storage *storage)
{
    *storage = entry_storage(entries[0]);
    for (int i = 1; i < count; i++) {
        zi_value_storage it = entry_storage(entries[i]);
        if (it.packing != storage->packing || it.type != storage->type ||
            it.bits != storage->bits || it.group != storage->group || it.codes != storage->codes ||
            it.swizzled != storage->swizzled || it.rotation != storage->rotation ||
            entries[i]->tensor->type != entries[0]->tensor->type)
            return false;
    }
    if (storage->swizzled) return blocks_can_be_joined(entries, count);
    return storage->packing != ZI_SCALED || scales_can_be_joined(entries, count, &storage->by_row);
}

/* Whether files of the layout can hold values stored this way. Scaled fp8 with a scale per row is
 * in none. */
static bool layout_can_hold(zi_naming layout, const zi_value_storage *storage)
{
    if (storage->packing == ZI_GROUPED)
        return storage->swizzled ? layouts[layout].scaled : layouts[layout].mlx_groups;
    if (storage->packing == ZI_SCALED)
        return layouts[layout].scaled && (storage->type == ZI_I8 || !storage->by_row);
    if (storage->type == ZI_F8_E4M3 || storage->type == ZI_F8_E5M2)
        return layouts[layout].unscaled_fp8;
    return zi_dtype_computes(storage->type) || layouts[layout].ggml_blocks;
}

/* The unquantized type to convert `count` (1 or more) entries to when the layout cannot hold their
 * storage: F32, F16 and BF16 stay; the type of MLX's affine scales; F16 for ggml blocks; BF16 for
 * fp8, fp4 and integers; F32 when these types differ between entries. */
static zi_dtype nearest_plain_type(const zi_entry *const *entries, int count)
{
    zi_dtype found = ZI_DTYPE_COUNT;
    for (int i = 0; i < count; i++) {
        zi_dtype type = entries[i]->tensor->type;
        if (entries[i]->biases.tensor)
            type = entries[i]->scale_type;
        else if (zi_dtype_block(type) > 1)
            type = ZI_F16;
        else if (!zi_dtype_computes(type))
            type = ZI_BF16;
        if (found != ZI_DTYPE_COUNT && found != type) return ZI_F32; /* holds both */
        found = type;
    }
    return found;
}

/* Whether values stored one way can be copied where another is wanted. The type of MLX scales may
 * differ, and fp8 without scales may stand for scaled fp8. */
static bool storage_satisfies(const zi_value_storage *stored, const zi_value_storage *wanted)
{
    if (stored->packing == ZI_GROUPED)
        return wanted->packing == ZI_GROUPED && stored->bits == wanted->bits &&
               stored->group == wanted->group && stored->codes == wanted->codes &&
               !stored->swizzled;
    if (stored->packing == ZI_SCALED)
        return wanted->packing == ZI_SCALED && stored->type == wanted->type && !stored->by_row &&
               !stored->rotation;
    /* fp8 without a scale is accepted where scaled fp8 is wanted */
    return stored->type == wanted->type && wanted->packing != ZI_GROUPED;
}

/* Whether the item may be quantized: a matrix of the transformer, or in GGUF of a text encoder,
 * with a row length of at least 64 that is a multiple of the layout's group. */
static bool is_quantizable(const zi_write_item *item, zi_naming layout)
{
    const zi_entry *entry = item->entries[0];
    size_t width = entry->dims ? entry->shape[entry->dims - 1] : 0;
    return entry->kind == ZI_TENSOR_MATRIX && zi_naming_quantizes(layout, item->component) &&
           width >= 64 && width % layouts[layout].group == 0;
}

/* Sets item->storage, and item->copied: whether the source already has that storage. item->entries,
 * component and nhwc must be set. Precision "original": the source's storage if the layout can hold
 * it, else a similar unquantized type. Another precision: its storage, or the source's if that may
 * stand for it (storage_satisfies); for what it leaves unquantized F16 in MLX, F32 for GGUF's
 * vectors, else as in "original". */
static void choose_storage(zi_write_item *item, zi_naming layout, zi_precision precision)
{
    const zi_value_storage *quantized = quantized_storage(layout, precision);
    zi_tensor_kind kind = item->entries[0]->kind;
    zi_value_storage stored;
    bool uniform = common_storage(item->entries, item->count, &stored);
    bool transposed = item->entries[0]->nhwc != item->nhwc;
    zi_dtype plain = quantized ? layouts[layout].rest : plain_type(precision);
    if (precision != ZI_PRECISION_ORIGINAL && layouts[layout].f32_vectors &&
        (kind == ZI_TENSOR_VECTOR || kind == ZI_TENSOR_ROW))
        plain = ZI_F32;
    if (quantized && is_quantizable(item, layout)) {
        zi_value_storage wanted = *quantized;
        if (layouts[layout].ggml_blocks) wanted.type = zi_block_type_for(item, wanted.type);
        item->copied = uniform && storage_satisfies(&stored, &wanted);
        item->storage = item->copied ? stored : wanted;
    } else if (plain == ZI_DTYPE_COUNT && uniform && layout_can_hold(layout, &stored)) {
        item->copied = !transposed;
        item->storage = stored;
    } else {
        if (plain == ZI_DTYPE_COUNT) plain = nearest_plain_type(item->entries, item->count);
        item->storage = (zi_value_storage){.packing = ZI_PLAIN, .type = plain};
        item->copied = uniform && !transposed && stored.packing == ZI_PLAIN && stored.type == plain;
    }
}

/* ---- shapes ---- */

/* Sets item->bytes from its type and shape. Companions are items of their own and not counted. */
static void set_item_bytes(zi_write_item *item)
{
    size_t count = 1;
    for (int d = 0; d < item->dims; d++) count *= item->shape[d];
    item->bytes = zi_dtype_bytes(item->type, count);
}

/* Sets type, shape, rows and columns of an item in swizzled groups, which is copied, to those of
 * its stored entries, padding included. */
static void set_block_shape(zi_write_item *item)
{
    const zi_entry *entry = item->entries[0];
    item->type = entry->tensor->type;
    item->shape[1] = grouped_row_bytes(entry);
    item->shape[0] = 0;
    for (int i = 0; i < item->count; i++)
        item->shape[0] += item->entries[i]->bytes / item->shape[1];
    item->rows = item->shape[0];
    item->columns = entry->padded_columns;
}

/* Sets type, dims, shape (outermost dimension first), rows, columns and bytes from the canonical
 * shapes of the entries and item->storage. Products cannot overflow: they are bounded by the
 * entries' element counts, which were checked. */
static void set_item_shape(zi_write_item *item, zi_naming layout)
{
    const zi_entry *entry = item->entries[0];
    item->dims = entry->dims;
    memcpy(item->shape, entry->shape, sizeof item->shape);
    for (int i = 1; i < item->count; i++) item->shape[0] += item->entries[i]->shape[0];
    item->rows = item->dims > 1 ? item->shape[0] : 1;
    item->columns = 1;
    for (int d = item->dims > 1 ? 1 : 0; d < item->dims; d++) item->columns *= item->shape[d];
    if (item->nhwc) {
        item->shape[1] = entry->shape[2];
        item->shape[2] = entry->shape[3];
        item->shape[3] = entry->shape[1];
    }
    if (entry->kind == ZI_TENSOR_CONV1X1 && layout == ZI_NAMES_COMFYUI) {
        item->dims = 4;
        item->shape[2] = item->shape[3] = 1;
    }
    item->type = item->storage.type;
    if (item->storage.swizzled) {
        set_block_shape(item);
    } else if (item->storage.packing == ZI_GROUPED) {
        item->type = ZI_U32;
        item->shape[1] = item->shape[1] * (size_t)item->storage.bits / 32;
    }
    set_item_bytes(item);
}

/* ---- adding items ---- */

/* Appends a zeroed item to the plan and returns it, owned by the plan; NULL and an error when
 * memory is short. May move the other items. */
static zi_write_item *new_item(zi_write_plan *plan, zi_error *error)
{
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity ? 2 * plan->capacity : 256;
        zi_write_item *grown = realloc(plan->items, capacity * sizeof *grown);
        if (!grown) {
            zi_error_no_memory(error, capacity * sizeof *grown);
            return NULL;
        }
        plan->items = grown;
        plan->capacity = capacity;
    }
    zi_write_item *item = &plan->items[plan->count++];
    *item = (zi_write_item){0};
    return item;
}

/* Sets item->name to a new string: name, behind its component's prefix if prefixed. An old name is
 * not freed. False: out of memory. */
static bool set_item_name(zi_write_item *item, bool prefixed, const char *name, zi_error *error)
{
    const char *prefix = prefixed ? zi_key_prefix(item->component) : "";
    size_t size = strlen(prefix) + strlen(name) + 1;
    item->name = malloc(size);
    if (!item->name) return zi_error_no_memory(error, size);
    snprintf(item->name, size, "%s%s", prefix, name);
    return true;
}

/* The format that a marker declares for values stored this way, which are ComfyUI's. */
static zi_layer_format marker_format(const zi_value_storage *storage)
{
    zi_quantization kind = storage->swizzled             ? ZI_QUANTIZATION_NVFP4
                           : storage->type == ZI_I8      ? ZI_QUANTIZATION_INT8
                           : storage->type == ZI_F8_E5M2 ? ZI_QUANTIZATION_FP8_E5M2
                                                         : ZI_QUANTIZATION_FP8_E4M3;
    if (storage->swizzled && storage->codes == ZI_CODES_E4M3) kind = ZI_QUANTIZATION_MXFP8;
    return (zi_layer_format){kind, storage->rotation};
}

/* Sets type, dims and shape of a companion, which so far is a copy of its weight's item but for the
 * role, and the text of a format marker. */
static void set_companion_shape(zi_write_item *item)
{
    const zi_value_storage *storage = &item->storage;
    const zi_entry *entry = item->entries[0];
    size_t groups = storage->group ? item->columns / storage->group : 1;
    item->type = item->copied                  ? entry->scales.tensor->type
                 : item->role == ZI_ROLE_SCALE ? ZI_F32
                                               : storage->type;
    item->dims = item->role == ZI_ROLE_SCALE && !storage->group && !storage->by_row ? 0 : 2;
    item->shape[0] = storage->swizzled ? zi_swizzled_rows(item->rows) : item->rows;
    item->shape[1] = storage->swizzled ? zi_swizzled_groups(groups) : groups;
    if (item->role == ZI_ROLE_TENSOR_SCALE) {
        item->type = entry->factor.tensor->type;
        item->dims = 0;
    }
    if (item->role == ZI_ROLE_FORMAT) {
        zi_formats_layer_json(marker_format(storage), item->text);
        item->type = ZI_U8;
        item->dims = 1;
        item->shape[0] = strlen(item->text);
    }
}

/* Appends one companion (scales, biases, scale or format marker) of the item at index `weight`,
 * with type, shape and name. name: the companion's own, without prefix; it is copied. */
static bool add_companion(zi_write_plan *plan, size_t weight, zi_tensor_role role, const char *name,
                          bool prefixed, zi_error *error)
{
    zi_write_item *item = new_item(plan, error);
    if (!item) return false;
    *item = plan->items[weight];
    item->name = NULL;
    item->role = role;
    item->weight = weight;
    set_companion_shape(item);
    set_item_bytes(item);
    return set_item_name(item, prefixed, name, error);
}

/* Writes the roles of the companions that a weight stored this way has, in their order, and returns
 * their number. */
static int companion_roles(const zi_value_storage *storage, zi_tensor_role roles[3])
{
    int count = 0;
    if (storage->packing == ZI_PLAIN) return 0;
    if (storage->packing == ZI_GROUPED && !storage->swizzled) {
        roles[count++] = ZI_ROLE_GROUP_SCALES;
        if (storage->codes == ZI_CODES_INTEGER) roles[count++] = ZI_ROLE_GROUP_BIASES;
        return count;
    }
    roles[count++] = ZI_ROLE_SCALE;
    if (storage->codes == ZI_CODES_E2M1_HIGH) roles[count++] = ZI_ROLE_TENSOR_SCALE;
    roles[count++] = ZI_ROLE_FORMAT;
    return count;
}

/* Appends the companions of the item at index `weight`: scales and biases of groups, scale and
 * format marker of ComfyUI's formats; none when its storage is plain. source: has the VAE's depth,
 * which names need. */
static bool add_companions(zi_write_plan *plan, size_t weight, zi_naming layout,
                           const zi_source *source, bool prefixed, zi_error *error)
{
    const char *canonical = plan->items[weight].entries[0]->name;
    zi_tensor_role roles[3];
    int count = companion_roles(&plan->items[weight].storage, roles);
    for (int i = 0; i < count; i++) {
        zi_stored_name stored;
        if (!zi_key_format(layout, canonical, roles[i], &source->vae_depth, &stored))
            return zi_error_set_in(
                error, ZI_ERROR_UNSUPPORTED, zi_entry_file(plan->items[weight].entries[0]),
                canonical,
                "tensor %s cannot be written with its scales in this layout, which has no name for "
                "them; choose another layout, or the precision bf16",
                canonical);
        if (!add_companion(plan, weight, roles[i], stored.name, prefixed, error)) return false;
    }
    return true;
}

/* An entry and the stored name that the layout has for it. */
struct named_entry {
    zi_stored_name stored;
    const zi_entry *entry;
};

/* For qsort of struct named_entry: by stored name, then by slice. */
static int by_stored_name(const void *a, const void *b)
{
    const struct named_entry *x = a, *y = b;
    int order = strcmp(x->stored.name, y->stored.name);
    return order ? order : x->stored.slice - y->stored.slice;
}

/* Sets ZI_ERROR_BAD_FORMAT: the stored tensor to which the entry `named` belongs needs its slice
 * `missing` (from 0), too. depth: of the VAE. Returns false. */
static bool fail_slice(const struct named_entry *named, int missing, const zi_vae_depth *depth,
                       zi_error *error)
{
    zi_key keys[ZI_MAX_FUSED];
    const zi_entry *there = named->entry;
    int count = zi_key_parse(named->stored.name, depth, keys);
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(there), there->name,
                           "tensor %s is missing, which belongs to %s: the file is incomplete; "
                           "fetch it again",
                           missing < count ? keys[missing].name : named->stored.name, there->name);
}

/* Sets item->entries (borrowed from the source) and count to the slices, first in `named` (of which
 * `remaining` are left), that make up one stored tensor. depth: of the VAE. ZI_ERROR_BAD_FORMAT: a
 * slice is missing or does not fit. */
static bool collect_slices(const struct named_entry *named, size_t remaining,
                           const zi_vae_depth *depth, zi_write_item *item, zi_error *error)
{
    int slices = named->stored.slices;
    const zi_entry *first = named->entry;
    for (int i = 0; i < slices; i++) {
        const zi_entry *it = (size_t)i < remaining ? named[i].entry : NULL;
        if (!it || strcmp(named[i].stored.name, named->stored.name) != 0 ||
            named[i].stored.slice != i)
            return fail_slice(named, i, depth, error);
        if (it->dims != first->dims || (slices > 1 && it->shape[1] != first->shape[1]))
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(it), it->name,
                                   "tensors %s and %s belong together, but their shapes do not "
                                   "fit; use another file of this model",
                                   first->name, it->name);
        item->entries[i] = it;
    }
    item->count = slices;
    return true;
}

/* Appends the stored tensor that named[0 .. stored.slices - 1] (`remaining` are left) make up, and
 * its companions. After a failure, the plan may hold an incomplete item; zi_write_plan_free frees
 * it. */
static bool add_item(zi_write_plan *plan, const struct named_entry *named, size_t remaining,
                     const zi_source *source, zi_naming layout, zi_precision precision,
                     bool prefixed, zi_error *error)
{
    zi_write_item *item = new_item(plan, error);
    if (!item) return false;
    size_t weight = plan->count - 1;
    item->component = source->component;
    item->weight = weight;
    item->nhwc = named->stored.kind == ZI_TENSOR_CONV && layout == ZI_NAMES_MLX;
    if (!collect_slices(named, remaining, &source->vae_depth, item, error) ||
        !set_item_name(item, prefixed, named->stored.name, error))
        return false;
    choose_storage(item, layout, precision);
    set_item_shape(item, layout);
    return add_companions(plan, weight, layout, source, prefixed, error);
}

bool zi_write_plan_add_component(zi_write_plan *plan, const zi_source *source, zi_naming layout,
                                 zi_precision precision, bool prefixed, zi_error *error)
{
    size_t count = source->count;
    struct named_entry *named = calloc(count ? count : 1, sizeof *named);
    if (!named) return zi_error_no_memory(error, count * sizeof *named);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        const zi_entry *entry = named[i].entry = &source->entries[i];
        ok = zi_key_format(layout, entry->name, ZI_ROLE_WEIGHT, &source->vae_depth,
                           &named[i].stored) ||
             zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, zi_entry_file(entry), entry->name,
                             "tensor %s cannot be written in the layout %s, which has no name for "
                             "it; choose another layout",
                             entry->name, zi_naming_name(layout));
    }
    qsort(named, count, sizeof *named, by_stored_name);
    for (size_t i = 0; ok && i < count; i += (size_t)named[i].stored.slices)
        ok = add_item(plan, &named[i], count - i, source, layout, precision, prefixed, error);
    free(named);
    return ok;
}

/* ---- order ---- */

/* Lower ranks are written first: tensors with larger elements, so that all are aligned without
 * padding. What is computed with a weight must come after it: MLX weights with their scales and
 * biases (rank 1), scaled weights (2) before their F32 scales (3). Sizes of these are multiples of
 * 4 bytes, so the rest stays aligned. */
static int alignment_rank(const zi_write_item *item)
{
    if (item->storage.packing == ZI_GROUPED && item->storage.codes == ZI_CODES_INTEGER) return 1;
    if (item->storage.packing == ZI_SCALED && !item->copied) {
        if (item->role == ZI_ROLE_WEIGHT) return 2;
        if (item->role == ZI_ROLE_SCALE) return 3;
    }
    size_t size = zi_dtype_size(item->type);
    return size >= 4 ? 0 : size == 2 ? 4 : 5;
}

/* For qsort of items: by alignment_rank, then in the order in which they were planned
 * (item->index). */
static int by_alignment(const void *a, const void *b)
{
    const zi_write_item *x = a, *y = b;
    int order = alignment_rank(x) - alignment_rank(y);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

bool zi_write_plan_sort(zi_write_plan *plan, zi_error *error)
{
    size_t *positions = malloc((plan->count + 1) * sizeof *positions);
    if (!positions) return zi_error_no_memory(error, plan->count * sizeof *positions);
    for (size_t i = 0; i < plan->count; i++) plan->items[i].index = i;
    if (plan->count) qsort(plan->items, plan->count, sizeof *plan->items, by_alignment);
    for (size_t i = 0; i < plan->count; i++) positions[plan->items[i].index] = i;
    for (size_t i = 0; i < plan->count; i++)
        plan->items[i].weight = positions[plan->items[i].weight];
    free(positions);
    return true;
}

size_t zi_write_plan_bytes(const zi_write_plan *plan)
{
    size_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++) bytes += plan->items[i].bytes;
    return bytes;
}

void zi_write_plan_free(zi_write_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) free(plan->items[i].name);
    free(plan->items);
    *plan = (zi_write_plan){0};
}
