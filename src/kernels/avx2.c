/* AVX2 with FMA and F16C: x86-64 machines since 2013. */
#include "kernels/x86_256.h"
#include "kernels/x86_dot.h"

/* Twelve sums, two columns and a row's value fill 16 registers. */
enum { MR = 6, NR = 16 };

static void pack_a(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    pack_a_x86(x, ldx, n, k, MR, out);
}

static void tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool accumulate)
{
    __m256 low[MR], high[MR];
    prefetch_tile(c, ldc, MR, NR);
    UNROLL
    for (int i = 0; i < MR; i++) low[i] = high[i] = _mm256_setzero_ps();
    for (size_t p = 0; p < k; p++, a += MR, b += NR) {
        _mm_prefetch((const char *)(a + AHEAD * MR), _MM_HINT_T0);
        _mm_prefetch((const char *)(b + AHEAD * NR), _MM_HINT_T0);
        __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
        UNROLL
        for (int i = 0; i < MR; i++) {
            __m256 value = _mm256_broadcast_ss(a + i);
            low[i] = _mm256_fmadd_ps(value, b0, low[i]);
            high[i] = _mm256_fmadd_ps(value, b1, high[i]);
        }
    }
    UNROLL
    for (size_t i = 0; i < MR; i++) {
        float *row = c + i * ldc;
        if (accumulate) {
            low[i] = _mm256_add_ps(low[i], _mm256_loadu_ps(row));
            high[i] = _mm256_add_ps(high[i], _mm256_loadu_ps(row + 8));
        }
        _mm256_storeu_ps(row, low[i]);
        _mm256_storeu_ps(row + 8, high[i]);
    }
}

/* ---- integers: bytes in fours, pairs of products added in 16 bits, which 63 * 255 * 2 fit ---- */

static void quantize(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_x86(x, ldx, n, k, group, QMR, 63, out);
}

static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_x86(q, ldq, n, group, scales, biases, QNR, out);
}

static inline __m256i step(__m256i sum, __m256i b, __m256i a)
{
    __m256i pairs = _mm256_maddubs_epi16(b, a);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static void qtile(size_t groups, size_t group, const void *a, const void *b, float *c, size_t ldc,
                  bool accumulate)
{
    qtile_256(groups, group / 4, a, b, c, ldc, accumulate, step);
}

/* ---- peak ---- */

static size_t peak_f32(size_t rounds)
{
    enum { SUMS = 12 };
    __m256 sums[SUMS], x = _mm256_set1_ps(1), y = _mm256_set1_ps(0.5f);
    UNROLL
    for (int i = 0; i < SUMS; i++) {
        sums[i] = x;
        __asm__("" : "+x"(sums[i])); /* it must not see that they are alike */
    }
    for (size_t r = 0; r < rounds; r++) UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = _mm256_fmadd_ps(sums[i], y, x);
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "x"(sums[i]));
    return rounds * SUMS * 8;
}

static size_t peak_integer(size_t rounds)
{
    return peak_integer_256(rounds, 4, step);
}

void zi_kernels_avx2(zi_kernels *kernels)
{
    kernels->tier = "avx2";
    kernels->mr = MR;
    kernels->nr = NR;
    kernels->pack_a = pack_a;
    kernels->pack_rows = pack_rows_x86;
    kernels->tile = tile;
    kernels->dot_rows = dot_rows_x86;
    kernels->qmr = QMR;
    kernels->qnr = QNR;
    kernels->q_most = 63;
    kernels->q_step = 4;
    kernels->q_width = 1;
    kernels->quantize = quantize;
    kernels->pack_group = pack_group;
    kernels->qtile = qtile;
    kernels->peak_f32 = peak_f32;
    kernels->peak_integer = peak_integer;
    overlay_vectors_x86(kernels);
}
