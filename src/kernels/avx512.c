/* AVX-512 F, BW, DQ, VL: server machines since 2017, desktop ones since Zen 4. */
#include "kernels/x86_512.h"
#include "kernels/x86_dot.h"

/* 24 sums, two columns and a row's value of 32 registers. */
enum { MR = 12, NR = 32 };

static void pack_a(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    pack_a_x86(x, ldx, n, k, MR, out);
}

static void tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool accumulate)
{
    __m512 low[MR], high[MR];
    prefetch_tile(c, ldc, MR, NR);
    UNROLL
    for (int i = 0; i < MR; i++) low[i] = high[i] = _mm512_setzero_ps();
    for (size_t p = 0; p < k; p++, a += MR, b += NR) {
        _mm_prefetch((const char *)(a + AHEAD * MR), _MM_HINT_T0);
        _mm_prefetch((const char *)(b + AHEAD * NR), _MM_HINT_T0);
        _mm_prefetch((const char *)(b + AHEAD * NR + 16), _MM_HINT_T0);
        __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
        UNROLL
        for (int i = 0; i < MR; i++) {
            __m512 value = _mm512_set1_ps(a[i]);
            low[i] = _mm512_fmadd_ps(value, b0, low[i]);
            high[i] = _mm512_fmadd_ps(value, b1, high[i]);
        }
    }
    UNROLL
    for (size_t i = 0; i < MR; i++) {
        float *row = c + i * ldc;
        if (accumulate) {
            low[i] = _mm512_add_ps(low[i], _mm512_loadu_ps(row));
            high[i] = _mm512_add_ps(high[i], _mm512_loadu_ps(row + 16));
        }
        _mm512_storeu_ps(row, low[i]);
        _mm512_storeu_ps(row + 16, high[i]);
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

static inline __m512i step(__m512i sum, __m512i b, __m512i a)
{
    __m512i pairs = _mm512_maddubs_epi16(b, a);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

static void qtile(size_t groups, size_t group, const void *a, const void *b, float *c, size_t ldc,
                  bool accumulate)
{
    qtile_512(groups, group / 4, a, b, c, ldc, accumulate, step);
}

/* ---- peak ---- */

static size_t peak_f32(size_t rounds)
{
    enum { SUMS = 24 };
    __m512 sums[SUMS], x = _mm512_set1_ps(1), y = _mm512_set1_ps(0.5f);
    UNROLL
    for (int i = 0; i < SUMS; i++) {
        sums[i] = x;
        __asm__("" : "+v"(sums[i])); /* it must not see that they are alike */
    }
    for (size_t r = 0; r < rounds; r++) UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_fmadd_ps(sums[i], y, x);
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "v"(sums[i]));
    return rounds * SUMS * 16;
}

static size_t peak_integer(size_t rounds)
{
    return peak_integer_512(rounds, 4, step);
}

void zi_kernels_avx512(zi_kernels *kernels)
{
    kernels->tier = "avx512";
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
