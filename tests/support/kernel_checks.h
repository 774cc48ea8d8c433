/* What every kernel must do, as a table: one check a slot of zi_kernels, against plain loops in
 * double precision or in integers. tests/test_kernels.c runs them. */
#ifndef ZI_TEST_KERNEL_CHECKS_H
#define ZI_TEST_KERNEL_CHECKS_H

#include "guarded.h"
#include "kernels/kernels.h"

typedef struct trial trial;

typedef struct {
    const char *name;
    size_t offset; /* of the slot in zi_kernels */
    size_t rows;   /* offset of the field that bounds a trial's n; 0 where there is no such thing */
    const size_t *depths; /* a trial's k, up to 0xffff */
    unsigned variants;    /* the last is the one to be timed */
    float largest;        /* magnitude that overflows nothing */
    bool (*run)(const trial *t);
    size_t unit; /* numbers (of a row) that a k stands for */
} kernel_check;

extern const kernel_check kernel_checks[];
extern const size_t kernel_check_count;

/* Runs all trials of a check with random numbers from `seed`. quick: short ones only. False: `why`
 * tells what was wrong. */
bool kernel_check_run(const kernel_check *check, const zi_kernels *kernels, uint64_t seed,
                      bool quick, char why[256]);

/* Verifies a call of depth k, then times the same one: numbers per second (all rows together), 0
 * when it was wrong. */
double kernel_check_time(const kernel_check *check, const zi_kernels *kernels, size_t k);

/* Number i of row or column r in a group of a panel (see kernels/quantized.h). */
int panel_value_a(const zi_kernels *kernels, const void *group, size_t r, size_t i);
int panel_value_b(const zi_kernels *kernels, const void *group, size_t r, size_t i);

#endif
