// Coefficients a and b of each channel, with which a group norm is a x + b; an invocation computes a
// group's.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 32) in;

layout(push_constant, scalar) uniform Push {
    uvec2 moments, weight, bias, coefficients; // coefficients [2, channels]
    uint channels, groups;
    float pixels, eps;
} p;

void main() {
    uint group = gl_GlobalInvocationID.x, width = p.channels / p.groups, first = group * width;
    if (group >= p.groups) return;
    float mean = 0, m2 = 0;
    for (uint c = first; c < first + width; c++) mean += Floats(p.moments).at[2 * c];
    mean /= float(width);
    for (uint c = first; c < first + width; c++) {
        float d = Floats(p.moments).at[2 * c] - mean;
        m2 += Floats(p.moments).at[2 * c + 1] / p.pixels + d * d;
    }
    float inverse = 1.0 / sqrt(m2 / float(width) + p.eps);
    for (uint c = first; c < first + width; c++) {
        float a = inverse * Floats(p.weight).at[c];
        Floats(p.coefficients).at[c] = a;
        Floats(p.coefficients).at[p.channels + c] = Floats(p.bias).at[c] - mean * a;
    }
}
