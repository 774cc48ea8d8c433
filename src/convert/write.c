#include "convert/write.h"
#include "convert/item_values.h"
#include "base/matrix.h"
#include "io/values.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 8 << 20 };

/* State of one output file. */
struct writer {
    zi_write_context *work;
    const zi_write_item *items; /* of the whole plan; borrowed */
    size_t first;               /* index of the file's first item */
    float *scratch;             /* two segments per thread */
    size_t segment;             /* values of the longest segment */
    uint8_t *chunk;             /* output buffer: CHUNK bytes, or the longest segment */
    /* companions that were computed with the last weight */
    uint8_t *scales, *biases;
    float *factors; /* [items] scales of scaled weights, by index in the plan */
};

/* Segments of one item that are converted in parallel and written as one chunk. */
struct segment_batch {
    const struct writer *writer;
    const zi_write_item *item;
    size_t segment, segments_per_row; /* values per segment; segments per row */
    size_t first;                     /* index of the batch's first segment */
    size_t start;                     /* byte offset of the first segment in the item */
    float factor;
    float *max; /* [threads] largest finite magnitude that each thread found; for find_factor */
    atomic_bool overflow;   /* a value exceeds the range of the type that is written */
    atomic_bool not_finite; /* a source value is NaN or infinite */
};

/* Adds bytes to work->bytes_done and reports the share of bytes_total. Fails with
 * ZI_ERROR_CANCELLED when the callback returns false. */
static bool report_progress(zi_write_context *work, size_t bytes, zi_error *error)
{
    work->bytes_done += bytes;
    zi_progress progress = {.stage = ZI_STAGE_CONVERT,
                            .fraction = (double)work->bytes_done / (double)(work->bytes_total | 1)};
    return !work->progress || work->progress(work->user, &progress) || zi_error_cancelled(error);
}

/* ---- converting ---- */

/* Byte offset of a segment (from 0, counted through all rows) from the begin of the item's
 * output. */
static size_t offset_of_segment(const struct segment_batch *batch, size_t segment)
{
    const zi_write_item *item = batch->item;
    size_t row = segment / batch->segments_per_row,
           from = segment % batch->segments_per_row * batch->segment;
    size_t row_bytes = item->bytes / item->rows;
    bool grouped = item->storage.packing == ZI_GROUPED;
    size_t before =
        grouped ? from * (size_t)item->storage.bits / 8 : zi_dtype_bytes(item->storage.type, from);
    return row * row_bytes + before;
}

/* Reads a segment of the batch's item as f32 into the worker's scratch memory and returns that;
 * sets *n to the number of values. */
static float *read_segment(const struct segment_batch *batch, size_t segment, size_t worker,
                           size_t *n)
{
    const zi_write_item *item = batch->item;
    size_t row = segment / batch->segments_per_row,
           from = segment % batch->segments_per_row * batch->segment;
    size_t left = item->columns - from;
    float *x = batch->writer->scratch + 2 * worker * batch->writer->segment;
    *n = left < batch->segment ? left : batch->segment;
    zi_item_read_values(item, row, from, *n, x + batch->writer->segment, x);
    return x;
}

/* A task of find_factor (context: a struct segment_batch): raises batch->max[worker] to the largest
 * finite magnitude in one segment. */
static void find_segment_max(void *context, size_t task, size_t worker)
{
    struct segment_batch *batch = context;
    size_t n;
    const float *x = read_segment(batch, batch->first + task, worker, &n);
    float max = batch->max[worker];
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        max = magnitude > max && magnitude < INFINITY ? magnitude : max;
    }
    batch->max[worker] = max;
}

/* A task of write_converted (context: a struct segment_batch): converts one segment into
 * writer->chunk, and writer->scales and biases. Sets batch->overflow when a value does not fit the
 * type that is written, and batch->not_finite for one that is not finite. */
static void convert_segment(void *context, size_t task, size_t worker)
{
    struct segment_batch *batch = context;
    const zi_value_storage *storage = &batch->item->storage;
    size_t n, segment = batch->first + task;
    float *x = read_segment(batch, segment, worker, &n);
    if (!zi_floats_finite(x, n)) {
        atomic_store(&batch->not_finite, true);
        return;
    }
    zi_item_buffers to = {.values = batch->writer->chunk +
                                    (offset_of_segment(batch, segment) - batch->start)};
    if (storage->packing == ZI_GROUPED) {
        size_t row = segment / batch->segments_per_row,
               from = segment % batch->segments_per_row * batch->segment;
        size_t at =
            (row * batch->item->columns + from) / storage->group * zi_dtype_size(storage->type);
        to.scales = batch->writer->scales + at;
        to.biases = batch->writer->biases + at;
    }
    if (!zi_item_store_values(batch->item, x, n, batch->factor, to))
        atomic_store(&batch->overflow, true);
}

/* Sets the item's one factor, in batch->factor and writer->factors: the largest finite magnitude /
 * 448 (the largest F8_E4M3), or 1 when that is 0. Values are divided by it when they are stored.
 * Reads all values, without progress; fails only when memory is short. */
static bool find_factor(struct writer *writer, const zi_write_item *item, size_t segments,
                        struct segment_batch *batch, zi_error *error)
{
    size_t threads = zi_pool_threads(writer->work->pool);
    float max = 0;
    batch->max = calloc(threads, sizeof *batch->max);
    if (!batch->max) return zi_error_no_memory(error, threads * sizeof *batch->max);
    batch->first = 0;
    zi_pool_run(writer->work->pool, segments, find_segment_max, batch);
    for (size_t i = 0; i < threads; i++) max = fmaxf(max, batch->max[i]);
    free(batch->max);
    batch->factor = max > 0 ? max / 448 : 1;
    if (!(batch->factor > 0)) batch->factor = 1;
    writer->factors[item - writer->items] = batch->factor;
    return true;
}

/* Replaces the buffers for MLX scales and biases by ones for this item, which has MLX groups.
 * False: out of memory; free_buffers frees them in any case. */
static bool allocate_scales(struct writer *writer, const zi_write_item *item, zi_error *error)
{
    size_t bytes =
        item->rows * item->columns / item->storage.group * zi_dtype_size(item->storage.type);
    free(writer->scales);
    free(writer->biases);
    writer->scales = malloc(bytes);
    writer->biases = malloc(bytes);
    return (writer->scales && writer->biases) || zi_error_no_memory(error, 2 * bytes);
}

/* Drops from memory the mapped pages of the item's source that the first `done` of its `all`
 * segments were made from. The share is approximate, since sizes differ: pages that are read again
 * are loaded again. */
static void release_pages(const zi_write_item *item, size_t done, size_t all)
{
    double bytes = 0;
    for (int i = 0; i < item->count; i++) bytes += (double)item->entries[i]->bytes;
    bytes *= (double)done / (double)all;
    for (int i = 0; i < item->count && bytes > 0; i++) {
        const zi_entry *entry = item->entries[i];
        size_t share = bytes < (double)entry->bytes ? (size_t)bytes : entry->bytes;
        zi_drop_pages(entry->data, share);
        bytes -= (double)share;
    }
}

/* Sets the error that a source tensor of the item has values that are not finite, which the caller
 * has found, and names it. Returns false. */
static bool fail_not_finite(const zi_write_item *item, zi_error *error)
{
    for (int i = 0; i < item->count; i++)
        if (!zi_entry_check_values(item->entries[i], error)) return false;
    const zi_entry *entry = item->entries[0]; /* it changed meanwhile */
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_entry_file(entry), entry->tensor->name,
                           "tensor %s has values that are not finite (NaN or infinity): the file "
                           "is damaged or was changed meanwhile; fetch it again",
                           entry->tensor->name);
}

/* Sets the error that the item has values that its new type cannot hold. Returns false. */
static bool fail_overflow(const zi_write_item *item, zi_error *error)
{
    const char *file = zi_entry_file(item->entries[0]);
    const char *name = item->count > 1 ? item->name : item->entries[0]->name;
    if (item->storage.type == ZI_F16)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, file, name,
                               "tensor %s has values beyond 65504, the most that fp16 holds, and "
                               "this layout and precision need fp16; choose the precision bf16",
                               name);
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, file, name,
                           "tensor %s has values that are too large for %s; choose the precision "
                           "fp32, which holds them",
                           name, zi_dtype_name(item->storage.type));
}

/* Converts a weight's values on all threads and writes them at the output's position, in chunks
 * with progress. The scales and biases computed stay in the writer for its companions. Fails when
 * values exceed F16's range, or when cancelled. */
static bool write_converted(struct writer *writer, const zi_write_item *item, zi_output *output,
                            zi_error *error)
{
    struct segment_batch batch = {.writer = writer, .item = item, .segment = zi_item_segment(item)};
    if (!item->bytes) return true;
    for (int i = 0; i < item->count; i++)
        zi_prefetch_pages(item->entries[i]->data, item->entries[i]->bytes);
    batch.segments_per_row = (item->columns + batch.segment - 1) / batch.segment;
    size_t segments = item->rows * batch.segments_per_row, step = 1;
    while (step < segments && offset_of_segment(&batch, step + 1) <= CHUNK) step++;
    if (item->storage.packing == ZI_GROUPED && !allocate_scales(writer, item, error)) return false;
    if (item->storage.packing == ZI_SCALED && !find_factor(writer, item, segments, &batch, error))
        return false;
    for (size_t begin = 0; begin < segments; begin += step) {
        size_t end = segments - begin < step ? segments : begin + step;
        batch.first = begin;
        batch.start = offset_of_segment(&batch, begin);
        size_t bytes =
            (end < segments ? offset_of_segment(&batch, end) : item->bytes) - batch.start;
        zi_pool_run(writer->work->pool, end - begin, convert_segment, &batch);
        if (atomic_load(&batch.not_finite)) return fail_not_finite(item, error);
        if (atomic_load(&batch.overflow)) return fail_overflow(item, error);
        if (!zi_output_write(output, writer->chunk, bytes, error) ||
            !report_progress(writer->work, bytes, error))
            return false;
        release_pages(item, end, segments);
    }
    return true;
}

/* ---- copying ---- */

enum { CHECKED_VALUES = 1 << 15 }; /* whole blocks of every type */

/* Values that are checked in parallel. */
struct value_check {
    zi_dtype type;
    const uint8_t *data;
    size_t count;
    atomic_bool not_finite;
};

/* A task of are_finite (context: a struct value_check): sets not_finite if one of CHECKED_VALUES
 * values is NaN or infinite. */
static void check_part(void *context, size_t task, size_t worker)
{
    struct value_check *check = context;
    size_t at = task * CHECKED_VALUES, left = check->count - at;
    (void)worker;
    if (!zi_values_finite(check->type, check->data + zi_dtype_bytes(check->type, at),
                          left < CHECKED_VALUES ? left : CHECKED_VALUES))
        atomic_store(&check->not_finite, true);
}

/* Whether the values of this type in these bytes, whole blocks, are all finite. */
static bool are_finite(const struct writer *writer, zi_dtype type, const uint8_t *data,
                       size_t bytes)
{
    struct value_check check = {
        .type = type, .data = data, .count = bytes / zi_dtype_size(type) * zi_dtype_block(type)};
    zi_pool_run(writer->work->pool, (check.count + CHECKED_VALUES - 1) / CHECKED_VALUES, check_part,
                &check);
    return !atomic_load(&check.not_finite);
}

/* Copies mapped values of this type to the output's position in chunks, reports progress after each
 * (false from it is ZI_ERROR_CANCELLED), and drops the mapped pages from memory behind it. Fails
 * for values that are not finite, and names the item's tensor then. */
static bool copy_mapped_values(struct writer *writer, const zi_write_item *item, zi_dtype type,
                               const uint8_t *data, size_t bytes, zi_output *output,
                               zi_error *error)
{
    size_t step = CHUNK / zi_dtype_size(type) * zi_dtype_size(type);
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < step ? bytes - at : step;
        zi_prefetch_pages(data + at, n);
        if (!are_finite(writer, type, data + at, n)) return fail_not_finite(item, error);
        if (!zi_output_write(output, data + at, n, error) ||
            !report_progress(writer->work, n, error))
            return false;
        zi_drop_pages(data, at + n); /* from the start: readahead maps earlier pages again */
    }
    return true;
}

/* Copies rows of scales or biases of the item to the output's position, as copy_mapped_values
 * does. type: of their values, which are as long as the elements of the tensor. */
static bool copy_rows(struct writer *writer, const zi_write_item *item, const zi_rows *rows,
                      zi_dtype type, zi_output *output, zi_error *error)
{
    return copy_mapped_values(writer, item, type, rows->data,
                              zi_dtype_bytes(rows->tensor->type, rows->count), output, error);
}

/* The type to check an entry's stored values by: U8 for what is finite in any case (codes of
 * groups), and for swizzled entries, whose padding does not count (check_source_values). */
static zi_dtype checked_type(const zi_entry *entry)
{
    if (entry->packing != ZI_GROUPED) return entry->tensor->type;
    return entry->codes == ZI_CODES_E4M3 && !entry->swizzled ? ZI_F8_E4M3 : ZI_U8;
}

/* Writes the swizzled scales of the item's entries, which are bytes, one entry's rows behind the
 * other's; what lies outside of them is zero. A tensor that has just these rows is copied. */
static bool write_swizzled(struct writer *writer, const zi_write_item *item, zi_output *output,
                           zi_error *error)
{
    const zi_rows *first = &item->entries[0]->scales;
    size_t groups = item->columns / item->storage.group, row = 0;
    bool whole = item->entries[0]->row == 0 && first->count == item->bytes;
    for (int i = 1; i < item->count; i++)
        whole = whole && item->entries[i]->scales.tensor == first->tensor;
    if (whole) return copy_rows(writer, item, first, ZI_U8, output, error);
    uint8_t *scales = calloc(1, item->bytes);
    if (!scales) return zi_error_no_memory(error, item->bytes);
    for (int i = 0; i < item->count; i++) {
        const zi_entry *entry = item->entries[i];
        for (size_t r = 0; r < entry->shape[0]; r++, row++)
            for (size_t g = 0; g < groups; g++)
                scales[zi_swizzled_index(row, g, groups)] =
                    entry->scales.data[zi_swizzled_index(entry->row + r, g, groups)];
    }
    bool ok = zi_output_write(output, scales, item->bytes, error) &&
              report_progress(writer->work, item->bytes, error);
    free(scales);
    return ok;
}

/* Copies an item's bytes from its entries, one behind the other, to the output's position, as
 * copy_mapped_values does: a weight's, its scales or its biases. Of scales per tensor only the
 * first entry's is written; all are equal. */
static bool write_copied(struct writer *writer, const zi_write_item *item, zi_output *output,
                         zi_error *error)
{
    const zi_rows *factor = &item->entries[0]->factor;
    bool ok = true;
    if (item->role == ZI_ROLE_TENSOR_SCALE)
        return copy_rows(writer, item, factor, factor->tensor->type, output, error);
    if (item->role == ZI_ROLE_SCALE && item->storage.swizzled)
        return write_swizzled(writer, item, output, error);
    for (int i = 0; ok && i < item->count; i++) {
        const zi_entry *entry = item->entries[i];
        if (item->role == ZI_ROLE_WEIGHT)
            ok = copy_mapped_values(writer, item, checked_type(entry), entry->data, entry->bytes,
                                    output, error);
        else if (item->role == ZI_ROLE_GROUP_BIASES)
            ok = copy_rows(writer, item, &entry->biases, entry->biases.tensor->type, output, error);
        else if (i == 0 || item->role == ZI_ROLE_GROUP_SCALES || item->storage.by_row)
            ok = copy_rows(writer, item, &entry->scales, entry->scale_type, output, error);
    }
    return ok;
}

/* ---- files ---- */

/* Fails for a source tensor with which no model works: a norm that is all zeros, or an embedding
 * table that is (other tensors may be zeros); and for swizzled values that are copied and not
 * finite. */
static bool check_source_values(const zi_write_item *item, zi_error *error)
{
    bool ok = true;
    for (int i = 0; ok && i < item->count; i++) {
        const zi_entry *entry = item->entries[i];
        if (entry->kind == ZI_TENSOR_VECTOR || (item->copied && entry->swizzled))
            ok = zi_entry_check_values(entry, error);
        else if (!strcmp(entry->name, "model.embed_tokens.weight"))
            ok = zi_entry_check_not_zero(entry, error);
    }
    return ok;
}

/* A zi_tensor_write_fn (context: struct writer): writes the item at `number` (from 0) of the file,
 * copied, converted, or for a companion as computed with its weight, which must have been written
 * last. */
static bool write_item(void *context, size_t number, zi_output *output, zi_error *error)
{
    struct writer *writer = context;
    const zi_write_item *item = &writer->items[writer->first + number];
    const void *computed = item->role == ZI_ROLE_GROUP_SCALES   ? (const void *)writer->scales
                           : item->role == ZI_ROLE_GROUP_BIASES ? (const void *)writer->biases
                           : item->role == ZI_ROLE_FORMAT       ? (const void *)item->text
                                                                : &writer->factors[item->weight];
    if (item->role == ZI_ROLE_WEIGHT && !check_source_values(item, error)) return false;
    if (item->copied && item->role != ZI_ROLE_FORMAT)
        return write_copied(writer, item, output, error);
    if (item->role != ZI_ROLE_WEIGHT)
        return zi_output_write(output, computed, item->bytes, error) &&
               report_progress(writer->work, item->bytes, error);
    return write_converted(writer, item, output, error);
}

/* Allocates the writer's buffers for the file's `count` items: scratch for their longest segment,
 * chunk, factors. False: out of memory; free_buffers frees what was allocated. */
static bool allocate_buffers(struct writer *writer, size_t count, zi_error *error)
{
    size_t chunk = CHUNK, threads = zi_pool_threads(writer->work->pool);
    for (size_t i = writer->first; i < writer->first + count; i++) {
        const zi_write_item *item = &writer->items[i];
        if (item->copied || item->role != ZI_ROLE_WEIGHT) continue;
        size_t segment = zi_item_segment(item);
        writer->segment = segment > writer->segment ? segment : writer->segment;
    }
    if (writer->segment * 4 > chunk)
        chunk = writer->segment * 4; /* no type takes more than 4 bytes per value */
    writer->scratch = malloc((2 * threads * writer->segment + 1) * sizeof *writer->scratch);
    writer->chunk = malloc(chunk);
    writer->factors = calloc(writer->first + count + 1, sizeof *writer->factors);
    return (writer->scratch && writer->chunk && writer->factors) ||
           zi_error_no_memory(error, chunk);
}

/* Returns a new array [count] of the items' names (borrowed), types and shapes, without data. NULL,
 * with an error: out of memory. */
static zi_tensor_out *tensor_headers(const zi_write_item *items, size_t count, zi_error *error)
{
    zi_tensor_out *outs = calloc(count + 1, sizeof *outs);
    if (!outs) zi_error_no_memory(error, count * sizeof *outs);
    for (size_t i = 0; outs && i < count; i++) {
        outs[i] =
            (zi_tensor_out){.name = items[i].name, .type = items[i].type, .dims = items[i].dims};
        memcpy(outs[i].shape, items[i].shape, sizeof outs[i].shape);
    }
    return outs;
}

/* Frees the buffers of the writer (not NULL) and outs, but does not reset the pointers. Those not
 * allocated may be NULL. */
static void free_buffers(struct writer *writer, zi_tensor_out *outs)
{
    free(writer->scratch);
    free(writer->chunk);
    free(writer->factors);
    free(writer->scales);
    free(writer->biases);
    free(outs);
}

/* Writes the item at `number` (from 0) of the file at the output's current position. outs: the
 * tensors of the file. */
static bool write_item_at(struct writer *writer, size_t number, const zi_tensor_out *outs,
                          zi_output *output, zi_error *error)
{
    size_t bytes = writer->items[writer->first + number].bytes;
    return zi_tensor_write(output, &outs[number], number, bytes, write_item, writer, error);
}

/* Writes the file's `count` items one after the other, in the order of the plan. */
static bool write_items(struct writer *writer, size_t count, const zi_tensor_out *outs,
                        zi_output *output, zi_error *error)
{
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) ok = write_item_at(writer, i, outs, output, error);
    return ok;
}

/* Writes each item at its byte offset in the file, offsets[number of the item in the file], in the
 * order of the schedule. Before items that need further source shards it syncs the output, releases
 * shards that are done with, and waits. Skips items that an interrupted run wrote. */
static bool write_scheduled_items(struct writer *writer, const zi_write_schedule *schedule,
                                  const size_t *offsets, const zi_tensor_out *outs,
                                  zi_output *output, zi_error *error)
{
    bool ok = true;
    for (size_t place = 0; ok && place < schedule->count; place++) {
        size_t number = schedule->order[place] - schedule->first;
        if (zi_write_schedule_needs_shards(schedule, place))
            ok = zi_output_sync(output, error) &&
                 zi_write_schedule_release(schedule, place, error) &&
                 zi_write_schedule_wait(schedule, place, error);
        if (ok && zi_write_schedule_is_written(schedule, place))
            ok = report_progress(writer->work, writer->items[writer->first + number].bytes, error);
        else
            ok = ok && zi_output_seek(output, offsets[number], error) &&
                 write_item_at(writer, number, outs, output, error);
    }
    return ok && zi_output_sync(output, error) &&
           zi_write_schedule_release(schedule, schedule->count, error);
}

/* Writes the file's `count` items as their source shards arrive. begin: byte offset of the first
 * tensor in the file. */
static bool write_streamed(struct writer *writer, const zi_write_plan *plan, size_t count,
                           size_t begin, const zi_tensor_out *outs, zi_output *output,
                           zi_error *error)
{
    zi_write_schedule schedule = {0};
    size_t *offsets = malloc((count + 1) * sizeof *offsets);
    if (!offsets) return zi_error_no_memory(error, count * sizeof *offsets);
    for (size_t i = 0; i < count; i++) {
        offsets[i] = begin;
        begin += writer->items[writer->first + i].bytes;
    }
    bool ok = zi_write_schedule_create(writer->work->provider, plan, writer->first, count,
                                       &schedule, error) &&
              write_scheduled_items(writer, &schedule, offsets, outs, output, error);
    zi_write_schedule_free(&schedule);
    free(offsets);
    return ok;
}

bool zi_write_safetensors(const char *path, const char *format, const zi_write_plan *plan,
                          size_t first, size_t count, zi_write_context *work, zi_error *error)
{
    struct writer writer = {.work = work, .items = plan->items, .first = first};
    zi_tensor_out *outs = tensor_headers(plan->items + first, count, error);
    zi_output output = {0};
    size_t begin;
    bool ok = outs && allocate_buffers(&writer, count, error) &&
              (work->provider ? zi_output_resume(&output, path, error)
                              : zi_output_open(&output, path, error)) &&
              zi_safetensors_write_header(&output, format, outs, count, &begin, error) &&
              (work->provider ? write_streamed(&writer, plan, count, begin, outs, &output, error)
                              : write_items(&writer, count, outs, &output, error)) &&
              zi_output_commit_new(&output, error);
    zi_output_discard(&output);
    free_buffers(&writer, outs);
    return ok;
}

bool zi_write_gguf(const char *path, const zi_gguf_out *values, size_t value_count,
                   const zi_write_plan *plan, zi_write_context *work, zi_error *error)
{
    struct writer writer = {.work = work, .items = plan->items};
    zi_tensor_out *outs = tensor_headers(plan->items, plan->count, error);
    bool ok =
        outs && allocate_buffers(&writer, plan->count, error) &&
        zi_gguf_write(path, values, value_count, outs, plan->count, write_item, &writer, error);
    free_buffers(&writer, outs);
    return ok;
}
