/* Products of small matrices of bytes, unsigned by signed: arm64 machines since 2021 (Armv8.6).
 * Eight products a step, for two columns and two rows at once, added exactly. */
#include "kernels/neon.h"

enum { ROW_PAIRS = QMR / 2, COLUMN_PAIRS = QNR / 2 };

/* Quantizes n <= QMR (6) rows of x [n, k] (row stride ldx), in groups with a scale each, into a
 * panel (quantized.h) of signed bytes, |q| at most 127, in steps of eight; missing rows are zero. k
 * is whole groups of a multiple of 8 values. A NaN or infinity makes its group's scale a NaN or
 * infinite. */
static void quantize_panel(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out)
{
    quantize_rows(x, ldx, n, k, group, QMR, 8, 1, quantize_numbers_neon, out);
}

/* 16 bytes of column j, zeros if j >= n. q: these bytes in column 0; columns lie ldq bytes
 * apart. */
static inline uint64x2_t load_column(const uint8_t *q, size_t ldq, size_t n, size_t j)
{
    return j < n ? vreinterpretq_u64_u8(vld1q_u8(q + j * ldq)) : vdupq_n_u64(0);
}

/* Packs one group of n <= QNR (16) columns, bytes q [n, group] (row stride ldq) with a scale and a
 * bias each, into a panel (quantized.h) of unsigned bytes in steps of eight; missing columns are
 * zero. group is a multiple of 16. */
static void pack_group(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out)
{
    uint8_t *numbers = out;
    for (size_t p = 0; p < group; p += 16)
        for (size_t j = 0; j < QNR; j += 2) {
            uint64x2_t even = load_column(q + p, ldq, n, j),
                       odd = load_column(q + p, ldq, n, j + 1);
            uint8_t *at = numbers + p * QNR + j * 8;
            vst1q_u8(at, vreinterpretq_u8_u64(vtrn1q_u64(even, odd)));
            vst1q_u8(at + QNR * 8, vreinterpretq_u8_u64(vtrn2q_u64(even, odd)));
        }
    place_scales(scales, biases, n, QNR, (float *)(void *)(numbers + group * QNR));
}

/* Adds the products of one step, a [6 rows, 8] (signed) and b [16 columns, 8] (unsigned), to the
 * tile's sums: sum[i][j] holds those of row pair i and column pair j in lanes [2 columns, 2
 * rows]. */
static inline void add_products(const int8_t *a, const uint8_t *b,
                                int32x4_t sum[ROW_PAIRS][COLUMN_PAIRS])
{
    int8x16_t rows[ROW_PAIRS];
    UNROLL
    for (int i = 0; i < ROW_PAIRS; i++) rows[i] = vld1q_s8(a + 16 * i);
    UNROLL
    for (int j = 0; j < COLUMN_PAIRS; j++) {
        /* No load moves up over this: with many columns loaded, sums would leave the registers. */
        __asm__ volatile("" : : : "memory");
        uint8x16_t columns = vld1q_u8(b + 16 * j);
        UNROLL
        for (int i = 0; i < ROW_PAIRS; i++) sum[i][j] = vusmmlaq_s32(sum[i][j], columns, rows[i]);
    }
}

/* Adds a group's sums, scaled, to rows i and i + 1 of c, all QNR columns; c is the start of the
 * tile. sum: lanes [2 columns, 2 rows] of each pair of columns. fresh: overwrites c instead. */
static inline void add_rows(float *c, size_t ldc, bool fresh, const int32x4_t sum[COLUMN_PAIRS],
                            const trailers *t, size_t i)
{
    UNROLL
    for (size_t j = 0; j < COLUMN_PAIRS; j += 2) {
        int32x4_t even = vuzp1q_s32(sum[j], sum[j + 1]), odd = vuzp2q_s32(sum[j], sum[j + 1]);
        add_group(c, ldc, fresh, even, t, i, 2 * j);
        add_group(c, ldc, fresh, odd, t, i + 1, 2 * j);
    }
}

/* c [QMR, QNR] = [6, 16] (row stride ldc) = the product of quantized panels a and b (quantized.h)
 * of `groups` (> 0) groups of `group` values (a multiple of 8); accumulate: added to c. Sums of a
 * group are exact integers. */
static void qtile(size_t groups, size_t group, const void *panel_a, const void *panel_b, float *c,
                  size_t ldc, bool accumulate)
{
    const char *a = panel_a, *b = panel_b;
    for (size_t g = 0; g < groups; g++) {
        int32x4_t sum[ROW_PAIRS][COLUMN_PAIRS];
        UNROLL
        for (int i = 0; i < QMR * QNR / 4; i++)
            sum[i / COLUMN_PAIRS][i % COLUMN_PAIRS] = vdupq_n_s32(0);
        for (size_t p = 0; p < group; p += 8)
            add_products((const int8_t *)a + p * QMR, (const uint8_t *)b + p * QNR, sum);
        trailers t = trailers_at(a + group * QMR, b + group * QNR);
        UNROLL
        for (size_t i = 0; i < ROW_PAIRS; i++)
            add_rows(c, ldc, !accumulate && g == 0, sum[i], &t, 2 * i);
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
            sums[i] = vusmmlaq_s32(sums[i], vreinterpretq_u8_s8(x), x);
        }
    }
    UNROLL
    for (int i = 0; i < SUMS; i++) __asm__ volatile("" : : "w"(sums[i]));
    return rounds * SUMS * 32;
}

/* Overwrites the name, quantize, pack_group, qtile, peak_integer, q_step, q_width and q_zero of
 * neon_dotprod; tiles keep their size. */
void zi_kernels_neon_i8mm(zi_kernels *kernels)
{
    kernels->tier = "neon-i8mm";
    kernels->q_step = 8;
    kernels->q_width = 1;
    kernels->q_zero = 0;
    kernels->quantize = quantize_panel;
    kernels->pack_group = pack_group;
    kernels->qtile = qtile;
    kernels->peak_integer = peak_integer;
}
