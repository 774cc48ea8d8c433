// RMS and layer norms; a workgroup norms a row. KIND: as zi_norm_kind numbers them.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint SIZE = 128; // a power of two
layout(constant_id = 1) const uint KIND = 0;
const uint RMS_NORM = 0, ADD_RMS_NORM = 1, LAYER_NORM = 2;

layout(push_constant, scalar) uniform Push {
    uvec2 x, y, weight, scale, gate;
    uint rows, D;
    float eps;
} p;

shared float partial[SIZE];

// The sum of all invocations' values.
float sum_all(float value) {
    uint id = gl_LocalInvocationIndex;
    barrier();
    partial[id] = value;
    for (uint half_size = SIZE / 2; half_size > 0; half_size /= 2) {
        barrier();
        if (id < half_size) partial[id] += partial[id + half_size];
    }
    barrier();
    return partial[0];
}

void main() {
    uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, begin = row * p.D;
    if (row >= p.rows) return;
    float sum = 0, mean = 0;
    if (KIND == LAYER_NORM) {
        for (uint i = gl_LocalInvocationIndex; i < p.D; i += SIZE) sum += Floats(p.x).at[begin + i];
        mean = sum_all(sum) / float(p.D);
        sum = 0;
    }
    for (uint i = gl_LocalInvocationIndex; i < p.D; i += SIZE) {
        float value = Floats(p.x).at[begin + i] - mean;
        sum = fma(value, value, sum);
    }
    float inverse = 1.0 / sqrt(sum_all(sum) / float(p.D) + p.eps);
    for (uint i = gl_LocalInvocationIndex; i < p.D; i += SIZE) {
        float value = (Floats(p.x).at[begin + i] - mean) * inverse;
        if (KIND != LAYER_NORM) value *= Floats(p.weight).at[i];
        if (KIND == ADD_RMS_NORM)
            Floats(p.y).at[begin + i] += is_null(p.gate) ? value : Floats(p.gate).at[i] * value;
        else
            Floats(p.y).at[begin + i] =
                is_null(p.scale) ? value : value * (1 + Floats(p.scale).at[i]);
    }
}
