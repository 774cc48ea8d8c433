// Copies rows of a feature map without gaps; with coefficients, a x + b of each channel instead of x,
// and where ACTIVATE is not 0, silu of that.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint ACTIVATE = 0;

layout(push_constant, scalar) uniform Push {
    uvec2 x, y, coefficients; // [2, channels]: a, then b; or none
    uint columns, stride, channels;
} p;

void main() {
    uint i = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y, c = i % p.channels;
    if (i >= p.columns) return;
    float value = Floats(p.x).at[row * p.stride + i];
    if (!is_null(p.coefficients))
        value = value * Floats(p.coefficients).at[c] + Floats(p.coefficients).at[p.channels + c];
    if (ACTIVATE != 0) value = value / (1 + exp(-value));
    Floats(p.y).at[row * p.columns + i] = value;
}
