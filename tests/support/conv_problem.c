#include "conv_problem.h"
#include "stored.h"

#include <math.h>
#include <string.h>

#define ULP 0x1p-24

/* ---- making one ---- */

/* The weight of a convolution, kernel x kernel, and in *meaning its values [out, in, kernel^2]. */
static zi_weight *make_weight(zi_rig *rig, const zi_conv_shape *s, size_t kernel, float **meaning)
{
    size_t taps = kernel * kernel, n = s->in * taps;
    const zi_stored *stored =
        zi_stored_make(rig, zi_stored_kind_find(zi_dtype_name(s->type)), s->out, n, 0);
    zi_weight *weight = zi_rig_alloc(rig, 1, sizeof *weight);
    float *row = zi_rig_alloc(rig, n, sizeof *row);
    *meaning = zi_rig_alloc(rig, s->out * n, sizeof **meaning);
    *weight = stored->weight;
    weight->kernel = kernel;
    weight->nhwc = s->nhwc;
    for (size_t o = 0; o < s->out; o++) {
        zi_matrix_row(&stored->matrix, o, row);
        for (size_t i = 0; i < n; i++)
            (*meaning)[o * n + i] = row[s->nhwc ? i % taps * s->in + i / taps : i];
    }
    return weight;
}

zi_conv_problem zi_conv_make(zi_rig *rig, zi_conv_shape s, float mean)
{
    size_t times = s.doubled ? 2 : 1;
    zi_conv_problem p = {.s = s, .height = s.H / times, .width = s.W / times};
    p.weight = make_weight(rig, &s, 3, &p.w);
    if (s.shortcut) p.shortcut = make_weight(rig, &s, 1, &p.w1);
    p.bias = zi_rig_values(rig, s.out);
    p.bias1 = zi_rig_values(rig, s.out);
    p.bias_vector = zi_rig_vector(rig, p.bias, s.out);
    p.bias1_vector = zi_rig_vector(rig, p.bias1, s.out);
    p.x = zi_rig_values(rig, p.height * p.width * s.in);
    for (size_t i = 0; i < p.height * p.width * s.in; i++) p.x[i] += mean;
    p.before = zi_rig_values(rig, s.H * s.W * s.out);
    p.norm_w = zi_rig_values(rig, s.in);
    p.norm_b = zi_rig_values(rig, s.in);
    p.norm = (zi_group_norm){.weight = zi_rig_vector(rig, p.norm_w, s.in),
                             .bias = zi_rig_vector(rig, p.norm_b, s.in),
                             .groups = s.groups,
                             .eps = 1e-6f};
    return p;
}

/* ---- places ---- */

/* The feature map of `height` rows that begins with column `first` of rows `stride` apart. */
static zi_feature_map map_in(zi_view space, size_t first, size_t height, size_t stride,
                             size_t width, size_t channels)
{
    zi_view rows = zi_view_reshape(space, height, stride);
    rows.offset += first * sizeof(float);
    return (zi_feature_map){zi_view_columns(rows, 0, width * channels), width, channels};
}

/* Sets what x holds, and y if it is added to, and allows y and side to change. */
static void describe(zi_rig *rig, const zi_conv_problem *p, const zi_conv_place *place)
{
    zi_rig_set(rig, place->x.view, p->x);
    if (p->s.add) zi_rig_set(rig, place->y.view, p->before);
    zi_rig_may_change(rig, place->y.view);
    if (p->s.shortcut) zi_rig_may_change(rig, place->side.view);
}

zi_conv_place zi_conv_apart(zi_rig *rig, const zi_conv_problem *p, size_t gap)
{
    const zi_conv_shape *s = &p->s;
    size_t input = p->width * s->in, row = s->W * s->out;
    zi_conv_place place = {{zi_rig_space(rig, p->height, input, gap), p->width, s->in},
                           {zi_rig_space(rig, s->H, row, gap), s->W, s->out},
                           {{0}, s->W, s->out}};
    if (s->shortcut) place.side.view = zi_rig_space(rig, s->H, row, 2 * gap);
    describe(rig, p, &place);
    return place;
}

zi_conv_place zi_conv_in_slot(zi_rig *rig, const zi_conv_problem *p)
{
    const zi_conv_shape *s = &p->s;
    size_t input = p->width * s->in, row = s->W * s->out, stride = 2 * row;
    if (stride < input) stride = input;
    if (s->doubled) stride = (2 * input + 1) / 2 > row ? (2 * input + 1) / 2 : row;
    size_t total = s->H * stride, x_stride = s->doubled ? 2 * input : stride;
    zi_view space = zi_rig_space(rig, 1, total, 0);
    size_t behind = s->add ? row : 0; /* x, in each row */
    zi_conv_place place = {.x = map_in(space, total - p->height * x_stride + behind, p->height,
                                       x_stride, p->width, s->in),
                           .y = map_in(space, s->shortcut ? row : 0, s->H, stride, s->W, s->out)};
    if (s->shortcut) place.side = map_in(space, 0, s->H, stride, s->W, s->out);
    describe(rig, p, &place);
    return place;
}

zi_conv3x3_args zi_conv_args(zi_rig *rig, const zi_conv_problem *p, const zi_conv_place *place,
                             zi_view moments, size_t band)
{
    zi_conv3x3_args args = {.weight = p->weight,
                            .bias = p->bias_vector,
                            .x = place->x,
                            .doubled = p->s.doubled,
                            .norm = p->s.groups ? &p->norm : NULL,
                            .y = place->y,
                            .add = p->s.add,
                            .shortcut = p->shortcut,
                            .shortcut_bias = p->s.shortcut ? p->bias1_vector : NULL,
                            .side = place->side,
                            .band = band};
    /* As memory is planned: without buffers, and before the norm's weights are known. */
    static const zi_group_norm some_norm;
    zi_conv3x3_args planned = args;
    planned.x.view.buffer = planned.y.view.buffer = planned.side.view.buffer = NULL;
    if (args.norm) planned.norm = &some_norm;
    args.moments = moments;
    args.workspace = zi_rig_workspace(rig, zi_conv3x3_workspace(rig->exec, &planned));
    return args;
}

/* ---- what is right ---- */

/* Mean and deviation of the group of channel c, over n pixels of C channels. */
static void group_moments(const float *x, size_t n, size_t C, size_t c, size_t width, double *mean,
                          double *variance)
{
    size_t first = c / width * width;
    *mean = *variance = 0;
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < width; i++) *mean += x[p * C + first + i] / (double)(n * width);
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < width; i++) {
            double d = x[p * C + first + i] - *mean;
            *variance += d * d / (double)(n * width);
        }
}

/* A value, and the magnitudes whose rounding errors are in it. */
typedef struct {
    double value, size;
} sized;

/* An element of x behind a norm of this mean and scale, and SiLU. Of the norm's own rounding errors
 * a quarter counts, since the bound of products is four times as large. */
static sized normed(double x, double mean, double scale, double shift)
{
    double y = (x - mean) * scale + shift;
    double size = ((fabs(x) + fabs(mean)) * fabs(scale) + fabs(shift)) / 4;
    y /= 1 + exp(-y);
    return (sized){y, fabs(y) + size};
}

/* x as the convolution sees it: [H, W, in], normed and doubled. */
static sized *convolved(zi_rig *rig, const zi_conv_problem *p)
{
    const zi_conv_shape *s = &p->s;
    sized *out = zi_rig_alloc(rig, s->H * s->W * s->in, sizeof *out);
    double mean = 0, variance = 0;
    for (size_t c = 0; c < s->in; c++) {
        if (s->groups && c % (s->in / s->groups) == 0)
            group_moments(p->x, p->height * p->width, s->in, c, s->in / s->groups, &mean,
                          &variance);
        double scale = p->norm_w[c] / sqrt(variance + p->norm.eps);
        for (size_t i = 0; i < s->H * s->W; i++) {
            size_t row = i / s->W >> s->doubled, column = i % s->W >> s->doubled;
            double x = p->x[(row * p->width + column) * s->in + c];
            out[i * s->in + c] =
                s->groups ? normed(x, mean, scale, p->norm_b[c]) : (sized){x, fabs(x)};
        }
    }
    return out;
}

/* Result channel o of a pixel, without what it is added to. w [9, in]: of this channel. */
static sized convolve(const zi_conv_problem *p, const sized *x, const double *w, size_t pixel,
                      size_t o)
{
    const zi_conv_shape *s = &p->s;
    double sum = p->bias[o], size = fabs(sum);
    for (size_t tap = 0; tap < 9; tap++) {
        size_t row = pixel / s->W + tap / 3, column = pixel % s->W + tap % 3; /* one too far */
        if (row < 1 || row > s->H || column < 1 || column > s->W) continue;
        const sized *at = x + ((row - 1) * s->W + column - 1) * s->in;
        for (size_t c = 0; c < s->in; c++) {
            sum += at[c].value * w[tap * s->in + c];
            size += at[c].size * fabs(w[tap * s->in + c]);
        }
    }
    return (sized){sum, size};
}

/* Checks the shortcut's result at channel o of a pixel. */
static bool check_shortcut(zi_rig *rig, const zi_conv_problem *p, size_t pixel, size_t o,
                           const float *side)
{
    size_t in = p->s.in, at = pixel * p->s.out + o;
    const float *x = p->x + pixel * in, *w = p->w1 + o * in;
    double sum = p->bias1[o], size = fabs(sum);
    for (size_t c = 0; c < in; c++) {
        sum += (double)x[c] * w[c];
        size += fabs((double)x[c] * w[c]);
    }
    return zi_rig_near(rig, "side", at, side[at], sum,
                       (4 * ((double)in + 1) * ULP + rig->operand_error) * size);
}

/* The weights of channel o in the order of their use, [9, in]. */
static void spread_weights(const zi_conv_problem *p, size_t o, double *w)
{
    size_t in = p->s.in;
    for (size_t c = 0; c < in; c++)
        for (size_t tap = 0; tap < 9; tap++) w[tap * in + c] = p->w[(o * in + c) * 9 + tap];
}

/* Compares as many channels as are cheap, from the first to the last. Fast algorithms (Winograd's)
 * share rounding errors within a tile: the bound is the largest sum of magnitudes anywhere. */
void zi_conv_check(zi_rig *rig, const zi_conv_problem *p, const float *y, const float *side)
{
    const zi_conv_shape *s = &p->s;
    size_t pixels = s->H * s->W, cost = pixels * 9 * s->in;
    size_t channels = 30000000 / cost + 4 < s->out ? 30000000 / cost + 4 : s->out;
    sized *x = convolved(rig, p);
    double *w = zi_rig_alloc(rig, 9 * s->in, sizeof *w);
    double *wanted = zi_rig_alloc(rig, pixels * channels, sizeof *wanted), largest = 0;
    for (size_t k = 0; k < channels; k++) {
        size_t o = channels > 1 ? k * (s->out - 1) / (channels - 1) : 0;
        spread_weights(p, o, w);
        for (size_t i = 0; i < pixels; i++) {
            double base = s->add ? p->before[i * s->out + o] : 0;
            sized sum = convolve(p, x, w, i, o);
            wanted[k * pixels + i] = sum.value + base;
            largest = fmax(largest, sum.size + fabs(base));
        }
    }
    for (size_t k = 0; k < channels; k++) {
        size_t o = channels > 1 ? k * (s->out - 1) / (channels - 1) : 0;
        for (size_t i = 0; i < pixels; i++)
            if (!zi_rig_near(rig, "y", i * s->out + o, y[i * s->out + o], wanted[k * pixels + i],
                             (32 * ULP + rig->operand_error) * largest) ||
                (s->shortcut && !check_shortcut(rig, p, i, o, side)))
                return;
    }
    for (size_t i = 0; i < pixels * s->out; i++)
        if (!CHECK_MSG(isfinite(y[i]), "%s: y %zu is %g", rig->what, i, y[i])) return;
}

void zi_conv_check_norm(zi_rig *rig, const float *x, size_t pixels, size_t channels, size_t groups,
                        double eps, const float *weight, const float *bias, const float *z)
{
    double mean = 0, variance = 0;
    for (size_t c = 0; c < channels; c++) {
        if (c % (channels / groups) == 0)
            group_moments(x, pixels, channels, c, channels / groups, &mean, &variance);
        double scale = weight[c] / sqrt(variance + eps);
        for (size_t i = c; i < pixels * channels; i += channels) {
            double size = (fabs(x[i]) + fabs(mean)) * fabs(scale) + fabs(weight[c]);
            double bound = 8 * ULP * (size + fabs(bias[c]));
            if (!zi_rig_near(rig, "normed", i, z[i], (x[i] - mean) * scale + bias[c], bound))
                return;
        }
    }
}
