/* torch's CPU random numbers: MT19937 and torch.randn, reproduced to float rounding, so that a seed
 * means the same noise here as in diffusers. */
#ifndef ZI_BASE_RANDOM_H
#define ZI_BASE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t state[624];
    int used;       /* words of state handed out */
    bool has_spare; /* small draws make normals in pairs; the second one waits here, */
    double spare;   /* also across large draws in between */
} zi_random;

/* Starts the sequence of torch.Generator('cpu').manual_seed(seed): only the low 32 bits count. */
void zi_random_seed(zi_random *random, uint64_t seed);

/* Writes the next n values of torch.rand (float32, from 0 to below 1) to out. Several calls give
 * the same values as one. */
void zi_random_uniform(zi_random *random, float *out, size_t n);

/* Writes n values of torch.randn (float32, standard normal) to out, as one call of that size would
 * give: below 16 values are drawn in another way, so that two calls differ from one. */
void zi_random_normal(zi_random *random, float *out, size_t n);

#endif
