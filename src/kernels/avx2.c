/* AVX2 with FMA and F16C: x86-64 machines since 2013. */
#include "kernels/x86_256.h"
#include "kernels/x86_dot.h"

/* Twelve sums, two columns and a row's value fill 16 registers. */
enum { MR = 6, NR = 16 };

/* Packs n <= MR (6) rows of x [n, k] (row stride ldx) into the panel out [k, MR]; missing rows are
 * zero. */
static void pack_a(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    pack_a_x86(x, ldx, n, k, MR, out);
}

/* Adds the products of MR values a and NR values b, one step of depth, to the sums of a tile: low
 * [MR] of columns 0 to 7, high [MR] of columns 8 to 15. */
static inline __attribute__((always_inline)) void add_outer_product(__m256 *low, __m256 *high,
                                                                    const float *a, const float *b)
{
    __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
    UNROLL
    for (int i = 0; i < MR; i++) {
        __m256 value = _mm256_broadcast_ss(a + i);
        low[i] = _mm256_fmadd_ps(value, b0, low[i]);
        high[i] = _mm256_fmadd_ps(value, b1, high[i]);
    }
}

/* c [MR, NR] = [6, 16] (row stride ldc) = the product a^T b of panels a [k, MR] and b [k, NR], all
 * of it; accumulate: added to c instead. */
static void tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool accumulate)
{
    __m256 low[MR], high[MR];
    prefetch_tile(c, ldc, MR, NR);
    UNROLL
    for (int i = 0; i < MR; i++) low[i] = high[i] = _mm256_setzero_ps();
    size_t p = 0;
    for (; p + 4 <= k; p += 4, a += 4 * MR, b += 4 * NR) UNROLL
    for (int i = 0; i < 4; i++) add_outer_product(low, high, a + i * MR, b + i * NR);
    for (; p < k; p++, a += MR, b += NR) add_outer_product(low, high, a, b);
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

/* ---- integers: bytes in fours. Products of two steps are added in 16 bits (see q_sums_limited)
 * before they are widened: without an instruction for it, widening is what costs. ---- */

/* Eight sums, four columns, two steps of a row and two on their way fill 16 registers. */
enum { QMR = 4 };

/* Quantizes n <= QMR (4) rows of x [n, k] (row stride ldx), in groups with a scale each, into a
 * panel (quantized.h) of signed bytes in steps of four; missing rows are zero. k is whole groups of
 * a multiple of 32 values. Sums of |q| are limited as q_sums_limited says. A NaN or infinity makes
 * its group's scale a NaN or infinite. */
static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_x86(x, ldx, n, k, group, QMR, true, out);
}

/* Packs one group of n <= QNR (16) columns, bytes q [n, group] (row stride ldq) with a scale and a
 * bias each, into a panel (quantized.h) of unsigned bytes in steps of four; missing columns are
 * zero. group is a multiple of 32. */
static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_x86(q, ldq, n, group, scales, biases, QNR, out);
}

/* Products of two steps, added, in each of eight columns, and their sum with those before. Written
 * out, since compilers copy sums about and put some of them into memory. */
#define TWO_STEPS                                                                                  \
    "vpmaddubsw %[a0], %[b0], %[first]\n\t"                                                        \
    "vpmaddubsw %[a1], %[b1], %[second]\n\t"                                                       \
    "vpaddw %[second], %[first], %[first]\n\t"                                                     \
    "vpmaddwd %[ones], %[first], %[first]"

static const int16_t ones[16]
    __attribute__((aligned(32))) = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* In each of eight 32-bit lanes, one column each: the sum of the four products of bytes b0
 * (unsigned) and a0 (signed, of one row), and of the four of b1 and a1. Four products must fit 16
 * bits (q_sums_limited). */
static inline __m256i two_steps(__m256i b0, __m256i b1, __m256i a0, __m256i a1)
{
    __m256i first, second;
    __asm__(TWO_STEPS
            : [first] "=&x"(first), [second] "=&x"(second)
            : [a0] "x"(a0), [a1] "x"(a1), [b0] "x"(b0), [b1] "x"(b1), [ones] "m"(ones));
    return first;
}

/* In each of eight columns: sum + two_steps(b0, b1, a0, a1). */
static inline __m256i two_more_steps(__m256i sum, __m256i b0, __m256i b1, __m256i a0, __m256i a1)
{
    __m256i first, second;
    __asm__(TWO_STEPS "\n\tvpaddd %[first], %[sum], %[sum]"
            : [sum] "+x"(sum), [first] "=&x"(first), [second] "=&x"(second)
            : [a0] "x"(a0), [a1] "x"(a1), [b0] "x"(b0), [b1] "x"(b1), [ones] "m"(ones));
    return sum;
}

/* Adds the products of two steps of four values, a [2, QMR, 4] and b [2, 16, 4], to a tile's sums
 * [QMR]: low of columns 0 to 7, high of 8 to 15. begin: overwrites the sums instead. */
static inline __attribute__((always_inline)) void
add_steps(__m256i *low, __m256i *high, const char *a, const char *b, bool begin)
{
    __m256i b00 = load_columns(b), b01 = load_columns(b + 32);
    __m256i b10 = load_columns(b + 64), b11 = load_columns(b + 96);
    UNROLL
    for (int i = 0; i < QMR; i++) {
        __m256i a0 = load_step(a + i * 4), a1 = load_step(a + (QMR + i) * 4);
        low[i] = begin ? two_steps(b00, b10, a0, a1) : two_more_steps(low[i], b00, b10, a0, a1);
        high[i] = begin ? two_steps(b01, b11, a0, a1) : two_more_steps(high[i], b01, b11, a0, a1);
    }
}

/* c [QMR, QNR] = [4, 16] (row stride ldc) = the product of quantized panels a and b (quantized.h)
 * of `groups` (> 0) groups of `group` values (a multiple of 32); accumulate: added to c. Rows of a
 * must be limited (q_sums_limited), or results are wrong. */
static void qtile(size_t groups, size_t group, const void *a_panel, const void *b_panel, float *c,
                  size_t ldc, bool accumulate)
{
    enum { A = QMR * 8, B = QNR * 8 }; /* bytes of two steps */
    const char *a = a_panel, *b = b_panel;
    begin_tile(c, ldc, QMR, accumulate);
    for (size_t g = 0; g < groups; g++) {
        __m256i low[QMR], high[QMR];
        add_steps(low, high, a, b, true);
        UNROLL
        for (int i = 1; i < 4; i++) add_steps(low, high, a + i * A, b + i * B, false);
        a += 4 * A;
        b += 4 * B;
        for (size_t s = 32; s < group; s += 32, a += 4 * A, b += 4 * B) UNROLL
        for (int i = 0; i < 4; i++) add_steps(low, high, a + i * A, b + i * B, false);
        add_sums(low, high, QMR, a, b, c, ldc);
        a += QMR * 3 * sizeof(float);
        b += QNR * 2 * sizeof(float);
    }
}

/* ---- peak ---- */

/* Runs `rounds` rounds of independent f32 multiply-adds in registers, for a benchmark that takes
 * the time; returns how many multiply-adds (of single numbers) these are. */
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

/* Runs `rounds` rounds of a tile's integer multiply-adds without its loads, for a benchmark that
 * takes the time; returns how many multiply-adds (of single numbers) these are. The empty asm keeps
 * the compiler from working them out once. */
static size_t peak_integer(size_t rounds)
{
    enum { SUMS = 8 };
    __m256i sums[SUMS], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
    UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = x;
    for (size_t r = 0; r < rounds; r++) UNROLL
    for (int i = 0; i < SUMS; i++) {
        __asm__ volatile("" : "+x"(x));
        sums[i] = two_more_steps(sums[i], x, x, y, y);
    }
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "x"(sums[i]));
    return rounds * SUMS * 8 * 8;
}

/* Overwrites the name, the sizes and all slots of ref but `scale`; q_zero stays 0: panels of b hold
 * q itself. */
void zi_kernels_avx2(zi_kernels *kernels)
{
    kernels->tier = "avx2";
    kernels->mr = MR;
    kernels->nr = NR;
    kernels->pack_a = pack_a;
    kernels->pack_rows = pack_rows_x86;
    kernels->pack_columns = pack_columns_x86;
    kernels->tile = tile;
    kernels->dot_rows = dot_rows_x86;
    kernels->dot_groups = dot_groups_x86;
    kernels->qmr = QMR;
    kernels->qnr = QNR;
    kernels->q_sums_limited = true;
    kernels->q_step = 4;
    kernels->q_width = 1;
    kernels->quantize = quantize_panel;
    kernels->pack_group = pack_group;
    kernels->qtile = qtile;
    kernels->peak_f32 = peak_f32;
    kernels->peak_integer = peak_integer;
    overlay_vectors_x86(kernels);
}
