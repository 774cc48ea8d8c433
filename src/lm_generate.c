#include "lm_generate.h"
#include "base/machine.h"

#include <stdlib.h>

typedef struct {
    const zi_lm *lm;
    const zi_lm_request *request;
    zi_session session;
    zi_qwen_cache cache;
    zi_view next; /* [1, vocab]: logits */
    /* In the host's memory. */
    float *logits;             /* [vocab] */
    zi_token_candidate *space; /* [vocab] */
    int32_t *ids;              /* [count + most]: the prompt, and what follows */
    size_t count;
    bool ended;
} writer;

/* The last token is not read any more. */
static void plan(void *user, const zi_exec *exec, zi_arena *arena)
{
    writer *w = user;
    const zi_lm_request *r = w->request;
    (void)exec;
    w->next = zi_arena_floats(arena, 1, (size_t)w->lm->qwen.config.vocab);
    zi_qwen_cache_reserve(&w->lm->qwen, r->count + r->most - 1, r->count, arena, &w->cache);
}

static bool take_memory(writer *w, zi_engine *engine, zi_error *error)
{
    const zi_qwen_config *c = &w->lm->qwen.config;
    size_t depth = (size_t)(c->ffn > c->hidden ? c->ffn : c->hidden), vocab = (size_t)c->vocab;
    size_t q = (size_t)c->heads * (size_t)c->head_dim, total = w->request->count + w->request->most;
    zi_exec_limits limits = {(size_t)c->head_dim, q > depth ? q : depth};
    w->logits = malloc(vocab * sizeof *w->logits);
    w->space = malloc(vocab * sizeof *w->space);
    w->ids = calloc(total, sizeof *w->ids);
    if (!w->logits || !w->space || !w->ids)
        return zi_error_no_memory(error, vocab * sizeof *w->space);
    return zi_session_open(engine, false, limits, plan, w, &w->session, error);
}

static void give_back_memory(writer *w)
{
    zi_session_close(&w->session);
    free(w->logits);
    free(w->space);
    free(w->ids);
}

static bool stops(const zi_lm *lm, int32_t id)
{
    for (size_t i = 0; i < lm->stop_count; i++)
        if (lm->stops[i] == id) return true;
    return false;
}

/* Reads n tokens, and what may follow them. */
static bool read_tokens(writer *w, const int32_t *ids, size_t n, zi_error *error)
{
    return zi_qwen_forward(&w->session.run, &w->lm->qwen, &w->cache, ids, n, w->next, error) &&
           zi_read(w->session.exec, w->next, w->logits, error);
}

/* Samples tokens after what was read until the model ends, or there are enough. */
static bool write_tokens(writer *w, zi_error *error)
{
    const zi_lm_request *r = w->request;
    zi_random random;
    zi_random_seed(&random, r->sampling.seed);
    while (w->count < r->count + r->most) {
        int32_t id = zi_sample_token(&r->sampling, &random, w->logits,
                                     (size_t)w->lm->qwen.config.vocab, w->ids, w->count, w->space);
        w->ended = stops(w->lm, id);
        if (w->ended) return true;
        w->ids[w->count++] = id;
        if (r->token && !r->token(r->user, id)) return zi_error_cancelled(error);
        if (w->count == r->count + r->most) return true;
        if (!read_tokens(w, &id, 1, error)) return false;
    }
    return true;
}

static bool check(const zi_lm *lm, const zi_lm_request *r, zi_error *error)
{
    size_t context = (size_t)lm->qwen.config.context; /* 0: nobody says */
    if (!zi_sampling_check(&r->sampling, error)) return false;
    if (!r->count)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                            "there is nothing in it to continue");
    if (!context || r->count + r->most <= context) return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                        "its %zu tokens and %zu to come are more than the context of this language "
                        "model, %zu; shorten it or ask for fewer",
                        r->count, r->most, context);
}

static bool generate(writer *w, zi_lm_result *out, zi_error *error)
{
    const zi_lm_request *r = w->request;
    w->session.run.layer_done = r->layer_done;
    w->session.run.user = r->user;
    double begun = zi_seconds();
    memcpy(w->ids, r->ids, r->count * sizeof *w->ids);
    w->count = r->count;
    if (r->most && !read_tokens(w, r->ids, r->count, error)) return false;
    double read = zi_seconds();
    if (!write_tokens(w, error)) return false;
    zi_lm_result result = {.count = w->count - r->count,
                           .ended = w->ended,
                           .read_seconds = read - begun,
                           .write_seconds = zi_seconds() - read};
    result.ids = malloc((result.count + 1) * sizeof *result.ids);
    if (!result.ids) return zi_error_no_memory(error, result.count);
    memcpy(result.ids, w->ids + r->count, result.count * sizeof *result.ids);
    *out = result;
    return true;
}

bool zi_lm_generate(zi_engine *engine, const zi_lm *lm, const zi_lm_request *request,
                    zi_lm_result *out, zi_error *error)
{
    writer w = {.lm = lm, .request = request};
    if (!check(lm, request, error)) return false;
    bool ok = take_memory(&w, engine, error) && generate(&w, out, error);
    give_back_memory(&w);
    return ok;
}
