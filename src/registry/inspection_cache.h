/* Cache of inspections by path. An entry is valid while the names, sizes and times of the model's
 * files are unchanged. Thread-safe. */
#ifndef ZI_REGISTRY_INSPECTION_CACHE_H
#define ZI_REGISTRY_INSPECTION_CACHE_H

#include "inspect/inspection.h"

#include <stdint.h>

typedef struct zi_inspection_cache zi_inspection_cache;

/* Creates a cache that is stored in a JSON file; the name `file` is borrowed, NULL: kept in memory
 * only. The file is read on first use. A damaged one, or one of another version, counts as empty.
 * NULL: memory is short. */
zi_inspection_cache *zi_inspection_cache_create(const char *file);

/* Frees the cache without saving it. NULL is allowed. */
void zi_inspection_cache_free(zi_inspection_cache *cache);

/* State of the files at or below a path. */
typedef struct {
    uint64_t fingerprint; /* hash of names, sizes and times of change, not of contents */
    uint64_t bytes;       /* sum of sizes */
} zi_files_state;

/* Sets *out for all regular files at or below path (or of the GGUF model in several files of which
 * it is one; missing ones are left out), with links followed (stat only), without names below it
 * that begin with a dot. False: path or something below cannot be read; *error is set, *out of no
 * use. */
bool zi_files_state_read(const char *path, zi_files_state *out, zi_error *error) ZI_CHECKED;

/* Returns the inspection of the path, spelled like this, if it was made with this state, as a
 * reference that the caller frees; NULL: none. Reads the cache's file on first use. */
zi_inspection *zi_inspection_cache_get(zi_inspection_cache *cache, const char *path,
                                       const zi_files_state *state);

/* Stores an inspection in memory, replacing an older one of the path; zi_inspection_cache_save
 * writes it. Takes a reference of its own and copies the rest. When memory is short or path's
 * folder is gone, it is not stored, and an older one stays. */
void zi_inspection_cache_put(zi_inspection_cache *cache, const char *path,
                             const zi_files_state *state, zi_inspection *inspection);

/* Writes the file, atomically, if there is one and entries have changed since the last save; leaves
 * out those whose path is gone, which stay in memory. Errors are ignored: models are then inspected
 * again by the next process. */
void zi_inspection_cache_save(zi_inspection_cache *cache);

#endif
