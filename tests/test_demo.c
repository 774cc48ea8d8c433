/* Draws 200 prompts for scenes that training never showed and counts how many pictures show what
 * was asked. With an argument, a folder that exists, the pictures and their LIST.json (see
 * scenes.h) go there, to look at or to draw the same prompts with another program and compare. */
#include "checker.h"
#include "harness.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_SINGLE = 90, LEAST_DOUBLE = 85 };

static const char *out_folder; /* or NULL */
static zi_unseen unseen[ZI_UNSEEN];

static bool save(const zi_image *image, int index, zi_error *error)
{
    char name[16];
    snprintf(name, sizeof name, "%03d.png", index);
    char *path = zi_path_join(out_folder, name);
    bool ok = path ? zi_image_save(image, path, NULL, error)
                   : zi_out_of_memory(error, strlen(out_folder) + sizeof name);
    free(path);
    return ok;
}

static bool save_list(zi_error *error)
{
    zi_output output = {0};
    char *list = zi_unseen_list(unseen, ZI_UNSEEN), *path = zi_path_join(out_folder, "LIST.json");
    bool ok = false;
    if (!list || !path) {
        zi_out_of_memory(error, sizeof unseen);
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

/* Draws and judges one prompt; false when that could not be done. */
static bool try_prompt(zi_model *model, int index, bool *right, zi_error *error)
{
    const zi_unseen *u = &unseen[index];
    zi_request request = zi_request_default();
    zi_image *image = NULL;
    zi_verdict verdict;
    bool ok = false;
    request.prompt = u->prompt;
    request.width = u->width;
    request.height = u->height;
    request.steps = 9;
    request.seed = u->seed;
    request.guidance = 0;
    if (!zi_generate(model, &request, &image, error)) goto out;
    if (out_folder && !save(image, index, error)) goto out;
    if (!zi_judge(image, &u->scene, &verdict, error)) goto out;
    *right = verdict.faults == 0;
    if (!*right) printf("wrong %03d: %s: %s\n", index, u->prompt, verdict.text);
    fflush(stdout);
    ok = true;
out:
    zi_image_free(image);
    return ok;
}

static void draws_what_is_asked(void)
{
    const char *path = ZI_SHARE "/demo-model";
    zi_error error = {0};
    zi_model *model = NULL;
    int rights[3] = {0};
    bool ok = true;
    zi_unseen_prompts(unseen);
    if (!CHECK_MSG(zi_is_dir(path), "%s is missing: make it with tools/demo-model", path)) return;
    if (!CHECK_OK(zi_model_load(&(zi_model_options){.path = path}, &model, &error), error)) return;
    if (out_folder) ok = CHECK_OK(save_list(&error), error);
    for (int i = 0; i < ZI_UNSEEN && ok; i++) {
        bool right = false;
        ok = CHECK_OK(try_prompt(model, i, &right, &error), error);
        rights[unseen[i].scene.count] += right;
    }
    zi_model_free(model);
    printf("one thing: %d of %d right\ntwo things: %d of %d right\n", rights[1], ZI_UNSEEN_SINGLE,
           rights[2], ZI_UNSEEN_DOUBLE);
    CHECK_MSG(rights[1] >= LEAST_SINGLE, "one thing: %d, wanted %d", rights[1], LEAST_SINGLE);
    CHECK_MSG(rights[2] >= LEAST_DOUBLE, "two things: %d, wanted %d", rights[2], LEAST_DOUBLE);
}

int main(int argc, char **argv)
{
    if (argc > 1) out_folder = argv[1];
    RUN(draws_what_is_asked);
    return zi_test_result();
}
