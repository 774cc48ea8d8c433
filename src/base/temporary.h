/* Temporary files and folders of atomic writes: TARGET.part-PID-N beside TARGET, renamed to TARGET
 * when complete. The writer holds a flock on its temporary. A temporary without a lock is stale:
 * its writer was killed. (The PID alone does not tell, because containers reuse PIDs.) */
#ifndef ZI_BASE_TEMPORARY_H
#define ZI_BASE_TEMPORARY_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that zi_temporary_name needs for a target, the closing NUL included. */
#define ZI_TEMPORARY_NAME_SIZE(target) (strlen(target) + 64)

/* Writes a name that this process has not used before, TARGET.part-PID-N, to name, which has `size`
 * bytes, ZI_TEMPORARY_NAME_SIZE(target) or more: else it is cut. Creates no file. Thread-safe. */
void zi_temporary_name(const char *target, char *name, size_t size);

/* Whether name, which may be a path, ends in ".part-PID-N". Looks only at the name. */
bool zi_is_temporary_name(const char *name);

/* Locks the temporary that the caller has just created and opened as fd; closing fd unlocks it.
 * False when a cleanup in another process has locked or removed it first: close fd and create
 * another one. On file systems without flock this succeeds without a lock. */
bool zi_temporary_lock(int fd);

/* Locks an existing temporary, a file or a folder, if no writer holds it. Returns the descriptor
 * that holds the lock, to be closed by the caller, or -1 if it is locked, cannot be opened, is a
 * symbolic link, or its file system has no flock. Does not check that path still names what it
 * locked. */
int zi_temporary_try_lock(const char *path);

/* Removes the stale temporaries of one target, files and folders TARGET.part-PID-N that no writer
 * has locked, folders with their contents. Those that are locked, or where there is no flock, stay.
 * Errors are ignored. */
void zi_remove_stale_temporaries(const char *target);

#endif
