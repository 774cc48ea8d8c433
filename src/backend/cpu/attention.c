#include "backend/cpu/internal.h"
#include "kernels/quantized.h"

#include <math.h>

enum { GROUP = 64, ZERO = 128 }; /* of quantized keys: a key is (q - ZERO) * scale */

typedef struct {
    const cpu_exec *exec;
    const attention_args *args;
    size_t query_blocks;
} attention_job;

/* One task's place: a head, a run of queries, and its scratch memory. */
typedef struct {
    const attention_args *args;
    const zi_kernels *kernels;
    size_t head, kv_head;
    size_t query, queries;     /* first one and how many */
    size_t wide;               /* dim rounded up to whole panels */
    float *panels;             /* of the queries: [QUERY_BLOCK + mr, dim] */
    float *weights;            /* of a block's weights: [QUERY_BLOCK + mr, KEY_BLOCK] */
    float *keys, *values;      /* one panel of each */
    float *scores;             /* [QUERY_BLOCK, KEY_BLOCK] */
    float *sums;               /* [QUERY_BLOCK, wide], weighted values so far */
    float *max_value, *totals; /* [QUERY_BLOCK], largest score and sum of exponentials so far */
} block;

/* Returns where the next `count` floats of a memory begin, and adds count to *taken, the floats
 * before them. memory NULL: NULL. */
static float *carve(float *memory, size_t *taken, size_t count)
{
    float *begin = memory ? memory + *taken : NULL;
    *taken += count;
    return begin;
}

/* Sets b->wide and the block's buffers, which lie one after the other in a thread's memory, and no
 * other members; returns the floats taken. memory NULL: to measure; the buffers are NULL then. */
static size_t carve_buffers(block *b, const zi_kernels *kernels, size_t dim, float *memory)
{
    size_t mr = kernels->mr > kernels->qmr ? kernels->mr : kernels->qmr;
    size_t nr = kernels->nr > kernels->qnr ? kernels->nr : kernels->qnr;
    size_t queries = QUERY_BLOCK + mr, taken = 0;
    b->wide = round_up(dim, kernels->nr);
    b->panels = carve(memory, &taken, queries * (dim + 3 * (dim / GROUP)));
    b->weights = carve(memory, &taken, queries * KEY_BLOCK);
    b->keys = carve(memory, &taken, nr * (dim + 2 * dim / GROUP));
    b->values = carve(memory, &taken, KEY_BLOCK * nr);
    b->scores = carve(memory, &taken, QUERY_BLOCK * KEY_BLOCK);
    b->sums = carve(memory, &taken, QUERY_BLOCK * b->wide);
    b->max_value = carve(memory, &taken, QUERY_BLOCK);
    b->totals = carve(memory, &taken, QUERY_BLOCK);
    return taken;
}

/* Floats for a thread, as carve_buffers takes them for heads of dim values; attend_few needs
 * fewer. */
size_t attention_scratch(const zi_kernels *kernels, size_t dim)
{
    return carve_buffers(&(block){0}, kernels, dim, NULL);
}

/* The block of queries that a task computes, number task % query_blocks of head task /
 * query_blocks, with buffers in the worker's scratch memory, not cleared. */
static block block_of_task(const attention_job *job, size_t task, size_t worker)
{
    const attention_args *args = job->args;
    block b = {.args = args, .kernels = job->exec->kernels};
    b.head = task / job->query_blocks;
    b.kv_head = b.head / (args->heads / args->kv_heads);
    b.query = task % job->query_blocks * QUERY_BLOCK;
    b.queries = smaller(QUERY_BLOCK, args->T - b.query);
    carve_buffers(&b, b.kernels, args->dim, worker_scratch(job->exec, worker));
    return b;
}

/* ---- scores in f32 ---- */

/* Packs the block's queries of its head, f32, into b->panels: panels [dim, mr], missing rows
 * zero. */
static void pack_queries(const block *b)
{
    const attention_args *args = b->args;
    size_t mr = b->kernels->mr, dim = args->dim, ldq = args->heads * dim;
    const float *q = args->q + b->query * ldq + b->head * dim;
    for (size_t i = 0; i < b->queries; i += mr)
        b->kernels->pack_a(q + i * ldq, ldq, smaller(mr, b->queries - i), dim, b->panels + i * dim);
}

/* Sets b->scores [queries, keys] (row stride KEY_BLOCK) to q k^T, not divided by sqrt(dim), for up
 * to KEY_BLOCK keys from row `key` on. Needs pack_queries; overwrites b->keys. */
static void score_f32(const block *b, size_t key, size_t keys)
{
    const attention_args *args = b->args;
    size_t mr = b->kernels->mr, nr = b->kernels->nr, dim = args->dim, ldk = args->kv_heads * dim;
    const float *k = args->k + key * ldk + b->kv_head * dim;
    for (size_t j = 0; j < keys; j += nr) {
        size_t columns = smaller(nr, keys - j);
        b->kernels->pack_rows(ZI_F32, k + j * ldk, ldk, columns, dim, nr, b->keys);
        for (size_t i = 0; i < b->queries; i += mr) {
            edge_tile c;
            edge_tile_begin(&c, b->scores + i * KEY_BLOCK + j, KEY_BLOCK,
                            smaller(mr, b->queries - i), columns, mr, nr, false);
            b->kernels->tile(dim, b->panels + i * dim, b->keys, c.c, c.ldc, false);
            edge_tile_end(&c);
        }
    }
}

/* ---- scores in integers ---- */

/* Where the scales of one head's quantized key begin, biases after them. Such a key lies in the
 * memory of its `dim` floats: bytes [dim], then scales and biases [dim / GROUP] each. */
static float *key_scales(float *key, size_t dim)
{
    return key + dim / 4;
}

/* Replaces one head's key, dim f32 values (whole groups), by bytes q with a scale and a bias for
 * each group, in the same memory: a value is q * scale + bias. A group with a NaN or an infinity
 * gets a scale that is none finite, so that its scores are none either. */
static void quantize_key(float *key, size_t dim)
{
    uint8_t bytes[ZI_MAX_HEAD];
    float scales[2 * ZI_MAX_HEAD / GROUP], *biases = scales + dim / GROUP;
    for (size_t g = 0; g < dim / GROUP; g++) {
        const float *x = key + g * GROUP;
        float max_value = largest_magnitude(x, GROUP), inverse = inverse_scale(max_value, Q_MAX);
        if (inverse > 0) /* then all values are finite */
            for (size_t i = 0; i < GROUP; i++)
                bytes[g * GROUP + i] = (uint8_t)(int)(x[i] * inverse + (ZERO + 0.5f));
        else
            memset(bytes + g * GROUP, ZERO, GROUP);
        scales[g] = max_value / Q_MAX;
        biases[g] = -ZERO * scales[g];
    }
    memcpy(key, bytes, dim);
    memcpy(key_scales(key, dim), scales, 2 * (dim / GROUP) * sizeof *scales);
}

/* A row_fn: quantizes rows [begin, end) of k in place, all heads, by quantize_key. */
static void quantize_keys(const void *context, size_t begin, size_t end)
{
    const attention_job *job = context;
    size_t dim = job->args->dim, heads = job->args->kv_heads;
    for (size_t row = begin * heads; row < end * heads; row++)
        quantize_key(job->args->k + row * dim, dim);
}

/* Quantizes the block's queries of its head into b->panels: integer panels of qmr rows, missing
 * rows zero. */
static void quantize_queries(const block *b)
{
    const attention_args *args = b->args;
    size_t mr = b->kernels->qmr, dim = args->dim, ldq = args->heads * dim;
    size_t bytes = dim / GROUP * zi_qa_bytes(b->kernels, GROUP);
    const float *q = args->q + b->query * ldq + b->head * dim;
    for (size_t i = 0; i < b->queries; i += mr)
        b->kernels->quantize(q + i * ldq, ldq, smaller(mr, b->queries - i), dim, GROUP,
                             (char *)b->panels + i / mr * bytes);
}

/* Packs `columns` (at most qnr) keys from row `key` on, which quantize_keys has quantized, into one
 * integer panel, b->keys; missing columns are zero. */
static void pack_keys(const block *b, size_t key, size_t columns)
{
    size_t dim = b->args->dim, ldk = b->args->kv_heads * dim, groups = dim / GROUP;
    float *first = b->args->k + key * ldk + b->kv_head * dim;
    char *panel = (char *)b->keys;
    for (size_t g = 0; g < groups; g++, panel += zi_qb_bytes(b->kernels, GROUP)) {
        float scales[ZI_MAX_NR], biases[ZI_MAX_NR];
        for (size_t j = 0; j < columns; j++) {
            const float *stored = key_scales(first + j * ldk, dim);
            scales[j] = stored[g];
            biases[j] = stored[groups + g];
        }
        b->kernels->pack_group((const uint8_t *)first + g * GROUP, ldk * sizeof *first, columns,
                               GROUP, scales, biases, panel);
    }
}

/* Sets b->scores [queries, keys] (row stride KEY_BLOCK) to q k^T, not divided by sqrt(dim), from
 * quantized keys and queries, for up to KEY_BLOCK keys from row `key` on. Needs quantize_keys and
 * quantize_queries; overwrites b->keys. */
static void score_integers(const block *b, size_t key, size_t keys)
{
    size_t mr = b->kernels->qmr, nr = b->kernels->qnr, groups = b->args->dim / GROUP;
    size_t bytes = groups * zi_qa_bytes(b->kernels, GROUP);
    for (size_t j = 0; j < keys; j += nr) {
        size_t columns = smaller(nr, keys - j);
        pack_keys(b, key + j, columns);
        for (size_t i = 0; i < b->queries; i += mr) {
            edge_tile c;
            edge_tile_begin(&c, b->scores + i * KEY_BLOCK + j, KEY_BLOCK,
                            smaller(mr, b->queries - i), columns, mr, nr, false);
            b->kernels->qtile(groups, GROUP, (char *)b->panels + i / mr * bytes, b->keys, c.c,
                              c.ldc, false);
            edge_tile_end(&c);
        }
    }
}

/* ---- weights and values ---- */

/* For causal attention: sets the scores of keys that lie after their query to -infinity; row t of q
 * sees keys 0 to S - T + t. `key`: number of the first of the scored keys, `keys` how many. */
static void hide_future(const block *b, size_t key, size_t keys)
{
    size_t first = b->args->S - b->args->T + b->query; /* the key of the first query's own row */
    for (size_t i = 0; i < b->queries; i++) {
        size_t seen = first + i + 1 > key ? first + i + 1 - key : 0;
        for (size_t j = seen; j < keys; j++) b->scores[i * KEY_BLOCK + j] = -INFINITY;
    }
}

/* Replaces scores by exp((score - max_value) / sqrt(dim)), where max_value is the row's largest
 * score so far, and sets b->max_value to it. Scales b->totals and b->sums down to the new one, then
 * adds each row's new weights to its b->totals. A row needs a score above -infinity, in this or an
 * earlier call. */
static void weigh_scores(const block *b, size_t keys)
{
    float factor = (float)(1.0 / sqrt((double)b->args->dim));
    for (size_t i = 0; i < b->queries; i++) {
        float *row = b->scores + i * KEY_BLOCK;
        float max_value = b->kernels->max(row, keys);
        if (max_value < b->max_value[i]) max_value = b->max_value[i];
        float shrink = expf((b->max_value[i] - max_value) * factor);
        b->totals[i] = b->totals[i] * shrink + b->kernels->exp_sum(row, max_value, factor, keys);
        if (shrink != 1.0f) b->kernels->scale(b->sums + i * b->wide, shrink, b->wide);
        b->max_value[i] = max_value;
    }
}

/* Adds weights (b->scores, which stay) times v, for `keys` keys from row `key` on, to b->sums
 * [queries, wide]. Overwrites b->weights and b->values. */
static void add_weighted_values(const block *b, size_t key, size_t keys)
{
    const attention_args *args = b->args;
    size_t mr = b->kernels->mr, nr = b->kernels->nr, ldv = args->kv_heads * args->dim;
    const float *v = args->v + key * ldv + b->kv_head * args->dim;
    for (size_t i = 0; i < b->queries; i += mr)
        b->kernels->pack_a(b->scores + i * KEY_BLOCK, KEY_BLOCK, smaller(mr, b->queries - i), keys,
                           b->weights + i * keys);
    for (size_t j = 0; j < args->dim; j += nr) {
        b->kernels->pack_columns(v + j, ldv, smaller(nr, args->dim - j), keys, nr, b->values);
        for (size_t i = 0; i < b->queries; i += mr) {
            edge_tile c;
            edge_tile_begin(&c, b->sums + i * b->wide + j, b->wide, smaller(mr, b->queries - i), nr,
                            mr, nr, true);
            b->kernels->tile(keys, b->weights + i * keys, b->values, c.c, c.ldc, true);
            edge_tile_end(&c);
        }
    }
}

/* Computes up to QUERY_BLOCK rows of one head (block_of_task) and writes them to args->out; softmax
 * is done over blocks of keys with a running largest score. If args->integer, k is already
 * quantized. */
static void attention_task(void *context, size_t task, size_t worker)
{
    const attention_job *job = context;
    const attention_args *args = job->args;
    block b = block_of_task(job, task, worker);
    memset(b.sums, 0, b.queries * b.wide * sizeof *b.sums);
    for (size_t i = 0; i < b.queries; i++) {
        b.max_value[i] = -INFINITY;
        b.totals[i] = 0;
    }
    (args->integer ? quantize_queries : pack_queries)(&b);
    size_t end = args->causal ? args->S - args->T + b.query + b.queries : args->S;
    for (size_t key = 0; key < end; key += KEY_BLOCK) {
        size_t keys = smaller(KEY_BLOCK, end - key);
        (args->integer ? score_integers : score_f32)(&b, key, keys);
        if (args->causal) hide_future(&b, key, keys);
        weigh_scores(&b, keys);
        add_weighted_values(&b, key, keys);
    }
    for (size_t i = 0; i < b.queries; i++)
        b.kernels->scale_row(b.sums + i * b.wide, 1.0f / b.totals[i], NULL, NULL,
                             args->out + ((b.query + i) * args->heads + b.head) * args->dim,
                             args->dim);
}

/* out = softmax(q k^T / sqrt(dim)) v for each head; causal (then T <= S): row t sees keys 0 to S -
 * T + t. If args and session are fast and dim is whole groups, products q k^T are of integers and k
 * is overwritten, else k is kept. Up to FEW_ROWS rows go to attend_few unless both are fast.
 * Complete on return. */
void cpu_attention(zi_exec *base, const zi_attention_args *a)
{
    cpu_exec *exec = exec_of(base);
    bool few = a->q.rows <= FEW_ROWS, fast = a->fast && base->fast;
    attention_args args = {.q = floats_of(a->q),
                           .k = floats_of(a->k),
                           .v = floats_of(a->v),
                           .out = floats_of(a->out),
                           .T = a->q.rows,
                           .S = a->k.rows,
                           .heads = a->heads,
                           .kv_heads = a->kv_heads,
                           .dim = a->dim,
                           .causal = a->causal,
                           .integer = fast && a->dim % GROUP == 0};
    if (few && !fast) {
        attend_few(exec, &args);
        return;
    }
    attention_job job = {exec, &args, (args.T + QUERY_BLOCK - 1) / QUERY_BLOCK};
    if (args.integer) run_rows(exec, args.S, 16, quantize_keys, &job);
    zi_pool_run(exec->pool, args.heads * job.query_blocks, attention_task, &job);
}
