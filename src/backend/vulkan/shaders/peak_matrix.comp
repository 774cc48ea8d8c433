// Products of cooperative matrices in registers, and nothing else: 8 in each of `rounds`, for each
// subgroup.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "memory.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 6) const uint M = 16;
layout(constant_id = 7) const uint N = 16;
layout(constant_id = 8) const uint K = 16;

layout(push_constant, scalar) uniform Push {
    uvec2 out_;
    uint rounds;
    float factor; // all values of the operands
    float expected;
} p;

const uint CHAINS = 8; // so that no product waits for the one before

void main() {
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> x =
        coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>(float16_t(p.factor));
    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> w =
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>(float16_t(p.factor));
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[CHAINS];
    [[unroll]] for (uint i = 0; i < CHAINS; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(float(i));
    for (uint round = 0; round < p.rounds; round++)
        [[unroll]] for (uint i = 0; i < CHAINS; i++) sums[i] = coopMatMulAdd(x, w, sums[i]);
    // Used, so that compilers leave nothing out.
    [[unroll]] for (uint i = 1; i < CHAINS; i++) sums[0] = sums[0] + sums[i];
    if (sums[0][0] == p.expected) Floats(p.out_).at[0] = p.expected;
}
