/* What it takes to run operations and stages in a test. */
#ifndef ZI_TEST_FIXTURE_H
#define ZI_TEST_FIXTURE_H

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
} zi_fixture;

/* tier NULL: the best. Ends the program when it cannot be had. */
void zi_fixture_start(zi_fixture *fixture, size_t threads, const char *tier, bool fast);
void zi_fixture_stop(zi_fixture *fixture);

/* All memory that was taken since the mark is given back. */
typedef struct {
    size_t host, device;
} zi_fixture_position;
zi_fixture_position zi_fixture_mark(const zi_fixture *fixture);
void zi_fixture_reset(zi_fixture *fixture, zi_fixture_position mark);

/* ---- the host's memory ---- */

void *zi_fixture_alloc(zi_fixture *fixture, size_t count, size_t size);

/* From -1 to 1, the same sequence in every fixture. */
float zi_fixture_random(zi_fixture *fixture);

/* n of them. */
float *zi_fixture_random_values(zi_fixture *fixture, size_t n);

/* n values of a stored type at an address that nothing can be aligned to, and in *meaning what they
 * stand for. */
void *zi_fixture_random_stored(zi_fixture *fixture, zi_dtype type, size_t n, float **meaning);

/* ---- the backend's memory ---- */

/* A view of these values; NULL: they are not set. */
zi_view zi_fixture_view(zi_fixture *fixture, const float *values, size_t rows, size_t columns);

/* What is in a view now, without gaps. */
float *zi_fixture_read(zi_fixture *fixture, zi_view view);

/* Plain weights; the data must stay for as long as the fixture. */
zi_weight zi_fixture_weight(zi_fixture *fixture, zi_dtype type, const void *data, size_t rows,
                            size_t columns);
zi_weight zi_fixture_vector(zi_fixture *fixture, const float *values, size_t n);

/* ---- tiers ---- */

/* The next kernel tier that this machine can run, from *index on, announced; the others are
 * reported as skipped. NULL after the last one. */
const char *zi_test_next_tier(size_t *index);

/* What integer products round n values of a row by, which are a group: x becomes
 * rint(x * top / most). */
float zi_test_quantization_max(const zi_kernels *kernels, const float *x, size_t n, float *top);

#endif
