// Rotates pairs of each head by the row's angles; an invocation rotates one pair of a row, or of
// every 65,535th.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 64) in;

layout(push_constant, scalar) uniform Push {
    uvec2 x, cosines, sines;
    uint rows, heads, dim, interleaved, sine_stride, cosine_stride;
} p;

void main() {
    uint pair = gl_GlobalInvocationID.x, pairs = p.dim / 2, i = pair % pairs;
    if (pair >= p.heads * pairs) return;
    for (uint row = gl_WorkGroupID.y; row < p.rows; row += gl_NumWorkGroups.y) {
        uint begin = (row * p.heads + pair / pairs) * p.dim;
        uint first = begin + (p.interleaved != 0 ? 2 * i : i);
        uint second = p.interleaved != 0 ? first + 1 : first + pairs;
        float c = Floats(p.cosines).at[row * p.cosine_stride + i];
        float s = Floats(p.sines).at[row * p.sine_stride + i];
        float a = Floats(p.x).at[first], b = Floats(p.x).at[second];
        Floats(p.x).at[first] = a * c - b * s;
        Floats(p.x).at[second] = a * s + b * c;
    }
}
