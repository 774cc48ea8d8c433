/* Writes planned tensors: copies what is stored as it is to be, converts and quantizes the rest, a
 * few megabytes at a time. */
#ifndef ZI_CONVERT_WRITE_H
#define ZI_CONVERT_WRITE_H

#include "base/pool.h"
#include "convert/write_schedule.h"
#include "io/gguf.h"

/* What the files of a conversion share. */
typedef struct {
    zi_pool *pool;
    zi_progress_fn progress; /* NULL: no one asks */
    void *user;
    size_t bytes_done, bytes_total;    /* bytes of tensors */
    const zi_shard_provider *provider; /* NULL: all that is read is there */
} zi_write_context;

/* Writes `count` items from `first` on, which zi_write_plan_sort has sorted, as one safetensors
 * file. Where sources arrive, the file is built in its place and goes on from an earlier call. */
bool zi_write_safetensors(const char *path, const char *format, const zi_write_plan *plan,
                          size_t first, size_t count, zi_write_context *work,
                          zi_error *error) ZI_CHECKED;

/* All items as a GGUF file with these values. */
bool zi_write_gguf(const char *path, const zi_gguf_out *values, size_t value_count,
                   const zi_write_plan *plan, zi_write_context *work, zi_error *error) ZI_CHECKED;

#endif
