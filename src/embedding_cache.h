/* A cache of prompt embeddings, in memory (the least recently used are dropped first) and on disk
 * (the oldest files are deleted first). */
#ifndef ZI_EMBEDDING_CACHE_H
#define ZI_EMBEDDING_CACHE_H

#include "base/error.h"

typedef struct zi_embedding_cache zi_embedding_cache;

/* Size of a key: 32 hexadecimal digits and a NUL. */
enum { ZI_EMBEDDING_KEY = 33 };

/* Creates an empty cache. folder: where files are kept, copied; it is created if needed (not its
 * parents), and a failure to do so is ignored. NULL: the cache is in memory only. False: out of
 * memory. */
bool zi_embedding_cache_create(const char *folder, zi_embedding_cache **out,
                               zi_error *error) ZI_CHECKED;

/* Frees the cache; its files stay. NULL is allowed. */
void zi_embedding_cache_free(zi_embedding_cache *cache);

/* Copies the entry of a key to values [count], from memory or else from its file, and makes it the
 * most recently used one in memory. False: there is none of this size; values may be overwritten
 * even then. Thread-safe. */
bool zi_embedding_cache_find(zi_embedding_cache *cache, const char *key, float *values,
                             size_t count);

/* Stores a copy of values [count] in memory and in a file, and drops old entries of both. An entry
 * of this key and size in memory is kept instead. Failures are ignored. Thread-safe. */
void zi_embedding_cache_add(zi_embedding_cache *cache, const char *key, const float *values,
                            size_t count);

#endif
