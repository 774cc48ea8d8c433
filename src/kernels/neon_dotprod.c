/* Dot products of signed bytes: arm64 machines since 2018 (Armv8.2, all of Apple's). Four products
 * a step and column, added exactly.
 *
 * Panels of b hold q - 128, which is signed; a group's sum is then short of 128 times the sum of
 * q_a. */
#include "kernels/neon.h"

enum { ZERO = 128 };

/* Quantizes n <= QMR (6) rows of x [n, k] (row stride ldx), in groups with a scale each, into a
 * panel (quantized.h) of signed bytes, |q| at most 127, in steps of four; missing rows are zero. k
 * is whole groups of a multiple of 8 values. A NaN or infinity makes its group's scale a NaN or
 * infinite. */
static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_rows(x, ldx, n, k, group, QMR, 4, 1, quantize_numbers_neon, out);
}

/* Packs 16 values of each of the four columns from `first` on, less 128, to [4 steps, 4 columns, 4
 * values] in a panel whose steps lie QNR * 4 bytes apart; columns from n on are -128, which stands
 * for q = 0. q: these values in column 0. */
static inline void pack_block(const uint8_t *q, size_t ldq, size_t n, size_t first, int8_t *out)
{
    uint32x4x4_t columns;
    uint8x16_t zero = vdupq_n_u8(ZERO);
    for (size_t i = 0; i < 4; i++) {
        uint8x16_t numbers = first + i < n ? vld1q_u8(q + (first + i) * ldq) : vdupq_n_u8(0);
        columns.val[i] = vreinterpretq_u32_u8(veorq_u8(numbers, zero)); /* q - 128 */
    }
    uint32_t steps[16];
    vst4q_u32(steps, columns); /* the first words of all columns, the second ones, ... */
    for (size_t s = 0; s < 4; s++) memcpy(out + s * QNR * 4, steps + 4 * s, 16);
}

/* Packs one group of n <= QNR (16) columns, bytes q [n, group] (row stride ldq) with a scale and a
 * bias each, into a panel (quantized.h) of signed bytes q - 128 in steps of four; missing columns
 * have q, scale and bias 0. group is a multiple of 16. */
static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    int8_t *numbers = out;
    for (size_t p = 0; p < group; p += 16)
        for (size_t j = 0; j < QNR; j += 4) pack_block(q + p, ldq, n, j, numbers + p * QNR + j * 4);
    place_scales(scales, biases, n, QNR, (float *)(void *)(numbers + group * QNR));
}

/* Adds the products of one step, four signed bytes of each row (a: 24 bytes) and of each column (b:
 * 64 bytes), to the tile's sums. */
static inline void add_products(const int8_t *a, const int8_t *b, int32x4_t sum[QMR][QNR / 4])
{
    int8x16_t columns[QNR / 4], rows = vld1q_s8(a);
    int8x8_t more = vld1_s8(a + 16);
    UNROLL
    for (int j = 0; j < QNR / 4; j++) columns[j] = vld1q_s8(b + 16 * j);
#define ADD_ROW(i, lane_of, values, lane)                                                          \
    UNROLL                                                                                         \
    for (int j = 0; j < QNR / 4; j++) sum[i][j] = lane_of(sum[i][j], columns[j], values, lane)
    ADD_ROW(0, vdotq_laneq_s32, rows, 0);
    ADD_ROW(1, vdotq_laneq_s32, rows, 1);
    ADD_ROW(2, vdotq_laneq_s32, rows, 2);
    ADD_ROW(3, vdotq_laneq_s32, rows, 3);
    ADD_ROW(4, vdotq_lane_s32, more, 0);
    ADD_ROW(5, vdotq_lane_s32, more, 1);
}

/* c [QMR, QNR] = [6, 16] (row stride ldc) = the product of quantized panels a and b (quantized.h)
 * of `groups` (> 0) groups of `group` values (a multiple of 4); accumulate: added to c. Sums of a
 * group are exact integers; as b holds q - 128, they begin at 128 times the sum of q_a in a. */
static void qtile(size_t groups, size_t group, const void *panel_a, const void *panel_b, float *c,
                  size_t ldc, bool accumulate)
{
    const char *a = panel_a, *b = panel_b;
    for (size_t g = 0; g < groups; g++) {
        trailers t = trailers_at(a + group * QMR, b + group * QNR);
        int32x4_t sum[QMR][QNR / 4];
        UNROLL
        for (int i = 0; i < QMR * QNR / 4; i++)
            sum[i / 4][i % 4] = vdupq_n_s32(ZERO * t.whole_a[i / 4]);
        for (size_t p = 0; p < group; p += 4)
            add_products((const int8_t *)a + p * QMR, (const int8_t *)b + p * QNR, sum);
        UNROLL
        for (size_t i = 0; i < QMR * QNR / 4; i++)
            add_group(c, ldc, !accumulate && g == 0, sum[i / 4][i % 4], &t, i / 4, i % 4 * 4);
        a += QMR * (group + 3 * sizeof(float));
        b += QNR * (group + 2 * sizeof(float));
    }
}

/* Runs `rounds` rounds of a tile's integer multiply-adds without its loads, for a benchmark that
 * takes the time; returns how many multiply-adds (of single numbers) these are. */
static size_t peak_integer(size_t rounds)
{
    enum { SUMS = 24 };
    int32x4_t sums[SUMS];
    int8x16_t x = vdupq_n_s8(3);
    UNROLL
    for (int i = 0; i < SUMS; i++) sums[i] = vdupq_n_s32(0);
    for (size_t r = 0; r < rounds; r++) {
        UNROLL
        for (int i = 0; i < SUMS; i++) {
            __asm__ volatile("" : "+w"(x));
            sums[i] = vdotq_s32(sums[i], x, x);
        }
    }
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "w"(sums[i]));
    return rounds * SUMS * 16;
}

/* Overwrites the name, quantize, pack_group, qtile, peak_integer, q_step, q_width and q_zero of
 * neon; tiles keep their size. */
void zi_kernels_neon_dotprod(zi_kernels *kernels)
{
    kernels->tier = "neon-dotprod";
    kernels->q_step = 4;
    kernels->q_width = 1;
    kernels->q_zero = ZERO;
    kernels->quantize = quantize_panel;
    kernels->pack_group = pack_group;
    kernels->qtile = qtile;
    kernels->peak_integer = peak_integer;
}
