#include "base/pool.h"
#include "base/machine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Worker threads spin for this long before they sleep: waking a thread takes some microseconds,
 * which is as long as one of the runs that a language model's layer is made of. */
#define SPIN_SECONDS 50e-6
enum { SPINS_PER_CLOCK_READ = 16 };

struct zi_pool {
    size_t threads; /* including the caller */
    bool spin;      /* waiting threads spin first; off when threads outnumber processors */
    pthread_t *workers;
    pthread_mutex_t callers; /* held by the thread whose zi_pool_run is running */
    pthread_mutex_t mutex;   /* for the condition variables */
    pthread_cond_t start, done;
    /* The current run. Incrementing `run` publishes the fields below, which stay unchanged until
     * busy is 0. */
    atomic_size_t run, ended; /* number of runs started, and finished */
    atomic_size_t busy;       /* workers that have not finished the current run */
    size_t tasks;
    zi_task_fn fn;
    void *context;
    atomic_size_t next; /* the next task to hand out */
    bool stop;
};

/* Tells the processor that this thread spins; does nothing on other ones than x86-64 and ARM64. */
static inline void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" : : : "memory"); /* yield is a no-op on most machines */
#endif
}

/* Reads the counter with acquire order. */
static size_t load_counter(atomic_size_t *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

/* Spins while the counter is `value`, for SPIN_SECONDS at most. The caller must look at the counter
 * again. */
static void spin_while(atomic_size_t *counter, size_t value)
{
    for (double end = zi_monotonic_seconds() + SPIN_SECONDS; zi_monotonic_seconds() < end;)
        for (int i = 0; i < SPINS_PER_CLOCK_READ; i++) {
            if (load_counter(counter) != value) return;
            cpu_pause();
        }
}

/* Returns when the counter is not `value` any more: spins first, if the pool does, then sleeps
 * until `changed` is signalled. pool->mutex must not be held. */
static void wait_while(zi_pool *pool, atomic_size_t *counter, size_t value, pthread_cond_t *changed)
{
    if (pool->spin) spin_while(counter, value);
    if (load_counter(counter) != value) return;
    pthread_mutex_lock(&pool->mutex);
    while (load_counter(counter) == value) pthread_cond_wait(changed, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

typedef struct {
    zi_pool *pool;
    size_t worker;
} worker_start;

/* Adds 1 to the counter, with release order, and wakes all threads that wait for `changed`. Locks
 * pool->mutex meanwhile; it must not be held. */
static void increment_and_wake(zi_pool *pool, atomic_size_t *counter, pthread_cond_t *changed)
{
    pthread_mutex_lock(&pool->mutex); /* so that a thread about to sleep does not miss the signal */
    atomic_fetch_add_explicit(counter, 1, memory_order_release);
    pthread_cond_broadcast(changed);
    pthread_mutex_unlock(&pool->mutex);
}

/* Runs tasks of the current run in this thread, as `worker`, until none is left to hand out; others
 * may still be running in other threads. */
static void run_tasks(zi_pool *pool, size_t worker)
{
    size_t task;
    while ((task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->tasks)
        pool->fn(pool->context, task, worker);
}

/* Main function of a worker thread: takes part in one run after the other until pool->stop. The
 * last worker to finish a run counts it as ended. Frees its argument, a worker_start. */
static void *worker_main(void *argument)
{
    worker_start *begin = argument;
    zi_pool *pool = begin->pool;
    size_t worker = begin->worker, seen = 0;
    free(begin);
    for (;; seen++) {
        wait_while(pool, &pool->run, seen, &pool->start);
        if (pool->stop) return NULL;
        run_tasks(pool, worker);
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) > 1) continue;
        increment_and_wake(pool, &pool->ended, &pool->done);
    }
}

/* Starts the thread of a worker with index 1 or more, and stores it in pool->workers[worker - 1].
 * False: memory is short or the system refuses; no error is set. */
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
    if (threads == 0) threads = zi_usable_processors();
    zi_pool *pool = calloc(1, sizeof *pool);
    pthread_t *workers = calloc(threads, sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return zi_error_no_memory(error, sizeof *pool + threads * sizeof *workers);
    }
    pool->workers = workers;
    pool->threads = 1;
    pool->spin = threads <= zi_usable_processors();
    pthread_mutex_init(&pool->callers, NULL);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (size_t worker = 1; worker < threads; worker++) {
        if (!start_worker(pool, worker)) {
            zi_pool_free(pool);
            return zi_error_set_in(
                error, ZI_ERROR_IO, NULL, "threads",
                "the system did not start thread %zu of %zu; ask for fewer threads", worker + 1,
                threads);
        }
        pool->threads++;
    }
    *out = pool;
    return true;
}

void zi_pool_free(zi_pool *pool)
{
    if (!pool) return;
    pool->stop = true;
    increment_and_wake(pool, &pool->run, &pool->start);
    for (size_t i = 0; i + 1 < pool->threads; i++) pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->start);
    pthread_mutex_destroy(&pool->mutex);
    pthread_mutex_destroy(&pool->callers);
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
    pthread_mutex_lock(&pool->callers);
    pool->fn = fn;
    pool->context = context;
    pool->tasks = tasks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
    size_t before = load_counter(&pool->ended);
    increment_and_wake(pool, &pool->run, &pool->start);
    run_tasks(pool, 0);
    wait_while(pool, &pool->ended, before, &pool->done);
    pthread_mutex_unlock(&pool->callers);
}
