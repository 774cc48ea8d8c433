/* AVX-VNNI beside AVX2: desktop machines without AVX-512 since 2021. Four products of bytes a step
 * and column, added exactly. */
#include "kernels/x86_256.h"

/* Twelve sums, two columns and a row's step fill 15 registers. */
enum { QMR = 6 };

/* Quantizes n <= QMR (6) rows of x [n, k] (row stride ldx), in groups with a scale each, into a
 * panel (quantized.h) of signed bytes in steps of four; missing rows are zero. k is whole groups of
 * a multiple of 32 values. |q| is at most 127; q_sums_limited is false here. A NaN or infinity
 * makes its group's scale a NaN or infinite. */
static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_x86(x, ldx, n, k, group, QMR, false, out);
}

/* Adds the products of one step, four signed bytes of each row, a [QMR, 4], and four unsigned ones
 * of each column, b [16, 4], exactly, to a tile's sums [QMR]: low of columns 0 to 7, high of 8 to
 * 15. */
static inline __attribute__((always_inline)) void add_step(__m256i *low, __m256i *high,
                                                           const char *a, const char *b)
{
    __m256i b0 = load_columns(b), b1 = load_columns(b + 32);
    UNROLL
    for (int i = 0; i < QMR; i++) {
        __m256i step = load_step(a + i * 4);
        low[i] = _mm256_dpbusd_avx_epi32(low[i], b0, step);
        high[i] = _mm256_dpbusd_avx_epi32(high[i], b1, step);
        /* Keeps the sums where they are: otherwise some go to memory and back. */
        __asm__("" : "+x"(low[i]), "+x"(high[i]));
    }
}

/* c [QMR, QNR] = [6, 16] (row stride ldc) = the product of quantized panels a and b (quantized.h)
 * of `groups` (> 0) groups of `group` values (a multiple of 16); accumulate: added to c. Sums of a
 * group are exact integers. */
static void qtile(size_t groups, size_t group, const void *a_panel, const void *b_panel, float *c,
                  size_t ldc, bool accumulate)
{
    enum { A = QMR * 4, B = QNR * 4 }; /* bytes of a step */
    const char *a = a_panel, *b = b_panel;
    begin_tile(c, ldc, QMR, accumulate);
    for (size_t g = 0; g < groups; g++) {
        __m256i low[QMR], high[QMR];
        UNROLL
        for (int i = 0; i < QMR; i++) low[i] = high[i] = _mm256_setzero_si256();
        for (size_t s = 0; s < group; s += 16, a += 4 * A, b += 4 * B) UNROLL
        for (int i = 0; i < 4; i++) add_step(low, high, a + i * A, b + i * B);
        add_sums(low, high, QMR, a, b, c, ldc);
        a += QMR * 3 * sizeof(float);
        b += QNR * 2 * sizeof(float);
    }
}

/* Runs `rounds` rounds of a tile's integer multiply-adds without its loads, for a benchmark that
 * takes the time; returns how many multiply-adds (of single numbers) these are. The empty asm keeps
 * the compiler from working them out once. */
static size_t peak_integer(size_t rounds)
{
    enum { SUMS = 12 };
    __m256i sums[SUMS], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
    UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = x;
    for (size_t r = 0; r < rounds; r++) UNROLL
    for (int i = 0; i < SUMS; i++) {
        __asm__ volatile("" : "+x"(x));
        sums[i] = _mm256_dpbusd_avx_epi32(sums[i], x, y);
    }
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "x"(sums[i]));
    return rounds * SUMS * 8 * 4;
}

/* Overwrites the name, quantize, qtile, peak_integer, qmr and q_sums_limited of avx2. */
void zi_kernels_avxvnni(zi_kernels *kernels)
{
    kernels->tier = "avxvnni";
    kernels->qmr = QMR;
    kernels->q_sums_limited = false;
    kernels->quantize = quantize_panel;
    kernels->qtile = qtile;
    kernels->peak_integer = peak_integer;
}
