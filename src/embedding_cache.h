/* A cache of prompt embeddings, in memory (the least recently used are dropped first) and on disk
 * (the oldest files are deleted first). */
#ifndef ZI_EMBEDDING_CACHE_H
#define ZI_EMBEDDING_CACHE_H

#include "base/error.h"

typedef struct zi_embedding_cache zi_embedding_cache;

/* Size of a key: 32 hexadecimal digits and a NUL. */
enum { ZI_EMBEDDING_KEY = 33 };

/* Creates an empty cache; the caller calls zi_embedding_cache_free. folder: where files are kept,
 * copied; it is created if needed (not its parents); if that fails, entries are in memory only, and
 * no error is set. NULL: in memory only. False: out of memory; *out is unchanged. */
bool zi_embedding_cache_create(const char *folder, zi_embedding_cache **out,
                               zi_error *error) ZI_CHECKED;

/* Frees the cache; its files stay. NULL is allowed. */
void zi_embedding_cache_free(zi_embedding_cache *cache);

/* Copies the entry of a key to values [count], from memory or else from its file, and makes it the
 * most recently used one in memory; the file's time stays. False: there is none of this size;
 * values may be overwritten even then. Thread-safe. */
bool zi_embedding_cache_find(zi_embedding_cache *cache, const char *key, float *values,
                             size_t count);

/* Stores a copy of values [count] in memory and in a file, and drops old entries of both. If memory
 * has an entry of this key and size, that is kept, as the most recently used one, and no file is
 * written. Failures are ignored. Thread-safe. */
void zi_embedding_cache_add(zi_embedding_cache *cache, const char *key, const float *values,
                            size_t count);

#endif
