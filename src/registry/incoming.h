/* FOLDER/.incoming: models of which not all has come yet, by their repositories' names. */
#ifndef ZI_REGISTRY_INCOMING_H
#define ZI_REGISTRY_INCOMING_H

#include "base/error.h"

typedef struct {
    char *path; /* FOLDER/.incoming/NAME */
    char *lock_path, *above;
    int lock; /* a file descriptor; below 0: not held */
} zi_incoming;

/* Free it in any case. */
bool zi_incoming_name(const char *folder, const char *name, zi_incoming *out,
                      zi_error *error) ZI_CHECKED;

/* Takes its lock: two calls would be in each other's way. */
bool zi_incoming_lock(zi_incoming *incoming, zi_error *error) ZI_CHECKED;

/* Removes what is there, if something is; the lock is held. */
bool zi_incoming_clear(zi_incoming *incoming, zi_error *error) ZI_CHECKED;

void zi_incoming_free(zi_incoming *incoming);

/* Calls fn with the name of each, ".incoming/NAME", and the bytes that it takes on the disk. */
typedef void (*zi_incoming_fn)(void *user, const char *name, uint64_t bytes);
void zi_incoming_each(const char *folder, zi_incoming_fn fn, void *user);

/* NAME of ".incoming/NAME"; NULL: it is no such name. */
const char *zi_incoming_called(const char *name);

/* Removes what has come of NAME. */
bool zi_incoming_remove(const char *folder, const char *name, zi_error *error) ZI_CHECKED;

#endif
