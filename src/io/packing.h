/* How the values of a weight are packed: found from the stored tensors that belong to it. Used by
 * source.c only. */
#ifndef ZI_IO_PACKING_H
#define ZI_IO_PACKING_H

#include "io/formats.h"
#include "io/source.h"

/* A stored tensor, or a slice of a fused one, with its role for a canonical tensor. */
typedef struct {
    char *name;
    zi_tensor_role role;
    zi_tensor_kind kind;
    zi_naming naming;
    int slice, slices;
    const zi_checkpoint *checkpoint;
    const zi_tensor *tensor; /* NULL: a format that the metadata declare */
    zi_layer_format format;  /* of such a one */
} zi_piece;

typedef struct {
    zi_piece *list; /* [count]; sorted by name, then role, when packings are found */
    size_t count, capacity;
} zi_pieces;

/* The pieces of one name by role; NULL: absent, but the weight is there. */
typedef struct {
    const zi_piece *role[ZI_ROLE_UNUSED];
} zi_piece_set;

/* Returns the path, owned by the checkpoint, of the file that holds the piece's tensor. */
const char *zi_piece_file(const zi_piece *piece);

/* Returns the rows of a piece, with their data and number of elements: all of its tensor's, or its
 * slice of a fused tensor's. */
zi_rows zi_piece_rows(const zi_piece *piece);

/* Sets ZI_ERROR_BAD_FORMAT with the text "tensor NAME has shape SHAPE, but WANTED" and
 * returns false. */
bool zi_piece_fail_shape(const zi_piece *piece, const char *wanted, zi_error *error);

/* Sets how the entry's values are packed, and its shape, which so far counts stored elements. all:
 * the sorted pieces of the component, whose sides decide where a shape alone does not. group: as in
 * zi_source_create. Checks the declared format, and that a weight without companions needs none.
 * Fails with ZI_ERROR_BAD_FORMAT when companions are missing or do not fit, with
 * ZI_ERROR_UNSUPPORTED for types and formats that are not supported; *entry may be changed then. */
bool zi_packing_set(const zi_piece_set *set, const zi_pieces *all, size_t group, zi_entry *entry,
                    zi_error *error) ZI_CHECKED;

#endif
