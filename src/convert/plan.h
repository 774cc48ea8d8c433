/* What a file in another layout will hold: its tensors, and for each of them where its numbers come
 * from and how they are to be stored. Nothing is read here but names, shapes and scales. */
#ifndef ZI_CONVERT_PLAN_H
#define ZI_CONVERT_PLAN_H

#include "io/formats.h"
#include "io/source.h"

/* How numbers are stored. */
typedef struct {
    zi_packing packing;
    zi_dtype type; /* grouped: of scales and biases, to which numbers are rounded before */
    int bits;      /* grouped */
    size_t group;  /* grouped */
    bool by_row;   /* scaled: a factor for each row */
} zi_value_storage;

/* A tensor to be written: numbers, or what belongs to the numbers of another one. */
typedef struct {
    char *name; /* as stored, with prefix */
    zi_component component;
    zi_tensor_role role;
    const zi_entry *entries[ZI_MAX_FUSED]; /* one below the other, `count` of them */
    int count;
    zi_value_storage storage; /* of the numbers */
    bool copied;              /* they are stored as they are to be */
    bool nhwc;                /* to be stored as [out, h, w, in] */
    zi_dtype type;
    int dims;
    size_t shape[ZI_MAX_DIMS];
    size_t rows, columns; /* of the numbers: the first of two and more dimensions, and the rest */
    size_t bytes;
    size_t index, weight; /* its place among the items, and that of the numbers it belongs to */
    char text[ZI_FORMAT_TEXT]; /* of a marker */
} zi_write_item;

/* What a file will hold, begun as {0}. The entries belong to the sources, which must outlive it. */
typedef struct {
    zi_write_item *items;
    size_t count, capacity;
} zi_write_plan;

/* How the tensors of a layout to write are named; not of ZI_LAYOUT_SAME. */
zi_naming zi_layout_naming(zi_layout_kind layout);

/* Whether a layout has numbers of this precision; zi_naming_check_precision: else the error lists
 * which. */
bool zi_naming_supports(zi_naming layout, zi_precision precision);
bool zi_naming_check_precision(zi_naming layout, zi_precision precision,
                               zi_error *error) ZI_CHECKED;

/* Adds the tensors of a part. prefixed: for a file of several parts. */
bool zi_write_plan_add_component(zi_write_plan *plan, const zi_source *source, zi_naming layout,
                                 zi_precision precision, bool prefixed, zi_error *error) ZI_CHECKED;

/* Puts the items of a file into the order in which they are written: every tensor is aligned to its
 * numbers without gaps, and what is computed with weights stands behind them. */
bool zi_write_plan_sort(zi_write_plan *plan, zi_error *error) ZI_CHECKED;

/* Of all tensors together. */
size_t zi_write_plan_bytes(const zi_write_plan *plan);

void zi_write_plan_free(zi_write_plan *plan);

#endif
