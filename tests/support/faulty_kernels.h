/* Kernels that are wrong in small ways: the checks must find every one of them. */
#ifndef ZI_TEST_FAULTY_KERNELS_H
#define ZI_TEST_FAULTY_KERNELS_H

#include "kernels/kernels.h"

typedef struct {
    const char *what;
    size_t slot; /* its offset in zi_kernels */
    void (*kernel)(void);
} faulty_kernel;

extern const faulty_kernel faulty_kernels[];
extern const size_t faulty_kernel_count;

/* The table with a bug in it. One at a time. */
zi_kernels kernels_with_fault(const faulty_kernel *bug, const zi_kernels *right);

#endif
