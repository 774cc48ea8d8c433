#include "io/source.h"
#include "io/formats.h"
#include "io/key_wrappers.h"
#include "io/packing.h"
#include "io/recognise.h"

#include <stdio.h>
#include <stdlib.h>

/* Appends what a parsed key says about a stored tensor; the canonical name is copied, checkpoint
 * and tensor are borrowed. False: out of memory; *error is set, and nothing was appended. */
static bool add_piece(zi_pieces *pieces, const zi_checkpoint *checkpoint, const zi_tensor *tensor,
                      const zi_key *key, zi_error *error)
{
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity ? 2 * pieces->capacity : 64;
        zi_piece *grown = realloc(pieces->list, capacity * sizeof *grown);
        if (!grown) return zi_error_no_memory(error, capacity * sizeof *grown);
        pieces->list = grown;
        pieces->capacity = capacity;
    }
    zi_piece piece = {.name = strdup(key->name),
                      .role = key->role,
                      .kind = key->kind,
                      .naming = key->naming,
                      .slice = key->slice,
                      .slices = key->slices,
                      .checkpoint = checkpoint,
                      .tensor = tensor};
    if (!piece.name) return zi_error_no_memory(error, strlen(key->name));
    pieces->list[pieces->count++] = piece;
    return true;
}

/* Sets ZI_ERROR_UNSUPPORTED for a tensor whose name zi_key_parse does not know: behind an unknown
 * prefix, or of another model. Returns false. */
static bool fail_unknown_name(const zi_checkpoint *checkpoint, const zi_source *source,
                              const zi_tensor *tensor, zi_error *error)
{
    const char *name = tensor->name, *file = zi_tensor_file(checkpoint, tensor);
    size_t prefix = zi_key_unknown_prefix(name, &source->vae_depth);
    if (prefix)
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, file, name,
            "the name of tensor %s begins with %.*s, which zimage does not know; use another file "
            "of this model, or save this one with names that do not begin so",
            name, (int)prefix, name);
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, file, name,
                           "tensor %s does not belong to %s; use a file of %s", name,
                           source->language ? "a Qwen or Llama model" : "a Z-Image model",
                           source->language ? "a Qwen or Llama model" : "a Z-Image model");
}

/* The context of add_declared_format. */
typedef struct {
    const zi_checkpoint *checkpoint;
    const zi_source *source;
    zi_pieces *pieces;
} format_context;

/* A zi_layer_format_fn (context: a format_context): adds the format of a layer as a piece without
 * tensor, for each canonical name, if the layer is of the source's component. Fails with
 * ZI_ERROR_UNSUPPORTED for a layer of no known name. */
static bool add_declared_format(void *context, const char *file, const char *layer,
                                zi_layer_format format, zi_error *error)
{
    const format_context *c = context;
    char name[ZI_MAX_KEY];
    zi_key keys[ZI_MAX_FUSED];
    int length = snprintf(name, sizeof name, "%s.weight", layer), count = 0;
    if (length < (int)sizeof name) count = zi_key_parse(name, &c->source->vae_depth, keys);
    if (!count)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, file, layer,
                               "the metadata _quantization_metadata name a layer %.100s, which "
                               "zimage does not know; use another quantization of this model",
                               layer);
    if (c->source->language && zi_key_parse_lm_head(name, &keys[0])) count = 1;
    for (int i = 0; i < count; i++) {
        if (keys[i].component != c->source->component || keys[i].role == ZI_ROLE_UNUSED) continue;
        keys[i].role = ZI_ROLE_FORMAT;
        if (!add_piece(c->pieces, c->checkpoint, NULL, &keys[i], error)) return false;
        c->pieces->list[c->pieces->count - 1].format = format;
    }
    return true;
}

/* Adds the pieces of the source's component in a checkpoint, and sets source->file, if it is NULL,
 * to the path (borrowed) of the file of the first one. Skips other components and unused tensors.
 * Fails for a model or format that is not supported, an unknown name, or short memory; the caller
 * frees the pieces, also then. */
static bool add_pieces(const zi_checkpoint *checkpoint, zi_source *source, zi_pieces *pieces,
                       zi_error *error)
{
    if (!source->language && !zi_recognise_check(checkpoint, checkpoint->files[0].path, error))
        return false;
    if (!zi_formats_check(checkpoint, error)) return false;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *tensor = &checkpoint->tensors[i];
        zi_key keys[ZI_MAX_FUSED];
        int count = zi_key_parse(tensor->name, &source->vae_depth, keys);
        if (!count) return fail_unknown_name(checkpoint, source, tensor, error);
        if (source->language && zi_key_parse_lm_head(tensor->name, &keys[0])) count = 1;
        if (keys[0].component != source->component || keys[0].role == ZI_ROLE_UNUSED) continue;
        if (!source->file) source->file = zi_tensor_file(checkpoint, tensor);
        for (int j = 0; j < count; j++)
            if (!add_piece(pieces, checkpoint, tensor, &keys[j], error)) return false;
    }
    format_context context = {checkpoint, source, pieces};
    return zi_formats_read_metadata(checkpoint, add_declared_format, &context, error);
}

/* For qsort of zi_piece: by canonical name, then role, pieces without tensor last. */
static int by_name_and_role(const void *a, const void *b)
{
    const zi_piece *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (!order) order = (int)x->role - (int)y->role;
    return order ? order : !x->tensor - !y->tensor;
}

/* ---- weights ---- */

/* Sets the entry's dims and shape. The first side is replaced by entry->rows, as the tensor may be
 * a slice of a fused one; a pad token (ZI_TENSOR_ROW) keeps it. */
static void set_shape(zi_entry *entry, const size_t *shape, int dims)
{
    entry->dims = dims;
    memcpy(entry->shape, shape, (size_t)dims * sizeof *shape);
    if (dims > 0 && entry->kind != ZI_TENSOR_ROW) entry->shape[0] = entry->rows;
}

/* Sets the entry's canonical shape, and entry->nhwc for a convolution; nhwc: the files store those
 * as [out, h, w, in]. Fails with ZI_ERROR_BAD_FORMAT when the stored shape does not fit the
 * tensor's kind; the shape is unchanged then. */
static bool set_canonical_shape(const zi_piece *piece, bool nhwc, zi_entry *entry, zi_error *error)
{
    const size_t *s = piece->tensor->shape;
    int dims = piece->tensor->dims;
    switch (piece->kind) {
    case ZI_TENSOR_VECTOR:
        if (dims != 1)
            return zi_piece_fail_shape(
                piece, "it must have one dimension; use another file of this model", error);
        break;
    case ZI_TENSOR_ROW:
        if (dims == 1) {
            set_shape(entry, (size_t[]){1, s[0]}, 2);
            return true;
        }
        if (dims != 2 || s[0] != 1)
            return zi_piece_fail_shape(
                piece, "it must be a single row; use another file of this model", error);
        break;
    case ZI_TENSOR_CONV1X1:
        if (dims == 4 && s[2] == 1 && s[3] == 1) dims = 2;
        /* fall through */
    case ZI_TENSOR_MATRIX:
        if (dims != 2)
            return zi_piece_fail_shape(piece, "it must be a matrix; use another file of this model",
                                       error);
        break;
    case ZI_TENSOR_CONV:
        if (dims != 4)
            return zi_piece_fail_shape(
                piece, "it must have four dimensions; use another file of this model", error);
        entry->nhwc = nhwc;
        if (nhwc) {
            set_shape(entry, (size_t[]){s[0], s[3], s[1], s[2]}, 4);
            return true;
        }
    }
    set_shape(entry, s, dims);
    return true;
}

/* Sets *entry to a plain weight, all but its name. nhwc: convolutions are stored as [out, h, w,
 * in]. Fails with ZI_ERROR_BAD_FORMAT when the stored shape does not fit the kind, or a fused
 * tensor is not a matrix whose rows can be divided; *entry may be changed then. */
static bool init_entry(const zi_piece *piece, bool nhwc, zi_entry *entry, zi_error *error)
{
    const zi_tensor *tensor = piece->tensor;
    size_t n = (size_t)piece->slices;
    if (n > 1 && (tensor->dims != 2 || tensor->shape[0] % n))
        return zi_piece_fail_shape(
            piece,
            "its rows must be those of q, k and v, as many of each; use another file of this model",
            error);
    zi_rows rows = zi_piece_rows(piece);
    *entry = (zi_entry){.kind = piece->kind,
                        .checkpoint = piece->checkpoint,
                        .tensor = tensor,
                        .data = rows.data,
                        .bytes = tensor->bytes / n};
    entry->rows = tensor->dims ? tensor->shape[0] / n : 0;
    entry->row = entry->rows * (size_t)piece->slice;
    return set_canonical_shape(piece, nhwc, entry, error);
}

/* ---- entries ---- */

/* Sets ZI_ERROR_BAD_FORMAT: two tensors have the same role for one name. */
static void fail_twice(const zi_piece *first, const zi_piece *second, zi_error *error)
{
    const char *a = first->tensor->name, *b = second->tensor->name;
    const char *file = zi_piece_file(first), *other = zi_piece_file(second);
    if (!strcmp(file, other))
        zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, file, a,
                        "tensors %s and %s stand for the same part of the model, %s, which may be "
                        "there only once; fetch the file again, or use another file of this model",
                        a, b, first->name);
    else
        zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, file, a,
                        "tensor %s, and tensor %s in %s, stand for the same part of the model, %s, "
                        "which may be there only once; remove the file that does not belong to the "
                        "model",
                        a, b, other, first->name);
}

/* Sets set to the pieces of one name, which come first in `pieces` [count], and returns their
 * number. A format of the metadata counts where there is no marker. 0, with an error: two tensors
 * have the same role. */
static size_t collect_set(const zi_piece *pieces, size_t count, zi_piece_set *set, zi_error *error)
{
    size_t n = 0;
    for (; n < count && strcmp(pieces[n].name, pieces[0].name) == 0; n++) {
        const zi_piece *other = set->role[pieces[n].role];
        if (other && !pieces[n].tensor) continue;
        if (other) {
            fail_twice(other, &pieces[n], error);
            return 0;
        }
        set->role[pieces[n].role] = &pieces[n];
    }
    return n;
}

/* Adds an entry made of the pieces of one name (which is copied), the first of them
 * all->list[first]; source->entries has room. A format of the metadata alone adds none. Returns the
 * number of pieces; 0, with an error and nothing added: two have the same role, the weight is
 * missing, something does not fit, or memory is short. nhwc: convolutions are stored as [out, h, w,
 * in]. group: as in zi_source_create. */
static size_t add_entry(const zi_pieces *all, size_t first, bool nhwc, size_t group,
                        zi_source *source, zi_error *error)
{
    const zi_piece *pieces = &all->list[first];
    zi_piece_set set = {0};
    size_t n = collect_set(pieces, all->count - first, &set, error);
    if (!n || !pieces[0].tensor) return n;
    if (!set.role[ZI_ROLE_WEIGHT]) {
        zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_piece_file(&pieces[0]),
                        pieces[0].tensor->name,
                        "tensor %s is there without the weight it belongs to: the file is "
                        "incomplete; fetch it again",
                        pieces[0].tensor->name);
        return 0;
    }
    zi_entry *entry = &source->entries[source->count];
    if (!init_entry(set.role[ZI_ROLE_WEIGHT], nhwc, entry, error) ||
        !zi_packing_set(&set, all, group, entry, error))
        return 0;
    entry->name = strdup(pieces[0].name);
    if (!entry->name) {
        zi_error_no_memory(error, strlen(pieces[0].name));
        return 0;
    }
    source->count++;
    return n;
}

/* Sorts the pieces and makes source->entries of them, sorted by name; names are copied. False, with
 * an error: the entries so far stay for zi_source_free. */
static bool add_entries(zi_pieces *pieces, size_t group, zi_source *source, zi_error *error)
{
    bool nhwc = false; /* files with MLX names have MLX shapes */
    for (size_t i = 0; i < pieces->count; i++) {
        zi_naming naming = pieces->list[i].naming;
        nhwc = nhwc || naming == ZI_NAMES_MLX || naming == ZI_NAMES_MFLUX;
    }
    if (!pieces->count) return true;
    qsort(pieces->list, pieces->count, sizeof *pieces->list, by_name_and_role);
    source->entries = calloc(pieces->count, sizeof *source->entries);
    if (!source->entries) return zi_error_no_memory(error, pieces->count * sizeof *source->entries);
    for (size_t i = 0, n; i < pieces->count; i += n) {
        n = add_entry(pieces, i, nhwc, group, source, error);
        if (!n) return false;
    }
    return true;
}

/* Creates the source that `source` begins: component and language are set, the rest is zero. group:
 * values per MLX group, or 0. After a failure *out is unchanged and nothing needs freeing. */
static bool collect_entries(const zi_checkpoint *const *checkpoints, size_t count, size_t group,
                            zi_source source, zi_source *out, zi_error *error)
{
    zi_pieces pieces = {0};
    bool ok = true;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < checkpoints[i]->tensor_count; j++)
            zi_vae_depth_update(&source.vae_depth, checkpoints[i]->tensors[j].name);
    for (size_t i = 0; ok && i < count; i++)
        ok = add_pieces(checkpoints[i], &source, &pieces, error);
    ok = ok && add_entries(&pieces, group, &source, error);
    for (size_t i = 0; i < pieces.count; i++) free(pieces.list[i].name);
    free(pieces.list);
    if (!ok) {
        zi_source_free(&source);
        return false;
    }
    *out = source;
    return true;
}

bool zi_source_create(const zi_checkpoint *const *checkpoints, size_t count, zi_component component,
                      size_t group, zi_source *out, zi_error *error)
{
    return collect_entries(checkpoints, count, group, (zi_source){.component = component}, out,
                           error);
}

bool zi_source_create_language(const zi_checkpoint *checkpoint, size_t group, zi_source *out,
                               zi_error *error)
{
    zi_source source = {.component = ZI_COMPONENT_TEXT_ENCODER, .language = true};
    return collect_entries(&checkpoint, 1, group, source, out, error);
}

void zi_source_free(zi_source *source)
{
    for (size_t i = 0; i < source->count; i++) free(source->entries[i].name);
    free(source->entries);
    *source = (zi_source){0};
}

/* For bsearch: compares a name (a string, not a pointer to one) with an entry's. */
static int by_entry_name(const void *name, const void *entry)
{
    return strcmp(name, ((const zi_entry *)entry)->name);
}

const zi_entry *zi_source_find(const zi_source *source, const char *name)
{
    if (!source->count) return NULL;
    return bsearch(name, source->entries, source->count, sizeof *source->entries, by_entry_name);
}

bool zi_source_add(zi_source *source, const zi_entry *entry, zi_error *error)
{
    size_t at = 0;
    zi_entry *grown = realloc(source->entries, (source->count + 1) * sizeof *grown);
    if (grown) source->entries = grown;
    char *name = grown ? strdup(entry->name) : NULL;
    if (!name) return zi_error_no_memory(error, sizeof *grown);
    while (at < source->count && strcmp(grown[at].name, name) < 0) at++;
    memmove(grown + at + 1, grown + at, (source->count - at) * sizeof *grown);
    grown[at] = *entry;
    grown[at].name = name;
    source->count++;
    return true;
}

const char *zi_entry_file(const zi_entry *entry)
{
    return zi_tensor_file(entry->checkpoint, entry->tensor);
}
