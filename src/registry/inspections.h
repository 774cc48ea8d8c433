/* What inspections found, kept in a file: a model is inspected again when the names, sizes or times
 * of its files change. */
#ifndef ZI_REGISTRY_INSPECTIONS_H
#define ZI_REGISTRY_INSPECTIONS_H

#include "inspect/inspection.h"

#include <stdint.h>

typedef struct zi_inspection_cache zi_inspection_cache;

/* file: NULL keeps them in memory alone. What it holds is read at the first question; a file that
 * is damaged, or of another version, counts as empty. NULL: memory is short. */
zi_inspection_cache *zi_inspection_cache_create(const char *file);
void zi_inspection_cache_free(zi_inspection_cache *inspections);

/* The state of the files at a path: one number that changes with them. */
typedef struct {
    uint64_t fingerprint, bytes; /* bytes: of all files */
} zi_files_state;
bool zi_files_state_read(const char *path, zi_files_state *out, zi_error *error) ZI_CHECKED;

/* The inspection of a path whose files are in that state, to be freed; NULL: there is none. */
zi_inspection *zi_inspection_cache_get(zi_inspection_cache *inspections, const char *path,
                                       const zi_files_state *state);

/* Keeps an inspection, as one more owner. Short memory only means that it is not kept. */
void zi_inspection_cache_put(zi_inspection_cache *inspections, const char *path,
                             const zi_files_state *state, zi_inspection *inspection);

/* Writes the file if something is new, without what is not there any more. A file that cannot be
 * written is no error: then models are inspected again. */
void zi_inspection_cache_save(zi_inspection_cache *inspections);

#endif
