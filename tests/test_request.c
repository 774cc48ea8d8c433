/* What a request may bring: encodings that are known, and somebody who looks at previews. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 128, SMALL = SIDE / 8, STEPS = 9 };

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

/* ---- encodings ---- */

typedef struct {
    char keys[8][33];
    float *values[8];
    size_t counts[8];
    int kept, asked, found;
} memory;

static bool find(void *user, const char *key, float *values, size_t count)
{
    memory *m = user;
    m->asked++;
    CHECK(strlen(key) == 32 && strspn(key, "0123456789abcdef") == 32);
    for (int i = 0; i < m->kept; i++)
        if (!strcmp(m->keys[i], key) && m->counts[i] == count) {
            memcpy(values, m->values[i], count * sizeof *values);
            m->found++;
            return true;
        }
    return false;
}

static void keep(void *user, const char *key, const float *values, size_t count)
{
    memory *m = user;
    if (m->kept == 8) return;
    snprintf(m->keys[m->kept], sizeof m->keys[0], "%s", key);
    m->values[m->kept] = malloc(count * sizeof *values);
    memcpy(m->values[m->kept], values, count * sizeof *values);
    m->counts[m->kept++] = count;
}

static void encodings_are_kept(void)
{
    memory m = {.kept = 0};
    zi_encodings encodings = {find, keep, &m};
    zi_request request = request_of("a red circle on a blue background");
    zi_image *plain = draw(&request);
    request.encodings = &encodings;
    zi_image *first = draw(&request), *second = draw(&request);
    CHECK(m.asked == 2 && m.kept == 1 && m.found == 1);
    CHECK(same(plain, first) && same(plain, second));
    zi_image_free(first);
    zi_image_free(second);

    /* With guidance there are two texts; another prompt is another key. */
    request.guidance = 1;
    request.negative = "green";
    zi_image_free(draw(&request));
    CHECK(m.asked == 4 && m.kept == 2 && m.found == 2);
    request.guidance = 0;
    request.prompt = "a red circle on a blue  background";
    zi_image_free(draw(&request));
    CHECK(m.kept == 3 && m.found == 2);

    /* What is found is used. */
    for (size_t i = 0; i < m.counts[2]; i++) m.values[2][i] = 0;
    zi_image *other = draw(&request);
    CHECK(other && !same(plain, other));
    zi_image_free(other);
    zi_image_free(plain);
    for (int i = 0; i < m.kept; i++) free(m.values[i]);
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

/* Mean difference of the last preview to the picture made small, in steps of 8 bits. */
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
    CHECK_OK(zi_model_load(&options, &model, &error), error);
    if (model) {
        RUN(previews_look_like_the_picture);
        RUN(encodings_are_kept);
    }
    zi_model_free(model);
    return zi_test_result();
}
