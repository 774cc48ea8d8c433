/* Stale temporaries: files and folders SECTION/NAME.part-PID-N (base/temporary.h) that killed
 * conversions and copies have left in the models folder. */
#ifndef ZI_REGISTRY_STALE_TEMPORARY_H
#define ZI_REGISTRY_STALE_TEMPORARY_H

#include "base/error.h"

/* A callback of zi_stale_temporary_for_each. name is "SECTION/NAME.part-PID-N", bytes what it
 * occupies on the disk. */
typedef void (*zi_stale_temporary_fn)(void *user, const char *name, uint64_t bytes);

/* Calls fn for every temporary in the sections of the models folder `folder` that no writer has
 * locked; it is locked during the call. What cannot be read is skipped, also when memory is
 * short. */
void zi_stale_temporary_for_each(const char *folder, zi_stale_temporary_fn fn, void *user);

/* Sets *path to that of the temporary SECTION/FILE, in new memory. The caller has checked that it
 * is a temporary's name. ZI_ERROR_NOT_FOUND: there is none. */
bool zi_stale_temporary_find(const char *folder, const char *name, char **path,
                             zi_error *error) ZI_CHECKED;

/* Removes the temporary of that name, SECTION/FILE, with its contents. The caller has checked that
 * it is a temporary's name. ZI_ERROR_NOT_FOUND: there is none; ZI_ERROR_EXISTS: its writer is
 * running, or it cannot be locked (a link). Other failures may leave a part. */
bool zi_stale_temporary_remove(const char *folder, const char *name, zi_error *error) ZI_CHECKED;

#endif
