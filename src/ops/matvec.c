/* Products of a few rows of input, as a language model asks for with every token: each stored row
 * of weights is read once, in its order, and nothing is packed. A result is one sum, whatever the
 * number of threads and of rows. */
#include "ops/internal.h"

#include <math.h>

enum {
    GRAIN_BYTES = 64 << 10, /* of weights that a task reads at least */
    WORTH_WAKING = 1 << 18, /* products of attention: fewer take less time than threads to wake */
    TASKS = 16,             /* a thread, so that uneven ones level out */
};

typedef struct {
    zi_ops *ops;
    const float *x; /* [T, K] */
    const zi_matrix *w;
    const float *bias;
    float *y; /* [T, N] */
    size_t T, rows_per_task;
} matvec_job;

/* Whether the kernels read w as it is stored. */
static bool direct(const zi_matrix *w)
{
    bool blocks = w->type == ZI_Q8_0 || w->type == ZI_Q4_0 || w->type == ZI_Q4_1;
    return !w->bits && !w->row_scale && (blocks || zi_dtype_computes(w->type));
}

/* Row n of w times all rows of x. */
static void one_row(const matvec_job *job, size_t n, float *space)
{
    const zi_kernels *kernels = &job->ops->kernels;
    const zi_matrix *w = job->w;
    size_t K = w->columns, N = w->rows;
    zi_dtype type = w->type;
    const void *row = (const char *)w->data + n * zi_dtype_bytes(type, K);
    if (!direct(w)) {
        zi_matrix_row(w, n, space);
        row = space;
        type = ZI_F32;
    }
    for (size_t t = 0; t < job->T; t++) {
        float sum;
        kernels->dot_rows(type, row, 0, 1, job->x + t * K, K, &sum);
        job->y[t * N + n] = job->bias ? sum + job->bias[n] : sum;
    }
}

static void matvec_task(void *context, size_t task, size_t worker)
{
    const matvec_job *job = context;
    size_t begin = task * job->rows_per_task,
           end = smaller(begin + job->rows_per_task, job->w->rows);
    for (size_t n = begin; n < end; n++) one_row(job, n, worker_scratch(job->ops, worker));
}

void matvec(zi_ops *ops, const float *x, size_t T, const zi_matrix *w, const float *bias, float *y)
{
    size_t bytes = w->bits ? w->columns * (size_t)w->bits / 8 : zi_dtype_bytes(w->type, w->columns);
    size_t least = GRAIN_BYTES / (bytes + 1) + 1;
    size_t share = w->rows / (TASKS * zi_pool_threads(ops->pool)) + 1;
    matvec_job job = {ops, x, w, bias, y, T, share > least ? share : least};
    zi_pool_run(ops->pool, (w->rows + job.rows_per_task - 1) / job.rows_per_task, matvec_task,
                &job);
}

/* ---- attention ---- */

typedef struct {
    const zi_ops *ops;
    const zi_attention_args *args;
} attend_job;

/* sums [n] += weights [keys] v [keys, n] (row stride ldv), n at most a quad. */
static void add_values(const float *weights, size_t keys, const float *v, size_t ldv, size_t n,
                       float *sums)
{
    quad sum = {0};
    memcpy(&sum, sums, n * sizeof *sums);
    for (size_t j = 0; j < keys; j++) {
        quad value = {0};
        memcpy(&value, v + j * ldv, n * sizeof *v);
        sum += weights[j] * value;
    }
    memcpy(sums, &sum, n * sizeof *sums);
}

/* The same for any n. */
static void gather_values(const float *weights, size_t keys, const float *v, size_t ldv, size_t n,
                          float *sums)
{
    enum { WIDE = 4 }; /* quads that stay in registers */
    size_t i = 0;
    for (; i + 4 * WIDE <= n; i += 4 * WIDE) {
        quad sum[WIDE];
        for (size_t q = 0; q < WIDE; q++) sum[q] = quad_load(sums + i + 4 * q);
        for (size_t j = 0; j < keys; j++)
            for (size_t q = 0; q < WIDE; q++)
                sum[q] += weights[j] * quad_load(v + j * ldv + i + 4 * q);
        for (size_t q = 0; q < WIDE; q++) quad_store(sums + i + 4 * q, sum[q]);
    }
    for (; i < n; i += 4) add_values(weights, keys, v + i, ldv, smaller(4, n - i), sums + i);
}

/* One query of one head, KEY_BLOCK keys at a time, as in attention.c. */
static void attend_task(void *context, size_t task, size_t worker)
{
    const attend_job *job = context;
    const zi_attention_args *args = job->args;
    const zi_kernels *kernels = &job->ops->kernels;
    size_t t = task % args->T, head = task / args->T, dim = args->dim;
    size_t kv = head / (args->heads / args->kv_heads) * dim, ld = args->kv_heads * dim;
    size_t end = args->causal ? args->S - args->T + t + 1 : args->S;
    const float *q = args->q + (t * args->heads + head) * dim;
    float *out = args->out + (t * args->heads + head) * dim;
    float *scores = worker_scratch(job->ops, worker), *sums = scores + KEY_BLOCK;
    float factor = (float)(1.0 / sqrt((double)dim)), most = -INFINITY, total = 0;
    memset(sums, 0, dim * sizeof *sums);
    for (size_t key = 0; key < end; key += KEY_BLOCK) {
        size_t keys = smaller(KEY_BLOCK, end - key);
        kernels->dot_rows(ZI_F32, args->k + key * ld + kv, ld * sizeof *args->k, keys, q, dim,
                          scores);
        float before = most, highest = kernels->max(scores, keys);
        most = highest > most ? highest : most;
        float shrink = expf((before - most) * factor);
        total = total * shrink + kernels->exp_sum(scores, most, factor, keys);
        if (shrink != 1.0f) kernels->scale(sums, shrink, dim);
        gather_values(scores, keys, args->v + key * ld + kv, ld, dim, sums);
    }
    kernels->scale_row(sums, 1.0f / total, NULL, NULL, out, dim);
}

void attend_few(zi_ops *ops, const zi_attention_args *args)
{
    attend_job job = {ops, args};
    size_t tasks = args->heads * args->T;
    if (tasks * args->S * args->dim >= WORTH_WAKING) {
        zi_pool_run(ops->pool, tasks, attend_task, &job);
        return;
    }
    for (size_t task = 0; task < tasks; task++) attend_task(&job, task, 0);
}
