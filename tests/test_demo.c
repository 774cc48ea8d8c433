/* Generates images of 200 held-out prompts (40 in the short form) and counts those that show what
 * the prompt says. An argument names an existing folder that receives all 200 images and their
 * LIST.json (see scenes.h), to compare with another program. */
#include "checker.h"
#include "harness.h"
#include "quantized_model.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_SINGLE = 90, MIN_DOUBLE = 85 }; /* right images in percent, of one and of two objects */

static const char *out_folder; /* or NULL */
static zi_heldout heldout[ZI_HELDOUT];
static int stride = 1; /* 5: only every fifth prompt is used */

static bool save(const zi_image *image, int index, zi_error *error)
{
    char name[16];
    snprintf(name, sizeof name, "%03d.png", index);
    char *path = zi_path_join(out_folder, name);
    bool ok = path ? zi_image_save(image, path, NULL, error)
                   : zi_error_no_memory(error, strlen(out_folder) + sizeof name);
    free(path);
    return ok;
}

static bool save_list(zi_error *error)
{
    zi_output output = {0};
    char *list = zi_heldout_list(heldout, ZI_HELDOUT),
         *path = zi_path_join(out_folder, "LIST.json");
    bool ok = false;
    if (!list || !path) {
        zi_error_no_memory(error, sizeof heldout);
        goto out;
    }
    if (!zi_output_open(&output, path, error)) goto out;
    ok = zi_output_write(&output, list, strlen(list), error) && zi_output_commit(&output, error);
    zi_output_discard(&output);
out:
    free(list);
    free(path);
    return ok;
}

static bool draw(zi_model *model, int index, zi_compute compute, zi_image **out, zi_error *error)
{
    const zi_heldout *u = &heldout[index];
    zi_request request = zi_request_default();
    request.prompt = u->prompt;
    request.width = u->width;
    request.height = u->height;
    request.steps = 9;
    request.seed = u->seed;
    request.compute = compute;
    return zi_generate(model, &request, out, error);
}

/* Adds 1 to rights[number of objects] if the image is right; prints the faults otherwise. */
static bool check_image(const zi_image *image, int index, int rights[3], zi_error *error)
{
    const zi_heldout *u = &heldout[index];
    zi_scene_report report;
    if (!zi_scene_check(image, &u->scene, &report, error)) return false;
    rights[u->scene.count] += report.faults == 0;
    if (report.faults) printf("wrong %03d: %s: %s\n", index, u->prompt, report.text);
    fflush(stdout);
    return true;
}

static zi_engine *engine;

static zi_model *load(bool quantized)
{
    const char *path = ZI_SHARE "/demo-model";
    zi_error error = {0};
    zi_model *model = NULL;
    if (!CHECK_MSG(zi_is_dir(path), "%s is missing: make it with tools/demo-model", path))
        return NULL;
    if (quantized) path = zi_test_quantized_model(path);
    CHECK_OK(zi_model_load(engine, &(zi_model_options){.path = path}, &model, &error), error);
    return model;
}

static int exact_rights[3];

static void draws_what_is_asked(void)
{
    zi_error error = {0};
    zi_model *model = load(false);
    bool ok = model && (!out_folder || CHECK_OK(save_list(&error), error));
    for (int i = 0; i < ZI_HELDOUT && ok; i += stride) {
        zi_image *image = NULL;
        ok = CHECK_OK(draw(model, i, ZI_COMPUTE_EXACT, &image, &error) &&
                          (!out_folder || save(image, i, &error)) &&
                          check_image(image, i, exact_rights, &error),
                      error);
        zi_image_free(image);
    }
    zi_model_free(model);
    int singles = ZI_HELDOUT_SINGLE / stride, doubles = ZI_HELDOUT_DOUBLE / stride;
    printf("one object: %d of %d right\ntwo objects: %d of %d right\n", exact_rights[1], singles,
           exact_rights[2], doubles);
    CHECK_MSG(exact_rights[1] * 100 >= MIN_SINGLE * singles, "one object: %d of %d right",
              exact_rights[1], singles);
    CHECK_MSG(exact_rights[2] * 100 >= MIN_DOUBLE * doubles, "two objects: %d of %d right",
              exact_rights[2], doubles);
}

/* ---- eight bits ---- */

static double correlation(const zi_image *a, const zi_image *b)
{
    size_t n = (size_t)a->width * (size_t)a->height * 3;
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    for (size_t i = 0; i < n; i++) {
        double x = a->pixels[i], y = b->pixels[i];
        sa += x;
        sb += y;
        saa += x * x;
        sbb += y * y;
        sab += x * y;
    }
    double N = (double)n;
    return (sab - sa * sb / N) / sqrt((saa - sa * sa / N) * (sbb - sb * sb / N));
}

/* Fast arithmetic on quantized weights generates what exact arithmetic on them does, and is checked
 * like the model as it is stored. */
static void fast_is_as_good(void)
{
    zi_error error = {0};
    zi_model *model = load(true);
    bool ok = model;
    int rights[3] = {0};
    for (int i = 0; i < ZI_HELDOUT && ok; i += stride) {
        zi_image *fast = NULL, *exact = NULL;
        ok = CHECK_OK(draw(model, i, ZI_COMPUTE_FAST, &fast, &error) &&
                          check_image(fast, i, rights, &error),
                      error);
        if (ok && i % (10 * stride) == 0 &&
            CHECK_OK(draw(model, i, ZI_COMPUTE_EXACT, &exact, &error), error))
            CHECK_MSG(correlation(fast, exact) > 0.99, "%s: correlation %.4f", heldout[i].prompt,
                      correlation(fast, exact));
        zi_image_free(fast);
        zi_image_free(exact);
    }
    zi_model_free(model);
    printf("fast: %d of %d and %d of %d right\n", rights[1], ZI_HELDOUT_SINGLE / stride, rights[2],
           ZI_HELDOUT_DOUBLE / stride);
    for (int count = 1; count <= 2; count++)
        CHECK_MSG(abs(rights[count] - exact_rights[count]) <= 2, "%d objects: fast %d, exact %d",
                  count, rights[count], exact_rights[count]);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        out_folder = argv[1];
    else if (!zi_test_long())
        stride = 5;
    zi_heldout_prompts(heldout);
    zi_error error = {0};
    if (!CHECK_OK(zi_engine_create(NULL, &engine, &error), error)) return zi_test_result();
    RUN(draws_what_is_asked);
    RUN(fast_is_as_good);
    zi_engine_free(engine);
    return zi_test_result();
}
