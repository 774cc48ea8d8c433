/* Group norm in two halves, because the decoder's feature maps are large: the operation that writes
 * a feature map computes its moments block by block while it is in cache, and the operation that
 * reads it next applies y = a x + b.
 *
 * Moments are computed around each block's own mean and combined in double (Chan et al. 1979), so
 * that a mean much larger than the deviation costs no precision. */
#include "backend/cpu/internal.h"

#include <math.h>

enum { QUADS = 4, LANES = 4 * QUADS }; /* channels whose sums stay in registers */

/* ---- moments ---- */

/* Sets mean [n] and m2 [n] of n (at most LANES) adjacent channels over a block of pixels, in two
 * passes. Pixels lie `channels` floats apart, rows `stride` floats. */
static void lane_moments(const float *x, size_t stride, size_t height, size_t width,
                         size_t channels, size_t n, float *mean, float *m2)
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
    memcpy(m2, square, n * sizeof *m2);
}

void block_moments(const float *x, size_t stride, size_t height, size_t width, size_t channels,
                   size_t n, float *mean, float *m2)
{
    for (size_t c = 0; c < n; c += LANES)
        lane_moments(x + c, stride, height, width, channels, smaller(LANES, n - c), mean + c,
                     m2 + c);
}

void add_moments(moments *total, const float *mean, const float *m2, size_t channels, size_t pixels)
{
    double before = total->pixels, added = (double)pixels, share = added / (before + added);
    for (size_t c = 0; c < channels; c++) {
        double d = mean[c] - total->mean[c];
        total->mean[c] += d * share;
        total->m2[c] += m2[c] + d * d * before * share;
    }
    total->pixels = before + added;
}

typedef struct {
    const feature_map *x;
    float *partials; /* [chunks, 2, C] */
    size_t rows;     /* of a chunk */
} measuring;

/* A row_fn: sets job->partials of chunks [begin, end), each the moments of job->rows lines of
 * pixels of x, fewer at the end. */
static void measure_chunks(const void *context, size_t begin, size_t end)
{
    const measuring *job = context;
    const feature_map *x = job->x;
    for (size_t chunk = begin; chunk < end; chunk++) {
        float *mean = job->partials + chunk * 2 * x->channels;
        size_t row = chunk * job->rows;
        block_moments(x->data + row * x->stride, x->stride, smaller(job->rows, x->height - row),
                      x->width, x->channels, x->channels, mean, mean + x->channels);
    }
}

void clear_moments(moments *m, size_t channels)
{
    m->pixels = 0;
    for (size_t c = 0; c < channels; c++) m->mean[c] = m->m2[c] = 0;
}

/* Writes each channel's mean and m2 (sum of squared deviations) of the feature map to `out`, as
 * doubles laid out as in moments_of. Chunks of rows are measured in parallel and merged in order:
 * threads do not change the result. Complete on return. */
void cpu_moments(zi_exec *base, const zi_feature_map *map, zi_view out)
{
    cpu_exec *exec = exec_of(base);
    feature_map x = cpu_map(map);
    moments total = moments_of(out, 0);
    measuring job = {&x, exec->partials, (x.height + NORM_CHUNKS - 1) / NORM_CHUNKS};
    run_rows(exec, (x.height + job.rows - 1) / job.rows, 1, measure_chunks, &job);
    clear_moments(&total, x.channels);
    for (size_t row = 0; row < x.height; row += job.rows) {
        const float *mean = job.partials + row / job.rows * 2 * x.channels;
        add_moments(&total, mean, mean + x.channels, x.channels,
                    smaller(job.rows, x.height - row) * x.width);
    }
}

/* ---- applying ---- */

void group_coefficients(const zi_group_norm *norm, const moments *m, float *a, float *b)
{
    const float *weight = vector_of(norm->weight), *bias = vector_of(norm->bias);
    size_t channels = norm->weight->data.columns, width = channels / norm->groups;
    for (size_t c = 0; c < channels; c += width) {
        double mean = 0, m2 = 0, n = (double)width;
        for (size_t i = c; i < c + width; i++) mean += m->mean[i] / n;
        for (size_t i = c; i < c + width; i++) {
            double d = m->mean[i] - mean;
            m2 += m->m2[i] + d * d * m->pixels;
        }
        double inverse = 1.0 / sqrt(m2 / (n * m->pixels) + norm->eps);
        for (size_t i = c; i < c + width; i++) {
            a[i] = (float)(inverse * weight[i]);
            b[i] = (float)(bias[i] - mean * inverse * weight[i]);
        }
    }
}

typedef struct {
    const feature_map *x;
    const float *a, *b;
    float *y;
} applying;

/* A row_fn: y = a x + b, channel by channel, for the lines [begin, end) of the feature map, each of
 * `width` pixels; y is the whole map, without gaps. No SiLU. */
static void apply_rows(const void *context, size_t begin, size_t end)
{
    const applying *job = context;
    size_t C = job->x->channels, W = job->x->width;
    for (size_t p = begin * W; p < end * W; p++) {
        const float *x = job->x->data + p / W * job->x->stride + p % W * C;
        for (size_t c = 0; c < C; c++) job->y[p * C + c] = x[c] * job->a[c] + job->b[c];
    }
}

/* y [H * W, C] = group_norm(x), without SiLU, from the moments of x in `stored` (moments_of). The
 * coefficients a and b stand in thread scratch memory, which no task uses meanwhile. Complete on
 * return. */
void cpu_group_norm(zi_exec *base, const zi_group_norm *norm, zi_view stored,
                    const zi_feature_map *map, zi_view y)
{
    cpu_exec *exec = exec_of(base);
    feature_map x = cpu_map(map);
    moments m = moments_of(stored, x.height * x.width);
    applying job = {&x, exec->scratch, exec->scratch + x.channels, floats_of(y)};
    group_coefficients(norm, &m, exec->scratch, exec->scratch + x.channels);
    run_rows(exec, x.height, 1, apply_rows, &job);
}
