/* Files and paths: read or map whole files, write files atomically. */
#ifndef ZI_BASE_FILE_H
#define ZI_BASE_FILE_H

#include "base/error.h"

#include <stdio.h>

/* ---- paths ---- */

/* Returns dir/name in new memory, to be freed by the caller; NULL when memory is short. A slash is
 * added unless dir ends in one: "" gives "/name". */
char *zi_path_join(const char *dir, const char *name);

/* Returns the last component of path in new memory, to be freed by the caller; NULL when memory is
 * short. Trailing slashes are ignored; "/" and "" give "". */
char *zi_path_basename(const char *path);

/* Returns path without its last component, as dirname(1) gives it, in new memory, to be freed by
 * the caller; NULL when memory is short. "." if there is no other component; "/" for "/". */
char *zi_path_dirname(const char *path);

/* Returns the extension of a file of weights that zimage reads, .safetensors or .gguf in letters of
 * any case, at the end of name; it points into name. NULL: name does not end so, or is nothing
 * else. */
const char *zi_weights_extension(const char *name);

/* Whether path is a folder, or a link to one. False also when it is missing or cannot be
 * reached. */
bool zi_is_dir(const char *path);

/* Whether path is a regular file, or a link to one. False also when it is missing or cannot be
 * reached. */
bool zi_is_file(const char *path);

/* ---- errors ---- */

/* Fills *error, if it is not NULL, for a file or folder that could not be opened or read, by errno;
 * the code is that of zi_error_code_of_errno. Always returns false. */
bool zi_file_cannot_open(zi_error *error, const char *path);

/* Fills *error, if it is not NULL, with ZI_ERROR_IO for a file or folder that could not be created,
 * by errno: a missing or protected folder above it is named. Always returns false. */
bool zi_file_cannot_write(zi_error *error, const char *path);

/* ---- reading ---- */

/* Reads a regular file of at most max bytes. Sets *data to its bytes and a closing NUL, which the
 * caller frees, and *size to the file's size, without the NUL. Larger files and what is not a
 * regular file are ZI_ERROR_UNSUPPORTED. On failure *data and *size are unchanged. */
bool zi_file_read(const char *path, size_t max, char **data, size_t *size,
                  zi_error *error) ZI_CHECKED;

/* A file mapped read-only into memory. */
typedef struct {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
} zi_mapping;

/* Maps a whole regular file read-only; the caller unmaps it with zi_file_unmap. An empty file gives
 * data NULL and size 0. What is not a regular file is ZI_ERROR_UNSUPPORTED. On any failure *out is
 * unchanged. */
bool zi_file_map(const char *path, zi_mapping *out, zi_error *error) ZI_CHECKED;

/* Maps size bytes of zeros, size not 0, that are in no file, read-only; the caller unmaps them with
 * zi_file_unmap. False: memory is short; *out is unchanged. */
bool zi_map_zeros(size_t size, zi_mapping *out, zi_error *error) ZI_CHECKED;

/* Unmaps the file and zeroes *mapping. A zeroed mapping is allowed, NULL is not. */
void zi_file_unmap(zi_mapping *mapping);

/* Maps the file at path over an existing mapping, at the same address; *mapping stays as it is.
 * Fails with ZI_ERROR_BAD_FORMAT if the file's size is not mapping->size. The old contents are kept
 * then, as when the file cannot be opened, but may be lost when the system cannot map
 * (ZI_ERROR_IO). */
bool zi_file_remap(const char *path, const zi_mapping *mapping, zi_error *error) ZI_CHECKED;

/* Asks the kernel to read the pages of these mapped bytes ahead (madvise SEQUENTIAL and WILLNEED).
 * Does not wait; errors are ignored. */
void zi_prefetch_pages(const void *data, size_t size);

/* Releases the memory of the pages that have these bytes of a mapped file (madvise DONTNEED). They
 * stay readable: the next access reads them from the file again. Errors are ignored. */
void zi_drop_pages(const void *data, size_t size);

/* ---- writing ---- */

/* An output file, written atomically: bytes go to a temporary file in the same folder, which
 * zi_output_commit renames to path. */
typedef struct {
    FILE *stream;
    char *path;
    char *temporary; /* NULL: written in place (zi_output_resume) */
} zi_output;

/* Creates the temporary file for path, in the same folder, which must exist. A regular file at path
 * is allowed and not touched before the commit, which replaces a link itself. Fails with
 * ZI_ERROR_EXISTS for a folder or a device, ZI_ERROR_INVALID_ARGUMENT for "", else ZI_ERROR_IO or
 * ZI_ERROR_NO_MEMORY; *output is then zeroed. */
bool zi_output_open(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;

/* zi_output_open for a file that only this user may read and write (mode 600), from the start. */
bool zi_output_open_private(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;

/* zi_output_open for a file that the user named: a link at path stays, and its target is replaced,
 * or created; the new file gets mode and, where the system permits it, owner of the old one. Errors
 * name the target. */
bool zi_output_open_named(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;

/* Opens path itself for reading and writing, at its start, to resume an interrupted write. Creates
 * it if missing, and takes no lock; no later call truncates or removes it. Fails with
 * ZI_ERROR_EXISTS for a folder or a device, ZI_ERROR_INVALID_ARGUMENT for "", else ZI_ERROR_IO;
 * *output is then zeroed. */
bool zi_output_resume(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;

/* Writes at the current position, buffered. ZI_ERROR_IO: a part, also of earlier calls, may not be
 * written; discard the output, because a commit may not notice. */
bool zi_output_write(zi_output *output, const void *data, size_t size, zi_error *error) ZI_CHECKED;

/* Moves the position of the next write to `offset` bytes from the start of the file; bytes that are
 * skipped beyond its end read as zeros. ZI_ERROR_IO on failure. */
bool zi_output_seek(zi_output *output, size_t offset, zi_error *error) ZI_CHECKED;

/* Flushes the buffer and calls fsync: all that was written is on the disk. ZI_ERROR_IO on
 * failure. */
bool zi_output_sync(zi_output *output, zi_error *error) ZI_CHECKED;

/* Syncs, closes and renames to path, replacing a file there, then syncs the folder (errors of that
 * are ignored). After a failure (ZI_ERROR_IO) the temporary file is removed and path is unchanged.
 * A resumed output is only synced and closed. In any case the output is freed and zeroed. */
bool zi_output_commit(zi_output *output, zi_error *error) ZI_CHECKED;

/* Commits like zi_output_commit, but only if nothing exists at path by then: else it fails with
 * ZI_ERROR_EXISTS, what is there stays, and the temporary file is removed. Frees and zeroes the
 * output in any case. A resumed output is only synced and closed. */
bool zi_output_commit_new(zi_output *output, zi_error *error) ZI_CHECKED;

/* Closes and removes the temporary file, frees the output (not NULL) and zeroes it; a resumed file
 * stays, with all that was written. Does nothing after a commit or on a zeroed output, so callers
 * may call it on every exit path. */
void zi_output_discard(zi_output *output);

/* Checks, by creating and removing a temporary file, that zi_output_open_named succeeds for
 * path. What is at path is not touched. */
bool zi_output_check_writable(const char *path, zi_error *error) ZI_CHECKED;

/* Removes the temporary files (64 at most) and folders of all open outputs of the process, output
 * folders included, resumed ones excepted; frees and closes nothing. Errors are ignored. A later
 * commit fails. Async-signal-safe. */
void zi_output_abandon_all(void);

#endif
