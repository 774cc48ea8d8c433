/* A loaded model whose transformer is quantized as MLX would store it. */
#ifndef ZI_TEST_QUANTIZED_H
#define ZI_TEST_QUANTIZED_H

#include "internal.h"

/* Binds the transformer of a model loaded from `folder` anew, its matrices in groups of 64
 * eight-bit numbers. */
bool zi_test_quantize(zi_model *model, const char *folder, zi_error *error) ZI_CHECKED;

#endif
