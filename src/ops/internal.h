/* What the files of ops/ share. */
#ifndef ZI_OPS_INTERNAL_H
#define ZI_OPS_INTERNAL_H

#include "ops/ops.h"

enum {
    BLOCK_N = 64,     /* columns of a linear task */
    BLOCK_K = 512,    /* depth packed at once */
    QUERY_BLOCK = 64, /* rows of an attention task */
    KEY_BLOCK = 256,  /* keys looked at together */
    NORM_CHUNKS = 64, /* parts of a picture that are summed apart */
};

static inline size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline float *worker_scratch(const zi_ops *ops, size_t worker)
{
    return ops->scratch + worker * ops->scratch_stride;
}

/* Calls fn for rows [begin, end) of n, in parallel, each call a run of up to `grain` rows. */
typedef void (*row_fn)(const void *context, size_t begin, size_t end);
void run_rows(zi_ops *ops, size_t n, size_t grain, row_fn fn, const void *context);

#endif
