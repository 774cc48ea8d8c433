#include "convert/plan.h"
#include "io/formats.h"
#include "io/layout.h"

#include <stdlib.h>
#include <string.h>

/* What layouts can hold, and how they are quantized. A type of ZI_DTYPE_COUNT: not at all. */
static const struct {
    zi_form fp8, q8, q4;
    zi_dtype rest;     /* of a quantized transformer, and of what goes with it; COUNT: as stored */
    size_t group;      /* rows are whole groups of this */
    bool scaled;       /* fp8 and I8 with factors */
    bool eights;       /* fp8 without factors */
    bool blocks;       /* ggml's */
    bool groups;       /* MLX's */
    bool wide_vectors; /* what is no matrix is F32, unless it is kept */
} layouts[ZI_NAMINGS] = {
    [ZI_NAMES_DIFFUSERS] = {.fp8 = {.type = ZI_F8_E4M3},
                            .q8.type = ZI_DTYPE_COUNT,
                            .q4.type = ZI_DTYPE_COUNT,
                            .rest = ZI_DTYPE_COUNT,
                            .group = 64,
                            .eights = true},
    [ZI_NAMES_COMFYUI] = {.fp8 = {.packing = ZI_SCALED, .type = ZI_F8_E4M3},
                          .q8.type = ZI_DTYPE_COUNT,
                          .q4.type = ZI_DTYPE_COUNT,
                          .rest = ZI_DTYPE_COUNT,
                          .group = 64,
                          .scaled = true,
                          .eights = true},
    [ZI_NAMES_MLX] = {.fp8 = {ZI_GROUPED, ZI_F16, 8, 64, false},
                      .q8 = {ZI_GROUPED, ZI_F16, 8, 64, false},
                      .q4 = {ZI_GROUPED, ZI_F16, 4, 64, false},
                      .rest = ZI_F16,
                      .group = 64,
                      .groups = true},
    [ZI_NAMES_GGUF] = {.fp8.type = ZI_DTYPE_COUNT,
                       .q8.type = ZI_Q8_0,
                       .q4.type = ZI_Q4_0,
                       .rest = ZI_DTYPE_COUNT,
                       .group = 32,
                       .blocks = true,
                       .wide_vectors = true},
};

static const zi_form *quantized_form(zi_naming layout, zi_precision precision)
{
    const zi_form *form = precision == ZI_PRECISION_FP8  ? &layouts[layout].fp8
                          : precision == ZI_PRECISION_Q8 ? &layouts[layout].q8
                          : precision == ZI_PRECISION_Q4 ? &layouts[layout].q4
                                                         : NULL;
    return form && form->type != ZI_DTYPE_COUNT ? form : NULL;
}

bool zi_plan_allows(zi_naming layout, zi_precision precision)
{
    return precision < ZI_PRECISION_FP8 || quantized_form(layout, precision);
}

/* ---- forms ---- */

/* Whether the entries' factors can be stored as they are for all of them together: one number, or
 * one a row. *by_row tells which. */
static bool joint_factor(const zi_entry *const *entries, int count, bool *by_row)
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

/* How the entries are stored, when it is one form for all of them. */
static bool stored_form(const zi_entry *const *entries, int count, zi_form *form)
{
    const zi_entry *first = entries[0];
    *form = (zi_form){.packing = first->packing, .type = first->tensor->type};
    if (first->packing == ZI_GROUPED) {
        form->type = first->scales.tensor->type;
        form->bits = first->bits;
        form->group = first->group;
    }
    for (int i = 1; i < count; i++) {
        const zi_entry *it = entries[i];
        bool same = it->packing == first->packing && it->tensor->type == first->tensor->type &&
                    it->bits == first->bits && it->group == first->group;
        if (same && it->packing == ZI_GROUPED)
            same = it->scales.tensor->type == first->scales.tensor->type;
        if (!same) return false;
    }
    return first->packing != ZI_SCALED || joint_factor(entries, count, &form->by_row);
}

static bool holds(zi_naming layout, const zi_form *form)
{
    if (form->packing == ZI_GROUPED) return layouts[layout].groups;
    if (form->packing == ZI_SCALED)
        return layouts[layout].scaled && (form->type == ZI_I8 || !form->by_row);
    if (form->type == ZI_F8_E4M3 || form->type == ZI_F8_E5M2) return layouts[layout].eights;
    return zi_dtype_computes(form->type) || layouts[layout].blocks;
}

/* The plain type that comes nearest to what a layout does not hold: F16 for what is scaled by
 * halves, BF16 for what is not. */
static zi_dtype plain_type(const zi_entry *const *entries, int count)
{
    zi_dtype found = ZI_DTYPE_COUNT;
    for (int i = 0; i < count; i++) {
        zi_dtype type = entries[i]->tensor->type;
        if (entries[i]->packing == ZI_GROUPED)
            type = entries[i]->scales.tensor->type;
        else if (zi_dtype_block(type) > 1)
            type = ZI_F16;
        else if (!zi_dtype_computes(type))
            type = ZI_BF16;
        if (found != ZI_DTYPE_COUNT && found != type) return ZI_F32; /* holds both */
        found = type;
    }
    return found;
}

/* Whether numbers already stored in one form are what the other asks for. */
static bool serves(const zi_form *stored, const zi_form *wanted)
{
    if (stored->packing == ZI_GROUPED)
        return wanted->packing == ZI_GROUPED && stored->bits == wanted->bits &&
               stored->group == wanted->group;
    if (stored->packing == ZI_SCALED)
        return wanted->packing == ZI_SCALED && stored->type == wanted->type && !stored->by_row;
    /* a cast without a factor is fp8, too */
    return stored->type == wanted->type && wanted->packing != ZI_GROUPED;
}

static bool is_quantized(const zi_item *item, zi_naming layout)
{
    const zi_entry *entry = item->entries[0];
    size_t width = entry->dims ? entry->shape[entry->dims - 1] : 0;
    return entry->kind == ZI_MATRIX && item->part == ZI_TRANSFORMER && width >= 64 &&
           width % layouts[layout].group == 0;
}

/* Decides form and whether the stored bytes are it. */
static void choose_form(zi_item *item, zi_naming layout, zi_precision precision)
{
    const zi_form *quantized = quantized_form(layout, precision);
    zi_kind kind = item->entries[0]->kind;
    zi_form stored;
    bool one = stored_form(item->entries, item->count, &stored);
    bool moved = item->entries[0]->nhwc != item->nhwc;
    zi_dtype plain = precision == ZI_PRECISION_FP16   ? ZI_F16
                     : precision == ZI_PRECISION_BF16 ? ZI_BF16
                     : quantized                      ? layouts[layout].rest
                                                      : ZI_DTYPE_COUNT;
    if (precision != ZI_PRECISION_ORIGINAL && layouts[layout].wide_vectors &&
        (kind == ZI_VECTOR || kind == ZI_ROW))
        plain = ZI_F32;
    if (quantized && is_quantized(item, layout)) {
        item->copied = one && serves(&stored, quantized);
        item->form = item->copied ? stored : *quantized;
    } else if (plain == ZI_DTYPE_COUNT && one && holds(layout, &stored)) {
        item->copied = !moved;
        item->form = stored;
    } else {
        if (plain == ZI_DTYPE_COUNT) plain = plain_type(item->entries, item->count);
        item->form = (zi_form){.packing = ZI_PLAIN, .type = plain};
        item->copied = one && !moved && stored.packing == ZI_PLAIN && stored.type == plain;
    }
}

/* ---- shapes ---- */

static void set_bytes(zi_item *item)
{
    size_t count = 1;
    for (int d = 0; d < item->dims; d++) count *= item->shape[d];
    item->bytes = zi_dtype_bytes(item->type, count);
}

/* The shape of all numbers, from the canonical shape of the entries. Products cannot overflow: each
 * entry is counted, and files are not that large. */
static void shape_numbers(zi_item *item, zi_naming layout)
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
    if (entry->kind == ZI_POINTWISE && layout == ZI_NAMES_COMFYUI) {
        item->dims = 4;
        item->shape[2] = item->shape[3] = 1;
    }
    item->type = item->form.type;
    if (item->form.packing == ZI_GROUPED) {
        item->type = ZI_U32;
        item->shape[1] = item->shape[1] * (size_t)item->form.bits / 32;
    }
    set_bytes(item);
}

/* ---- collecting ---- */

static zi_item *new_item(zi_plan *plan, zi_error *error)
{
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity ? 2 * plan->capacity : 256;
        zi_item *grown = realloc(plan->items, capacity * sizeof *grown);
        if (!grown) {
            zi_error_no_memory(error, capacity * sizeof *grown);
            return NULL;
        }
        plan->items = grown;
        plan->capacity = capacity;
    }
    zi_item *item = &plan->items[plan->count++];
    *item = (zi_item){0};
    return item;
}

static bool set_name(zi_item *item, bool prefixed, const char *name, zi_error *error)
{
    const char *prefix = prefixed ? zi_key_prefix(item->part) : "";
    size_t size = strlen(prefix) + strlen(name) + 1;
    item->name = malloc(size);
    if (!item->name) return zi_error_no_memory(error, size);
    snprintf(item->name, size, "%s%s", prefix, name);
    return true;
}

/* Adds what belongs to the numbers of item `main`. */
static bool add_companion(zi_plan *plan, size_t main, zi_role role, const char *name, bool prefixed,
                          zi_error *error)
{
    zi_item *item = new_item(plan, error);
    if (!item) return false;
    const zi_item *numbers = &plan->items[main];
    const zi_form *form = &numbers->form;
    *item = *numbers;
    item->name = NULL;
    item->role = role;
    item->main = main;
    item->type = form->type;
    item->dims = 2;
    item->shape[0] = numbers->rows;
    item->shape[1] = form->group ? numbers->columns / form->group : 1;
    if (role == ZI_FACTOR) {
        item->type = numbers->copied ? numbers->entries[0]->scales.tensor->type : ZI_F32;
        if (!form->by_row) item->dims = 0;
    }
    if (role == ZI_MARKER) {
        zi_formats_marker(form->type, item->text);
        item->type = ZI_U8;
        item->dims = 1;
        item->shape[0] = strlen(item->text);
    }
    set_bytes(item);
    return set_name(item, prefixed, name, error);
}

static bool add_companions(zi_plan *plan, size_t main, zi_naming layout, const zi_source *source,
                           bool prefixed, zi_error *error)
{
    static const zi_role of_groups[] = {ZI_SCALES, ZI_BIASES}, of_scaled[] = {ZI_FACTOR, ZI_MARKER};
    const char *canonical = plan->items[main].entries[0]->name;
    zi_packing packing = plan->items[main].form.packing;
    for (int i = 0; packing != ZI_PLAIN && i < 2; i++) {
        zi_role role = packing == ZI_GROUPED ? of_groups[i] : of_scaled[i];
        zi_stored stored;
        if (!zi_key_write(layout, canonical, role, &source->form, &stored))
            return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED,
                                   zi_entry_file(plan->items[main].entries[0]), canonical,
                                   "tensor %s: its scales have no name", canonical);
        if (!add_companion(plan, main, role, stored.name, prefixed, error)) return false;
    }
    return true;
}

/* An entry and where the layout puts it. */
struct placed {
    zi_stored stored;
    const zi_entry *entry;
};

static int by_place(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    int order = strcmp(x->stored.name, y->stored.name);
    return order ? order : x->stored.slice - y->stored.slice;
}

/* The entries at `placed` that make one tensor; false when some of them are missing. */
static bool join(const struct placed *placed, size_t left, zi_item *item, zi_error *error)
{
    int slices = placed->stored.slices;
    const zi_entry *first = placed->entry;
    for (int i = 0; i < slices; i++) {
        const zi_entry *it = (size_t)i < left ? placed[i].entry : NULL;
        if (!it || strcmp(placed[i].stored.name, placed->stored.name) != 0 ||
            placed[i].stored.slice != i)
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(first), first->name,
                                   "of tensor %s only a part is there (%s)", placed->stored.name,
                                   first->name);
        if (it->dims != first->dims || (slices > 1 && it->shape[1] != first->shape[1]))
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(it), it->name,
                                   "tensors %s and %s do not fit together", first->name, it->name);
        item->entries[i] = it;
    }
    item->count = slices;
    return true;
}

static bool add_item(zi_plan *plan, const struct placed *placed, size_t left,
                     const zi_source *source, zi_naming layout, zi_precision precision,
                     bool prefixed, zi_error *error)
{
    zi_item *item = new_item(plan, error);
    if (!item) return false;
    size_t main = plan->count - 1;
    item->part = source->part;
    item->main = main;
    item->nhwc = placed->stored.kind == ZI_KERNEL && layout == ZI_NAMES_MLX;
    if (!join(placed, left, item, error) || !set_name(item, prefixed, placed->stored.name, error))
        return false;
    choose_form(item, layout, precision);
    shape_numbers(item, layout);
    return add_companions(plan, main, layout, source, prefixed, error);
}

bool zi_plan_add(zi_plan *plan, const zi_source *source, zi_naming layout, zi_precision precision,
                 bool prefixed, zi_error *error)
{
    size_t count = source->count;
    struct placed *placed = calloc(count ? count : 1, sizeof *placed);
    if (!placed) return zi_error_no_memory(error, count * sizeof *placed);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        const zi_entry *entry = placed[i].entry = &source->entries[i];
        ok = zi_key_write(layout, entry->name, ZI_ITSELF, &source->form, &placed[i].stored) ||
             zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, zi_entry_file(entry), entry->name,
                             "tensor %s has no name in the layout of %s", entry->name,
                             zi_naming_name(layout));
    }
    qsort(placed, count, sizeof *placed, by_place);
    for (size_t i = 0; ok && i < count; i += (size_t)placed[i].stored.slices)
        ok = add_item(plan, &placed[i], count - i, source, layout, precision, prefixed, error);
    free(placed);
    return ok;
}

/* ---- order ---- */

/* What is aligned to more goes first. What is computed beside its weights cannot be written before
 * them: groups and their scales are multiples of four bytes together, and so are the weights that
 * computed factors of four bytes stand behind. */
static int rank(const zi_item *item)
{
    if (item->form.packing == ZI_GROUPED) return 1;
    if (item->form.packing == ZI_SCALED && !item->copied) {
        if (item->role == ZI_ITSELF) return 2;
        if (item->role == ZI_FACTOR) return 3;
    }
    size_t size = zi_dtype_size(item->type);
    return size >= 4 ? 0 : size == 2 ? 4 : 5;
}

static int by_rank(const void *a, const void *b)
{
    const zi_item *x = a, *y = b;
    int order = rank(x) - rank(y);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

bool zi_plan_sort(zi_plan *plan, zi_error *error)
{
    size_t *places = malloc((plan->count + 1) * sizeof *places);
    if (!places) return zi_error_no_memory(error, plan->count * sizeof *places);
    for (size_t i = 0; i < plan->count; i++) plan->items[i].number = i;
    if (plan->count) qsort(plan->items, plan->count, sizeof *plan->items, by_rank);
    for (size_t i = 0; i < plan->count; i++) places[plan->items[i].number] = i;
    for (size_t i = 0; i < plan->count; i++) plan->items[i].main = places[plan->items[i].main];
    free(places);
    return true;
}

size_t zi_plan_bytes(const zi_plan *plan)
{
    size_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++) bytes += plan->items[i].bytes;
    return bytes;
}

void zi_plan_free(zi_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) free(plan->items[i].name);
    free(plan->items);
    *plan = (zi_plan){0};
}
