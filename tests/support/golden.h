/* Golden tests: reference tensors, and comparison with tolerances. */
#ifndef ZI_TEST_GOLDEN_H
#define ZI_TEST_GOLDEN_H

#include "fixture.h"
#include "harness.h"
#include "model/assembly.h"

/* A backend that imports weights: zi_test_gpu's, or one of the CPU; fixtures with any kernel tier
 * can compute with them. It is never freed. */
zi_backend *zi_golden_backend(void);

/* Loads a component of the model tests/data/golden/PATH: returns its config and opens its weights.
 * Exits the program on failure. */
zi_config zi_golden_component(const char *path, zi_component part, zi_weights *weights);

/* Opens tests/data/golden/NAME. Exits the program on failure. */
zi_checkpoint zi_golden_open(const char *name);

/* A tensor by name (printf-like), or its F32 values. Exits the program if it is missing. */
const zi_tensor *zi_golden_tensor(const zi_checkpoint *golden, const char *name, ...)
    ZI_PRINTF(2, 3);
const float *zi_golden_floats(const zi_checkpoint *golden, const char *name, ...) ZI_PRINTF(2, 3);

/* Opens the files of a component at a path, for zi_checkpoint_release. False, with a failed check:
 * they cannot be opened, or the path has no such component. */
bool zi_test_open_part(const char *path, zi_component part, zi_checkpoint **out);

/* Converts a model; components that it lacks come from tests/data/golden/model. False, with a
 * failed check: it cannot be converted. */
bool zi_test_convert(const char *from, const char *to, zi_layout_kind layout,
                     zi_precision precision);

/* Checks n floats against a golden tensor: relative L2 error and largest difference (either bound
 * may be 0: not checked). */
void zi_golden_compare(const zi_checkpoint *golden, const char *name, const float *values, size_t n,
                       double rel_l2, double max_abs);

#endif
