/* Large blocks of memory, in RAM or in a file without a name. */
#ifndef ZI_BASE_MEMORY_H
#define ZI_BASE_MEMORY_H

#include "base/error.h"

typedef struct {
    unsigned char *base; /* aligned to a cache line, not cleared */
    size_t size;
    bool in_file; /* base is a mapped file */
} zi_memory;

/* Allocates at least `size` bytes of RAM, not cleared: rounded up and aligned to 64 bytes, or from
 * 2 MB on to 2 MB, where huge pages are asked for. memory->size is the rounded size. Free it with
 * zi_memory_release. On failure (ZI_ERROR_NO_MEMORY) *memory is zeroed. */
bool zi_memory_take(zi_memory *memory, size_t size, zi_error *error) ZI_CHECKED;

/* Maps `size` bytes (not 0) of a new file without a name in `folder`, whose pages the system may
 * write out and drop. Reserves the disk's space at once. Refuses folders that lie in memory
 * (tmpfs); Linux only. On failure *memory is zeroed. */
bool zi_memory_take_in_file(zi_memory *memory, size_t size, const char *folder,
                            zi_error *error) ZI_CHECKED;

/* Takes RAM while `size` is small beside what the machine has free (zi_memory_is_small), else a
 * file in `folder`, or in /var/tmp where that is NULL or "" or does not do. Without a file it takes
 * RAM after all if more than that is free; else it fails. */
bool zi_memory_take_fitting(zi_memory *memory, size_t size, const char *folder,
                            zi_error *error) ZI_CHECKED;

/* Whether `size` bytes are small where `free` bytes are to be had: up to a gigabyte always is, more
 * is if it is less than half of `free`. */
bool zi_memory_is_small(size_t size, size_t free);

/* Frees or unmaps the memory and zeroes *memory. A zeroed one is allowed. */
void zi_memory_release(zi_memory *memory);

#endif
