/* Streaming conversion: tensors are written while the source's shards are still downloading. The
 * headers of all shards exist from the start, so that everything is planned; each tensor is written
 * once the shards it needs have arrived. A shard is released when nothing more needs it and what
 * was made of it is on disk. */
#ifndef ZI_CONVERT_WRITE_SCHEDULE_H
#define ZI_CONVERT_WRITE_SCHEDULE_H

#include "convert/plan.h"

/* Delivers the shards of the source. The callbacks run in the converting thread. */
typedef struct {
    /* Blocks until the file is complete. False and an error: it cannot be delivered. */
    bool (*wait)(void *user, const char *path, zi_error *error);
    /* All output made of this file is on disk; the file may be deleted. */
    bool (*release)(void *user, const char *path, zi_error *error);
    /* Whether release was called for it, by this run or by an interrupted one that is resumed. */
    bool (*is_released)(void *user, const char *path);
    void *user;
} zi_shard_provider;

/* Output bytes of those items of the plan for which the source file at path (spelled as in its
 * checkpoint) is the last one needed; 0 for other paths. */
size_t zi_shard_convertible_bytes(const zi_write_plan *plan, const char *path);

/* The order in which the items of one output file are written: by component, then by the last shard
 * that each item needs. */
typedef struct {
    const zi_shard_provider *provider; /* borrowed */
    const zi_write_plan *plan;         /* borrowed */
    size_t first, count;               /* the file's items in the plan */
    size_t *order;                     /* [count] indices into plan->items; owned */
} zi_write_schedule;

/* Orders items first .. first + count - 1 of a sorted plan. The caller frees *out with
 * zi_write_schedule_free. False: out of memory; *out is unchanged. */
bool zi_write_schedule_create(const zi_shard_provider *provider, const zi_write_plan *plan,
                              size_t first, size_t count, zi_write_schedule *out,
                              zi_error *error) ZI_CHECKED;

/* Whether the item at this position of the order (below count) needs shards that the one before it
 * did not. True at 0. */
bool zi_write_schedule_needs_shards(const zi_write_schedule *schedule, size_t position);

/* Waits for the shards that the item at this position needs beyond the previous item's, and maps
 * each again at its address. Released ones are skipped. False: one cannot be delivered, or has
 * another size than its mapping, which stays as it was. */
bool zi_write_schedule_wait(const zi_write_schedule *schedule, size_t position,
                            zi_error *error) ZI_CHECKED;

/* Whether an interrupted run, which is resumed, has released a shard of the item at this position,
 * and so has written the item. An item of which no shard was released is written again. */
bool zi_write_schedule_is_written(const zi_write_schedule *schedule, size_t position);

/* Releases those shards of the component of the item before `position` that no item from there on,
 * or of a later output file, needs and that are not released yet. The output must be on disk.
 * Nothing at position 0. False: the provider failed; some may be released. */
bool zi_write_schedule_release(const zi_write_schedule *schedule, size_t position,
                               zi_error *error) ZI_CHECKED;

/* Frees the order and zeroes the struct; provider and plan stay the caller's. A zeroed struct is
 * allowed, NULL is not. */
void zi_write_schedule_free(zi_write_schedule *schedule);

#endif
