/* Two sessions on one engine at the same time give the bits that they give one after the other. */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 128, THREADS = 2, ROUNDS = 3, REQUESTS = THREADS * ROUNDS };

static zi_engine *engine;
static zi_model *models[2];

static const struct {
    const char *prompt;
    int model, width;
    double guidance;
    bool preview;
} rows[REQUESTS] = {
    {"a red circle on a blue background", 0, SIDE, 0, false},
    {"a large yellow star on a purple background", 0, SIDE, 2, true},
    {"a green square on a white background", 1, SIDE / 2, 0, true},
    {"a red circle on a blue background", 0, SIDE, 0, true}, /* kept embeddings */
    {"a black ring on a grey background", 1, SIDE, 0, false},
    {"a large yellow star on a purple background", 0, SIDE / 2, 0, false},
};

static void look(void *user, int step, const zi_image *image)
{
    (void)user;
    CHECK(step > 0 && image->width > 0);
}

static zi_image *draw(int row)
{
    zi_error error = {0};
    zi_image *image = NULL;
    zi_request request = zi_request_default();
    request.prompt = rows[row].prompt;
    request.negative = "blue";
    request.width = rows[row].width;
    request.height = SIDE;
    request.steps = 3;
    request.seed = (uint64_t)row;
    request.guidance = rows[row].guidance;
    if (rows[row].preview) request.preview = look;
    CHECK_OK(zi_generate(models[rows[row].model], &request, &image, &error), error);
    return image;
}

static zi_image *together[REQUESTS];

static void *work(void *user)
{
    int first = *(int *)user;
    for (int i = first; i < REQUESTS; i += THREADS) together[i] = draw(i);
    return NULL;
}

static void same_bits(void)
{
    pthread_t threads[THREADS];
    int firsts[THREADS];
    for (int i = 0; i < THREADS; i++) {
        firsts[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &firsts[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < REQUESTS; i++) {
        zi_image *alone = draw(i), *other = together[i];
        size_t size = alone ? 3 * (size_t)alone->width * (size_t)alone->height : 0;
        CHECK_MSG(alone && other && !memcmp(alone->pixels, other->pixels, size), "row %d", i);
        zi_image_free(alone);
        zi_image_free(other);
    }
}

/* Models may come and go while others are used. */
static void *load_and_free(void *user)
{
    zi_error error = {0};
    (void)user;
    for (int i = 0; i < 20; i++) {
        zi_model *model = NULL;
        zi_model_options options = {.path = zi_test_data("golden/model")};
        CHECK_OK(zi_model_load(engine, &options, &model, &error), error);
        zi_model_free(model);
    }
    return NULL;
}

static void loading_beside(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, load_and_free, NULL) == 0);
    zi_image *image = draw(0);
    CHECK(image);
    zi_image_free(image);
    pthread_join(thread, NULL);
}

int main(void)
{
    zi_error error = {0};
    zi_model_options options[] = {{.path = ZI_SHARE "/demo-model"},
                                  {.path = zi_test_data("golden/model")}};
    zi_engine_options engine_options = {.threads = 2};
    bool ok = CHECK_OK(zi_engine_create(&engine_options, &engine, &error), error);
    for (int i = 0; i < 2 && ok; i++)
        ok = CHECK_OK(zi_model_load(engine, &options[i], &models[i], &error), error);
    if (ok) {
        RUN(same_bits);
        RUN(loading_beside);
    }
    for (int i = 0; i < 2; i++) zi_model_free(models[i]);
    zi_engine_free(engine);
    return zi_test_result();
}
