// Multiplies each run of `size` values by a rotation: see zi_rotate. A workgroup rotates one run.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

const uint SIZE = 64, MAX = 4096;
layout(local_size_x = SIZE) in;

layout(push_constant, scalar) uniform Push {
    uvec2 x, y; // may be the same
    uint runs, size;
} p;

shared float values[MAX];

void rotate_four(uint at, uint step) {
    float a = values[at], b = values[at + step], c = values[at + 2 * step], d = values[at + 3 * step];
    float half_sum = 0.5 * ((a + b) + (c + d));
    values[at] = half_sum - d;
    values[at + step] = half_sum - c;
    values[at + 2 * step] = half_sum - b;
    values[at + 3 * step] = half_sum - a;
}

void main() {
    uint run = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (run >= p.runs) return;
    for (uint i = gl_LocalInvocationIndex; i < p.size; i += SIZE)
        values[i] = Floats(p.x).at[run * p.size + i];
    for (uint step = 1; step < p.size; step *= 4) {
        barrier();
        for (uint i = gl_LocalInvocationIndex; i < p.size / 4; i += SIZE)
            rotate_four(i / step * 4 * step + i % step, step);
    }
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < p.size; i += SIZE)
        Floats(p.y).at[run * p.size + i] = values[i];
}
