/* A thread pool that runs numbered tasks. */
#ifndef ZI_BASE_POOL_H
#define ZI_BASE_POOL_H

#include "base/error.h"

typedef struct zi_pool zi_pool;

/* Runs one task. worker: the thread's index, 0 to threads-1, constant during a run; use it to
 * select per-thread scratch memory. */
typedef void (*zi_task_fn)(void *context, size_t task, size_t worker);

/* Starts threads - 1 worker threads; the caller of zi_pool_run is the other one. threads 0:
 * zi_usable_processors(). Free *out with zi_pool_free. Fails when memory is short or a thread
 * cannot be started (then ZI_ERROR_IO); no thread is left then, and *out is unchanged. */
bool zi_pool_create(size_t threads, zi_pool **out, zi_error *error) ZI_CHECKED;

/* Ends and joins the worker threads and frees the pool. No run may be in progress. NULL is
 * allowed. */
void zi_pool_free(zi_pool *pool);

/* Returns the number of threads that run tasks, the calling thread included: 1 or more. */
size_t zi_pool_threads(const zi_pool *pool);

/* Calls fn once for each task from 0 to tasks-1, in any order, in all threads and the caller's
 * (worker 0), and returns when all are done. A task must not call it. Runs of several callers are
 * serialized, but a run of one task, or in a pool of one thread, starts at once, as worker 0 even
 * while another run's worker 0 is busy: the scratch memory of a worker must therefore be the
 * caller's own. 0 tasks: does nothing. */
void zi_pool_run(zi_pool *pool, size_t tasks, zi_task_fn fn, void *context);

#endif
