/* Checks of a conversion's destination path, made before anything is written. */
#ifndef ZI_CONVERT_DESTINATION_H
#define ZI_CONVERT_DESTINATION_H

#include "base/error.h"

/* Fails unless path can be created: nothing may exist there, except an empty folder when `folder`
 * is set. path and the inputs must not contain one another. Elements of inputs [count] may be NULL.
 */
bool zi_destination_check(const char *path, bool folder, const char *const *inputs, size_t count,
                          zi_error *error) ZI_CHECKED;

#endif
