// The weights of a convolution as f32 [out, taps, in], whatever their type and order.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "weights.glsl"

layout(local_size_x = 64) in;

layout(push_constant, scalar) uniform Push {
    Weight w;
    uvec2 y;
    uint taps, nhwc; // nhwc: stored as [out, taps, in], else [out, in, taps]
} p;

void main() {
    uint k = gl_GlobalInvocationID.x * 8, row = gl_WorkGroupID.y, channels = p.w.columns / p.taps;
    float v[8], factor = load_factor(p.w, row);
    load_weights(p.w, row, k, v);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint from = k + i;
        if (from >= p.w.columns) continue;
        uint to = p.nhwc != 0 ? from : from % p.taps * channels + from / p.taps;
        Floats(p.y).at[row * p.w.columns + to] = v[i] * factor;
    }
}
