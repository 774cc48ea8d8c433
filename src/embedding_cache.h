/* What text encoders made of prompts: the latest in memory, more on disk. */
#ifndef ZI_EMBEDDING_CACHE_H
#define ZI_EMBEDDING_CACHE_H

#include "base/error.h"

typedef struct zi_embedding_cache zi_embedding_cache;

/* Hexadecimal digits and a NUL. */
enum { ZI_EMBEDDING_KEY = 33 };

/* Files lie in `folder`, which is made and may fail to be; NULL: nothing is kept on disk. */
bool zi_embedding_cache_create(const char *folder, zi_embedding_cache **out,
                               zi_error *error) ZI_CHECKED;
void zi_embedding_cache_free(zi_embedding_cache *cache);

/* Both may be called by several threads at once. Fills in values [count] and returns true if there
 * are as many under the key. */
bool zi_embedding_cache_find(zi_embedding_cache *cache, const char *key, float *values,
                             size_t count);

/* Keeps a copy. Failures do no harm: the prompt is encoded again. */
void zi_embedding_cache_add(zi_embedding_cache *cache, const char *key, const float *values,
                            size_t count);

#endif
