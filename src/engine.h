/* What sessions share: the processor's threads, the backend and the embedding cache. */
#ifndef ZI_ENGINE_H
#define ZI_ENGINE_H

#include "backend/cpu/cpu.h"
#include "embedding_cache.h"

struct zi_engine {
    zi_kernels kernels;
    zi_pool *pool;
    zi_backend *backend;
    zi_embedding_cache *embeddings;
    char *cpu, *scratch; /* as in the options; NULL: not said */
};

#endif
