#include "io/source.h"
#include "io/formats.h"
#include "io/recognise.h"

#include <stdlib.h>

/* A stored tensor, or a slice of a fused one, with its role for a canonical tensor. */
struct piece {
    char *name;
    zi_tensor_role role;
    zi_tensor_kind kind;
    zi_naming naming;
    int slice, slices;
    const zi_checkpoint *checkpoint;
    const zi_tensor *tensor;
};

struct pieces {
    struct piece *list;
    size_t count, capacity;
};

/* Appends what a parsed key says about a stored tensor; the canonical name is copied, checkpoint
 * and tensor are borrowed. False: out of memory; *error is set, and nothing was appended. */
static bool add_piece(struct pieces *pieces, const zi_checkpoint *checkpoint,
                      const zi_tensor *tensor, const zi_key *key, zi_error *error)
{
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity ? 2 * pieces->capacity : 64;
        struct piece *grown = realloc(pieces->list, capacity * sizeof *grown);
        if (!grown) return zi_error_no_memory(error, capacity * sizeof *grown);
        pieces->list = grown;
        pieces->capacity = capacity;
    }
    struct piece piece = {.name = strdup(key->name),
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

/* Adds the pieces of the source's component in a checkpoint, and sets source->file, if it is NULL,
 * to the path (borrowed) of the file of the first one. Skips other components and unused tensors.
 * Fails for a model or format that is not supported, or an unknown name; the caller frees the
 * pieces, also then. */
static bool add_pieces(const zi_checkpoint *checkpoint, zi_source *source, struct pieces *pieces,
                       zi_error *error)
{
    if (!source->language && !zi_recognise_check(checkpoint, checkpoint->files[0].path, error))
        return false;
    if (!zi_formats_check(checkpoint, error)) return false;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *tensor = &checkpoint->tensors[i];
        zi_key keys[ZI_MAX_FUSED];
        int count = zi_key_parse(tensor->name, &source->vae_depth, keys);
        if (!count)
            return zi_error_set_in(
                error, ZI_ERROR_UNSUPPORTED, zi_tensor_file(checkpoint, tensor), tensor->name,
                "tensor %s is not part of %s; use the file of such a model", tensor->name,
                source->language ? "a Qwen or Llama model" : "Z-Image");
        if (source->language && zi_key_parse_lm_head(tensor->name, &keys[0])) count = 1;
        if (keys[0].component != source->component || keys[0].role == ZI_ROLE_UNUSED) continue;
        if (!source->file) source->file = zi_tensor_file(checkpoint, tensor);
        for (int j = 0; j < count; j++)
            if (!add_piece(pieces, checkpoint, tensor, &keys[j], error)) return false;
    }
    return true;
}

/* For qsort of struct piece: by canonical name, then role. */
static int by_name_and_role(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (int)x->role - (int)y->role;
}

/* Returns the path, owned by the checkpoint, of the file that holds the piece's tensor. */
static const char *piece_file(const struct piece *piece)
{
    return zi_tensor_file(piece->checkpoint, piece->tensor);
}

/* Returns the rows of a piece, with their data and number of elements: all of its tensor's, or its
 * slice of a fused tensor's. */
static zi_rows piece_rows(const struct piece *piece)
{
    const zi_tensor *tensor = piece->tensor;
    size_t n = (size_t)piece->slices;
    return (zi_rows){tensor, (const uint8_t *)tensor->data + tensor->bytes / n * piece->slice,
                     tensor->count / n};
}

/* Sets ZI_ERROR_BAD_FORMAT with the text "tensor NAME has shape SHAPE; WANTED" and returns
 * false. */
static bool fail_shape(const struct piece *piece, const char *wanted, zi_error *error)
{
    char shape[ZI_SHAPE_TEXT];
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, piece_file(piece), piece->tensor->name,
                           "tensor %s has shape %s; %s", piece->tensor->name,
                           zi_shape_text(piece->tensor->shape, piece->tensor->dims, shape), wanted);
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
static bool set_canonical_shape(const struct piece *piece, bool nhwc, zi_entry *entry,
                                zi_error *error)
{
    const size_t *s = piece->tensor->shape;
    int dims = piece->tensor->dims;
    switch (piece->kind) {
    case ZI_TENSOR_VECTOR:
        if (dims != 1) return fail_shape(piece, "it should have one dimension", error);
        break;
    case ZI_TENSOR_ROW:
        if (dims == 1) {
            set_shape(entry, (size_t[]){1, s[0]}, 2);
            return true;
        }
        if (dims != 2 || s[0] != 1) return fail_shape(piece, "it should be a single row", error);
        break;
    case ZI_TENSOR_CONV1X1:
        if (dims == 4 && s[2] == 1 && s[3] == 1) dims = 2;
        /* fall through */
    case ZI_TENSOR_MATRIX:
        if (dims != 2) return fail_shape(piece, "it should be a matrix", error);
        break;
    case ZI_TENSOR_CONV:
        if (dims != 4) return fail_shape(piece, "it should have four dimensions", error);
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
static bool init_entry(const struct piece *piece, bool nhwc, zi_entry *entry, zi_error *error)
{
    const zi_tensor *tensor = piece->tensor;
    size_t n = (size_t)piece->slices;
    if (n > 1 && (tensor->dims != 2 || tensor->shape[0] % n))
        return fail_shape(piece, "its rows should be q, k and v, as many of each", error);
    zi_rows rows = piece_rows(piece);
    *entry = (zi_entry){.kind = piece->kind,
                        .checkpoint = piece->checkpoint,
                        .tensor = tensor,
                        .data = rows.data,
                        .bytes = tensor->bytes / n};
    entry->rows = tensor->dims ? tensor->shape[0] / n : 0;
    entry->row = entry->rows * (size_t)piece->slice;
    return set_canonical_shape(piece, nhwc, entry, error);
}

/* ---- companions ---- */

/* Bits per value (3, 4, 5, 6 or 8) of a row of packed 32-bit words (their number is `words`) with
 * `groups` groups of `group` values, group not 0; 0: the sizes do not fit. */
static int infer_bits(size_t words, size_t groups, size_t group)
{
    size_t values;
    if (!groups || words > SIZE_MAX / 32 || __builtin_mul_overflow(groups, group, &values))
        return 0;
    size_t bits = words * 32 / values;
    bool known = bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8;
    return known && bits * values == words * 32 ? (int)bits : 0;
}

/* Sets up MLX quantization: weight U32 [rows, words], scales and biases [rows, groups], F32, F16 or
 * BF16. group 0: the first of 64, 32 and 128 that fits. Fails with ZI_ERROR_BAD_FORMAT when shapes
 * or types do not fit, with ZI_ERROR_UNSUPPORTED for other scales, and bits other than 4 and 8.
 * *entry may be changed then. */
static bool set_mlx_groups(const struct piece *weight, const struct piece *scales,
                           const struct piece *biases, size_t group, zi_entry *entry,
                           zi_error *error)
{
    static const size_t known[] = {64, 32, 128};
    const zi_tensor *w = weight->tensor, *s = scales->tensor, *b = biases->tensor;
    if (w->type != ZI_U32 || w->dims != 2)
        return fail_shape(
            weight, "beside scales and biases it should be a matrix of U32; fetch the file again",
            error);
    if (s->dims != 2 || s->shape[0] != w->shape[0] || scales->slices != weight->slices)
        return fail_shape(
            scales, "it should have a row for each row of its weight; fetch the file again", error);
    if (b->dims != 2 || b->shape[0] != s->shape[0] || b->shape[1] != s->shape[1] ||
        b->type != s->type)
        return fail_shape(biases,
                          "it should be of the shape and type of the scales; fetch the file again",
                          error);
    if (!zi_dtype_computes(s->type))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, piece_file(scales), s->name,
                               "tensor %s is %s; scales should be F32, F16 or BF16", s->name,
                               zi_dtype_name(s->type));
    for (int i = 0; !entry->bits && i < 3; i++) {
        entry->group = group ? group : known[i];
        entry->bits = infer_bits(w->shape[1], s->shape[1], entry->group);
    }
    if (!entry->bits)
        return fail_shape(
            scales, "no group size and number of bits fit it and its weight; fetch the file again",
            error);
    if (entry->bits != 4 && entry->bits != 8)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, piece_file(weight), w->name,
                               "tensor %s has %d-bit values; only 4 and 8 bits are supported",
                               w->name, entry->bits);
    entry->packing = ZI_GROUPED;
    entry->shape[1] = s->shape[1] * entry->group;
    entry->scales = piece_rows(scales);
    entry->biases = piece_rows(biases);
    return true;
}

/* Sets up fp8 or int8 with one scale (F32, F16 or BF16) for the tensor or one per row. Fails with
 * ZI_ERROR_UNSUPPORTED for types that do not fit, among them those of NVFP4 and MXFP8, with
 * ZI_ERROR_BAD_FORMAT for shapes. *entry may be changed then. */
static bool set_scale(const struct piece *weight, const struct piece *scale, zi_entry *entry,
                      zi_error *error)
{
    const zi_tensor *w = weight->tensor, *f = scale->tensor;
    if (f->type == ZI_U8 || f->type == ZI_F8_E4M3)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, piece_file(scale), f->name,
                               "tensor %s is of an %s file, which is not supported; use the bf16 "
                               "or fp8 file of this model",
                               f->name, f->type == ZI_U8 ? "MXFP8" : "NVFP4");
    if (!zi_dtype_computes(f->type))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, piece_file(scale), f->name,
                               "tensor %s is %s; a scale should be F32, F16 or BF16", f->name,
                               zi_dtype_name(f->type));
    if (w->type != ZI_F8_E4M3 && w->type != ZI_F8_E5M2 && w->type != ZI_I8)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, piece_file(scale), f->name,
                               "tensor %s is a scale of %s, which is %s; fp8 or I8 is expected",
                               f->name, w->name, zi_dtype_name(w->type));
    bool column = f->dims == 1 || (f->dims == 2 && f->shape[1] == 1);
    if (f->count == 1)
        entry->scales = (zi_rows){f, f->data, 1};
    else if (column && f->shape[0] == w->shape[0] && scale->slices == weight->slices)
        entry->scales = piece_rows(scale);
    else
        return fail_shape(
            scale,
            "it should have one value, or one for each row of its weight; fetch the file again",
            error);
    entry->packing = ZI_SCALED;
    return true;
}

/* Fails for a weight without companions that is of integers, booleans or F64: with
 * ZI_ERROR_BAD_FORMAT for I8 and U32, which need companions, else with ZI_ERROR_UNSUPPORTED. F8
 * passes. */
static bool check_type_without_scales(const struct piece *weight, zi_error *error)
{
    zi_dtype type = weight->tensor->type;
    const char *lacks =
        type == ZI_I8    ? "its weight_scale is missing; fetch the file again"
        : type == ZI_U32 ? "its scales and biases are missing; fetch the file again"
        : type == ZI_U8
            ? "packed values of an unknown format; use the bf16 or fp8 file of this model"
            : "not a type of weights; use the bf16 or fp8 file of this model";
    bool whole = (type >= ZI_I8 && type <= ZI_BOOL) || type == ZI_F64;
    zi_error_code code =
        type == ZI_I8 || type == ZI_U32 ? ZI_ERROR_BAD_FORMAT : ZI_ERROR_UNSUPPORTED;
    return !whole ||
           zi_error_set_in(error, code, piece_file(weight), weight->tensor->name,
                           "tensor %s is %s: %s", weight->tensor->name, zi_dtype_name(type), lacks);
}

/* Sets the entry's quantization from the pieces of its name by role; NULL: absent, but the weight
 * is there. Checks the format marker, and that a weight without companions needs none. group: as in
 * set_mlx_groups. Fails when scales or biases are missing or do not fit; *entry may be changed
 * then. */
static bool set_packing(const struct piece *const by_role[ZI_ROLE_UNUSED], size_t group,
                        zi_entry *entry, zi_error *error)
{
    const struct piece *weight = by_role[ZI_ROLE_WEIGHT], *scales = by_role[ZI_ROLE_GROUP_SCALES],
                       *biases = by_role[ZI_ROLE_GROUP_BIASES], *scale = by_role[ZI_ROLE_SCALE],
                       *format = by_role[ZI_ROLE_FORMAT];
    if (format &&
        !zi_formats_check_layer(format->checkpoint, format->tensor, weight->tensor->type, error))
        return false;
    if (scales && biases) return set_mlx_groups(weight, scales, biases, group, entry, error);
    if (scales || biases)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, piece_file(scales ? scales : biases),
            (scales ? scales : biases)->tensor->name,
            "tensor %s is there without its %s: the file is incomplete; fetch it again",
            (scales ? scales : biases)->tensor->name, scales ? "biases" : "scales");
    return scale ? set_scale(weight, scale, entry, error)
                 : check_type_without_scales(weight, error);
}

/* ---- entries ---- */

/* Adds an entry made of the pieces of one name (which is copied), which come first in `pieces`
 * [count]; source->entries has room. Returns their number; 0, with an error and nothing added: two
 * have the same role, the weight is missing, something does not fit, or memory is short. group: as
 * in zi_source_create. */
static size_t add_entry(const struct piece *pieces, size_t count, bool nhwc, size_t group,
                        zi_source *source, zi_error *error)
{
    const struct piece *by_role[ZI_ROLE_UNUSED] = {0};
    size_t n = 0;
    for (; n < count && strcmp(pieces[n].name, pieces[0].name) == 0; n++) {
        const struct piece *other = by_role[pieces[n].role];
        if (other) {
            zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, piece_file(other), other->tensor->name,
                            "tensors %s and %s (in %s) are both %s; remove one of the files, or "
                            "fetch the model again",
                            other->tensor->name, pieces[n].tensor->name, piece_file(&pieces[n]),
                            pieces[n].name);
            return 0;
        }
        by_role[pieces[n].role] = &pieces[n];
    }
    if (!by_role[ZI_ROLE_WEIGHT]) {
        zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, piece_file(&pieces[0]), pieces[0].tensor->name,
                        "tensor %s is there without the weight it belongs to: the file is "
                        "incomplete; fetch it again",
                        pieces[0].tensor->name);
        return 0;
    }
    zi_entry *entry = &source->entries[source->count];
    if (!init_entry(by_role[ZI_ROLE_WEIGHT], nhwc, entry, error) ||
        !set_packing(by_role, group, entry, error))
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
static bool add_entries(struct pieces *pieces, size_t group, zi_source *source, zi_error *error)
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
        n = add_entry(&pieces->list[i], pieces->count - i, nhwc, group, source, error);
        if (!n) return false;
    }
    return true;
}

/* Creates the source that `source` begins: component and language are set, the rest is zero. group:
 * values per MLX group, or 0. After a failure *out is unchanged and nothing needs freeing. */
static bool collect_entries(const zi_checkpoint *const *checkpoints, size_t count, size_t group,
                            zi_source source, zi_source *out, zi_error *error)
{
    struct pieces pieces = {0};
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
