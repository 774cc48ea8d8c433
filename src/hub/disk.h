/* Folders and copies: what putting models away takes. */
#ifndef ZI_HUB_DISK_H
#define ZI_HUB_DISK_H

#include "base/error.h"

/* Makes the folder and those above it. */
bool zi_make_folders(const char *path, zi_error *error) ZI_CHECKED;

/* The same for the folder that path is, or is to be, in. */
bool zi_make_parent_folders(const char *path, zi_error *error) ZI_CHECKED;

/* Bytes that are free on the disk of path, or of the nearest folder above that is there. */
bool zi_disk_free_bytes(const char *path, uint64_t *out, zi_error *error) ZI_CHECKED;

/* What a file, or a folder with all that is in it, takes on the disk; links are not followed. */
uint64_t zi_disk_usage(const char *path);

/* Fails when that is less than `bytes`, which `what` takes. */
bool zi_disk_check_free(const char *path, uint64_t bytes, const char *what,
                        zi_error *error) ZI_CHECKED;

/* Called with bytes that were copied since the last call; false: stop. NULL: no one asks. */
typedef bool (*zi_copy_progress_fn)(void *user, uint64_t bytes);

/* Copies a file to where none is, sharing its blocks where the disk can; it appears when whole. */
bool zi_copy_file(const char *from, const char *to, zi_copy_progress_fn copied, void *user,
                  zi_error *error) ZI_CHECKED;

/* Calls fn with every file below path ("" and path itself if that is one): its name relative to
 * path. Names that begin with a dot are passed over, links are followed. Stops at the first false.
 */
struct stat;
typedef bool (*zi_walk_files_fn)(void *user, const char *name, const struct stat *st,
                                 zi_error *error);
bool zi_walk_files(const char *path, zi_walk_files_fn fn, void *user, zi_error *error) ZI_CHECKED;

/* "12.3 GB", as people write it. */
const char *zi_format_bytes(uint64_t bytes, char out[32]);

#endif
