/* Files: read or map whole, write so that they appear only when whole. */
#ifndef ZI_BASE_FILE_H
#define ZI_BASE_FILE_H

#include "base/error.h"

#include <stdio.h>

/* dir and name joined by a slash in new memory; NULL when memory is short. */
char *zi_path_join(const char *dir, const char *name);

/* The part behind the last slash, trailing slashes ignored, in new memory. */
char *zi_path_base(const char *path);

/* What is before that, "." if nothing is, in new memory. */
char *zi_path_folder(const char *path);

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
void zi_output_discard(zi_output *output);

/* Whether a file could be created at path, for refusing before the work instead of after it. */
bool zi_output_probe(const char *path, zi_error *error) ZI_CHECKED;

/* Removes the temporary files of all open outputs; safe to call from a signal handler. */
void zi_output_abandon_all(void);

#endif
