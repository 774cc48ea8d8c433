/* Which token comes next. */
#ifndef ZI_SAMPLE_TOKEN_H
#define ZI_SAMPLE_TOKEN_H

#include "base/random.h"
#include "base/error.h"

/* Taken in this order, as transformers does it: penalty, temperature, top_k, top_p, min_p. */
typedef struct {
    double temperature; /* 0: the likeliest token, and only the penalty matters */
    int top_k;          /* likeliest tokens that are considered; 0: all */
    double top_p;       /* of these, the likeliest that reach this share together; 1: all */
    double min_p;       /* and those of this share of the likeliest one's probability; 0: all */
    double penalty;     /* makes tokens that were there less likely; 1: not */
    uint64_t seed;
} zi_sampling;

/* Refuses what cannot be. */
bool zi_sampling_check(const zi_sampling *sampling, zi_error *error) ZI_CHECKED;

typedef struct {
    float value;
    int32_t id;
} zi_token_candidate;

/* One of [0, vocab) by logits [vocab], which are overwritten. seen [count]: the tokens so far.
 * space [vocab]. */
int32_t zi_sample_token(const zi_sampling *sampling, zi_random *random, float *logits, size_t vocab,
                        const int32_t *seen, size_t count, zi_token_candidate *candidates);

#endif
