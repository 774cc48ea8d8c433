/* Writes planned tensors to files: bytes are copied where the storage stays, all others are
 * converted or quantized in chunks of 8 MB. */
#ifndef ZI_CONVERT_WRITE_H
#define ZI_CONVERT_WRITE_H

#include "base/pool.h"
#include "convert/write_schedule.h"
#include "io/gguf.h"

/* State that all files of one conversion share. */
typedef struct {
    zi_pool *pool;
    zi_progress_fn progress; /* NULL: not reported */
    void *user;
    size_t bytes_done, bytes_total;    /* of tensors */
    const zi_shard_provider *provider; /* NULL: the source files are complete */
} zi_write_context;

/* Writes items first .. first + count - 1 of a sorted plan as one safetensors file with this
 * "format" in its metadata; work->pool must be set. Appears when complete; a file at path is
 * ZI_ERROR_EXISTS, at the end. With work->provider it is written in place, as source shards arrive,
 * stays after a failure, and is resumed: a file at path must be of the same plan. */
bool zi_write_safetensors(const char *path, const char *format, const zi_write_plan *plan,
                          size_t first, size_t count, zi_write_context *work,
                          zi_error *error) ZI_CHECKED;

/* Writes all items of a sorted plan as one GGUF file with the metadata values [value_count],
 * atomically; work->pool must be set. A file at path is ZI_ERROR_EXISTS, at the end. work->provider
 * is ignored. */
bool zi_write_gguf(const char *path, const zi_gguf_out *values, size_t value_count,
                   const zi_write_plan *plan, zi_write_context *work, zi_error *error) ZI_CHECKED;

#endif
