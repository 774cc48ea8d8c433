/* Files: read or map whole, write so that they appear only when whole. */
#ifndef ZI_BASE_FILE_H
#define ZI_BASE_FILE_H

#include "base/error.h"

#include <stdio.h>

/* dir and name joined by a slash in new memory; NULL when memory is short. */
char *zi_path_join(const char *dir, const char *name);

/* The part behind the last slash, trailing slashes ignored, in new memory. */
char *zi_path_basename(const char *path);

/* What is before that, "." if nothing is, in new memory. */
char *zi_path_dirname(const char *path);

bool zi_is_dir(const char *path);
bool zi_is_file(const char *path);

/* A regular file's bytes plus a closing NUL, at most max bytes; free() it. */
bool zi_file_read(const char *path, size_t max, char **data, size_t *size,
                  zi_error *error) ZI_CHECKED;

/* A file mapped for reading. */
typedef struct {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
} zi_mapping;

bool zi_file_map(const char *path, zi_mapping *out, zi_error *error) ZI_CHECKED;
void zi_file_unmap(zi_mapping *mapping);

/* Puts another file of the same size in the place of the one that is mapped, at the same address.
 */
bool zi_file_remap(const char *path, const zi_mapping *mapping, zi_error *error) ZI_CHECKED;

/* Tells the system that these mapped bytes are read next, from the first to the last; or that they
 * are not needed any more, so that they take no memory of this process. */
void zi_prefetch_pages(const void *data, size_t size);
void zi_drop_pages(const void *data, size_t size);

/* An output file under construction: bytes go to a temporary file in the same folder, which takes
 * the real name in zi_output_commit. zi_output_discard removes what was written; it does nothing
 * after a commit, so that it can stand at every `out:`. */
typedef struct {
    FILE *stream;
    char *path, *temporary;
} zi_output;

bool zi_output_open(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;
bool zi_output_write(zi_output *output, const void *data, size_t size, zi_error *error) ZI_CHECKED;
bool zi_output_commit(zi_output *output, zi_error *error) ZI_CHECKED;

/* The same, where nothing may be at path: what came there meanwhile stays, and this fails. */
bool zi_output_commit_new(zi_output *output, zi_error *error) ZI_CHECKED;
void zi_output_discard(zi_output *output);

/* Opens a file at path itself, to go on with what an earlier call left: nothing of it is cut off or
 * removed, whatever happens, and zi_output_commit only makes it last. */
bool zi_output_resume(zi_output *output, const char *path, zi_error *error) ZI_CHECKED;

/* Where the next bytes go, from the file's begin. */
bool zi_output_seek(zi_output *output, size_t offset, zi_error *error) ZI_CHECKED;

/* Brings what was written so far to the disk. */
bool zi_output_sync(zi_output *output, zi_error *error) ZI_CHECKED;

/* Whether a file could be created at path, for refusing before the work instead of after it. */
bool zi_output_check_writable(const char *path, zi_error *error) ZI_CHECKED;

/* Removes the temporary files and folders of all open outputs; safe to call from a signal handler.
 */
void zi_output_abandon_all(void);

#endif
