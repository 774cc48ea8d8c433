#include "rig.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEMORY = 160 << 20,
    WORDS = MEMORY / 4,
    GUARD = 16,           /* words before a tensor, at least */
    SCRATCH_GUARD = 1024, /* words behind scratch memory */
    CHUNK = 1 << 20,      /* words of scratch memory that are filled at once */
};

/* Exits the program unless ok: what a rig needs cannot be had. */
static void need(bool ok, const zi_error *error)
{
    if (ok) return;
    printf("test rig: %s\n", error->text);
    exit(1);
}

/* Returns a list [count] with room for one more element, or exits the program. */
static void *grown(void *list, size_t count, size_t size)
{
    list = realloc(list, (count + 1) * size);
    if (!list) exit(1);
    return list;
}

/* ---- random numbers ---- */

uint64_t zi_rig_bits(zi_rig *rig)
{
    uint64_t x = rig->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    rig->random = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

size_t zi_rig_below(zi_rig *rig, size_t n)
{
    return (size_t)((zi_rig_bits(rig) >> 32) % n);
}

float zi_rig_uniform(zi_rig *rig)
{
    return (float)(zi_rig_bits(rig) >> 40) * 0x1p-23f - 1.0f;
}

float *zi_rig_values(zi_rig *rig, size_t n)
{
    float *x = zi_rig_alloc(rig, n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = zi_rig_uniform(rig);
    return x;
}

/* ---- the host's memory ---- */

void *zi_rig_alloc(zi_rig *rig, size_t count, size_t size)
{
    size_t bytes = count * size;
    void *block = malloc(bytes ? bytes : 1);
    rig->owned = grown(rig->owned, rig->owned_count, sizeof *rig->owned);
    if (!block) exit(1);
    return rig->owned[rig->owned_count++] = block;
}

/* A sum that changes with every byte. */
static uint64_t content(const unsigned char *data, size_t size)
{
    uint64_t sum = size, word;
    for (; size >= sizeof word; data += sizeof word, size -= sizeof word) {
        memcpy(&word, data, sizeof word);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    for (; size; data++, size--) sum = (sum ^ *data) * UINT64_C(0x9e3779b97f4a7c15);
    return sum;
}

static zi_view import_block(zi_rig *rig, zi_dtype type, const void *data, size_t bytes, size_t rows,
                            size_t columns)
{
    zi_error error = {0};
    zi_view view = {.type = type, .rows = rows, .columns = columns, .stride = columns};
    need(zi_buffer_import(rig->backend, data, bytes, &view.buffer, &error), &error);
    rig->imports = grown(rig->imports, rig->import_count, sizeof *rig->imports);
    rig->imports[rig->import_count++] =
        (zi_rig_import){view.buffer, data, bytes, content(data, bytes)};
    return view;
}

zi_view zi_rig_import_copy(zi_rig *rig, zi_dtype type, const void *data, size_t bytes, size_t rows,
                           size_t columns)
{
    unsigned char *copy = zi_rig_alloc(rig, bytes + 1, 1);
    memcpy(copy + 1, data, bytes);
    return import_block(rig, type, copy + 1, bytes, rows, columns);
}

zi_weight *zi_rig_vector(zi_rig *rig, const float *values, size_t n)
{
    float *copy = zi_rig_alloc(rig, n + 1, sizeof *copy);
    zi_weight *weight = zi_rig_alloc(rig, 1, sizeof *weight);
    memcpy(copy + 1, values, n * sizeof *copy);
    *weight = (zi_weight){.name = "vector"};
    weight->data = import_block(rig, ZI_F32, copy + 1, n * sizeof *copy, 1, n);
    return weight;
}

/* ---- sessions ---- */

/* What a word holds where nothing was set: quiet NaNs, no two neighbours alike. */
static uint32_t sentinel(size_t word)
{
    uint32_t mixed = (uint32_t)word * 2654435761u;
    return 0x7fc00000u | (mixed & 0x80000000u) | (mixed >> 9 & 0x3fffff);
}

static zi_view words_of(zi_buffer *buffer, size_t begin, size_t end)
{
    return (zi_view){.buffer = buffer,
                     .offset = begin * 4,
                     .type = ZI_F32,
                     .rows = 1,
                     .columns = end - begin,
                     .stride = end - begin};
}

/* Fills scratch memory and the sentinels behind it. */
static void fill_scratch(zi_exec *exec, zi_buffer *scratch)
{
    size_t words = scratch->size / 4;
    uint32_t *values = malloc(CHUNK * sizeof *values);
    for (size_t begin = 0; begin < words; begin += CHUNK) {
        size_t end = begin + CHUNK < words ? begin + CHUNK : words;
        for (size_t i = begin; i < end; i++) values[i - begin] = sentinel(i);
        zi_write(exec, words_of(scratch, begin, end), values);
    }
    free(values);
}

zi_rig_session zi_rig_begin_session(zi_rig *rig, bool fast, zi_exec_limits limits)
{
    const zi_backend_ops *ops = rig->backend->ops;
    zi_rig_session session = {0};
    zi_error error = {0};
    zi_arena measured = zi_arena_measure();
    need(ops->begin(rig->backend, fast, &session.exec, &error), &error);
    CHECK(session.exec->ops == ops && session.exec->backend == rig->backend &&
          session.exec->fast == fast);
    ops->plan(session.exec, &measured, limits);
    CHECK(!measured.overflow);
    size_t planned = (measured.peak + 63) / 64 * 64;
    need(zi_buffer_alloc(rig->backend, planned + SCRATCH_GUARD * 4, &session.scratch, &error),
         &error);
    zi_arena arena = zi_arena_in(session.scratch);
    ops->plan(session.exec, &arena, limits);
    CHECK_MSG(!arena.overflow && arena.peak == measured.peak, "the session plans %zu, then %zu",
              measured.peak, arena.peak);
    fill_scratch(session.exec, session.scratch);
    return session;
}

void zi_rig_end_session(zi_rig *rig, zi_rig_session *session)
{
    uint32_t guard[SCRATCH_GUARD];
    size_t words = session->scratch->size / 4, first = words - SCRATCH_GUARD;
    if (zi_read(session->exec, words_of(session->scratch, first, words), guard, NULL))
        for (size_t i = 0; i < SCRATCH_GUARD; i++)
            if (!CHECK_MSG(guard[i] == sentinel(first + i),
                           "word %zu behind the scratch memory is written to", i))
                break;
    rig->backend->ops->end(session->exec);
    zi_buffer_release(session->scratch);
    *session = (zi_rig_session){0};
}

bool zi_rig_is_short(const zi_rig *rig)
{
    return rig->row->apart && !zi_test_long();
}

bool zi_rig_open(zi_rig *rig, const zi_test_backend *row, uint64_t seed, zi_error *error)
{
    *rig = (zi_rig){.row = row, .random = seed * 2 + 1};
    if (!row->open(&rig->backend, error)) {
        *rig = (zi_rig){0};
        return false;
    }
    for (int i = 0; i < 8; i++) zi_rig_bits(rig);
    need(zi_buffer_alloc(rig->backend, MEMORY, &rig->memory, error), error);
    for (int fast = 0; fast < 2; fast++)
        rig->sessions[fast] = zi_rig_begin_session(
            rig, fast, (zi_exec_limits){.head_dim = ZI_RIG_HEAD, .depth = ZI_RIG_DEPTH});
    rig->exec = rig->sessions[0].exec;
    rig->before = malloc(MEMORY);
    rig->after = malloc(MEMORY);
    rig->may_change = malloc(WORDS);
    if (!rig->before || !rig->after || !rig->may_change) exit(1);
    return true;
}

/* Frees all that a case has. */
static void end_case(zi_rig *rig)
{
    for (size_t i = 0; i < rig->import_count; i++) zi_buffer_release(rig->imports[i].buffer);
    for (size_t i = 0; i < rig->owned_count; i++) free(rig->owned[i]);
    rig->import_count = rig->owned_count = rig->tensor_count = rig->workspace_count = 0;
    rig->used = 0;
}

void zi_rig_close(zi_rig *rig)
{
    for (int fast = 0; fast < 2; fast++) zi_rig_end_session(rig, &rig->sessions[fast]);
    end_case(rig);
    zi_buffer_release(rig->memory);
    rig->backend->ops->destroy(rig->backend);
    free(rig->before);
    free(rig->after);
    free(rig->may_change);
    free(rig->tensors);
    free(rig->workspaces);
    free(rig->imports);
    free(rig->owned);
    *rig = (zi_rig){0};
}

void zi_rig_case(zi_rig *rig, bool fast, const char *what, ...)
{
    va_list args;
    end_case(rig);
    va_start(args, what);
    vsnprintf(rig->what, sizeof rig->what, what, args);
    va_end(args);
    rig->exec = rig->sessions[fast].exec;
    rig->operand_error = fast ? rig->row->operand_error : 0;
}

/* ---- the backend's memory ---- */

/* Reserves words behind sentinels, at a multiple of `align` words, and returns the first. Fills
 * sentinels and words, unless they are a workspace. */
static size_t take(zi_rig *rig, size_t words, size_t align, bool workspace)
{
    size_t guard = GUARD + zi_rig_below(rig, 8);
    size_t begin = (rig->used + guard + align - 1) / align * align, end = begin + words;
    if (end + GUARD > WORDS) {
        printf("test rig: %s: no room for %zu words\n", rig->what, words);
        exit(1);
    }
    for (size_t i = rig->used; i < (workspace ? begin : end); i++) {
        rig->before[i] = sentinel(i);
        rig->may_change[i] = 0;
    }
    zi_rig_span **list = workspace ? &rig->workspaces : &rig->tensors;
    size_t *count = workspace ? &rig->workspace_count : &rig->tensor_count;
    *list = grown(*list, *count, sizeof **list);
    (*list)[(*count)++] = (zi_rig_span){begin, end};
    rig->used = end;
    return begin;
}

zi_view zi_rig_space(zi_rig *rig, size_t rows, size_t columns, size_t gap)
{
    size_t stride = columns + gap;
    return (zi_view){.buffer = rig->memory,
                     .offset = take(rig, rows ? (rows - 1) * stride + columns : 0, 1, false) * 4,
                     .type = ZI_F32,
                     .rows = rows,
                     .columns = columns,
                     .stride = stride};
}

void zi_rig_set(zi_rig *rig, zi_view view, const void *values)
{
    size_t bytes = view.columns * zi_dtype_size(view.type);
    for (size_t i = 0; i < view.rows; i++)
        memcpy((char *)rig->before + zi_view_rows(view, i, 1).offset,
               (const char *)values + i * bytes, bytes);
}

void zi_rig_may_change(zi_rig *rig, zi_view view)
{
    size_t words = view.columns * zi_dtype_size(view.type) / 4;
    for (size_t i = 0; i < view.rows; i++)
        memset(rig->may_change + zi_view_rows(view, i, 1).offset / 4, 1, words);
}

zi_view zi_rig_in(zi_rig *rig, const float *values, size_t rows, size_t columns, size_t gap)
{
    zi_view view = zi_rig_space(rig, rows, columns, gap);
    zi_rig_set(rig, view, values);
    return view;
}

zi_view zi_rig_out(zi_rig *rig, size_t rows, size_t columns, size_t gap)
{
    zi_view view = zi_rig_space(rig, rows, columns, gap);
    zi_rig_may_change(rig, view);
    return view;
}

zi_view zi_rig_inout(zi_rig *rig, const float *values, size_t rows, size_t columns, size_t gap)
{
    zi_view view = zi_rig_out(rig, rows, columns, gap);
    zi_rig_set(rig, view, values);
    return view;
}

zi_view zi_rig_doubles(zi_rig *rig, const double *values, size_t rows, size_t columns, size_t gap)
{
    size_t stride = columns + gap;
    zi_view view = {.buffer = rig->memory,
                    .offset = take(rig, 2 * rows * stride, 16, false) * 4,
                    .type = ZI_F64,
                    .rows = rows,
                    .columns = columns,
                    .stride = stride};
    zi_rig_set(rig, view, values);
    return view;
}

zi_view zi_rig_moments(zi_rig *rig)
{
    zi_view view = {.buffer = rig->memory,
                    .offset = take(rig, ZI_MAX_CHANNELS * ZI_MOMENTS / 4, 16, false) * 4,
                    .type = ZI_U8,
                    .rows = ZI_MAX_CHANNELS,
                    .columns = ZI_MOMENTS,
                    .stride = ZI_MOMENTS};
    zi_rig_may_change(rig, view);
    return view;
}

zi_view zi_rig_workspace(zi_rig *rig, size_t bytes)
{
    return (zi_view){.buffer = rig->memory,
                     .offset = take(rig, (bytes + 3) / 4, 1, true) * 4,
                     .type = ZI_U8,
                     .rows = 1,
                     .columns = bytes,
                     .stride = bytes};
}

/* ---- running and checking ---- */

/* Copies the described memory to the backend (to NULL), or back to `to`, all but workspaces. False:
 * reading fails. */
static bool transfer(zi_rig *rig, uint32_t *to, zi_error *error)
{
    size_t begin = 0;
    for (size_t i = 0; i <= rig->workspace_count; i++) {
        bool last = i == rig->workspace_count;
        size_t end = last ? rig->used : rig->workspaces[i].begin;
        zi_view view = words_of(rig->memory, begin, end);
        if (to && !zi_read(rig->exec, view, to + begin, error)) return false;
        if (!to) zi_write(rig->exec, view, rig->before + begin);
        begin = last ? end : rig->workspaces[i].end;
    }
    return true;
}

void zi_rig_start(zi_rig *rig)
{
    take(rig, 0, 1, false); /* sentinels at the end */
    rig->tensor_count--;
    transfer(rig, NULL, NULL);
}

/* Reports that a word was overwritten, and where it is. */
static void report_overwritten(const zi_rig *rig, size_t word)
{
    for (size_t i = 0; i < rig->tensor_count; i++) {
        zi_rig_span span = rig->tensors[i];
        if (word < span.begin || word >= span.end) continue;
        CHECK_MSG(false, "%s: word %zu (of %zu) of tensor %zu must not change: %08x, was %08x",
                  rig->what, word - span.begin, span.end - span.begin, i, rig->after[word],
                  rig->before[word]);
        return;
    }
    CHECK_MSG(false, "%s: word %zu, which is outside of all tensors, is overwritten", rig->what,
              word);
}

bool zi_rig_finish(zi_rig *rig)
{
    zi_error error = {0};
    size_t workspace = 0;
    if (zi_rig_below(rig, 2) && !CHECK_OK(zi_submit(rig->exec, &error), error)) return false;
    if (!CHECK_MSG(transfer(rig, rig->after, &error), "%s: %s", rig->what, error.text))
        return false;
    for (size_t i = 0; i < rig->used; i++) {
        if (workspace < rig->workspace_count && i == rig->workspaces[workspace].begin) {
            i = rig->workspaces[workspace++].end - 1;
            continue;
        }
        if (rig->may_change[i] || rig->after[i] == rig->before[i]) continue;
        report_overwritten(rig, i);
        return false;
    }
    for (size_t i = 0; i < rig->import_count; i++)
        if (!CHECK_MSG(content(rig->imports[i].data, rig->imports[i].size) == rig->imports[i].sum,
                       "%s: weight %zu is overwritten", rig->what, i))
            return false;
    return true;
}

float *zi_rig_result(zi_rig *rig, zi_view view)
{
    float *values = zi_rig_alloc(rig, view.rows * view.columns, sizeof *values);
    for (size_t i = 0; i < view.rows; i++)
        memcpy(values + i * view.columns,
               (const char *)rig->after + zi_view_rows(view, i, 1).offset,
               view.columns * sizeof *values);
    return values;
}

bool zi_rig_near(zi_rig *rig, const char *what, size_t index, double got, double wanted,
                 double bound)
{
    double error = fabs(got - wanted), allowed = bound * rig->row->tolerance;
    if (error > rig->worst * allowed && allowed > 0) rig->worst = error / allowed;
    return CHECK_MSG(error <= allowed, "%s: %s %zu is %.9g, not %.9g (off by %.3g, may be by %.3g)",
                     rig->what, what, index, got, wanted, error, allowed);
}
