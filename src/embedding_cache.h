/* A least-recently-used cache of prompt embeddings, in memory and on disk. */
#ifndef ZI_EMBEDDING_CACHE_H
#define ZI_EMBEDDING_CACHE_H

#include "base/error.h"

typedef struct zi_embedding_cache zi_embedding_cache;

/* Size of a key: 32 hexadecimal digits and a NUL. */
enum { ZI_EMBEDDING_KEY = 33 };

/* folder: where files are kept; it is created if needed, and a failure to do so is ignored. NULL:
 * the cache is in memory only. */
bool zi_embedding_cache_create(const char *folder, zi_embedding_cache **out,
                               zi_error *error) ZI_CHECKED;
void zi_embedding_cache_free(zi_embedding_cache *cache);

/* Copies the entry of a key to values [count]; false: there is none of this size. Thread-safe. */
bool zi_embedding_cache_find(zi_embedding_cache *cache, const char *key, float *values,
                             size_t count);

/* Stores a copy of values [count]. Failures are ignored: the prompt is encoded again. Thread-safe.
 */
void zi_embedding_cache_add(zi_embedding_cache *cache, const char *key, const float *values,
                            size_t count);

#endif
