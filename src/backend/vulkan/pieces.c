/* Splits what a session submits into pieces.
 *
 * Drivers reset a device when a submission takes long (two seconds on Windows), and a desktop that
 * the device draws stands still for as long. So a session's log is cut where the estimated cost of
 * its commands reaches a budget; large dispatches are cut, too. The cost is in multiplications, or
 * what takes as long. The budget follows the time that pieces take: in steps of a factor of four,
 * and seldom, since command buffers are found again only for pieces that are the same. */
#include "backend/vulkan/log.h"

#include <stdlib.h>

static const double LONGEST = 0.1, SHORT = 0.02; /* seconds */

enum {
    FIRST_BUDGET_BITS = 28, /* about a tenth of a second on a slow device */
    LEAST_BUDGET_BITS = 22,
    MOST_BUDGET_BITS = 50,
    SOME_COST = 1 << 14, /* of a group for which none is given */
    BYTE_COST = 16       /* of a byte that is copied */
};

/* ---- the budget ---- */

void gpu_pace_init(gpu_backend *gpu)
{
    uint64_t fixed = gpu->options.submission;
    gpu->pace = (gpu_pace){fixed ? fixed : (uint64_t)1 << FIRST_BUDGET_BITS, 0, 4};
}

void gpu_pace_note(gpu_backend *gpu, uint64_t cost, double seconds, bool exact)
{
    gpu_pace *pace = &gpu->pace;
    if (gpu->options.submission) return;
    pthread_mutex_lock(&gpu->queue_mutex);
    double full = seconds * (double)pace->budget / (double)(cost ? cost : 1); /* as predicted */
    if (exact && seconds > LONGEST && pace->budget >> LEAST_BUDGET_BITS) {
        pace->budget /= 4;
        pace->calm = 0;
        pace->patience = pace->patience < 1024 ? pace->patience * 4 : pace->patience;
    } else if (cost >= pace->budget / 4 && full < SHORT) {
        if (++pace->calm >= pace->patience && !(pace->budget >> MOST_BUDGET_BITS)) {
            pace->budget *= 4;
            pace->calm = 0;
        }
    } else if (exact && cost >= pace->budget / 4) {
        pace->calm = 0;
    }
    pthread_mutex_unlock(&gpu->queue_mutex);
}

static uint64_t budget_of(gpu_backend *gpu)
{
    pthread_mutex_lock(&gpu->queue_mutex);
    uint64_t budget = gpu->pace.budget;
    pthread_mutex_unlock(&gpu->queue_mutex);
    return budget;
}

/* ---- costs ---- */

static uint64_t group_cost(const gpu_dispatch_command *d)
{
    return d->cost ? d->cost : SOME_COST;
}

uint64_t gpu_command_cost(const unsigned char *entry)
{
    gpu_command head;
    memcpy(&head, entry, sizeof head);
    if (head.kind == GPU_DISPATCH) {
        gpu_dispatch_command d;
        memcpy(&d, entry, sizeof d);
        return group_cost(&d) * d.groups[0] * d.groups[1] * d.groups[2];
    }
    if (head.kind == GPU_COPY || head.kind == GPU_UPLOAD) {
        gpu_copy_command c;
        memcpy(&c, entry, sizeof c);
        return c.region.size * BYTE_COST;
    }
    return 0;
}

/* ---- pieces ---- */

/* Appends an entry to the session's piece. False: memory is short (kept in the session). */
static bool append(gpu_exec *exec, gpu_piece *piece, const void *entry, size_t size)
{
    if (piece->size + size > exec->piece_capacity) {
        size_t capacity = 2 * exec->piece_capacity + 4096;
        unsigned char *grown = realloc(exec->piece, capacity);
        if (!grown) return zi_error_no_memory(&exec->failure, capacity);
        exec->piece = grown;
        exec->piece_capacity = capacity;
    }
    piece->log = exec->piece;
    memcpy(exec->piece + piece->size, entry, size);
    piece->size += size;
    return true;
}

/* Reduces a dispatch to the groups from `first` on along its axis that a cost allows, at least one.
 * Returns how many these are. */
static uint32_t cut_dispatch(gpu_dispatch_command *d, uint32_t first, uint64_t allowed)
{
    uint32_t axis = d->axis - 1, left = d->groups[axis] - first;
    uint64_t slice = group_cost(d) * d->groups[0] * d->groups[1] * d->groups[2] / d->groups[axis];
    uint64_t fits = allowed / (slice ? slice : 1);
    uint32_t count = fits >= left ? left : fits ? (uint32_t)fits : 1;
    d->base[axis] = first;
    d->groups[axis] = count;
    return count;
}

/* Appends the command at the cut, or as many of its groups as the budget allows, and moves the cut
 * on. Sets *full when no more is to be appended. False: memory is short. */
static bool take_command(gpu_exec *exec, uint64_t budget, gpu_cut *cut, gpu_piece *piece,
                         bool *full)
{
    const unsigned char *entry = exec->log + cut->at;
    gpu_dispatch_command d = {0};
    gpu_command head;
    memcpy(&head, entry, sizeof head);
    if (head.kind == GPU_DISPATCH) memcpy(&d, entry, sizeof d);
    uint64_t cost = gpu_command_cost(entry), left = budget > piece->cost ? budget - piece->cost : 0;
    bool fits = !cut->group && (cost <= left || (!piece->cost && !d.axis));
    if (fits) {
        cut->at += head.size;
        piece->cost += cost;
        return append(exec, piece, entry, head.size);
    }
    *full = true;
    if (piece->cost) return true; /* it begins a piece of its own */
    uint32_t groups = d.groups[d.axis - 1], taken = cut_dispatch(&d, cut->group, left);
    cut->group += taken;
    if (cut->group >= groups) *cut = (gpu_cut){cut->at + head.size, 0};
    piece->cost += cost / groups * taken;
    return append(exec, piece, &d, head.size);
}

bool gpu_next_piece(gpu_exec *exec, gpu_cut *cut, gpu_piece *piece)
{
    uint64_t budget = budget_of(exec->gpu);
    bool full = false;
    *piece = (gpu_piece){0};
    if (!cut->at && !cut->group && exec->log_cost <= budget) { /* all of it */
        *piece = (gpu_piece){exec->log, exec->log_size, exec->log_cost};
        cut->at = exec->log_size;
        return exec->log_size > 0;
    }
    while (!full && cut->at < exec->log_size)
        if (!take_command(exec, budget, cut, piece, &full)) return false;
    return piece->size > 0;
}
