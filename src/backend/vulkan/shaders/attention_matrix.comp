// out = softmax(q k^T / sqrt(dim)) v, see attention.comp, with cooperative matrices: f16 operands, f32
// sums, scores and weights. A workgroup computes M rows of one head for each of its subgroups, from
// 32 keys at a time, of which all subgroups use the keys, then the values, from shared memory.
//
// q, k and v are divided by powers of two that keep them within f16's range: one for 32 rows of q, one
// for all keys so far, one for all values so far.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "memory.glsl"
#include "range.glsl"
#include "operands.glsl"

layout(local_size_x_id = 2) in; // SIZE
layout(constant_id = 0) const uint DIM = 128;  // of a head: a multiple of 32
layout(constant_id = 1) const uint LANES = 32; // of a subgroup: a multiple of M
layout(constant_id = 2) const uint SIZE = 256;
layout(constant_id = 6) const uint M = 16;     // of a matrix
layout(constant_id = 7) const uint N = 16;
layout(constant_id = 8) const uint K = 16;

layout(push_constant, scalar) uniform Push {
    uvec2 q, k, v, out_;
    uint T, S, heads, kv_heads, causal;
    float scale;
} p;

const uint KEYS = 32;
const uint WAVES = SIZE / LANES, PER_ROW = LANES / M; // invocations that share a row
const uint PARTS = DIM / 8, STRIDE = PARTS + 1;       // of a row in shared memory
const uint LOADS = KEYS * PARTS / SIZE;               // of an invocation
const uint STRIP = KEYS + 4;                          // of a row of scores
const uint OWN = KEYS / PER_ROW;                      // scores of an invocation

shared uvec4 tile[KEYS * STRIDE];
shared uint strips[WAVES * M * STRIP]; // scores as f32, then weights as f16
shared float factors[WAVES * M * N];   // and parts of results
shared int exponents[3];               // of q (of the subgroup at work), k, v

float minus_infinity() {
    return uintBitsToFloat(0xff800000);
}

void order_shared() {
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                   gl_SemanticsAcquireRelease);
}

// Brings rows first to first + KEYS of a head to shared memory; zeros from row `end` on. The
// exponent number n rises as is needed; used: what it was for this invocation.
void load_tile(uvec2 data, uint heads, uint head, uint first, uint end, uint n, inout int used) {
    float v[LOADS][8];
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint row = first + (gl_LocalInvocationIndex + i * SIZE) / PARTS;
        uint part = (gl_LocalInvocationIndex + i * SIZE) % PARTS * 8;
        [[unroll]] for (uint j = 0; j < 8; j++) v[i][j] = 0;
        if (row < end)
            [[unroll]] for (uint j = 0; j < 8; j++)
                v[i][j] = Floats(data).at[(row * heads + head) * DIM + part + j];
        uint bits = greatest_bits(v[i]);
        if (passes(bits, used)) atomicMax(exponents[n], exponent_of(bits));
    }
    barrier(); // now the exponent is known, and the tile is not needed any more
    used = exponents[n];
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint at = gl_LocalInvocationIndex + i * SIZE;
        tile[at / PARTS * STRIDE + at % PARTS] = pack(v[i], used);
    }
    barrier();
}

void main() {
    uint wave = gl_SubgroupID, lane = gl_SubgroupInvocationID;
    uint head = gl_WorkGroupID.x, kv_head = head / (p.heads / p.kv_heads);
    uint first = gl_WorkGroupID.y * WAVES * M, top = first + wave * M, row = top + lane % M;
    uint strip = wave * M * STRIP, mine = strip + lane % M * STRIP, own = lane / M * OWN;
    uint last = p.causal != 0 ? min(p.S - p.T + first + WAVES * M, p.S) : p.S; // keys that are seen
    uint seen = p.causal != 0 ? min(p.S - p.T + row + 1, p.S) : p.S;
    int k_used = LEAST_EXPONENT, v_used = LEAST_EXPONENT, v_summed = LEAST_EXPONENT, q_used = 0;
    float greatest = minus_infinity(), total = 0; // total: of the keys of this invocation
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> q[DIM / K];
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[DIM / N];
    [[unroll]] for (uint i = 0; i < DIM / N; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);

    if (gl_LocalInvocationIndex < 3) exponents[gl_LocalInvocationIndex] = LEAST_EXPONENT;
    barrier();
    // Each pass brings KEYS rows of q, those of one or more subgroups.
    for (uint from = 0; from < WAVES * M; from += KEYS) {
        int used = LEAST_EXPONENT;
        load_tile(p.q, p.heads, head, first + from, p.T, 0, used);
        if (wave * M >= from && wave * M < from + KEYS) {
            [[unroll]] for (uint n = 0; n < DIM / K; n++)
                coopMatLoad(q[n], tile, (wave * M - from) * STRIDE + n * K / 8, STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
            q_used = used;
        }
        barrier();
        if (gl_LocalInvocationIndex == 0) exponents[0] = LEAST_EXPONENT;
        barrier();
    }
    for (uint key = 0; key < last; key += KEYS) {
        load_tile(p.k, p.kv_heads, kv_head, key, p.S, 1, k_used);
        [[unroll]] for (uint b = 0; b < KEYS / N; b++) {
            coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> scores =
                coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
            coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> k;
            [[unroll]] for (uint n = 0; n < DIM / K; n++) {
                coopMatLoad(k, tile, b * N * STRIDE + n * K / 8, STRIDE,
                            gl_CooperativeMatrixLayoutColumnMajor);
                scores = coopMatMulAdd(q[n], k, scores);
            }
            coopMatStore(scores, strips, strip + b * N, STRIP, gl_CooperativeMatrixLayoutRowMajor);
        }
        order_shared();
        float weights[OWN], before = greatest;
        for (uint i = 0; i < KEYS; i++) {
            float score = scale_by(uintBitsToFloat(strips[mine + i]), q_used + k_used) * p.scale;
            if (key + i < seen) greatest = max(greatest, score);
        }
        float keep = before > minus_infinity() ? exp(before - greatest) : 0.0;
        total *= keep;
        [[unroll]] for (uint i = 0; i < OWN; i++) { // what is not finite must not get lost
            float score =
                scale_by(uintBitsToFloat(strips[mine + own + i]), q_used + k_used) * p.scale;
            weights[i] = is_finite(score) ? exp(score - greatest) : not_a_number();
            if (key + own + i >= seen) weights[i] = 0;
            total += weights[i];
        }
        order_shared();
        [[unroll]] for (uint i = 0; i < OWN; i += 2)
            strips[mine + (own + i) / 2] = to_halves(vec2(weights[i], weights[i + 1]));
        load_tile(p.v, p.kv_heads, kv_head, key, p.S, 2, v_used); // orders the strips, too
        keep *= scale_by(1.0, v_summed - v_used);
        v_summed = v_used;
        for (uint i = own / OWN; i < N; i += PER_ROW) factors[(wave * M + lane % M) * N + i] = keep;
        order_shared();
        coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> kept;
        coopMatLoad(kept, factors, wave * M * N, N, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint b = 0; b < DIM / N; b++) {
            sums[b] = sums[b] * kept;
            [[unroll]] for (uint n = 0; n < KEYS / K; n++) {
                coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> w;
                coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> v;
                coopMatLoad(w, strips, strip + n * K / 2, STRIP, gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(v, tile, n * K * STRIDE + b * N / 8, STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
                sums[b] = coopMatMulAdd(w, v, sums[b]);
            }
        }
    }
    // The total of a row is that of all invocations that share it.
    order_shared();
    factors[(wave * M + lane % M) * N + lane / M] = total;
    order_shared();
    total = 0;
    [[unroll]] for (uint i = 0; i < PER_ROW; i++) total += factors[(wave * M + lane % M) * N + i];
    [[unroll]] for (uint b = 0; b < DIM / N; b++) {
        order_shared();
        coopMatStore(sums[b], factors, wave * M * N, N, gl_CooperativeMatrixLayoutRowMajor);
        order_shared();
        if (row < p.T)
            for (uint i = lane / M; i < N; i += PER_ROW)
                Floats(p.out_).at[(row * p.heads + head) * DIM + b * N + i] =
                    scale_by(factors[(wave * M + lane % M) * N + i], v_summed) / total;
    }
}
