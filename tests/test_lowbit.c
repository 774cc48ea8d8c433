/* Files of few bits: values of each format bit for bit as MLX and ComfyUI's library give them, the
 * shapes that other tensors decide, and products of such matrices. */
#include "golden.h"
#include "base/matrix.h"
#include "convert/item_values.h"
#include "io/values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULE "layers.0.feed_forward.w1"
#define ATTENTION "layers.0.attention."

/* ---- made-up checkpoints ---- */

enum { MAX_TENSORS = 12 };

/* A checkpoint that borrows the data of golden tensors. */
typedef struct {
    zi_checkpoint checkpoint;
    zi_source source;
} made;

static void begin(made *m)
{
    *m = (made){0};
    m->checkpoint.files = calloc(1, sizeof *m->checkpoint.files);
    m->checkpoint.files[0].path = strdup("made.safetensors");
    m->checkpoint.file_count = 1;
    m->checkpoint.tensors = calloc(MAX_TENSORS, sizeof *m->checkpoint.tensors);
}

/* Adds a tensor under another name; NULL: nothing. */
static void add_as(made *m, const char *name, const zi_tensor *tensor)
{
    if (!tensor || !CHECK(m->checkpoint.tensor_count < MAX_TENSORS)) return;
    zi_tensor *added = &m->checkpoint.tensors[m->checkpoint.tensor_count++];
    *added = *tensor;
    added->name = strdup(name);
    added->file = 0;
}

/* Adds F32 zeros of one side. */
static void add_vector(made *m, const char *name, size_t n)
{
    static const float zeros[4096];
    zi_tensor tensor = {.type = ZI_F32, .dims = 1, .shape = {n}, .count = n, .bytes = 4 * n};
    tensor.data = zeros;
    add_as(m, name, &tensor);
}

/* Adds a bf16 matrix of zeros. */
static void add_matrix(made *m, const char *name, size_t rows, size_t columns)
{
    static const uint16_t zeros[65536];
    zi_tensor tensor = {.type = ZI_BF16, .dims = 2, .shape = {rows, columns}, .data = zeros};
    tensor.count = rows * columns;
    tensor.bytes = 2 * tensor.count;
    CHECK(tensor.count <= 65536);
    add_as(m, name, &tensor);
}

/* Adds golden tensors OLD.SUFFIX as NEW.SUFFIX, with all suffixes that there are. */
static void add_golden(made *m, const zi_checkpoint *golden, const char *from, const char *to)
{
    static const char *const suffixes[] = {".weight",       ".scales",         ".biases",
                                           ".weight_scale", ".weight_scale_2", ".input_scale",
                                           ".comfy_quant"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char old[128], name[128];
        snprintf(old, sizeof old, "%s%s", from, suffixes[i]);
        snprintf(name, sizeof name, "%s%s", to, suffixes[i]);
        add_as(m, name, zi_checkpoint_find(golden, old));
    }
}

/* Reads the source; group: as the config says. */
static bool read_made(made *m, size_t group)
{
    zi_error error = {0};
    const zi_checkpoint *one = &m->checkpoint;
    return CHECK_OK(zi_source_create(&one, 1, ZI_COMPONENT_TRANSFORMER, group, &m->source, &error),
                    error);
}

static void end(made *m)
{
    zi_source_free(&m->source);
    zi_checkpoint_close(&m->checkpoint);
}

/* ---- values ---- */

/* Checks the values of an entry against a golden matrix: exactly if tolerance is 0, else by the
 * relative L2 error. */
static void check_values(const char *what, const zi_entry *entry, const zi_tensor *wanted,
                         double tolerance)
{
    size_t rows = wanted->shape[0], columns = wanted->shape[1];
    if (!CHECK_MSG(entry->shape[0] == rows && entry->shape[1] == columns,
                   "%s: [%zu, %zu], not [%zu, %zu]", what, entry->shape[0], entry->shape[1], rows,
                   columns))
        return;
    float *values = malloc(wanted->count * sizeof *values);
    zi_entry_read_values(entry, rows, columns, values);
    const float *right = wanted->data;
    double difference = 0, norm = 0;
    for (size_t i = 0; i < wanted->count; i++) {
        difference += pow((double)values[i] - right[i], 2);
        norm += pow(right[i], 2);
        if (tolerance == 0 && !CHECK_MSG(values[i] == right[i], "%s: value %zu is %.9g, not %.9g",
                                         what, i, values[i], right[i]))
            break;
    }
    CHECK_MSG(sqrt(difference / norm) <= tolerance, "%s: relative error %.2g", what,
              sqrt(difference / norm));
    free(values);
}

/* Checks what conversion reads, in segments of rows: MLX's own dequantization. */
static void check_converted(const char *what, const zi_entry *entry, const zi_tensor *wanted)
{
    size_t columns = wanted->shape[1];
    zi_write_item item = {.entries = {entry}, .count = 1, .rows = entry->rows, .columns = columns};
    float scratch[256], row[256];
    for (size_t i = 0; i < wanted->shape[0]; i++) {
        zi_item_read_values(&item, i, 0, columns, scratch, row);
        CHECK_MSG(memcmp(row, (const float *)wanted->data + i * columns, columns * 4) == 0,
                  "%s: converted row %zu differs", what, i);
    }
}

/* All golden matrices of MLX. Nothing but the config's group decides between equal shapes. */
static void mlx_values(void)
{
    zi_checkpoint golden = zi_golden_open("lowbit/mlx_matrices.safetensors");
    zi_checkpoint wanted = zi_golden_open("lowbit/mlx_matrices_dequant.safetensors");
    size_t seen = 0;
    for (size_t i = 0; i < golden.tensor_count; i++) {
        char name[64], *end_of_name;
        int bits = 0;
        size_t group = 0;
        snprintf(name, sizeof name, "%s", golden.tensors[i].name);
        end_of_name = strstr(name, ".weight");
        if (!end_of_name) continue;
        *end_of_name = 0;
        bool affine = sscanf(name, "affine.b%dg%zu", &bits, &group) == 2;
        made m;
        begin(&m);
        add_golden(&m, &golden, name, MODULE);
        if (read_made(&m, group)) {
            const zi_entry *entry = zi_source_find(&m.source, MODULE ".weight");
            check_values(name, entry, zi_golden_tensor(&wanted, "%s.effective", name), 0);
            CHECK_MSG(!affine || (entry->bits == bits && entry->group == group), "%s: %d in %zu",
                      name, entry->bits, entry->group);
            if (affine) check_converted(name, entry, zi_golden_tensor(&wanted, "%s.mlx", name));
            if (!affine)
                check_converted(name, entry, zi_golden_tensor(&wanted, "%s.effective", name));
        }
        end(&m);
        seen++;
    }
    CHECK_MSG(seen == 13, "%zu matrices", seen);
    zi_checkpoint_close(&golden);
    zi_checkpoint_close(&wanted);
}

/* All golden matrices of ComfyUI, padded ones among them: the width comes from the norm before it,
 * the rows from the matrix that reads it. */
static void comfyui_values(void)
{
    zi_checkpoint golden = zi_golden_open("lowbit/comfy_matrices.safetensors");
    zi_checkpoint wanted = zi_golden_open("lowbit/comfy_matrices_dequant.safetensors");
    for (size_t i = 0; i < wanted.tensor_count; i++) {
        const zi_tensor *right = &wanted.tensors[i];
        made m;
        begin(&m);
        add_golden(&m, &golden, right->name, MODULE);
        add_vector(&m, "layers.0.ffn_norm1.weight", right->shape[1]);
        add_matrix(&m, "layers.0.feed_forward.w2.weight", 2, right->shape[0]);
        if (read_made(&m, 0))
            check_values(right->name, zi_source_find(&m.source, MODULE ".weight"), right,
                         strstr(right->name, "rot") ? 2e-6 : 0);
        end(&m);
    }
    CHECK_MSG(wanted.tensor_count == 13, "%zu matrices", wanted.tensor_count);
    zi_checkpoint_close(&golden);
    zi_checkpoint_close(&wanted);
}

/* The exponent 0 is the scale 0 for ComfyUI's library, and 2^-127 for MLX. */
static void smallest_exponent(void)
{
    static const uint8_t codes[512] = {0, 1, 0};
    zi_matrix m = {.rows = 1, .columns = 96, .bits = 8, .group = 32, .codes = ZI_CODES_E4M3};
    float scales[3];
    m.scales = codes;
    m.scale_type = ZI_F8_E8M0;
    zi_matrix_scales(&m, 0, 0, 3, scales, NULL);
    CHECK(scales[0] == 0x1p-127f && scales[1] == 0x1p-126f && scales[2] == 0x1p-127f);
    m.swizzled = true;
    zi_matrix_scales(&m, 0, 0, 3, scales, NULL);
    CHECK(scales[0] == 0 && scales[1] == 0x1p-126f && scales[2] == 0);
}

/* ---- what decides ---- */

/* Shapes that fit two sizes of groups or more: by the width that another tensor implies, by the
 * config where there is none, else as before. */
static void ambiguous_groups(void)
{
    static const struct {
        size_t words, groups, width, config; /* width 0: nothing implies one */
        int bits;
        size_t group;
    } rows[] = {
        {32, 2, 128, 0, 8, 64},   {32, 2, 256, 0, 4, 128}, {16, 2, 128, 0, 4, 64},
        {16, 2, 64, 0, 8, 32},    {16, 2, 256, 0, 2, 128}, {16, 2, 64, 64, 8, 32},
        {16, 2, 256, 32, 2, 128}, {16, 2, 0, 0, 4, 64},    {16, 2, 0, 32, 8, 32},
        {16, 2, 0, 128, 2, 128},  {4, 1, 0, 0, 4, 32},     {4, 1, 64, 0, 2, 64},
        {12, 2, 0, 0, 3, 64},     {12, 2, 64, 0, 6, 32},   {24, 2, 128, 0, 6, 64},
        {24, 2, 256, 0, 3, 128},  {40, 2, 256, 0, 5, 128}, {4, 1, 64, 32, 2, 64},
        {16, 2, 128, 16, 4, 64},  {16, 2, 0, 1024, 4, 64},
    };
    static const uint32_t zeros[4096];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_tensor weight = {.type = ZI_U32, .dims = 2, .shape = {4, rows[i].words}, .data = zeros};
        zi_tensor scales = {.type = ZI_F16, .dims = 2, .shape = {4, rows[i].groups}, .data = zeros};
        weight.count = 4 * rows[i].words;
        weight.bytes = 4 * weight.count;
        scales.count = 4 * rows[i].groups;
        scales.bytes = 2 * scales.count;
        made m;
        begin(&m);
        add_as(&m, MODULE ".weight", &weight);
        add_as(&m, MODULE ".scales", &scales);
        add_as(&m, MODULE ".biases", &scales);
        if (rows[i].width) add_vector(&m, "layers.0.ffn_norm1.weight", rows[i].width);
        if (read_made(&m, rows[i].config)) {
            const zi_entry *e = zi_source_find(&m.source, MODULE ".weight");
            CHECK_MSG(e->bits == rows[i].bits && e->group == rows[i].group &&
                          e->shape[1] == rows[i].groups * rows[i].group,
                      "row %zu: %d bits in groups of %zu", i, e->bits, e->group);
        }
        end(&m);
    }
}

/* The formats of a file's layers from its metadata, whose names lack the tensors' prefix, and of
 * which one is fused. A marker counts more, and layers that the file lacks do not matter. */
static void formats_from_metadata(void)
{
    static const char metadata[] =
        "{\"format_version\": \"1.0\", \"layers\": {"
        "\"layers.0.attention.qkv\": {\"format\": \"nvfp4\"}, "
        "\"layers.0.feed_forward.w1\": {\"format\": \"int8_tensorwise\", \"convrot\": true, "
        "\"convrot_groupsize\": 16}, "
        "\"layers.0.feed_forward.w3\": {\"format\": \"mxfp8\"}, "
        "\"layers.7.feed_forward.w3\": {\"format\": \"mxfp8\"}, "
        "\"model.layers.0.mlp.up_proj\": {\"format\": \"nvfp4\"}}}";
    static const char *const prefixes[] = {"", "model.diffusion_model."};
    zi_checkpoint mixed = zi_golden_open("lowbit/diffusion_model_mixed.safetensors");
    zi_checkpoint golden = zi_golden_open("lowbit/comfy_matrices.safetensors");
    for (int i = 0; i < 2; i++) {
        char name[128];
        zi_error error = {0};
        made m;
        begin(&m);
        CHECK_OK(
            zi_checkpoint_add_metadata(&m.checkpoint, "_quantization_metadata", metadata, &error),
            error);
        snprintf(name, sizeof name, "%s" ATTENTION "qkv", prefixes[i]);
        add_golden(&m, &mixed, ATTENTION "qkv", name);
        snprintf(name, sizeof name, "%s" MODULE, prefixes[i]);
        add_golden(&m, &golden, "int8.rot64", name); /* with a marker that says 64 */
        if (read_made(&m, 0)) {
            const zi_entry *v = zi_source_find(&m.source, ATTENTION "to_v.weight");
            CHECK(v && v->swizzled && v->codes == ZI_CODES_E2M1_HIGH && v->row == 256 &&
                  v->shape[0] == 128 && v->shape[1] == 128 && v->factor.count == 1);
            const zi_entry *w1 = zi_source_find(&m.source, MODULE ".weight");
            CHECK(w1 && w1->packing == ZI_SCALED && w1->rotation == 64);
            CHECK_MSG(m.source.count == 4, "%zu entries", m.source.count);
        }
        end(&m);
    }
    zi_checkpoint_close(&mixed);
    zi_checkpoint_close(&golden);
}

/* ---- rotation ---- */

/* Against the Kronecker power of the 4 x 4 matrix, and twice gives back what was. */
static void rotations(void)
{
    static const int four[4][4] = {{1, 1, 1, -1}, {1, 1, -1, 1}, {1, -1, 1, 1}, {-1, 1, 1, 1}};
    for (size_t size = 4; size <= 1024; size *= 4) {
        float x[2048], y[2048];
        for (size_t i = 0; i < 2 * size; i++) x[i] = y[i] = sinf((float)i * 1.7f);
        zi_rotate(y, 2 * size, size);
        for (size_t i = 0; i < 2 * size; i++) {
            double sum = 0;
            for (size_t j = 0; j < size; j++) {
                int sign = 1;
                for (size_t a = i % size, b = j, n = size; n > 1; a /= 4, b /= 4, n /= 4)
                    sign *= four[a % 4][b % 4];
                sum += sign * (double)x[i / size * size + j];
            }
            sum /= sqrt((double)size);
            if (!CHECK_MSG(fabs(y[i] - sum) < 1e-5, "size %zu: y[%zu] is %g, not %g", size, i, y[i],
                           sum))
                break;
        }
        zi_rotate(y, 2 * size, size);
        for (size_t i = 0; i < 2 * size; i++) CHECK(fabsf(y[i] - x[i]) < 1e-5f);
    }
}

/* ---- rounding to bytes ---- */

static uint32_t state = 1;

static uint32_t bits32(void)
{
    return state = state * 1664525u + 1013904223u;
}

/* Errors are bounded as groups.h says; scales that are powers of two near each other lose nothing;
 * what is not finite shows in the scale. */
static void rounding_to_bytes(void)
{
    for (int trial = 0; trial < 2000; trial++) {
        bool eight = trial % 3 == 0, sixteen = trial % 3 == 1, near = trial % 2;
        zi_codes codes = eight ? ZI_CODES_E4M3 : ZI_CODES_E2M1;
        size_t group = sixteen ? 16 : 32, n = trial % 5 ? 64 : 32;
        uint8_t q[64], coded[64];
        float scales[4], values[64], scale, bias, max_value = 0;
        for (size_t g = 0; g < 4; g++)
            scales[g] = sixteen ? (float)(bits32() >> 8) * 0x1p-20f
                                : ldexpf(1, (int)(bits32() >> 8) % (near ? 4 : 12));
        for (size_t i = 0; i < n; i++) {
            q[i] = (uint8_t)(bits32() >> 24);
            if (eight && (q[i] & 0x7f) == 0x7f) q[i]--; /* no NaN */
            if (!eight) q[i] &= 15;
        }
        memcpy(coded, q, sizeof q);
        zi_codes_values(codes, coded, n, values);
        for (size_t i = 0; i < n; i++) values[i] *= scales[i / group];
        for (size_t g = 0; g < n / group; g++)
            for (size_t i = 0; i < group; i++)
                max_value = fmaxf(max_value, eight ? fabsf(values[g * group + i]) : 6 * scales[g]);
        zi_codes_to_bytes(codes, q, n, group, scales, &scale, &bias);
        for (size_t i = 0; i < n; i++) {
            float got = (float)q[i] * scale + bias, error = fabsf(got - values[i]);
            bool exact = !eight && !sixteen && near;
            if (!CHECK_MSG(error <= (exact ? 1e-6f : 1 / 189.0f) * max_value,
                           "trial %d: %g instead of %g of %g", trial, got, values[i], max_value))
                return;
        }
    }
    const float bad[][2] = {{NAN, 1}, {1, NAN}, {INFINITY, 1}, {1, -INFINITY}};
    for (size_t i = 0; i < 4; i++) {
        uint8_t q[64] = {3};
        float scale, bias;
        zi_codes_to_bytes(ZI_CODES_E2M1, q, 64, 32, bad[i], &scale, &bias);
        CHECK(isnan(scale) && isnan(bias));
    }
    uint8_t q[64] = {0, 1, 0xff};
    float scale, bias, scales[] = {1, 1};
    zi_codes_to_bytes(ZI_CODES_E4M3, q, 64, 32, scales, &scale, &bias);
    CHECK(isnan(scale));
    memset(q, 7, sizeof q);
    scales[0] = scales[1] = 0;
    zi_codes_to_bytes(ZI_CODES_E2M1, q, 64, 32, scales, &scale, &bias);
    for (size_t i = 0; i < 64; i++) CHECK((float)q[i] * scale + bias == 0);
}

/* ---- products ---- */

/* One kind of stored matrix, and what a value may lose in fast products, as a share of the largest
 * that its unit of 64 could have (0: integers, nothing). */
typedef struct {
    const char *what;
    zi_codes codes;
    int bits;
    size_t group;
    zi_dtype scale_type;
    bool biases, swizzled;
    size_t rotation;
    double loss;
} kind;

static const kind kinds[] = {
    {"2 bits", ZI_CODES_INTEGER, 2, 32, ZI_F16, true, false, 0, 0},
    {"3 bits", ZI_CODES_INTEGER, 3, 64, ZI_BF16, true, false, 0, 0},
    {"4 bits", ZI_CODES_INTEGER, 4, 128, ZI_F32, true, false, 0, 0},
    {"5 bits", ZI_CODES_INTEGER, 5, 32, ZI_F16, true, false, 0, 0},
    {"6 bits", ZI_CODES_INTEGER, 6, 64, ZI_F16, true, false, 0, 0},
    {"8 bits", ZI_CODES_INTEGER, 8, 64, ZI_BF16, true, false, 0, 0},
    {"mxfp4", ZI_CODES_E2M1, 4, 32, ZI_F8_E8M0, false, false, 0, 1 / 190.0},
    {"mxfp8", ZI_CODES_E4M3, 8, 32, ZI_F8_E8M0, false, false, 0, 1 / 190.0},
    {"nvfp4 of MLX", ZI_CODES_E2M1, 4, 16, ZI_F8_E4M3, false, false, 0, 1 / 190.0},
    {"NVFP4", ZI_CODES_E2M1_HIGH, 4, 16, ZI_F8_E4M3, false, true, 0, 1 / 190.0},
    {"MXFP8", ZI_CODES_E4M3, 8, 32, ZI_F8_E8M0, false, true, 0, 1 / 190.0},
    {"ConvRot 16", ZI_CODES_INTEGER, 0, 0, ZI_F32, false, false, 16, 0},
    {"ConvRot 64", ZI_CODES_INTEGER, 0, 0, ZI_F32, false, false, 64, 0},
    {"ConvRot 256", ZI_CODES_INTEGER, 0, 0, ZI_F32, false, false, 256, 0},
};

/* The largest that a unit of values could have is less than LOSS times the largest it has. */
static const double LOSS = 1.6;

enum { KINDS = sizeof kinds / sizeof *kinds, FIRST_ROW = 130 };

/* A matrix with random codes under scales of about 1 / 16. */
typedef struct {
    zi_matrix w;
    uint8_t *data, *scales, *biases;
    float factor[200], *values, *x;
} problem;

static void fill_scales(uint8_t *scales, zi_dtype type, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = (float)(bits32() >> 8) * 0x1p-27f + 0x1p-6f;
        if (type == ZI_F8_E8M0)
            scales[i] = (uint8_t)(120 + (bits32() >> 8) % 5);
        else
            zi_narrow(type, &value, scales + i * zi_dtype_size(type), 1);
    }
}

static void make_problem(problem *p, const kind *k, size_t T, size_t N, size_t K)
{
    *p = (problem){0};
    size_t padded = k->group ? (K + k->group - 1) / k->group * k->group : K;
    size_t bytes = k->bits ? padded * (size_t)k->bits / 8 : K;
    size_t groups = k->group ? padded / k->group : 0;
    size_t stored =
        k->swizzled ? zi_swizzled_rows(FIRST_ROW + N) * zi_swizzled_groups(groups) : N * groups;
    p->data = malloc(N * bytes + 1);
    p->scales = malloc(stored * 4 + 1);
    p->biases = malloc(stored * 4 + 1);
    p->values = malloc(N * K * sizeof(float));
    p->x = malloc(T * K * sizeof(float));
    for (size_t i = 0; i < N * bytes; i++) {
        p->data[1 + i] = (uint8_t)(bits32() >> 24);
        if (k->codes == ZI_CODES_E4M3) p->data[1 + i] &= 0xbf; /* no NaN */
    }
    fill_scales(p->scales + 1, k->scale_type, stored);
    fill_scales(p->biases + 1, k->scale_type, stored);
    for (size_t i = 0; i < 200; i++) p->factor[i] = 0.01f + 0.001f * (float)i;
    for (size_t i = 0; i < T * K; i++)
        p->x[i] = (float)(int32_t)bits32() * 0x1p-31f * (i % 97 ? 1 : 20);
    p->w = (zi_matrix){.data = p->data + 1,
                       .type = k->bits ? ZI_U8 : ZI_I8,
                       .rows = N,
                       .columns = K,
                       .bits = k->bits,
                       .group = k->group,
                       .scales = p->scales + 1,
                       .biases = k->biases ? p->biases + 1 : NULL,
                       .scale_type = k->scale_type,
                       .row_scale = k->swizzled || !k->bits ? p->factor : NULL,
                       .row_scales = k->bits ? 1 : N,
                       .codes = k->codes,
                       .padded_columns = padded,
                       .swizzled = k->swizzled,
                       .first_row = k->swizzled ? FIRST_ROW : 0,
                       .rotation = k->rotation};
    for (size_t i = 0; i < N; i++) zi_matrix_row(&p->w, i, p->values + i * K);
}

static void free_problem(problem *p)
{
    free(p->data);
    free(p->scales);
    free(p->biases);
    free(p->values);
    free(p->x);
}

static zi_weight weight_of(zi_fixture *fixture, const zi_matrix *m)
{
    zi_weight w = zi_fixture_weight(fixture, ZI_U8, m->data, m->rows, m->columns);
    w.data.type = m->type;
    w.bits = m->bits;
    w.codes = m->codes;
    w.group = m->group;
    w.padded_columns = m->padded_columns;
    w.swizzled = m->swizzled;
    w.first_row = m->first_row;
    w.rotation = m->rotation;
    if (m->bits) w.scales = zi_fixture_weight(fixture, m->scale_type, m->scales, 1, 1).data;
    if (m->biases) w.biases = zi_fixture_weight(fixture, m->scale_type, m->biases, 1, 1).data;
    if (m->row_scale) w.factors = zi_fixture_vector(fixture, m->row_scale, m->row_scales).data;
    return w;
}

/* Checks y [T, N] against products in double: each exact one for itself, all fast ones together. */
static void check_product(const kind *k, const problem *p, size_t T, bool fast, const float *y)
{
    size_t N = p->w.rows, K = p->w.columns;
    double error = 0, norm = 0;
    for (size_t i = 0; i < T * N; i++) {
        const float *x = p->x + i / N * K, *w = p->values + i % N * K;
        double sum = 0, magnitudes = 0;
        for (size_t j = 0; j < K; j++) {
            sum += (double)x[j] * w[j];
            magnitudes += fabs((double)x[j] * w[j]);
        }
        error += pow(y[i] - sum, 2);
        norm += pow(sum, 2);
        if (!fast && !CHECK_MSG(fabs(y[i] - sum) <= 1e-5 * magnitudes + 1e-30,
                                "%s K %zu: y[%zu] is %g, not %g", k->what, K, i, y[i], sum))
            return;
    }
    CHECK_MSG(!fast || sqrt(error / norm) < (T * N < 20 ? 0.2 : 0.05),
              "%s K %zu: fast is off by %g", k->what, K, sqrt(error / norm));
}

/* Values of a kind that are quantized as one in fast products; 0: these are exact, too. */
static size_t unit_of(const kind *k, size_t K)
{
    if (k->bits && k->codes == ZI_CODES_INTEGER) return k->group < 64 ? k->group : 64;
    return K % 64 == 0 ? 64 : k->bits && K % 32 == 0 ? 32 : 0;
}

/* Checks each of the fast products y [T, N], of rotated values and inputs for rotated kinds. The
 * bound for E2M1 and E4M3 is loose: it allows all weights their largest rounding error at once. */
static void check_fast(const zi_kernels *kernels, const kind *k, const problem *p, size_t T,
                       const float *y)
{
    size_t N = p->w.rows, K = p->w.columns;
    float *x = malloc(T * K * sizeof *x), *w = malloc(N * K * sizeof *w);
    memcpy(x, p->x, T * K * sizeof *x);
    if (k->rotation) zi_rotate(x, T * K, k->rotation);
    for (size_t i = 0; i < N; i++) zi_matrix_stored_values(&p->w, i, 0, K, w + i * K);
    zi_test_check_fast(kernels, k->what,
                       &(zi_test_product){x, w, T, N, K, unit_of(k, K), k->loss * LOSS}, y);
    free(x);
    free(w);
}

/* What fast products lose beside the rounding of inputs: a weight that integers hold gives the same
 * product as its 8-bit equivalent. Here: x = one unit vector after the other gives the values. */
static void check_fast_values(zi_fixture *fixture, const kind *k, const problem *p)
{
    enum { UNITS = 64 };
    size_t N = p->w.rows, K = p->w.columns;
    if (k->rotation || K % 64) return;
    zi_fixture_position mark = zi_fixture_mark(fixture);
    zi_weight w = weight_of(fixture, &p->w);
    float *x = zi_fixture_alloc(fixture, UNITS * K, sizeof *x);
    memset(x, 0, UNITS * K * sizeof *x);
    for (size_t i = 0; i < UNITS; i++) x[i * K + i] = 1;
    zi_view out = zi_fixture_view(fixture, NULL, UNITS, N);
    zi_linear(fixture->exec, zi_fixture_view(fixture, x, UNITS, K), &w, NULL, out);
    const float *y = zi_fixture_read(fixture, out);
    for (size_t n = 0; n < N; n++) {
        float max_value = 0;
        for (size_t i = 0; i < UNITS; i++)
            max_value = fmaxf(max_value, fabsf(p->values[n * K + i]));
        for (size_t i = 0; i < UNITS; i++)
            if (!CHECK_MSG(fabsf(y[i * N + n] - p->values[n * K + i]) <=
                               (float)(k->loss * LOSS + 1e-5) * max_value,
                           "%s: weight %zu, %zu counts as %g, not %g", k->what, n, i, y[i * N + n],
                           p->values[n * K + i]))
                return;
    }
    zi_fixture_reset(fixture, mark);
}

static const struct {
    size_t T, N, K;
} sizes[] = {{1, 7, 256}, {3, 40, 512}, {5, 35, 256}, {70, 65, 1280}, {9, 130, 768}, {2, 3, 4352}};

enum { SIZES = sizeof sizes / sizeof *sizes };

static const char *tier;
/* Columns of swizzled kinds whose last groups are cut off by padding; floats are rounded in runs of
 * 32 in the second size. */
static const size_t cut_columns[] = {136, 160};

enum { CUTS = sizeof cut_columns / sizeof *cut_columns };

static float *kept[KINDS * (SIZES + CUTS) * 2]; /* results with one thread */

static void run_product(zi_fixture *fixture, const kind *k, const problem *p, size_t T,
                        float **before)
{
    zi_fixture_position mark = zi_fixture_mark(fixture);
    size_t N = p->w.rows, K = p->w.columns, bytes = T * N * sizeof(float);
    zi_weight w = weight_of(fixture, &p->w);
    zi_view out = zi_fixture_view(fixture, NULL, T, N);
    zi_linear(fixture->exec, zi_fixture_view(fixture, p->x, T, K), &w, NULL, out);
    const float *y = zi_fixture_read(fixture, out);
    if (*before) {
        CHECK_MSG(memcmp(*before, y, bytes) == 0, "%s K %zu: other bits by threads", k->what, K);
    } else {
        *before = memcpy(malloc(bytes), y, bytes);
        bool fast = fixture->exec->fast && unit_of(k, K);
        check_product(k, p, T, fast, y);
        if (fast) check_fast(&fixture->kernels, k, p, T, y);
        if (fast) check_fast_values(fixture, k, p);
    }
    const int32_t row = (int32_t)N - 1;
    zi_view embedded = zi_fixture_view(fixture, NULL, 1, K);
    zi_embed(fixture->exec, &w, &row, 1, embedded);
    CHECK_MSG(memcmp(zi_fixture_read(fixture, embedded), p->values + (N - 1) * K, K * 4) == 0,
              "%s: another row", k->what);
    zi_fixture_reset(fixture, mark);
}

/* Products of every kind at every size, exact and fast; at the end those of cut_columns. */
static void run_all(zi_fixture *fixture)
{
    size_t next = 0;
    state = 7; /* the same numbers each time */
    for (size_t i = 0; i < KINDS; i++)
        for (size_t s = 0; s < SIZES + CUTS; s++) {
            problem p;
            bool cut = s >= SIZES;
            if (cut && !kinds[i].swizzled) continue;
            size_t T = cut ? 6 : sizes[s].T, N = cut ? 20 : sizes[s].N;
            make_problem(&p, &kinds[i], T, N, cut ? cut_columns[s - SIZES] : sizes[s].K);
            for (int fast = 0; fast < 2; fast++) {
                fixture->exec->fast = fast;
                run_product(fixture, &kinds[i], &p, T, &kept[next++]);
            }
            free_problem(&p);
        }
}

static void products(void)
{
    for (size_t threads = 1; threads <= 3; threads += 2) {
        zi_fixture fixture;
        zi_fixture_start(&fixture, threads, tier, false);
        run_all(&fixture);
        zi_fixture_stop(&fixture);
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        free(kept[i]);
        kept[i] = NULL;
    }
}

int main(void)
{
    RUN(mlx_values);
    RUN(comfyui_values);
    RUN(smallest_exponent);
    RUN(ambiguous_groups);
    RUN(formats_from_metadata);
    RUN(rotations);
    RUN(rounding_to_bytes);
    for (size_t i = 0; (tier = zi_test_next_tier(&i));) RUN(products);
    return zi_test_result();
}
