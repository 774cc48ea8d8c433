#include "backend/cpu/internal.h"

enum { GRAIN = 4096 };

typedef struct {
    const zi_kernels *kernels;
    float *x;
    const float *y;
} pair;

static void add_run(const void *context, size_t begin, size_t end)
{
    const pair *job = context;
    for (size_t i = begin; i < end; i++) job->x[i] += job->y[i];
}

void zi_add(zi_ops *ops, float *x, const float *y, size_t n)
{
    pair job = {&ops->kernels, x, y};
    run_rows(ops, n, GRAIN * 8, add_run, &job);
}

static void silu_run(const void *context, size_t begin, size_t end)
{
    const pair *job = context;
    job->kernels->silu_mul(job->x + begin, job->y + begin, end - begin);
}

void zi_silu_mul(zi_ops *ops, float *x, const float *y, size_t n)
{
    pair job = {&ops->kernels, x, y};
    run_rows(ops, n, GRAIN, silu_run, &job);
}

typedef struct {
    float *x;
    const float *cosines, *sines;
    size_t heads, dim;
    bool interleaved;
} rope_job;

static void rope_rows(const void *context, size_t begin, size_t end)
{
    const rope_job *job = context;
    size_t half = job->dim / 2;
    size_t step = job->interleaved ? 2 : 1, apart = job->interleaved ? 1 : half;
    for (size_t t = begin; t < end; t++) {
        const float *cosines = job->cosines + t * half, *sines = job->sines + t * half;
        for (size_t h = 0; h < job->heads; h++) {
            float *x = job->x + (t * job->heads + h) * job->dim;
            for (size_t i = 0; i < half; i++) {
                float re = x[i * step], im = x[i * step + apart];
                x[i * step] = re * cosines[i] - im * sines[i];
                x[i * step + apart] = re * sines[i] + im * cosines[i];
            }
        }
    }
}

void zi_rope(zi_ops *ops, float *x, size_t T, size_t heads, size_t dim, const float *cosines,
             const float *sines, bool interleaved)
{
    rope_job job = {x, cosines, sines, heads, dim, interleaved};
    run_rows(ops, T, 16, rope_rows, &job);
}
