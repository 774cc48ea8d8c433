/* AVX-512 F, BW, DQ, VL: server machines since 2017, desktop ones since Zen 4. */
#include "kernels/x86_512.h"
#include "kernels/x86_dot.h"

/* 24 sums, two columns and a row's value of 32 registers. */
enum { MR = 12, NR = 32 };

/* Packs n <= MR (12) rows of x [n, k] (row stride ldx) into the panel out [k, MR]; missing rows are
 * zero. */
static void pack_a(const float *x, size_t ldx, size_t n, size_t k, float *out)
{
    pack_a_x86(x, ldx, n, k, MR, out);
}

/* sum + a b in each lane. Written out, since compilers copy sums about and put some of them into
 * memory. */
static inline __m512 multiply_add(__m512 sum, __m512 a, __m512 b)
{
    __asm__("vfmadd231ps %[b], %[a], %[sum]" : [sum] "+v"(sum) : [a] "v"(a), [b] "v"(b));
    return sum;
}

/* Adds the products of MR values a and NR values b, one step of depth, to the sums of a tile: low
 * [MR] of columns 0 to 15, high [MR] of columns 16 to 31. */
static inline __attribute__((always_inline)) void add_outer_product(__m512 *low, __m512 *high,
                                                                    const float *a, const float *b)
{
    __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
    UNROLL
    for (int i = 0; i < MR; i++) {
        __m512 value = _mm512_set1_ps(a[i]);
        low[i] = multiply_add(low[i], value, b0);
        high[i] = multiply_add(high[i], value, b1);
    }
}

/* c [MR, NR] = [12, 32] (row stride ldc) = the product a^T b of panels a [k, MR] and b [k, NR], all
 * of it; accumulate: added to c instead. */
static void tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool accumulate)
{
    __m512 low[MR], high[MR];
    prefetch_tile(c, ldc, MR, NR);
    UNROLL
    for (int i = 0; i < MR; i++) low[i] = high[i] = _mm512_setzero_ps();
    size_t p = 0;
    for (; p + 4 <= k; p += 4, a += 4 * MR, b += 4 * NR) UNROLL
    for (int i = 0; i < 4; i++) add_outer_product(low, high, a + i * MR, b + i * NR);
    for (; p < k; p++, a += MR, b += NR) add_outer_product(low, high, a, b);
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

/* ---- integers: bytes in fours. Products of two steps are added in 16 bits (see q_sums_limited)
 * before they are widened. ---- */

/* Twenty sums, four columns, two steps of a row, two on their way and the ones: 29 registers. */
enum { QMR = 10 };

/* Quantizes n <= QMR (10) rows of x [n, k] (row stride ldx), in groups with a scale each, into a
 * panel (quantized.h) of signed bytes in steps of four; missing rows are zero. k is whole groups of
 * a multiple of 32 values. Sums of |q| are limited as q_sums_limited says. A NaN or infinity makes
 * its group's scale a NaN or infinite. */
static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_x86(x, ldx, n, k, group, QMR, true, out);
}

/* Packs one group of n <= QNR (32) columns, bytes q [n, group] (row stride ldq) with a scale and a
 * bias each, into a panel (quantized.h) of unsigned bytes in steps of four; missing columns are
 * zero. group is a multiple of 32. */
static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    pack_group_x86(q, ldq, n, group, scales, biases, QNR, out);
}

/* In each of sixteen 32-bit lanes, one column each: sum + the four products of bytes b0 (unsigned)
 * and a0 (signed, of one row) + the four of b1 and a1. Four products must fit 16 bits
 * (q_sums_limited). */
static inline __m512i two_steps(__m512i sum, __m512i b0, __m512i b1, __m512i a0, __m512i a1)
{
    __m512i pairs = _mm512_add_epi16(_mm512_maddubs_epi16(b0, a0), _mm512_maddubs_epi16(b1, a1));
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
    /* Adds at once: otherwise products wait in registers, and sums leave them. */
    __asm__("" : "+v"(sum));
    return sum;
}

/* c [QMR, QNR] = [10, 32] (row stride ldc) = the product of quantized panels a and b (quantized.h)
 * of `groups` (> 0) groups of `group` values (a multiple of 8); accumulate: added to c. Rows of a
 * must be limited (q_sums_limited), or results are wrong. */
static void qtile(size_t groups, size_t group, const void *a_panel, const void *b_panel, float *c,
                  size_t ldc, bool accumulate)
{
    const char *a = a_panel, *b = b_panel;
    begin_tile(c, ldc, QMR, accumulate);
    for (size_t g = 0; g < groups; g++) {
        __m512i low[QMR], high[QMR];
        UNROLL
        for (int i = 0; i < QMR; i++) low[i] = high[i] = _mm512_setzero_si512();
        for (size_t s = 0; s < group; s += 8, a += QMR * 8, b += QNR * 8) {
            __m512i b00 = _mm512_loadu_si512(b), b01 = _mm512_loadu_si512(b + 64);
            __m512i b10 = _mm512_loadu_si512(b + 128), b11 = _mm512_loadu_si512(b + 192);
            UNROLL
            for (int i = 0; i < QMR; i++) {
                __m512i a0 = load_step(a + i * 4), a1 = load_step(a + (QMR + i) * 4);
                low[i] = two_steps(low[i], b00, b10, a0, a1);
                high[i] = two_steps(high[i], b01, b11, a0, a1);
            }
        }
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

/* Runs `rounds` rounds of a tile's integer multiply-adds without its loads, for a benchmark that
 * takes the time; returns how many multiply-adds (of single numbers) these are. The empty asm keeps
 * the compiler from working them out once. */
static size_t peak_integer(size_t rounds)
{
    enum { SUMS = 16 };
    __m512i sums[SUMS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
    UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = x;
    for (size_t r = 0; r < rounds; r++) UNROLL
    for (int i = 0; i < SUMS; i++) {
        __asm__ volatile("" : "+v"(x));
        sums[i] = two_steps(sums[i], x, x, y, y);
    }
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "v"(sums[i]));
    return rounds * SUMS * 16 * 8;
}

/* Overwrites the name, the sizes and all slots of avx2 but `scale`; the vector slots by the same
 * code, compiled for AVX-512. */
void zi_kernels_avx512(zi_kernels *kernels)
{
    kernels->tier = "avx512";
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
