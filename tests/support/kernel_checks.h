/* One check for each slot of zi_kernels: the kernel is compared with plain loops in double
 * precision or in integers, for ragged sizes, special values and between guard pages. */
#ifndef ZI_TEST_KERNEL_CHECKS_H
#define ZI_TEST_KERNEL_CHECKS_H

#include "guarded.h"
#include "kernels/kernels.h"

typedef struct trial trial;

typedef struct {
    const char *name;
    size_t offset; /* of the slot in zi_kernels */
    size_t rows;   /* offset of the field with the maximum of a trial's n; 0: n is not used */
    const size_t *depths; /* a trial's k, up to 0xffff */
    unsigned variants;    /* the last is the one to be timed */
    float largest;        /* largest magnitude of inputs that does not overflow */
    bool (*run)(const trial *t);
    size_t unit; /* elements of a row per unit of k */
} kernel_check;

extern const kernel_check kernel_checks[];
extern const size_t kernel_check_count;

/* Runs all trials of a check with inputs from `seed`. quick: leaves out rows of more than 1000
 * elements. False: `why` describes the first failure. */
bool kernel_check_run(const kernel_check *check, const zi_kernels *kernels, uint64_t seed,
                      bool quick, char why[256]);

/* Checks a call of depth k and then times it. Returns elements per second (all rows together), 0 if
 * the check failed. */
double kernel_check_time(const kernel_check *check, const zi_kernels *kernels, size_t k);

/* Quantized value i of row (a) or column (b) r in a group of a panel (see kernels/quantized.h). */
int panel_value_a(const zi_kernels *kernels, const void *group, size_t r, size_t i);
int panel_value_b(const zi_kernels *kernels, const void *group, size_t r, size_t i);

#endif
