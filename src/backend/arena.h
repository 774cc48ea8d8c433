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

/* An arena without memory that only measures: its views have no buffer. Its `peak` is the size in
 * bytes that a real one needs. */
zi_arena zi_arena_measure(void);

/* An empty arena that hands out all of a buffer (not NULL), which it borrows. */
zi_arena zi_arena_in(zi_buffer *buffer);

/* An empty arena within the memory of a ZI_U8 view without gaps, whose buffer is borrowed. If the
 * view has no buffer, those that the arena hands out have none either. */
zi_arena zi_arena_within(zi_view bytes);

/* A view [rows, columns] without gaps, which begins a multiple of 64 bytes behind the arena's
 * start; its memory is not cleared. When it does not fit, or its size overflows, arena->overflow is
 * set, nothing is taken, peak stays, and the view has no buffer. type: not of blocks. */
zi_view zi_arena_take(zi_arena *arena, zi_dtype type, size_t rows, size_t columns);

/* A view [rows, columns] of f32, not cleared, from zi_arena_take; when it does not fit, it has no
 * buffer, arena->overflow is set, and peak stays. */
static inline zi_view zi_arena_floats(zi_arena *arena, size_t rows, size_t columns)
{
    return zi_arena_take(arena, ZI_F32, rows, columns);
}

/* The number of bytes taken so far, for zi_arena_reset. */
static inline size_t zi_arena_mark(const zi_arena *arena)
{
    return arena->used;
}

/* Gives back everything taken since the mark, so that stages can use the same memory: views taken
 * since then are no longer valid. peak and overflow stay. */
static inline void zi_arena_reset(zi_arena *arena, size_t mark)
{
    arena->used = mark;
}

#endif
