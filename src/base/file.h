/* Files and paths: read or map whole files, write files atomically. */
#ifndef ZI_BASE_FILE_H
#define ZI_BASE_FILE_H

#include "base/error.h"

#include <stdio.h>

/* ---- paths ---- */

/* These return new memory, to be freed by the caller, or NULL when memory is short. */

/* dir/name. */
char *zi_path_join(const char *dir, const char *name);

/* The last component of path, as basename(1) gives it; trailing slashes are ignored. */
char *zi_path_basename(const char *path);

/* The path without its last component, as dirname(1) gives it; "." if there is no other. */
char *zi_path_dirname(const char *path);

/* Whether path is a folder, or a link to one. */
bool zi_is_dir(const char *path);

/* Whether path is a regular file, or a link to one. */
bool zi_is_file(const char *path);

/* ---- reading ---- */

/* Reads a regular file of at most max bytes. Sets *data to its bytes and a closing NUL, which the
 * caller frees, and *size to the file's size. A larger file is ZI_ERROR_UNSUPPORTED. */
bool zi_file_read(const char *path, size_t max, char **data, size_t *size,
                  zi_error *error) ZI_CHECKED;

/* A file mapped read-only into memory. */
typedef struct {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
} zi_mapping;

/* Maps a regular file. The caller unmaps it. */
bool zi_file_map(const char *path, zi_mapping *out, zi_error *error) ZI_CHECKED;

/* Unmaps the file and zeroes *mapping. A zeroed mapping is allowed. */
void zi_file_unmap(zi_mapping *mapping);

/* Maps the file at path over an existing mapping, at the same address. Fails if its size is not
 * mapping->size. */
bool zi_file_remap(const char *path, const zi_mapping *mapping, zi_error *error) ZI_CHECKED;

/* Asks the kernel to read these mapped bytes ahead (madvise SEQUENTIAL and WILLNEED). */
void zi_prefetch_pages(const void *data, size_t size);

/* Releases the memory of these mapped bytes (madvise DONTNEED). They stay readable: the next access
 * reads them from the file again. */
void zi_drop_pages(const void *data, size_t size);

/* ---- writing ---- */

/* An output file, written atomically: bytes go to a temporary file in the same folder, which
 * zi_output_commit renames to path. */
typedef struct {
    FILE *stream;
    char *path;
    char *temporary; /* NULL: written in place (zi_output_resume) */
} zi_output;

/* Creates the temporary file for path. Fails when path is a folder or a device, or empty. */
bool zi_output_open(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;

/* Opens path itself for reading and writing, to resume an interrupted write. Creates it if missing,
 * never truncates or removes it. */
bool zi_output_resume(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;

/* Writes at the current position, buffered. */
bool zi_output_write(zi_output *output, const void *data, size_t size, zi_error *error) ZI_CHECKED;

/* Moves the position of the next write to `offset` bytes from the start. */
bool zi_output_seek(zi_output *output, size_t offset, zi_error *error) ZI_CHECKED;

/* Flushes the buffer and calls fsync. */
bool zi_output_sync(zi_output *output, zi_error *error) ZI_CHECKED;

/* Syncs, closes and renames to path, replacing a file there, then syncs the folder. After a failure
 * the temporary file is removed and path is unchanged. The output is freed in any case. */
bool zi_output_commit(zi_output *output, zi_error *error) ZI_CHECKED;

/* Commits only if path does not exist; ZI_ERROR_EXISTS otherwise (never overwrites). */
bool zi_output_commit_new(zi_output *output, zi_error *error) ZI_CHECKED;

/* Closes and removes the temporary file and frees the output. Does nothing after a commit or on a
 * zeroed output, so callers may call it on every exit path. */
void zi_output_discard(zi_output *output);

/* Checks, by creating and removing a temporary file, that zi_output_open succeeds for path. */
bool zi_output_check_writable(const char *path, zi_error *error) ZI_CHECKED;

/* Removes the temporary files and folders of all open outputs of the process, output folders
 * included. Async-signal-safe. */
void zi_output_abandon_all(void);

#endif
