/* No thread allocates or frees memory in the step loop. The program replaces malloc and related
 * functions, for libraries as well, and counts calls. glibc only. */
#include "base/pool.h"
#include "harness.h"
#include "quantized_model.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __GLIBC__

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static atomic_size_t calls;

void *malloc(size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    atomic_fetch_add(&calls, 1);
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

void free(void *block)
{
    atomic_fetch_add(&calls, 1);
    __libc_free(block);
}

/* ---- the counter counts ---- */

static void *volatile kept; /* no compiler may leave a pair of malloc and free out */

static void allocate(void *context, size_t task, size_t worker)
{
    (void)context;
    (void)worker;
    if (task == 0) usleep(20000); /* so that the other thread takes the other task */
    void *block = malloc(100);
    if (task == 1) kept = block;
    free(block);
}

static void the_counter_counts(void)
{
    size_t before = calls;
    kept = malloc(1);
    kept = realloc(kept, 2);
    free(kept);
    kept = calloc(1, 1);
    free(kept);
    kept = aligned_alloc(64, 64);
    free(kept);
    CHECK_MSG(calls - before == 7, "%zu calls of 7", calls - before);
    zi_pool *pool = NULL;
    zi_error error = {0};
    if (!CHECK_OK(zi_pool_create(2, &pool, &error), error)) return;
    zi_pool_run(pool, 2, allocate, NULL); /* now the threads have let go of what started them */
    before = calls;
    zi_pool_run(pool, 2, allocate, NULL);
    CHECK_MSG(calls - before == 4, "%zu calls of 4 in two threads", calls - before);
    zi_pool_free(pool);
}

/* ---- the loop ---- */

typedef struct {
    size_t first, last; /* calls that were counted at the loop's first and last report */
    int reports;
    bool allocate; /* the callback itself does */
} watcher;

static bool watch(void *user, const zi_progress *p)
{
    watcher *w = user;
    if (p->stage != ZI_STAGE_STEP) return true;
    w->last = calls;
    if (w->reports++ == 0) w->first = w->last;
    if (w->allocate) {
        kept = malloc(1);
        free(kept);
    }
    return true;
}

static watcher draw(zi_model *model, zi_compute compute, double guidance, bool allocate)
{
    watcher w = {.allocate = allocate};
    zi_image *image = NULL;
    zi_error error = {0};
    zi_request request = zi_request_default();
    request.prompt = "a red circle on a blue background";
    request.negative = "noise";
    request.width = 96;
    request.height = 64;
    request.steps = 4;
    request.guidance = guidance;
    request.compute = compute;
    request.progress = watch;
    request.user = &w;
    CHECK_OK(zi_generate(model, &request, &image, &error), error);
    zi_image_free(image);
    return w;
}

static zi_engine *engine;
static zi_model *model;

static void load(const char *path)
{
    zi_error error = {0};
    zi_model_free(model);
    model = NULL;
    CHECK_OK(zi_model_load(engine, &(zi_model_options){.path = path}, &model, &error), error);
}

static void loops(void)
{
    static const zi_compute computes[] = {ZI_COMPUTE_EXACT, ZI_COMPUTE_FAST};
    for (int i = 0; i < 2; i++)
        for (double guidance = 0; guidance < 3; guidance += 2) {
            watcher w = draw(model, computes[i], guidance, false);
            CHECK_MSG(w.reports >= 4 * 3, "%d reports", w.reports);
            CHECK_MSG(w.first == w.last, "compute %d, guidance %g: %zu calls in %d layers", i,
                      guidance, w.last - w.first, w.reports);
        }
}

static void as_stored(void)
{
    load(zi_test_data_path("golden/model"));
    if (model) loops();
}

static void quantized(void)
{
    load(zi_test_quantized_model(zi_test_data_path("golden/model")));
    if (model) loops();
}

static void a_call_in_the_loop_is_noticed(void)
{
    watcher w = draw(model, ZI_COMPUTE_AUTO, 0, true);
    CHECK_MSG(w.last - w.first == 2 * ((size_t)w.reports - 1), "%zu calls, %d reports",
              w.last - w.first, w.reports);
}

int main(void)
{
    zi_error error = {0};
    RUN(the_counter_counts);
    for (int threads = 1; threads <= 4; threads += 3) {
        zi_engine_options options = {.threads = threads};
        if (!CHECK_OK(zi_engine_create(&options, &engine, &error), error)) return 1;
        RUN(as_stored);
        RUN(quantized);
        RUN(a_call_in_the_loop_is_noticed);
        zi_model_free(model);
        model = NULL;
        zi_engine_free(engine);
    }
    return zi_test_result();
}

#else

int main(void)
{
    printf("SKIP: only glibc lets a program count its allocations this way\n");
    return 0;
}

#endif
