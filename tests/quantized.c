#include "quantized.h"
#include "io/layout.h"

bool zi_test_quantize(zi_model *model, const char *folder, zi_error *error)
{
    zi_weights weights;
    zi_transformer transformer;
    zi_layout layout;
    if (!zi_layout_read(folder, &layout, error)) return false;
    bool open = zi_weights_open(&layout, ZI_TRANSFORMER, 0, &weights, error);
    zi_layout_free(&layout);
    if (!open) return false;
    weights.bits = 8;
    if (!zi_transformer_bind(&weights, &model->config.transformer, &transformer, error))
        return false;
    zi_transformer_free(&model->transformer);
    model->transformer = transformer;
    return true;
}
