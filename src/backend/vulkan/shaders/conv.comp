// A 3x3 or 1x1 convolution of rows of pixels as a product that is never laid out: a workgroup
// computes 64 pixels x 64 channels, from 64 x 32 values of the input and of the weights at a time.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint TAPS = 9;

layout(push_constant, scalar) uniform Push {
    uvec2 x, w, bias, y; // x: rows without gaps, from number x_first of the map on; w [out, TAPS, in]
    uint width, height;  // of the result
    uint first, rows;    // the rows to compute
    int x_first;
    uint doubled; // each pixel of x stands for 2x2
    uint in_, out_, y_stride, add;
} p;

const uint TILE = 64, DEPTH = 32, PAD = TILE + 4;
shared float xs[DEPTH * PAD], ws[DEPTH * PAD];

// Channels c to c + 7 of the input of one tap of a pixel; zeros outside of the map.
void load_input(uint pixel, uint tap, uint c, out float v[8]) {
    [[unroll]] for (uint i = 0; i < 8; i++) v[i] = 0;
    if (pixel >= p.rows * p.width) return;
    int row = int(p.first + pixel / p.width), column = int(pixel % p.width);
    if (TAPS == 9) {
        row += int(tap / 3) - 1;
        column += int(tap % 3) - 1;
    }
    if (row < 0 || column < 0 || row >= int(p.height) || column >= int(p.width)) return;
    uint shift = p.doubled, x_width = p.width >> shift;
    uint at = (uint((row >> shift) - p.x_first) * x_width + (uint(column) >> shift)) * p.in_ + c;
    [[unroll]] for (uint i = 0; i < 8; i++)
        if (c + i < p.in_) v[i] = Floats(p.x).at[at + i];
}

void load_weights(uint channel, uint tap, uint c, out float v[8]) {
    [[unroll]] for (uint i = 0; i < 8; i++)
        v[i] = channel < p.out_ && c + i < p.in_
                   ? Floats(p.w).at[(channel * TAPS + tap) * p.in_ + c + i] : 0.0;
}

void main() {
    uint id = gl_LocalInvocationIndex, left = gl_WorkGroupID.y * TILE, top = gl_WorkGroupID.x * TILE;
    uint row = id / 4, part = id % 4 * 8, i = id / 16 * 4, j = id % 16 * 4;
    float sums[4][4], v[8];
    [[unroll]] for (uint a = 0; a < 4; a++)
        [[unroll]] for (uint b = 0; b < 4; b++) sums[a][b] = 0;
    for (uint tap = 0; tap < TAPS; tap++)
        for (uint c = 0; c < p.in_; c += DEPTH) {
            load_input(top + row, tap, c + part, v);
            [[unroll]] for (uint n = 0; n < 8; n++) xs[(part + n) * PAD + row] = v[n];
            load_weights(left + row, tap, c + part, v);
            [[unroll]] for (uint n = 0; n < 8; n++) ws[(part + n) * PAD + row] = v[n];
            barrier();
            for (uint n = 0; n < min(DEPTH, p.in_ - c); n++)
                [[unroll]] for (uint a = 0; a < 4; a++)
                    [[unroll]] for (uint b = 0; b < 4; b++)
                        sums[a][b] = fma(xs[n * PAD + i + a], ws[n * PAD + j + b], sums[a][b]);
            barrier();
        }
    [[unroll]] for (uint a = 0; a < 4; a++) {
        uint pixel = top + i + a;
        if (pixel >= p.rows * p.width) continue;
        uint at = pixel / p.width * p.y_stride + pixel % p.width * p.out_;
        [[unroll]] for (uint b = 0; b < 4; b++) {
            uint channel = left + j + b;
            if (channel >= p.out_) continue;
            float value = sums[a][b] + Floats(p.bias).at[channel];
            if (p.add != 0) value += Floats(p.y).at[at + channel];
            Floats(p.y).at[at + channel] = value;
        }
    }
}
