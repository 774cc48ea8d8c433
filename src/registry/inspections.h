/* What inspections found, kept in a file: a model is inspected again when the names, sizes or times
 * of its files change. */
#ifndef ZI_REGISTRY_INSPECTIONS_H
#define ZI_REGISTRY_INSPECTIONS_H

#include "zimage_models.h"
#include "inspect/inspection.h"

#include <stdint.h>

typedef struct zi_inspections zi_inspections;

/* file: NULL keeps them in memory alone. What it holds is read at the first question; a file that
 * is damaged, or of another version, counts as empty. NULL: memory is short. */
zi_inspections *zi_inspections_create(const char *file);
void zi_inspections_free(zi_inspections *inspections);

/* The state of the files at a path: one number that changes with them. */
typedef struct {
    uint64_t fingerprint, bytes; /* bytes: of all files */
} zi_file_state;
bool zi_file_state_read(const char *path, zi_file_state *out, zi_error *error) ZI_CHECKED;

/* The inspection of a path whose files are in that state, to be freed; NULL: there is none. */
zi_inspection *zi_inspections_find(zi_inspections *inspections, const char *path,
                                   const zi_file_state *state);

/* Keeps an inspection, as one more owner. Short memory only means that it is not kept. */
void zi_inspections_add(zi_inspections *inspections, const char *path, const zi_file_state *state,
                        zi_inspection *inspection);

/* Writes the file if something is new, without what is not there any more. A file that cannot be
 * written is no error: then models are inspected again. */
void zi_inspections_save(zi_inspections *inspections);

#endif
