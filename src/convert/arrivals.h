/* Sources whose files come while they are converted. Their headers are there from the begin, so
 * that all is planned; the numbers of a file are read when it has come, and it may go when nothing
 * more is to be made of it. What was made of it stays through an interruption. */
#ifndef ZI_CONVERT_ARRIVALS_H
#define ZI_CONVERT_ARRIVALS_H

#include "convert/plan.h"

typedef struct {
    /* Waits until the file is there as a whole; false: it will not come. */
    bool (*wait)(void *user, const char *path, zi_error *error);
    /* What is made of the file is on the disk. */
    bool (*release)(void *user, const char *path, zi_error *error);
    /* Whether it was released, in this call or in an earlier one whose output is still there. */
    bool (*released)(void *user, const char *path);
    void *user;
} zi_arrivals;

/* Bytes of a plan that can be written when this file has come, and could not before. */
size_t zi_arrivals_bytes(const zi_plan *plan, const char *path);

/* The items of one file that is written, sorted by the last of the files that each is made of. */
typedef struct {
    const zi_arrivals *arrivals;
    const zi_plan *plan;
    size_t first, count; /* items of the plan */
    size_t *order;       /* [count] */
} zi_lineup;

bool zi_lineup_create(const zi_arrivals *arrivals, const zi_plan *plan, size_t first, size_t count,
                      zi_lineup *out, zi_error *error) ZI_CHECKED;

/* Whether other files are needed for the place-th of the order than for the one before. */
bool zi_lineup_turns(const zi_lineup *lineup, size_t place);

/* Waits for them, and lets the item see what has come. */
bool zi_lineup_wait(const zi_lineup *lineup, size_t place, zi_error *error) ZI_CHECKED;

/* Whether an earlier call has written it. */
bool zi_lineup_written(const zi_lineup *lineup, size_t place);

/* Releases the files that nothing needs once all before `place` is written. */
bool zi_lineup_release(const zi_lineup *lineup, size_t place, zi_error *error) ZI_CHECKED;

void zi_lineup_free(zi_lineup *lineup);

#endif
