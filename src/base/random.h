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

/* torch.Generator('cpu').manual_seed(seed): only the low 32 bits count. */
void zi_random_seed(zi_random *random, uint64_t seed);

/* n values of torch.rand / torch.randn (float32), as one call of that size would give. */
void zi_random_uniform(zi_random *random, float *out, size_t n);
void zi_random_normal(zi_random *random, float *out, size_t n);

#endif
