/* Describes a model folder or file: inspect PATH */
#include <stdio.h>
#include <zimage_models.h>

int main(int argc, char **argv)
{
    zi_error error = {0};
    zi_inspection *model = NULL;
    if (argc != 2) return fprintf(stderr, "usage: %s PATH\n", argv[0]), 2;
    if (!zi_inspect(argv[1], &model, &error)) return fprintf(stderr, "%s\n", error.text), 1;
    printf("zimage %s\n", zi_version());
    printf("%s: %s, %s\n", model->path, model->architecture ? model->architecture : "unknown",
           model->layout ? model->layout : "unknown layout");
    for (int i = 0; i < ZI_COMPONENTS; i++)
        printf("%-14s %zu tensors, %.1f MB%s\n", zi_component_name((zi_component)i),
               model->components[i].tensors.tensors, model->components[i].tensors.bytes / 1e6,
               model->components[i].missing ? ", missing" : "");
    for (size_t i = 0; i < model->problem_count; i++) printf("%s\n", model->problems[i].text);
    printf("%s\n", zi_health_name(model->health));
    zi_inspection_free(model);
    return 0;
}
