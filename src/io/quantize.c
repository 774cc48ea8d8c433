#include "io/quantize.h"

#include <math.h>

/* All in f32, whatever the tensor's type; scale and bias are rounded to it at the very end. */
void zi_quantize_group(const float *w, size_t n, int bits, zi_dtype type, uint8_t *q, void *scale,
                       void *bias)
{
    float low = w[0], high = w[0], most = (float)((1 << bits) - 1);
    for (size_t i = 1; i < n; i++) {
        low = w[i] < low ? w[i] : low;
        high = w[i] > high ? w[i] : high;
    }
    float step = fmaxf((high - low) / most, 1e-7f), edge = low, base = 0;
    if (!(fabsf(low) > fabsf(high))) {
        step = -step;
        edge = high;
    }
    float whole = rintf(edge / step); /* the edge of larger magnitude is kept exactly */
    if (whole != 0) {
        step = edge / whole;
        base = edge;
    }
    for (size_t i = 0; i < n; i++) {
        float value = fminf(fmaxf(rintf((w[i] - base) / step), 0), most);
        if (bits == 8)
            q[i] = (uint8_t)value;
        else
            q[i / 2] = (uint8_t)(i % 2 ? q[i / 2] | (unsigned)value << 4 : (unsigned)value);
    }
    zi_narrow(type, &step, scale, 1);
    zi_narrow(type, &base, bias, 1);
}
