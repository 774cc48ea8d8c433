// out = softmax(q k^T / sqrt(dim)) v without a matrix of scores: a workgroup computes QUERIES rows of
// one head from 32 keys at a time. Eight invocations share a query; each holds every eighth result.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x_id = 0) in;                  // 8 QUERIES
layout(constant_id = 0) const uint SIZE = 128;
layout(constant_id = 1) const uint DIM = 128;    // of a head
layout(constant_id = 2) const uint RESULTS = 16; // DIM / 8, rounded up

layout(push_constant, scalar) uniform Push {
    uvec2 q, k, v, out_;
    uint T, S, heads, kv_heads, causal;
    float scale;
} p;

const uint KEYS = 32, PART = 32, LANES = 8, PAD = PART + 1;
const uint QUERIES = SIZE / LANES;
shared float queries[QUERIES * DIM];
shared float part[KEYS * PAD]; // 32 values of each key, or of each value
shared float scores[QUERIES * KEYS];

float minus_infinity() {
    return uintBitsToFloat(0xff800000);
}

// Values [from, from + PART) of 32 rows from row `first` of k or v; zeros behind the last one.
void load_part(uvec2 data, uint head, uint first, uint from) {
    for (uint i = gl_LocalInvocationIndex; i < KEYS * PART; i += SIZE) {
        uint row = first + i / PART, column = from + i % PART;
        part[i / PART * PAD + i % PART] =
            row < p.S && column < DIM ? Floats(data).at[(row * p.kv_heads + head) * DIM + column] : 0.0;
    }
}

void main() {
    uint id = gl_LocalInvocationIndex, query = id / LANES, lane = id % LANES;
    uint head = gl_WorkGroupID.x, kv_head = head / (p.heads / p.kv_heads);
    uint first = gl_WorkGroupID.y * QUERIES, row = first + query;
    uint last = p.causal != 0 ? min(p.S - p.T + first + QUERIES, p.S) : p.S; // keys that are seen
    uint seen = p.causal != 0 ? p.S - p.T + row + 1 : p.S;
    float sums[RESULTS], greatest = minus_infinity(), total = 0;
    [[unroll]] for (uint i = 0; i < RESULTS; i++) sums[i] = 0;
    for (uint i = id; i < QUERIES * DIM; i += SIZE) {
        uint t = first + i / DIM;
        queries[i] = t < p.T ? Floats(p.q).at[(t * p.heads + head) * DIM + i % DIM] * p.scale : 0.0;
    }
    for (uint key = 0; key < last; key += KEYS) {
        float score[KEYS / LANES];
        [[unroll]] for (uint i = 0; i < KEYS / LANES; i++) score[i] = 0;
        for (uint from = 0; from < DIM; from += PART) {
            barrier();
            load_part(p.k, kv_head, key, from);
            barrier();
            for (uint c = 0; c < min(PART, DIM - from); c++) {
                float q = queries[query * DIM + from + c];
                [[unroll]] for (uint i = 0; i < KEYS / LANES; i++)
                    score[i] = fma(q, part[(i * LANES + lane) * PAD + c], score[i]);
            }
        }
        barrier();
        [[unroll]] for (uint i = 0; i < KEYS / LANES; i++)
            scores[query * KEYS + i * LANES + lane] =
                key + i * LANES + lane < seen ? score[i] : minus_infinity();
        barrier();
        float before = greatest;
        for (uint i = 0; i < KEYS; i++) greatest = max(greatest, scores[query * KEYS + i]);
        barrier();
        float keep = before > minus_infinity() ? exp(before - greatest) : 0.0;
        [[unroll]] for (uint i = 0; i < KEYS / LANES; i++) { // what is not finite must not get lost
            uint number = i * LANES + lane;
            float weight = is_finite(score[i]) ? exp(score[i] - greatest) : not_a_number();
            scores[query * KEYS + number] = key + number < seen ? weight : 0.0;
        }
        barrier();
        total *= keep;
        for (uint i = 0; i < KEYS; i++) total += scores[query * KEYS + i];
        [[unroll]] for (uint i = 0; i < RESULTS; i++) sums[i] *= keep;
        [[unroll]] for (uint from = 0; from < DIM; from += PART) {
            barrier();
            load_part(p.v, kv_head, key, from);
            barrier();
            for (uint c = 0; c < KEYS; c++) {
                float weight = scores[query * KEYS + c];
                [[unroll]] for (uint i = 0; i < PART / LANES; i++)
                    if (from / LANES + i < RESULTS)
                        sums[from / LANES + i] =
                            fma(weight, part[c * PAD + i * LANES + lane], sums[from / LANES + i]);
            }
        }
    }
    if (row >= p.T) return;
    [[unroll]] for (uint i = 0; i < RESULTS; i++)
        if (i * LANES + lane < DIM)
            Floats(p.out_).at[(row * p.heads + head) * DIM + i * LANES + lane] = sums[i] / total;
}
