// A 3x3 or 1x1 convolution, see conv.comp, with cooperative matrices, for multiples of 32 channels.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(constant_id = 0) const uint TAPS = 9;

layout(push_constant, scalar) uniform Push {
    uvec2 x, w, bias, y; // x: rows without gaps, from number x_first of the map on; w [out, TAPS, in]
    uint width, height;  // of the result
    uint first, rows;    // the rows to compute
    int x_first;
    uint doubled; // each pixel of x stands for 2x2
    uint in_, out_, y_stride, add;
} p;

uint product_rows() {
    return p.rows * p.width;
}

uint product_columns() {
    return p.out_;
}

uint product_depth() {
    return TAPS * p.in_;
}

// Row and column of a pixel of the result; far outside of the map behind the last one.
ivec2 locate_x(uint pixel) {
    if (pixel >= p.rows * p.width) return ivec2(-100);
    return ivec2(p.first + pixel / p.width, pixel % p.width);
}

void load_eight(uvec2 data, uint at, out float v[8]) { // at: a multiple of eight
    uvec4 low = Quads(data).at[at / 4], high = Quads(data).at[at / 4 + 1];
    [[unroll]] for (uint i = 0; i < 4; i++) {
        v[i] = uintBitsToFloat(low[i]);
        v[i + 4] = uintBitsToFloat(high[i]);
    }
}

// Channels of the input of one tap of a pixel; zeros outside of the map.
void load_x(ivec2 place, uint k, uint part, out float v[8]) {
    uint tap = k / p.in_, c = k % p.in_ + part;
    ivec2 at = TAPS == 9 ? place + ivec2(tap / 3, tap % 3) - 1 : place;
    [[unroll]] for (uint i = 0; i < 8; i++) v[i] = 0;
    if (at.x < 0 || at.y < 0 || at.x >= int(p.height) || at.y >= int(p.width)) return;
    uint shift = p.doubled, x_width = p.width >> shift;
    load_eight(p.x, (uint((at.x >> shift) - p.x_first) * x_width + (uint(at.y) >> shift)) * p.in_ + c,
               v);
}

void load_w(uint channel, uint k, uint part, out float v[8]) {
    [[unroll]] for (uint i = 0; i < 8; i++) v[i] = 0;
    if (channel < p.out_) load_eight(p.w, channel * TAPS * p.in_ + k + part, v);
}

void store_result(uint pixel, uint channel, float value) {
    uint at = pixel / p.width * p.y_stride + pixel % p.width * p.out_ + channel;
    value += Floats(p.bias).at[channel];
    if (p.add != 0) value += Floats(p.y).at[at];
    Floats(p.y).at[at] = value;
}

#include "matrix.glsl"
