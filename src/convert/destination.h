/* Where a conversion's result is to be: whether it may be there, and whether it fits. */
#ifndef ZI_CONVERT_DESTINATION_H
#define ZI_CONVERT_DESTINATION_H

#include "base/error.h"

/* Nothing, or (for a folder) an empty folder, may be at path, and it may not lie in one of the
 * inputs (some of which may be NULL), nor they in it. */
bool zi_destination_check(const char *path, bool folder, const char *const *inputs, size_t count,
                          zi_error *error) ZI_CHECKED;

/* Whether the disk has room for so many bytes at path. */
bool zi_destination_check_space(const char *path, size_t bytes, zi_error *error) ZI_CHECKED;

#endif
