/* A pool of threads that share out numbered tasks. */
#ifndef ZI_BASE_POOL_H
#define ZI_BASE_POOL_H

#include "base/error.h"

typedef struct zi_pool zi_pool;

/* worker: 0 to threads-1, the same for one thread during a run; picks its scratch memory. */
typedef void (*zi_task_fn)(void *context, size_t task, size_t worker);

/* threads counts the caller, too; 0 takes what the machine (and its cgroup) has to give. */
bool zi_pool_create(size_t threads, zi_pool **out, zi_error *error) ZI_CHECKED;
void zi_pool_free(zi_pool *pool);
size_t zi_pool_threads(const zi_pool *pool);

/* Calls fn once for each task from 0 to tasks-1, in no particular order, and returns when all are
 * done. Tasks are handed out one by one, so uneven ones level out. Several threads may call: their
 * runs take turns. Tasks start no tasks. */
void zi_pool_run(zi_pool *pool, size_t tasks, zi_task_fn fn, void *context);

#endif
