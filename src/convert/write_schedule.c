#include "convert/write_schedule.h"

#include <stdlib.h>
#include <string.h>

/* Index (in its checkpoint's files, from 0) of the last shard that an item needs; 0 without
 * entries. Files of scales do not count: such weights are not streamed. All entries are from one
 * checkpoint. */
static int last_shard(const zi_write_item *item)
{
    int last = 0;
    for (int i = 0; i < item->count; i++)
        last = item->entries[i]->tensor->file > last ? item->entries[i]->tensor->file : last;
    return last;
}

/* Whether one of the item's entries is in this file of the checkpoint. */
static bool item_uses_shard(const zi_write_item *item, const zi_checkpoint *checkpoint, int file)
{
    for (int i = 0; i < item->count; i++)
        if (item->entries[i]->checkpoint == checkpoint && item->entries[i]->tensor->file == file)
            return true;
    return false;
}

size_t zi_shard_convertible_bytes(const zi_write_plan *plan, const char *path)
{
    size_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const zi_write_item *item = &plan->items[i];
        const zi_checkpoint *checkpoint = item->entries[0]->checkpoint;
        if (!strcmp(checkpoint->files[last_shard(item)].path, path)) bytes += item->bytes;
    }
    return bytes;
}

/* ---- creating the order ---- */

struct schedule_row {
    int component, file;
    size_t weight, item;
};

/* -1, 0 or 1: a is less than, equal to, or greater than b. */
static int compare_sizes(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

/* For qsort of struct schedule_row: by component, then last shard; companions directly after their
 * weight. */
static int by_last_shard(const void *a, const void *b)
{
    const struct schedule_row *x = a, *y = b;
    if (x->component != y->component) return x->component - y->component;
    if (x->file != y->file) return x->file - y->file;
    return x->weight != y->weight ? compare_sizes(x->weight, y->weight)
                                  : compare_sizes(x->item, y->item);
}

bool zi_write_schedule_create(const zi_shard_provider *provider, const zi_write_plan *plan,
                              size_t first, size_t count, zi_write_schedule *out, zi_error *error)
{
    struct schedule_row *rows = malloc((count + 1) * sizeof *rows);
    size_t *order = malloc((count + 1) * sizeof *order);
    if (!rows || !order) {
        free(rows);
        free(order);
        return zi_error_no_memory(error, count * sizeof *rows);
    }
    for (size_t i = 0; i < count; i++) {
        const zi_write_item *item = &plan->items[first + i];
        rows[i] =
            (struct schedule_row){(int)item->component, last_shard(item), item->weight, first + i};
    }
    qsort(rows, count, sizeof *rows, by_last_shard);
    for (size_t i = 0; i < count; i++) order[i] = rows[i].item;
    free(rows);
    *out = (zi_write_schedule){provider, plan, first, count, order};
    return true;
}

void zi_write_schedule_free(zi_write_schedule *schedule)
{
    free(schedule->order);
    *schedule = (zi_write_schedule){0};
}

/* ---- using the order ---- */

/* The item at this position of the order; borrowed from the plan. */
static const zi_write_item *scheduled_item(const zi_write_schedule *s, size_t position)
{
    return &s->plan->items[s->order[position]];
}

/* Whether the item at this position is of the same component as the one before. False at 0. */
static bool same_component_as_before(const zi_write_schedule *s, size_t position)
{
    return position > 0 &&
           scheduled_item(s, position)->component == scheduled_item(s, position - 1)->component;
}

bool zi_write_schedule_needs_shards(const zi_write_schedule *schedule, size_t position)
{
    return !same_component_as_before(schedule, position) ||
           last_shard(scheduled_item(schedule, position)) !=
               last_shard(scheduled_item(schedule, position - 1));
}

bool zi_write_schedule_wait(const zi_write_schedule *schedule, size_t position, zi_error *error)
{
    const zi_write_item *item = scheduled_item(schedule, position);
    const zi_checkpoint *checkpoint = item->entries[0]->checkpoint;
    int from = same_component_as_before(schedule, position)
                   ? last_shard(scheduled_item(schedule, position - 1)) + 1
                   : 0;
    for (int file = from; file <= last_shard(item); file++) {
        const char *path = checkpoint->files[file].path;
        if (schedule->provider->is_released(schedule->provider->user, path)) continue;
        if (!schedule->provider->wait(schedule->provider->user, path, error) ||
            !zi_file_remap(path, &checkpoint->files[file].mapping, error))
            return false;
    }
    return true;
}

/* A shard is released only after every item that uses it is on disk, so one released shard tells
 * that the item was written. */
bool zi_write_schedule_is_written(const zi_write_schedule *schedule, size_t position)
{
    const zi_write_item *item = scheduled_item(schedule, position);
    for (int i = 0; i < item->count; i++)
        if (schedule->provider->is_released(schedule->provider->user,
                                            zi_entry_file(item->entries[i])))
            return true;
    return false;
}

/* Whether an item from `position` on, or one of a later output file, uses the shard (a file of
 * checkpoint). */
static bool shard_is_needed(const zi_write_schedule *s, size_t position,
                            const zi_checkpoint *checkpoint, int file)
{
    for (; position < s->count; position++)
        if (item_uses_shard(scheduled_item(s, position), checkpoint, file)) return true;
    for (size_t i = s->first + s->count; i < s->plan->count; i++)
        if (item_uses_shard(&s->plan->items[i], checkpoint, file)) return true;
    return false;
}

bool zi_write_schedule_release(const zi_write_schedule *schedule, size_t position, zi_error *error)
{
    if (!position) return true;
    const zi_checkpoint *checkpoint =
        scheduled_item(schedule, position - 1)->entries[0]->checkpoint;
    for (int file = 0; file < checkpoint->file_count; file++) {
        const char *path = checkpoint->files[file].path;
        if (schedule->provider->is_released(schedule->provider->user, path)) continue;
        if (!shard_is_needed(schedule, position, checkpoint, file) &&
            !schedule->provider->release(schedule->provider->user, path, error))
            return false;
    }
    return true;
}
