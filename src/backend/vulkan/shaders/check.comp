// Sets a flag if a value is an infinity or a NaN. WORDS: 1 for f32, 2 for f64.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint WORDS = 1;

layout(push_constant, scalar) uniform Push {
    uvec2 x, flag;
    uint rows, columns, stride; // values
} p;

void main() {
    const uint exponent = WORDS == 1 ? 0x7f800000 : 0x7ff00000;
    bool found = false;
    for (uint row = gl_WorkGroupID.y; row < p.rows; row += gl_NumWorkGroups.y)
        for (uint i = gl_GlobalInvocationID.x; i < p.columns; i += gl_NumWorkGroups.x * 256)
            found = found || (Words(p.x).at[(row * p.stride + i) * WORDS + WORDS - 1] & exponent) == exponent;
    if (found) Words(p.flag).at[0] = 1;
}
