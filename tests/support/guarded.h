/* Buffers between pages that nobody may touch, for finding code that reads or writes beside them.
 */
#ifndef ZI_TEST_GUARDED_H
#define ZI_TEST_GUARDED_H

#include <stdbool.h>
#include <stddef.h>

enum { ZI_GUARDED_MAX_BYTES = 1 << 20 }; /* the largest buffer */

/* Where a buffer lies: its first byte right behind a forbidden page, or its last right before one.
 */
typedef enum { ZI_GUARD_BEFORE, ZI_GUARD_AFTER } zi_guard_side;

/* Buffer number `index` (0 to 7), `bytes` long and `shift` bytes away from the forbidden page;
 * filled with garbage, as is what lies around it. Ends the program when there is no memory. */
void *zi_guarded_buffer(int index, size_t bytes, size_t shift, zi_guard_side place);

/* From now on a write into the buffer is a fault; zi_guarded_buffer makes it writable again. */
void zi_guarded_make_read_only(int index);

/* Whether the garbage around the buffer is what it was. */
bool zi_guarded_surroundings_intact(int index);

/* Calls fn(context) and returns its result; false, with *fault set, when it touched a forbidden
 * page. Not to be nested. */
bool zi_guarded_run(bool (*fn)(void *context), void *context, bool *fault);

#endif
