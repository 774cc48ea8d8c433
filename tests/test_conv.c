/* Convolution and group norm against plain loops in double precision, at ragged sizes. Threads,
 * bands and in-place results change no bit. */
#include "fixture.h"
#include "harness.h"

#include <math.h>
#include <string.h>

static zi_fixture fixture;

/* n values; every test gives them back. */
static float *values(size_t n)
{
    return zi_fixture_random_values(&fixture, n);
}

/* ---- a convolution and everything that can go with it ---- */

typedef struct {
    zi_dtype type;
    size_t H, W, in, out, groups; /* groups 0: no norm */
    bool doubled, add, shortcut;
} shape;

/* In the host's memory. */
typedef struct {
    shape s;
    const void *stored, *stored1; /* weights and those of the shortcut, as stored */
    bool nhwc;                    /* `stored` has channels last */
    float *x, *before;            /* before: what y holds if it is added to */
    float *w, *w1, *bias, *bias1, *weight_n, *bias_n; /* what weights mean; the norm's */
    size_t height, width;                             /* of x */
} problem;

static problem make(shape s)
{
    problem p = {.s = s, .height = s.doubled ? s.H / 2 : s.H, .width = s.doubled ? s.W / 2 : s.W};
    p.stored = zi_fixture_random_stored(&fixture, s.type, s.out * s.in * 9, &p.w);
    p.stored1 = zi_fixture_random_stored(&fixture, s.type, s.out * s.in, &p.w1);
    p.bias = values(s.out);
    p.bias1 = values(s.out);
    p.x = values(p.height * p.width * s.in);
    for (size_t i = 0; i < p.height * p.width * s.in; i++) p.x[i] += 3;
    p.before = values(s.H * s.W * s.out);
    p.weight_n = values(s.in);
    p.bias_n = values(s.in);
    return p;
}

/* Results without gaps, and the moments of y: means, then m2. */
typedef struct {
    float *y, *side;
    double *moments;
} results;

static zi_feature_map map_of(zi_view view, size_t width, size_t channels)
{
    return (zi_feature_map){zi_view_columns(view, 0, width * channels), width, channels};
}

/* What x, y and side are in is the caller's to choose. */
static results run(zi_fixture *e, const problem *p, zi_feature_map x, zi_feature_map y,
                   zi_feature_map side, size_t band)
{
    const shape *s = &p->s;
    zi_weight w = zi_fixture_weight(e, s->type, p->stored, s->out, s->in * 9);
    zi_weight w1 = zi_fixture_weight(e, s->type, p->stored1, s->out, s->in);
    zi_weight bias = zi_fixture_vector(e, p->bias, s->out),
              bias1 = zi_fixture_vector(e, p->bias1, s->out);
    zi_weight norm_w = zi_fixture_vector(e, p->weight_n, s->in);
    zi_weight norm_b = zi_fixture_vector(e, p->bias_n, s->in);
    zi_group_norm norm = {&norm_w, &norm_b, s->groups, 1e-6f};
    w.kernel = 3;
    w.nhwc = p->nhwc;
    zi_conv3x3_args args = {.weight = &w,
                            .bias = &bias,
                            .x = x,
                            .doubled = s->doubled,
                            .norm = s->groups ? &norm : NULL,
                            .y = y,
                            .add = s->add,
                            .shortcut = s->shortcut ? &w1 : NULL,
                            .shortcut_bias = &bias1,
                            .side = side,
                            .moments = zi_arena_take(&e->arena, ZI_F64, 2, ZI_MAX_CHANNELS),
                            .band = band};
    args.workspace = zi_arena_take(&e->arena, ZI_U8, 1, zi_conv3x3_workspace(e->exec, &args));
    zi_moments(e->exec, &x, args.moments);
    zi_conv3x3(e->exec, &args);
    results r = {zi_fixture_read(e, y.view), s->shortcut ? zi_fixture_read(e, side.view) : NULL,
                 zi_fixture_alloc(e, 2 * s->out, sizeof(double))};
    zi_error error = {0};
    CHECK_OK(zi_read(e->exec, zi_view_columns(args.moments, 0, s->out), r.moments, &error), error);
    return r;
}

/* x, y and side apart from each other. */
static results run_apart(zi_fixture *e, const problem *p, size_t band)
{
    const shape *s = &p->s;
    zi_view x = zi_fixture_view(e, p->x, p->height, p->width * s->in);
    zi_view y = zi_fixture_view(e, p->before, s->H, s->W * s->out);
    zi_view side = zi_fixture_view(e, NULL, s->H, s->W * s->out);
    return run(e, p, map_of(x, p->width, s->in), map_of(y, s->W, s->out),
               map_of(side, s->W, s->out), band);
}

static bool same(const shape *s, results a, results b)
{
    size_t size = s->H * s->W * s->out * sizeof(float);
    return memcmp(a.y, b.y, size) == 0 && (!s->shortcut || memcmp(a.side, b.side, size) == 0) &&
           memcmp(a.moments, b.moments, 2 * s->out * sizeof(double)) == 0;
}

/* ---- against double precision ---- */

/* Mean and deviation of the group of channel c, over n pixels of C channels. */
static void group_moments(const float *x, size_t n, size_t C, size_t c, size_t width, double *mean,
                          double *variance)
{
    size_t first = c / width * width;
    *mean = *variance = 0;
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < width; i++) *mean += x[p * C + first + i] / (double)(n * width);
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < width; i++)
            *variance += pow(x[p * C + first + i] - *mean, 2) / (double)(n * width);
}

/* x of a problem as the convolution sees it: [H, W, in], normed and doubled. */
static double *convolved(const problem *p)
{
    const shape *s = &p->s;
    double *out = zi_fixture_alloc(&fixture, s->H * s->W * s->in, sizeof *out);
    for (size_t c = 0; c < s->in; c++) {
        double mean, variance;
        if (s->groups)
            group_moments(p->x, p->height * p->width, s->in, c, s->in / s->groups, &mean,
                          &variance);
        for (size_t i = 0; i < s->H * s->W; i++) {
            size_t row = i / s->W >> s->doubled, column = i % s->W >> s->doubled;
            double x = p->x[(row * p->width + column) * s->in + c];
            if (s->groups) {
                x = (x - mean) / sqrt(variance + 1e-6) * p->weight_n[c] + p->bias_n[c];
                x /= 1 + exp(-x);
            }
            out[i * s->in + c] = x;
        }
    }
    return out;
}

static double convolve(const problem *p, const double *x, size_t pixel, size_t o, double *size)
{
    const shape *s = &p->s;
    double sum = p->bias[o];
    *size = fabs(sum);
    for (size_t tap = 0; tap < 9; tap++) {
        size_t row = pixel / s->W + tap / 3, column = pixel % s->W + tap % 3; /* one too far */
        if (row < 1 || row > s->H || column < 1 || column > s->W) continue;
        for (size_t c = 0; c < s->in; c++) {
            double product =
                x[((row - 1) * s->W + column - 1) * s->in + c] * p->w[(o * s->in + c) * 9 + tap];
            sum += product;
            *size += fabs(product);
        }
    }
    return sum;
}

static double shortcut(const problem *p, size_t pixel, size_t o)
{
    double sum = p->bias1[o];
    for (size_t c = 0; c < p->s.in; c++)
        sum += (double)p->x[pixel * p->s.in + c] * p->w1[o * p->s.in + c];
    return sum;
}

static void check_moments(const shape *s, const float *y, const double *moments)
{
    double n = (double)(s->H * s->W);
    for (size_t c = 0; c < s->out; c++) {
        double mean, variance, deviation;
        group_moments(y, s->H * s->W, s->out, c, 1, &mean, &variance);
        deviation = sqrt(variance) + 1e-6 * fabs(mean);
        CHECK_MSG(fabs(moments[c] - mean) <= 1e-6 * (deviation + fabs(mean)), "mean %g, not %g",
                  moments[c], mean);
        CHECK_MSG(fabs(sqrt(moments[s->out + c] / n) - sqrt(variance)) <= 1e-5 * deviation,
                  "deviation %g, not %g", sqrt(moments[s->out + c] / n), sqrt(variance));
    }
}

/* Winograd's results share rounding errors within a tile: the bound is the largest sum of
 * magnitudes anywhere. */
static void check(shape s)
{
    zi_fixture_position mark = zi_fixture_mark(&fixture);
    size_t n = s.H * s.W * s.out;
    problem p = make(s);
    double *x = convolved(&p), *wanted = zi_fixture_alloc(&fixture, n, sizeof *wanted);
    double largest = 0, size, error = 0, side_error = 0;
    results got = run_apart(&fixture, &p, 0);
    for (size_t i = 0; i < n; i++) {
        wanted[i] = convolve(&p, x, i / s.out, i % s.out, &size) + (s.add ? p.before[i] : 0);
        if (size > largest) largest = size;
    }
    for (size_t i = 0; i < n; i++) {
        error = fmax(error, fabs(got.y[i] - wanted[i]));
        if (s.shortcut)
            side_error = fmax(side_error, fabs(got.side[i] - shortcut(&p, i / s.out, i % s.out)));
    }
    CHECK_MSG(error <= 32 * 0x1p-24 * largest && error == error,
              "%zux%zu in %zu out %zu: off by %g, that is %g u of the sums of magnitudes", s.H, s.W,
              s.in, s.out, error, error / largest / 0x1p-24);
    CHECK_MSG(side_error <= 1e-6 * 4 * (double)s.in, "shortcut is off by %g", side_error);
    check_moments(&s, got.y, got.moments);
    zi_fixture_reset(&fixture, mark);
}

static void plain(void)
{
    check((shape){ZI_F32, 1, 1, 1, 1, 0, false, false, false});
    check((shape){ZI_BF16, 2, 3, 4, 3, 0, false, false, false});
    check((shape){ZI_F16, 5, 9, 3, 20, 0, false, false, false});
    check((shape){ZI_F32, 7, 13, 33, 17, 0, false, false, false});
    check((shape){ZI_BF16, 16, 16, 16, 64, 0, false, false, false});
    check((shape){ZI_F32, 4, 70, 70, 33, 0, false, false, false});
    check((shape){ZI_F32, 70, 3, 5, 130, 0, false, false, false});
}

static void normed(void)
{
    check((shape){ZI_F32, 1, 1, 4, 4, 2, false, false, false});
    check((shape){ZI_F32, 5, 9, 12, 20, 3, false, false, false});
    check((shape){ZI_BF16, 13, 66, 66, 34, 33, false, true, false});
}

static void enlarged(void)
{
    check((shape){ZI_F32, 2, 2, 1, 1, 0, true, false, false});
    check((shape){ZI_F16, 6, 10, 7, 5, 0, true, false, false});
    check((shape){ZI_BF16, 34, 70, 65, 33, 0, true, false, false});
}

static void with_shortcut(void)
{
    check((shape){ZI_F32, 1, 1, 2, 1, 1, false, false, true});
    check((shape){ZI_BF16, 7, 13, 34, 17, 2, false, false, true});
    check((shape){ZI_F16, 26, 70, 8, 70, 4, false, false, true});
}

static void larger(void)
{
    check((shape){ZI_BF16, 24, 24, 200, 96, 8, false, true, false});
}

/* ---- the same bits ---- */

static const shape various[] = {
    {ZI_F32, 1, 1, 4, 4, 2, false, false, false},
    {ZI_F32, 5, 9, 12, 20, 3, false, true, false},
    {ZI_BF16, 50, 67, 70, 35, 35, false, false, true},
    {ZI_F32, 54, 134, 6, 40, 0, true, false, false},
    {ZI_F16, 130, 30, 16, 8, 8, false, true, false},
};
enum { VARIOUS = sizeof various / sizeof *various };

static void threads(void)
{
    zi_fixture other;
    static const size_t counts[] = {1, 2, 8};
    for (size_t i = 0; i < 3; i++) {
        zi_fixture_start(&other, counts[i], fixture.kernels.tier, false);
        for (size_t j = 0; j < VARIOUS; j++) {
            zi_fixture_position mark = zi_fixture_mark(&fixture);
            problem p = make(various[j]);
            zi_fixture_position others_mark = zi_fixture_mark(&other);
            results three = run_apart(&fixture, &p, 0), others = run_apart(&other, &p, 0);
            CHECK_MSG(same(&p.s, three, others), "case %zu with %zu threads", j, counts[i]);
            zi_fixture_reset(&other, others_mark);
            zi_fixture_reset(&fixture, mark);
        }
        zi_fixture_stop(&other);
    }
}

static void bands(void)
{
    for (size_t j = 0; j < VARIOUS; j++)
        for (size_t band = 1; band < 4; band++) {
            zi_fixture_position mark = zi_fixture_mark(&fixture);
            problem p = make(various[j]);
            results whole = run_apart(&fixture, &p, 1000), banded = run_apart(&fixture, &p, band);
            CHECK_MSG(same(&p.s, whole, banded), "case %zu in bands of %zu", j, band);
            zi_fixture_reset(&fixture, mark);
        }
}

/* A view of the space from `first` on, rows `stride` apart. */
static zi_view within(zi_view space, size_t first, size_t rows, size_t stride)
{
    return zi_view_reshape(zi_view_columns(space, first, rows * stride), rows, stride);
}

/* As a decoder does it: rows of side and y where those of x were; of a doubled feature map, x at
 * the end of what becomes y. */
static void in_place(void)
{
    for (size_t j = 0; j < VARIOUS; j++) {
        zi_fixture_position mark = zi_fixture_mark(&fixture);
        problem p = make(various[j]);
        const shape *s = &p.s;
        size_t row = s->W * s->out, stride = row * 2, input = p.width * s->in;
        if (stride < input) stride = input;
        size_t x_stride = s->doubled ? stride * 2 : stride, total = s->H * stride;
        zi_view space = zi_fixture_view(&fixture, values(total), 1, total);
        zi_view side = within(space, 0, s->H, stride), y = side;
        zi_view x = within(space, total - p.height * x_stride, p.height, x_stride);
        if (s->shortcut || s->add) y = zi_view_columns(y, row, row);
        x = s->add ? zi_fixture_view(&fixture, p.x, p.height, input) : zi_view_columns(x, 0, input);
        zi_write(fixture.exec, x, p.x);
        if (s->add) zi_write(fixture.exec, zi_view_columns(y, 0, row), p.before);
        results got = run(&fixture, &p, map_of(x, p.width, s->in), map_of(y, s->W, s->out),
                          map_of(side, s->W, s->out), 1);
        CHECK_MSG(same(s, run_apart(&fixture, &p, 1), got), "case %zu in place", j);
        zi_fixture_reset(&fixture, mark);
    }
}

/* Weights in the other order are the same weights. */
static void other_order(void)
{
    for (size_t j = 0; j < VARIOUS; j++) {
        zi_fixture_position mark = zi_fixture_mark(&fixture);
        problem p = make(various[j]);
        size_t in = p.s.in, size = zi_dtype_size(p.s.type);
        char *turned = zi_fixture_alloc(&fixture, p.s.out * in * 9 * size + 1, 1);
        const char *stored_so = p.stored;
        turned++;
        for (size_t i = 0; i < p.s.out * in * 9; i++) {
            size_t out = i / (in * 9), channel = i / 9 % in, tap = i % 9;
            memcpy(turned + ((out * 9 + tap) * in + channel) * size, stored_so + i * size, size);
        }
        results usual = run_apart(&fixture, &p, 0);
        p.stored = turned;
        p.nhwc = true;
        results other = run_apart(&fixture, &p, 0);
        CHECK_MSG(same(&p.s, usual, other), "case %zu with channels last", j);
        zi_fixture_reset(&fixture, mark);
    }
}

/* ---- group norm by itself ---- */

static void group_norm(void)
{
    enum { H = 70, W = 11, C = 12, GROUPS = 3, PER = C / GROUPS, STRIDE = W * C + 5 };
    zi_fixture_position mark = zi_fixture_mark(&fixture);
    float *dense = values(H * W * C), *weight = values(C), *bias = values(C);
    for (size_t i = 0; i < H * W * C; i++) dense[i] += 300; /* a mean that dwarfs the deviation */
    zi_view space = zi_fixture_view(&fixture, values(H * STRIDE), H, STRIDE);
    zi_feature_map x = map_of(space, W, C);
    zi_view moments = zi_arena_take(&fixture.arena, ZI_F64, 2, C);
    zi_view out = zi_fixture_view(&fixture, NULL, H * W, C);
    zi_weight w = zi_fixture_vector(&fixture, weight, C), b = zi_fixture_vector(&fixture, bias, C);
    zi_write(fixture.exec, x.view, dense);
    zi_moments(fixture.exec, &x, moments);
    zi_group_norm_apply(fixture.exec, &(zi_group_norm){&w, &b, GROUPS, 1e-6f}, moments, &x, out);
    const float *y = zi_fixture_read(&fixture, out);
    for (size_t c = 0; c < C; c++) {
        double mean, variance;
        group_moments(dense, H * W, C, c, PER, &mean, &variance);
        for (size_t p = 0; p < H * W; p++) {
            double wanted = (dense[p * C + c] - mean) / sqrt(variance + 1e-6) * weight[c] + bias[c];
            CHECK_MSG(fabs(y[p * C + c] - wanted) < 1e-4, "%g, not %g", y[p * C + c], wanted);
        }
    }
    zi_fixture_reset(&fixture, mark);
}

/* A size that does not fit into a size_t is more than any memory has, not less. */
static void workspace_of_huge_shapes(void)
{
    float zero = 0;
    zi_weight w = zi_fixture_weight(&fixture, ZI_F32, &zero, 1, 1);
    zi_weight bias = zi_fixture_vector(&fixture, &zero, 1);
    w.data.rows = (size_t)1 << 17;
    w.data.columns = ((size_t)1 << 40) * 9;
    zi_feature_map map = {{.type = ZI_F32, .rows = 4, .columns = 4}, 4, 1};
    zi_conv3x3_args args = {.weight = &w, .bias = &bias, .x = map, .y = map};
    CHECK(zi_conv3x3_workspace(fixture.exec, &args) == SIZE_MAX);
}

int main(void)
{
    const char *tier;
    for (size_t i = 0; (tier = zi_test_next_tier(&i));) {
        zi_fixture_start(&fixture, 3, tier, false);
        RUN(plain);
        RUN(normed);
        RUN(enlarged);
        RUN(with_shortcut);
        RUN(larger);
        RUN(threads);
        RUN(bands);
        RUN(in_place);
        RUN(other_order);
        RUN(group_norm);
        RUN(workspace_of_huge_shapes);
        zi_fixture_stop(&fixture);
    }
    return zi_test_result();
}
