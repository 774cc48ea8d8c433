// Copies a box of five dimensions from one order to another; an invocation copies one element.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Push {
    uvec2 from, to;
    uint extents[5], from_strides[5], to_strides[5];
    uint count;
} p;

void main() {
    uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * 256 + gl_LocalInvocationIndex;
    if (i >= p.count) return;
    uint from = 0, to = 0;
    [[unroll]] for (int d = 4; d >= 0; d--) {
        uint index = i % p.extents[d];
        i /= p.extents[d];
        from += index * p.from_strides[d];
        to += index * p.to_strides[d];
    }
    Floats(p.to).at[to] = Floats(p.from).at[from];
}
