/* Writes planned tensors: copies what is stored as it is to be, converts and quantizes the rest, a
 * few megabytes at a time. */
#ifndef ZI_CONVERT_WRITE_H
#define ZI_CONVERT_WRITE_H

#include "base/pool.h"
#include "convert/arrivals.h"
#include "io/gguf.h"

/* What the files of a conversion share. */
typedef struct {
    zi_pool *pool;
    zi_progress_fn progress; /* NULL: no one asks */
    void *user;
    size_t done, total;          /* bytes of tensors */
    const zi_arrivals *arrivals; /* NULL: all that is read is there */
} zi_work;

/* Writes `count` items from `first` on, which zi_plan_sort has sorted, as one safetensors file.
 * Where sources arrive, the file is built in its place and goes on from an earlier call. */
bool zi_write_safetensors(const char *path, const char *format, const zi_plan *plan, size_t first,
                          size_t count, zi_work *work, zi_error *error) ZI_CHECKED;

/* All items as a GGUF file with these values. */
bool zi_write_gguf(const char *path, const zi_gguf_out *values, size_t value_count,
                   const zi_plan *plan, zi_work *work, zi_error *error) ZI_CHECKED;

#endif
