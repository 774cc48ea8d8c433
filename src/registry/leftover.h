/* What killed calls left in the models folder, unfinished: SECTION/NAME.part-PID-N. */
#ifndef ZI_REGISTRY_LEFTOVER_H
#define ZI_REGISTRY_LEFTOVER_H

#include "base/error.h"

/* Calls fn with the name of each and the bytes that it takes on the disk. */
typedef void (*zi_stale_temporary_fn)(void *user, const char *name, uint64_t bytes);
void zi_stale_temporary_for_each(const char *folder, zi_stale_temporary_fn fn, void *user);

/* Removes the one of that name, unless it is being written. */
bool zi_stale_temporary_remove(const char *folder, const char *name, zi_error *error) ZI_CHECKED;

#endif
