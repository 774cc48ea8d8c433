/* Partial downloads: FOLDER/.incoming/NAME, where a model is downloaded before it is moved to its
 * place. NAME is the repository's. An interrupted download is resumed there. */
#ifndef ZI_REGISTRY_PARTIAL_DOWNLOAD_H
#define ZI_REGISTRY_PARTIAL_DOWNLOAD_H

#include "base/error.h"

typedef struct {
    char *path;            /* FOLDER/.incoming/NAME */
    char *lock_path;       /* path with ".lock" appended */
    char *incoming_folder; /* FOLDER/.incoming */
    int lock;              /* a file descriptor; below 0: not locked */
} zi_partial_download;

/* Sets the paths for FOLDER/.incoming/NAME, and creates nothing; not locked yet. name is not
 * checked. False: out of memory. The caller frees *out in any case. */
bool zi_partial_download_init(const char *folder, const char *name, zi_partial_download *out,
                              zi_error *error) ZI_CHECKED;

/* Creates .incoming, but not NAME in it, and locks the download (flock), which must not be locked
 * yet, without blocking. ZI_ERROR_EXISTS: another process, or another call in this one, has the
 * lock. */
bool zi_partial_download_lock(zi_partial_download *download, zi_error *error) ZI_CHECKED;

/* Removes the downloaded files, if any, the lock file in any case, and .incoming if it is empty
 * then. The lock must be held, and stays held. False: some downloaded files could not be
 * removed. */
bool zi_partial_download_delete_files(zi_partial_download *download, zi_error *error) ZI_CHECKED;

/* Releases the lock, if held, and the memory. No file is removed. The struct becomes {.lock = -1},
 * which is allowed; NULL and {0}, with lock 0, are not. */
void zi_partial_download_free(zi_partial_download *download);

/* A callback of zi_partial_download_for_each. name is ".incoming/NAME", bytes what the files occupy
 * on the disk. */
typedef void (*zi_partial_download_fn)(void *user, const char *name, uint64_t bytes);

/* Calls fn for every partial download in the models folder, also for those in progress. Calls it
 * for none if the folder cannot be read. */
void zi_partial_download_for_each(const char *folder, zi_partial_download_fn fn, void *user);

/* Returns a pointer to NAME in ".incoming/NAME"; NULL if name is not of this form. NAME is not
 * checked: it may be empty or have slashes. */
const char *zi_partial_download_parse_name(const char *name);

/* Sets *path to the folder of the partial download NAME (without ".incoming/"), in new memory.
 * ZI_ERROR_NOT_FOUND: there is none, or the name is not valid. */
bool zi_partial_download_find(const char *folder, const char *name, char **path,
                              zi_error *error) ZI_CHECKED;

/* Removes the partial download NAME (without ".incoming/") with all its files. ZI_ERROR_NOT_FOUND:
 * there is none, or the name is not valid; ZI_ERROR_EXISTS: it is locked, as it is in progress. */
bool zi_partial_download_remove(const char *folder, const char *name, zi_error *error) ZI_CHECKED;

#endif
