#include "engine.h"

#include <stdlib.h>

/* Returns a copy of text in new memory; text may be NULL: then NULL. Sets *ok to false when memory
 * is short, else leaves it as it is. */
static char *copy_text(const char *text, bool *ok)
{
    char *copy = text ? strdup(text) : NULL;
    *ok = *ok && (copy || !text);
    return copy;
}

/* Sets kernels, thread pool, backend, embedding cache and copied options of a zeroed engine; o is
 * not NULL. False, with *error set: the caller frees the engine with what it has. */
static bool create_engine_parts(zi_engine *e, const zi_engine_options *o, zi_error *error)
{
    bool copied = true;
    e->cpu = copy_text(o->cpu, &copied);
    e->scratch = copy_text(o->scratch, &copied);
    if (!copied) return zi_error_no_memory(error, sizeof *e);
    return zi_kernels_select(o->cpu, &e->kernels, error) &&
           zi_pool_create((size_t)o->threads, &e->pool, error) &&
           zi_cpu_backend_create(&e->kernels, e->pool, e->scratch, &e->backend, error) &&
           zi_embedding_cache_create(o->embeddings, &e->embeddings, error);
}

const char *zi_cpu_tier(size_t index, bool *usable)
{
    bool here;
    const char *name = zi_kernels_tier(index, &here);
    if (name && usable) *usable = here;
    return name;
}

bool zi_engine_create(const zi_engine_options *options, zi_engine **out, zi_error *error)
{
    static const zi_engine_options defaults;
    const zi_engine_options *o = options ? options : &defaults;
    if (!ZI_CHECK_RESERVED(o, error)) return false;
    if (o->threads < 0 || o->threads > 1024)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "threads",
                            "%d is out of range; it must be from 0 (all) to 1024", o->threads);
    zi_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return zi_error_no_memory(error, sizeof *engine);
    if (!create_engine_parts(engine, o, error)) {
        zi_engine_free(engine);
        return false;
    }
    *out = engine;
    return true;
}

void zi_engine_free(zi_engine *engine)
{
    if (!engine) return;
    zi_embedding_cache_free(engine->embeddings);
    if (engine->backend) engine->backend->ops->destroy(engine->backend);
    zi_pool_free(engine->pool);
    free(engine->scratch);
    free(engine->cpu);
    free(engine);
}
