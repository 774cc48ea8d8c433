/* Samples the next token from a language model's logits. */
#ifndef ZI_SAMPLE_TOKEN_H
#define ZI_SAMPLE_TOKEN_H

#include "base/random.h"
#include "base/error.h"

/* Sampling parameters, applied in this order as in transformers: penalty, temperature, top_k,
 * top_p, min_p. */
typedef struct {
    double temperature; /* 0..100; 0: greedy, only the penalty applies */
    int top_k;          /* keeps the k likeliest tokens; 0: all */
    double top_p;       /* keeps the likeliest tokens up to this cumulative probability; 1: all */
    double min_p;       /* keeps tokens of at least this fraction of the top probability; 0: all */
    double penalty;     /* repetition penalty for tokens seen before; 1: none */
    uint64_t seed;
} zi_sampling;

/* Fails with ZI_ERROR_INVALID_ARGUMENT for the first parameter that is out of range (or NaN), with
 * its name as the subject: temperature 0 to 100, top_k 0 and up, top_p above 0 to 1, min_p 0 to 1,
 * penalty above 0 to 10. */
bool zi_sampling_check(const zi_sampling *sampling, zi_error *error) ZI_CHECKED;

typedef struct {
    float value;
    int32_t id;
} zi_token_candidate;

/* Returns a token id sampled from logits [vocab] (1 or more), which the penalty changes in place;
 * if the temperature is 0, the likeliest one after the penalty, without use of `random`. seen
 * [count]: all tokens so far, for the penalty. candidates: scratch memory [vocab]. sampling must
 * have passed zi_sampling_check. */
int32_t zi_sample_token(const zi_sampling *sampling, zi_random *random, float *logits, size_t vocab,
                        const int32_t *seen, size_t count, zi_token_candidate *candidates);

#endif
