/* Large blocks of memory, in RAM or in a file without a name. */
#ifndef ZI_BASE_MEMORY_H
#define ZI_BASE_MEMORY_H

#include "base/error.h"

typedef struct {
    unsigned char *base; /* aligned to a cache line, not cleared */
    size_t size;
    bool in_file; /* base is a mapped file */
} zi_memory;

bool zi_memory_take(zi_memory *memory, size_t size, zi_error *error) ZI_CHECKED;

/* In a file without a name in `folder`, whose pages the system may write out and drop when memory
 * is short. The disk's space is reserved at once. Refuses folders that lie in memory. */
bool zi_memory_take_in_file(zi_memory *memory, size_t size, const char *folder,
                            zi_error *error) ZI_CHECKED;

/* In RAM while `size` is small beside what the machine has free, else in a file in `folder`, or in
 * /var/tmp where that is NULL or does not do. */
bool zi_memory_take_fitting(zi_memory *memory, size_t size, const char *folder,
                            zi_error *error) ZI_CHECKED;

/* Whether `size` bytes are that small where `free` can be had: a gigabyte always is, more is where
 * it leaves as much again to others. */
bool zi_memory_is_small(size_t size, size_t free);

void zi_memory_release(zi_memory *memory);

#endif
