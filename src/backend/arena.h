/* A bump allocator that hands out views of one buffer, for the memory of one session.
 *
 * Memory is planned by running the same code twice: first on an arena that only measures, whose
 * views have shapes but no buffer, then on one in a buffer of the measured size. Nothing can fail
 * in the second run. */
#ifndef ZI_BACKEND_ARENA_H
#define ZI_BACKEND_ARENA_H

#include "backend/backend.h"

struct zi_arena {
    zi_buffer *buffer; /* NULL while measuring; borrowed */
    size_t offset;     /* of its first byte in the buffer */
    size_t size, used;
    size_t peak;   /* largest value of used so far */
    bool overflow; /* a size did not fit size_t, or the buffer */
};

/* An arena without memory, which only measures; and one that hands out a whole buffer. */
zi_arena zi_arena_measure(void);
zi_arena zi_arena_in(zi_buffer *buffer);

/* An arena within the memory of a view of bytes. */
zi_arena zi_arena_within(zi_view bytes);

/* [rows, columns] without gaps, aligned to a cache line, not cleared. */
zi_view zi_arena_take(zi_arena *arena, zi_dtype type, size_t rows, size_t columns);

static inline zi_view zi_arena_floats(zi_arena *arena, size_t rows, size_t columns)
{
    return zi_arena_take(arena, ZI_F32, rows, columns);
}

/* Gives back everything taken since the mark, so that stages can use the same memory. */
static inline size_t zi_arena_mark(const zi_arena *arena)
{
    return arena->used;
}
static inline void zi_arena_reset(zi_arena *arena, size_t mark)
{
    arena->used = mark;
}

#endif
