// y [T, N] = x [T, K] w^T + bias: a workgroup computes 64 x 64 results, from 64 x 32 values of x and
// of w at a time, which it keeps in shared memory as f32; an invocation computes 4 x 4 of them.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "weights.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Push {
    Weight w;
    uvec2 x, bias, y;
    uint T;
} p;

const uint TILE = 64, DEPTH = 32, PAD = TILE + 4;
shared float xs[DEPTH * PAD], ws[DEPTH * PAD];

// Eight values of a row of x from k on: zeros behind its end.
void load_input(uint row, uint k, out float v[8]) {
    [[unroll]] for (uint i = 0; i < 8; i++)
        v[i] = row < p.T && k + i < p.w.columns ? Floats(p.x).at[row * p.w.columns + k + i] : 0.0;
}

void main() {
    uint id = gl_LocalInvocationIndex, left = gl_WorkGroupID.x * TILE, top = gl_WorkGroupID.y * TILE;
    uint row = id / 4, part = id % 4 * 8, i = id / 16 * 4, j = id % 16 * 4;
    float sums[4][4], v[8];
    [[unroll]] for (uint a = 0; a < 4; a++)
        [[unroll]] for (uint b = 0; b < 4; b++) sums[a][b] = 0;
    for (uint k = 0; k < p.w.columns; k += DEPTH) {
        load_input(top + row, k + part, v);
        [[unroll]] for (uint n = 0; n < 8; n++) xs[(part + n) * PAD + row] = v[n];
        load_weights(p.w, left + row, k + part, v);
        [[unroll]] for (uint n = 0; n < 8; n++) ws[(part + n) * PAD + row] = v[n];
        barrier();
        for (uint n = 0; n < DEPTH; n++)
            [[unroll]] for (uint a = 0; a < 4; a++)
                [[unroll]] for (uint b = 0; b < 4; b++)
                    sums[a][b] = fma(xs[n * PAD + i + a], ws[n * PAD + j + b], sums[a][b]);
        barrier();
    }
    [[unroll]] for (uint b = 0; b < 4; b++) {
        uint column = left + j + b;
        if (column >= p.w.rows) continue;
        float factor = load_factor(p.w, column);
        float bias = is_null(p.bias) ? 0.0 : Floats(p.bias).at[column];
        [[unroll]] for (uint a = 0; a < 4; a++)
            if (top + i + a < p.T)
                Floats(p.y).at[(top + i + a) * p.w.rows + column] = sums[a][b] * factor + bias;
    }
}
