#include "lm_generate.h"
#include "base/machine.h"

#include <stdlib.h>

typedef struct {
    const zi_lm *lm;
    const zi_lm_request *request;
    zi_session session;
    zi_qwen_cache cache;
    zi_view logits_view; /* [1, vocab]: logits */
    /* Host memory. */
    float *logits;                  /* [vocab] */
    zi_token_candidate *candidates; /* [vocab] */
    int32_t *ids;                   /* [count + max_tokens], prompt and generated tokens */
    size_t count;
    bool ended;
} generation;

/* Takes the logits and the key/value cache from the arena, stores them in the generation `user`,
 * and reserves the network's temporary memory; called twice, first with a measuring arena. The
 * cache needs no room for the last token, which is never fed back. */
static void plan_memory(void *user, const zi_exec *exec, zi_arena *arena)
{
    generation *w = user;
    const zi_lm_request *r = w->request;
    (void)exec;
    w->logits_view = zi_arena_floats(arena, 1, (size_t)w->lm->qwen.config.vocab);
    zi_qwen_cache_reserve(&w->lm->qwen, r->count + r->max_tokens - 1, r->count, arena, &w->cache);
}

/* Allocates host memory and opens the session, with f32 arithmetic. The caller calls free_memory,
 * after a failure, too. */
static bool allocate_memory(generation *w, zi_engine *engine, zi_error *error)
{
    const zi_qwen_config *c = &w->lm->qwen.config;
    size_t depth = (size_t)(c->ffn > c->hidden ? c->ffn : c->hidden), vocab = (size_t)c->vocab;
    size_t q = (size_t)c->heads * (size_t)c->head_dim,
           total = w->request->count + w->request->max_tokens;
    zi_exec_limits limits = {(size_t)c->head_dim, q > depth ? q : depth,
                             zi_qwen_layer_bytes(&w->lm->qwen)};
    w->logits = malloc(vocab * sizeof *w->logits);
    w->candidates = malloc(vocab * sizeof *w->candidates);
    w->ids = calloc(total, sizeof *w->ids);
    if (!w->logits || !w->candidates || !w->ids)
        return zi_error_no_memory(error, vocab * sizeof *w->candidates);
    return zi_session_open(engine, false, limits, plan_memory, w, &w->session, error);
}

/* Closes the session and frees the host memory of the generation (not NULL); members that are not
 * set yet are allowed. To be called once. */
static void free_memory(generation *w)
{
    zi_session_close(&w->session);
    free(w->logits);
    free(w->candidates);
    free(w->ids);
}

/* Whether id is one of the model's end-of-sequence tokens. */
static bool is_stop_token(const zi_lm *lm, int32_t id)
{
    for (size_t i = 0; i < lm->stop_count; i++)
        if (lm->stops[i] == id) return true;
    return false;
}

/* Feeds n tokens to the model, behind those in the cache, and sets w->logits, in host memory, to
 * those of the next one. False, with *error set (cancelled or failed): cache and logits are
 * undefined. */
static bool read_tokens(generation *w, const int32_t *ids, size_t n, zi_error *error)
{
    return zi_qwen_forward(&w->session.run, &w->lm->qwen, &w->cache, ids, n, w->logits_view,
                           error) &&
           zi_read(w->session.exec, w->logits_view, w->logits, error);
}

/* Samples tokens from w->logits on and appends them to w->ids, behind the prompt, until a stop
 * token (then `ended` is true; it is not stored) or max_tokens. False, with *error set: a callback
 * cancelled (ZI_ERROR_CANCELLED), or a failure; w->ids has the tokens so far. */
static bool generate_tokens(generation *w, zi_error *error)
{
    const zi_lm_request *r = w->request;
    zi_random random;
    zi_random_seed(&random, r->sampling.seed);
    while (w->count < r->count + r->max_tokens) {
        int32_t id =
            zi_sample_token(&r->sampling, &random, w->logits, (size_t)w->lm->qwen.config.vocab,
                            w->ids, w->count, w->candidates);
        w->ended = is_stop_token(w->lm, id);
        if (w->ended) return true;
        w->ids[w->count++] = id;
        if (r->token && !r->token(r->user, id)) return zi_error_cancelled(error);
        if (w->count == r->count + r->max_tokens) return true;
        if (!read_tokens(w, &id, 1, error)) return false;
    }
    return true;
}

/* Fails with ZI_ERROR_INVALID_ARGUMENT if a sampling parameter is out of range or, with the subject
 * "prompt", if the prompt has no tokens, or prompt and max_tokens (which may be 0) exceed the
 * model's context (if that is known). */
static bool check_request(const zi_lm *lm, const zi_lm_request *r, zi_error *error)
{
    size_t context = (size_t)lm->qwen.config.context; /* 0: unknown */
    if (!zi_sampling_check(&r->sampling, error)) return false;
    if (!r->count)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt", "is empty; give a text");
    if (!context || r->count + r->max_tokens <= context) return true;
    return zi_error_set(
        error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
        "its %zu tokens (instructions for the language model included) and %zu for the answer are "
        "more than the %zu tokens that this language model can hold; shorten the prompt, or use "
        "another language model",
        r->count, r->max_tokens, context);
}

/* Reads the prompt, generates, and sets *out, whose ids are for free(). False, with *error set:
 * *out is unchanged. The caller calls free_memory in any case. */
static bool run_generation(generation *w, zi_lm_result *out, zi_error *error)
{
    const zi_lm_request *r = w->request;
    w->session.run.layer_done = r->layer_done;
    w->session.run.user = r->user;
    double start = zi_monotonic_seconds();
    memcpy(w->ids, r->ids, r->count * sizeof *w->ids);
    w->count = r->count;
    if (r->max_tokens && !read_tokens(w, r->ids, r->count, error)) return false;
    double prompt_done = zi_monotonic_seconds();
    if (!generate_tokens(w, error)) return false;
    zi_lm_result result = {.count = w->count - r->count,
                           .ended = w->ended,
                           .read_seconds = prompt_done - start,
                           .write_seconds = zi_monotonic_seconds() - prompt_done};
    result.ids = malloc((result.count + 1) * sizeof *result.ids);
    if (!result.ids) return zi_error_no_memory(error, result.count);
    memcpy(result.ids, w->ids + r->count, result.count * sizeof *result.ids);
    *out = result;
    return true;
}

bool zi_lm_generate(zi_engine *engine, const zi_lm *lm, const zi_lm_request *request,
                    zi_lm_result *out, zi_error *error)
{
    generation w = {.lm = lm, .request = request};
    if (!check_request(lm, request, error)) return false;
    bool ok = allocate_memory(&w, engine, error) && run_generation(&w, out, error);
    free_memory(&w);
    return ok;
}
