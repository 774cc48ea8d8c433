#include "kernel_checks.h"
#include "fixture.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* Kinds of input values. */
typedef enum {
    PLAIN,             /* -1 to 1 */
    ZERO,              /* zeros of both signs */
    LARGE,             /* as large as the check allows */
    TINY,              /* denormals */
    ALTERNATING,       /* signs, so that sums cancel */
    MIXED,             /* exponents from -30 to 30 */
    FINITE,            /* number of kinds with finite values */
    INFINITE = FINITE, /* plain with up to 8 infinities of one sign */
    UNDEFINED,         /* plain with up to 8 NaNs */
    FILLS,
} fill_kind;

/* Parameters of one call to check. */
struct trial {
    const kernel_check *check;
    const zi_kernels *kernels;
    size_t k, n;      /* depth or length; rows or columns that exist */
    size_t pad;       /* row stride minus row length, in elements */
    unsigned variant; /* the remaining arguments of a kernel, as bits */
    fill_kind fill;
    zi_guard_side place;
};

static const double unit = 0x1p-24; /* unit roundoff of f32 */
static uint64_t state;
static char complaint[160];
static bool steady; /* choose inputs that repeated in-place calls leave in range, for timing */
static float kept[ZI_GUARDED_MAX_BYTES / sizeof(float)]; /* input values before the call */

static uint32_t random_bits(void)
{
    state ^= state >> 12; /* xorshift* */
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1du >> 32);
}

static float uniform(void)
{
    return (float)(random_bits() >> 8) * 0x1p-23f - 1.0f;
}

/* Stores a description of the failure and returns false. */
static bool fail_trial(const char *format, ...) ZI_PRINTF(1, 2);
static bool fail_trial(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(complaint, sizeof complaint, format, args);
    va_end(args);
    return false;
}

/* ---- the clock ---- */

static struct {
    bool on;
    size_t calls;
    double begin, seconds;
} timer;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Repeats the call of a check for 0.2 s when timing, else not: do call(); while (repeat_timing());
 */
static bool repeat_timing(void)
{
    if (!timer.on) return false;
    if (timer.calls == 0) timer.begin = now();
    if (timer.calls++ % 32 != 0) return true;
    timer.seconds = now() - timer.begin;
    return timer.seconds < 0.2;
}

/* ---- buffers ---- */

static float random_value(fill_kind kind, size_t i, float largest)
{
    switch (kind) {
    case ZERO:
        return i % 3 ? 0.0f : -0.0f;
    case LARGE:
        return uniform() < 0 ? -largest : largest * fabsf(uniform());
    case TINY:
        return (float)(int32_t)(random_bits() >> 9) * (i % 2 ? 0x1p-149f : -0x1p-149f);
    case ALTERNATING:
        return (i % 2 ? -1.0f : 1.0f) + uniform() * 0x1p-20f;
    case MIXED:
        return ldexpf(uniform(), (int)(random_bits() % 61) - 30);
    default:
        return uniform();
    }
}

static void fill(float *x, size_t n, fill_kind kind, float largest)
{
    for (size_t i = 0; i < n; i++) x[i] = random_value(kind, i, largest);
    if (n == 0) return;
    if (kind < FINITE) return;
    float odd = kind == UNDEFINED ? NAN : uniform() < 0 ? -INFINITY : INFINITY;
    for (size_t i = random_bits() % 8; i < 8; i++) x[random_bits() % n] = odd;
}

static fill_kind finite_kind(void)
{
    return (fill_kind)(random_bits() % FINITE);
}

/* Buffer `index` of n floats, which the kernel may change. */
static float *floats(const trial *t, int index, size_t n)
{
    return zi_guarded_buffer(index, n * sizeof(float), 0, t->place);
}

/* A vector that the kernel may only read. */
static const float *vector(const trial *t, int index, size_t n, fill_kind kind)
{
    float *x = floats(t, index, n);
    fill(x, n, kind, t->check->largest);
    zi_guarded_make_read_only(index);
    return x;
}

static size_t strided(size_t rows, size_t columns, size_t stride)
{
    return rows ? (rows - 1) * stride + columns : 0;
}

/* A read-only matrix with garbage between its rows. */
static const float *matrix(const trial *t, int index, size_t rows, size_t columns, size_t stride)
{
    float *x = floats(t, index, strided(rows, columns, stride));
    for (size_t i = 0; i < rows; i++) fill(x + i * stride, columns, t->fill, t->check->largest);
    zi_guarded_make_read_only(index);
    return x;
}

static bool intact(int index)
{
    return zi_guarded_surroundings_intact(index) || fail_trial("wrote beside its buffer");
}

static bool gaps_intact(const float *x, size_t rows, size_t columns, size_t stride)
{
    for (size_t i = 0; i + 1 < rows; i++)
        for (size_t j = columns; j < stride; j++) {
            uint32_t bits;
            memcpy(&bits, x + i * stride + j, sizeof bits);
            if (bits != UINT32_MAX) return fail_trial("wrote between its rows");
        }
    return true;
}

/* ---- comparing ---- */

/* The same bits, or both NaN. */
static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool close_to(float got, double wanted, double bound)
{
    if (isnan(wanted)) return isnan(got);
    if (isinf(wanted)) return got == wanted;
    return fabs(got - wanted) <= bound;
}

/* ---- packing ---- */

/* Checks that the panel out [k, width] is the transpose of meaning [n, k] (row stride `stride`),
 * with zeros in the columns from n on. */
static bool check_panel(const float *out, const float *meaning, size_t stride, const trial *t,
                        size_t width)
{
    for (size_t p = 0; p < t->k; p++)
        for (size_t j = 0; j < width; j++) {
            float wanted = j < t->n ? meaning[j * stride + p] : 0, got = out[p * width + j];
            if (!same(got, wanted))
                return fail_trial("[%zu, %zu] is %g, not %g", p, j, (double)got, (double)wanted);
        }
    return true;
}

static bool pack_a(const trial *t)
{
    size_t mr = t->kernels->mr, ldx = t->k + t->pad;
    const float *x = matrix(t, 0, t->n, t->k, ldx);
    float *out = floats(t, 1, t->k * mr);
    do t->kernels->pack_a(x, ldx, t->n, t->k, out);
    while (repeat_timing());
    return check_panel(out, x, ldx, t, mr) && intact(1);
}

/* Random bits of a 16-bit float, no NaN (conversion may change the payload of a NaN). */
static uint16_t random_half(zi_dtype type, fill_kind kind, size_t i)
{
    if (kind == ZERO) return i % 2 ? 0x8000 : 0;
    if (kind == TINY) return (uint16_t)(random_bits() & (type == ZI_F16 ? 0x83ff : 0x807f));
    uint16_t infinity = type == ZI_F16 ? 0x7c00 : 0x7f80;
    uint16_t bits = (uint16_t)random_bits();
    return (bits & 0x7fff) > infinity ? bits & (0x80ff | infinity >> 1) : bits;
}

static bool pack_rows(const trial *t)
{
    static const zi_dtype types[] = {ZI_F32, ZI_F16, ZI_BF16};
    zi_dtype type = types[t->variant / 2];
    size_t nr = t->kernels->nr, ldw = t->k + t->pad, width = zi_dtype_size(type);
    size_t count = strided(t->n, t->k, ldw);
    char *w = zi_guarded_buffer(0, count * width, 1 - t->variant % 2,
                                t->place); /* odd and even addresses */
    for (size_t i = 0; i < count; i++) {
        float value = random_value(t->fill, i, t->check->largest);
        uint16_t half = random_half(type, t->fill, i);
        memcpy(w + i * width, type == ZI_F32 ? (void *)&value : (void *)&half, width);
    }
    zi_widen(type, w, kept, count);
    zi_guarded_make_read_only(0);
    float *out = floats(t, 1, t->k * nr);
    do t->kernels->pack_rows(type, w, ldw, t->n, t->k, nr, out);
    while (repeat_timing());
    return check_panel(out, kept, ldw, t, nr) && intact(1);
}

static bool pack_columns(const trial *t)
{
    size_t nr = t->kernels->nr, ldw = t->n + t->pad;
    const float *w = matrix(t, 0, t->k, t->n, ldw);
    float *out = floats(t, 1, t->k * nr);
    do t->kernels->pack_columns(w, ldw, t->n, t->k, nr, out);
    while (repeat_timing());
    for (size_t p = 0; p < t->k; p++)
        for (size_t j = 0; j < t->n; j++) kept[j * t->k + p] = w[p * ldw + j];
    return check_panel(out, kept, t->k, t, nr) && intact(1);
}

/* ---- the f32 tile ---- */

/* An output c [rows, columns]; add: filled with values, which are copied to `kept`; else garbage.
 */
static float *target(const trial *t, int index, size_t rows, size_t columns, size_t ldc, bool add)
{
    float *c = floats(t, index, strided(rows, columns, ldc));
    memset(kept, 0, rows * columns * sizeof *kept);
    for (size_t i = 0; add && i < rows; i++) {
        fill(c + i * ldc, columns, finite_kind(), t->check->largest);
        memcpy(kept + i * columns, c + i * ldc, columns * sizeof *c);
    }
    return c;
}

static bool tile(const trial *t)
{
    size_t mr = t->kernels->mr, nr = t->kernels->nr, ldc = nr + t->pad;
    bool accumulate = t->variant;
    const float *a = vector(t, 0, t->k * mr, t->fill), *b = vector(t, 1, t->k * nr, finite_kind());
    float *c = target(t, 2, mr, nr, ldc, accumulate);
    do t->kernels->tile(t->k, a, b, c, ldc, accumulate);
    while (repeat_timing());
    for (size_t i = 0; i < mr; i++)
        for (size_t j = 0; j < nr; j++) {
            double sum = kept[i * nr + j], magnitudes = fabs(sum);
            for (size_t p = 0; p < t->k; p++) {
                double product = (double)a[p * mr + i] * b[p * nr + j];
                sum += product;
                magnitudes += fabs(product);
            }
            double roundings = (double)t->k + 2;
            if (!close_to(c[i * ldc + j], sum, roundings * (unit * magnitudes + 0x1p-149)))
                return fail_trial("c[%zu, %zu] is %.9g, not %.9g", i, j, (double)c[i * ldc + j],
                                  sum);
        }
    return gaps_intact(c, mr, nr, ldc) && intact(2);
}

/* ---- integers ---- */

/* Where number i of row r lies in a group of a panel of `rows`. */
static size_t value_offset(const zi_kernels *kernels, size_t rows, size_t r, size_t i)
{
    size_t step = kernels->q_step;
    return ((i / step * rows + r) * step + i % step) * kernels->q_width;
}

static int read_value(const zi_kernels *kernels, const void *group, size_t at)
{
    int8_t byte;
    int16_t two;
    memcpy(&byte, (const char *)group + at, 1);
    if (kernels->q_width == 1) return byte;
    memcpy(&two, (const char *)group + at, 2);
    return two;
}

static void write_value(const zi_kernels *kernels, void *group, size_t at, int value)
{
    int16_t two = (int16_t)value;
    int8_t byte = (int8_t)value;
    memcpy((char *)group + at, kernels->q_width == 1 ? (void *)&byte : (void *)&two,
           kernels->q_width);
}

int panel_value_a(const zi_kernels *kernels, const void *group, size_t r, size_t i)
{
    return read_value(kernels, group, value_offset(kernels, kernels->qmr, r, i));
}

int panel_value_b(const zi_kernels *kernels, const void *group, size_t r, size_t i)
{
    int value = read_value(kernels, group, value_offset(kernels, kernels->qnr, r, i));
    if (kernels->q_zero) return value + kernels->q_zero;
    return kernels->q_width == 1 ? (uint8_t)value : value;
}

/* Address of a scale or sum after the quantized values of a group: element r of row `which`. */
static void *trailer(const zi_kernels *kernels, void *group, size_t rows, size_t size, size_t which,
                     size_t r)
{
    return (char *)group + rows * size * kernels->q_width + (which * rows + r) * 4;
}

/* Checks one row of a quantized group against its definition in kernels.h. */
static bool check_row(const trial *t, void *group, size_t size, size_t r, const float *x)
{
    const zi_kernels *k = t->kernels;
    float max_value, top, inverse, scale, sums;
    int32_t sum = 0, whole;
    bool defined = true;
    for (size_t i = 0; i < size; i++) defined &= isfinite(x[i]);
    memcpy(&scale, trailer(k, group, k->qmr, size, 0, r), 4);
    memcpy(&sums, trailer(k, group, k->qmr, size, 1, r), 4);
    memcpy(&whole, trailer(k, group, k->qmr, size, 2, r), 4);
    if (!defined) return !isfinite(scale) || fail_trial("row %zu hides what is not finite", r);
    max_value = zi_test_quantization_max(k, x, size, &top);
    inverse = max_value >= 0x1p-120f ? top / max_value : 0;
    for (size_t i = 0; i < size; i++) {
        int wanted = (int)lrintf(x[i] * inverse), got = panel_value_a(k, group, r, i);
        sum += wanted;
        if (got != wanted)
            return fail_trial("row %zu: number %zu is %d, not %d", r, i, got, wanted);
    }
    if (!same(scale, max_value / top)) return fail_trial("row %zu: scale %.9g", r, (double)scale);
    if (!same(sums, scale * (float)sum)) return fail_trial("row %zu: scaled sum", r);
    return whole == sum || fail_trial("row %zu: sum %d, not %d", r, whole, sum);
}

/* Numbers that lie between two quantized ones, at a scale of 1. With bounded fours all but the
 * largest are small. */
static void make_ties(float *x, size_t n, bool fours)
{
    unsigned max_value = fours ? 31 : 127;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(random_bits() % (2 * max_value - 1)) - (float)max_value + 0.5f;
    for (size_t i = 0; i < n; i += 32) {
        x[i] = fours ? 126 : 127;
        if (fours) x[i + 1] = x[i + 4] = x[i + 5] = 0;
    }
}

static bool quantize(const trial *t)
{
    const zi_kernels *k = t->kernels;
    static const float zeros[ZI_MAX_GROUP];
    size_t size = 32u << t->variant, depth = t->k * size, ldx = depth + t->pad;
    float *x = floats(t, 0, strided(t->n, depth, ldx));
    for (size_t r = 0; r < t->n; r++) {
        fill(x + r * ldx, depth, t->fill, t->check->largest);
        if (t->fill == ALTERNATING) make_ties(x + r * ldx, depth, k->q_sums_limited);
    }
    zi_guarded_make_read_only(0);
    char *out = zi_guarded_buffer(1, t->k * zi_qa_bytes(k, size), 0, t->place);
    do k->quantize(x, ldx, t->n, depth, size, out);
    while (repeat_timing());
    for (size_t g = 0; g < t->k; g++)
        for (size_t r = 0; r < k->qmr; r++)
            if (!check_row(t, out + g * zi_qa_bytes(k, size), size, r,
                           r < t->n ? x + r * ldx + g * size : zeros))
                return false;
    return intact(1);
}

/* The largest number that may fill whole rows. */
static int max_row_value(const zi_kernels *kernels)
{
    return kernels->q_sums_limited ? 32 : 127;
}

/* From 0 to 255, of a column, or from -max_value to max_value, of a row. LARGE, ALTERNATING and
 * MIXED are what makes sums of 16 bits overflow. */
static int random_quantized_value(fill_kind kind, size_t i, bool column, int max_value)
{
    switch (kind) {
    case ZERO:
        return 0;
    case LARGE:
        return column ? 255 : max_value;
    case TINY:
        return (int)(random_bits() % 2);
    case ALTERNATING:
        return column ? (int)(i % 2) * 255 : i % 2 ? max_value : -max_value;
    case MIXED:
        return column ? 255 : -max_value;
    default:
        return column ? (int)(random_bits() % 256)
                      : (int)(random_bits() % (2 * (unsigned)max_value + 1)) - max_value;
    }
}

static bool pack_group(const trial *t)
{
    const zi_kernels *k = t->kernels;
    size_t size = t->k, ldq = size + t->pad, count = strided(t->n, size, ldq);
    uint8_t *q = zi_guarded_buffer(0, count, 1 - t->variant, t->place);
    for (size_t i = 0; i < count; i++) q[i] = (uint8_t)random_quantized_value(t->fill, i, true, 0);
    zi_guarded_make_read_only(0);
    const float *scales = vector(t, 1, t->n, t->fill), *biases = vector(t, 2, t->n, finite_kind());
    char *out = zi_guarded_buffer(3, zi_qb_bytes(k, size), 0, t->place);
    do k->pack_group(q, ldq, t->n, size, scales, biases, out);
    while (repeat_timing());
    for (size_t j = 0; j < k->qnr; j++) {
        bool there = j < t->n;
        for (size_t i = 0; i < size; i++) {
            int wanted = there ? q[j * ldq + i] : 0, got = panel_value_b(k, out, j, i);
            if (got != wanted) return fail_trial("q[%zu, %zu] is %d, not %d", j, i, got, wanted);
        }
        float scale, bias;
        memcpy(&scale, trailer(k, out, k->qnr, size, 0, j), 4);
        memcpy(&bias, trailer(k, out, k->qnr, size, 1, j), 4);
        if (!same(scale, there ? scales[j] : 0) || !same(bias, there ? biases[j] : 0))
            return fail_trial("column %zu: scale %g, bias %g", j, (double)scale, (double)bias);
    }
    return intact(3);
}

/* Panels of groups with random values. */
static char *random_row_panel(const trial *t, int index, size_t size)
{
    const zi_kernels *k = t->kernels;
    size_t bytes = zi_qa_bytes(k, size);
    char *panel = zi_guarded_buffer(index, t->k * bytes, 0, t->place);
    for (char *group = panel; group < panel + t->k * bytes; group += bytes)
        for (size_t r = 0; r < k->qmr; r++) {
            float scale = random_value(t->fill, r, t->check->largest), sums;
            int32_t sum = 0;
            for (size_t i = 0; i < size; i++) {
                int value = random_quantized_value(t->fill, i, false, max_row_value(k));
                write_value(k, group, value_offset(k, k->qmr, r, i), value);
                sum += value;
            }
            sums = scale * (float)sum;
            memcpy(trailer(k, group, k->qmr, size, 0, r), &scale, 4);
            memcpy(trailer(k, group, k->qmr, size, 1, r), &sums, 4);
            memcpy(trailer(k, group, k->qmr, size, 2, r), &sum, 4);
        }
    zi_guarded_make_read_only(index);
    return panel;
}

static char *random_column_panel(const trial *t, int index, size_t size)
{
    const zi_kernels *k = t->kernels;
    size_t bytes = zi_qb_bytes(k, size);
    char *panel = zi_guarded_buffer(index, t->k * bytes, 0, t->place);
    fill_kind kind = finite_kind();
    for (char *group = panel; group < panel + t->k * bytes; group += bytes) {
        for (size_t j = 0; j < k->qnr; j++)
            for (size_t i = 0; i < size; i++)
                write_value(k, group, value_offset(k, k->qnr, j, i),
                            random_quantized_value(t->fill, i, true, 0) - k->q_zero);
        fill(trailer(k, group, k->qnr, size, 0, 0), k->qnr, t->fill, t->check->largest);
        fill(trailer(k, group, k->qnr, size, 1, 0), k->qnr, kind, t->check->largest);
    }
    zi_guarded_make_read_only(index);
    return panel;
}

/* c, a group later, as the header defines it. */
static float add_group(const zi_kernels *k, char *a, char *b, size_t size, size_t i, size_t j,
                       float c)
{
    float scale_a, sum_a, scale_b, bias;
    int64_t sum = 0;
    for (size_t p = 0; p < size; p++) sum += panel_value_a(k, a, i, p) * panel_value_b(k, b, j, p);
    memcpy(&scale_a, trailer(k, a, k->qmr, size, 0, i), 4);
    memcpy(&sum_a, trailer(k, a, k->qmr, size, 1, i), 4);
    memcpy(&scale_b, trailer(k, b, k->qnr, size, 0, j), 4);
    memcpy(&bias, trailer(k, b, k->qnr, size, 1, j), 4);
    return fmaf(sum_a, bias, fmaf((float)sum, scale_a * scale_b, c));
}

static bool qtile(const trial *t)
{
    const zi_kernels *k = t->kernels;
    size_t size = t->variant & 1 ? 64 : 32, ldc = k->qnr + t->pad;
    bool accumulate = t->variant & 2;
    char *a = random_row_panel(t, 0, size), *b = random_column_panel(t, 1, size);
    float *c = target(t, 2, k->qmr, k->qnr, ldc, accumulate);
    do k->qtile(t->k, size, a, b, c, ldc, accumulate);
    while (repeat_timing());
    for (size_t i = 0; i < k->qmr; i++)
        for (size_t j = 0; j < k->qnr; j++) {
            float wanted = kept[i * k->qnr + j], got = c[i * ldc + j];
            for (size_t g = 0; g < t->k; g++)
                wanted = add_group(k, a + g * zi_qa_bytes(k, size), b + g * zi_qb_bytes(k, size),
                                   size, i, j, wanted);
            if (!same(got, wanted))
                return fail_trial("c[%zu, %zu] is %.9g, not %.9g", i, j, (double)got,
                                  (double)wanted);
        }
    return gaps_intact(c, k->qmr, k->qnr, ldc) && intact(2);
}

/* ---- rows ---- */

enum { DOT_TYPES = 13 };

/* Converts row j of stored values to f32. */
static void widen_row(zi_dtype type, const char *w, size_t ldw, size_t j, size_t k, float *out)
{
    zi_widen(type, w + j * ldw, out, k);
}

/* Random bytes for blocks of a type, with finite F16 values as scale and minimum. */
static void fill_blocks(zi_dtype type, char *blocks, size_t k)
{
    size_t size = zi_dtype_size(type), at = type == ZI_Q6_K ? 208 : 0;
    bool minima = type == ZI_Q4_1 || type == ZI_Q5_1 || type == ZI_Q4_K || type == ZI_Q5_K;
    for (char *block = blocks; block < blocks + zi_dtype_bytes(type, k); block += size) {
        float halves[2] = {uniform(), uniform()};
        for (size_t i = 0; i < size; i++) block[i] = (char)random_bits();
        zi_narrow(ZI_F16, halves, block + at, minima ? 2 : 1);
    }
}

static bool dot_rows(const trial *t)
{
    static const zi_dtype types[DOT_TYPES] = {ZI_F32,  ZI_BF16,   ZI_Q4_0,  ZI_Q4_1, ZI_Q5_0,
                                              ZI_Q5_1, ZI_Q4_K,   ZI_Q5_K,  ZI_Q6_K, ZI_Q8_0,
                                              ZI_F16,  ZI_IQ4_NL, ZI_IQ4_XS};
    static float row[8192];
    zi_dtype type = types[t->variant];
    size_t block = zi_dtype_block(type), k = t->k / block * block;
    size_t bytes = zi_dtype_bytes(type, k), ldw = bytes + t->pad;
    size_t size = t->n ? (t->n - 1) * ldw + bytes : 0;
    char *w = zi_guarded_buffer(0, size, 1, t->place);
    for (size_t j = 0; j < t->n; j++) {
        fill(row, k, type == ZI_F16 && t->fill == LARGE ? PLAIN : t->fill, 0x1p40f);
        if (type == ZI_Q8_0 && (t->fill == LARGE || t->fill >= FINITE)) fill(row, k, PLAIN, 1);
        if (block > 1 && type != ZI_Q8_0)
            fill_blocks(type, w + j * ldw, k);
        else
            zi_narrow(type, row, w + j * ldw, k);
    }
    zi_guarded_make_read_only(0);
    const float *x = vector(t, 1, k, finite_kind());
    float *y = floats(t, 2, t->n);
    do t->kernels->dot_rows(type, w, ldw, t->n, x, k, y);
    while (repeat_timing());
    for (size_t j = 0; j < t->n; j++) {
        double sum = 0, magnitudes = 0;
        widen_row(type, w, ldw, j, k, row);
        for (size_t i = 0; i < k; i++) {
            sum += (double)row[i] * x[i];
            magnitudes += fabs((double)row[i] * x[i]);
        }
        double bound = ((double)k + 2) * (unit * magnitudes + 0x1p-149) + 0x1p-140 * (double)k;
        if (!close_to(y[j], sum, bound))
            return fail_trial("y[%zu] is %.9g, not %.9g", j, (double)y[j], sum);
        float widened[2]; /* room for a kernel that writes too much: intact() will tell */
        t->kernels->dot_rows(ZI_F32, row, 0, 1, x, k, widened);
        if (!same(y[j], widened[0]))
            return fail_trial("y[%zu] is %.9g, but %.9g of the same values as F32", j, (double)y[j],
                              (double)widened[0]);
    }
    return intact(2);
}

static bool dot_groups(const trial *t)
{
    static float row[8192];
    int bits = t->variant & 1 ? 8 : 4;
    size_t group = (size_t)32 << t->variant / 2, k = t->k / group * group;
    size_t bytes = k * (size_t)bits / 8;
    uint8_t *q = zi_guarded_buffer(0, bytes, 1, t->place);
    for (size_t i = 0; i < bytes; i++) q[i] = (uint8_t)random_bits();
    zi_guarded_make_read_only(0);
    const float *x = vector(t, 1, k, finite_kind());
    float *scales = floats(t, 2, k / group), *biases = floats(t, 3, k / group);
    fill(scales, k / group, t->fill, 0x1p30f);
    fill(biases, k / group, t->fill, 0x1p30f);
    float got;
    do got = t->kernels->dot_groups(bits, q, group, scales, biases, x, k);
    while (repeat_timing());
    for (size_t i = 0; i < k; i++) {
        int number = bits == 8 ? q[i] : q[i / 2] >> i % 2 * 4 & 15;
        row[i] = (float)number * scales[i / group] + biases[i / group];
    }
    double sum = 0, magnitudes = 0;
    for (size_t i = 0; i < k; i++) {
        sum += (double)row[i] * x[i];
        magnitudes += fabs((double)row[i] * x[i]);
    }
    double bound = ((double)k + 2) * (unit * magnitudes + 0x1p-149) + 0x1p-140 * (double)k;
    if (!close_to(got, sum, bound)) return fail_trial("it is %.9g, not %.9g", (double)got, sum);
    float widened[2];
    t->kernels->dot_rows(ZI_F32, row, 0, 1, x, k, widened);
    if (!same(got, widened[0]))
        return fail_trial("it is %.9g, but %.9g of the same values as F32", (double)got,
                          (double)widened[0]);
    return intact(2) && intact(3);
}

/* ---- vectors ---- */

/* A vector of k values that the kernel overwrites; the original values are in `kept`. */
static float *changing(const trial *t, int index)
{
    float *x = floats(t, index, t->k);
    fill(x, t->k, t->fill, t->check->largest);
    memcpy(kept, x, t->k * sizeof *x);
    return x;
}

/* A second, read-only vector of k values; all `constant` when timing. */
static const float *beside(const trial *t, int index, float constant)
{
    float *x = floats(t, index, t->k);
    fill(x, t->k, finite_kind(), t->check->largest);
    for (size_t i = 0; steady && i < t->k; i++) x[i] = constant;
    zi_guarded_make_read_only(index);
    return x;
}

static bool scale_row(const trial *t)
{
    float factor = steady ? 1 : uniform();
    const float *weight = t->variant & 1 ? beside(t, 1, 1) : NULL;
    const float *by = t->variant & 2 ? beside(t, 2, 0) : NULL;
    float *x = changing(t, 0), *out = t->variant & 4 ? x : floats(t, 3, t->k);
    do t->kernels->scale_row(x, factor, weight, by, out, t->k);
    while (repeat_timing());
    for (size_t i = 0; i < t->k; i++) {
        double w = weight ? weight[i] : 1, s = by ? 1.0f + by[i] : 1;
        double wanted = (double)kept[i] * factor * w * s;
        double bound = 4 * unit * fabs(wanted) + 0x1p-148 * (1 + fabs(w)) * (1 + fabs(s));
        if (!close_to(out[i], wanted, bound))
            return fail_trial("[%zu] is %.9g, not %.9g", i, (double)out[i], wanted);
        if (x != out && !same(x[i], kept[i])) return fail_trial("[%zu] of the input changed", i);
    }
    return intact(0) && (x == out || intact(3));
}

static bool sum_squares(const trial *t)
{
    const float *x = vector(t, 0, t->k, t->fill);
    double wanted = 0;
    float got;
    do got = t->kernels->sum_squares(x, t->k);
    while (repeat_timing());
    for (size_t i = 0; i < t->k; i++) wanted += (double)x[i] * x[i];
    return close_to(got, wanted, ((double)t->k + 1) * (unit * wanted + 0x1p-149)) ||
           fail_trial("%.9g, not %.9g", (double)got, wanted);
}

static bool silu_mul(const trial *t)
{
    const float *y = t->variant ? beside(t, 1, 2) : NULL;
    float *x = changing(t, 0);
    for (size_t i = 0; i < t->k; i += 3) x[i] = kept[i] *= 30;
    do t->kernels->silu_mul(x, y, t->k);
    while (repeat_timing());
    for (size_t i = 0; i < t->k; i++) {
        double factor = y ? y[i] : 1, wanted = kept[i] / (1 + exp(-(double)kept[i])) * factor;
        /* silu is smallest where exp(-x) leaves the range of a float */
        if (!close_to(x[i], wanted, 6 * unit * fabs(wanted) + 4e-37 * (1 + fabs(factor))))
            return fail_trial("of %.9g [%zu] is %.9g, not %.9g", (double)kept[i], i, (double)x[i],
                              wanted);
    }
    return intact(0);
}

static bool exp_sum(const trial *t)
{
    float *x = changing(t, 0), max_value = t->k ? -INFINITY : 0, factor = 0.0883883f, got;
    for (size_t i = 0; i < t->k; i++) {
        if (kept[i] == INFINITY || random_bits() % 16 == 0) x[i] = kept[i] = -INFINITY; /* hidden */
        if (i % 3 && t->fill != LARGE) x[i] = kept[i] *= 100;
        if (kept[i] > max_value) max_value = kept[i];
    }
    if (max_value == -INFINITY) max_value = 0;
    do got = t->kernels->exp_sum(x, max_value, factor, t->k);
    while (repeat_timing());
    double sum = 0;
    for (size_t i = 0; i < t->k; i++) {
        double power = (kept[i] - max_value) * factor, wanted = exp(power);
        /* two roundings of the power, and some of the rest; denormal results may be zeros */
        double bound = wanted * unit * (4 + 3 * (wanted > 0 ? fabs(power) : 0)) + 0x1p-126;
        if (!close_to(x[i], wanted, bound) || (kept[i] == -INFINITY && x[i] != 0))
            return fail_trial("of %.9g [%zu] is %.9g, not %.9g", power, i, (double)x[i], wanted);
        sum += x[i];
    }
    return (close_to(got, sum, ((double)t->k + 1) * unit * sum) ||
            fail_trial("sum %.9g, not %.9g", (double)got, sum)) &&
           intact(0);
}

static bool max(const trial *t)
{
    if (t->k == 0 || t->fill == UNDEFINED) return true; /* it promises nothing */
    const float *x = vector(t, 0, t->k, t->fill);
    float wanted = x[0], got;
    do got = t->kernels->max(x, t->k);
    while (repeat_timing());
    for (size_t i = 1; i < t->k; i++) wanted = fmaxf(wanted, x[i]);
    return got == wanted || fail_trial("%.9g, not %.9g", (double)got, (double)wanted);
}

static bool scale(const trial *t)
{
    float *x = changing(t, 0), factor = steady ? -1.0f : uniform();
    do t->kernels->scale(x, factor, t->k);
    while (repeat_timing());
    for (size_t i = 0; i < t->k; i++)
        if (!same(x[i], kept[i] * factor))
            return fail_trial("[%zu] is %.9g, not %.9g", i, (double)x[i],
                              (double)(kept[i] * factor));
    return intact(0);
}

/* ---- peaks ---- */

static bool check_peak(const trial *t, size_t (*peak)(size_t rounds))
{
    size_t got;
    do got = peak(t->k);
    while (repeat_timing());
    return (got == t->k * peak(1) && peak(1) > 0) || fail_trial("%zu multiply-adds", got);
}

static bool peak_f32(const trial *t)
{
    return check_peak(t, t->kernels->peak_f32);
}

static bool peak_integer(const trial *t)
{
    return check_peak(t, t->kernels->peak_integer);
}

/* ---- the table, and its use ---- */

enum { END = 0xffff };
static const size_t depths[] = {0,  1,  2,  3,  4,  5,  7,   8,   9,    11, 15,
                                16, 17, 23, 31, 32, 33, 100, 257, 3840, END};
static const size_t group_counts[] = {1, 2, 3, 5, 60, END}; /* 60 groups of 64 are 3840 */
static const size_t group_sizes[] = {32, 64, END};
static const size_t lengths[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,   9,   13,  15,   16, 17,
                                 23, 31, 32, 33, 47, 63, 64, 65, 100, 255, 257, 3840, END};

#define SLOT(name) #name, offsetof(zi_kernels, name)
#define FIELD(name) offsetof(zi_kernels, name)
const kernel_check kernel_checks[] = {
    {SLOT(pack_a), FIELD(mr), depths, 1, FLT_MAX, pack_a, 1},
    {SLOT(pack_rows), FIELD(nr), depths, 6, FLT_MAX, pack_rows, 1},
    {SLOT(pack_columns), FIELD(nr), depths, 1, FLT_MAX, pack_columns, 1},
    {SLOT(tile), 0, depths, 2, 0x1p57f, tile, 1},
    {SLOT(dot_rows), FIELD(mr), depths, DOT_TYPES, 0x1p40f, dot_rows, 1},
    {SLOT(dot_groups), 0, depths, 6, 0x1p30f, dot_groups, 1},
    {SLOT(quantize), FIELD(qmr), group_counts, 2, FLT_MAX, quantize, 64},
    {SLOT(pack_group), FIELD(qnr), group_sizes, 2, FLT_MAX, pack_group, 1},
    {SLOT(qtile), 0, group_counts, 4, 0x1p40f, qtile, 64},
    {SLOT(scale_row), 0, lengths, 8, 0x1p30f, scale_row, 1},
    {SLOT(sum_squares), 0, lengths, 1, 0x1p57f, sum_squares, 1},
    {SLOT(silu_mul), 0, lengths, 2, 0x1p57f, silu_mul, 1},
    {SLOT(exp_sum), 0, lengths, 1, 0x1p57f, exp_sum, 1},
    {SLOT(max), 0, lengths, 1, FLT_MAX, max, 1},
    {SLOT(scale), 0, lengths, 1, FLT_MAX, scale, 1},
    {SLOT(peak_f32), 0, lengths, 1, 0, peak_f32, 1},
    {SLOT(peak_integer), 0, lengths, 1, 0, peak_integer, 1},
};
const size_t kernel_check_count = sizeof kernel_checks / sizeof *kernel_checks;

static const char *const fill_names[] = {"plain",       "zero",  "large",    "tiny",
                                         "alternating", "mixed", "infinite", "undefined"};

static bool run_trial(void *context)
{
    trial *t = context;
    return t->check->run(t);
}

static bool passes(const trial *t, char why[256])
{
    bool fault;
    if (zi_guarded_run(run_trial, (void *)t, &fault)) return true;
    snprintf(why, 256, "%s of %s: k %zu, n %zu, pad %zu, variant %u, %s values, at the %s: %s",
             t->check->name, t->kernels->tier, t->k, t->n, t->pad, t->variant, fill_names[t->fill],
             t->place == ZI_GUARD_BEFORE ? "start" : "end",
             fault ? "reached beyond its buffers" : complaint);
    return false;
}

/* All variants at both ends of a buffer. */
static bool variants_pass(trial t, char why[256])
{
    static const size_t pads[] = {0, 1, 5};
    for (t.variant = 0; t.variant < t.check->variants; t.variant++)
        for (t.place = ZI_GUARD_BEFORE; t.place <= ZI_GUARD_AFTER; t.place++) {
            t.pad = pads[random_bits() % 3];
            if (!passes(&t, why)) return false;
        }
    return true;
}

static size_t max_rows(const kernel_check *check, const zi_kernels *kernels)
{
    size_t rows = 1;
    if (check->rows) memcpy(&rows, (const char *)kernels + check->rows, sizeof rows);
    return rows;
}

static void start(uint64_t seed)
{
    state = seed * 2 + 1; /* anything but 0 */
    for (int i = 0; i < 8; i++) random_bits();
}

bool kernel_check_run(const kernel_check *check, const zi_kernels *kernels, uint64_t seed,
                      bool quick, char why[256])
{
    trial t = {.check = check, .kernels = kernels};
    size_t rows = max_rows(check, kernels);
    start(seed);
    steady = false;
    for (const size_t *k = check->depths; *k != END; k++)
        for (t.n = check->rows ? 0 : 1; t.n <= rows; t.n++) {
            bool real = *k * check->unit > 1000, all = t.n == rows;
            if (real && (quick || !all)) continue; /* they take long */
            t.k = *k;
            for (t.fill = 0; t.fill < FILLS; t.fill++)
                if ((all || random_bits() % FILLS == 0) && !variants_pass(t, why)) return false;
        }
    return true;
}

double kernel_check_time(const kernel_check *check, const zi_kernels *kernels, size_t k)
{
    trial t = {.check = check, .kernels = kernels, .k = k, .n = max_rows(check, kernels)};
    char why[256];
    t.variant = check->variants - 1;
    steady = true;
    start(1);
    if (!passes(&t, why)) return 0;
    start(1);
    timer.on = true;
    timer.calls = 0;
    passes(&t, why);
    timer.on = false;
    return (double)(check->unit * t.k * t.n * (timer.calls - 1)) / timer.seconds;
}
