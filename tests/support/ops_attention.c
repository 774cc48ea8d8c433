/* Attention, exact and with q and k in eight bits. */
#include "calls.h"
#include "ops.h"

#include <math.h>
#include <string.h>

#define ULP 0x1p-24

typedef struct {
    size_t T, S, heads, kv_heads, dim;
    bool causal;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1, false},
    {3, 5, 1, 1, 3, false},
    {5, 7, 2, 1, 6, false},
    {17, 63, 3, 1, 17, false},
    {65, 257, 3, 3, 20, false},
    {130, 600, 4, 2, 34, false},
    {65, 17, 2, 2, 64, false},
    {2, 257, 2, 2, 34, false},
    {3, 3, 4, 2, 8, true},
    {129, 129, 4, 1, 16, true},
    {257, 257, 2, 2, 10, true},
    {1, 300, 4, 2, 64, true},
    {4, 600, 3, 1, 22, true},
    {150, 700, 2, 1, 16, true},
    {5, 70, 30, 30, 128, false}, /* transformer */
    {150, 77, 3, 3, 128, false},
    {33, 33, 32, 8, 128, true}, /* text encoder */
    {1, 65, 32, 8, 128, true},
    {65, 65, 1, 1, 512, false}, /* VAE */
    {3, 9, 2, 1, ZI_MAX_HEAD, false},
    {200, 33, 4, 1, ZI_MAX_HEAD, false},
};

enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct {
    shape s;
    const float *q, *k, *v;
    double *weights;        /* [S] */
    double *wanted, *bound; /* [T, heads * dim] */
} problem;

/* Sets weights [seen] to the softmax of a query's scores, and returns the largest sum of
 * magnitudes of a score: rounding errors of scores are shares of it. */
static double weigh(const problem *p, size_t t, size_t h, size_t seen)
{
    const shape *s = &p->s;
    const float *q = p->q + (t * s->heads + h) * s->dim;
    double max_value = -INFINITY, total = 0, magnitudes = 0, root = sqrt((double)s->dim);
    for (size_t j = 0; j < seen; j++) {
        const float *k = p->k + (j * s->kv_heads + h / (s->heads / s->kv_heads)) * s->dim;
        double sum = 0, size = 0;
        for (size_t d = 0; d < s->dim; d++) {
            double product = (double)q[d] * k[d];
            sum += product;
            size += fabs(product);
        }
        p->weights[j] = sum / root;
        max_value = fmax(max_value, p->weights[j]);
        magnitudes = fmax(magnitudes, size / root);
    }
    for (size_t j = 0; j < seen; j++) total += p->weights[j] = exp(p->weights[j] - max_value);
    for (size_t j = 0; j < seen; j++) p->weights[j] /= total;
    return magnitudes;
}

/* Sets what is right, and how far an exact result may be off; v is less than 1. */
static void attend(const zi_rig *rig, const problem *p)
{
    const shape *s = &p->s;
    for (size_t t = 0; t < s->T; t++)
        for (size_t h = 0; h < s->heads; h++) {
            size_t seen = s->causal ? s->S - s->T + t + 1 : s->S;
            double magnitudes = weigh(p, t, h, seen);
            for (size_t d = 0; d < s->dim; d++) {
                size_t at = (t * s->heads + h) * s->dim + d;
                p->wanted[at] = 0;
                for (size_t j = 0; j < seen; j++) {
                    size_t kv = j * s->kv_heads + h / (s->heads / s->kv_heads);
                    p->wanted[at] += p->weights[j] * p->v[kv * s->dim + d];
                }
                p->bound[at] =
                    ULP * ((sqrt((double)s->dim) + 8) * magnitudes + 2 * (sqrt((double)seen) + 8)) +
                    rig->operand_error * (2 * magnitudes + 2);
            }
        }
}

/* sharp: queries of which some have one key that counts, others many. */
static problem make(zi_rig *rig, const shape *s, bool sharp)
{
    size_t n = s->T * s->heads * s->dim, m = s->S * s->kv_heads * s->dim;
    float *q = zi_rig_values(rig, n);
    problem p = {.s = *s, .q = q, .k = zi_rig_values(rig, m), .v = zi_rig_values(rig, m)};
    p.weights = zi_rig_alloc(rig, s->S, sizeof *p.weights);
    p.wanted = zi_rig_alloc(rig, n, sizeof *p.wanted);
    p.bound = zi_rig_alloc(rig, n, sizeof *p.bound);
    for (size_t i = 0; sharp && i < n; i++) q[i] *= i / s->dim % 5 ? 8 : 100;
    attend(rig, &p);
    return p;
}

/* How exactly a result is to be compared. */
typedef enum { EXACT, IN_EIGHT_BITS } precision;

static void check(zi_rig *rig, const problem *p, precision how, const float *got)
{
    size_t n = p->s.T * p->s.heads * p->s.dim;
    double errors = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        double bound = how == EXACT ? p->bound[i] : 0.2;
        if (!zi_rig_near(rig, "out", i, got[i], p->wanted[i], bound)) return;
        errors += (got[i] - p->wanted[i]) * (got[i] - p->wanted[i]);
        squares += p->wanted[i] * p->wanted[i];
    }
    if ((how == IN_EIGHT_BITS || rig->operand_error > 0) && n >= 64)
        CHECK_MSG(sqrt(errors / squares) < 0.03, "%s: off by %g of the results' size", rig->what,
                  sqrt(errors / squares));
}

/* fast: the session; args_fast: what the arguments say. */
static void run(zi_rig *rig, const shape *s, bool fast, bool args_fast)
{
    zi_rig_case(rig, fast,
                "attention, session %s, arguments %s, T %zu S %zu heads %zu/%zu dim %zu%s",
                fast ? "fast" : "exact", args_fast ? "fast" : "exact", s->T, s->S, s->heads,
                s->kv_heads, s->dim, s->causal ? " causal" : "");
    bool quantized = fast && args_fast;
    problem p = make(rig, s, !quantized);
    size_t wide = s->heads * s->dim, kv_wide = s->kv_heads * s->dim;
    zi_view q = zi_rig_in(rig, p.q, s->T, wide, s->T == 1 ? 3 : 0);
    zi_view k = args_fast ? zi_rig_inout(rig, p.k, s->S, kv_wide, 0)
                          : zi_rig_in(rig, p.k, s->S, kv_wide, s->S == 1 ? 2 : 0);
    zi_view v = zi_rig_in(rig, p.v, s->S, kv_wide, 0), out = zi_rig_out(rig, s->T, wide, 0);
    zi_rig_start(rig);
    zi_call_attention(rig->exec, &(zi_attention_args){.q = q,
                                                      .k = k,
                                                      .v = v,
                                                      .out = out,
                                                      .heads = s->heads,
                                                      .kv_heads = s->kv_heads,
                                                      .dim = s->dim,
                                                      .causal = s->causal,
                                                      .fast = args_fast});
    if (zi_rig_finish(rig))
        check(rig, &p, quantized ? IN_EIGHT_BITS : EXACT, zi_rig_result(rig, out));
}

void zi_ops_attention(zi_rig *rig)
{
    for (size_t i = 0; i < SHAPES; i++) {
        run(rig, &shapes[i], false, false);
        if (i % 2) run(rig, &shapes[i], true, false);
        if (i % 3 == 0) run(rig, &shapes[i], false, true);
    }
}

void zi_ops_attention_fast(zi_rig *rig)
{
    static const shape more[] = {{9, 40, 3, 3, 64, false},
                                 {70, 300, 4, 2, 128, true},
                                 {33, 65, 2, 1, 192, false},
                                 {1, 129, 4, 2, 128, true}};
    for (size_t i = 0; i < SHAPES; i++) run(rig, &shapes[i], true, true);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) run(rig, &more[i], true, true);
}
