#include "ops/internal.h"

#include <math.h>

typedef struct {
    const zi_ops *ops;
    const zi_attention_args *args;
    size_t query_blocks;
} attention_job;

/* One task's place: a head, a run of queries, and its scratch memory. */
typedef struct {
    const zi_attention_args *args;
    const zi_kernels *kernels;
    size_t head, kv_head;
    size_t query, queries; /* first one and how many */
    size_t wide;           /* dim rounded up to whole panels */
    size_t score_stride;
    float *keys, *values; /* packed panels */
    float *scores;        /* [QUERY_BLOCK, score_stride] */
    float *sums;          /* [QUERY_BLOCK, wide], weighted values so far */
    float *most, *totals; /* [QUERY_BLOCK], largest score and sum of exponentials so far */
} block;

static block place(const attention_job *job, size_t task, size_t worker)
{
    const zi_attention_args *args = job->args;
    const zi_kernels *kernels = &job->ops->kernels;
    block b = {.args = args, .kernels = kernels};
    b.head = task / job->query_blocks;
    b.kv_head = b.head / (args->heads / args->kv_heads);
    b.query = task % job->query_blocks * QUERY_BLOCK;
    b.queries = smaller(QUERY_BLOCK, args->T - b.query);
    b.wide = round_up(args->dim, kernels->nr);
    b.score_stride = round_up(KEY_BLOCK, kernels->nr);
    b.keys = worker_scratch(job->ops, worker);
    b.values = b.keys + b.score_stride * args->dim;
    b.scores = b.values + KEY_BLOCK * b.wide;
    b.sums = b.scores + QUERY_BLOCK * b.score_stride;
    b.most = b.sums + QUERY_BLOCK * b.wide;
    b.totals = b.most + QUERY_BLOCK;
    return b;
}

/* scores [queries, keys] = q k^T / sqrt(dim), with what a causal row may not see at -infinity. */
static void score(const block *b, size_t key, size_t keys)
{
    const zi_attention_args *args = b->args;
    size_t nr = b->kernels->nr, dim = args->dim;
    size_t ldq = args->heads * dim, ldk = args->kv_heads * dim;
    const float *q = args->q + b->query * ldq + b->head * dim;
    const float *k = args->k + key * ldk + b->kv_head * dim;
    for (size_t j = 0; j < keys; j += nr) {
        float *panel = b->keys + j * dim;
        b->kernels->pack_rows(ZI_F32, k + j * ldk, ldk, smaller(nr, keys - j), dim, nr, panel);
        for (size_t i = 0; i < b->queries; i += b->kernels->mr)
            b->kernels->tile(smaller(b->kernels->mr, b->queries - i), dim, q + i * ldq, ldq, panel,
                             b->scores + i * b->score_stride + j, b->score_stride, false);
    }
    float factor = (float)(1.0 / sqrt((double)dim));
    for (size_t i = 0; i < b->queries; i++) {
        float *row = b->scores + i * b->score_stride;
        b->kernels->scale(row, factor, keys);
        if (!args->causal) continue;
        for (size_t j = b->query + i + 1 > key ? b->query + i + 1 - key : 0; j < keys; j++)
            row[j] = -INFINITY;
    }
}

/* Turns scores into weights relative to the largest score so far, and what was summed before to the
 * same measure. */
static void weigh(const block *b, size_t keys)
{
    for (size_t i = 0; i < b->queries; i++) {
        float *row = b->scores + i * b->score_stride;
        float most = b->kernels->max(row, keys);
        if (most < b->most[i]) most = b->most[i];
        float shrink = expf(b->most[i] - most);
        b->totals[i] = b->totals[i] * shrink + b->kernels->exp_sum(row, most, keys);
        if (shrink != 1.0f) b->kernels->scale(b->sums + i * b->wide, shrink, b->wide);
        b->most[i] = most;
    }
}

/* sums += weights v */
static void gather(const block *b, size_t key, size_t keys)
{
    const zi_attention_args *args = b->args;
    size_t nr = b->kernels->nr, ldv = args->kv_heads * args->dim;
    const float *v = args->v + key * ldv + b->kv_head * args->dim;
    for (size_t j = 0; j < args->dim; j += nr) {
        float *panel = b->values + j * KEY_BLOCK;
        b->kernels->pack_columns(v + j, ldv, smaller(nr, args->dim - j), keys, nr, panel);
        for (size_t i = 0; i < b->queries; i += b->kernels->mr)
            b->kernels->tile(smaller(b->kernels->mr, b->queries - i), keys,
                             b->scores + i * b->score_stride, b->score_stride, panel,
                             b->sums + i * b->wide + j, b->wide, true);
    }
}

static void attention_task(void *context, size_t task, size_t worker)
{
    const attention_job *job = context;
    const zi_attention_args *args = job->args;
    block b = place(job, task, worker);
    memset(b.sums, 0, b.queries * b.wide * sizeof *b.sums);
    for (size_t i = 0; i < b.queries; i++) {
        b.most[i] = -INFINITY;
        b.totals[i] = 0;
    }
    size_t end = args->causal ? smaller(args->S, b.query + b.queries) : args->S;
    for (size_t key = 0; key < end; key += KEY_BLOCK) {
        size_t keys = smaller(KEY_BLOCK, end - key);
        score(&b, key, keys);
        weigh(&b, keys);
        gather(&b, key, keys);
    }
    for (size_t i = 0; i < b.queries; i++)
        b.kernels->scale_row(b.sums + i * b.wide, 1.0f / b.totals[i], NULL, NULL,
                             args->out + ((b.query + i) * args->heads + b.head) * args->dim,
                             args->dim);
}

void zi_attention(zi_ops *ops, const zi_attention_args *args)
{
    attention_job job = {ops, args, (args->T + QUERY_BLOCK - 1) / QUERY_BLOCK};
    zi_pool_run(ops->pool, args->heads * job.query_blocks, attention_task, &job);
}
