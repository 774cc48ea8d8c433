// Rows of x as f16, each divided by a power of two of its own, so that no value passes f16's range:
// a workgroup converts one row. A row with a value that is not finite gets one that makes all of
// the row's results so.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "range.glsl"

const uint SIZE = 128;
layout(local_size_x = SIZE) in;

layout(push_constant, scalar) uniform Push {
    uvec2 x, y, exponents;  // x [rows, columns], y [rows, padded]; an int for each row
    uint rows, columns, padded; // padded: a multiple of eight
} p;

const uint SIGN = 0x80000000;
shared uint greatest[SIZE];

// To the nearest values of f16: packHalf2x16 may round otherwise. What is not finite stays so.
vec2 round_to_halves(vec2 v) {
    uvec2 bits = floatBitsToUint(v);
    uvec2 rounded = bits + 0xfff + (bits >> 13 & 1) & ~0x1fffu;
    return mix(uintBitsToFloat(rounded), v, greaterThanEqual(bits & ~SIGN, uvec2(0x7f800000)));
}

void main() {
    uint id = gl_LocalInvocationIndex, row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= p.rows) return;
    uint bits = 0;
    for (uint k = id; k < p.columns; k += SIZE)
        bits = max(bits, floatBitsToUint(Floats(p.x).at[row * p.columns + k]) & ~SIGN);
    greatest[id] = bits;
    for (uint half_size = SIZE / 2; half_size > 0; half_size /= 2) {
        barrier();
        if (id < half_size) greatest[id] = max(greatest[id], greatest[id + half_size]);
    }
    barrier();
    int exponent = exponent_of(greatest[0]);
    for (uint k = id * 2; k < p.padded; k += SIZE * 2) {
        vec2 v = vec2(0);
        if (k < p.columns) v.x = Floats(p.x).at[row * p.columns + k];
        if (k + 1 < p.columns) v.y = Floats(p.x).at[row * p.columns + k + 1];
        Words(p.y).at[(row * p.padded + k) / 2] = packHalf2x16(round_to_halves(scale_by(v, -exponent)));
    }
    if (id == 0) Ints(p.exponents).at[row] = exponent;
}
