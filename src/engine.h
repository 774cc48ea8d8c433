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
    zi_engine_options options; /* with copies of its texts */
};

/* Whether a GPU computes, and not the processor. */
bool zi_engine_is_gpu(const zi_engine *engine);

/* Writes the name of the device that computes to `out` [size]; "" for the CPU. */
void zi_engine_describe(const zi_engine *engine, char *out, size_t size);

#endif
