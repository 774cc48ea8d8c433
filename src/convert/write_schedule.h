/* Sources whose files come while they are converted. Their headers are there from the begin, so
 * that all is planned; the numbers of a file are read when it has come, and it may go when nothing
 * more is to be made of it. What was made of it stays through an interruption. */
#ifndef ZI_CONVERT_WRITE_SCHEDULE_H
#define ZI_CONVERT_WRITE_SCHEDULE_H

#include "convert/plan.h"

typedef struct {
    /* Waits until the file is there as a whole; false: it will not come. */
    bool (*wait)(void *user, const char *path, zi_error *error);
    /* What is made of the file is on the disk. */
    bool (*release)(void *user, const char *path, zi_error *error);
    /* Whether it was released, in this call or in an earlier one whose output is still there. */
    bool (*is_released)(void *user, const char *path);
    void *user;
} zi_shard_provider;

/* Bytes of a plan that can be written when this file has come, and could not before. */
size_t zi_shard_convertible_bytes(const zi_write_plan *plan, const char *path);

/* The items of one file that is written, sorted by the last of the files that each is made of. */
typedef struct {
    const zi_shard_provider *provider;
    const zi_write_plan *plan;
    size_t first, count; /* items of the plan */
    size_t *order;       /* [count] */
} zi_write_schedule;

bool zi_write_schedule_create(const zi_shard_provider *provider, const zi_write_plan *plan,
                              size_t first, size_t count, zi_write_schedule *out,
                              zi_error *error) ZI_CHECKED;

/* Whether other files are needed for the place-th of the order than for the one before. */
bool zi_write_schedule_needs_shards(const zi_write_schedule *lineup, size_t position);

/* Waits for them, and lets the item see what has come. */
bool zi_write_schedule_wait(const zi_write_schedule *lineup, size_t position,
                            zi_error *error) ZI_CHECKED;

/* Whether an earlier call has written it. */
bool zi_write_schedule_is_written(const zi_write_schedule *lineup, size_t position);

/* Releases the files that nothing needs once all before `place` is written. */
bool zi_write_schedule_release(const zi_write_schedule *lineup, size_t position,
                               zi_error *error) ZI_CHECKED;

void zi_write_schedule_free(zi_write_schedule *lineup);

#endif
