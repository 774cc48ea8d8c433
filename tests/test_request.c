/* Embeddings that requests share, in memory and on disk, and previews. */
#include "base/file.h"
#include "harness.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 128, SMALL = SIDE / 8, STEPS = 9 };

static zi_engine *engine;
static zi_model *model;

static zi_request request_of(const char *prompt)
{
    zi_request request = zi_request_default();
    request.prompt = prompt;
    request.width = request.height = SIDE;
    request.seed = 3;
    return request;
}

static zi_image *draw(const zi_request *request)
{
    zi_error error = {0};
    zi_image *image = NULL;
    CHECK_OK(zi_generate(model, request, &image, &error), error);
    return image;
}

static bool same(const zi_image *a, const zi_image *b)
{
    return a && b && !memcmp(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3);
}

/* ---- the embedding cache ---- */

/* What the last report said. */
static bool note_cached(void *user, const zi_progress *progress)
{
    *(bool *)user = progress->cached;
    return true;
}

/* Draws with a model of its own; *cached: all embeddings were kept from before. */
static zi_image *draw_with(zi_model *with, const char *prompt, double guidance, bool *cached)
{
    zi_error error = {0};
    zi_image *image = NULL;
    zi_request request = request_of(prompt);
    request.steps = 1;
    request.guidance = guidance;
    request.negative = "green";
    request.progress = note_cached;
    request.user = cached;
    CHECK_OK(zi_generate(with, &request, &image, &error), error);
    return image;
}

static void embeddings_are_kept(void)
{
    static const struct {
        const char *prompt;
        double guidance;
        bool cached;
    } rows[] = {
        {"a green square on a white background", 0, false},
        {"a green square on a white background", 0, true},
        {"a green square on a white  background", 0, false},
        {"a green square on a white background", 1, false}, /* the negative prompt is new */
        {"a green square on a white  background", 1, true},
    };
    zi_image *first = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool cached = !rows[i].cached;
        zi_image *image = draw_with(model, rows[i].prompt, rows[i].guidance, &cached);
        CHECK_MSG(cached == rows[i].cached, "row %zu", i);
        if (i == 1) CHECK(same(first, image));
        if (i == 0)
            first = image;
        else
            zi_image_free(image);
    }
    zi_image_free(first);
}

/* An engine that keeps embeddings in a folder, and its model. */
typedef struct {
    zi_engine *engine;
    zi_model *model;
} keeper;

static keeper start_keeper(const char *folder, const char *cpu)
{
    keeper k = {NULL, NULL};
    zi_error error = {0};
    zi_engine_options options = {.cpu = cpu, .embeddings = folder};
    CHECK_OK(zi_engine_create(&options, &k.engine, &error) &&
                 zi_model_load(k.engine, &(zi_model_options){.path = ZI_SHARE "/demo-model"},
                               &k.model, &error),
             error);
    return k;
}

static void stop_keeper(keeper *k)
{
    zi_model_free(k->model);
    zi_engine_free(k->engine);
}

/* Fills the files of a folder with zeros; returns how many there are. */
static int clear_files(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char *path = zi_path_join(folder, entry->d_name), *data = NULL;
        size_t size;
        if (path && zi_is_file(path) && zi_file_read(path, 1 << 24, &data, &size, NULL)) {
            memset(data, 0, size);
            zi_test_write_file(path, data, size);
            count++;
        }
        free(data);
        free(path);
    }
    if (dir) closedir(dir);
    return count;
}

/* Another engine finds them on the disk, and uses what it finds; one of another tier does not. */
static void embeddings_on_disk(void)
{
    const char prompt[] = "a yellow star on a black background";
    char folder[500];
    bool cached = true;
    snprintf(folder, sizeof folder, "%s", zi_test_path("embeddings"));
    keeper k = start_keeper(folder, NULL);
    zi_image *first = draw_with(k.model, prompt, 0, &cached);
    CHECK(!cached);
    stop_keeper(&k);
    k = start_keeper(folder, NULL);
    zi_image *second = draw_with(k.model, prompt, 0, &cached);
    CHECK(cached && same(first, second));
    stop_keeper(&k);
    CHECK(clear_files(folder) == 1);
    k = start_keeper(folder, NULL);
    zi_image *third = draw_with(k.model, prompt, 0, &cached);
    CHECK(cached && third && !same(first, third));
    stop_keeper(&k);
    k = start_keeper(folder, "ref");
    zi_image *fourth = draw_with(k.model, prompt, 0, &cached);
    CHECK(!cached);
    stop_keeper(&k);
    zi_image_free(first);
    zi_image_free(second);
    zi_image_free(third);
    zi_image_free(fourth);
}

/* ---- previews ---- */

typedef struct {
    int calls;
    uint8_t last[SMALL * SMALL * 3];
} viewer;

static void look(void *user, int step, const zi_image *image)
{
    viewer *v = user;
    CHECK(step == ++v->calls);
    CHECK(image->width == SMALL && image->height == SMALL);
    memcpy(v->last, image->pixels, sizeof v->last);
}

/* Mean difference of the last preview to the image made small, in steps of 8 bits. */
static double distance(const viewer *v, const zi_image *image)
{
    double sum = 0;
    for (int y = 0; y < SMALL; y++)
        for (int x = 0; x < SMALL; x++)
            for (int c = 0; c < 3; c++) {
                int mean = 0;
                for (int i = 0; i < 64; i++)
                    mean += image->pixels[((y * 8 + i / 8) * SIDE + x * 8 + i % 8) * 3 + c];
                sum += abs(v->last[(y * SMALL + x) * 3 + c] - mean / 64);
            }
    return sum / (SMALL * SMALL * 3);
}

static void previews_look_like_the_picture(void)
{
    static const char *const prompts[] = {"a red circle on a blue background",
                                          "a large yellow star on a purple background",
                                          "a red circle on a blue background"};
    double distances[3];
    for (int i = 0; i < 3; i++) {
        viewer v = {.calls = 0};
        zi_request request = request_of(prompts[i]);
        zi_image *plain = draw(&request);
        request.preview = look;
        request.user = &v;
        zi_image *image = draw(&request);
        CHECK(v.calls == STEPS);
        CHECK(same(plain, image));
        distances[i] = distance(&v, image);
        printf("  preview %d: %.1f of 255 beside the picture\n", i, distances[i]);
        zi_image_free(plain);
        zi_image_free(image);
    }
    CHECK(distances[0] < 12);
    CHECK(distances[2] < 4 && distances[2] < distances[0]); /* it learns */
}

int main(void)
{
    zi_error error = {0};
    zi_model_options options = {.path = ZI_SHARE "/demo-model"};
    CHECK_OK(zi_engine_create(NULL, &engine, &error) &&
                 zi_model_load(engine, &options, &model, &error),
             error);
    if (model) {
        RUN(previews_look_like_the_picture);
        RUN(embeddings_are_kept);
        RUN(embeddings_on_disk);
    }
    zi_model_free(model);
    zi_engine_free(engine);
    return zi_test_result();
}
