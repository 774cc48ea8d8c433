/* Shows progress, and cancels when asked to: progress MODEL PROMPT FILE [STEP]
 * With STEP, generation is cancelled after that many steps. */
#include <stdio.h>
#include <stdlib.h>
#include <zimage.h>

/* Called for every layer; false cancels the generation. */
static bool show(void *user, const zi_progress *progress)
{
    static const char *const stages[] = {"encoding the prompt", "step", "decoding"};
    const int *last = (const int *)user;
    if (progress->stage == ZI_STAGE_STEP)
        fprintf(stderr, "\r%s %d of %d   ", stages[progress->stage], progress->step,
                progress->steps);
    else
        fprintf(stderr, "\r%s: %.0f %%   ", stages[progress->stage], 100 * progress->fraction);
    return !*last || progress->stage != ZI_STAGE_STEP || progress->step < *last;
}

/* Called after each step with an image of an eighth of the width and height. */
static void preview(void *user, int step, const zi_image *image)
{
    (void)user;
    fprintf(stderr, "\rpreview of step %d: %d x %d pixels\n", step, image->width, image->height);
}

int main(int argc, char **argv)
{
    zi_error error = {ZI_OK, "", "", 0};
    zi_engine *engine = NULL;
    zi_model *model = NULL;
    zi_image *image = NULL;
    if (argc < 4) return fprintf(stderr, "usage: %s MODEL PROMPT FILE [STEP]\n", argv[0]), 2;
    int last = argc > 4 ? atoi(argv[4]) : 0;
    zi_model_options options = {0};
    zi_request request = zi_request_default();
    options.path = argv[1];
    request.prompt = argv[2];
    request.progress = show;
    request.preview = preview;
    request.user = &last;
    bool ok = zi_engine_create(NULL, &engine, &error) &&
              zi_model_load(engine, &options, &model, &error) &&
              zi_generate(model, &request, &image, &error) &&
              zi_image_save(image, argv[3], NULL, &error);
    fprintf(stderr, "\n%s\n", ok ? "done" : error.text);
    zi_image_free(image);
    zi_model_free(model);
    zi_engine_free(engine);
    return ok ? 0 : error.code == ZI_ERROR_CANCELLED ? 3 : 1;
}
