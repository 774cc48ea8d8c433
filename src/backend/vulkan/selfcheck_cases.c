/* The cases of self-checks: what each shader computes on the device, and the same by the CPU
 * backend or in plain C. */
#include "backend/vulkan/selfcheck.h"
#include "base/blocks.h"
#include "base/matrix.h"

#include <math.h>
#include <stdlib.h>

/* ---- tensors ---- */

/* Returns eight random bits. */
static uint32_t random_byte(gpu_side *s)
{
    s->random = s->random * 1664525u + 1013904223u;
    return s->random >> 24;
}

/* Returns a random value in [-1, 1). */
static float random_float(gpu_side *s)
{
    return (float)(int)(random_byte(s) << 8 | random_byte(s)) / 32768 - 1;
}

zi_view gpu_check_values(gpu_side *s, size_t rows, size_t columns, float least)
{
    zi_view view = zi_arena_floats(&s->arena, rows, columns);
    float *x = malloc(rows * columns * sizeof *x);
    s->short_of_memory = s->short_of_memory || s->arena.overflow || !x;
    for (size_t i = 0; x && i < rows * columns; i++) x[i] = random_float(s) + 1 + least;
    if (!s->short_of_memory) zi_write(s->exec, view, x);
    free(x);
    return view;
}

static zi_view random_values(gpu_side *s, size_t rows, size_t columns)
{
    return gpu_check_values(s, rows, columns, -1);
}

/* A view with values from nearly 0 to 2. */
static zi_view positive_values(gpu_side *s, size_t rows, size_t columns)
{
    return gpu_check_values(s, rows, columns, 0x1p-10f);
}

/* A view with values that gpu_quantize does not change: in each run of 32, multiples of a 127th of
 * the greatest. */
static zi_view coded_values(gpu_side *s, size_t rows, size_t columns)
{
    zi_view view = zi_arena_floats(&s->arena, rows, columns);
    float *x = malloc(rows * columns * sizeof *x);
    s->short_of_memory = s->short_of_memory || s->arena.overflow || !x;
    for (size_t i = 0; x && i < rows * columns; i++) {
        int code = (int)random_byte(s) - 128;
        x[i] = (float)(i % columns % 32 == 1 ? 127 : code < -127 ? 0 : code) * 0x1p-7f;
    }
    if (!s->short_of_memory) zi_write(s->exec, view, x);
    free(x);
    return view;
}

/* Sets *to to a tensor of random bytes; scales within blocks and exponents are moderate. It is
 * there when this returns. */
static void import(gpu_side *s, zi_dtype type, size_t rows, size_t columns, size_t bytes,
                   zi_view *to)
{
    unsigned char *data = malloc(bytes);
    zi_view place = zi_arena_take(&s->arena, ZI_U8, 1, bytes + s->shift);
    place = zi_view_columns(place, s->shift, bytes);
    *to = (zi_view){place.buffer, place.offset, type, rows, columns, columns};
    s->short_of_memory = s->short_of_memory || !data || s->arena.overflow;
    if (s->short_of_memory) {
        free(data);
        return;
    }
    for (size_t i = 0; i < bytes; i++) {
        uint32_t byte = random_byte(s);
        bool exponent = type == ZI_F32 ? i % 4 == 3 : type == ZI_BF16 || type == ZI_F16 ? i % 2 : 0;
        if (exponent) byte = (byte & 0x80) | (type == ZI_F16 ? 0x30 | (byte & 0xf) : 0x3e);
        if (type == ZI_F8_E4M3 || type == ZI_F8_E5M2) byte &= 0xbf;
        if (type == ZI_F8_E8M0) byte = 0x78 | (byte & 7);
        data[i] = (unsigned char)byte;
    }
    if (zi_block_group(type)) {
        float *x = malloc(rows * columns * sizeof *x);
        for (size_t i = 0; x && i < rows * columns; i++) x[i] = random_float(s);
        if (x) zi_quantize_blocks(type, x, data, rows * columns);
        s->short_of_memory = !x;
        free(x);
    }
    zi_write(s->exec, place, data);
    free(data);
    if (!s->error->code && !zi_wait(s->exec, s->error)) s->short_of_memory = true;
}

static zi_weight vector(gpu_side *s, size_t n)
{
    zi_weight w = {.name = "self-check"};
    import(s, ZI_F32, 1, n, n * sizeof(float), &w.data);
    return w;
}

/* A weight as gpu_describe_weight describes it, with GPU_CHECK_DEPTH columns. One that is not
 * aligned has a few less or, with blocks or groups, which go together, another address. */
static zi_weight weight(gpu_side *s, size_t rows, const uint32_t *constants)
{
    zi_dtype type = (zi_dtype)constants[0], scale_type = (zi_dtype)constants[4];
    zi_weight w = {.name = "self-check", .bits = (int)constants[1]};
    bool aligned = constants[5] & GPU_ALIGNED, whole = w.bits || zi_block_group(type);
    size_t columns = aligned || whole ? GPU_CHECK_DEPTH : GPU_CHECK_DEPTH - 6;
    s->shift = aligned || !whole ? 0 : 4;
    if (w.bits) {
        size_t groups = GPU_CHECK_DEPTH / constants[3], scales = rows * groups;
        w.codes = (zi_codes)constants[2];
        w.group = constants[3];
        w.swizzled = constants[5] & GPU_SWIZZLED;
        if (w.swizzled) scales = zi_swizzled_rows(rows) * zi_swizzled_groups(groups);
        import(s, w.codes == ZI_CODES_E4M3 ? ZI_F8_E4M3 : ZI_U8, rows, columns,
               rows * GPU_CHECK_DEPTH * (size_t)w.bits / 8, &w.data);
        s->shift = 0;
        import(s, scale_type, 1, scales, scales * zi_dtype_size(scale_type), &w.scales);
        if (constants[5] & GPU_HAS_BIASES)
            import(s, scale_type, 1, scales, scales * zi_dtype_size(scale_type), &w.biases);
    } else {
        import(s, type, rows, columns, rows * zi_dtype_bytes(type, columns), &w.data);
    }
    s->shift = 0;
    size_t factors = constants[5] & GPU_ROW_FACTORS ? rows : constants[5] & GPU_ONE_FACTOR ? 1 : 0;
    if (factors) import(s, ZI_F32, 1, factors, factors * sizeof(float), &w.factors);
    return w;
}

/* ---- products ---- */

static zi_view multiply(gpu_side *s, const uint32_t *constants, size_t rows, bool coded)
{
    enum { N = 130 };
    zi_weight w = weight(s, N, constants), bias = vector(s, N);
    zi_view x =
        coded ? coded_values(s, rows, w.data.columns) : random_values(s, rows, w.data.columns);
    zi_view y = random_values(s, rows, N);
    if (!s->short_of_memory && !s->error->code) zi_linear(s->exec, x, &w, &bias, y);
    return y;
}

static zi_view linear(gpu_side *s, const uint32_t *constants)
{
    return multiply(s, constants, 131, false);
}

static zi_view linear_matrix(gpu_side *s, const uint32_t *constants)
{
    return multiply(s, constants, 131, false);
}

static zi_view linear_dots(gpu_side *s, const uint32_t *constants)
{
    return multiply(s, constants, 131, true);
}

static zi_view linear_few(gpu_side *s, const uint32_t *constants)
{
    return multiply(s, constants, 6, false);
}

static zi_view embed(gpu_side *s, const uint32_t *constants)
{
    static const int32_t rows[] = {36, 0, 7, 7, 12};
    zi_weight w = weight(s, 37, constants);
    zi_view y = random_values(s, 5, w.data.columns);
    if (!s->short_of_memory && !s->error->code) zi_embed(s->exec, &w, rows, 5, y);
    return y;
}

static zi_view rotate(gpu_side *s, const uint32_t *constants)
{
    static const int32_t rows[] = {2, 0};
    zi_weight w = {.name = "self-check", .rotation = 64};
    (void)constants;
    import(s, ZI_F32, 3, GPU_CHECK_DEPTH, 3 * GPU_CHECK_DEPTH * sizeof(float), &w.data);
    zi_view y = random_values(s, 2, GPU_CHECK_DEPTH);
    if (!s->short_of_memory && !s->error->code) zi_embed(s->exec, &w, rows, 2, y);
    return y;
}

static zi_view conv_weights(gpu_side *s, const uint32_t *constants)
{
    enum { ROWS = 5, TAPS = 2 };
    static const int32_t rows[ROWS] = {0, 1, 2, 3, 4};
    zi_weight w = weight(s, ROWS, constants);
    size_t channels = w.data.columns / TAPS;
    zi_view y = random_values(s, ROWS, w.data.columns), plain = random_values(s, ROWS, y.columns);
    if (s->short_of_memory || s->error->code) return y;
    if (s->device) {
        gpu_order_weights(gpu_exec_of(s->exec), &w, TAPS, y);
        return y;
    }
    zi_embed(s->exec, &w, rows, ROWS, plain);
    zi_permute(s->exec, &(zi_permute_args){.from = plain,
                                           .to = y,
                                           .dims = 3,
                                           .extents = {ROWS, TAPS, channels},
                                           .from_strides = {y.columns, 1, TAPS},
                                           .to_strides = {y.columns, channels, 1}});
    return y;
}

/* ---- rows and elements ---- */

/* Attention of whole workgroups and a few rows, then of a few rows of the same values. */
static zi_view attend(gpu_side *s, size_t queries, size_t dim)
{
    enum { HEADS = 2, FEW = 3 };
    size_t T = queries + FEW, S = T + 18;
    zi_attention_args a = {.q = random_values(s, T, HEADS * dim),
                           .k = random_values(s, S, dim),
                           .v = random_values(s, S, dim),
                           .heads = HEADS,
                           .kv_heads = 1,
                           .dim = dim};
    zi_view out = random_values(s, T + FEW, HEADS * dim);
    if (s->short_of_memory) return out;
    a.out = zi_view_rows(out, 0, T);
    zi_attention(s->exec, &a);
    a.q = zi_view_rows(a.q, 0, FEW);
    a.out = zi_view_rows(out, T, FEW);
    a.causal = true;
    zi_attention(s->exec, &a);
    return out;
}

static zi_view attention(gpu_side *s, const uint32_t *constants)
{
    return attend(s, constants[0] / 8, constants[1]);
}

static zi_view attention_matrix(gpu_side *s, const uint32_t *constants)
{
    return attend(s, constants[2] / constants[1] * constants[6], constants[0]);
}

static zi_view norm(gpu_side *s, const uint32_t *constants)
{
    enum { ROWS = 3, D = 300 };
    zi_norm_kind kind = (zi_norm_kind)constants[1];
    zi_weight w = vector(s, D);
    zi_view x = random_values(s, ROWS, D), y = random_values(s, ROWS, D),
            scale = random_values(s, 1, D), gate = random_values(s, 1, D);
    zi_norm_args a = {.kind = kind, .x = x, .y = y, .eps = 1e-5f};
    if (kind != ZI_LAYER_NORM) a.weight = &w;
    if (kind == ZI_ADD_RMS_NORM)
        a.gate = gate;
    else
        a.scale = scale;
    if (!s->short_of_memory && !s->error->code) s->exec->ops->norm(s->exec, &a);
    return y;
}

static zi_view rope(gpu_side *s, const uint32_t *constants)
{
    enum { T = 5, HEADS = 3, DIM = 32 };
    zi_view x = random_values(s, 2 * T, HEADS * DIM);
    zi_rope_args a = {.heads = HEADS,
                      .dim = DIM,
                      .cosines = random_values(s, T, DIM / 2),
                      .sines = random_values(s, T, DIM / 2)};
    (void)constants;
    for (size_t i = 0; i < 2 && !s->short_of_memory; i++) {
        a.interleaved = i;
        a.x = zi_view_rows(x, i * T, T);
        s->exec->ops->rope(s->exec, &a);
    }
    return x;
}

static zi_view elementwise(gpu_side *s, const uint32_t *constants)
{
    zi_elementwise_kind kind = (zi_elementwise_kind)constants[0];
    bool has_y = kind != ZI_SILU && kind != ZI_TANH && kind != ZI_DIVIDE_ADD;
    zi_view x = random_values(s, 7, 300), y = random_values(s, 7, 300);
    if (!s->short_of_memory)
        s->exec->ops->elementwise(s->exec, kind, x, has_y ? y : (zi_view){0}, 1.7f, 0.3f);
    return x;
}

static zi_view permute(gpu_side *s, const uint32_t *constants)
{
    zi_view x = random_values(s, 12, 35), y = random_values(s, 12, 35);
    (void)constants;
    if (!s->short_of_memory)
        zi_permute(s->exec, &(zi_permute_args){.from = x,
                                               .to = y,
                                               .dims = 3,
                                               .extents = {4, 5, 21},
                                               .from_strides = {5, 1, 20},
                                               .to_strides = {105, 21, 1}});
    return y;
}

/* The result is a number for each of two tensors: 1 where something is not finite. */
static zi_view check(gpu_side *s, const uint32_t *constants)
{
    const uint32_t infinity = 0x7ff00000;
    zi_view x = random_values(s, 6, 300), result = gpu_check_values(s, 1, 2, -1);
    float found[2] = {0, 1}, last;
    zi_error *error = s->error;
    memcpy(&last, &infinity, sizeof last);
    if (s->short_of_memory) return result;
    zi_view odd = zi_view_rows(x, 5, 1), place = zi_view_columns(odd, 299, 1);
    if (s->device) {
        gpu_exec *exec = gpu_exec_of(s->exec);
        zi_view even = zi_view_rows(x, 0, 5);
        if (constants[0] == 2) { /* as f64 */
            even = zi_view_reshape(even, 5, 150);
            odd = zi_view_reshape(odd, 1, 150);
            even.type = odd.type = ZI_F64;
        }
        zi_write(s->exec, place, &last);
        gpu_check_finite(s->exec, even, "even");
        gpu_check_finite(s->exec, odd, "odd");
        if (!zi_wait(s->exec, error) && error->code != ZI_ERROR_BAD_FORMAT) return result;
        for (size_t i = 0; i < 2; i++)
            found[i] = (float)((const uint32_t *)(const void *)exec->flags.host)[i];
        memset(exec->flags.host, 0, 2 * sizeof(uint32_t));
        exec->failure = *error = (zi_error){0};
        exec->check_count = 0;
    }
    zi_write(s->exec, result, found);
    return result;
}

/* ---- feature maps ---- */

static zi_view copy_map(gpu_side *s, const uint32_t *constants)
{
    enum { H = 5, W = 9, C = 20 };
    zi_view x = zi_view_columns(random_values(s, H, W * C + 3), 0, W * C),
            y = random_values(s, H, W * C), coefficients = random_values(s, 2, C);
    if (s->short_of_memory) return y;
    if (s->device) {
        gpu_copy_map(gpu_exec_of(s->exec), x, C, coefficients, constants[0] != 0, y);
        return y;
    }
    const float *from = zi_view_host(x), *a = zi_view_host(coefficients);
    float *to = zi_view_host(y);
    for (size_t i = 0; i < H * W * C; i++) {
        float value = from[i / (W * C) * x.stride + i % (W * C)] * a[i % C] + a[C + i % C];
        to[i] = constants[0] ? value / (1 + expf(-value)) : value;
    }
    return y;
}

/* A convolution of `in` channels; with a shortcut if the constants are for one tap. */
static zi_view convolve(gpu_side *s, size_t in, const uint32_t *constants)
{
    enum { H = 5, W = 15, OUT = 70 };
    zi_weight w = {.name = "self-check", .kernel = 3}, shortcut = {.name = w.name, .kernel = 1};
    zi_weight bias = vector(s, OUT);
    import(s, ZI_F32, OUT, 9 * in, OUT * 9 * in * sizeof(float), &w.data);
    import(s, ZI_F32, OUT, in, OUT * in * sizeof(float), &shortcut.data);
    zi_conv3x3_args a = {.weight = &w,
                         .bias = &bias,
                         .x = {random_values(s, H, W * in), W, in},
                         .y = {random_values(s, H, W * OUT), W, OUT},
                         .side = {random_values(s, H, W * OUT), W, OUT},
                         .add = constants[0] == 9};
    if (constants[0] == 1) {
        a.shortcut = &shortcut;
        a.shortcut_bias = &bias;
    }
    a.workspace = zi_arena_take(&s->arena, ZI_U8, 1, s->exec->ops->conv3x3_workspace(s->exec, &a));
    s->short_of_memory = s->short_of_memory || s->arena.overflow;
    if (!s->short_of_memory && !s->error->code) s->exec->ops->conv3x3(s->exec, &a);
    return constants[0] == 9 ? a.y.view : a.side.view;
}

static zi_view conv(gpu_side *s, const uint32_t *constants)
{
    return convolve(s, 20, constants);
}

static zi_view conv_matrix(gpu_side *s, const uint32_t *constants)
{
    return convolve(s, 32, constants);
}

static zi_view moments(gpu_side *s, const uint32_t *constants)
{
    enum { H = 70, W = 3, C = 40 };
    zi_feature_map map = {random_values(s, H, W * C), W, C};
    zi_view result = random_values(s, C, 2);
    (void)constants;
    if (s->short_of_memory) return result;
    if (s->device) {
        gpu_moments(s->exec, &map, result);
        return result;
    }
    const float *x = zi_view_host(map.view);
    float *to = zi_view_host(result);
    for (size_t c = 0; c < C; c++) {
        double mean = 0, m2 = 0;
        for (size_t i = 0; i < H * W; i++) mean += x[i * C + c] / (H * W);
        for (size_t i = 0; i < H * W; i++) m2 += (x[i * C + c] - mean) * (x[i * C + c] - mean);
        to[2 * c] = (float)mean;
        to[2 * c + 1] = (float)m2;
    }
    return result;
}

static zi_view moments_sum(gpu_side *s, const uint32_t *constants)
{
    enum { PARTS = 3, C = 40 };
    zi_view parts = positive_values(s, PARTS * 3, C), result = random_values(s, C, 2);
    (void)constants;
    if (s->short_of_memory) return result;
    if (s->device) {
        gpu_sum_moments(gpu_exec_of(s->exec), parts, PARTS, C, result);
        return result;
    }
    const float *x = zi_view_host(parts);
    float *to = zi_view_host(result);
    for (size_t c = 0; c < C; c++) {
        double pixels = 0, mean = 0, m2 = 0;
        for (size_t i = 0; i < PARTS; i++) {
            const float *part = x + i * 3 * C + c;
            pixels += part[0];
            mean += part[0] * part[C];
        }
        mean /= pixels;
        for (size_t i = 0; i < PARTS; i++) {
            const float *part = x + i * 3 * C + c;
            m2 += part[2 * C] + part[0] * (part[C] - mean) * (part[C] - mean);
        }
        to[2 * c] = (float)mean;
        to[2 * c + 1] = (float)m2;
    }
    return result;
}

static zi_view group_norm_coefficients(gpu_side *s, const uint32_t *constants)
{
    enum { C = 24, GROUPS = 4, IN_GROUP = C / GROUPS, PIXELS = 45 };
    zi_weight w = vector(s, C), bias = vector(s, C);
    zi_group_norm norm = {&w, &bias, GROUPS, 1e-6f};
    zi_view parts = positive_values(s, C, 2), result = random_values(s, 2, C);
    (void)constants;
    if (s->short_of_memory || s->error->code) return result;
    if (s->device) {
        gpu_compute_coefficients(gpu_exec_of(s->exec), &norm, parts, C, PIXELS, result);
        return result;
    }
    const float *moment = zi_view_host(parts), *scale = zi_view_host(w.data),
                *shift = zi_view_host(bias.data);
    float *to = zi_view_host(result);
    for (size_t first = 0; first < C; first += IN_GROUP) {
        double mean = 0, variance = 0;
        for (size_t c = first; c < first + IN_GROUP; c++) mean += moment[2 * c] / IN_GROUP;
        for (size_t c = first; c < first + IN_GROUP; c++)
            variance +=
                (moment[2 * c + 1] / PIXELS + (moment[2 * c] - mean) * (moment[2 * c] - mean)) /
                IN_GROUP;
        for (size_t c = first; c < first + IN_GROUP; c++) {
            to[c] = (float)(scale[c] / sqrt(variance + 1e-6));
            to[C + c] = (float)(shift[c] - mean * to[c]);
        }
    }
    return result;
}

static zi_view narrow(gpu_side *s, const uint32_t *constants)
{
    (void)constants;
    return gpu_check_narrow(s);
}

static zi_view quantize(gpu_side *s, const uint32_t *constants)
{
    (void)constants;
    return gpu_check_quantize(s);
}

static zi_view peak(gpu_side *s, const uint32_t *constants)
{
    const float expected = 0.75f;
    zi_view result = random_values(s, 1, 1);
    (void)constants;
    if (s->short_of_memory) return result;
    if (s->device)
        gpu_run_loop(gpu_exec_of(s->exec), gpu_writes(result), 1, 1, 0x1p-5f);
    else
        zi_write(s->exec, result, &expected);
    return result;
}

static zi_view peak_matrix(gpu_side *s, const uint32_t *constants)
{
    enum { ROUNDS = 5 };
    zi_view result = random_values(s, 1, 1);
    float expected = gpu_matrix_loop_result(constants[GPU_MATRIX_FIRST + 2], ROUNDS);
    if (s->short_of_memory) return result;
    if (s->device)
        gpu_run_matrix_loop(gpu_exec_of(s->exec), gpu_writes(result), 1, ROUNDS, expected);
    else
        zi_write(s->exec, result, &expected);
    return result;
}

gpu_case_fn *const gpu_cases[GPU_SHADER_COUNT] = {
#define GPU_CASE(name) name,
    GPU_SHADERS(GPU_CASE) GPU_DOT_SHADERS(GPU_CASE) GPU_MATRIX_SHADERS(GPU_CASE)
#undef GPU_CASE
};
