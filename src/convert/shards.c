#include "convert/shards.h"
#include "base/text.h"

#include <stdlib.h>

enum { MAX_NAME = 512, MAX_INDEX = 64 << 20 };

/* How many items go into the shard that begins with item `first`: as many as max_bytes (without the
 * header) allows, at least one; 0 behind the last item. May part companions from their weight. */
static size_t shard_item_count(const zi_shard_files *shards, const zi_write_plan *plan,
                               size_t first)
{
    size_t bytes = 0, n = 0;
    for (; first + n < plan->count; n++) {
        size_t item_bytes = plan->items[first + n].bytes;
        if (n && (bytes > shards->max_bytes || item_bytes > shards->max_bytes - bytes)) break;
        bytes += item_bytes;
    }
    return n;
}

/* Writes the file name, without folder, of shard `number` (from 1) of `count` to out [MAX_NAME];
 * "STEM.safetensors" if count is 1. */
static void format_shard_name(const zi_shard_files *shards, size_t number, size_t count, char *out)
{
    if (count == 1)
        snprintf(out, MAX_NAME, "%s.safetensors", shards->stem);
    else
        snprintf(out, MAX_NAME, "%s-%05zu-of-%05zu.safetensors", shards->stem, number, count);
}

/* Writes DIR/STEM.safetensors.index.json, in a resumed folder over the one there. It maps the
 * plan's tensors to the `count` shards and has the tensors' total size in bytes, without
 * headers. */
static bool write_shard_index(const zi_shard_files *shards, const zi_write_plan *plan, size_t count,
                              zi_error *error)
{
    char name[MAX_NAME];
    zi_text text;
    zi_text_init(&text, MAX_INDEX);
    zi_text_printf(&text,
                   "{\n  \"metadata\": {\n    \"total_size\": %zu\n  },\n  \"weight_map\": {",
                   zi_write_plan_bytes(plan));
    size_t end = 0, number = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (i == end) {
            end += shard_item_count(shards, plan, i);
            format_shard_name(shards, ++number, count, name);
        }
        zi_text_printf(&text, "%s\n    \"%s\": \"%s\"", i ? "," : "", plan->items[i].name, name);
    }
    zi_text_puts(&text, "\n  }\n}\n");
    snprintf(name, sizeof name, "%s%s.safetensors.index.json", shards->dir, shards->stem);
    zi_output output = {0};
    bool ok = (!text.failed || zi_error_no_memory(error, text.size)) &&
              zi_output_folder_open_file(shards->folder, name, &output, error) &&
              zi_output_write(&output, text.data, text.size, error) &&
              zi_output_commit(&output, error);
    zi_output_discard(&output);
    zi_text_free(&text);
    return ok;
}

bool zi_write_shards(const zi_shard_files *shards, const zi_write_plan *plan,
                     zi_write_context *work, zi_error *error)
{
    size_t count = 0, number = 0;
    for (size_t i = 0; i < plan->count; count++) i += shard_item_count(shards, plan, i);
    for (size_t i = 0, n; i < plan->count; i += n) {
        char shard[MAX_NAME], name[2 * MAX_NAME];
        n = shard_item_count(shards, plan, i);
        format_shard_name(shards, ++number, count, shard);
        snprintf(name, sizeof name, "%s%s", shards->dir, shard);
        const char *path = zi_output_folder_add_path(shards->folder, name, error);
        if (!path || !zi_write_safetensors(path, shards->format, plan, i, n, work, error))
            return false;
    }
    return count < 2 || write_shard_index(shards, plan, count, error);
}
