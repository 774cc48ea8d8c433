#include "sample_token.h"

#include <math.h>
#include <stdlib.h>

bool zi_sampling_check(const zi_sampling *sampling, zi_error *error)
{
    if (!(sampling->temperature >= 0 && sampling->temperature <= 100))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "temperature",
                            "%g is out of range; it must be from 0 to 100", sampling->temperature);
    if (sampling->top_k < 0)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "top_k",
                            "%d is out of range; it must be 0 (all) or more", sampling->top_k);
    if (!(sampling->top_p > 0 && sampling->top_p <= 1))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "top_p",
                            "%g is out of range; it must be above 0 and at most 1",
                            sampling->top_p);
    if (!(sampling->min_p >= 0 && sampling->min_p <= 1))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "min_p",
                            "%g is out of range; it must be from 0 to 1", sampling->min_p);
    if (!(sampling->penalty > 0 && sampling->penalty <= 10))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "penalty",
                            "%g is out of range; it must be above 0 and at most 10",
                            sampling->penalty);
    return true;
}

/* Divides positive logits by the penalty and multiplies others with it, once per distinct token in
 * seen [count]. Ids outside 0..vocab-1 are ignored. */
static void apply_repetition_penalty(float *logits, size_t vocab, const int32_t *seen, size_t count,
                                     float penalty)
{
    for (size_t i = 0; i < count; i++) {
        bool before = false;
        for (size_t j = 0; j < i && !before; j++) before = seen[j] == seen[i];
        if (before || seen[i] < 0 || (size_t)seen[i] >= vocab) continue;
        float *logit = &logits[seen[i]];
        *logit = *logit > 0 ? *logit / penalty : *logit * penalty;
    }
}

/* Returns the id of the largest logit, the smallest such id. vocab: 1 or more. */
static int32_t argmax(const float *logits, size_t vocab)
{
    size_t best = 0;
    for (size_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* For qsort: largest first; ties by smaller id. */
static int by_logit(const void *a, const void *b)
{
    const zi_token_candidate *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* Writes the `max` largest logits (0 or more than vocab: all) with their ids to out, largest first
 * and equal ones by id, and returns their number, for which out must have room. With NaNs the order
 * is arbitrary. */
static size_t sort_candidates(const float *logits, size_t vocab, size_t max,
                              zi_token_candidate *out)
{
    size_t count = 0;
    if (!max || max >= vocab) {
        for (; count < vocab; count++)
            out[count] = (zi_token_candidate){logits[count], (int32_t)count};
        qsort(out, count, sizeof *out, by_logit);
        return count;
    }
    for (size_t i = 0; i < vocab; i++) {
        if (count == max && logits[i] <= out[count - 1].value) continue;
        size_t at = count < max ? count++ : count - 1;
        for (; at > 0 && out[at - 1].value < logits[i]; at--) out[at] = out[at - 1];
        out[at] = (zi_token_candidate){logits[i], (int32_t)i};
    }
    return count;
}

/* Replaces the values, logits sorted with the largest first, by exp((logit - largest) /
 * temperature), and returns their sum. */
static double softmax_unnormalized(zi_token_candidate *list, size_t count, double temperature)
{
    double total = 0;
    float max = list[0].value;
    for (size_t i = 0; i < count; i++) {
        list[i].value = (float)exp(((double)list[i].value - max) / temperature);
        total += list[i].value;
    }
    return total;
}

/* Returns how many candidates, from the first (likeliest) on, top_p and min_p keep: at least one.
 * The values are probabilities times a factor that makes the first one 1. The candidate that
 * reaches top_p is kept. *total, the sum of all values, becomes the sum of those kept. */
static size_t count_kept(const zi_token_candidate *list, size_t count, double top_p, double min_p,
                         double *total)
{
    double sum = 0, wanted = top_p * *total;
    size_t n = 0;
    while (n < count && (n == 0 || (sum < wanted && list[n].value >= min_p)))
        sum += list[n++].value;
    *total = sum;
    return n;
}

int32_t zi_sample_token(const zi_sampling *sampling, zi_random *random, float *logits, size_t vocab,
                        const int32_t *seen, size_t count, zi_token_candidate *candidates)
{
    if (sampling->penalty != 1)
        apply_repetition_penalty(logits, vocab, seen, count, (float)sampling->penalty);
    if (sampling->temperature == 0) return argmax(logits, vocab);
    size_t n = sort_candidates(logits, vocab, (size_t)sampling->top_k, candidates);
    double total = softmax_unnormalized(candidates, n, sampling->temperature);
    n = count_kept(candidates, n, sampling->top_p, sampling->min_p, &total);
    float uniform;
    zi_random_uniform(random, &uniform, 1);
    double remaining = uniform * total;
    size_t i = 0;
    while (i + 1 < n && (remaining -= candidates[i].value) >= 0) i++;
    return candidates[i].id;
}
