/* The backends whose operations test_backend_ops checks. */
#ifndef ZI_TEST_BACKENDS_H
#define ZI_TEST_BACKENDS_H

#include "backend/backend.h"

typedef struct {
    const char *name;
    /* Sets *out to a new backend, for its destroy operation. False: this machine cannot have it,
     * and the text of *error says in one line why. */
    bool (*open)(zi_backend **out, zi_error *error);
    /* What the bounds of rounding errors are multiplied with: 1 where products and sums are rounded
     * as in C, more where a device has coarser functions. */
    double tolerance;
    /* In fast sessions products may round their operands, weights of any type: by this share, which
     * is multiplied with the tolerance, too. 0: they do not. */
    double operand_error;
    bool apart; /* only tested when it is named; a machine may be without it */
} zi_test_backend;

/* The rows of the table; the last one has no name. */
extern const zi_test_backend zi_test_backends[];

/* The kernels in portable C, alone in the calling thread: what long sequences of operations are
 * compared with. Not in the table. */
extern const zi_test_backend zi_test_reference;

/* The row of this name; NULL: there is none. */
const zi_test_backend *zi_test_backend_find(const char *name);

/* Frees what backends share, when all are destroyed. */
void zi_test_backends_end(void);

#endif
