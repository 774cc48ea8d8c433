/* What the golden tests share: reference tensors and tolerances. */
#ifndef ZI_TEST_GOLDEN_H
#define ZI_TEST_GOLDEN_H

#include "engine.h"
#include "harness.h"
#include "model/assembly.h"

/* A CPU backend for weights, which engines of any CPU backend can compute with. It lives as long as
 * the program. */
zi_backend *zi_golden_backend(void);

/* The config and the weights of a part of the model at a path of tests/data/golden; ends the
 * program when they cannot be had. */
zi_config zi_golden_part(const char *path, zi_component part, zi_weights *weights);

/* Opens tests/data/golden/NAME; ends the program when it cannot be read. */
zi_checkpoint zi_golden_open(const char *name);

/* The values of a tensor (printf-like name); ends the program when it is missing. */
const zi_tensor *zi_golden_tensor(const zi_checkpoint *golden, const char *name, ...)
    ZI_PRINTF(2, 3);
const float *zi_golden_floats(const zi_checkpoint *golden, const char *name, ...) ZI_PRINTF(2, 3);

/* Checks n floats against a golden tensor: relative L2 error and largest difference (either bound
 * may be 0: not checked). */
void zi_golden_compare(const zi_checkpoint *golden, const char *name, const float *values, size_t n,
                       double rel_l2, double max_abs);

#endif
