#include "backend/cpu/internal.h"

#include <math.h>

enum { ROW_GRAIN = 16 };

typedef struct {
    const zi_kernels *kernels;
    float *x, *y;
    const float *weight, *scale, *gate;
    size_t D;
    float eps;
} row_norm;

/* 1 / sqrt(m + eps) of a row x [D], where m is the mean of x^2. */
static float inverse_rms(const row_norm *job, const float *x)
{
    return 1.0f / sqrtf(job->kernels->sum_squares(x, job->D) / (float)job->D + job->eps);
}

/* A row_fn: y = x / rms(x) * weight * (1 + scale) for rows [begin, end); weight and scale NULL:
 * ones and zeros. gate is ignored. y may be x. */
static void rms_rows(const void *context, size_t begin, size_t end)
{
    const row_norm *job = context;
    for (size_t t = begin; t < end; t++) {
        const float *x = job->x + t * job->D;
        job->kernels->scale_row(x, inverse_rms(job, x), job->weight, job->scale,
                                job->y + t * job->D, job->D);
    }
}

/* A row_fn: y += gate * (x / rms(x) * weight) for rows [begin, end); no gate: ones; scale is
 * ignored. Overwrites x with x / rms(x) * weight. */
static void add_rms_rows(const void *context, size_t begin, size_t end)
{
    const row_norm *job = context;
    size_t D = job->D;
    for (size_t t = begin; t < end; t++) {
        float *x = job->x + t * D, *y = job->y + t * D;
        job->kernels->scale_row(x, inverse_rms(job, x), job->weight, NULL, x, D);
        for (size_t i = 0; i < D; i++) y[i] += job->gate ? job->gate[i] * x[i] : x[i];
    }
}

/* A row_fn: y = (x - mean) / sqrt(variance + eps) * (1 + scale) for rows [begin, end), variance
 * being the mean square deviation; no scale: zeros. weight and gate are ignored. */
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

/* Norms each row of x as args->kind says, into y (for ZI_RMS_NORM it may be x) or, for
 * ZI_ADD_RMS_NORM, added to y, which overwrites x; rows in parallel, complete on return. What the
 * kind does not use is ignored. */
void cpu_norm(zi_exec *base, const zi_norm_args *args)
{
    static const row_fn rows[] = {[ZI_RMS_NORM] = rms_rows,
                                  [ZI_ADD_RMS_NORM] = add_rms_rows,
                                  [ZI_LAYER_NORM] = layer_norm_rows};
    cpu_exec *exec = exec_of(base);
    row_norm job = {.kernels = exec->kernels,
                    .x = floats_of(args->x),
                    .y = floats_of(args->y),
                    .weight = vector_of(args->weight),
                    .scale = floats_of(args->scale),
                    .gate = floats_of(args->gate),
                    .D = args->x.columns,
                    .eps = args->eps};
    run_rows(exec, args->x.rows, ROW_GRAIN, rows[args->kind], &job);
}
