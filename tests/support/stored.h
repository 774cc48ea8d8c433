/* Weights of every kind that src/io/source.c and src/model/weights.c make of files, with random
 * content. */
#ifndef ZI_TEST_STORED_H
#define ZI_TEST_STORED_H

#include "rig.h"

#include "base/matrix.h"

typedef enum { ZI_NO_FACTOR, ZI_ONE_FACTOR, ZI_FACTORS_OF_ROWS } zi_stored_factors;

typedef struct {
    char name[48];
    zi_dtype type; /* of the stored tensor */
    zi_codes codes;
    int bits; /* 0: not in groups */
    size_t group;
    zi_dtype scale_type;
    bool biases, swizzled; /* swizzled: columns may be padded, rows begin anywhere */
    zi_stored_factors factors;
    size_t rotation;
    bool extra; /* a combination of what other kinds have; short forms leave it out */
} zi_stored_kind;

/* A weight in the backend's memory, and the same in the host's: what it means. */
typedef struct {
    const zi_stored_kind *kind;
    zi_weight weight;
    zi_matrix matrix;
} zi_stored;

/* The table of all kinds, and how many there are. */
const zi_stored_kind *zi_stored_kinds(size_t *count);

/* The kind of this name. Exits the program if there is none. */
const zi_stored_kind *zi_stored_kind_find(const char *name);

/* What the columns of a matrix of this kind must be a multiple of. */
size_t zi_stored_unit(const zi_stored_kind *kind);

/* A random matrix [rows, columns] for the time of the case. first_row: what the weight's is, if its
 * scales are swizzled: as of a slice of a larger tensor. */
const zi_stored *zi_stored_make(zi_rig *rig, const zi_stored_kind *kind, size_t rows,
                                size_t columns, size_t first_row);

#endif
