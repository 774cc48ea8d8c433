// y [T, N] = x [T, K] w^T + bias for a few rows of x: a workgroup computes the results of one row of
// w and four rows of x; its invocations share out the row's values.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "weights.glsl"

const uint SIZE = 64, ROWS = 4;
layout(local_size_x = SIZE) in;

layout(push_constant, scalar) uniform Push {
    Weight w;
    uvec2 x, bias, y;
    uint T;
} p;

shared float partial[SIZE][ROWS];

void main() {
    uint id = gl_LocalInvocationIndex, top = gl_WorkGroupID.z * ROWS;
    uint column = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    float sums[ROWS], v[8];
    [[unroll]] for (uint t = 0; t < ROWS; t++) sums[t] = 0;
    for (uint k = id * 8; k < p.w.columns; k += SIZE * 8) {
        load_weights(p.w, column, k, v);
        [[unroll]] for (uint t = 0; t < ROWS; t++)
            [[unroll]] for (uint i = 0; i < 8; i++)
                if (top + t < p.T && k + i < p.w.columns)
                    sums[t] = fma(Floats(p.x).at[(top + t) * p.w.columns + k + i], v[i], sums[t]);
    }
    [[unroll]] for (uint t = 0; t < ROWS; t++) partial[id][t] = sums[t];
    for (uint half_size = SIZE / 2; half_size > 0; half_size /= 2) {
        barrier();
        if (id < half_size)
            [[unroll]] for (uint t = 0; t < ROWS; t++) partial[id][t] += partial[id + half_size][t];
    }
    if (id != 0 || column >= p.w.rows) return;
    float factor = load_factor(p.w, column);
    float bias = load_optional(p.bias, column, p.y);
    [[unroll]] for (uint t = 0; t < ROWS; t++)
        if (top + t < p.T)
            Floats(p.y).at[(top + t) * p.w.rows + column] = partial[0][t] * factor + bias;
}
