// Copies rows of a weight, as f32.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "weights.glsl"

layout(local_size_x = 64) in;

layout(push_constant, scalar) uniform Push {
    Weight w;
    uvec2 rows, y; // rows: their numbers [n]
    uint n;
} p;

void main() {
    uint k = gl_GlobalInvocationID.x * 8, i = gl_WorkGroupID.y;
    uint row = Words(p.rows).at[i];
    float v[8], factor = load_factor(p.w, row);
    load_weights(p.w, row, k, v);
    [[unroll]] for (uint j = 0; j < 8; j++)
        if (k + j < p.w.columns) Floats(p.y).at[i * p.w.columns + k + j] = v[j] * factor;
}
