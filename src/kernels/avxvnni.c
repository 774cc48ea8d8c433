/* AVX-VNNI beside AVX2: desktop machines without AVX-512 since 2021. Four products of bytes a step
 * and column, added exactly. */
#include "kernels/x86_256.h"

static void quantize(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_x86(x, ldx, n, k, group, QMR, 127, out);
}

static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_x86(q, ldq, n, group, scales, biases, QNR, out);
}

static inline __m256i step(__m256i sum, __m256i b, __m256i a)
{
    return _mm256_dpbusd_avx_epi32(sum, b, a);
}

static void qtile(size_t groups, size_t group, const void *a, const void *b, float *c, size_t ldc,
                  bool accumulate)
{
    qtile_256(groups, group / 4, a, b, c, ldc, accumulate, step);
}

static size_t peak_integer(size_t rounds)
{
    return peak_integer_256(rounds, 4, step);
}

void zi_kernels_avxvnni(zi_kernels *kernels)
{
    kernels->tier = "avxvnni";
    kernels->q_most = 127;
    kernels->quantize = quantize;
    kernels->pack_group = pack_group;
    kernels->qtile = qtile;
    kernels->peak_integer = peak_integer;
}
