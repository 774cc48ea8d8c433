/* FOLDER/.incoming: models of which not all has come yet, by their repositories' names. */
#ifndef ZI_REGISTRY_INCOMING_H
#define ZI_REGISTRY_INCOMING_H

#include "base/error.h"

typedef struct {
    char *path; /* FOLDER/.incoming/NAME */
    char *lock_path, *above;
    int lock; /* a file descriptor; below 0: not held */
} zi_partial_download;

/* Free it in any case. */
bool zi_partial_download_init(const char *folder, const char *name, zi_partial_download *out,
                              zi_error *error) ZI_CHECKED;

/* Takes its lock: two calls would be in each other's way. */
bool zi_partial_download_lock(zi_partial_download *incoming, zi_error *error) ZI_CHECKED;

/* Removes what is there, if something is; the lock is held. */
bool zi_partial_download_delete_files(zi_partial_download *incoming, zi_error *error) ZI_CHECKED;

void zi_partial_download_free(zi_partial_download *incoming);

/* Calls fn with the name of each, ".incoming/NAME", and the bytes that it takes on the disk. */
typedef void (*zi_partial_download_fn)(void *user, const char *name, uint64_t bytes);
void zi_partial_download_for_each(const char *folder, zi_partial_download_fn fn, void *user);

/* NAME of ".incoming/NAME"; NULL: it is no such name. */
const char *zi_partial_download_parse_name(const char *name);

/* Removes what has come of NAME. */
bool zi_partial_download_remove(const char *folder, const char *name, zi_error *error) ZI_CHECKED;

#endif
