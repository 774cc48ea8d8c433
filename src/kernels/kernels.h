/* The table of CPU kernels. ref.c fills every slot in portable C; a tier for some instruction set
 * overwrites the slots that it improves. Block sizes belong to the kernels that want them. */
#ifndef ZI_KERNELS_H
#define ZI_KERNELS_H

#include "base/dtype.h"
#include "base/error.h"

/* No tier's tile is larger than this; the packed panel of a tile is [K, nr]. */
enum { ZI_MAX_NR = 32 };

typedef struct {
    const char *tier;

    /* ---- matrix product: c [rows, nr] (+)= a [rows, K] b [K, nr] ---- */

    size_t mr, nr; /* rows and columns of the register tile */

    /* Packs n <= nr rows of w [n, K] (row stride ldw elements, of a computing type) into the panel
     * out [K, nr], f32, missing columns zero. */
    void (*pack_rows)(zi_dtype type, const void *w, size_t ldw, size_t n, size_t k, size_t nr,
                      float *out);

    /* Packs n <= nr columns of w [K, n] (row stride ldw, f32) into the panel out [K, nr]. */
    void (*pack_columns)(const float *w, size_t ldw, size_t n, size_t k, size_t nr, float *out);

    /* The register tile: rows <= mr, all nr columns of c are written. a has row stride lda, c ldc.
     * accumulate: add to c instead of overwriting it. */
    void (*tile)(size_t rows, size_t k, const float *a, size_t lda, const float *panel, float *c,
                 size_t ldc, bool accumulate);

    /* ---- vectors ---- */

    /* out[i] = x[i] * factor * weight[i] * (1 + scale[i]); weight and scale may be NULL (ones and
     * zeros). out may be x. */
    void (*scale_row)(const float *x, float factor, const float *weight, const float *scale,
                      float *out, size_t n);
    float (*sum_squares)(const float *x, size_t n);
    /* x[i] = silu(x[i]) * y[i]; y may be NULL (ones). */
    void (*silu_mul)(float *x, const float *y, size_t n);
    /* x[i] = exp(x[i] - most); returns the sum. */
    float (*exp_sum)(float *x, float most, size_t n);
    float (*max)(const float *x, size_t n); /* n > 0 */
    void (*scale)(float *x, float factor, size_t n);
} zi_kernels;

/* Fills every slot. */
void zi_kernels_ref(zi_kernels *kernels);

/* Overwrite what they improve. Only for machines that have the instructions. */
void zi_kernels_avx2(zi_kernels *kernels);
void zi_kernels_avx512(zi_kernels *kernels);

/* The names of the tiers that this machine can run, worst first; NULL ends the list. */
const char *const *zi_kernels_usable(void);

/* The best table for this machine, or that of a tier by name. An unknown name, or a tier that this
 * machine lacks, is an error that lists the usable ones. */
bool zi_kernels_select(const char *tier, zi_kernels *kernels, zi_error *error) ZI_CHECKED;

#endif
