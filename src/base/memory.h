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
 * 2 MiB on to 2 MiB, where huge pages are asked for. memory->size is the rounded size; 0 for 0,
 * with a base. Free it with zi_memory_release. On failure (ZI_ERROR_NO_MEMORY) *memory is
 * zeroed. */
bool zi_memory_take(zi_memory *memory, size_t size, zi_error *error) ZI_CHECKED;

/* Maps `size` bytes (not 0), cleared, of a new file without a name in `folder`, whose pages the
 * system may write out and drop. Reserves the disk's space at once. Fails with ZI_ERROR_IO, also
 * for a folder in memory (tmpfs), or ZI_ERROR_NO_MEMORY; on other systems than Linux always with
 * ZI_ERROR_UNSUPPORTED. *memory is zeroed then. */
bool zi_memory_take_in_file(zi_memory *memory, size_t size, const char *folder,
                            zi_error *error) ZI_CHECKED;

/* Takes RAM while `size` is small beside what the machine has free (zi_memory_is_small), else a
 * file in `folder`, or in /var/tmp where that is NULL or "" or does not do. Without a file it takes
 * RAM after all if more than `size` is free (*error may be filled then); else it fails, with the
 * error of the file or the RAM. On failure *memory is zeroed. */
bool zi_memory_take_fitting(zi_memory *memory, size_t size, const char *folder,
                            zi_error *error) ZI_CHECKED;

/* Whether `size` bytes are small where `free` bytes are to be had: up to 1 GiB always is, more is
 * if it is less than half of `free`. */
bool zi_memory_is_small(size_t size, size_t free);

/* Frees or unmaps the memory and zeroes *memory. A zeroed one is allowed, NULL is not. */
void zi_memory_release(zi_memory *memory);

#endif
