/* Sides of a tensor that other tensors of its component imply. */
#ifndef ZI_IO_SIDES_H
#define ZI_IO_SIDES_H

#include "io/pieces.h"

/* The columns of the matrix of this canonical name, from the tensor that gives its input; 0: not
 * known. */
size_t zi_implied_columns(const zi_pieces *all, const char *name);

/* The rows of the matrix of this canonical name, from its bias, the norm of its output, or the
 * tensor that reads it; 0: not known. */
size_t zi_implied_rows(const zi_pieces *all, const char *name);

#endif
