/* One block of memory for everything that lives as long as one request.
 *
 * The layout is planned by running the same allocating code twice: first on an arena that only
 * measures (zi_arena_measure, every allocation returns NULL), then on one of the measured size
 * (zi_arena_create). Nothing can fail in the second run. */
#ifndef ZI_BASE_ARENA_H
#define ZI_BASE_ARENA_H

#include "base/error.h"

typedef struct {
    unsigned char *base; /* NULL while measuring */
    size_t size, used;
    size_t peak;   /* most that was ever used */
    bool overflow; /* a size did not fit size_t */
} zi_arena;

zi_arena zi_arena_measure(void);
bool zi_arena_create(zi_arena *arena, size_t size, zi_error *error) ZI_CHECKED;
void zi_arena_free(zi_arena *arena);

/* count elements of size bytes, aligned to a cache line, not cleared. NULL while measuring. */
void *zi_arena_alloc(zi_arena *arena, size_t count, size_t size);
float *zi_arena_floats(zi_arena *arena, size_t count);

/* Gives back everything allocated since the mark, so that stages can use the same memory. */
static inline size_t zi_arena_mark(const zi_arena *arena)
{
    return arena->used;
}
static inline void zi_arena_reset(zi_arena *arena, size_t mark)
{
    arena->used = mark;
}

#endif
