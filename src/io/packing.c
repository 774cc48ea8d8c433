#include "io/packing.h"
#include "base/matrix.h"
#include "io/sides.h"

#include <stdio.h>

/* ---- pieces ---- */

const char *zi_piece_file(const zi_piece *piece)
{
    return zi_tensor_file(piece->checkpoint, piece->tensor);
}

zi_rows zi_piece_rows(const zi_piece *piece)
{
    const zi_tensor *tensor = piece->tensor;
    size_t n = (size_t)piece->slices;
    return (zi_rows){tensor, (const uint8_t *)tensor->data + tensor->bytes / n * piece->slice,
                     tensor->count / n};
}

bool zi_piece_fail_shape(const zi_piece *piece, const char *wanted, zi_error *error)
{
    char shape[ZI_SHAPE_TEXT];
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_piece_file(piece), piece->tensor->name,
                           "tensor %s has shape %s, but %s", piece->tensor->name,
                           zi_shape_text(piece->tensor->shape, piece->tensor->dims, shape), wanted);
}

/* Sets ZI_ERROR_UNSUPPORTED with the text "tensor NAME is TYPE, but WANTED" and returns false. */
static bool fail_type(const zi_piece *piece, const char *wanted, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, zi_piece_file(piece), piece->tensor->name,
                           "tensor %s is %s, but %s", piece->tensor->name,
                           zi_dtype_name(piece->tensor->type), wanted);
}

/* Sets ZI_ERROR_BAD_FORMAT: `piece` is there without its companion (its name's last part), and
 * returns false. */
static bool fail_alone(const zi_piece *piece, const char *companion, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_piece_file(piece), piece->tensor->name,
                           "tensor %s is there, but the tensor %s that belongs to it is missing: "
                           "the file is incomplete; "
                           "fetch it again, or use another quantization of this model",
                           piece->tensor->name, companion);
}

/* Sets ZI_ERROR_BAD_FORMAT: only one of a weight and its companion has q, k and v in one tensor.
 * Returns false. */
static bool fail_fused(const zi_piece *weight, const zi_piece *companion, zi_error *error)
{
    return zi_error_set_in(
        error, ZI_ERROR_BAD_FORMAT, zi_piece_file(companion), companion->tensor->name,
        "tensor %s belongs to %s, but only %s has q, k and v in one tensor; use another "
        "quantization of this model",
        companion->tensor->name, weight->tensor->name,
        (companion->slices > weight->slices ? companion : weight)->tensor->name);
}

/* The multiple of `multiple` (not 0) that is n or next after it. */
static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* ---- MLX ---- */

/* Bits per value (2 to 6 or 8) of a row of packed 32-bit words (their number is `words`) with
 * `groups` groups of `group` values, group not 0; 0: the sizes do not fit. */
static int infer_bits(size_t words, size_t groups, size_t group)
{
    size_t values;
    if (!groups || words > SIZE_MAX / 32 || __builtin_mul_overflow(groups, group, &values))
        return 0;
    size_t bits = words * 32 / values;
    bool known = (bits >= 2 && bits <= 6) || bits == 8;
    return known && bits * values == words * 32 ? (int)bits : 0;
}

/* Sets the entry's bits and group: those with `columns` values in a row (0: not known), of which
 * `group` comes first, if it is one of MLX's, then 4 and 8 bits in groups of 64, 32, 128, then
 * other bits. They stay 0 if nothing fits. */
static void choose_group(size_t words, size_t groups, size_t group, size_t columns, zi_entry *entry)
{
    const size_t sizes[] = {group, 64, 32, 128, 64, 32, 128};
    bool usual = group == 32 || group == 64 || group == 128;
    for (int i = usual ? 0 : 1; !entry->bits && i < 7; i++) {
        int bits = infer_bits(words, groups, sizes[i]);
        if (!bits || (columns && groups * sizes[i] != columns)) continue;
        if (i >= 1 && i <= 3 && bits != 4 && bits != 8) continue;
        entry->bits = bits;
        entry->group = sizes[i];
    }
}

/* Fails with ZI_ERROR_BAD_FORMAT unless the biases of a weight are like its scales. */
static bool check_mlx_biases(const zi_piece *weight, const zi_piece *scales, const zi_piece *biases,
                             zi_error *error)
{
    const zi_tensor *s = scales->tensor, *b = biases->tensor;
    char found[ZI_SHAPE_TEXT], wanted[ZI_SHAPE_TEXT];
    if (biases->slices != weight->slices) return fail_fused(weight, biases, error);
    if (b->dims == 2 && b->shape[0] == s->shape[0] && b->shape[1] == s->shape[1] &&
        b->type == s->type)
        return true;
    return zi_error_set_in(
        error, ZI_ERROR_BAD_FORMAT, zi_piece_file(biases), b->name,
        "tensor %s has shape %s and type %s, but its scales, %s, have shape %s and type %s, and "
        "both must be the same; use another quantization of this model",
        b->name, zi_shape_text(b->shape, b->dims, found), zi_dtype_name(b->type), s->name,
        zi_shape_text(s->shape, s->dims, wanted), zi_dtype_name(s->type));
}

/* Sets up MLX's affine quantization: weight U32 [rows, words], scales and biases [rows, groups],
 * F32, F16 or BF16. columns: the width that others imply, 0: unknown. Fails with
 * ZI_ERROR_BAD_FORMAT when shapes do not fit, with ZI_ERROR_UNSUPPORTED for other types. */
static bool set_mlx_affine(const zi_piece_set *set, size_t group, size_t columns, zi_entry *entry,
                           zi_error *error)
{
    const zi_piece *weight = set->role[ZI_ROLE_WEIGHT], *scales = set->role[ZI_ROLE_GROUP_SCALES],
                   *biases = set->role[ZI_ROLE_GROUP_BIASES];
    const zi_tensor *w = weight->tensor, *s = scales->tensor;
    if (!check_mlx_biases(weight, scales, biases, error)) return false;
    if (!zi_dtype_computes(s->type))
        return fail_type(scales,
                         "scales must be F32, F16 or BF16; use another quantization of this model",
                         error);
    choose_group(w->shape[1], s->shape[1], group, columns, entry);
    if (!entry->bits)
        return zi_piece_fail_shape(scales,
                                   "MLX has no group size and number of bits for which this shape "
                                   "fits the weight; use another quantization of this model",
                                   error);
    entry->scale_type = s->type;
    entry->biases = zi_piece_rows(biases);
    return true;
}

/* Sets up one of MLX's modes mxfp4, mxfp8 and nvfp4, which have scales of U8 and no biases: the
 * words per scale tell which. Fails with ZI_ERROR_BAD_FORMAT when no mode fits. */
static bool set_mlx_mode(const zi_piece_set *set, zi_entry *entry, zi_error *error)
{
    static const struct {
        size_t words; /* per scale */
        zi_codes codes;
        int bits;
        size_t group;
        zi_dtype scale_type;
    } modes[] = {
        {4, ZI_CODES_E2M1, 4, 32, ZI_F8_E8M0}, /* mxfp4 */
        {8, ZI_CODES_E4M3, 8, 32, ZI_F8_E8M0}, /* mxfp8 */
        {2, ZI_CODES_E2M1, 4, 16, ZI_F8_E4M3}, /* nvfp4 */
    };
    const zi_piece *weight = set->role[ZI_ROLE_WEIGHT], *scales = set->role[ZI_ROLE_GROUP_SCALES];
    size_t words = weight->tensor->shape[1], groups = scales->tensor->shape[1];
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (!groups || words % groups || words / groups != modes[i].words) continue;
        entry->codes = modes[i].codes;
        entry->bits = modes[i].bits;
        entry->group = modes[i].group;
        entry->scale_type = modes[i].scale_type;
        return true;
    }
    return zi_piece_fail_shape(scales,
                               "scales of type U8 without biases must have the shape of MLX's mode "
                               "mxfp4, mxfp8 or nvfp4; use another quantization of this model",
                               error);
}

/* Fails with ZI_ERROR_BAD_FORMAT unless the weight is a matrix of packed words with a row of scales
 * for each of its rows. */
static bool check_mlx_rows(const zi_piece *weight, const zi_piece *scales, zi_error *error)
{
    const zi_tensor *w = weight->tensor, *s = scales->tensor;
    char wanted[160];
    if (w->type != ZI_U32 || w->dims != 2) {
        snprintf(wanted, sizeof wanted,
                 "it is of type %s, and with scales like those of MLX it must be a matrix of type "
                 "U32; use another quantization of this model",
                 zi_dtype_name(w->type));
        return zi_piece_fail_shape(weight, wanted, error);
    }
    if (scales->slices != weight->slices) return fail_fused(weight, scales, error);
    if (s->dims == 2 && s->shape[0] == w->shape[0]) return true;
    snprintf(wanted, sizeof wanted,
             "it must be a matrix of %zu rows, one for each row of its weight; use another "
             "quantization of this model",
             w->shape[0]);
    return zi_piece_fail_shape(scales, wanted, error);
}

/* Sets up MLX quantization of a weight that has scales or biases. columns: as in set_mlx_affine. */
static bool set_mlx(const zi_piece_set *set, size_t group, size_t columns, zi_entry *entry,
                    zi_error *error)
{
    const zi_piece *weight = set->role[ZI_ROLE_WEIGHT], *scales = set->role[ZI_ROLE_GROUP_SCALES],
                   *biases = set->role[ZI_ROLE_GROUP_BIASES];
    if (!scales) return fail_alone(biases, "scales", error);
    if (!biases && scales->tensor->type != ZI_U8) return fail_alone(scales, "biases", error);
    if (!check_mlx_rows(weight, scales, error) ||
        !(biases ? set_mlx_affine(set, group, columns, entry, error)
                 : set_mlx_mode(set, entry, error)))
        return false;
    entry->packing = ZI_GROUPED;
    entry->shape[1] = entry->padded_columns = scales->tensor->shape[1] * entry->group;
    entry->scales = zi_piece_rows(scales);
    if (!columns || columns == entry->shape[1]) return true;
    char wanted[160];
    snprintf(wanted, sizeof wanted,
             "unpacked it has %zu columns, where other tensors of the model need %zu; use another "
             "file of this model",
             entry->shape[1], columns);
    return zi_piece_fail_shape(weight, wanted, error);
}

/* ---- ComfyUI ---- */

/* Fails with ZI_ERROR_BAD_FORMAT unless the scale has a value for each row of the weight. */
static bool check_row_scales(const zi_piece *weight, const zi_piece *scale, zi_error *error)
{
    const zi_tensor *f = scale->tensor;
    size_t rows = weight->tensor->shape[0];
    char wanted[160];
    if (scale->slices != weight->slices) return fail_fused(weight, scale, error);
    if ((f->dims == 1 || (f->dims == 2 && f->shape[1] == 1)) && f->shape[0] == rows) return true;
    snprintf(wanted, sizeof wanted,
             "it must have one value, or one column of %zu values (one for each row of its "
             "weight); use another quantization of this model",
             rows);
    return zi_piece_fail_shape(scale, wanted, error);
}

/* Sets up fp8 or int8 with one scale (F32, F16 or BF16) for the tensor or one per row. Fails with
 * ZI_ERROR_UNSUPPORTED for types that do not fit, with ZI_ERROR_BAD_FORMAT for shapes. *entry may
 * be changed then. */
static bool set_scale(const zi_piece *weight, const zi_piece *scale, zi_entry *entry,
                      zi_error *error)
{
    const zi_tensor *w = weight->tensor, *f = scale->tensor;
    if (!zi_dtype_computes(f->type))
        return fail_type(scale,
                         "a scale must be F32, F16 or BF16; use another quantization of this model",
                         error);
    if (w->type != ZI_F8_E4M3 && w->type != ZI_F8_E5M2 && w->type != ZI_I8)
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, zi_piece_file(scale), f->name,
            "tensor %s is a scale of %s, which is of type %s, but only weights of type F8_E4M3, "
            "F8_E5M2 (fp8) or I8 can have scales; use another quantization of this model",
            f->name, w->name, zi_dtype_name(w->type));
    if (f->count == 1)
        entry->scales = (zi_rows){f, f->data, 1};
    else if (!check_row_scales(weight, scale, error))
        return false;
    else
        entry->scales = zi_piece_rows(scale);
    entry->packing = ZI_SCALED;
    entry->scale_type = f->type;
    return true;
}

/* Sets the rotation of an int8 weight. Fails with ZI_ERROR_BAD_FORMAT unless it divides a row. */
static bool set_rotation(const zi_piece *weight, size_t rotation, zi_entry *entry, zi_error *error)
{
    const zi_tensor *w = weight->tensor;
    entry->rotation = rotation;
    if (!rotation || (entry->dims == 2 && w->shape[1] % rotation == 0)) return true;
    char shape[ZI_SHAPE_TEXT];
    return zi_error_set_in(
        error, ZI_ERROR_BAD_FORMAT, zi_piece_file(weight), w->name,
        "tensor %s has shape %s, but the quantization of this file needs a matrix with a multiple "
        "of %zu columns (\"convrot_groupsize\"); use another quantization of this model",
        w->name, zi_shape_text(w->shape, w->dims, shape), rotation);
}

/* Sets the factor of NVFP4's scales, one value of F32, F16 or BF16. */
static bool set_factor(const zi_piece_set *set, zi_entry *entry, zi_error *error)
{
    const zi_piece *factor = set->role[ZI_ROLE_TENSOR_SCALE];
    if (!factor) return fail_alone(set->role[ZI_ROLE_WEIGHT], "weight_scale_2", error);
    if (!zi_dtype_computes(factor->tensor->type))
        return fail_type(factor,
                         "a scale must be F32, F16 or BF16; use another quantization of this model",
                         error);
    if (factor->tensor->count != 1)
        return zi_piece_fail_shape(
            factor, "it must have one value; use another quantization of this model", error);
    entry->factor = (zi_rows){factor->tensor, factor->tensor->data, 1};
    return true;
}

/* Replaces the entry's sides, which are multiples of its group, by those that other tensors imply,
 * if these are the same when they are padded. The rows of a slice are not padded. */
static void remove_padding(const zi_pieces *all, const zi_piece *weight, zi_entry *entry)
{
    size_t padding = entry->group;
    size_t rows = weight->slices == 1 ? zi_implied_rows(all, weight->name) : 0;
    size_t columns = zi_implied_columns(all, weight->name);
    if (rows && rows <= entry->shape[0] && round_up(rows, padding) == entry->shape[0])
        entry->shape[0] = entry->rows = rows;
    if (columns && columns <= entry->shape[1] && round_up(columns, padding) == entry->shape[1])
        entry->shape[1] = columns;
}

/* Fails with ZI_ERROR_BAD_FORMAT unless the scales of a weight [rows, columns] are swizzled ones of
 * this group and of `type`: F8_E4M3 (NVFP4) or F8_E8M0 (MXFP8), for which U8 passes, too. */
static bool check_swizzled(const zi_piece *weight, const zi_piece *scales, size_t columns,
                           size_t group, zi_dtype type, zi_error *error)
{
    const zi_tensor *s = scales->tensor;
    size_t rows = zi_swizzled_rows(weight->tensor->shape[0]);
    size_t wide = zi_swizzled_groups(columns / group);
    char wanted[160];
    bool mxfp8 = type == ZI_F8_E8M0; /* else NVFP4 */
    if (s->type != type && !(s->type == ZI_U8 && mxfp8)) {
        snprintf(wanted, sizeof wanted,
                 "scales of %s, the format that the file gives for this weight, must be %s; use "
                 "another quantization of this model",
                 mxfp8 ? "MXFP8" : "NVFP4", mxfp8 ? "U8 or F8_E8M0" : "F8_E4M3");
        return fail_type(scales, wanted, error);
    }
    if (scales->slices != weight->slices) return fail_fused(weight, scales, error);
    if (s->dims == 2 && s->shape[0] == rows && s->shape[1] == wide) return true;
    snprintf(wanted, sizeof wanted,
             "for its weight it must be [%zu, %zu]; use another quantization of this model", rows,
             wide);
    return zi_piece_fail_shape(scales, wanted, error);
}

/* Sets up NVFP4 (weight U8 [rows, columns / 2], scales E4M3 per 16 columns, and a factor) or MXFP8
 * (weight F8_E4M3, scales E8M0 per 32 columns), both with swizzled scales, rows and columns padded
 * to whole groups. Fails with ZI_ERROR_BAD_FORMAT when companions are missing or do not fit. */
static bool set_blocks(const zi_piece_set *set, const zi_pieces *all, zi_quantization format,
                       zi_entry *entry, zi_error *error)
{
    const zi_piece *weight = set->role[ZI_ROLE_WEIGHT], *scales = set->role[ZI_ROLE_SCALE];
    bool four = format == ZI_QUANTIZATION_NVFP4;
    size_t group = four ? 16 : 32, columns = entry->shape[1] * (four ? 2 : 1);
    zi_dtype type = four ? ZI_F8_E4M3 : ZI_F8_E8M0;
    if (!scales) return fail_alone(weight, "weight_scale", error);
    if (weight->tensor->dims != 2 || columns % group || !columns)
        return zi_piece_fail_shape(weight,
                                   four ? "as NVFP4 its columns should be a multiple of 8 bytes; "
                                          "fetch the file again"
                                        : "as MXFP8 it must be a matrix whose columns are a "
                                          "multiple of 32; use another quantization of this model",
                                   error);
    if (!check_swizzled(weight, scales, columns, group, type, error)) return false;
    if (four && !set_factor(set, entry, error)) return false;
    entry->packing = ZI_GROUPED;
    entry->codes = four ? ZI_CODES_E2M1_HIGH : ZI_CODES_E4M3;
    entry->bits = four ? 4 : 8;
    entry->group = group;
    entry->scale_type = type;
    entry->swizzled = true;
    entry->scales = (zi_rows){scales->tensor, scales->tensor->data, scales->tensor->count};
    entry->shape[1] = entry->padded_columns = columns;
    remove_padding(all, weight, entry);
    return true;
}

/* Fails for a weight without companions that is of integers, booleans, exponents or F64: with
 * ZI_ERROR_BAD_FORMAT for I8 and U32, which need companions, else with ZI_ERROR_UNSUPPORTED. F8
 * passes. */
static bool check_type_without_scales(const zi_piece *weight, zi_error *error)
{
    zi_dtype type = weight->tensor->type;
    const char *lacks =
        type == ZI_I8    ? "the tensor weight_scale that belongs to it is missing; fetch the file "
                           "again, or use the bf16 or fp8 file of this model"
        : type == ZI_U32 ? "the tensors scales and biases that belong to it are missing; fetch the "
                           "file again, or use another quantization of this model"
        : type == ZI_U8
            ? "packed values of an unknown format; use the bf16 or fp8 file of this model"
            : "not a type of weights; use the bf16 or fp8 file of this model";
    bool whole = (type >= ZI_I8 && type <= ZI_BOOL) || type == ZI_F64 || type == ZI_F8_E8M0;
    zi_error_code code =
        type == ZI_I8 || type == ZI_U32 ? ZI_ERROR_BAD_FORMAT : ZI_ERROR_UNSUPPORTED;
    return !whole ||
           zi_error_set_in(error, code, zi_piece_file(weight), weight->tensor->name,
                           "tensor %s is %s: %s", weight->tensor->name, zi_dtype_name(type), lacks);
}

/* Sets *out to what the file declares of the weight: by its marker, or else in the metadata; of
 * kind ZI_QUANTIZATION_NONE: nothing. Fails with ZI_ERROR_BAD_FORMAT if the weight is of another
 * type. */
static bool read_format(const zi_piece_set *set, zi_layer_format *out, zi_error *error)
{
    const zi_piece *declared = set->role[ZI_ROLE_FORMAT], *weight = set->role[ZI_ROLE_WEIGHT];
    *out = (zi_layer_format){0};
    if (!declared) return true;
    if (!declared->tensor)
        *out = declared->format;
    else if (!zi_formats_read_marker(declared->checkpoint, declared->tensor, out, error))
        return false;
    zi_dtype wanted = zi_quantization_type(out->kind);
    if (wanted == weight->tensor->type) return true;
    const char *by = declared->tensor ? declared->tensor->name : "_quantization_metadata";
    return zi_error_set_in(
        error, ZI_ERROR_BAD_FORMAT, zi_piece_file(weight), by,
        "%s %s says that the quantization is %s, with weights of type %s, but tensor %s is of type "
        "%s: the two do not belong together; use another quantization of this model",
        declared->tensor ? "tensor" : "metadata", by, zi_quantization_name(out->kind),
        zi_dtype_name(wanted), weight->tensor->name, zi_dtype_name(weight->tensor->type));
}

/* Checks a weight with scales whose format nothing declares. Fails with ZI_ERROR_UNSUPPORTED if
 * they are of a type of NVFP4 or MXFP8: the order of their values is not known then. */
static bool check_undeclared_scales(const zi_piece *weight, const zi_piece *scale, zi_error *error)
{
    zi_dtype type = scale->tensor->type;
    if (type != ZI_U8 && type != ZI_F8_E4M3 && type != ZI_F8_E8M0) return true;
    return zi_error_set_in(
        error, ZI_ERROR_UNSUPPORTED, zi_piece_file(weight), scale->tensor->name,
        "tensor %s has scales of type %s, as in NVFP4 and MXFP8, but the file does not say which "
        "format it is (a tensor comfy_quant or the metadata _quantization_metadata would say it); "
        "use a file that was made for ComfyUI, or the bf16 or fp8 file of this model",
        weight->tensor->name, zi_dtype_name(type));
}

bool zi_packing_set(const zi_piece_set *set, const zi_pieces *all, size_t group, zi_entry *entry,
                    zi_error *error)
{
    const zi_piece *weight = set->role[ZI_ROLE_WEIGHT], *scale = set->role[ZI_ROLE_SCALE],
                   *factor = set->role[ZI_ROLE_TENSOR_SCALE];
    const zi_piece *mlx = set->role[ZI_ROLE_GROUP_SCALES] ? set->role[ZI_ROLE_GROUP_SCALES]
                                                          : set->role[ZI_ROLE_GROUP_BIASES];
    const zi_piece *comfyui = scale ? scale : factor;
    zi_layer_format format;
    if (!read_format(set, &format, error)) return false;
    if (mlx && comfyui)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_piece_file(comfyui),
                               comfyui->tensor->name,
                               "tensors %s and %s belong to the same weight, but a weight has "
                               "either scales of ComfyUI (as the first) or of MLX (as the second): "
                               "the file was made wrongly; use another quantization of this model",
                               comfyui->tensor->name, mlx->tensor->name);
    if (mlx && format.kind)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, zi_piece_file(mlx), mlx->tensor->name,
            "tensor %s is quantized in two ways at once: it has the scales of MLX and the mark of "
            "a ComfyUI format (a tensor comfy_quant or the metadata _quantization_metadata): the "
            "file was made wrongly; use another quantization of this model",
            weight->tensor->name);
    if (mlx) return set_mlx(set, group, zi_implied_columns(all, weight->name), entry, error);
    if (scale && !format.kind && !check_undeclared_scales(weight, scale, error)) return false;
    if (factor && format.kind != ZI_QUANTIZATION_NVFP4)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, zi_piece_file(factor),
                               factor->tensor->name,
                               "tensor %s is a scale of the NVFP4 format, but the file does not "
                               "say that %s is in that format (a tensor comfy_quant or the "
                               "metadata _quantization_metadata would say it); use an NVFP4 file "
                               "that was made for ComfyUI, or the bf16 or fp8 file of this model",
                               factor->tensor->name, weight->tensor->name);
    if (format.kind == ZI_QUANTIZATION_NVFP4 || format.kind == ZI_QUANTIZATION_MXFP8)
        return set_blocks(set, all, format.kind, entry, error);
    return scale ? set_scale(weight, scale, entry, error) &&
                       set_rotation(weight, format.rotation, entry, error)
                 : check_type_without_scales(weight, error);
}
