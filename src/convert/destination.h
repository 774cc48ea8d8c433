/* Checks of a conversion's destination path, made before anything is written. */
#ifndef ZI_CONVERT_DESTINATION_H
#define ZI_CONVERT_DESTINATION_H

#include "base/error.h"

/* Checks that path can be created; creates nothing. ZI_ERROR_EXISTS: something is there, but an
 * empty folder is fine if `folder` is set. ZI_ERROR_IO: its folder is missing.
 * ZI_ERROR_INVALID_ARGUMENT: it is empty, or path and an input contain one another. Elements of
 * inputs [count] may be NULL or missing files. */
bool zi_destination_check(const char *path, bool folder, const char *const *inputs, size_t count,
                          zi_error *error) ZI_CHECKED;

#endif
