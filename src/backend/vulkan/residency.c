/* Groups of weights in device memory: what uses them, and which of them leave to make room. */
#include "backend/vulkan/weights.h"

#include <stdlib.h>

/* In what follows, callers hold memory_mutex where nothing else is said. */

/* ---- groups ---- */

void gpu_evict(gpu_backend *gpu, gpu_group *group)
{
    gpu_memory_free(gpu, &group->memory);
    group->use_count = 0;
    group->loader = NULL;
}

/* Forgets submissions that have ended. Returns whether others use the group. */
static bool is_pinned(gpu_group *group)
{
    size_t left = 0;
    for (size_t i = 0; i < group->use_count; i++)
        if (gpu_finished(group->uses[i].exec) < group->uses[i].number)
            group->uses[left++] = group->uses[i];
    group->use_count = left;
    return left > 0;
}

bool gpu_note_use(gpu_group *group, const gpu_exec *exec)
{
    uint64_t number = exec->submitted + 1;
    size_t i = 0;
    while (i < group->use_count && group->uses[i].exec != exec) i++;
    if (i == group->use_capacity) {
        gpu_group_use *grown = realloc(group->uses, (i + 4) * sizeof *grown);
        if (!grown) return false;
        group->uses = grown;
        group->use_capacity = i + 4;
    }
    group->uses[i] = (gpu_group_use){exec, number};
    if (i == group->use_count) group->use_count++;
    return true;
}

void gpu_free_group(gpu_backend *gpu, gpu_group *group)
{
    gpu_group **at = &gpu->groups;
    while (*at != group) at = &(*at)->next;
    *at = group->next;
    gpu_evict(gpu, group);
    free(group->uses);
    free(group);
}

/* ---- making room ---- */

bool gpu_fits(gpu_backend *gpu, uint64_t size)
{
    uint64_t limit = gpu_memory_limit(gpu, false), used = gpu->used;
    return used <= limit && size <= limit - used;
}

/* Whether a is to leave before b. */
static bool leaves_before(const gpu_group *a, const gpu_group *b)
{
    return a->idle != b->idle ? a->idle : a->last < b->last;
}

/* Whether a group has to give way to a weight whose second to last use was at `before`. */
static bool is_stale(const gpu_group *group, uint64_t before, bool idle_too)
{
    return (group->idle && idle_too) || group->last < before;
}

/* Returns the resident group that is to leave first of those that are stale and that no pending
 * submission uses; NULL: there is none. */
static gpu_group *find_stale(gpu_backend *gpu, uint64_t before, bool idle_too)
{
    gpu_group *first = NULL;
    for (gpu_group *g = gpu->groups; g; g = g->next)
        if (gpu_is_resident(g) && is_stale(g, before, idle_too) &&
            (!first || leaves_before(g, first)) && !is_pinned(g))
            first = g;
    return first;
}

/* Waits for the submissions that use one of the resident groups, if they all have begun. False:
 * there is no such group. */
static bool wait_for_group(gpu_backend *gpu)
{
    for (gpu_group *g = gpu->groups; g; g = g->next) {
        bool begun = gpu_is_resident(g) && is_pinned(g);
        for (size_t i = 0; begun && i < g->use_count; i++)
            begun = g->uses[i].number <= g->uses[i].exec->submitted;
        for (size_t i = 0; begun && i < g->use_count; i++)
            begun = gpu_wait_finished(g->uses[i].exec, g->uses[i].number);
        if (begun) return true;
    }
    return false;
}

bool gpu_make_room(gpu_backend *gpu, uint64_t size)
{
    while (!gpu_fits(gpu, size)) {
        gpu_group *group = find_stale(gpu, UINT64_MAX, true);
        if (group)
            gpu_evict(gpu, group);
        else if (!wait_for_group(gpu))
            return false;
    }
    return true;
}

bool gpu_replace_stale(gpu_backend *gpu, uint64_t size, uint64_t before, bool idle_too)
{
    uint64_t limit = gpu_memory_limit(gpu, false), stale = 0;
    for (gpu_group *g = gpu->groups; g; g = g->next)
        if (gpu_is_resident(g) && is_stale(g, before, idle_too) && !is_pinned(g))
            stale += g->memory.size;
    if (gpu->used + size > limit + stale) return false;
    while (!gpu_fits(gpu, size)) {
        gpu_group *group = find_stale(gpu, before, idle_too);
        if (!group) return false;
        gpu_evict(gpu, group);
    }
    return true;
}

void gpu_fit_limit(gpu_backend *gpu)
{
    gpu_group *group;
    gpu_memory_limit(gpu, true);
    if (gpu_fits(gpu, 0)) return;
    pthread_mutex_lock(&gpu->memory_mutex);
    while (!gpu_fits(gpu, 0) && (group = find_stale(gpu, UINT64_MAX, true))) gpu_evict(gpu, group);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

uint64_t gpu_resident_bytes(gpu_backend *gpu, uint64_t *pinned)
{
    uint64_t bytes = 0;
    *pinned = 0;
    for (gpu_group *g = gpu->groups; g; g = g->next) {
        if (!gpu_is_resident(g)) continue;
        bytes += g->memory.size;
        if (is_pinned(g)) *pinned += g->memory.size;
    }
    return bytes;
}
