// Rows of x as signed codes of eight bits, for integer dot products. Each run of 32 values has a scale
// of its own, a 127th of its greatest: a workgroup converts one row, four values of it in an
// invocation. A run with a value that is not finite gets a scale that makes all results so.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

const uint SIZE = 128, FOURS = 32 / 4; // of a run
layout(local_size_x = SIZE) in;

layout(push_constant, scalar) uniform Push {
    uvec2 x, codes, scales; // x [rows, columns], codes [rows, padded], scales [rows, padded / 32, 2]:
                            // a run's scale, and that times the sum of its codes
    uint rows, columns, padded; // padded: a multiple of 32
} p;

shared uint greatest[SIZE];
shared int sums[SIZE];

void main() {
    uint id = gl_LocalInvocationIndex, row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= p.rows) return;
    uint first = id / FOURS * FOURS;
    for (uint start = 0; start < p.padded; start += SIZE * 4) {
        uint k = start + id * 4, bits = 0;
        vec4 v = vec4(0);
        [[unroll]] for (uint i = 0; i < 4; i++) {
            if (k + i < p.columns) v[i] = Floats(p.x).at[row * p.columns + k + i];
            bits = max(bits, floatBitsToUint(v[i]) & 0x7fffffff);
        }
        greatest[id] = bits;
        barrier();
        [[unroll]] for (uint i = 0; i < FOURS; i++) bits = max(bits, greatest[first + i]);
        float most = uintBitsToFloat(bits);
        bool tiny = bits < 0x03800000; // 2^-120: 127 / most may be none of f32
        ivec4 codes = tiny ? ivec4(0) : ivec4(clamp(roundEven(v * (127 / most)), -127, 127));
        sums[id] = codes.x + codes.y + codes.z + codes.w;
        if (k < p.padded)
            Words(p.codes).at[(row * p.padded + k) / 4] = (codes.x & 0xff) | (codes.y & 0xff) << 8 |
                                                          (codes.z & 0xff) << 16 | codes.w << 24;
        barrier();
        if (id == first && k < p.padded) {
            int sum = 0;
            [[unroll]] for (uint i = 0; i < FOURS; i++) sum += sums[first + i];
            float scale = tiny ? 0 : bits >= 0x7f800000 ? not_a_number() : most / 127;
            uint at = (row * p.padded + k) / 16;
            Floats(p.scales).at[at] = scale;
            Floats(p.scales).at[at + 1] = scale * float(sum);
        }
        barrier();
    }
}
