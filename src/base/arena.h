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
    bool in_file;  /* base is a mapped file */
} zi_arena;

zi_arena zi_arena_measure(void);
bool zi_arena_create(zi_arena *arena, size_t size, zi_error *error) ZI_CHECKED;

/* The same in a file without a name in `folder`, whose pages the system may write out and drop when
 * memory is short. The disk's space is reserved at once. Refuses folders that lie in memory. */
bool zi_arena_create_in_file(zi_arena *arena, size_t size, const char *folder,
                             zi_error *error) ZI_CHECKED;

/* In memory while `size` is small beside what the machine has free, else in a file in `folder`, or
 * in /var/tmp where that is NULL or does not do. */
bool zi_arena_create_fitting(zi_arena *arena, size_t size, const char *folder,
                             zi_error *error) ZI_CHECKED;

/* Whether `size` bytes are that small where `free` can be had: a gigabyte always is, more is where
 * it leaves as much again to others. */
bool zi_arena_is_small(size_t size, size_t free);

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
