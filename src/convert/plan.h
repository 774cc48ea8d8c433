/* The plan of a file to write: its tensors, the stored tensors that their values come from, and how
 * the values will be stored. Planning reads names, shapes and scales only, no weights. */
#ifndef ZI_CONVERT_PLAN_H
#define ZI_CONVERT_PLAN_H

#include "zimage_models.h"
#include "io/formats.h"
#include "io/source.h"

/* How values are stored: plain, in groups with scales (of MLX or, swizzled, of ComfyUI), or scaled
 * fp8/int8. Values are quantized to MLX's groups of 4 and 8 bits only; what is stored otherwise is
 * copied. */
typedef struct {
    zi_packing packing;
    zi_dtype type;   /* of values; for ZI_GROUPED: of scales and biases */
    int bits;        /* ZI_GROUPED: of a code */
    size_t group;    /* ZI_GROUPED: values per group */
    bool by_row;     /* ZI_SCALED: one scale per row instead of one per tensor */
    zi_codes codes;  /* ZI_GROUPED */
    bool swizzled;   /* ZI_GROUPED: NVFP4 or MXFP8 of ComfyUI */
    size_t rotation; /* ZI_SCALED: of I8 */
} zi_value_storage;

/* One tensor of the output: a weight, or a companion (scales, biases, format marker) of one. */
typedef struct {
    char *name; /* as stored, with prefix; owned by the plan */
    zi_component component;
    zi_tensor_role role;
    const zi_entry *entries[ZI_MAX_FUSED]; /* [count] source tensors, concatenated along rows */
    int count;
    zi_value_storage storage; /* of the weight's values */
    bool copied;              /* the source has this storage: bytes are copied as they are */
    bool nhwc;                /* convolution weights are written as [out, h, w, in] */
    zi_dtype type;
    int dims;
    size_t shape[ZI_MAX_DIMS];
    size_t rows, columns;      /* of the weight as a matrix: first dimension, product of the others;
                                  one row for a vector */
    size_t bytes;              /* of this tensor, without its companions */
    size_t index;              /* position before sorting; used by zi_write_plan_sort only */
    size_t weight;             /* index in the plan of the weight that this item belongs to */
    char text[ZI_FORMAT_TEXT]; /* contents of a format marker */
} zi_write_item;

/* Begins as {0}. Entries are borrowed from the sources, which must outlive the plan. */
typedef struct {
    zi_write_item *items;
    size_t count, capacity;
} zi_write_plan;

/* The tensor names that a layout uses when written. layout must not be ZI_LAYOUT_SAME. */
zi_naming zi_layout_naming(zi_layout_kind layout);

/* Whether a precision quantizes matrices; false for "original", fp32, fp16 and bf16. */
bool zi_precision_quantizes(zi_precision precision);

/* Whether matrices of the component are quantized in a layout: those of the transformer, and in
 * GGUF also those of a text encoder. */
bool zi_naming_quantizes(zi_naming layout, zi_component component);

/* Whether a layout can store a precision; "original", fp32, fp16 and bf16 always. */
bool zi_naming_supports(zi_naming layout, zi_precision precision);

/* Fails with ZI_ERROR_INVALID_ARGUMENT when the layout cannot store the precision; the text lists
 * those it can. */
bool zi_naming_check_precision(zi_naming layout, zi_precision precision,
                               zi_error *error) ZI_CHECKED;

/* Appends all tensors of a component, with the scales, biases and format markers that their storage
 * needs, unsorted. source must outlive the plan. prefixed: names get the component's prefix, as in
 * a file of several components. Fails when a tensor has no name in the layout or a part of a fused
 * one is missing; free the plan then, too. */
bool zi_write_plan_add_component(zi_write_plan *plan, const zi_source *source, zi_naming layout,
                                 zi_precision precision, bool prefixed, zi_error *error) ZI_CHECKED;

/* Sorts the items into the order of the file and updates their `weight` indices: tensors are
 * aligned to their element size without gaps, and companions that are computed during conversion
 * follow their weights. False: out of memory; the plan is unchanged. */
bool zi_write_plan_sort(zi_write_plan *plan, zi_error *error) ZI_CHECKED;

/* Bytes of all tensors together, companions included, without headers. */
size_t zi_write_plan_bytes(const zi_write_plan *plan);

/* Frees the items and zeroes the plan. A zeroed plan is allowed, NULL is not. */
void zi_write_plan_free(zi_write_plan *plan);

#endif
