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
#include "backend/vulkan/internal.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { ALIGNMENT = 256 };

/* The latest submission of a session that uses a group. */
typedef struct {
    const gpu_exec *exec;
    uint64_t number;
} group_use;

struct gpu_group {
    gpu_memory memory; /* no handle: not resident */
    VkDeviceSize size;
    gpu_buffer *members;
    uint64_t last; /* when one of them was used last; 0: never */
    bool idle;
    group_use *uses; /* of resident weights */
    size_t use_count, use_capacity;
    const gpu_exec *loader; /* whose submission `loaded_in` copies the weights here; NULL: they are
                               there */
    uint64_t loaded_in;
    gpu_group *next;
};

/* In what follows, callers hold memory_mutex where nothing else is said. */

/* ---- groups ---- */

static bool is_resident(const gpu_group *group)
{
    return group->memory.handle != VK_NULL_HANDLE;
}

/* Takes the memory of a group that no pending submission uses. */
static void evict(gpu_backend *gpu, gpu_group *group)
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

/* Notes that the submission that the session records uses the group. False: memory is short. */
static bool note_use(gpu_group *group, const gpu_exec *exec)
{
    uint64_t number = exec->submitted + 1;
    size_t i = 0;
    while (i < group->use_count && group->uses[i].exec != exec) i++;
    if (i == group->use_capacity) {
        group_use *grown = realloc(group->uses, (i + 4) * sizeof *grown);
        if (!grown) return false;
        group->uses = grown;
        group->use_capacity = i + 4;
    }
    group->uses[i] = (group_use){exec, number};
    if (i == group->use_count) group->use_count++;
    return true;
}

static void free_group(gpu_backend *gpu, gpu_group *group)
{
    gpu_group **at = &gpu->groups;
    while (*at != group) at = &(*at)->next;
    *at = group->next;
    evict(gpu, group);
    free(group->uses);
    free(group);
}

/* ---- making room ---- */

/* Whether so many more bytes are within the limit. */
static bool fits(gpu_backend *gpu, uint64_t size)
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
        if (is_resident(g) && is_stale(g, before, idle_too) &&
            (!first || leaves_before(g, first)) && !is_pinned(g))
            first = g;
    return first;
}

/* Waits for the submissions that use one of the resident groups, if they all have begun. False:
 * there is no such group. */
static bool wait_for_group(gpu_backend *gpu)
{
    for (gpu_group *g = gpu->groups; g; g = g->next) {
        bool begun = is_resident(g) && is_pinned(g);
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
    while (!fits(gpu, size)) {
        gpu_group *group = find_stale(gpu, UINT64_MAX, true);
        if (group)
            evict(gpu, group);
        else if (!wait_for_group(gpu))
            return false;
    }
    return true;
}

/* Makes stale groups leave if that makes room for `size` bytes; otherwise none leaves, and the
 * result is false. */
static bool replace_stale(gpu_backend *gpu, uint64_t size, uint64_t before, bool idle_too)
{
    uint64_t limit = gpu_memory_limit(gpu, false), stale = 0;
    for (gpu_group *g = gpu->groups; g; g = g->next)
        if (is_resident(g) && is_stale(g, before, idle_too) && !is_pinned(g))
            stale += g->memory.size;
    if (gpu->used + size > limit + stale) return false;
    while (!fits(gpu, size)) {
        gpu_group *group = find_stale(gpu, before, idle_too);
        if (!group) return false;
        evict(gpu, group);
    }
    return true;
}

void gpu_fit_limit(gpu_backend *gpu)
{
    gpu_group *group;
    gpu_memory_limit(gpu, true);
    if (fits(gpu, 0)) return;
    pthread_mutex_lock(&gpu->memory_mutex);
    while (!fits(gpu, 0) && (group = find_stale(gpu, UINT64_MAX, true))) evict(gpu, group);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

uint64_t gpu_resident_bytes(gpu_backend *gpu, uint64_t *pinned)
{
    uint64_t bytes = 0;
    *pinned = 0;
    for (gpu_group *g = gpu->groups; g; g = g->next) {
        if (!is_resident(g)) continue;
        bytes += g->memory.size;
        if (is_pinned(g)) *pinned += g->memory.size;
    }
    return bytes;
}

/* ---- copying ---- */

/* Copies a weight to memory that nothing uses, through staging memory if the host does not see it.
 * False: memory is short, which is kept in the session. For callers with or without the mutex. */
static bool copy_weight(gpu_exec *exec, const gpu_buffer *weight, const gpu_place *to)
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
        if (!copy_weight(exec, member, &(gpu_place){group->memory, member->place})) return;
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

/* Bytes that the session's streams need beside what they have: they must not be given to weights
 * that would have to leave again. */
static uint64_t missing_bytes(const gpu_exec *exec)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < (exec->one_stream ? 1 : GPU_SLOTS); i++) {
        uint64_t size = gpu_staging_size(&exec->streams[i]);
        if (size < exec->stream_need) missing += exec->stream_need - size;
    }
    return missing;
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
    uint64_t size = group->size + missing_bytes(exec);
    if (!is_resident(group) && (fits(gpu, size) || replace_stale(gpu, size, before, !was_idle)))
        load(exec, group);
    if (group->loader && group->loader != exec && group->loader->submitted >= group->loaded_in)
        group->loader = NULL;
    bool here = is_resident(group) && (!group->loader || group->loader == exec);
    weight->streamed = !here;
    if (here && !note_use(group, exec) && !exec->failure.code)
        zi_error_no_memory(&exec->failure, sizeof(group_use));
    return here ? group->memory.address + weight->place : 0;
}

/* ---- streaming ---- */

/* What the submission that is recorded streams to. */
static gpu_staging *stream_of(gpu_exec *exec)
{
    return &exec->streams[exec->one_stream ? 0 : exec->submitted % GPU_SLOTS];
}

/* Has all submissions from this one on share what it streams to, for which they wait for each
 * other, and frees what the earlier ones used. */
static void give_up_overlap(gpu_exec *exec)
{
    gpu_staging *current = stream_of(exec), kept = *current;
    if (exec->one_stream || !gpu_wait_finished(exec, exec->submitted)) return;
    *current = (gpu_staging){.kind = kept.kind};
    for (size_t i = 0; i < GPU_SLOTS; i++) gpu_staging_free(exec->gpu, &exec->streams[i]);
    exec->streams[0] = kept;
    exec->one_stream = true;
}

/* Sets the session's failure: `size` bytes more do not fit beside what the submission has already.
 */
static void fail_to_stream(gpu_exec *exec, const gpu_staging *stream, uint64_t size)
{
    gpu_backend *gpu = exec->gpu;
    uint64_t pinned, resident = gpu_resident_bytes(gpu, &pinned), used = gpu->used;
    uint64_t limit = gpu_memory_limit(gpu, false), needed = stream->total + pinned + size;
    uint64_t others = used - resident - stream->total;
    char bytes[32], left[32], all[32];
    if (exec->failure.code) return;
    if (atomic_load(&gpu->lost)) {
        gpu_error(gpu, &exec->failure, VK_ERROR_DEVICE_LOST, "computing failed");
        return;
    }
    zi_error_set(&exec->failure, ZI_ERROR_NO_MEMORY, gpu->capabilities.summary.name,
                 "too little device memory for the weights of even one layer: they need at least "
                 "%s, and %s of %s are free; choose a smaller image or a lower precision",
                 zi_format_bytes(needed, bytes),
                 zi_format_bytes(limit > others ? limit - others : 0, left),
                 zi_format_bytes(limit, all));
}

/* Adds device memory to a stream, for which weights leave. The more attempts failed, the more is
 * done for it. */
static bool grow_stream(gpu_exec *exec, uint64_t size, int attempt)
{
    gpu_backend *gpu = exec->gpu;
    if (attempt) give_up_overlap(exec);
    gpu_staging *stream = stream_of(exec);
    const uint64_t chunk = 1u << 20;
    uint64_t share = gpu_share(gpu_memory_limit(gpu, false));
    uint64_t more = attempt ? size : share < chunk ? share : chunk;
    if (more < size) more = size;
    pthread_mutex_lock(&gpu->memory_mutex);
    bool ok = gpu_make_room(gpu, more);
    if (ok && !gpu_staging_grow(gpu, stream, more, NULL)) {
        gpu->proved = gpu->used;
        ok = false;
    }
    if (!ok && attempt) fail_to_stream(exec, stream, size);
    pthread_mutex_unlock(&gpu->memory_mutex);
    return ok;
}

/* Copies a weight to memory of the submission that is recorded. Returns where it is; 0: memory is
 * short, which is kept in the session. Without the mutex. */
static uint64_t stream(gpu_exec *exec, const gpu_buffer *weight)
{
    uint64_t size = weight->base.size ? weight->base.size : 1;
    gpu_place at;
    if (exec->failure.code) return 0;
    if (exec->streamed_count == exec->streamed_capacity) {
        size_t capacity = 2 * exec->streamed_capacity + 64;
        gpu_streamed *grown = realloc(exec->streamed, capacity * sizeof *grown);
        if (!grown) {
            zi_error_no_memory(&exec->failure, capacity * sizeof *grown);
            return 0;
        }
        exec->streamed = grown;
        exec->streamed_capacity = capacity;
    }
    bool taken = gpu_staging_take(stream_of(exec), size, ALIGNMENT, &at);
    for (int attempt = 0; !taken && attempt < 2; attempt++)
        taken = grow_stream(exec, size, attempt) &&
                gpu_staging_take(stream_of(exec), size, ALIGNMENT, &at);
    if (!taken || !copy_weight(exec, weight, &at)) return 0;
    uint64_t address = at.memory.address + at.offset;
    exec->streamed[exec->streamed_count++] = (gpu_streamed){weight, address};
    uint64_t total = stream_of(exec)->total;
    if (total > exec->stream_need) exec->stream_need = total;
    return address;
}

/* Once weights have become idle, those of another component are used: what the streams needed so
 * far says nothing of them, and they may all fit. So each stream is given up when it is free next.
 */
static void forget_streams(gpu_exec *exec, gpu_staging *staging, bool idle)
{
    uint64_t latest = exec->gpu->idle_weights;
    if (exec->idle_weights != latest) {
        exec->idle_weights = latest;
        exec->stream_need = 0;
        exec->streams_to_free = GPU_SLOTS;
    }
    if (!exec->streams_to_free || !idle) return;
    exec->streams_to_free--;
    gpu_staging_free(exec->gpu, staging);
}

void gpu_reset_stream(gpu_exec *exec, bool idle)
{
    gpu_backend *gpu = exec->gpu;
    gpu_staging *staging = stream_of(exec);
    if (exec->one_stream && staging->total) idle = gpu_wait_finished(exec, exec->submitted) && idle;
    forget_streams(exec, staging, idle);
    VkDeviceSize least = exec->stream_need, size = gpu_staging_size(staging);
    pthread_mutex_lock(&gpu->memory_mutex);
    if (!size || (size < least && !gpu_make_room(gpu, least - size))) least = 0;
    gpu_staging_reset(gpu, staging, least, idle);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

/* Returns where the submission that is recorded has a weight already; 0: nowhere. */
static uint64_t find_streamed(const gpu_exec *exec, const gpu_buffer *weight)
{
    for (size_t i = 0; i < exec->streamed_count; i++)
        if (exec->streamed[i].weight == weight) return exec->streamed[i].address;
    return 0;
}

uint64_t gpu_weight(gpu_exec *exec, zi_view view)
{
    gpu_buffer *buffer = (gpu_buffer *)view.buffer;
    if (!buffer || !buffer->group) return gpu_address(view);
    uint64_t address = find_streamed(exec, buffer);
    if (!address) {
        pthread_mutex_lock(&exec->gpu->memory_mutex);
        address = use_resident(exec, buffer);
        pthread_mutex_unlock(&exec->gpu->memory_mutex);
    }
    if (!address) address = stream(exec, buffer);
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
        if (g->loaded_in > exec->submitted) evict(gpu, g); /* the copy was never submitted */
        g->loader = NULL;
    }
    pthread_mutex_unlock(&gpu->memory_mutex);
}

void gpu_weights_drop(gpu_backend *gpu)
{
    pthread_mutex_lock(&gpu->memory_mutex);
    for (gpu_group *g = gpu->groups; g; g = g->next) evict(gpu, g);
    pthread_mutex_unlock(&gpu->memory_mutex);
}

/* ---- imports ---- */

/* Finds the group for the next weight, or makes it: the latest one while it is small and was not
 * used. NULL: memory is short. */
static gpu_group *open_group(gpu_backend *gpu, VkDeviceSize size)
{
    gpu_group *group = gpu->groups;
    uint64_t share = gpu_share(gpu_memory_limit(gpu, false));
    if (group && !group->last && !is_resident(group) && group->size + size <= share) return group;
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
    VkDeviceSize taken = ((size ? size : 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
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
    if (!weight->group->members) free_group(gpu, weight->group);
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

void zi_vulkan_memory_report(zi_backend *backend, zi_vulkan_memory *out)
{
    gpu_backend *gpu = gpu_of(backend);
    char weights[32], resident[32], streamed[32], sessions[32], limit[32];
    uint64_t pinned, used;
    *out = (zi_vulkan_memory){0};
    pthread_mutex_lock(&gpu->state_mutex); /* while it is not opened anew */
    pthread_mutex_lock(&gpu->memory_mutex);
    for (const gpu_group *g = gpu->groups; g; g = g->next)
        for (const gpu_buffer *b = g->members; b; b = b->next) {
            out->weights += b->base.size;
            if (b->streamed) out->streamed += b->base.size;
        }
    out->resident = gpu_resident_bytes(gpu, &pinned);
    out->sessions = gpu->session;
    used = gpu->used;
    pthread_mutex_unlock(&gpu->memory_mutex);
    out->limit = gpu_memory_limit(gpu, true);
    pthread_mutex_unlock(&gpu->state_mutex);
    out->buffers = used > out->resident + out->sessions ? used - out->resident - out->sessions : 0;
    zi_format_bytes(out->limit, limit);
    zi_format_bytes(out->weights, weights);
    zi_format_bytes(out->resident, resident);
    zi_format_bytes(out->sessions, sessions);
    snprintf(out->text, sizeof out->text,
             "of %s of weights, %s are in device memory%s%s%s; images take %s there, of at most %s",
             weights, resident, out->streamed ? " and " : "",
             out->streamed ? zi_format_bytes(out->streamed, streamed) : "",
             out->streamed ? " are copied there for every use" : "", sessions, limit);
}
