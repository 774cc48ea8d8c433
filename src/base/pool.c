#include "base/pool.h"
#include "base/machine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct zi_pool {
    size_t threads; /* with the caller */
    pthread_t *workers;
    pthread_mutex_t mutex;
    pthread_cond_t start, done;
    /* One run; guarded by mutex, but for next. */
    size_t run;  /* counts runs, so that a worker can tell a new one from a false wake-up */
    size_t busy; /* workers that have not finished this run */
    size_t tasks;
    zi_task_fn fn;
    void *context;
    atomic_size_t next; /* the next task to hand out */
    bool stop;
};

typedef struct {
    zi_pool *pool;
    size_t worker;
} worker_start;

static void work(zi_pool *pool, size_t worker)
{
    size_t task;
    while ((task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->tasks)
        pool->fn(pool->context, task, worker);
}

static void *worker_main(void *argument)
{
    worker_start *begin = argument;
    zi_pool *pool = begin->pool;
    size_t worker = begin->worker, seen = 0;
    free(begin);
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->stop && pool->run == seen) pthread_cond_wait(&pool->start, &pool->mutex);
        if (pool->stop) break;
        seen = pool->run;
        pthread_mutex_unlock(&pool->mutex);
        work(pool, worker);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->busy == 0) pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

static bool start_worker(zi_pool *pool, size_t worker)
{
    worker_start *begin = malloc(sizeof *begin);
    if (!begin) return false;
    *begin = (worker_start){pool, worker};
    if (pthread_create(&pool->workers[worker - 1], NULL, worker_main, begin) == 0) return true;
    free(begin);
    return false;
}

bool zi_pool_create(size_t threads, zi_pool **out, zi_error *error)
{
    if (threads == 0) threads = zi_processors();
    zi_pool *pool = calloc(1, sizeof *pool);
    pthread_t *workers = calloc(threads, sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return zi_out_of_memory(error, sizeof *pool + threads * sizeof *workers);
    }
    pool->workers = workers;
    pool->threads = 1;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (size_t worker = 1; worker < threads; worker++) {
        if (!start_worker(pool, worker)) {
            zi_pool_free(pool);
            return zi_fail(error, "could not start thread %zu of %zu; ask for fewer with --threads",
                           worker + 1, threads);
        }
        pool->threads++;
    }
    *out = pool;
    return true;
}

void zi_pool_free(zi_pool *pool)
{
    if (!pool) return;
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i + 1 < pool->threads; i++) pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->start);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

size_t zi_pool_threads(const zi_pool *pool)
{
    return pool->threads;
}

void zi_pool_run(zi_pool *pool, size_t tasks, zi_task_fn fn, void *context)
{
    if (pool->threads == 1 || tasks < 2) {
        for (size_t task = 0; task < tasks; task++) fn(context, task, 0);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->fn = fn;
    pool->context = context;
    pool->tasks = tasks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->busy = pool->threads - 1;
    pool->run++;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->mutex);

    work(pool, 0);

    pthread_mutex_lock(&pool->mutex);
    while (pool->busy) pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
