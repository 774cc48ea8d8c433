/* How the values of a weight are packed: found from the stored tensors that belong to it. */
#ifndef ZI_IO_PACKING_H
#define ZI_IO_PACKING_H

#include "io/pieces.h"
#include "io/source.h"

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
