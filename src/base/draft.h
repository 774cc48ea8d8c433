/* What is being written: a file or folder PATH.part-PID-N beside the place PATH, which it takes
 * when it is whole. Its writer holds a lock on it, which tells it from what a killed one left: the
 * number of a process does not, where containers give the same one to each. */
#ifndef ZI_BASE_DRAFT_H
#define ZI_BASE_DRAFT_H

#include <stdbool.h>
#include <stddef.h>

/* Room for the name, its closing NUL included. */
#define ZI_TEMPORARY_NAME_SIZE(path) (strlen(path) + 64)

/* The next name for PATH. */
void zi_temporary_name(const char *path, char *name, size_t size);

/* Whether a file or folder is called so. */
bool zi_is_temporary_name(const char *name);

/* Takes the lock of what was just made and opened as fd, until fd is closed. False: a sweep was
 * faster and removed it. */
bool zi_temporary_lock(int fd);

/* Takes the lock of one that nobody writes: a descriptor, or -1 when somebody does. */
int zi_temporary_try_lock(const char *path);

/* Removes what killed calls left for PATH. */
void zi_remove_stale_temporaries(const char *path);

#endif
