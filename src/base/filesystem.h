/* The file system: make and remove folders, free space, copy files, walk trees. */
#ifndef ZI_BASE_FILESYSTEM_H
#define ZI_BASE_FILESYSTEM_H

#include "base/error.h"

struct stat;

/* ---- folders ---- */

/* Makes the folder at path and all missing folders above it, as mkdir -p does. Folders that exist
 * are fine, and so are links to folders; for "" it does nothing. ZI_ERROR_IO: one cannot be made,
 * or a file is in the way; those that were made stay. */
bool zi_make_folders(const char *path, zi_error *error) ZI_CHECKED;

/* Makes the folder that contains path, and all missing folders above it, as zi_make_folders does.
 * Path itself is not made. */
bool zi_make_parent_folders(const char *path, zi_error *error) ZI_CHECKED;

/* Removes a file, a link, or a folder with its contents. Links are removed, not followed. False
 * when path is missing (ZI_ERROR_NOT_FOUND), when something cannot be removed, or when folders are
 * nested deeper than 16 levels (ZI_ERROR_IO); it stops there, and a part may be gone. */
bool zi_remove_tree(const char *path, zi_error *error) ZI_CHECKED;

/* Calls fsync on the folder that contains path, so that a file created or renamed there survives a
 * crash. Errors are ignored. */
void zi_sync_parent_folder(const char *path);

/* ---- space ---- */

/* Sets *out to the bytes that an ordinary user can still write to the disk of path. Path may be
 * missing: then the nearest existing folder above it counts. On failure (ZI_ERROR_IO, or memory is
 * short) *out is unchanged. */
bool zi_disk_free_bytes(const char *path, uint64_t *out, zi_error *error) ZI_CHECKED;

/* Fails with ZI_ERROR_IO when fewer than `bytes` bytes are free on the disk of path (which may be
 * missing), or when that cannot be found out. Reserves nothing. `what` names in the error what
 * needs them ("the copy"). */
bool zi_disk_check_free(const char *path, uint64_t bytes, const char *what,
                        zi_error *error) ZI_CHECKED;

/* Returns the disk space in bytes that a file, or a folder with its contents, occupies (blocks, as
 * du counts them, but a file with several names at each of them). Links are not followed. 0 when
 * path is missing; what cannot be read, or is nested deeper than 16 levels, does not count. */
uint64_t zi_disk_usage(const char *path);

/* ---- copying ---- */

/* Called with the number of bytes copied since the last call. Return false to cancel. */
typedef bool (*zi_copy_progress_fn)(void *user, uint64_t bytes);

/* Copies a file's contents atomically; shares blocks (a reflink) where possible, and then calls
 * copied (may be NULL) once with all bytes. Fails with ZI_ERROR_EXISTS if something is at `to` (a
 * file there is noticed only after copying), ZI_ERROR_CANCELLED if copied returns false. The folder
 * of `to` must exist. */
bool zi_copy_file(const char *from, const char *to, zi_copy_progress_fn copied, void *user,
                  zi_error *error) ZI_CHECKED;

/* ---- trees ---- */

/* name is relative to the walked path, and "" when that is itself a file. Return false (with an
 * error) to stop. */
typedef bool (*zi_walk_files_fn)(void *user, const char *name, const struct stat *st,
                                 zi_error *error);

/* Calls fn for every regular file at or below path, in no order. Skips files of other kinds and,
 * unless `hidden`, names with a leading dot (not path itself); follows links. False when fn
 * returned false, with fn's error, or when something cannot be read (a dangling link, too) or
 * folders are nested deeper than 16 levels (ZI_ERROR_UNSUPPORTED). */
bool zi_walk_files(const char *path, bool hidden, zi_walk_files_fn fn, void *user,
                   zi_error *error) ZI_CHECKED;

#endif
