#include "convert/arrivals.h"

#include <stdlib.h>
#include <string.h>

/* The last of the files that an item is made of; all of them are of one checkpoint. */
static int last_file(const zi_item *item)
{
    int last = 0;
    for (int i = 0; i < item->count; i++)
        last = item->entries[i]->tensor->file > last ? item->entries[i]->tensor->file : last;
    return last;
}

static bool uses(const zi_item *item, const zi_checkpoint *checkpoint, int file)
{
    for (int i = 0; i < item->count; i++)
        if (item->entries[i]->checkpoint == checkpoint && item->entries[i]->tensor->file == file)
            return true;
    return false;
}

size_t zi_arrivals_bytes(const zi_plan *plan, const char *path)
{
    size_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const zi_item *item = &plan->items[i];
        const zi_checkpoint *checkpoint = item->entries[0]->checkpoint;
        if (!strcmp(checkpoint->files[last_file(item)].path, path)) bytes += item->bytes;
    }
    return bytes;
}

/* ---- the order ---- */

struct row {
    int part, file;
    size_t main, item;
};

static int compare(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

/* What is computed with numbers stands behind them. */
static int by_arrival(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->part != y->part) return x->part - y->part;
    if (x->file != y->file) return x->file - y->file;
    return x->main != y->main ? compare(x->main, y->main) : compare(x->item, y->item);
}

bool zi_lineup_create(const zi_arrivals *arrivals, const zi_plan *plan, size_t first, size_t count,
                      zi_lineup *out, zi_error *error)
{
    struct row *rows = malloc((count + 1) * sizeof *rows);
    size_t *order = malloc((count + 1) * sizeof *order);
    if (!rows || !order) {
        free(rows);
        free(order);
        return zi_error_no_memory(error, count * sizeof *rows);
    }
    for (size_t i = 0; i < count; i++) {
        const zi_item *item = &plan->items[first + i];
        rows[i] = (struct row){(int)item->part, last_file(item), item->main, first + i};
    }
    qsort(rows, count, sizeof *rows, by_arrival);
    for (size_t i = 0; i < count; i++) order[i] = rows[i].item;
    free(rows);
    *out = (zi_lineup){arrivals, plan, first, count, order};
    return true;
}

void zi_lineup_free(zi_lineup *lineup)
{
    free(lineup->order);
    *lineup = (zi_lineup){0};
}

/* ---- going through it ---- */

static const zi_item *item_at(const zi_lineup *s, size_t place)
{
    return &s->plan->items[s->order[place]];
}

static bool same_part(const zi_lineup *s, size_t place)
{
    return place > 0 && item_at(s, place)->part == item_at(s, place - 1)->part;
}

bool zi_lineup_turns(const zi_lineup *s, size_t place)
{
    return !same_part(s, place) || last_file(item_at(s, place)) != last_file(item_at(s, place - 1));
}

bool zi_lineup_wait(const zi_lineup *s, size_t place, zi_error *error)
{
    const zi_item *item = item_at(s, place);
    const zi_checkpoint *checkpoint = item->entries[0]->checkpoint;
    int from = same_part(s, place) ? last_file(item_at(s, place - 1)) + 1 : 0;
    for (int file = from; file <= last_file(item); file++) {
        const char *path = checkpoint->files[file].path;
        if (s->arrivals->released(s->arrivals->user, path)) continue;
        if (!s->arrivals->wait(s->arrivals->user, path, error) ||
            !zi_file_remap(path, &checkpoint->files[file].mapping, error))
            return false;
    }
    return true;
}

/* No file is released before all that takes some of it is written. */
bool zi_lineup_written(const zi_lineup *s, size_t place)
{
    const zi_item *item = item_at(s, place);
    for (int i = 0; i < item->count; i++)
        if (s->arrivals->released(s->arrivals->user, zi_entry_file(item->entries[i]))) return true;
    return false;
}

/* By what is still to be written of this file, or by a file behind it. */
static bool is_needed(const zi_lineup *s, size_t place, const zi_checkpoint *checkpoint, int file)
{
    for (; place < s->count; place++)
        if (uses(item_at(s, place), checkpoint, file)) return true;
    for (size_t i = s->first + s->count; i < s->plan->count; i++)
        if (uses(&s->plan->items[i], checkpoint, file)) return true;
    return false;
}

bool zi_lineup_release(const zi_lineup *s, size_t place, zi_error *error)
{
    if (!place) return true;
    const zi_checkpoint *checkpoint = item_at(s, place - 1)->entries[0]->checkpoint;
    for (int file = 0; file < checkpoint->file_count; file++) {
        const char *path = checkpoint->files[file].path;
        if (s->arrivals->released(s->arrivals->user, path)) continue;
        if (!is_needed(s, place, checkpoint, file) &&
            !s->arrivals->release(s->arrivals->user, path, error))
            return false;
    }
    return true;
}
