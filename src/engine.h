/* The engine: the thread pool, backend and embedding cache that sessions share. */
#ifndef ZI_ENGINE_H
#define ZI_ENGINE_H

#include "backend/cpu/cpu.h"
#include "embedding_cache.h"

struct zi_engine {
    zi_kernels kernels;
    zi_pool *pool;
    zi_backend *backend;
    zi_embedding_cache *embeddings;
    char *cpu, *scratch; /* copies of the options; NULL: not given */
};

#endif
