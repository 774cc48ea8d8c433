/* What backend.h says of sessions: their operations happen in order, once, whenever they are
 * submitted, and those of others do not matter. */
#include "calls.h"
#include "ops.h"
#include "stored.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

static const zi_exec_limits limits = {.head_dim = 64, .depth = 256};

enum { T = 33, D = 96, STEPS = 25 };

/* ---- sessions at the same time ---- */

/* A session's work, which is the same again and again: y = x w^T, normed, SiLU, added to x. */
typedef struct {
    zi_rig_session session;
    const zi_weight *w, *norm;
    const float *input;
    zi_view x, y;
    float *result;
    bool ok;
} worker;

static worker hire(zi_rig *rig, const zi_weight *w, const zi_weight *norm)
{
    return (worker){.session = zi_rig_begin_session(rig, false, limits),
                    .w = w,
                    .norm = norm,
                    .input = zi_rig_values(rig, T * D),
                    .x = zi_rig_out(rig, T, D, 0),
                    .y = zi_rig_out(rig, T, D, 0),
                    .result = zi_rig_alloc(rig, T * D, sizeof(float)),
                    .ok = true};
}

static void begin_work(worker *work)
{
    zi_call_write(work->session.exec, work->x, work->input);
}

static void step(worker *work)
{
    zi_exec *exec = work->session.exec;
    zi_linear(exec, work->x, work->w, NULL, work->y);
    zi_rms_norm(exec, work->y, work->norm, 1e-6f, (zi_view){0}, work->y);
    zi_silu(exec, work->y);
    zi_add(exec, work->x, work->y);
    work->ok = zi_submit(exec, NULL) && work->ok;
}

static void end_work(worker *work)
{
    work->ok = zi_read(work->session.exec, work->x, work->result, NULL) && work->ok;
}

static void *work_alone(void *context)
{
    begin_work(context);
    for (int i = 0; i < STEPS; i++) step(context);
    end_work(context);
    return NULL;
}

enum { WORKERS = 2 };

/* Checks that all workers have the results that they had alone. */
static void compare(zi_rig *rig, const worker *workers, float *const *alone, const char *how)
{
    for (int i = 0; i < WORKERS; i++)
        CHECK_MSG(workers[i].ok && memcmp(workers[i].result, alone[i], T * D * sizeof(float)) == 0,
                  "%s: session %d has other results %s", rig->what, i, how);
}

void zi_ops_sessions(zi_rig *rig)
{
    zi_rig_case(rig, false, "two sessions");
    const zi_stored *w = zi_stored_make(rig, zi_stored_kind_find("BF16"), D, D, 0);
    const zi_weight *norm = zi_rig_vector(rig, zi_rig_values(rig, D), D);
    worker workers[WORKERS];
    float *alone[WORKERS];
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = hire(rig, &w->weight, norm);
        work_alone(&workers[i]);
        alone[i] = zi_rig_alloc(rig, T * D, sizeof(float));
        memcpy(alone[i], workers[i].result, T * D * sizeof(float));
    }
    CHECK_MSG(memcmp(alone[0], alone[1], T * D * sizeof(float)) != 0, "both results are the same");
    for (int i = 0; i < WORKERS; i++) begin_work(&workers[i]);
    for (int i = 0; i < STEPS * WORKERS; i++) step(&workers[i % WORKERS]);
    for (int i = 0; i < WORKERS; i++) end_work(&workers[i]);
    compare(rig, workers, alone, "in turn with another");
    for (int round = 0; round < 3; round++) {
        int started = 0;
        while (started < WORKERS &&
               pthread_create(&threads[started], NULL, work_alone, &workers[started]) == 0)
            started++;
        for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
        CHECK(started == WORKERS);
        compare(rig, workers, alone, "beside another in a thread");
    }
    for (int i = 0; i < WORKERS; i++) zi_rig_end_session(rig, &workers[i].session);
}

/* ---- submissions ---- */

/* x + n y, after n additions of whole numbers. */
static bool check_sum(zi_rig *rig, zi_view x, const float *before, const float *y, size_t n)
{
    zi_error error = {0};
    float *got = zi_rig_alloc(rig, x.rows * x.columns, sizeof *got);
    if (!CHECK_MSG(zi_read(rig->exec, x, got, &error), "%s: %s", rig->what, error.text))
        return false;
    for (size_t i = 0; i < x.rows * x.columns; i++)
        if (!CHECK_MSG(got[i] == before[i] + (float)n * y[i],
                       "%s: after %zu additions x %zu is %g, not %g", rig->what, n, i, got[i],
                       before[i] + (float)n * y[i]))
            return false;
    return true;
}

/* Many submissions one after the other, some of nothing; reading with and without submitting; and
 * many operations in one. */
void zi_ops_submissions(zi_rig *rig)
{
    zi_rig_case(rig, false, "many submissions");
    enum { ROWS = 5, COLUMNS = 67, MANY = 400 };
    zi_error error = {0};
    float *before = zi_rig_values(rig, ROWS * COLUMNS), *y = zi_rig_values(rig, ROWS * COLUMNS);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        before[i] = rintf(before[i] * 100);
        y[i] = rintf(y[i] * 100);
    }
    zi_view x = zi_rig_inout(rig, before, ROWS, COLUMNS, 2),
            added = zi_rig_in(rig, y, ROWS, COLUMNS, 0);
    zi_rig_start(rig);
    CHECK_OK(zi_wait(rig->exec, &error), error);
    CHECK_OK(zi_wait(rig->exec, &error), error);
    size_t n = 0;
    for (; n < MANY; n++) {
        zi_add(rig->exec, x, added);
        CHECK_OK(zi_submit(rig->exec, &error), error);
    }
    check_sum(rig, x, before, y, n); /* after the submission */
    zi_add(rig->exec, x, added);
    check_sum(rig, x, before, y, ++n);                                         /* without one */
    for (int i = 0; i < 5; i++) CHECK_OK(zi_submit(rig->exec, &error), error); /* of nothing */
    check_sum(rig, x, before, y, n);
    for (size_t i = 0; i < 5 * MANY; i++, n++) zi_add(rig->exec, x, added); /* all in one */
    CHECK_OK(zi_submit(rig->exec, &error), error);
    CHECK_OK(zi_wait(rig->exec, &error), error);
    check_sum(rig, x, before, y, n);
    zi_rig_finish(rig);
}

/* ---- what is not submitted ---- */

/* Ends a session with so many submissions that may still run, and operations that were never
 * submitted; all memory is released right after. */
static void end_early(zi_rig *rig, int submissions)
{
    zi_rig_case(rig, false, "ending after %d submissions", submissions);
    zi_error error = {0};
    zi_buffer *memory = NULL;
    const zi_stored *w = zi_stored_make(rig, zi_stored_kind_find("Q8_0"), 256, 256, 0);
    zi_rig_session session = zi_rig_begin_session(rig, submissions % 2, limits);
    float *values = zi_rig_values(rig, 64 * 256);
    if (!CHECK_OK(zi_buffer_alloc(rig->backend, 2 * 64 * 256 * sizeof(float), &memory, &error),
                  error))
        return;
    zi_arena arena = zi_arena_in(memory);
    zi_view x = zi_arena_floats(&arena, 64, 256), y = zi_arena_floats(&arena, 64, 256);
    zi_call_write(session.exec, x, values);
    for (int i = 0; i <= submissions; i++) {
        zi_linear(session.exec, x, &w->weight, NULL, y);
        zi_tanh(session.exec, y);
        zi_linear(session.exec, y, &w->weight, NULL, x);
        zi_call_check_finite(session.exec, x, "x");
        if (i < submissions) CHECK_OK(zi_submit(session.exec, &error), error);
    }
    zi_call_write(session.exec, x, values);
    rig->backend->ops->end(session.exec);
    zi_buffer_release(memory);
    zi_buffer_release(session.scratch);
    for (size_t i = 0; i < rig->import_count; i++) zi_buffer_release(rig->imports[i].buffer);
    rig->import_count = 0;
}

void zi_ops_unsubmitted(zi_rig *rig)
{
    for (int submissions = 0; submissions < 5; submissions++) end_early(rig, submissions);
    zi_ops_submissions(rig); /* others go on */
}

/* ---- the order of operations ---- */

enum { TENSORS = 6, SIDE = 23, AREA = SIDE * SIDE, LARGEST = 1 << 22 };

/* Square tensors of whole numbers, here and on the backend. */
typedef struct {
    zi_rig *rig;
    zi_view views[TENSORS];
    float *here[TENSORS];
} squares;

/* Rows and columns that an operation works on, at two places of two tensors. */
typedef struct {
    size_t to, from, rows, columns, to_row, to_column, from_row, from_column;
} part;

static part random_part(zi_rig *rig)
{
    part p = {.to = zi_rig_below(rig, TENSORS), .from = zi_rig_below(rig, TENSORS - 1)};
    if (p.from >= p.to) p.from++;
    bool whole = zi_rig_below(rig, 2);
    p.rows = whole ? SIDE : 1 + zi_rig_below(rig, SIDE);
    p.columns = whole ? SIDE : 1 + zi_rig_below(rig, SIDE);
    p.to_row = zi_rig_below(rig, SIDE - p.rows + 1);
    p.from_row = zi_rig_below(rig, SIDE - p.rows + 1);
    p.to_column = zi_rig_below(rig, SIDE - p.columns + 1);
    p.from_column = zi_rig_below(rig, SIDE - p.columns + 1);
    return p;
}

static zi_view part_of(zi_view square, size_t row, size_t rows, size_t column, size_t columns)
{
    return zi_view_columns(zi_view_rows(square, row, rows), column, columns);
}

/* Writes random whole numbers to the part's target. */
static void write_part(squares *s, const part *p, zi_view to)
{
    float *values = zi_rig_alloc(s->rig, p->rows * p->columns, sizeof *values);
    for (size_t i = 0; i < p->rows * p->columns; i++) {
        values[i] = (float)zi_rig_below(s->rig, 41) - 20;
        s->here[p->to][(p->to_row + i / p->columns) * SIDE + p->to_column + i % p->columns] =
            values[i];
    }
    zi_call_write(s->rig->exec, to, values);
}

/* One random operation on both sides: x = y, x = y^T, x += y, x += a y, or values from the host,
 * which also replace numbers that grow too large. */
static void change(squares *s)
{
    part p = random_part(s->rig);
    size_t kind = zi_rig_below(s->rig, 5);
    float a = (float)zi_rig_below(s->rig, 5) - 2, *target = s->here[p.to];
    zi_view to = part_of(s->views[p.to], p.to_row, p.rows, p.to_column, p.columns);
    zi_view from = part_of(s->views[p.from], p.from_row, p.rows, p.from_column, p.columns);
    for (size_t i = 0; i < AREA; i++)
        if (fabsf(target[i]) + 2 * fabsf(s->here[p.from][i]) > LARGEST) {
            p = (part){.to = p.to, .rows = SIDE, .columns = SIDE};
            write_part(s, &p, s->views[p.to]);
            return;
        }
    if (kind == 4) {
        write_part(s, &p, to);
        return;
    }
    for (size_t i = 0; i < p.rows; i++)
        for (size_t j = 0; j < p.columns; j++) {
            size_t y_row = p.from_row + i, y_column = p.from_column + j;
            if (kind == 1) { /* of the whole square: its parts are as high as wide */
                y_row = p.from_column + j;
                y_column = p.from_row + i;
            }
            float y = s->here[p.from][y_row * SIDE + y_column];
            float *x = &target[(p.to_row + i) * SIDE + p.to_column + j];
            *x = kind < 2 ? y : kind == 2 ? *x + y : *x + a * y;
        }
    if (kind == 0) zi_copy_rows(s->rig->exec, from, to);
    if (kind == 2) zi_add(s->rig->exec, to, from);
    if (kind == 3) zi_add_scaled(s->rig->exec, to, a, from);
    if (kind != 1) return;
    from = part_of(s->views[p.from], p.from_column, 1, p.from_row, 1);
    zi_call_permute(s->rig->exec, &(zi_permute_args){.from = from,
                                                     .to = to,
                                                     .dims = 2,
                                                     .extents = {p.rows, p.columns},
                                                     .from_strides = {1, from.stride},
                                                     .to_strides = {to.stride, 1}});
}

/* Reads a tensor and compares it. */
static bool look(squares *s, size_t i)
{
    zi_error error = {0};
    float got[AREA];
    if (!CHECK_MSG(zi_read(s->rig->exec, s->views[i], got, &error), "%s: %s", s->rig->what,
                   error.text))
        return false;
    for (size_t k = 0; k < AREA; k++)
        if (!CHECK_MSG(got[k] == s->here[i][k], "%s: element %zu of tensor %zu is %g, not %g",
                       s->rig->what, k, i, got[k], s->here[i][k]))
            return false;
    return true;
}

/* Random operations that depend on each other, with submissions and reads in between: each sees
 * what those before it left, and nothing of those after it. */
void zi_ops_order(zi_rig *rig)
{
    for (int trial = 0; trial < 4; trial++) {
        zi_rig_case(rig, false, "random operations, trial %d", trial);
        squares s = {.rig = rig};
        bool ok = true;
        for (size_t i = 0; i < TENSORS; i++) {
            s.here[i] = zi_rig_values(rig, AREA);
            for (size_t k = 0; k < AREA; k++) s.here[i][k] = rintf(s.here[i][k] * 9);
            s.views[i] = zi_rig_inout(rig, s.here[i], SIDE, SIDE, i % 3);
        }
        zi_rig_start(rig);
        for (int i = 0; ok && i < 600; i++) {
            change(&s);
            if (zi_rig_below(rig, 20) == 0) ok = CHECK(zi_submit(rig->exec, NULL));
            if (ok && zi_rig_below(rig, 60) == 0) ok = look(&s, zi_rig_below(rig, TENSORS));
        }
        for (size_t i = 0; ok && i < TENSORS; i++) ok = look(&s, i);
        zi_rig_finish(rig);
    }
}

/* ---- the same sequence again ---- */

enum { ROWS = 9, VOCABULARY = 50, HEADS = 3, DIM = D / HEADS };

/* What is the same each time. */
typedef struct {
    const zi_weight *table, *w, *norm;
    zi_view x, h, y, z;
} sequence;

/* What may differ: the inputs, the numbers of rows, a factor, how many rows there are. */
typedef struct {
    float *input;
    int32_t ids[ROWS];
    float a;
    size_t n;
} inputs;

/* Writes, embeds, multiplies, attends, adds; reads z [n, D]. */
static void play(zi_exec *exec, const sequence *s, const inputs *in, float *out)
{
    zi_error error = {0};
    zi_view x = zi_view_rows(s->x, 0, in->n), h = zi_view_rows(s->h, 0, in->n);
    zi_view y = zi_view_rows(s->y, 0, in->n), z = zi_view_rows(s->z, 0, in->n);
    zi_call_write(exec, x, in->input);
    zi_call_embed(exec, s->table, in->ids, in->n, h);
    zi_add_scaled(exec, h, in->a, x);
    zi_linear(exec, h, s->w, NULL, y);
    zi_rms_norm(exec, y, s->norm, 1e-6f, (zi_view){0}, y);
    zi_call_attention(exec, &(zi_attention_args){.q = y,
                                                 .k = h,
                                                 .v = x,
                                                 .out = z,
                                                 .heads = HEADS,
                                                 .kv_heads = HEADS,
                                                 .dim = DIM,
                                                 .causal = true});
    zi_extrapolate(exec, z, in->a, x);
    zi_call_check_finite(exec, z, "z");
    CHECK_OK(zi_submit(exec, &error), error);
    CHECK_OK(zi_read(exec, z, out, &error), error);
}

/* The same operations on the same views, with other inputs each time, give what a session gives
 * that does them for the first time: a backend may record once and submit again. In the end factor,
 * row numbers and numbers of rows differ, too. */
void zi_ops_repeated(zi_rig *rig)
{
    enum { TIMES = 8 };
    zi_rig_case(rig, false, "the same sequence again");
    const zi_stored *table = zi_stored_make(rig, zi_stored_kind_find("BF16"), VOCABULARY, D, 0);
    const zi_stored *w = zi_stored_make(rig, zi_stored_kind_find("Q4_0"), D, D, 0);
    sequence s = {&table->weight,
                  &w->weight,
                  zi_rig_vector(rig, zi_rig_values(rig, D), D),
                  zi_rig_out(rig, ROWS, D, 0),
                  zi_rig_out(rig, ROWS, D, 0),
                  zi_rig_out(rig, ROWS, D, 0),
                  zi_rig_out(rig, ROWS, D, 0)};
    inputs in[TIMES];
    float *again = zi_rig_alloc(rig, ROWS * D, sizeof *again);
    float *first = zi_rig_alloc(rig, ROWS * D, sizeof *first);
    float *kept = zi_rig_alloc(rig, ROWS * D, sizeof *kept);
    for (int i = 0; i < TIMES; i++) {
        in[i] = (inputs){.input = zi_rig_values(rig, ROWS * D), .a = 0.5f, .n = ROWS};
        for (int t = 0; t < ROWS; t++)
            in[i].ids[t] = i < 4 ? t : (int32_t)zi_rig_below(rig, VOCABULARY);
        if (i >= 5) in[i].a = 0.1f * (float)i;
        if (i >= 6) in[i].n = (size_t)i - 3;
    }
    zi_rig_start(rig);
    for (int i = 0; i < TIMES; i++) {
        zi_rig_session fresh = zi_rig_begin_session(rig, false, limits);
        play(fresh.exec, &s, &in[i], first);
        zi_rig_end_session(rig, &fresh);
        play(rig->exec, &s, &in[i], again);
        size_t bytes = in[i].n * D * sizeof *again;
        CHECK_MSG(memcmp(first, again, bytes) == 0, "%s: other results the %d. time", rig->what,
                  i + 1);
        if (i) CHECK_MSG(memcmp(kept, again, bytes) != 0, "%s: results of before", rig->what);
        memcpy(kept, again, bytes);
    }
    zi_rig_finish(rig);
}
