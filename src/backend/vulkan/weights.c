/* Weights: which of them lie in device memory.
 *
 * An import only keeps the host's address. Weights are gathered in groups, in the order of their
 * import, so that those of a layer are together; a group comes to device memory as a whole when one
 * of its weights is used, if the limit allows it, and is resident from then on. Otherwise the
 * weight that is used is streamed: copied to memory of the submission, which keeps it for this one
 * alone. Several submissions are under way, so one's weights are copied while others compute.
 *
 * Networks use their weights in a cycle, step by step. If each use could push out what was used
 * longest ago, every weight would be gone just before its next use. So a resident group gives way
 * to another one only if it was not used since the second to last use of that one, or is idle
 * (zi_buffer_set_idle). Buffers of sessions and memory for streaming come first: for these, groups
 * that were used longest ago leave. */
#include "backend/vulkan/weights.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

/* In what follows, callers hold memory_mutex where nothing else is said. */

/* ---- copying ---- */

bool gpu_copy_weight(gpu_exec *exec, const gpu_buffer *weight, const gpu_place *to)
{
    size_t size = weight->base.size;
    gpu_place staged;
    if (!size) return true;
    if (to->memory.host) {
        memcpy(to->memory.host + to->offset, weight->data, size);
        return true;
    }
    if (!gpu_stage(exec, weight->data, size, &staged)) return false;
    gpu_upload(exec, &staged, to, size);
    return true;
}

/* Makes a group resident, if the driver has the memory. */
static void load(gpu_exec *exec, gpu_group *group)
{
    gpu_backend *gpu = exec->gpu;
    if (!gpu_memory_alloc(gpu, GPU_VISIBLE_MEMORY, group->size, &group->memory, NULL)) {
        gpu->proved = gpu->used;
        return;
    }
    if (!group->memory.host) { /* others can use it only behind this submission */
        group->loader = exec;
        group->loaded_in = exec->submitted + 1;
    }
    for (const gpu_buffer *member = group->members; member; member = member->next)
        if (!gpu_copy_weight(exec, member, &(gpu_place){group->memory, member->place})) return;
}

/* ---- uses ---- */

/* Notes when a weight is used; it may be several times in a submission, which count as one. */
static void mark_used(gpu_exec *exec, gpu_buffer *weight)
{
    uint64_t number = exec->submitted + 1;
    weight->group->last = ++exec->gpu->clock;
    weight->group->idle = weight->idle = false;
    if (weight->user != exec || weight->number != number) weight->before = weight->last;
    weight->last = exec->gpu->clock;
    weight->user = exec;
    weight->number = number;
}

/* Returns the address of a weight in its group; 0: it is not resident, or not yet for this
 * session. */
static uint64_t use_resident(gpu_exec *exec, gpu_buffer *weight)
{
    gpu_backend *gpu = exec->gpu;
    gpu_group *group = weight->group;
    bool was_idle = weight->idle;
    uint64_t before = weight->before;
    mark_used(exec, weight);
    uint64_t size = group->size + gpu_missing_stream(exec);
    if (!gpu_is_resident(group) &&
        (gpu_fits(gpu, size) || gpu_replace_stale(gpu, size, before, !was_idle)))
        load(exec, group);
    if (group->loader && group->loader != exec && group->loader->submitted >= group->loaded_in)
        group->loader = NULL;
    bool here = gpu_is_resident(group) && (!group->loader || group->loader == exec);
    weight->streamed = !here;
    if (here && !gpu_note_use(group, exec) && !exec->failure.code)
        zi_error_no_memory(&exec->failure, sizeof(gpu_group_use));
    return here ? group->memory.address + weight->place : 0;
}

uint64_t gpu_weight(gpu_exec *exec, zi_view view)
{
    gpu_buffer *buffer = (gpu_buffer *)view.buffer;
    if (!buffer || !buffer->group) return gpu_address(view);
    if (exec->failure.code) return 0; /* nothing is computed any more */
    uint64_t address = gpu_find_streamed(exec, buffer);
    if (!address) {
        pthread_mutex_lock(&exec->gpu->memory_mutex);
        address = use_resident(exec, buffer);
        pthread_mutex_unlock(&exec->gpu->memory_mutex);
    }
    if (!address) address = gpu_stream(exec, buffer);
    return address ? address + view.offset : 0;
}

void gpu_weights_forget(gpu_exec *exec)
{
    gpu_backend *gpu = exec->gpu;
    pthread_mutex_lock(&gpu->memory_mutex);
    for (gpu_group *g = gpu->groups; g; g = g->next) {
        size_t left = 0;
        for (size_t i = 0; i < g->use_count; i++)
            if (g->uses[i].exec != exec) g->uses[left++] = g->uses[i];
        g->use_count = left;
        if (g->loader != exec) continue;
        if (g->loaded_in > exec->submitted) gpu_evict(gpu, g); /* the copy was never submitted */
        g->loader = NULL;
    }
    pthread_mutex_unlock(&gpu->memory_mutex);
}

void gpu_weights_drop(gpu_backend *gpu)
{
    pthread_mutex_lock(&gpu->memory_mutex);
    for (gpu_group *g = gpu->groups; g; g = g->next) gpu_evict(gpu, g);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

/* ---- imports ---- */

/* Finds the group for the next weight, or makes it: the latest one while it is small and was not
 * used. NULL: memory is short. */
static gpu_group *open_group(gpu_backend *gpu, VkDeviceSize size)
{
    gpu_group *group = gpu->groups;
    uint64_t share = gpu_share(gpu_memory_limit(gpu, false));
    if (group && !group->last && !gpu_is_resident(group) && group->size + size <= share)
        return group;
    group = calloc(1, sizeof *group);
    if (!group) return NULL;
    group->next = gpu->groups;
    gpu->groups = group;
    return group;
}

bool gpu_import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                zi_error *error)
{
    gpu_backend *gpu = gpu_of(backend);
    VkDeviceSize taken = ((size ? size : 1) + GPU_WEIGHT_ALIGNMENT - 1) / GPU_WEIGHT_ALIGNMENT *
                         GPU_WEIGHT_ALIGNMENT;
    gpu_buffer *weight = calloc(1, sizeof *weight);
    if (!weight) return zi_error_no_memory(error, sizeof *weight);
    pthread_mutex_lock(&gpu->memory_mutex);
    gpu_group *group = open_group(gpu, taken);
    if (group) {
        *weight = (gpu_buffer){.base = {.backend = backend, .size = size},
                               .data = data,
                               .group = group,
                               .place = group->size,
                               .next = group->members};
        group->members = weight;
        group->size += taken;
    }
    pthread_mutex_unlock(&gpu->memory_mutex);
    if (group) {
        *out = &weight->base;
        return true;
    }
    free(weight);
    return zi_error_no_memory(error, sizeof *group);
}

void gpu_weight_release(gpu_backend *gpu, gpu_buffer *weight)
{
    pthread_mutex_lock(&gpu->memory_mutex);
    gpu_buffer **at = &weight->group->members;
    while (*at != weight) at = &(*at)->next;
    *at = weight->next;
    if (!weight->group->members) gpu_free_group(gpu, weight->group);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

void gpu_set_idle(zi_buffer *base)
{
    gpu_backend *gpu = gpu_of(base->backend);
    gpu_buffer *weight = (gpu_buffer *)base;
    pthread_mutex_lock(&gpu->memory_mutex);
    weight->idle = weight->group->idle = true;
    weight->streamed = false;
    gpu->idle_weights++;
    pthread_mutex_unlock(&gpu->memory_mutex);
}

/* ---- the report ---- */

/* Writes what images are computed in, those of the sessions that are open or, if there is none,
 * that were last; spilled: in the host's memory. */
static void describe_images(const zi_vulkan_memory *m, uint64_t last, bool spilled, char out[176])
{
    char bytes[32], host[32];
    bool open = m->sessions || m->spilled;
    uint64_t here = open ? m->sessions : spilled ? 0 : last;
    uint64_t there = open ? m->spilled : spilled ? last : 0;
    size_t n = 0;
    *out = 0;
    if (here || !there)
        n = (size_t)snprintf(out, 176, "; images take %s there", zi_format_bytes(here, bytes));
    if (there)
        snprintf(out + n, 176 - n,
                 "; %simages are computed in the host's memory: device memory is short; they take "
                 "%s there",
                 here ? "other " : "", zi_format_bytes(there, host));
}

void zi_vulkan_memory_report(zi_backend *backend, zi_vulkan_memory *out)
{
    gpu_backend *gpu = gpu_of(backend);
    char weights[32], resident[32], streamed[32], limit[32], images[176];
    uint64_t pinned, used, last;
    *out = (zi_vulkan_memory){.text = "its memory is being changed just now"};
    if (pthread_mutex_trylock(&gpu->state_mutex)) return; /* it is opened anew */
    if (pthread_mutex_trylock(&gpu->memory_mutex)) {
        pthread_mutex_unlock(&gpu->state_mutex);
        return;
    }
    for (const gpu_group *g = gpu->groups; g; g = g->next)
        for (const gpu_buffer *b = g->members; b; b = b->next) {
            out->weights += b->base.size;
            if (b->streamed) out->streamed += b->base.size;
        }
    out->resident = gpu_resident_bytes(gpu, &pinned);
    out->sessions = gpu->session;
    out->spilled = gpu->spilled;
    last = gpu->largest;
    bool spilled = gpu->largest_spilled;
    used = gpu->used;
    pthread_mutex_unlock(&gpu->memory_mutex);
    out->limit = gpu_memory_limit(gpu, true);
    pthread_mutex_unlock(&gpu->state_mutex);
    out->buffers = used > out->resident + out->sessions ? used - out->resident - out->sessions : 0;
    describe_images(out, last, spilled, images);
    snprintf(out->text, sizeof out->text,
             "of %s of weights, %s are in device memory, of at most %s%s%s%s%s",
             zi_format_bytes(out->weights, weights), zi_format_bytes(out->resident, resident),
             zi_format_bytes(out->limit, limit), out->streamed ? "; " : "",
             out->streamed ? zi_format_bytes(out->streamed, streamed) : "",
             out->streamed ? " are copied there for every use" : "", images);
}
