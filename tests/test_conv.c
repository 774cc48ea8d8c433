/* Convolution and group norm against plain loops in double precision, at awkward sizes; and that
 * neither threads, nor bands, nor results in the place of inputs change a bit. */
#include "engine.h"
#include "harness.h"

#include <math.h>
#include <string.h>

enum { WIDEST_HEAD = 64, DEEPEST = 64 };

static zi_test_engine engine;

/* n values in the arena; every test gives them back. */
static float *values(size_t n)
{
    return zi_test_values(&engine, n);
}

static void *stored(zi_dtype type, size_t n, float **meaning)
{
    return zi_test_stored(&engine, type, n, meaning);
}

/* ---- a convolution and everything that can go with it ---- */

typedef struct {
    zi_dtype type;
    size_t H, W, in, out, groups; /* groups 0: no norm */
    bool doubled, add, shortcut;
} shape;

typedef struct {
    shape s;
    zi_conv conv;
    zi_matrix matrix;
    zi_group_norm norm;
    float *x, *before; /* before: what y holds if it is added to */
    float *w, *w1, *bias1;
    zi_moments *moments;  /* of x */
    size_t height, width; /* of x */
} problem;

static problem make(shape s)
{
    problem p = {.s = s, .height = s.doubled ? s.H / 2 : s.H, .width = s.doubled ? s.W / 2 : s.W};
    void *w = stored(s.type, s.out * s.in * 9, &p.w), *w1 = stored(s.type, s.out * s.in, &p.w1);
    p.conv = (zi_conv){
        .data = w, .type = s.type, .out = s.out, .in = s.in, .size = 3, .bias = values(s.out)};
    p.matrix = (zi_matrix){.data = w1, .type = s.type, .rows = s.out, .columns = s.in};
    p.bias1 = values(s.out);
    p.x = values(p.height * p.width * s.in);
    for (size_t i = 0; i < p.height * p.width * s.in; i++) p.x[i] += 3;
    p.before = values(s.H * s.W * s.out);
    p.norm = (zi_group_norm){values(s.in), values(s.in), s.in, s.groups, 1e-6f};
    p.moments = zi_arena_alloc(&engine.arena, 1, sizeof *p.moments);
    zi_picture x = {p.x, p.height, p.width, s.in, p.width * s.in};
    zi_moments_measure(&engine.ops, &x, p.moments);
    return p;
}

/* Results, contiguous, and the moments of y. */
typedef struct {
    float *y, *side;
    zi_moments *moments;
} results;

static results room(const shape *s)
{
    return (results){values(s->H * s->W * s->out), values(s->H * s->W * s->out),
                     zi_arena_alloc(&engine.arena, 1, sizeof(zi_moments))};
}

static void run(zi_ops *ops, const problem *p, zi_picture x, zi_picture y, zi_picture side,
                size_t band, zi_moments *moments)
{
    *moments = *p->moments;
    zi_conv3x3(ops,
               &(zi_conv3x3_args){.conv = &p->conv,
                                  .x = x,
                                  .doubled = p->s.doubled,
                                  .norm = p->s.groups ? &p->norm : NULL,
                                  .y = y,
                                  .add = p->s.add,
                                  .shortcut = p->s.shortcut ? &p->matrix : NULL,
                                  .shortcut_bias = p->bias1,
                                  .side = side,
                                  .moments = moments,
                                  .band = band},
               &engine.arena);
}

/* x, y and side apart from each other. */
static void run_apart(zi_ops *ops, const problem *p, size_t band, results out)
{
    const shape *s = &p->s;
    memcpy(out.y, p->before, s->H * s->W * s->out * sizeof *out.y);
    run(ops, p, (zi_picture){p->x, p->height, p->width, s->in, p->width * s->in},
        (zi_picture){out.y, s->H, s->W, s->out, s->W * s->out},
        (zi_picture){out.side, s->H, s->W, s->out, s->W * s->out}, band, out.moments);
}

static bool same(const shape *s, results a, results b)
{
    size_t size = s->H * s->W * s->out * sizeof(float);
    return memcmp(a.y, b.y, size) == 0 && (!s->shortcut || memcmp(a.side, b.side, size) == 0) &&
           memcmp(a.moments->mean, b.moments->mean, s->out * sizeof(double)) == 0 &&
           memcmp(a.moments->spread, b.moments->spread, s->out * sizeof(double)) == 0;
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
    double *out = zi_arena_alloc(&engine.arena, s->H * s->W * s->in, sizeof *out);
    for (size_t c = 0; c < s->in; c++) {
        double mean, variance;
        if (s->groups)
            group_moments(p->x, p->height * p->width, s->in, c, s->in / s->groups, &mean,
                          &variance);
        for (size_t i = 0; i < s->H * s->W; i++) {
            size_t row = i / s->W >> s->doubled, column = i % s->W >> s->doubled;
            double x = p->x[(row * p->width + column) * s->in + c];
            if (s->groups) {
                x = (x - mean) / sqrt(variance + p->norm.eps) * p->norm.weight[c] + p->norm.bias[c];
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
    double sum = p->conv.bias[o];
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

static void check_moments(const shape *s, const float *y, const zi_moments *moments)
{
    double n = (double)(s->H * s->W);
    CHECK(moments->pixels == n);
    for (size_t c = 0; c < s->out; c++) {
        double mean, variance, deviation;
        group_moments(y, s->H * s->W, s->out, c, 1, &mean, &variance);
        deviation = sqrt(variance) + 1e-6 * fabs(mean);
        CHECK_MSG(fabs(moments->mean[c] - mean) <= 1e-6 * (deviation + fabs(mean)),
                  "mean %g, not %g", moments->mean[c], mean);
        CHECK_MSG(fabs(sqrt(moments->spread[c] / n) - sqrt(variance)) <= 1e-5 * deviation,
                  "deviation %g, not %g", sqrt(moments->spread[c] / n), sqrt(variance));
    }
}

/* Winograd's results share rounding errors within a tile: the bound is the largest sum of
 * magnitudes anywhere. */
static void check(shape s)
{
    size_t mark = zi_arena_mark(&engine.arena), n = s.H * s.W * s.out;
    problem p = make(s);
    results got = room(&s);
    double *x = convolved(&p), *wanted = zi_arena_alloc(&engine.arena, n, sizeof *wanted);
    double largest = 0, size, error = 0, side_error = 0;
    run_apart(&engine.ops, &p, 0, got);
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
    zi_arena_reset(&engine.arena, mark);
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
    zi_test_engine other;
    static const size_t counts[] = {1, 2, 8};
    for (size_t i = 0; i < 3; i++) {
        zi_test_engine_start(&other, counts[i]);
        other.ops.kernels = engine.ops.kernels;
        zi_ops_plan(&other.ops, &other.arena, (zi_ops_limits){WIDEST_HEAD, DEEPEST});
        for (size_t j = 0; j < VARIOUS; j++) {
            size_t mark = zi_arena_mark(&engine.arena);
            problem p = make(various[j]);
            results three = room(&p.s), others = room(&p.s);
            run_apart(&engine.ops, &p, 0, three);
            run_apart(&other.ops, &p, 0, others);
            CHECK_MSG(same(&p.s, three, others), "case %zu with %zu threads", j, counts[i]);
            zi_arena_reset(&engine.arena, mark);
        }
        zi_test_engine_stop(&other);
    }
}

static void bands(void)
{
    for (size_t j = 0; j < VARIOUS; j++)
        for (size_t band = 1; band < 4; band++) {
            size_t mark = zi_arena_mark(&engine.arena);
            problem p = make(various[j]);
            results whole = room(&p.s), banded = room(&p.s);
            run_apart(&engine.ops, &p, 1000, whole);
            run_apart(&engine.ops, &p, band, banded);
            CHECK_MSG(same(&p.s, whole, banded), "case %zu in bands of %zu", j, band);
            zi_arena_reset(&engine.arena, mark);
        }
}

static void copy_rows(float *to, size_t to_stride, const float *from, size_t from_stride, size_t n,
                      size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        memcpy(to + i * to_stride, from + i * from_stride, n * sizeof *to);
}

/* As a decoder does it: rows of side and y where those of x were; of a doubled picture, x at the
 * end of what becomes y. */
static void in_place(void)
{
    for (size_t j = 0; j < VARIOUS; j++) {
        size_t mark = zi_arena_mark(&engine.arena);
        problem p = make(various[j]);
        const shape *s = &p.s;
        results apart = room(s), got = room(s);
        size_t row = s->W * s->out, stride = row * 2, input = p.width * s->in;
        if (stride < input) stride = input;
        size_t x_stride = s->doubled ? stride * 2 : stride;
        float *space = values(s->H * stride);
        zi_picture side = {space, s->H, s->W, s->out, stride}, y = side, x = side;
        x = (zi_picture){space + s->H * stride - p.height * x_stride, p.height, p.width, s->in,
                         x_stride};
        y.data += s->shortcut || s->add ? row : 0;
        run_apart(&engine.ops, &p, 1, apart);
        if (s->add) x.data = memcpy(values(p.height * input), p.x, p.height * input * 4);
        if (s->add) x.stride = input;
        copy_rows(x.data, x.stride, p.x, input, input, p.height);
        if (s->add) copy_rows(y.data, stride, p.before, row, row, s->H);
        run(&engine.ops, &p, x, y, side, 1, got.moments);
        copy_rows(got.y, row, y.data, stride, row, s->H);
        if (s->shortcut) copy_rows(got.side, row, side.data, stride, row, s->H);
        CHECK_MSG(same(s, apart, got), "case %zu in place", j);
        zi_arena_reset(&engine.arena, mark);
    }
}

/* Weights in the other order are the same weights. */
static void other_order(void)
{
    for (size_t j = 0; j < VARIOUS; j++) {
        size_t mark = zi_arena_mark(&engine.arena);
        problem p = make(various[j]);
        size_t in = p.s.in, size = zi_dtype_size(p.s.type);
        results usual = room(&p.s), other = room(&p.s);
        char *turned = zi_arena_alloc(&engine.arena, p.s.out * in * 9 * size + 1, 1);
        const char *stored_so = p.conv.data;
        turned++;
        for (size_t i = 0; i < p.s.out * in * 9; i++) {
            size_t out = i / (in * 9), channel = i / 9 % in, tap = i % 9;
            memcpy(turned + ((out * 9 + tap) * in + channel) * size, stored_so + i * size, size);
        }
        run_apart(&engine.ops, &p, 0, usual);
        p.conv.data = turned;
        p.conv.nhwc = true;
        run_apart(&engine.ops, &p, 0, other);
        CHECK_MSG(same(&p.s, usual, other), "case %zu with channels last", j);
        zi_arena_reset(&engine.arena, mark);
    }
}

/* ---- group norm by itself ---- */

static void group_norm(void)
{
    enum { H = 70, W = 11, C = 12, GROUPS = 3, PER = C / GROUPS, STRIDE = W * C + 5 };
    size_t mark = zi_arena_mark(&engine.arena);
    float *x = values(H * STRIDE), *y = values(H * W * C), *weight = values(C), *bias = values(C);
    float *dense = values(H * W * C);
    zi_moments *moments = zi_arena_alloc(&engine.arena, 1, sizeof *moments);
    for (size_t i = 0; i < H * STRIDE; i++) x[i] += 300; /* a mean that dwarfs the deviation */
    for (size_t i = 0; i < H; i++) memcpy(dense + i * W * C, x + i * STRIDE, W * C * sizeof *x);
    zi_group_norm norm = {weight, bias, C, GROUPS, 1e-6f};
    zi_picture picture = {x, H, W, C, STRIDE};
    zi_moments_measure(&engine.ops, &picture, moments);
    zi_group_norm_apply(&engine.ops, &norm, moments, &picture, y);
    for (size_t c = 0; c < C; c++) {
        double mean, variance;
        group_moments(dense, H * W, C, c, PER, &mean, &variance);
        for (size_t p = 0; p < H * W; p++) {
            double wanted = (dense[p * C + c] - mean) / sqrt(variance + 1e-6) * weight[c] + bias[c];
            CHECK_MSG(fabs(y[p * C + c] - wanted) < 1e-4, "%g, not %g", y[p * C + c], wanted);
        }
    }
    zi_arena_reset(&engine.arena, mark);
}

int main(void)
{
    const char *tier;
    for (size_t i = 0; (tier = zi_next_tier(&i));) {
        zi_error error = {0};
        zi_test_engine_start(&engine, 3);
        CHECK_OK(zi_kernels_select(tier, &engine.ops.kernels, &error), error);
        zi_ops_plan(&engine.ops, &engine.arena, (zi_ops_limits){WIDEST_HEAD, DEEPEST});
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
        zi_test_engine_stop(&engine);
    }
    return zi_test_result();
}
