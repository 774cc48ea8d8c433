/* Stored tensors by the canonical tensors that they are parts of, while a source is made. */
#ifndef ZI_IO_PIECES_H
#define ZI_IO_PIECES_H

#include "io/formats.h"
#include "io/keymap.h"

/* A stored tensor, or a slice of a fused one, with its role for a canonical tensor. */
typedef struct {
    char *name;
    zi_tensor_role role;
    zi_tensor_kind kind;
    zi_naming naming;
    int slice, slices;
    const zi_checkpoint *checkpoint;
    const zi_tensor *tensor; /* NULL: a format that the metadata declare */
    zi_layer_format format;  /* what the metadata declare, if tensor is NULL */
} zi_piece;

typedef struct {
    zi_piece *list; /* [count]; sorted by name, then role, when packings are found */
    size_t count, capacity;
} zi_pieces;

#endif
