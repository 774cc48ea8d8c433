/* Checks for values that are not finite, and how their failures are reported. */
#include "calls.h"
#include "conv_problem.h"
#include "ops.h"
#include "stored.h"

#include <math.h>
#include <string.h>

static const zi_exec_limits limits = {.head_dim = 64, .depth = 256};
static const float odd[] = {NAN, -NAN, INFINITY, -INFINITY};

enum { ODD = sizeof odd / sizeof *odd };

/* Runs the case in a session of its own. */
static zi_rig_session begin(zi_rig *rig)
{
    zi_rig_session session = zi_rig_begin_session(rig, false, limits);
    rig->exec = session.exec;
    return session;
}

static void end(zi_rig *rig, zi_rig_session *session)
{
    zi_rig_end_session(rig, session);
    rig->exec = rig->sessions[0].exec;
}

/* Checks that the session fails with this name, whatever is called and however often. */
static void expect_failure(zi_rig *rig, const char *name)
{
    float value;
    zi_error error = {0};
    zi_view view = zi_rig_space(rig, 1, 1, 0);
    CHECK_MSG(!zi_wait(rig->exec, &error), "%s: waiting does not fail", rig->what);
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, name);
    for (int i = 0; i < 2; i++) {
        error = (zi_error){0};
        CHECK_MSG(!zi_submit(rig->exec, &error), "%s: submitting does not fail", rig->what);
        CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, name);
        error = (zi_error){0};
        CHECK_MSG(!zi_read(rig->exec, view, &value, &error), "%s: reading does not fail",
                  rig->what);
        CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, name);
        CHECK(!zi_wait(rig->exec, NULL));
    }
}

static void expect_success(zi_rig *rig)
{
    zi_error error = {0};
    CHECK_OK(zi_submit(rig->exec, &error), error);
    CHECK_MSG(zi_wait(rig->exec, &error), "%s: %s", rig->what, error.text);
}

/* ---- check_finite ---- */

/* Checks a view with a value that is not finite at `place`, behind two that are sound: one of the
 * same memory without that column or row, if there is any. The gaps are never finite. */
static void run_finite(zi_rig *rig, size_t rows, size_t columns, size_t gap, size_t place,
                       float value, bool wide)
{
    zi_rig_case(rig, false, "check_finite, %zux%zu of %s, gaps of %zu, %g at %zu", rows, columns,
                wide ? "F64" : "F32", gap, value, place);
    double *wide_values = zi_rig_alloc(rig, rows * columns, sizeof *wide_values);
    float *values = zi_rig_values(rig, rows * columns);
    values[rows * columns / 2] = -3e38f; /* finite, but not its sum with others */
    values[rows * columns - 1] = -3e38f;
    zi_view good = zi_rig_in(rig, values, rows, columns, gap);
    values[place] = value;
    for (size_t i = 0; i < rows * columns; i++) wide_values[i] = values[i];
    zi_view bad = wide ? zi_rig_doubles(rig, wide_values, rows, columns, gap)
                       : zi_rig_in(rig, values, rows, columns, gap);
    zi_rig_session session = begin(rig);
    zi_rig_start(rig);
    zi_call_check_finite(rig->exec, good, "good");
    size_t row = place / columns, column = place % columns;
    if (row) zi_call_check_finite(rig->exec, zi_view_rows(bad, 0, row), "rows before");
    if (row + 1 < rows)
        zi_call_check_finite(rig->exec, zi_view_rows(bad, row + 1, rows - row - 1), "rows behind");
    if (column) zi_call_check_finite(rig->exec, zi_view_columns(bad, 0, column), "columns before");
    expect_success(rig);
    zi_call_check_finite(rig->exec, bad, "layers.3");
    zi_call_check_finite(rig->exec, bad, "layers.4");
    zi_call_check_finite(rig->exec, good, "good again");
    expect_failure(rig, "layers.3");
    end(rig, &session);
}

/* The failure shows by submitting alone, soon after: models do not wait between layers. */
static void failure_shows_in_submit(zi_rig *rig)
{
    zi_rig_case(rig, false, "a failure without waiting");
    float *values = zi_rig_values(rig, 60);
    values[7] = NAN;
    zi_view bad = zi_rig_in(rig, values, 6, 10, 0), other = zi_rig_inout(rig, values + 8, 1, 10, 0);
    zi_error error = {0};
    zi_rig_session session = begin(rig);
    bool ok = true;
    zi_rig_start(rig);
    zi_call_check_finite(rig->exec, bad, "first");
    for (int i = 0; ok && i < 4; i++) {
        ok = zi_submit(rig->exec, &error);
        zi_silu(rig->exec, other);
        zi_call_check_finite(rig->exec, bad, "another");
    }
    CHECK_MSG(!ok, "%s: four submissions do not fail", rig->what);
    if (!ok) CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "first");
    expect_failure(rig, "first");
    end(rig, &session);
}

/* Names are copied and cut to 255 bytes. */
static void long_names(zi_rig *rig)
{
    zi_rig_case(rig, false, "long names");
    char name[400], wanted[256];
    memset(name, 'x', sizeof name);
    for (size_t i = 0; i < sizeof name; i++) name[i] = (char)('a' + i % 26);
    name[sizeof name - 1] = 0;
    snprintf(wanted, sizeof wanted, "%.255s", name);
    float value = NAN;
    zi_view bad = zi_rig_in(rig, &value, 1, 1, 0);
    zi_rig_session session = begin(rig);
    zi_rig_start(rig);
    zi_call_check_finite(rig->exec, bad, name);
    expect_failure(rig, wanted);
    end(rig, &session);
}

void zi_ops_check_finite(zi_rig *rig)
{
    static const struct {
        size_t rows, columns, gap;
    } shapes[] = {{1, 1, 0}, {130, 33, 0}, {65, 17, 3}, {3, 3840, 0}, {257, 1, 1}, {2, 70001, 5}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t rows = shapes[i].rows, columns = shapes[i].columns, n = rows * columns;
        const size_t places[] = {0, n - 1, n / 2, columns - 1};
        for (size_t j = 0; j < 4; j++)
            run_finite(rig, rows, columns, shapes[i].gap, places[j], odd[(i + j) % ODD], j % 2);
    }
    failure_shows_in_submit(rig);
    long_names(rig);
    zi_rig_case(rig, false, "other sessions");
    expect_success(rig); /* failures were those of their sessions */
}

/* ---- check_moments ---- */

/* A feature map whose last value of channel `bad` is `value`; the channels before it are sound. */
static void run_moments(zi_rig *rig, size_t H, size_t W, size_t C, size_t bad, float value)
{
    zi_rig_case(rig, false, "check_moments, %zux%zu, %g in channel %zu of %zu", H, W, value, bad,
                C);
    float *x = zi_rig_values(rig, H * W * C);
    zi_feature_map good = {zi_rig_in(rig, x, H, W * C, 3), W, C};
    x[(H * W - 1) * C + bad] = value;
    zi_feature_map map = {zi_rig_in(rig, x, H, W * C, 3), W, C};
    zi_view sound = zi_rig_moments(rig), moments = zi_rig_moments(rig);
    zi_rig_session session = begin(rig);
    zi_rig_start(rig);
    zi_call_moments(rig->exec, &good, sound);
    zi_call_check_moments(rig->exec, sound, C, "good");
    zi_call_moments(rig->exec, &map, moments);
    if (bad) zi_call_check_moments(rig->exec, moments, bad, "channels before");
    expect_success(rig);
    zi_call_check_moments(rig->exec, moments, C, "vae mid_block.resnets.0");
    zi_call_check_moments(rig->exec, moments, C, "later");
    expect_failure(rig, "vae mid_block.resnets.0");
    end(rig, &session);
}

/* The moments of a convolution's result tell of values that are not finite in its input. */
static void run_conv_moments(zi_rig *rig, float value)
{
    zi_rig_case(rig, false, "check_moments behind a convolution of %g", value);
    zi_conv_problem p =
        zi_conv_make(rig, (zi_conv_shape){.type = ZI_BF16, .H = 9, .W = 5, .in = 6, .out = 7}, 0);
    p.x[9 * 5 * 6 - 3] = value;
    zi_conv_place place = zi_conv_apart(rig, &p, 1);
    zi_rig_session session = begin(rig);
    zi_conv3x3_args args = zi_conv_args(rig, &p, &place, zi_rig_moments(rig), 0);
    zi_rig_start(rig);
    zi_call_conv3x3(rig->exec, &args);
    zi_call_check_moments(rig->exec, args.moments, 7, "conv");
    expect_failure(rig, "conv");
    end(rig, &session);
}

void zi_ops_check_moments(zi_rig *rig)
{
    for (size_t i = 0; i < ODD; i++) {
        run_moments(rig, 1, 1, 1, 0, odd[i]);
        run_moments(rig, 70, 11, 12, 11, odd[i]);
        run_moments(rig, 3, 129, 65, 17, odd[i]);
        run_moments(rig, 5, 3, 512, 511, odd[i]);
        run_conv_moments(rig, odd[i]);
    }
}

/* ---- results of what is not finite ---- */

/* Checks that row t of y [T, N] has nothing finite, and other rows nothing else. */
static void expect_row(zi_rig *rig, const float *y, size_t T, size_t N, size_t t)
{
    for (size_t i = 0; i < T * N; i++)
        if (!CHECK_MSG(!isfinite(y[i]) == (i / N == t), "%s: y %zu is %g", rig->what, i, y[i]))
            return;
}

/* A value of row t of x that is not finite reaches all results of that row, by products of every
 * kind, and no others. */
static void run_linear(zi_rig *rig, const char *kind, size_t T, float value, bool fast)
{
    enum { N = 65, K = 256 };
    size_t t = T / 2;
    zi_rig_case(rig, fast, "%s linear, %s, of %g in row %zu", fast ? "fast" : "exact", kind, value,
                t);
    const zi_stored *w = zi_stored_make(rig, zi_stored_kind_find(kind), N, K, 0);
    float *x = zi_rig_values(rig, T * K);
    x[t * K + 77] = value;
    zi_view in = zi_rig_in(rig, x, T, K, 0), out = zi_rig_out(rig, T, N, 0);
    zi_rig_start(rig);
    zi_linear(rig->exec, in, &w->weight, NULL, out);
    if (zi_rig_finish(rig)) expect_row(rig, zi_rig_result(rig, out), T, N, t);
}

/* A key that is not finite reaches the results of all queries that see it. */
static void run_attention(zi_rig *rig, float value, bool fast)
{
    enum { T = 70, DIM = 64, KEY = 67 };
    zi_rig_case(rig, fast, "%s attention of %g", fast ? "fast" : "exact", value);
    float *x = zi_rig_values(rig, T * DIM);
    zi_view q = zi_rig_in(rig, x, T, DIM, 0), v = zi_rig_in(rig, x, T, DIM, 0);
    x[KEY * DIM + 5] = value;
    zi_view k = zi_rig_inout(rig, x, T, DIM, 0), out = zi_rig_out(rig, T, DIM, 0);
    zi_rig_start(rig);
    zi_call_attention(rig->exec, &(zi_attention_args){.q = q,
                                                      .k = k,
                                                      .v = v,
                                                      .out = out,
                                                      .heads = 1,
                                                      .kv_heads = 1,
                                                      .dim = DIM,
                                                      .causal = true,
                                                      .fast = fast});
    if (!zi_rig_finish(rig)) return;
    const float *y = zi_rig_result(rig, out);
    for (size_t i = 0; i < KEY * DIM; i++)
        if (!CHECK_MSG(isfinite(y[i]), "%s: y %zu is %g", rig->what, i, y[i])) return;
    if (isnan(value))
        for (size_t i = KEY * DIM; i < T * DIM; i++)
            if (!CHECK_MSG(!isfinite(y[i]), "%s: y %zu is %g", rig->what, i, y[i])) return;
}

static void run_norm(zi_rig *rig, float value, zi_norm_kind kind)
{
    enum { T = 5, D = 129 };
    zi_rig_case(rig, false, "norm %d of %g", (int)kind, value);
    float *x = zi_rig_values(rig, T * D), *weight = zi_rig_values(rig, D);
    zi_norm_args args = {.kind = kind, .eps = 1e-6f};
    if (kind != ZI_LAYER_NORM) args.weight = zi_rig_vector(rig, weight, D);
    x[3 * D + 128] = value;
    args.x = zi_rig_inout(rig, x, T, D, 0);
    args.y = zi_rig_inout(rig, zi_rig_values(rig, T * D), T, D, 0);
    zi_rig_start(rig);
    zi_call_norm(rig->exec, &args);
    if (!zi_rig_finish(rig)) return;
    const float *y = zi_rig_result(rig, args.y);
    size_t lost = 0;
    for (size_t i = 0; i < T * D; i++) lost += !isfinite(y[i]) && i / D == 3;
    CHECK_MSG(lost > 0, "%s: all results are finite", rig->what);
    for (size_t i = 0; i < T * D; i++)
        if (i / D != 3 && !CHECK_MSG(isfinite(y[i]), "%s: y %zu is %g", rig->what, i, y[i])) return;
}

/* Damage is found because what is not finite reaches the results. */
void zi_ops_not_finite(zi_rig *rig)
{
    static const char *const kinds[] = {
        "BF16", "Q8_0", "Q6_K", "8 bits in 64, BF16", "NVFP4", "I8 rotated by 64"};
    for (size_t i = 0; i < ODD; i++) {
        for (size_t j = 0; j < sizeof kinds / sizeof *kinds; j++)
            for (int fast = 0; fast < 2; fast++)
                run_linear(rig, kinds[j], j % 2 ? 3 : 17, odd[i], fast);
        run_attention(rig, odd[i], false);
        run_attention(rig, odd[i], true);
        for (int kind = ZI_RMS_NORM; kind <= ZI_LAYER_NORM; kind++)
            run_norm(rig, odd[i], (zi_norm_kind)kind);
    }
}
