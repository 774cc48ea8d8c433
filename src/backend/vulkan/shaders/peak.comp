// Multiplications and additions in registers, and nothing else: 16 times 2 for each of `rounds`.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Push {
    uvec2 out_;
    uint rounds;
    float factor;
} p;

void main() {
    float x = float(gl_LocalInvocationIndex);
    vec4 a = vec4(x, x + 1, x + 2, x + 3), b = a + 4, c = a + 8, d = a + 12;
    for (uint i = 0; i < p.rounds; i++) {
        a = a * p.factor + x;
        b = b * p.factor + x;
        c = c * p.factor + x;
        d = d * p.factor + x;
    }
    // Used, so that compilers leave nothing out; true for a factor of 1/32 and one round, or of 1/2 and five.
    vec4 sum = a + b + c + d;
    if (sum.x + sum.y + sum.z + sum.w == 3.75) Floats(p.out_).at[0] = sum.x;
}
