#include "quantized.h"
#include "base/file.h"

#include <stdlib.h>

bool zi_test_quantize(zi_model *model, const char *folder, zi_error *error)
{
    zi_weights weights;
    zi_transformer transformer;
    char *dir = zi_path_join(folder, "transformer");
    if (!dir) return zi_out_of_memory(error, strlen(folder));
    bool ok = zi_weights_open(dir, "diffusion_pytorch_model", &weights, error);
    free(dir);
    if (!ok) return false;
    weights.bits = 8;
    if (!zi_transformer_bind(&weights, &model->config.transformer, &transformer, error))
        return false;
    zi_transformer_free(&model->transformer);
    model->transformer = transformer;
    return true;
}
