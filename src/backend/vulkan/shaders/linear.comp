// y [T, N] = x [T, K] w^T + bias: a workgroup computes TILE x TILE results, from TILE x DEPTH values
// of x and of w at a time, which it keeps in shared memory as f32; those of the next step are on
// their way meanwhile. An invocation computes EACH x EACH results, in blocks of 4 x 4.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "weights.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 6) const uint EACH = 4; // 4 or 8

layout(push_constant, scalar) uniform Push {
    Weight w;
    uvec2 x, bias, y;
    uint T;
} p;

const uint TILE = 16 * EACH, DEPTH = EACH > 4 ? 16 : 32, PARTS = DEPTH / 8, QUADS = EACH / 4;
const uint PAD = TILE / 4 + 1; // from one depth to the next, in vectors of four
shared vec4 xs[DEPTH * PAD], ws[DEPTH * PAD];

// Eight values of a row of x from k on: zeros behind its end.
void load_input(uint row, uint k, out float v[8]) {
    uint at = row * p.w.columns + k;
    [[unroll]] for (uint i = 0; i < 8; i++) v[i] = 0;
    if (row >= p.T || k >= p.w.columns) return;
    if (k + 8 <= p.w.columns)
        [[unroll]] for (uint i = 0; i < 8; i++) v[i] = Floats(p.x).at[at + i];
    else
        [[unroll]] for (uint i = 0; i < 8; i++)
            if (k + i < p.w.columns) v[i] = Floats(p.x).at[at + i];
}

void main() {
    uint id = gl_LocalInvocationIndex, left = gl_WorkGroupID.x * TILE, top = gl_WorkGroupID.y * TILE;
    uint row = id / PARTS, part = id % PARTS * 8, i = id / 16, j = id % 16;
    float sums[EACH][EACH], x_next[8], w_next[8];
    [[unroll]] for (uint a = 0; a < EACH; a++)
        [[unroll]] for (uint b = 0; b < EACH; b++) sums[a][b] = 0;
    load_input(top + row, part, x_next);
    load_weights(p.w, left + row, part, w_next);
    for (uint k = 0; k < p.w.columns; k += DEPTH) {
        [[unroll]] for (uint n = 0; n < 8; n++) {
            xs[(part + n) * PAD + row / 4][row % 4] = x_next[n];
            ws[(part + n) * PAD + row / 4][row % 4] = w_next[n];
        }
        barrier();
        if (k + DEPTH < p.w.columns) {
            load_input(top + row, k + DEPTH + part, x_next);
            load_weights(p.w, left + row, k + DEPTH + part, w_next);
        }
        for (uint n = 0; n < DEPTH; n++) {
            vec4 x[QUADS], w[QUADS];
            [[unroll]] for (uint q = 0; q < QUADS; q++) {
                x[q] = xs[n * PAD + q * 16 + i];
                w[q] = ws[n * PAD + q * 16 + j];
            }
            [[unroll]] for (uint a = 0; a < EACH; a++)
                [[unroll]] for (uint b = 0; b < EACH; b++)
                    sums[a][b] = fma(x[a / 4][a % 4], w[b / 4][b % 4], sums[a][b]);
        }
        barrier();
    }
    [[unroll]] for (uint b = 0; b < EACH; b++) {
        uint column = left + b / 4 * 64 + j * 4 + b % 4;
        if (column >= p.w.rows) continue;
        float factor = load_factor(p.w, column);
        float bias = load_optional(p.bias, column, p.y);
        [[unroll]] for (uint a = 0; a < EACH; a++) {
            uint t = top + a / 4 * 64 + i * 4 + a % 4;
            if (t < p.T) Floats(p.y).at[t * p.w.rows + column] = sums[a][b] * factor + bias;
        }
    }
}
