/* The table of CPU kernels. ref.c fills every slot in portable C; a tier for some instruction set
 * overwrites the slots that it improves. Block sizes belong to the kernels that want them. */
#ifndef ZI_KERNELS_H
#define ZI_KERNELS_H

#include "base/dtype.h"
#include "base/error.h"

/* No tier's tile is larger than ZI_MAX_MR x ZI_MAX_NR. */
enum { ZI_MAX_MR = 16, ZI_MAX_NR = 32 };

/* Largest group: values of a quantized row that share a scale. Groups have 32 or 64 values. */
enum { ZI_MAX_GROUP = 64 };

typedef struct {
    const char *tier;

    /* ---- f32 product: c [mr, nr] (+)= a^T b, of panels a [K, mr] and b [K, nr] ---- */

    size_t mr, nr; /* rows and columns of the register tile */

    /* Packs n <= mr rows of x [n, K] (row stride ldx) into the panel out [K, mr], missing rows
     * zero. */
    void (*pack_a)(const float *x, size_t ldx, size_t n, size_t k, float *out);

    /* Packs n <= nr rows of w [n, K] (row stride ldw elements, of a computing type) into the panel
     * out [K, nr], f32, missing columns zero. */
    void (*pack_rows)(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k, size_t nr,
                      float *out);

    /* Packs n <= nr columns of w [K, n] (row stride ldw, f32) into the panel out [K, nr]. */
    void (*pack_columns)(const float *w, size_t ldw, size_t n, size_t k, size_t nr, float *out);

    /* The register tile, all of it; c has row stride ldc. accumulate: add to c instead of
     * overwriting it. */
    void (*tile)(size_t k, const float *a, const float *b, float *c, size_t ldc, bool accumulate);

    /* y[j] = the product of row j of w [n, k] (row stride ldw bytes, of a type that zi_kernels_dot
     * knows; k is whole blocks) and x [k]. The result depends on w's values only, not on how they
     * are stored. Reads w once, in memory order. */
    void (*dot_rows)(zi_dtype type, const void *w, size_t ldw, size_t n, const float *x, size_t k,
                     float *y);

    /* The product of x [k] and one row of values q * scale + bias, rounded after each operation: q
     * of 8 bits, or of 4 bits, two to a byte (low one first), in groups of 32, 64 or 128; scales
     * and biases [k / group]. */
    float (*dot_groups)(int bits, const void *w, size_t group, const float *scales,
                        const float *biases, const float *x, size_t k);

    /* ---- integer product over quantized groups: c [qmr, qnr] (+)= a^T b ----
     *
     * Each group of K numbers of a row of a is q * scale with q from -127 to 127, of a column
     * of b q * scale + bias with q from 0 to 255, so that a group adds
     *     scale_a * scale_b * (sum of q_a q_b)  +  (scale_a * sum of q_a) * bias_b
     * to c: the sum of products exact in integers, then two fused multiply-adds in f32, so that
     * every tier of the same q_sums_limited gives the same bits. A panel holds one group after the
     * other, each laid out as the tier wants it (see quantized.h). */

    size_t qmr, qnr;
    /* The quantize slot limits sums of |q|, so that the tile can add four products q_a q_b in 16
     * bits without overflow (vpmaddubsw): |q| of values 8i, 8i + 1, 8i + 4 and 8i + 5 of a row add
     * up to at most 128 (128 * 255 < 2^15), and so do those of 8i + 2, 8i + 3, 8i + 6 and 8i + 7.
     */
    bool q_sums_limited;
    size_t q_step, q_width; /* adjacent values of a row in a panel; bytes per value */
    int q_zero;             /* panels of b store q - q_zero: 0, or 128 for signed bytes */

    /* Quantizes n <= qmr rows of x [n, K] (row stride ldx) into a panel; missing rows are zero. A
     * NaN or infinity in x makes the group's scale a NaN or infinite, so that products are not
     * finite either. */
    void (*quantize)(const float *x, size_t ldx, size_t n, size_t k, size_t group, void *out);

    /* Packs one group of n <= qnr columns: q [n, group] bytes (row stride ldq), scales and biases
     * [n]; missing columns are zero. */
    void (*pack_group)(const uint8_t *q, size_t ldq, size_t n, size_t group, const float *scales,
                       const float *biases, void *out);

    /* The tile c, all of it (row stride ldc), from `groups` (> 0) groups of panels a and b.
     * accumulate: add to c instead of overwriting it. */
    void (*qtile)(size_t groups, size_t group, const void *a, const void *b, float *c, size_t ldc,
                  bool accumulate);

    /* ---- vectors ---- */

    /* out[i] = x[i] * factor * weight[i] * (1 + scale[i]); weight and scale may be NULL (ones and
     * zeros). out may be x. */
    void (*scale_row)(const float *x, float factor, const float *weight, const float *scale,
                      float *out, size_t n);
    float (*sum_squares)(const float *x, size_t n);
    /* x[i] = silu(x[i]) * y[i]; y may be NULL (ones). */
    void (*silu_mul)(float *x, const float *y, size_t n);
    /* x[i] = exp((x[i] - max_value) * factor); returns the sum. */
    float (*exp_sum)(float *x, float max_value, float factor, size_t n);
    float (*max)(const float *x, size_t n); /* n > 0; any result if there is a NaN */
    void (*scale)(float *x, float factor, size_t n);

    /* ---- peak throughput, for `zimage bench`: loops within registers ---- */

    /* Both return the number of multiply-adds executed. */
    size_t (*peak_f32)(size_t rounds);
    size_t (*peak_integer)(size_t rounds); /* by the instructions of qtile */
} zi_kernels;

/* Bytes of one group in a panel of a: qmr rows, values and what follows them (quantized.h). */
static inline size_t zi_qa_bytes(const zi_kernels *kernels, size_t group)
{
    return kernels->qmr * (group * kernels->q_width + 3 * sizeof(float));
}

/* Bytes of one group in a panel of b: qnr columns, values and what follows them (quantized.h). */
static inline size_t zi_qb_bytes(const zi_kernels *kernels, size_t group)
{
    return kernels->qnr * (group * kernels->q_width + 2 * sizeof(float));
}

/* Whether dot_rows supports a type: F32, F16, BF16 and all block types but Q2_K and Q3_K; false for
 * all others, such as I8. */
static inline bool zi_kernels_dot(zi_dtype type)
{
    bool rare = type == ZI_Q2_K || type == ZI_Q3_K;
    return zi_dtype_computes(type) || (type >= ZI_Q4_0 && type <= ZI_IQ4_XS && !rare);
}

/* Sets the whole table, with its name and sizes, to the portable kernels, which run on every
 * machine. */
void zi_kernels_ref(zi_kernels *kernels);

/* Overwrite the name, the sizes and the slots that they improve in a table that is filled already:
 * avx2 and neon that of ref, avxvnni and avx512 that of avx2, avx512vnni that of avx512,
 * neon_dotprod that of neon, neon_i8mm that of neon_dotprod. They do not check the machine, which
 * must have the instructions when the kernels run. */
void zi_kernels_avx2(zi_kernels *kernels);
void zi_kernels_avxvnni(zi_kernels *kernels);
void zi_kernels_avx512(zi_kernels *kernels);
void zi_kernels_avx512vnni(zi_kernels *kernels);
void zi_kernels_neon(zi_kernels *kernels);
void zi_kernels_neon_dotprod(zi_kernels *kernels);
void zi_kernels_neon_i8mm(zi_kernels *kernels);

/* Returns the name, a constant, of this build's tier number `index`, from 0 and worst first, and
 * sets *usable to whether this machine has what it needs. Past the last one: NULL, *usable
 * untouched. */
const char *zi_kernels_tier(size_t index, bool *usable);

/* Sets *kernels to the table of the tier with exactly this name, or to the best one for this
 * machine if name is NULL. False, with *error set and *kernels unchanged: an unknown name, or a
 * tier that this machine lacks; the error lists the usable ones. */
bool zi_kernels_select(const char *name, zi_kernels *kernels, zi_error *error) ZI_CHECKED;

#endif
