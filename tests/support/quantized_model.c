#include "quantized_model.h"
#include "base/file.h"
#include "harness.h"

#include <stdlib.h>

const char *zi_test_quantized_model(const char *folder)
{
    static char path[1024];
    char name[128];
    zi_error error = {0};
    char *base = zi_path_basename(folder);
    snprintf(name, sizeof name, "%s-q8", base ? base : "");
    free(base);
    snprintf(path, sizeof path, "%s", zi_test_path(name));
    zi_convert_options options = {.source = folder,
                                  .destination = path,
                                  .layout = ZI_LAYOUT_MLX,
                                  .precision = ZI_PRECISION_Q8};
    if (!zi_is_dir(path) && !zi_convert(&options, &error)) {
        printf("%s: %s\n", folder, error.text);
        exit(1);
    }
    return path;
}
