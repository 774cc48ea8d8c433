#include "backend/cpu/internal.h"

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
