/* The cases of self-checks for shaders that bring rows of x into other types. */
#include "backend/vulkan/selfcheck.h"
#include "base/matrix.h"

#include <math.h>

/* Makes *to the rows that gpu_narrow has made f16. */
static void widen_halves(gpu_side *s, size_t rows, size_t columns, float *to)
{
    enum { MOST = 1024 };
    gpu_exec *exec = gpu_exec_of(s->exec);
    uint16_t halves[MOST];
    int32_t exponents[MOST];
    size_t padded = exec->halves.columns / 2 / rows;
    if (!zi_read(s->exec, exec->halves, halves, s->error) ||
        !zi_read(s->exec, exec->exponents, exponents, s->error))
        return;
    for (size_t row = 0; row < rows; row++) {
        zi_widen(ZI_F16, halves + row * padded, to + row * columns, columns);
        for (size_t i = 0; i < columns; i++)
            to[row * columns + i] = ldexpf(to[row * columns + i], exponents[row]);
    }
}

zi_view gpu_check_narrow(gpu_side *s)
{
    enum { ROWS = 3, D = 300, PADDED = 320 };
    float rows[ROWS * D] = {0};
    zi_view x = gpu_check_values(s, ROWS, D, -1), result = gpu_check_values(s, ROWS, D, -1);
    if (s->short_of_memory) return result;
    if (s->device) {
        gpu_exec *exec = gpu_exec_of(s->exec);
        exec->halves = zi_arena_take(&s->arena, ZI_U8, 1, ROWS * PADDED * 2);
        exec->exponents = zi_arena_floats(&s->arena, 1, ROWS);
        s->short_of_memory = s->arena.overflow;
        if (s->short_of_memory) return result;
        gpu_narrow(exec, x);
        widen_halves(s, ROWS, D, rows);
        zi_write(s->exec, result, rows);
        return result;
    }
    return x;
}

/* Makes *to the values of rows that gpu_quantize has made codes, and for each run of 32 behind them
 * their sum. */
static void widen_codes(gpu_side *s, size_t rows, size_t columns, float *to)
{
    enum { MOST = 1024 };
    gpu_exec *exec = gpu_exec_of(s->exec);
    int8_t codes[MOST];
    float scales[2 * MOST / 32];
    size_t padded = exec->codes.columns / rows;
    if (!zi_read(s->exec, exec->codes, codes, s->error) ||
        !zi_read(s->exec, exec->scales, scales, s->error))
        return;
    for (size_t row = 0; row < rows; row++) {
        const float *own = scales + row * padded / 16;
        for (size_t i = 0; i < columns; i++)
            *to++ = own[i / 32 * 2] * (float)codes[row * padded + i];
        for (size_t i = 0; i < padded / 32; i++) *to++ = own[i * 2 + 1];
    }
}

/* Makes *to a row of x with the rounding of gpu_quantize, and behind it the sums of runs. */
static void round_row(const float *x, size_t columns, float *to)
{
    for (size_t first = 0; first < columns; first += 32) {
        size_t end = first + 32 < columns ? first + 32 : columns;
        float most = 0, sum = 0;
        for (size_t i = first; i < end; i++) most = fmaxf(most, fabsf(x[i]));
        for (size_t i = first; i < end; i++) {
            to[i] = rintf(x[i] * (127 / most)) * (most / 127);
            sum += to[i];
        }
        to[columns + first / 32] = sum;
    }
}

zi_view gpu_check_quantize(gpu_side *s)
{
    enum { ROWS = 3, D = 300, PADDED = 320, WIDTH = D + PADDED / 32 };
    float rows[ROWS * WIDTH] = {0};
    zi_view x = gpu_check_values(s, ROWS, D, -1), result = gpu_check_values(s, ROWS, WIDTH, -1);
    if (s->short_of_memory) return result;
    if (s->device) {
        gpu_exec *exec = gpu_exec_of(s->exec);
        exec->codes = zi_arena_take(&s->arena, ZI_U8, 1, ROWS * PADDED);
        exec->scales = zi_arena_floats(&s->arena, 1, ROWS * PADDED / 16);
        s->short_of_memory = s->arena.overflow;
        if (s->short_of_memory) return result;
        gpu_quantize(exec, x);
        widen_codes(s, ROWS, D, rows);
    } else {
        const float *from = zi_view_host(x);
        for (size_t row = 0; row < ROWS; row++) round_row(from + row * D, D, rows + row * WIDTH);
    }
    if (!s->error->code) zi_write(s->exec, result, rows);
    return result;
}
