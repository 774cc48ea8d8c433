// Merges the moments of all parts of a feature map, in their order; an invocation merges a channel's.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 32) in;

layout(push_constant, scalar) uniform Push {
    uvec2 partials, moments; // [parts, 3, channels]; [channels, 2]: mean and m2
    uint parts, channels;
} p;

void main() {
    uint channel = gl_GlobalInvocationID.x;
    if (channel >= p.channels) return;
    float pixels = 0, mean = 0, m2 = 0;
    for (uint i = 0; i < p.parts; i++) {
        uint at = i * 3 * p.channels + channel;
        float n = Floats(p.partials).at[at], count = pixels + n;
        float d = Floats(p.partials).at[at + p.channels] - mean;
        m2 += Floats(p.partials).at[at + 2 * p.channels] + d * d * pixels * (n / count);
        mean += d * (n / count);
        pixels = count;
    }
    Floats(p.moments).at[2 * channel] = mean;
    Floats(p.moments).at[2 * channel + 1] = m2;
}
