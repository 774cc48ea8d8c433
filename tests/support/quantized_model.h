/* Models as the quantizer writes them. */
#ifndef ZI_TEST_QUANTIZED_MODEL_H
#define ZI_TEST_QUANTIZED_MODEL_H

/* The MLX folder that the model at `folder` becomes in eight bits, in the test's folder. It is
 * written once; ends the program when it cannot be. */
const char *zi_test_quantized_model(const char *folder);

#endif
