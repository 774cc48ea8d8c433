/* How errors are made and passed on. See zi_error in zimage.h. */
#ifndef ZI_BASE_ERROR_H
#define ZI_BASE_ERROR_H

#include "zimage.h"

/* Both fill the error and return false, so that `return zi_fail(...)` reads well. A NULL error is
 * allowed. zi_fail: the world is wrong (exit code 1); zi_misuse: the call is wrong (exit code 2).
 */
bool zi_fail(zi_error *error, const char *format, ...) ZI_PRINTF(2, 3);
bool zi_misuse(zi_error *error, const char *format, ...) ZI_PRINTF(2, 3);

/* The caller's progress callback asked to stop. */
bool zi_cancelled(zi_error *error);

bool zi_out_of_memory(zi_error *error, size_t bytes);

#endif
