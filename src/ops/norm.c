#include "ops/internal.h"

#include <math.h>

enum { ROW_GRAIN = 16 };

typedef struct {
    const zi_kernels *kernels;
    const float *x;
    float *y, *residual;
    const float *weight, *scale;
    size_t D;
    float eps;
} row_norm;

static float inverse_rms(const row_norm *job, const float *x)
{
    return 1.0f / sqrtf(job->kernels->sum_squares(x, job->D) / (float)job->D + job->eps);
}

static void rms_rows(const void *context, size_t begin, size_t end)
{
    const row_norm *job = context;
    for (size_t t = begin; t < end; t++) {
        const float *x = job->x + t * job->D;
        job->kernels->scale_row(x, inverse_rms(job, x), job->weight, job->scale,
                                job->y + t * job->D, job->D);
    }
}

void zi_rms_norm(zi_ops *ops, const float *x, size_t T, size_t D, const float *weight, float eps,
                 const float *scale, float *y)
{
    row_norm job = {&ops->kernels, x, y, NULL, weight, scale, D, eps};
    run_rows(ops, T, ROW_GRAIN, rms_rows, &job);
}

static void add_rms_rows(const void *context, size_t begin, size_t end)
{
    const row_norm *job = context;
    size_t D = job->D;
    for (size_t t = begin; t < end; t++) {
        float *x = job->residual + t * D, *y = job->y + t * D;
        job->kernels->scale_row(y, inverse_rms(job, y), job->weight, NULL, y, D);
        for (size_t i = 0; i < D; i++) x[i] += job->scale ? job->scale[i] * y[i] : y[i];
    }
}

void zi_add_rms_norm(zi_ops *ops, float *x, float *y, size_t T, size_t D, const float *weight,
                     float eps, const float *gate)
{
    row_norm job = {&ops->kernels, NULL, y, x, weight, gate, D, eps};
    run_rows(ops, T, ROW_GRAIN, add_rms_rows, &job);
}

static void layer_norm_rows(const void *context, size_t begin, size_t end)
{
    const row_norm *job = context;
    size_t D = job->D;
    for (size_t t = begin; t < end; t++) {
        const float *x = job->x + t * D;
        float *y = job->y + t * D;
        double mean = 0;
        for (size_t i = 0; i < D; i++) mean += x[i];
        mean /= (double)D;
        for (size_t i = 0; i < D; i++) y[i] = x[i] - (float)mean;
        job->kernels->scale_row(y, inverse_rms(job, y), NULL, job->scale, y, D);
    }
}

void zi_layer_norm(zi_ops *ops, const float *x, size_t T, size_t D, float eps, const float *scale,
                   float *y)
{
    row_norm job = {&ops->kernels, x, y, NULL, NULL, scale, D, eps};
    run_rows(ops, T, ROW_GRAIN, layer_norm_rows, &job);
}

/* ---- group norm: sums per channel over chunks of pixels, then y = a x + b per channel ---- */

typedef struct {
    const zi_group_norm *norm;
    const float *x;
    double *partials; /* [NORM_CHUNKS, 2, C]: sums and sums of squares */
    size_t pixels, chunk;
} group_sums;

static void sum_chunks(const void *context, size_t begin, size_t end)
{
    const group_sums *job = context;
    size_t C = job->norm->channels;
    for (size_t chunk = begin; chunk < end; chunk++) {
        double *sum = job->partials + chunk * 2 * C, *square = sum + C;
        memset(sum, 0, 2 * C * sizeof *sum);
        size_t last = smaller((chunk + 1) * job->chunk, job->pixels);
        for (size_t p = chunk * job->chunk; p < last; p++) {
            const float *x = job->x + p * C;
            for (size_t c = 0; c < C; c++) {
                sum[c] += x[c];
                square[c] += (double)x[c] * x[c];
            }
        }
    }
}

/* a and b, [C] each, stand over the first partials afterwards. */
static void group_coefficients(const group_sums *job, float *a, float *b)
{
    const zi_group_norm *norm = job->norm;
    size_t C = norm->channels, width = C / norm->groups;
    for (size_t g = 0; g < norm->groups; g++) {
        double sum = 0, square = 0;
        for (size_t chunk = 0; chunk < NORM_CHUNKS; chunk++) {
            const double *s = job->partials + chunk * 2 * C;
            for (size_t c = g * width; c < (g + 1) * width; c++) {
                sum += s[c];
                square += s[C + c];
            }
        }
        double n = (double)width * (double)job->pixels, mean = sum / n;
        double variance = square / n - mean * mean;
        double inverse = 1.0 / sqrt((variance > 0 ? variance : 0) + norm->eps);
        for (size_t c = g * width; c < (g + 1) * width; c++) {
            a[c] = (float)(inverse * norm->weight[c]);
            b[c] = (float)(norm->bias[c] - mean * inverse * norm->weight[c]);
        }
    }
}

typedef struct {
    const zi_kernels *kernels;
    const float *x, *a, *b;
    float *y;
    size_t W, C;
} group_apply;

/* Statistics of x; leaves a and b in scratch memory (which no task uses meanwhile). */
static group_apply group_prepare(zi_ops *ops, const zi_group_norm *norm, const float *x,
                                 size_t pixels, float *y)
{
    group_sums sums = {norm, x, ops->partials, pixels, (pixels + NORM_CHUNKS - 1) / NORM_CHUNKS};
    run_rows(ops, NORM_CHUNKS, 1, sum_chunks, &sums);
    group_apply job = {&ops->kernels, x, ops->scratch, ops->scratch + norm->channels, y, 0,
                       norm->channels};
    group_coefficients(&sums, ops->scratch, ops->scratch + norm->channels);
    return job;
}

static void apply_pixel(const group_apply *job, const float *x, float *y)
{
    for (size_t c = 0; c < job->C; c++) y[c] = x[c] * job->a[c] + job->b[c];
}

static void apply_pixels(const void *context, size_t begin, size_t end)
{
    const group_apply *job = context;
    for (size_t p = begin; p < end; p++) apply_pixel(job, job->x + p * job->C, job->y + p * job->C);
}

void zi_group_norm_apply(zi_ops *ops, const zi_group_norm *norm, const float *x, size_t pixels,
                         float *y)
{
    group_apply job = group_prepare(ops, norm, x, pixels, y);
    run_rows(ops, pixels, 256, apply_pixels, &job);
}

static void apply_silu_rows(const void *context, size_t begin, size_t end)
{
    const group_apply *job = context;
    size_t C = job->C, stride = (job->W + 2) * C;
    for (size_t h = begin; h < end; h++) {
        float *y = job->y + (h + 1) * stride;
        memset(y, 0, C * sizeof *y);
        for (size_t w = 0; w < job->W; w++)
            apply_pixel(job, job->x + (h * job->W + w) * C, y + (w + 1) * C);
        job->kernels->silu_mul(y + C, NULL, job->W * C);
        memset(y + stride - C, 0, C * sizeof *y);
    }
}

void zi_group_norm_silu_pad(zi_ops *ops, const zi_group_norm *norm, const float *x, size_t H,
                            size_t W, float *y)
{
    group_apply job = group_prepare(ops, norm, x, H * W, y);
    job.W = W;
    size_t stride = (W + 2) * norm->channels;
    memset(y, 0, stride * sizeof *y);
    memset(y + (H + 1) * stride, 0, stride * sizeof *y);
    run_rows(ops, H, 1, apply_silu_rows, &job);
}
