/* Checks of a conversion's destination path, made before anything is written. */
#ifndef ZI_CONVERT_DESTINATION_H
#define ZI_CONVERT_DESTINATION_H

#include "base/error.h"

/* Fails unless path can be created: its folder must exist, and nothing at path, except an empty
 * folder when `folder` is set (ZI_ERROR_EXISTS). path and the inputs must not contain one another.
 * Elements of inputs [count] may be NULL; inputs that do not exist are ignored. Creates nothing. */
bool zi_destination_check(const char *path, bool folder, const char *const *inputs, size_t count,
                          zi_error *error) ZI_CHECKED;

#endif
