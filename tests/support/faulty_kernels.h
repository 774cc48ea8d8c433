/* Kernels that are wrong in small ways: the checks must find every one of them. */
#ifndef ZI_TEST_PLANTED_H
#define ZI_TEST_PLANTED_H

#include "kernels/kernels.h"

typedef struct {
    const char *what;
    size_t slot; /* its offset in zi_kernels */
    void (*kernel)(void);
} planted_bug;

extern const planted_bug planted_bugs[];
extern const size_t planted_bug_count;

/* The table with a bug in it. One at a time. */
zi_kernels plant(const planted_bug *bug, const zi_kernels *right);

#endif
