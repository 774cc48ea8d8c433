/* What it takes to run operations and stages in a test. */
#ifndef ZI_TEST_ENGINE_H
#define ZI_TEST_ENGINE_H

#include "backend/cpu/cpu.h"
#include "base/memory.h"
#include "model/run.h"

/* A CPU backend of its own, a session on it with memory that is large enough for the small models,
 * and memory of the host. */
typedef struct {
    zi_kernels kernels;
    zi_pool *pool;
    zi_backend *backend;
    zi_exec *exec;
    zi_buffer *buffer;
    zi_arena arena;
    zi_run run;
    zi_memory host;
    size_t host_used;
    zi_buffer **imported;
    size_t imported_count;
    uint32_t random;
} zi_test_engine;

/* tier NULL: the best. Ends the program when it cannot be had. */
void zi_test_engine_start(zi_test_engine *engine, size_t threads, const char *tier, bool fast);
void zi_test_engine_stop(zi_test_engine *engine);

/* All memory that was taken since the mark is given back. */
typedef struct {
    size_t host, device;
} zi_test_mark;
zi_test_mark zi_test_engine_mark(const zi_test_engine *engine);
void zi_test_engine_reset(zi_test_engine *engine, zi_test_mark mark);

/* ---- the host's memory ---- */

void *zi_test_alloc(zi_test_engine *engine, size_t count, size_t size);

/* From -1 to 1, the same sequence in every engine. */
float zi_test_uniform(zi_test_engine *engine);

/* n of them. */
float *zi_test_values(zi_test_engine *engine, size_t n);

/* n values of a stored type at an address that nothing can be aligned to, and in *meaning what they
 * stand for. */
void *zi_test_stored(zi_test_engine *engine, zi_dtype type, size_t n, float **meaning);

/* ---- the backend's memory ---- */

/* A view of these values; NULL: they are not set. */
zi_view zi_test_view(zi_test_engine *engine, const float *values, size_t rows, size_t columns);

/* What is in a view now, without gaps. */
float *zi_test_read(zi_test_engine *engine, zi_view view);

/* Plain weights; the data must stay for as long as the engine. */
zi_weight zi_test_weight(zi_test_engine *engine, zi_dtype type, const void *data, size_t rows,
                         size_t columns);
zi_weight zi_test_vector(zi_test_engine *engine, const float *values, size_t n);

/* ---- tiers ---- */

/* The next kernel tier that this machine can run, from *index on, announced; the others are
 * reported as skipped. NULL after the last one. */
const char *zi_next_tier(size_t *index);

/* What integer products round n values of a row by, which are a group: x becomes
 * rint(x * top / most). */
float zi_test_most(const zi_kernels *kernels, const float *x, size_t n, float *top);

#endif
