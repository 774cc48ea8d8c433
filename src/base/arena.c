#include "base/arena.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

zi_arena zi_arena_measure(void)
{
    return (zi_arena){.size = SIZE_MAX};
}

bool zi_arena_create(zi_arena *arena, size_t size, zi_error *error)
{
    *arena = (zi_arena){0};
    size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (rounded < size) return zi_out_of_memory(error, size);
    arena->base = aligned_alloc(ALIGNMENT, rounded ? rounded : ALIGNMENT);
    if (!arena->base) return zi_out_of_memory(error, size);
    arena->size = rounded;
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
