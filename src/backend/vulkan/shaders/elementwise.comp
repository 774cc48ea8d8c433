// Operations on single elements, in place. KIND: as zi_elementwise_kind numbers them.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint KIND = 0;
const uint ADD = 0, ADD_SCALED = 1, EXTRAPOLATE = 2, SILU = 3, SILU_MUL = 4, TANH = 5, DIVIDE_ADD = 6;

layout(push_constant, scalar) uniform Push {
    uvec2 x, y;
    uint rows, columns, x_stride, y_stride;
    float a, b;
} p;

float silu(float x) {
    return x / (1 + exp(-x));
}

float result(float x, float y) {
    switch (KIND) {
    case ADD: return x + y;
    case ADD_SCALED: return x + p.a * y;
    case EXTRAPOLATE: return x + p.a * (x - y);
    case SILU: return silu(x);
    case SILU_MUL: return silu(x) * y;
    case TANH: return is_finite(x) ? tanh(clamp(x, -20.0, 20.0)) : not_a_number();
    default: return x / p.a + p.b;
    }
}

void main() {
    uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    if (column >= p.columns) return;
    for (; row < p.rows; row += gl_NumWorkGroups.y) {
        uint at = row * p.x_stride + column;
        float y = is_null(p.y) ? 0.0 : Floats(p.y).at[row * p.y_stride + column];
        Floats(p.x).at[at] = result(Floats(p.x).at[at], y);
    }
}
