#include "convert/write.h"
#include "convert/numbers.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 8 << 20 };

/* Of one file. */
struct writer {
    zi_work *work;
    const zi_item *items; /* of the whole plan */
    size_t first;         /* of the file */
    float *scratch;       /* two segments for each thread */
    size_t segment;       /* the longest of them */
    uint8_t *chunk;       /* of CHUNK bytes, or of the longest segment */
    /* what was computed with the last weights */
    uint8_t *scales, *biases;
    float *factors; /* of all items */
};

/* Segments of an item that are converted together. */
struct run {
    const struct writer *writer;
    const zi_item *item;
    size_t segment, in_row; /* numbers of a segment; segments of a row */
    size_t first;           /* segment */
    size_t start;           /* bytes before the first */
    float factor;
    float *most;          /* measuring: the largest magnitude that each thread has seen */
    atomic_bool overflow; /* a half was asked to hold too much */
};

static bool advance(zi_work *work, size_t bytes, zi_error *error)
{
    work->done += bytes;
    zi_progress progress = {.stage = ZI_STAGE_CONVERT,
                            .fraction = (double)work->done / (double)(work->total | 1)};
    return !work->progress || work->progress(work->user, &progress) || zi_error_cancelled(error);
}

/* ---- computing ---- */

/* Bytes of an item's numbers before a segment. */
static size_t place_of(const struct run *run, size_t segment)
{
    const zi_item *item = run->item;
    size_t row = segment / run->in_row, from = segment % run->in_row * run->segment;
    size_t row_bytes = item->bytes / item->rows;
    bool grouped = item->form.packing == ZI_GROUPED;
    size_t before =
        grouped ? from * (size_t)item->form.bits / 8 : zi_dtype_bytes(item->form.type, from);
    return row * row_bytes + before;
}

static float *read_segment(const struct run *run, size_t segment, size_t worker, size_t *n)
{
    const zi_item *item = run->item;
    size_t row = segment / run->in_row, from = segment % run->in_row * run->segment;
    size_t left = item->columns - from;
    float *x = run->writer->scratch + 2 * worker * run->writer->segment;
    *n = left < run->segment ? left : run->segment;
    zi_numbers_read(item, row, from, *n, x + run->writer->segment, x);
    return x;
}

static void measure_segment(void *context, size_t task, size_t worker)
{
    struct run *run = context;
    size_t n;
    const float *x = read_segment(run, run->first + task, worker, &n);
    float most = run->most[worker];
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        most = magnitude > most && magnitude < INFINITY ? magnitude : most;
    }
    run->most[worker] = most;
}

static void convert_segment(void *context, size_t task, size_t worker)
{
    struct run *run = context;
    const zi_form *form = &run->item->form;
    size_t n, segment = run->first + task;
    float *x = read_segment(run, segment, worker, &n);
    zi_written to = {.numbers = run->writer->chunk + (place_of(run, segment) - run->start)};
    if (form->packing == ZI_GROUPED) {
        size_t row = segment / run->in_row, from = segment % run->in_row * run->segment;
        size_t at = (row * run->item->columns + from) / form->group * zi_dtype_size(form->type);
        to.scales = run->writer->scales + at;
        to.biases = run->writer->biases + at;
    }
    if (!zi_numbers_write(run->item, x, n, run->factor, to)) atomic_store(&run->overflow, true);
}

/* The factor that makes the largest magnitude the largest number of F8_E4M3. */
static bool measure(struct writer *writer, const zi_item *item, size_t segments, struct run *run,
                    zi_error *error)
{
    size_t threads = zi_pool_threads(writer->work->pool);
    float most = 0;
    run->most = calloc(threads, sizeof *run->most);
    if (!run->most) return zi_error_no_memory(error, threads * sizeof *run->most);
    run->first = 0;
    zi_pool_run(writer->work->pool, segments, measure_segment, run);
    for (size_t i = 0; i < threads; i++) most = fmaxf(most, run->most[i]);
    free(run->most);
    run->factor = most > 0 ? most / 448 : 1;
    if (!(run->factor > 0)) run->factor = 1;
    writer->factors[item - writer->items] = run->factor;
    return true;
}

static bool hold_scales(struct writer *writer, const zi_item *item, zi_error *error)
{
    size_t bytes = item->rows * item->columns / item->form.group * zi_dtype_size(item->form.type);
    free(writer->scales);
    free(writer->biases);
    writer->scales = malloc(bytes);
    writer->biases = malloc(bytes);
    return (writer->scales && writer->biases) || zi_error_no_memory(error, 2 * bytes);
}

/* Gives back the pages of about the first of all parts that an item is made of. What is read again
 * comes back. */
static void leave_behind(const zi_item *item, size_t done, size_t all)
{
    double bytes = 0;
    for (int i = 0; i < item->count; i++) bytes += (double)item->entries[i]->bytes;
    bytes *= (double)done / (double)all;
    for (int i = 0; i < item->count && bytes > 0; i++) {
        const zi_entry *entry = item->entries[i];
        size_t part = bytes < (double)entry->bytes ? (size_t)bytes : entry->bytes;
        zi_drop_pages(entry->data, part);
        bytes -= (double)part;
    }
}

static bool write_converted(struct writer *writer, const zi_item *item, zi_output *output,
                            zi_error *error)
{
    struct run run = {.writer = writer, .item = item, .segment = zi_segment(item)};
    if (!item->bytes) return true;
    for (int i = 0; i < item->count; i++)
        zi_prefetch_pages(item->entries[i]->data, item->entries[i]->bytes);
    run.in_row = (item->columns + run.segment - 1) / run.segment;
    size_t segments = item->rows * run.in_row, step = 1;
    while (step < segments && place_of(&run, step + 1) <= CHUNK) step++;
    if (item->form.packing == ZI_GROUPED && !hold_scales(writer, item, error)) return false;
    if (item->form.packing == ZI_SCALED && !measure(writer, item, segments, &run, error))
        return false;
    for (size_t begin = 0; begin < segments; begin += step) {
        size_t end = segments - begin < step ? segments : begin + step;
        run.first = begin;
        run.start = place_of(&run, begin);
        size_t bytes = (end < segments ? place_of(&run, end) : item->bytes) - run.start;
        zi_pool_run(writer->work->pool, end - begin, convert_segment, &run);
        if (atomic_load(&run.overflow))
            return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, zi_entry_file(item->entries[0]),
                                   item->entries[0]->name,
                                   "tensor %s has numbers beyond 65504, which fp16 does not hold; "
                                   "bf16 does",
                                   item->entries[0]->name);
        if (!zi_output_write(output, writer->chunk, bytes, error) ||
            !advance(writer->work, bytes, error))
            return false;
        leave_behind(item, end, segments);
    }
    return true;
}

/* ---- copying ---- */

static bool write_bytes(struct writer *writer, const uint8_t *data, size_t bytes, zi_output *output,
                        zi_error *error)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < CHUNK ? bytes - at : CHUNK;
        zi_prefetch_pages(data + at, n);
        if (!zi_output_write(output, data + at, n, error) || !advance(writer->work, n, error))
            return false;
        zi_drop_pages(data, at + n); /* all: reading maps pages before the first again */
    }
    return true;
}

static bool write_rows(struct writer *writer, const zi_rows *rows, zi_output *output,
                       zi_error *error)
{
    return write_bytes(writer, rows->data, zi_dtype_bytes(rows->tensor->type, rows->count), output,
                       error);
}

static bool write_copied(struct writer *writer, const zi_item *item, zi_output *output,
                         zi_error *error)
{
    bool ok = true;
    for (int i = 0; ok && i < item->count; i++) {
        const zi_entry *entry = item->entries[i];
        if (item->role == ZI_ITSELF)
            ok = write_bytes(writer, entry->data, entry->bytes, output, error);
        else if (item->role == ZI_BIASES)
            ok = write_rows(writer, &entry->biases, output, error);
        else if (i == 0 || item->role == ZI_SCALES || item->form.by_row)
            ok = write_rows(writer, &entry->scales, output, error);
    }
    return ok;
}

/* ---- a file ---- */

static bool fill(void *context, size_t number, zi_output *output, zi_error *error)
{
    struct writer *writer = context;
    const zi_item *item = &writer->items[writer->first + number];
    const void *computed = item->role == ZI_SCALES   ? (const void *)writer->scales
                           : item->role == ZI_BIASES ? (const void *)writer->biases
                           : item->role == ZI_MARKER ? (const void *)item->text
                                                     : &writer->factors[item->main];
    if (item->copied && item->role != ZI_MARKER) return write_copied(writer, item, output, error);
    if (item->role != ZI_ITSELF)
        return zi_output_write(output, computed, item->bytes, error) &&
               advance(writer->work, item->bytes, error);
    return write_converted(writer, item, output, error);
}

/* Memory for the largest of the items. */
static bool prepare(struct writer *writer, size_t count, zi_error *error)
{
    size_t chunk = CHUNK, threads = zi_pool_threads(writer->work->pool);
    for (size_t i = writer->first; i < writer->first + count; i++) {
        const zi_item *item = &writer->items[i];
        if (item->copied || item->role != ZI_ITSELF) continue;
        size_t segment = zi_segment(item);
        writer->segment = segment > writer->segment ? segment : writer->segment;
    }
    if (writer->segment * 4 > chunk) chunk = writer->segment * 4; /* no number takes more */
    writer->scratch = malloc((2 * threads * writer->segment + 1) * sizeof *writer->scratch);
    writer->chunk = malloc(chunk);
    writer->factors = calloc(writer->first + count + 1, sizeof *writer->factors);
    return (writer->scratch && writer->chunk && writer->factors) ||
           zi_error_no_memory(error, chunk);
}

static zi_tensor_out *outs_of(const zi_item *items, size_t count, zi_error *error)
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

static void release(struct writer *writer, zi_tensor_out *outs)
{
    free(writer->scratch);
    free(writer->chunk);
    free(writer->factors);
    free(writer->scales);
    free(writer->biases);
    free(outs);
}

static bool write_one(struct writer *writer, size_t number, const zi_tensor_out *outs,
                      zi_output *output, zi_error *error)
{
    size_t bytes = writer->items[writer->first + number].bytes;
    return zi_tensor_write(output, &outs[number], number, bytes, fill, writer, error);
}

static bool write_in_order(struct writer *writer, size_t count, const zi_tensor_out *outs,
                           zi_output *output, zi_error *error)
{
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) ok = write_one(writer, i, outs, output, error);
    return ok;
}

/* Puts each tensor in its place when what it is made of has come. */
static bool write_lineup(struct writer *writer, const zi_lineup *lineup, const size_t *offsets,
                         const zi_tensor_out *outs, zi_output *output, zi_error *error)
{
    bool ok = true;
    for (size_t place = 0; ok && place < lineup->count; place++) {
        size_t number = lineup->order[place] - lineup->first;
        if (zi_lineup_turns(lineup, place))
            ok = zi_output_sync(output, error) && zi_lineup_release(lineup, place, error) &&
                 zi_lineup_wait(lineup, place, error);
        if (ok && zi_lineup_written(lineup, place))
            ok = advance(writer->work, writer->items[writer->first + number].bytes, error);
        else
            ok = ok && zi_output_seek(output, offsets[number], error) &&
                 write_one(writer, number, outs, output, error);
    }
    return ok && zi_output_sync(output, error) && zi_lineup_release(lineup, lineup->count, error);
}

static bool write_arriving(struct writer *writer, const zi_plan *plan, size_t count, size_t begin,
                           const zi_tensor_out *outs, zi_output *output, zi_error *error)
{
    zi_lineup lineup = {0};
    size_t *offsets = malloc((count + 1) * sizeof *offsets);
    if (!offsets) return zi_error_no_memory(error, count * sizeof *offsets);
    for (size_t i = 0; i < count; i++) {
        offsets[i] = begin;
        begin += writer->items[writer->first + i].bytes;
    }
    bool ok =
        zi_lineup_create(writer->work->arrivals, plan, writer->first, count, &lineup, error) &&
        write_lineup(writer, &lineup, offsets, outs, output, error);
    zi_lineup_free(&lineup);
    free(offsets);
    return ok;
}

bool zi_write_safetensors(const char *path, const char *format, const zi_plan *plan, size_t first,
                          size_t count, zi_work *work, zi_error *error)
{
    struct writer writer = {.work = work, .items = plan->items, .first = first};
    zi_tensor_out *outs = outs_of(plan->items + first, count, error);
    zi_output output = {0};
    size_t begin;
    bool ok = outs && prepare(&writer, count, error) &&
              (work->arrivals ? zi_output_resume(&output, path, error)
                              : zi_output_open(&output, path, error)) &&
              zi_safetensors_begin(&output, format, outs, count, &begin, error) &&
              (work->arrivals ? write_arriving(&writer, plan, count, begin, outs, &output, error)
                              : write_in_order(&writer, count, outs, &output, error)) &&
              zi_output_commit_new(&output, error);
    zi_output_discard(&output);
    release(&writer, outs);
    return ok;
}

bool zi_write_gguf(const char *path, const zi_gguf_out *values, size_t value_count,
                   const zi_plan *plan, zi_work *work, zi_error *error)
{
    struct writer writer = {.work = work, .items = plan->items};
    zi_tensor_out *outs = outs_of(plan->items, plan->count, error);
    bool ok = outs && prepare(&writer, plan->count, error) &&
              zi_gguf_write(path, values, value_count, outs, plan->count, fill, &writer, error);
    release(&writer, outs);
    return ok;
}
