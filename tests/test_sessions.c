/* Concurrent sessions on one engine give the bits that they give alone, whatever the others do:
 * previews, exact or integer arithmetic, cancellation. */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIDE = 96, THREADS = 3, ROUNDS = 3, REQUESTS = THREADS * ROUNDS, MODELS = 2 };

/* The engine under test, and one on which sessions are alone, with a cache of its own. */
typedef struct {
    zi_engine *engine;
    zi_model *models[MODELS]; /* the demo model, and a quantized one */
} set;

static set shared, reference;

static const struct {
    const char *prompt;
    int model, width;
    double guidance;
    bool preview, exact;
} rows[REQUESTS] = {
    {"a red circle on a blue background", 0, SIDE, 0, true, false},
    {"a large yellow star on a purple background", 0, SIDE, 2, true, false},
    {"a green square on a white background", 1, SIDE / 2, 0, true, false},
    {"a red circle on a blue background", 0, SIDE, 0, true, false}, /* kept embeddings */
    {"a black ring on a grey background", 1, SIDE, 0, false, false},
    {"a green square on a white background", 1, SIDE / 2, 0, true, true},
    {"a large yellow star on a purple background", 0, SIDE / 2, 0, false, false},
    {"a black ring on a grey background", 1, SIDE, 0, false, true},
    {"a blue heart on a red background", 0, SIDE, 1, true, false},
};

static void look(void *user, int step, const zi_image *image)
{
    (void)user;
    CHECK(step > 0 && image->width > 0);
}

static bool watch(void *user, const zi_progress *progress)
{
    (void)user;
    CHECK_MSG(progress->fraction >= 0 && progress->fraction <= 1, "%g", progress->fraction);
    return true;
}

static zi_request request_of(int row)
{
    zi_request request = zi_request_default();
    request.prompt = rows[row].prompt;
    request.negative = "blue";
    request.width = rows[row].width;
    request.height = SIDE;
    request.steps = 3;
    request.seed = (uint64_t)row;
    request.guidance = rows[row].guidance;
    request.compute = rows[row].exact ? ZI_COMPUTE_EXACT : ZI_COMPUTE_AUTO;
    request.progress = watch;
    if (rows[row].preview) request.preview = look;
    return request;
}

static zi_image *draw(const set *s, int row)
{
    zi_error error = {0};
    zi_image *image = NULL;
    zi_request request = request_of(row);
    CHECK_OK(zi_generate(s->models[rows[row].model], &request, &image, &error), error);
    return image;
}

/* ---- the same bits ---- */

static zi_image *together[REQUESTS];

static void *work(void *user)
{
    int first = *(int *)user;
    for (int i = first; i < REQUESTS; i += THREADS) together[i] = draw(&shared, i);
    return NULL;
}

typedef struct {
    atomic_bool ends;
    atomic_int cancelled;
} canceller;

static bool count_down(void *user, const zi_progress *progress)
{
    (void)progress;
    return --*(int *)user > 0;
}

/* Begins images and gives them up, each a little later than the one before. */
static void *cancel_again_and_again(void *user)
{
    canceller *c = user;
    for (int calls = 1; !atomic_load(&c->ends); calls = calls % 40 + 3) {
        zi_error error = {0};
        zi_image *image = NULL;
        int left = calls;
        zi_request request = request_of(calls % REQUESTS);
        request.progress = count_down;
        request.user = &left;
        request.preview = NULL;
        if (zi_generate(shared.models[rows[calls % REQUESTS].model], &request, &image, &error)) {
            zi_image_free(image);
            continue;
        }
        CHECK_ERROR(error, ZI_ERROR_CANCELLED, NULL);
        atomic_fetch_add(&c->cancelled, 1);
    }
    return NULL;
}

static void same_bits(void)
{
    pthread_t threads[THREADS], other;
    int firsts[THREADS];
    canceller c = {0};
    CHECK(pthread_create(&other, NULL, cancel_again_and_again, &c) == 0);
    for (int i = 0; i < THREADS; i++) {
        firsts[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &firsts[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    atomic_store(&c.ends, true);
    pthread_join(other, NULL);
    CHECK(atomic_load(&c.cancelled) > 0);
    for (int i = 0; i < REQUESTS; i++) {
        zi_image *alone = draw(&reference, i), *beside = together[i];
        size_t size = alone ? 3 * (size_t)alone->width * (size_t)alone->height : 0;
        CHECK_MSG(alone && beside && !memcmp(alone->pixels, beside->pixels, size), "row %d", i);
        zi_image_free(alone);
        zi_image_free(beside);
    }
}

/* ---- waiting for each other ---- */

typedef struct {
    int call;                 /* the session waits in this one of its callbacks, from 1 */
    atomic_bool begun, ended; /* of the other session */
    bool waited;
} pair;

static void pause_shortly(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static zi_request small_request(int row)
{
    zi_request request = request_of(row);
    request.width = request.height = 32;
    request.steps = 1;
    return request;
}

static void *draw_beside(void *user)
{
    pair *p = user;
    zi_error error = {0};
    zi_image *image = NULL;
    zi_request request = small_request(0);
    while (!atomic_load(&p->begun)) pause_shortly();
    CHECK_OK(zi_generate(shared.models[0], &request, &image, &error), error);
    zi_image_free(image);
    atomic_store(&p->ended, true);
    return NULL;
}

/* In every callback of a session another one on the same model may run to its end. */
static bool wait_for_other(void *user, const zi_progress *progress)
{
    pair *p = user;
    (void)progress;
    if (--p->call != 0) return true;
    atomic_store(&p->begun, true);
    for (int i = 0; i < 60000 && !atomic_load(&p->ended); i++) pause_shortly();
    p->waited = atomic_load(&p->ended);
    return p->waited;
}

/* The other session runs within callback number `call` of one on a model that is new: in one of
 * them it decodes something for its first preview. False: there is no such callback. */
static bool wait_in_callback(int call)
{
    pair p = {.call = call};
    pthread_t thread;
    zi_error error = {0};
    zi_image *image = NULL;
    zi_model *kept = shared.models[0];
    zi_model_options options = {.path = ZI_SHARE "/demo-model"};
    zi_request request = small_request(1);
    if (!CHECK_OK(zi_model_load(shared.engine, &options, &shared.models[0], &error), error))
        return false;
    CHECK(pthread_create(&thread, NULL, draw_beside, &p) == 0);
    request.progress = wait_for_other;
    request.user = &p;
    CHECK_OK(zi_generate(shared.models[0], &request, &image, &error), error);
    CHECK(p.call > 0 || p.waited);
    atomic_store(&p.begun, true);
    pthread_join(thread, NULL);
    zi_image_free(image);
    zi_model_free(shared.models[0]);
    shared.models[0] = kept;
    return p.call <= 0;
}

static void callbacks_may_wait(void)
{
    int call = 1;
    while (wait_in_callback(call)) call += 7;
    CHECK_MSG(call > 20, "%d", call);
}

/* ---- models come and go ---- */

static void *load_and_free(void *user)
{
    zi_error error = {0};
    (void)user;
    for (int i = 0; i < 20; i++) {
        zi_model *model = NULL;
        zi_model_options options = {.path = zi_test_data_path("golden/model")};
        CHECK_OK(zi_model_load(shared.engine, &options, &model, &error), error);
        zi_model_free(model);
    }
    return NULL;
}

static void loading_beside(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, load_and_free, NULL) == 0);
    zi_image *image = draw(&shared, 0);
    CHECK(image);
    zi_image_free(image);
    pthread_join(thread, NULL);
}

static bool open_set(set *s, const char *quantized, int threads)
{
    zi_error error = {0};
    zi_model_options options[] = {{.path = ZI_SHARE "/demo-model"}, {.path = quantized}};
    bool ok = CHECK_OK(
        zi_engine_create(&(zi_engine_options){.threads = threads}, &s->engine, &error), error);
    for (int i = 0; i < MODELS && ok; i++)
        ok = CHECK_OK(zi_model_load(s->engine, &options[i], &s->models[i], &error), error);
    return ok;
}

static void close_set(set *s)
{
    for (int i = 0; i < MODELS; i++) zi_model_free(s->models[i]);
    zi_engine_free(s->engine);
    *s = (set){0};
}

int main(void)
{
    zi_error error = {0};
    const char *quantized = zi_test_path("q8");
    zi_convert_options convert = {.source = zi_test_data_path("golden/model"),
                                  .destination = quantized,
                                  .layout = ZI_LAYOUT_MLX,
                                  .precision = ZI_PRECISION_Q8};
    bool ok = CHECK_OK(zi_convert(&convert, &error), error);
    if (ok && open_set(&shared, quantized, 2) && open_set(&reference, quantized, 2)) {
        RUN(same_bits);
        RUN(callbacks_may_wait);
        RUN(loading_beside);
    }
    close_set(&shared);
    /* With one thread, all sessions run at the same time as worker 0. */
    if (ok && open_set(&shared, quantized, 1)) RUN(same_bits);
    close_set(&shared);
    close_set(&reference);
    return zi_test_result();
}
