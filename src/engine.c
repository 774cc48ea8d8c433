#include "engine.h"
#include "backend/vulkan/vulkan.h"
#include "devices.h"

#include <stdio.h>
#include <stdlib.h>

/* Replaces a text by a copy in new memory; it may be NULL. Sets *ok to false when memory is short,
 * else leaves it as it is. */
static void copy_text(const char **text, bool *ok)
{
    const char *original = *text;
    *text = original ? strdup(original) : NULL;
    *ok = *ok && (*text || !original);
}

/* Sets the options, kernels, thread pool, backend and embedding cache of a zeroed engine; o is not
 * NULL. False, with *error set: the caller frees the engine with what it has. */
static bool create_engine_parts(zi_engine *e, const zi_engine_options *o, zi_error *error)
{
    bool copied = true;
    e->options = *o;
    copy_text(&e->options.cpu, &copied);
    copy_text(&e->options.scratch, &copied);
    copy_text(&e->options.embeddings, &copied);
    copy_text(&e->options.device, &copied);
    copy_text(&e->options.device_cache, &copied);
    if (!copied) return zi_error_no_memory(error, sizeof *e);
    return zi_kernels_select(o->cpu, &e->kernels, error) &&
           zi_pool_create((size_t)o->threads, &e->pool, error) &&
           zi_device_open(&e->options, &e->kernels, e->pool, &e->backend, error) &&
           zi_embedding_cache_create(o->embeddings, &e->embeddings, error);
}

void zi_engine_device(const zi_engine *engine, char *text, size_t size)
{
    zi_vulkan_memory memory;
    zi_engine_describe(engine, text, size);
    size_t length = strlen(text);
    if (!length) return;
    zi_vulkan_memory_report(engine->backend, &memory);
    snprintf(text + length, size - length, ": %s", memory.text);
}

bool zi_engine_is_gpu(const zi_engine *engine)
{
    return strcmp(engine->backend->ops->name, "cpu") != 0;
}

void zi_engine_describe(const zi_engine *engine, char *out, size_t size)
{
    snprintf(out, size, "%s", zi_engine_is_gpu(engine) ? engine->backend->variant : "");
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
    const char *texts[] = {engine->options.cpu, engine->options.scratch, engine->options.embeddings,
                           engine->options.device, engine->options.device_cache};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) free((char *)(uintptr_t)texts[i]);
    free(engine);
}
