/* What it takes to run operations and stages in a test. */
#ifndef ZI_TEST_ENGINE_H
#define ZI_TEST_ENGINE_H

#include "model/run.h"

/* A pool of `threads`, reference kernels and an arena large enough for the small models. */
typedef struct {
    zi_pool *pool;
    zi_ops ops;
    zi_arena arena;
    zi_run run;
    uint32_t random;
} zi_test_engine;

void zi_test_engine_start(zi_test_engine *engine, size_t threads);
void zi_test_engine_stop(zi_test_engine *engine);

/* From -1 to 1, the same sequence in every engine. */
float zi_test_uniform(zi_test_engine *engine);

/* n of them in the arena. */
float *zi_test_values(zi_test_engine *engine, size_t n);

/* n values of a stored type in the arena, at an address that nothing can be aligned to, and in
 * *meaning what they stand for. */
void *zi_test_stored(zi_test_engine *engine, zi_dtype type, size_t n, float **meaning);

/* The next kernel tier that this machine can run, from *index on, announced; the others are
 * reported as skipped. NULL after the last one. */
const char *zi_next_tier(size_t *index);

/* What integer products round n numbers of a row by, which are a group: x becomes
 * rint(x * top / most). */
float zi_test_most(const zi_kernels *kernels, const float *x, size_t n, float *top);

#endif
