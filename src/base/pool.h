/* A thread pool that runs numbered tasks. */
#ifndef ZI_BASE_POOL_H
#define ZI_BASE_POOL_H

#include "base/error.h"

typedef struct zi_pool zi_pool;

/* Runs one task. worker: the thread's index, 0 to threads-1, constant during a run; use it to
 * select per-thread scratch memory. */
typedef void (*zi_task_fn)(void *context, size_t task, size_t worker);

/* threads: including the calling thread; 0: zi_usable_processors(). */
bool zi_pool_create(size_t threads, zi_pool **out, zi_error *error) ZI_CHECKED;
void zi_pool_free(zi_pool *pool);
size_t zi_pool_threads(const zi_pool *pool);

/* Calls fn once for each task from 0 to tasks-1, in no particular order, and returns when all are
 * done. Tasks are handed out one by one, which balances uneven ones. Several threads may call it:
 * their runs are serialized. A task must not call zi_pool_run. */
void zi_pool_run(zi_pool *pool, size_t tasks, zi_task_fn fn, void *context);

#endif
