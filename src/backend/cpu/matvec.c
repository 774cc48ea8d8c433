/* Products of a few rows of input, as a language model asks for with every token: each stored row
 * of weights is read once, in its order, and nothing is packed. A result is one sum, whatever the
 * number of threads and of rows. */
#include "backend/cpu/internal.h"

#include <math.h>

enum {
    GRAIN_BYTES = 16 << 10,  /* of weights that a task reads at least */
    WORTH_SHARING = 1 << 16, /* products of attention: fewer are done before others know of them */
    TASKS = 16,              /* a thread, so that uneven ones level out */
};

typedef struct {
    cpu_exec *exec;
    const float *x; /* [T, K] */
    const zi_matrix *w;
    const float *bias;
    float *y; /* [T, N] */
    size_t T, rows_per_task;
} matvec_job;

/* Whether dot_rows reads w's rows as they are stored; false: w is in groups, or its rows must be
 * widened first. */
static bool kernels_read(const zi_matrix *w)
{
    return !w->bits && !w->row_scale && zi_kernels_dot(w->type);
}

/* Whether dot_groups reads w's rows: integers of 8 or 4 bits in MLX's groups. */
static bool kernels_read_groups(const zi_matrix *w)
{
    return w->codes == ZI_CODES_INTEGER && (w->bits == 8 || w->bits == 4);
}

/* y[i] = the product of row begin + i of w, for which kernels_read must hold, and x [K], for i < n;
 * no bias. */
static void dot_stored_rows(const matvec_job *job, size_t begin, size_t n, const float *x, float *y)
{
    const zi_matrix *w = job->w;
    size_t bytes = zi_dtype_bytes(w->type, w->columns);
    const char *first = (const char *)w->data + begin * bytes;
    job->exec->kernels->dot_rows(w->type, first, bytes, n, x, w->columns, y);
}

/* The product of a row of w, for which kernels_read_groups must hold, and x [K]. factors: the row's
 * scales, then its biases. */
static float dot_row_of_groups(const matvec_job *job, size_t row, const float *x,
                               const float *factors)
{
    const zi_matrix *w = job->w;
    const char *q = (const char *)w->data + row * zi_matrix_row_bytes(w);
    return job->exec->kernels->dot_groups(w->bits, q, w->group, factors,
                                          factors + w->columns / w->group, x, w->columns);
}

/* Sets column n of y to the products of row n of w (times its factor, if it has one; as stored,
 * since x is rotated if w is) and all T rows of x, without bias. space [K] is overwritten: by the
 * row as f32, or by the scales and biases of its groups. */
static void multiply_row(const matvec_job *job, size_t n, float *space)
{
    const zi_matrix *w = job->w;
    size_t K = w->columns, N = w->rows, groups = w->bits ? K / w->group : 0;
    bool in_groups = kernels_read_groups(w);
    if (in_groups)
        zi_matrix_scales(w, n, 0, groups, space, space + groups);
    else if (!kernels_read(w))
        zi_matrix_stored_values(w, n, 0, K, space);
    for (size_t t = 0; t < job->T; t++) {
        const float *x = job->x + t * K;
        float *y = job->y + t * N + n;
        if (in_groups)
            *y = dot_row_of_groups(job, n, x, space);
        else if (kernels_read(w))
            dot_stored_rows(job, n, 1, x, y);
        else
            job->exec->kernels->dot_rows(ZI_F32, space, 0, 1, x, K, y);
    }
}

/* Computes columns [task * rows_per_task, (task + 1) * rows_per_task) of y, fewer at the end, for
 * all rows of x, with bias if there is one. Overwrites the worker's scratch memory. */
static void matvec_task(void *context, size_t task, size_t worker)
{
    const matvec_job *job = context;
    size_t N = job->w->rows, begin = task * job->rows_per_task;
    size_t end = smaller(begin + job->rows_per_task, N);
    if (job->T == 1 && kernels_read(job->w))
        dot_stored_rows(job, begin, end - begin, job->x, job->y + begin);
    else
        for (size_t n = begin; n < end; n++)
            multiply_row(job, n, worker_scratch(job->exec, worker));
    for (size_t t = 0; job->bias && t < job->T; t++)
        for (size_t n = begin; n < end; n++) job->y[t * N + n] += job->bias[n];
}

void matvec(cpu_exec *exec, const float *x, size_t T, const zi_matrix *w, const float *bias,
            float *y)
{
    size_t bytes = zi_matrix_row_bytes(w);
    size_t threads = zi_pool_threads(exec->pool);
    size_t tasks = round_up(smaller(w->rows * bytes / GRAIN_BYTES, TASKS * threads), threads);
    matvec_job job = {exec, x, w, bias, y, T, tasks ? (w->rows + tasks - 1) / tasks : w->rows};
    zi_pool_run(exec->pool, (w->rows + job.rows_per_task - 1) / job.rows_per_task, matvec_task,
                &job);
}

/* ---- attention ---- */

typedef struct {
    const cpu_exec *exec;
    const attention_args *args;
} attend_job;

/* sums [n] += weights [keys] v [keys, n] (row stride ldv), n from 1 to 4; reads and writes no more
 * than these. */
static void add_weighted_quad(const float *weights, size_t keys, const float *v, size_t ldv,
                              size_t n, float *sums)
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

/* sums [n] += weights [keys] v [keys, n] (row stride ldv), for any n. */
static void add_weighted_values(const float *weights, size_t keys, const float *v, size_t ldv,
                                size_t n, float *sums)
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
    for (; i < n; i += 4) add_weighted_quad(weights, keys, v + i, ldv, smaller(4, n - i), sums + i);
}

/* Computes query task % T of head task / T, f32, and writes it to args->out: softmax over KEY_BLOCK
 * keys at a time, with a running largest score. Causal: query t sees keys 0 to S - T + t.
 * Overwrites KEY_BLOCK + dim floats of the worker's scratch memory. */
static void attend_task(void *context, size_t task, size_t worker)
{
    const attend_job *job = context;
    const attention_args *args = job->args;
    const zi_kernels *kernels = job->exec->kernels;
    size_t t = task % args->T, head = task / args->T, dim = args->dim;
    size_t kv = head / (args->heads / args->kv_heads) * dim, ld = args->kv_heads * dim;
    size_t end = args->causal ? args->S - args->T + t + 1 : args->S;
    const float *q = args->q + (t * args->heads + head) * dim;
    float *out = args->out + (t * args->heads + head) * dim;
    float *scores = worker_scratch(job->exec, worker), *sums = scores + KEY_BLOCK;
    float factor = (float)(1.0 / sqrt((double)dim)), max_value = -INFINITY, total = 0;
    memset(sums, 0, dim * sizeof *sums);
    for (size_t key = 0; key < end; key += KEY_BLOCK) {
        size_t keys = smaller(KEY_BLOCK, end - key);
        kernels->dot_rows(ZI_F32, args->k + key * ld + kv, ld * sizeof *args->k, keys, q, dim,
                          scores);
        float before = max_value, highest = kernels->max(scores, keys);
        max_value = highest > max_value ? highest : max_value;
        float shrink = expf((before - max_value) * factor);
        total = total * shrink + kernels->exp_sum(scores, max_value, factor, keys);
        if (shrink != 1.0f) kernels->scale(sums, shrink, dim);
        add_weighted_values(scores, keys, args->v + key * ld + kv, ld, dim, sums);
    }
    kernels->scale_row(sums, 1.0f / total, NULL, NULL, out, dim);
}

/* out = softmax(q k^T / sqrt(dim)) v, f32, a task for each query and head; little work is done in
 * the calling thread alone. */
void attend_few(cpu_exec *exec, const attention_args *args)
{
    attend_job job = {exec, args};
    size_t tasks = args->heads * args->T;
    if (tasks * args->S * args->dim >= WORTH_SHARING) {
        zi_pool_run(exec->pool, tasks, attend_task, &job);
        return;
    }
    for (size_t task = 0; task < tasks; task++) attend_task(&job, task, 0);
}
