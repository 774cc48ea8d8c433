/* Checks before a conversion that what it will write loads. */
#ifndef ZI_CONVERT_CHECK_H
#define ZI_CONVERT_CHECK_H

#include "convert/conversion.h"

/* Checks the planned components as loading a model does: that each has all tensors, of the right
 * shapes, and no others; in a whole model also that components fit each other, and that tokenizer
 * (ZI_ERROR_INCOMPLETE for a folder without one) and scheduler can be read. Reads headers, vectors
 * and configs, no other weights. */
bool zi_conversion_check(const zi_conversion *conversion, zi_error *error) ZI_CHECKED;

#endif
