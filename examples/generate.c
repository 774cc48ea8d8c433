/* Generates an image: generate MODEL PROMPT FILE */
#include <stdio.h>
#include <zimage.h>

int main(int argc, char **argv)
{
    zi_error error = {0};
    zi_engine *engine = NULL;
    zi_model *model = NULL;
    zi_image *image = NULL;
    if (argc != 4) return fprintf(stderr, "usage: %s MODEL PROMPT FILE\n", argv[0]), 2;
    zi_model_options options = {0};
    zi_request request = zi_request_default();
    options.path = argv[1];
    request.prompt = argv[2];
    bool ok = zi_engine_create(NULL, &engine, &error) &&
              zi_model_load(engine, &options, &model, &error) &&
              zi_generate(model, &request, &image, &error) &&
              zi_image_save(image, argv[3], NULL, &error);
    if (!ok) fprintf(stderr, "%s\n", error.text);
    zi_image_free(image);
    zi_model_free(model);
    zi_engine_free(engine);
    return ok ? 0 : 1;
}
