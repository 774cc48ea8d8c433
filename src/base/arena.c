#include "base/arena.h"

#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

zi_arena zi_arena_measure(void)
{
    return (zi_arena){.size = SIZE_MAX};
}

bool zi_arena_create(zi_arena *arena, size_t size, zi_error *error)
{
    *arena = (zi_arena){0};
    size_t unit = size < HUGE_PAGE ? ALIGNMENT : HUGE_PAGE;
    size_t rounded = (size + unit - 1) / unit * unit;
    if (rounded < size) return zi_out_of_memory(error, size);
    arena->base = aligned_alloc(unit, rounded ? rounded : unit);
    if (!arena->base) return zi_out_of_memory(error, size);
    arena->size = rounded;
#ifdef MADV_HUGEPAGE
    /* Products touch a page for every row of a tile: with small pages, looking those up costs a
     * tenth of their time. The kernel may refuse; then pages are small. */
    if (unit == HUGE_PAGE) (void)madvise(arena->base, rounded, MADV_HUGEPAGE);
#endif
    return true;
}

void zi_arena_free(zi_arena *arena)
{
    free(arena->base);
    *arena = (zi_arena){0};
}

void *zi_arena_alloc(zi_arena *arena, size_t count, size_t size)
{
    size_t bytes, end;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)(ALIGNMENT - 1), &bytes) ||
        __builtin_add_overflow(arena->used, bytes / ALIGNMENT * ALIGNMENT, &end) ||
        end > arena->size) {
        arena->overflow = true;
        return NULL;
    }
    void *block = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    if (end > arena->peak) arena->peak = end;
    return block;
}

float *zi_arena_floats(zi_arena *arena, size_t count)
{
    return zi_arena_alloc(arena, count, sizeof(float));
}
