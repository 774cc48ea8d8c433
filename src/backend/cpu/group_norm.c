/* Group norm in two halves, because a decoder's pictures are large: whoever writes a picture takes
 * its moments block by block while it is in cache, and whoever reads it next applies y = a x + b.
 *
 * Moments are taken around each block's own mean and put together in double (Chan et al. 1979), so
 * that a mean that dwarfs the deviation costs no digits. */
#include "backend/cpu/internal.h"

#include <math.h>

enum { QUADS = 4, LANES = 4 * QUADS }; /* channels whose sums stay in registers */

/* ---- moments ---- */

/* LANES channels, of which n exist. */
static void lane_moments(const float *x, size_t stride, size_t height, size_t width,
                         size_t channels, size_t n, float *mean, float *spread)
{
    float pixels = (float)(height * width), some[LANES] = {0};
    quad centre[QUADS] = {{0}}, sum[QUADS], square[QUADS];
    for (int pass = 0; pass < 2; pass++) { /* around 0, then around the mean */
        for (int i = 0; i < QUADS; i++) sum[i] = square[i] = (quad){0};
        for (size_t h = 0; h < height; h++)
            for (size_t w = 0; w < width; w++) {
                const float *at = x + h * stride + w * channels;
                if (n < LANES) at = memcpy(some, at, n * sizeof *at);
                for (int i = 0; i < QUADS; i++) {
                    quad d = quad_load(at + i * 4) - centre[i];
                    sum[i] += d;
                    square[i] += d * d;
                }
            }
        for (int i = 0; i < QUADS; i++) {
            centre[i] += sum[i] / pixels;
            square[i] -= sum[i] * sum[i] / pixels;
        }
    }
    memcpy(mean, centre, n * sizeof *mean);
    memcpy(spread, square, n * sizeof *spread);
}

void block_moments(const float *x, size_t stride, size_t height, size_t width, size_t channels,
                   size_t n, float *mean, float *spread)
{
    for (size_t c = 0; c < n; c += LANES)
        lane_moments(x + c, stride, height, width, channels, smaller(LANES, n - c), mean + c,
                     spread + c);
}

void add_moments(zi_moments *total, const float *mean, const float *spread, size_t channels,
                 size_t pixels)
{
    double before = total->pixels, added = (double)pixels, share = added / (before + added);
    for (size_t c = 0; c < channels; c++) {
        double d = mean[c] - total->mean[c];
        total->mean[c] += d * share;
        total->spread[c] += spread[c] + d * d * before * share;
    }
    total->pixels = before + added;
}

typedef struct {
    const zi_picture *x;
    float *partials; /* [chunks, 2, C] */
    size_t rows;     /* of a chunk */
} measuring;

static void measure_chunks(const void *context, size_t begin, size_t end)
{
    const measuring *job = context;
    const zi_picture *x = job->x;
    for (size_t chunk = begin; chunk < end; chunk++) {
        float *mean = job->partials + chunk * 2 * x->channels;
        size_t row = chunk * job->rows;
        block_moments(x->data + row * x->stride, x->stride, smaller(job->rows, x->height - row),
                      x->width, x->channels, x->channels, mean, mean + x->channels);
    }
}

void zi_moments_measure(zi_ops *ops, const zi_picture *x, zi_moments *out)
{
    measuring job = {x, ops->partials, (x->height + NORM_CHUNKS - 1) / NORM_CHUNKS};
    run_rows(ops, (x->height + job.rows - 1) / job.rows, 1, measure_chunks, &job);
    *out = (zi_moments){0};
    for (size_t row = 0; row < x->height; row += job.rows) {
        const float *mean = job.partials + row / job.rows * 2 * x->channels;
        add_moments(out, mean, mean + x->channels, x->channels,
                    smaller(job.rows, x->height - row) * x->width);
    }
}

/* ---- applying ---- */

void group_coefficients(const zi_group_norm *norm, const zi_moments *moments, float *a, float *b)
{
    size_t width = norm->channels / norm->groups;
    for (size_t c = 0; c < norm->channels; c += width) {
        double mean = 0, spread = 0, n = (double)width;
        for (size_t i = c; i < c + width; i++) mean += moments->mean[i] / n;
        for (size_t i = c; i < c + width; i++) {
            double d = moments->mean[i] - mean;
            spread += moments->spread[i] + d * d * moments->pixels;
        }
        double inverse = 1.0 / sqrt(spread / (n * moments->pixels) + norm->eps);
        for (size_t i = c; i < c + width; i++) {
            a[i] = (float)(inverse * norm->weight[i]);
            b[i] = (float)(norm->bias[i] - mean * inverse * norm->weight[i]);
        }
    }
}

typedef struct {
    const zi_picture *x;
    const float *a, *b;
    float *y;
} applying;

static void apply_rows(const void *context, size_t begin, size_t end)
{
    const applying *job = context;
    size_t C = job->x->channels, W = job->x->width;
    for (size_t p = begin * W; p < end * W; p++) {
        const float *x = job->x->data + p / W * job->x->stride + p % W * C;
        for (size_t c = 0; c < C; c++) job->y[p * C + c] = x[c] * job->a[c] + job->b[c];
    }
}

/* a and b stand in scratch memory, which no task uses meanwhile. */
void zi_group_norm_apply(zi_ops *ops, const zi_group_norm *norm, const zi_moments *moments,
                         const zi_picture *x, float *y)
{
    applying job = {x, ops->scratch, ops->scratch + norm->channels, y};
    group_coefficients(norm, moments, ops->scratch, ops->scratch + norm->channels);
    run_rows(ops, x->height, 1, apply_rows, &job);
}
