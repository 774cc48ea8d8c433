/* Mutation tests of the kernel checks: kernels with one small defect each, all of which
 * kernel_check_run must detect. */
#ifndef ZI_TEST_FAULTY_KERNELS_H
#define ZI_TEST_FAULTY_KERNELS_H

#include "kernels/kernels.h"

typedef struct {
    const char *what; /* name of the defect */
    size_t slot;      /* its offset in zi_kernels */
    void (*kernel)(void);
} faulty_kernel;

extern const faulty_kernel faulty_kernels[];
extern const size_t faulty_kernel_count;

/* Returns a copy of a correct table with one slot replaced. The replacement calls `right`, so only
 * the table of the last call can be used. */
zi_kernels kernels_with_fault(const faulty_kernel *bug, const zi_kernels *right);

#endif
