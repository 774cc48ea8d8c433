/* ggml's block formats and fp8: dequantization and quantization against gguf-py and torch, bit for
 * bit. */
#include "base/blocks.h"
#include "base/random.h"
#include "golden.h"
#include "io/values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static zi_checkpoint golden, golden_iq4;

/* The reference vectors of a block type: "blocks" or "values". */
static const zi_tensor *reference(zi_dtype type, const char *what)
{
    const zi_checkpoint *from = type >= ZI_IQ4_NL ? &golden_iq4 : &golden;
    return zi_golden_tensor(from, "%s.%s", zi_dtype_name(type), what);
}

static void dequantizing(void)
{
    for (int type = ZI_Q4_0; type <= ZI_IQ4_XS; type++) {
        const char *name = zi_dtype_name((zi_dtype)type);
        const zi_tensor *blocks = reference((zi_dtype)type, "blocks");
        const zi_tensor *values = reference((zi_dtype)type, "values");
        CHECK(zi_dtype_bytes((zi_dtype)type, values->count) == blocks->bytes);
        CHECK(values->count % zi_dtype_block((zi_dtype)type) == 0);
        float *got = malloc(values->bytes);
        zi_widen((zi_dtype)type, blocks->data, got, values->count);
        for (size_t i = 0; i < values->count; i++) {
            float wanted;
            memcpy(&wanted, (const char *)values->data + 4 * i, sizeof wanted);
            if (!CHECK_MSG(memcmp(&got[i], &wanted, sizeof wanted) == 0, "%s[%zu] is %g, not %g",
                           name, i, got[i], wanted))
                break;
        }
        free(got);
    }
}

/* Types that are no numbers for the engine give NaNs, and none may hang or crash. */
static void other_types(void)
{
    static const zi_dtype types[] = {ZI_I16, ZI_U8, ZI_F64, ZI_BOOL};
    const uint8_t bytes[64] = {0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        float got[4] = {0};
        uint8_t narrow[40];
        memset(narrow, 1, sizeof narrow);
        zi_widen(types[i], bytes, got, 4);
        for (size_t j = 0; j < 4; j++) CHECK(isnan(got[j]));
        zi_narrow(types[i], got, narrow, 4);
        CHECK(narrow[0] == 0 && narrow[zi_dtype_bytes(types[i], 4)] == 1);
    }
}

/* q * scale + bias says the same as the numbers, exactly or all but. */
static void reading_groups(void)
{
    for (int i = ZI_Q4_0; i <= ZI_IQ4_XS; i++) {
        zi_dtype type = (zi_dtype)i;
        const zi_tensor *blocks = reference(type, "blocks");
        const zi_tensor *values = reference(type, "values");
        size_t size = zi_block_group(type);
        CHECK(size == 16 || size == 32);
        for (size_t g = 0; g < values->count / size; g++) {
            uint8_t q[ZI_BLOCK_GROUP];
            float scale, bias, wanted[ZI_BLOCK_GROUP];
            zi_blocks_read(type, blocks->data, g, 1, q, &scale, &bias);
            zi_widen(ZI_F32, (const char *)values->data + g * size * 4, wanted, size);
            for (size_t j = 0; j < size; j++)
                if (!CHECK_MSG(fabs(q[j] * (double)scale + bias - wanted[j]) <=
                                   0x1p-23 * (q[j] * fabs((double)scale) + fabs((double)bias)),
                               "%s group %zu: %d is not %g", zi_dtype_name(type), g, q[j],
                               wanted[j]))
                    return;
        }
    }
    CHECK(zi_block_group(ZI_F32) == 0 && zi_block_group(ZI_I8) == 0);
}

static void widening_eight_bits(void)
{
    static const zi_dtype types[] = {ZI_F8_E4M3, ZI_F8_E5M2};
    for (int t = 0; t < 2; t++) {
        const float *wanted = zi_golden_floats(&golden, "%s.all", zi_dtype_name(types[t]));
        for (int code = 0; code < 256; code++) {
            uint8_t byte = (uint8_t)code;
            float got;
            zi_widen(types[t], &byte, &got, 1);
            CHECK_MSG(isnan(wanted[code]) ? isnan(got) : memcmp(&got, &wanted[code], 4) == 0,
                      "%s code %d is %g, not %g", zi_dtype_name(types[t]), code, got, wanted[code]);
        }
    }
    const int8_t whole[3] = {-128, 0, 127};
    float got[3];
    zi_widen(ZI_I8, whole, got, 3);
    CHECK(got[0] == -128 && got[1] == 0 && got[2] == 127);
}

static void narrowing_to_eight_bits(void)
{
    const zi_tensor *x = zi_golden_tensor(&golden, "F8_E4M3.x");
    const uint8_t *codes = zi_golden_tensor(&golden, "F8_E4M3.codes")->data;
    for (size_t i = 0; i < x->count; i++) {
        float value;
        uint8_t got;
        zi_widen(ZI_F32, (const char *)x->data + 4 * i, &value, 1);
        zi_narrow(ZI_F8_E4M3, &value, &got, 1);
        /* A NaN's sign is its own affair. */
        CHECK_MSG(got == codes[i] || (isnan(value) && (got & 0x7f) == 0x7f),
                  "%g becomes %d, not %d", value, got, codes[i]);
    }
}

static void quantizing(void)
{
    static const zi_dtype types[] = {ZI_Q8_0, ZI_Q4_0};
    for (int t = 0; t < 2; t++) {
        const char *name = zi_dtype_name(types[t]);
        const zi_tensor *x = zi_golden_tensor(&golden, "%s.x", name);
        const zi_tensor *wanted = zi_golden_tensor(&golden, "%s.quantized", name);
        size_t size = zi_dtype_size(types[t]);
        float *values = malloc(x->bytes);
        uint8_t *got = malloc(wanted->bytes);
        zi_widen(ZI_F32, x->data, values, x->count);
        CHECK(zi_dtype_bytes(types[t], x->count) == wanted->bytes);
        zi_narrow(types[t], values, got, x->count);
        for (size_t i = 0; i < wanted->bytes; i++)
            CHECK_MSG(got[i] == ((const uint8_t *)wanted->data)[i],
                      "%s block %zu, byte %zu: %d, not %d", name, i / size, i % size, got[i],
                      ((const uint8_t *)wanted->data)[i]);
        free(values);
        free(got);
    }
}

/* The same bytes as gguf-py's quantize gives. */
static void quantizing_more(void)
{
    static const zi_dtype types[] = {ZI_Q4_1, ZI_Q5_0, ZI_Q5_1};
    zi_checkpoint vectors = zi_golden_open("gguf_quantized.safetensors");
    const zi_tensor *x = zi_golden_tensor(&vectors, "x");
    for (int t = 0; t < 3; t++) {
        const zi_tensor *wanted =
            zi_golden_tensor(&vectors, "%s.quantized", zi_dtype_name(types[t]));
        float *values = malloc(x->bytes);
        uint8_t *got = malloc(wanted->bytes);
        zi_widen(ZI_F32, x->data, values, x->count);
        zi_narrow(types[t], values, got, x->count);
        CHECK_MSG(memcmp(got, wanted->data, wanted->bytes) == 0, "%s", zi_dtype_name(types[t]));
        free(values);
        free(got);
    }
    zi_checkpoint_close(&vectors);
}

/* Types without a quantizer in gguf-py: the error of numbers with a normal distribution, relative
 * to them, is at most what is known to be possible. */
static void quantizing_by_search(void)
{
    enum { N = 256 * 64 };
    static const struct {
        zi_dtype type;
        double error;
    } rows[] = {{ZI_Q2_K, 0.28},   {ZI_Q3_K, 0.15},    {ZI_Q4_K, 0.073},   {ZI_Q5_K, 0.036},
                {ZI_Q6_K, 0.0175}, {ZI_IQ4_NL, 0.076}, {ZI_IQ4_XS, 0.077}, {ZI_Q5_1, 0.039}};
    float *x = malloc(N * sizeof *x), *back = malloc(N * sizeof *back);
    uint8_t *blocks = malloc(N);
    zi_random random;
    zi_random_seed(&random, 1);
    zi_random_normal(&random, x, N);
    for (size_t i = 0; i < 256; i++) x[i] = i < 128 ? 0 : 1; /* a constant, and zeros */
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        double squares = 0, errors = 0;
        zi_quantize_blocks(rows[r].type, x, blocks, N);
        zi_dequantize(rows[r].type, blocks, back, N);
        for (size_t i = 256; i < N; i++) {
            squares += (double)x[i] * x[i];
            errors += ((double)back[i] - x[i]) * ((double)back[i] - x[i]);
        }
        double error = sqrt(errors / squares);
        CHECK_MSG(error < rows[r].error && error > 0.8 * rows[r].error, "%s: %.5f",
                  zi_dtype_name(rows[r].type), error);
        for (size_t i = 0; i < 256; i++)
            CHECK_MSG(fabsf(back[i] - x[i]) < 0.01f, "%s: %g becomes %g",
                      zi_dtype_name(rows[r].type), x[i], back[i]);
    }
    free(x);
    free(back);
    free(blocks);
}

/* No float may reach the conversion to a whole number that it does not fit. */
static void quantizing_what_is_no_number(void)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 1e-45f};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        float x[32] = {1, -1, odd[i]};
        uint8_t block[34];
        if (i == 3) x[0] = x[1] = 0;
        zi_quantize_blocks(ZI_Q8_0, x, block, 32);
        for (int j = 2; j < 34; j++) CHECK_MSG(block[j] == 0, "%g: %d", odd[i], block[j]);
        zi_quantize_blocks(ZI_Q4_0, x, block, 32);
        if (i < 3) CHECK_MSG((block[2 + 2] & 15) == 8, "%g: %d", odd[i], block[4]);
    }
    float x[256] = {NAN, INFINITY, -INFINITY, 1, NAN};
    for (zi_dtype type = ZI_Q4_0; type < ZI_DTYPE_COUNT; type++) {
        uint8_t blocks[512];
        zi_quantize_blocks(type, x, blocks, 256); /* the sanitizer finds what is undefined */
        CHECK(zi_dtype_bytes(type, 256) <= sizeof blocks);
    }
}

/* Weights for benchmarks are small and of all codes, in every type that has them. */
static void random_weights(void)
{
    static const zi_dtype types[] = {ZI_F32, ZI_F16, ZI_BF16, ZI_IQ4_NL, ZI_IQ4_XS};
    enum { COUNT = 256 * 40 };
    static float values[COUNT];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        void *data = zi_values_random(types[i], COUNT);
        float max_value = 0;
        double sum = 0;
        zi_widen(types[i], data, values, COUNT);
        for (size_t j = 0; j < COUNT; j++) {
            max_value = fmaxf(max_value, fabsf(values[j]));
            sum += fabs((double)values[j]);
        }
        CHECK_MSG(max_value <= 0.0252f && max_value > 0.02f && sum / COUNT > 0.003,
                  "%s: up to %g, on average %g", zi_dtype_name(types[i]), max_value, sum / COUNT);
        free(data);
    }
}

/* Names of block types mean nothing in a safetensors header. */
static void names(void)
{
    CHECK(zi_dtype_parse("F8_E5M2") == ZI_F8_E5M2);
    CHECK(zi_dtype_parse("Q8_0") == ZI_DTYPE_COUNT);
    CHECK(strcmp(zi_dtype_name(ZI_Q6_K), "Q6_K") == 0);
    CHECK(zi_dtype_bytes(ZI_BF16, 7) == 14 && zi_dtype_block(ZI_BF16) == 1);
}

int main(void)
{
    golden = zi_golden_open("gguf_blocks.safetensors");
    golden_iq4 = zi_golden_open("gguf_iq4.safetensors");
    RUN(dequantizing);
    RUN(reading_groups);
    RUN(other_types);
    RUN(widening_eight_bits);
    RUN(narrowing_to_eight_bits);
    RUN(quantizing);
    RUN(quantizing_more);
    RUN(quantizing_by_search);
    RUN(quantizing_what_is_no_number);
    RUN(random_weights);
    RUN(names);
    zi_checkpoint_close(&golden);
    zi_checkpoint_close(&golden_iq4);
    return zi_test_result();
}
