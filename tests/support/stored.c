#include "stored.h"

#include "base/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

enum { MAX_KINDS = 128 };

static zi_stored_kind kinds[MAX_KINDS];
static size_t kind_count;

static void add(const char *name, zi_stored_kind kind)
{
    if (kind_count == MAX_KINDS) exit(1);
    snprintf(kind.name, sizeof kind.name, "%s", name);
    kinds[kind_count++] = kind;
}

static void add_plain(void)
{
    static const zi_dtype scaled[] = {ZI_F8_E4M3, ZI_F8_E5M2, ZI_I8};
    static const char *const with[] = {"", ", a factor", ", factors of rows"};
    char name[48];
    for (zi_dtype type = ZI_F32; type <= ZI_BF16; type++)
        add(zi_dtype_name(type), (zi_stored_kind){.type = type});
    for (size_t i = 0; i < 3; i++)
        for (zi_stored_factors factors = ZI_NO_FACTOR; factors <= ZI_FACTORS_OF_ROWS; factors++) {
            snprintf(name, sizeof name, "%s%s", zi_dtype_name(scaled[i]), with[factors]);
            add(name, (zi_stored_kind){.type = scaled[i], .factors = factors});
        }
    for (size_t rotation = 4; rotation <= 1024; rotation *= 4) {
        bool one = rotation == 16;
        snprintf(name, sizeof name, "I8 rotated by %zu", rotation);
        add(name, (zi_stored_kind){.type = ZI_I8,
                                   .factors = one ? ZI_ONE_FACTOR : ZI_FACTORS_OF_ROWS,
                                   .rotation = rotation});
    }
    for (zi_dtype type = ZI_Q4_0; type <= ZI_IQ4_XS; type++)
        add(zi_dtype_name(type), (zi_stored_kind){.type = type});
}

/* MLX's, in words of 32 bits. */
static void add_integer_groups(void)
{
    static const int bits[] = {2, 3, 4, 5, 6, 8};
    static const zi_dtype scales[] = {ZI_F32, ZI_F16, ZI_BF16};
    char name[48];
    for (size_t b = 0; b < 6; b++)
        for (size_t group = 32; group <= 128; group *= 2)
            for (size_t s = 0; s < 3; s++) {
                snprintf(name, sizeof name, "%d bits in %zu, %s", bits[b], group,
                         zi_dtype_name(scales[s]));
                add(name, (zi_stored_kind){.type = ZI_U32,
                                           .codes = ZI_CODES_INTEGER,
                                           .bits = bits[b],
                                           .group = group,
                                           .scale_type = scales[s],
                                           .biases = true,
                                           .extra = group != 32u << b % 3 || s != b / 2});
            }
}

static void add_float_groups(void)
{
    add("MLX mxfp4", (zi_stored_kind){.type = ZI_U32,
                                      .codes = ZI_CODES_E2M1,
                                      .bits = 4,
                                      .group = 32,
                                      .scale_type = ZI_F8_E8M0});
    add("MLX mxfp8", (zi_stored_kind){.type = ZI_U32,
                                      .codes = ZI_CODES_E4M3,
                                      .bits = 8,
                                      .group = 32,
                                      .scale_type = ZI_F8_E8M0});
    add("MLX nvfp4", (zi_stored_kind){.type = ZI_U32,
                                      .codes = ZI_CODES_E2M1,
                                      .bits = 4,
                                      .group = 16,
                                      .scale_type = ZI_F8_E4M3});
    add("NVFP4", (zi_stored_kind){.type = ZI_U8,
                                  .codes = ZI_CODES_E2M1_HIGH,
                                  .bits = 4,
                                  .group = 16,
                                  .scale_type = ZI_F8_E4M3,
                                  .swizzled = true,
                                  .factors = ZI_ONE_FACTOR});
    add("MXFP8", (zi_stored_kind){.type = ZI_F8_E4M3,
                                  .codes = ZI_CODES_E4M3,
                                  .bits = 8,
                                  .group = 32,
                                  .scale_type = ZI_F8_E8M0,
                                  .swizzled = true});
}

const zi_stored_kind *zi_stored_kinds(size_t *count)
{
    if (!kind_count) {
        add_plain();
        add_integer_groups();
        add_float_groups();
    }
    *count = kind_count;
    return kinds;
}

const zi_stored_kind *zi_stored_kind_find(const char *name)
{
    size_t count;
    const zi_stored_kind *list = zi_stored_kinds(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    printf("no kind of weights is called %s\n", name);
    exit(1);
}

size_t zi_stored_unit(const zi_stored_kind *kind)
{
    if (kind->swizzled) return 1;
    if (kind->group) return kind->group;
    return kind->rotation ? kind->rotation : zi_dtype_block(kind->type);
}

/* ---- random content ---- */

/* Halves: at least one in eight is subnormal, as small weights are. */
static void fill_halves(zi_rig *rig, zi_dtype type, unsigned char *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = zi_rig_uniform(rig);
        if (zi_rig_below(rig, 8) == 0) value *= 0x1p-14f;
        zi_narrow(type, &value, to + 2 * i, 1);
    }
}

/* Bytes of codes without NaN and infinity. Every other matrix has no large ones, beside which small
 * ones do not count. */
static void fill_codes(zi_rig *rig, zi_dtype type, unsigned char *to, size_t n)
{
    bool small = zi_rig_below(rig, 2);
    unsigned limit = type == ZI_F8_E5M2 ? 0x7c : 0x7f;
    for (size_t i = 0; i < n; i++) {
        unsigned code = (unsigned)zi_rig_below(rig, 128) % limit;
        if (small) code &= 0x3f;
        to[i] = (unsigned char)(code | zi_rig_below(rig, 2) << 7);
    }
}

static void fill_bytes(zi_rig *rig, unsigned char *to, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t bits = zi_rig_bits(rig);
        memcpy(to + i, &bits, n - i < 8 ? n - i : 8);
    }
}

/* Random blocks; the halves in them, which are scales and minimums, are made small numbers. */
static void fill_blocks(zi_rig *rig, zi_dtype type, unsigned char *to, size_t bytes)
{
    static const int halves[][2] = {
        [ZI_Q4_0] = {0, 0}, [ZI_Q4_1] = {0, 2},     [ZI_Q5_0] = {0, 0},     [ZI_Q5_1] = {0, 2},
        [ZI_Q8_0] = {0, 0}, [ZI_Q2_K] = {80, 82},   [ZI_Q3_K] = {108, 108}, [ZI_Q4_K] = {0, 2},
        [ZI_Q5_K] = {0, 2}, [ZI_Q6_K] = {208, 208}, [ZI_IQ4_NL] = {0, 0},   [ZI_IQ4_XS] = {0, 0},
    };
    fill_bytes(rig, to, bytes);
    for (size_t i = 0; i < bytes; i += zi_dtype_size(type))
        for (int h = 0; h < 2; h++) {
            float scale = zi_rig_uniform(rig) * (zi_rig_below(rig, 8) ? 0.1f : 0x1p-14f);
            zi_narrow(ZI_F16, &scale, to + i + halves[type][h], 1);
        }
}

static void fill_values(zi_rig *rig, const zi_stored_kind *kind, unsigned char *to, size_t bytes)
{
    if (kind->type == ZI_F32)
        for (size_t i = 0; i < bytes; i += 4) {
            float value = zi_rig_uniform(rig);
            memcpy(to + i, &value, sizeof value);
        }
    else if (kind->type == ZI_F16 || kind->type == ZI_BF16)
        fill_halves(rig, kind->type, to, bytes / 2);
    else if (kind->type == ZI_F8_E5M2 || (kind->bits == 0 && kind->type == ZI_F8_E4M3) ||
             kind->codes == ZI_CODES_E4M3)
        fill_codes(rig, kind->type == ZI_F8_E5M2 ? ZI_F8_E5M2 : ZI_F8_E4M3, to, bytes);
    else if (kind->bits == 0 && zi_block_group(kind->type))
        fill_blocks(rig, kind->type, to, bytes);
    else
        fill_bytes(rig, to, bytes);
}

/* Scales of about 1/16, of any sign where it is a format with signs; biases of any sign. */
static void fill_scales(zi_rig *rig, zi_dtype type, bool biases, unsigned char *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = zi_rig_uniform(rig) * 0x1p-5f;
        if (!biases) value += 0x1p-4f;
        if (!biases && zi_rig_below(rig, 16) == 0) value = -value;
        if (type == ZI_F8_E8M0)
            to[i] = (unsigned char)(120 + zi_rig_below(rig, 5));
        else
            zi_narrow(type, &value, to + i * zi_dtype_size(type), 1);
    }
}

/* ---- a matrix ---- */

/* Imports a copy of `data`, which the case owns, at an odd address, and sets *host to that copy. */
static zi_view import(zi_rig *rig, zi_dtype type, const void *data, size_t bytes, size_t rows,
                      size_t columns, const void **host)
{
    zi_view view = zi_rig_import_copy(rig, type, data, bytes, rows, columns);
    *host = rig->imports[rig->import_count - 1].data;
    return view;
}

static void add_groups(zi_rig *rig, zi_stored *s, size_t padded, size_t first_row)
{
    const zi_stored_kind *kind = s->kind;
    size_t rows = s->weight.data.rows, groups = padded / kind->group;
    size_t stored = kind->swizzled ? zi_swizzled_rows(first_row + rows) * zi_swizzled_groups(groups)
                                   : rows * groups;
    size_t bytes = stored * zi_dtype_size(kind->scale_type);
    unsigned char *values = zi_rig_alloc(rig, bytes, 1);
    s->weight.bits = s->matrix.bits = kind->bits;
    s->weight.codes = s->matrix.codes = kind->codes;
    s->weight.group = s->matrix.group = kind->group;
    s->weight.padded_columns = s->matrix.padded_columns = padded;
    s->weight.swizzled = s->matrix.swizzled = kind->swizzled;
    s->weight.first_row = s->matrix.first_row = first_row;
    s->matrix.scale_type = kind->scale_type;
    fill_scales(rig, kind->scale_type, false, values, stored);
    s->weight.scales =
        import(rig, kind->scale_type, values, bytes, rows, groups, &s->matrix.scales);
    if (!kind->biases) return;
    fill_scales(rig, kind->scale_type, true, values, stored);
    s->weight.biases =
        import(rig, kind->scale_type, values, bytes, rows, groups, &s->matrix.biases);
}

static void add_factors(zi_rig *rig, zi_stored *s)
{
    size_t n = s->kind->factors == ZI_ONE_FACTOR ? 1 : s->weight.data.rows;
    float *factors = zi_rig_values(rig, n);
    for (size_t i = 0; i < n; i++) factors[i] = factors[i] * 0.1f + 0.2f;
    s->weight.factors = zi_rig_vector(rig, factors, n)->data;
    s->matrix.row_scale = factors;
    s->matrix.row_scales = n;
}

const zi_stored *zi_stored_make(zi_rig *rig, const zi_stored_kind *kind, size_t rows,
                                size_t columns, size_t first_row)
{
    zi_stored *s = zi_rig_alloc(rig, 1, sizeof *s);
    size_t padded = kind->group ? (columns + kind->group - 1) / kind->group * kind->group : columns;
    size_t bytes = kind->bits ? rows * padded * (size_t)kind->bits / 8
                              : zi_dtype_bytes(kind->type, rows * columns);
    unsigned char *values = zi_rig_alloc(rig, bytes, 1);
    fill_values(rig, kind, values, bytes);
    *s = (zi_stored){.kind = kind, .weight = {.name = kind->name, .rotation = kind->rotation}};
    s->matrix = (zi_matrix){
        .type = kind->type, .rows = rows, .columns = columns, .rotation = kind->rotation};
    s->weight.data = import(rig, kind->type, values, bytes, rows, columns, &s->matrix.data);
    if (kind->group) add_groups(rig, s, padded, kind->swizzled ? first_row : 0);
    if (kind->factors) add_factors(rig, s);
    return s;
}
