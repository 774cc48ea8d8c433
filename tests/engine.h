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
} zi_test_engine;

void zi_test_engine_start(zi_test_engine *engine, size_t threads);
void zi_test_engine_stop(zi_test_engine *engine);

/* The next kernel tier that this machine can run, from *index on, announced; the others are
 * reported as skipped. NULL after the last one. */
const char *zi_next_tier(size_t *index);

/* What integer products round n numbers of a row by, which are a group: x becomes
 * rint(x * top / most). */
float zi_test_most(const zi_kernels *kernels, const float *x, size_t n, float *top);

#endif
