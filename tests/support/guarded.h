/* Buffers between inaccessible guard pages, to detect reads and writes out of bounds. */
#ifndef ZI_TEST_GUARDED_H
#define ZI_TEST_GUARDED_H

#include <stdbool.h>
#include <stddef.h>

enum { ZI_GUARDED_MAX_BYTES = 1 << 20 }; /* the largest buffer */

/* On which side of the buffer the guard page is adjacent: before the first byte or after the last.
 */
typedef enum { ZI_GUARD_BEFORE, ZI_GUARD_AFTER } zi_guard_side;

/* Returns buffer `index` (0 to 7) with `bytes` bytes, `shift` bytes away from the guard page. The
 * buffer and the memory around it are filled with 0xff (NaN as floats). The buffer of the last call
 * with this index becomes invalid. Exits the program when out of memory. */
void *zi_guarded_buffer(int index, size_t bytes, size_t shift, zi_guard_side place);

/* Writes to the buffer fault until zi_guarded_buffer is called again. */
void zi_guarded_make_read_only(int index);

/* Whether the bytes around the buffer are unchanged. */
bool zi_guarded_surroundings_intact(int index);

/* Calls fn(context) and returns its result. False with *fault set: it accessed a guard page or
 * wrote to a read-only buffer. Must not be nested. */
bool zi_guarded_run(bool (*fn)(void *context), void *context, bool *fault);

#endif
