/* Test models in 8 bits. */
#ifndef ZI_TEST_QUANTIZED_MODEL_H
#define ZI_TEST_QUANTIZED_MODEL_H

/* Converts the model at `folder` to MLX with 8 bits, in the test folder, unless that was done
 * before. Returns its path (static buffer). Exits the program on failure. */
const char *zi_test_quantized_model(const char *folder);

#endif
