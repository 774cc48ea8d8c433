// A product of many rows with cooperative matrices: f16 operands, f32 sums. To be included last,
// after the functions that say what is multiplied:
//
//   uint product_rows(), product_columns(), product_depth()
//   int x_exponent_of(uint row): the power of two by which load_x has divided the row
//   ivec2 locate_x(uint row): what load_x wants to know of a row
//   load_x: values k + part to k + part + 7 of a row of x. With X_HALVES it returns them as f16, and
//     rows behind the last one may be read; otherwise as f32, zeros behind the last row
//   load_w: likewise for a row of w, always as f32
//   store_result(uint row, uint column, float value): of a place that exists
//
// A workgroup computes ROWS x COLUMNS results, from DEPTH values of its rows of x and w at a time,
// which it keeps in shared memory as f16; those of the next step are on their way meanwhile. Each
// subgroup computes WAVE_ROWS x WAVE_COLUMNS of the results.
//
// Values that could pass f16's range are divided by a power of two that M rows of x, or N rows of w,
// have in common. It rises with the values; sums so far are brought to the new one.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "range.glsl"
#include "operands.glsl"

const uint SIZE = 256, DEPTH = 32;
layout(local_size_x = SIZE) in;

layout(constant_id = 6) const uint M = 16; // of a matrix
layout(constant_id = 7) const uint N = 16;
layout(constant_id = 8) const uint K = 16; // a multiple of eight that divides DEPTH
layout(constant_id = 9) const uint ROWS = 64;
layout(constant_id = 10) const uint COLUMNS = 64;
layout(constant_id = 11) const uint WAVE_ROWS = 32;
layout(constant_id = 12) const uint WAVE_COLUMNS = 16;
layout(constant_id = 13) const bool W_WIDE = true; // w may have values that f16 does not have

const uint BAND = 8;             // tiles of rows that share a tile of w while it is in the cache
const uint PARTS = DEPTH / 8;    // of a row in shared memory, of eight values each
const uint STRIDE = PARTS + 1;   // one more, so that rows lie in different banks
const uint DOWN = WAVE_ROWS / M, ACROSS = WAVE_COLUMNS / N;
const uint WAVES_ACROSS = COLUMNS / WAVE_COLUMNS, WAVES = ROWS / WAVE_ROWS * WAVES_ACROSS;
const uint X_PARTS = ROWS * PARTS / SIZE, W_PARTS = COLUMNS * PARTS / SIZE; // of an invocation

shared uvec4 x_tile[ROWS * STRIDE], w_tile[COLUMNS * STRIDE];
shared int x_exponents[ROWS / M], w_exponents[COLUMNS / N];
shared float results[WAVES * M * N];

void order_shared() {
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                   gl_SemanticsAcquireRelease);
}

// The first row and column of the workgroup's tile. False: there is no such tile.
bool find_tile(out uint top, out uint left) {
    uint down = (product_rows() + ROWS - 1) / ROWS, across = (product_columns() + COLUMNS - 1) / COLUMNS;
    uint number = gl_WorkGroupID.y * 32768 + gl_WorkGroupID.x; // as gpu_spread does it
    uint first = number / (BAND * across) * BAND, height = max(min(BAND, down - first), 1);
    uint at = number - first * across;
    top = (first + at % height) * ROWS;
    left = at / height * COLUMNS;
    return number < down * across;
}

void main() {
    uint id = gl_LocalInvocationIndex, top, left;
    if (!find_tile(top, left)) return;
    uint wave_top = gl_SubgroupID / WAVES_ACROSS * WAVE_ROWS;
    uint wave_left = gl_SubgroupID % WAVES_ACROSS * WAVE_COLUMNS;
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[DOWN * ACROSS];
    [[unroll]] for (uint i = 0; i < DOWN * ACROSS; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);

    // What an invocation loads: x and w of the next step, and the exponents that it has used last.
    ivec2 x_places[X_PARTS];
#ifdef X_HALVES
    uvec4 x_next[X_PARTS];
#else
    float x_next[X_PARTS][8];
    int x_used[X_PARTS], x_summed[DOWN];
    [[unroll]] for (uint i = 0; i < X_PARTS; i++) x_used[i] = 0;
    [[unroll]] for (uint i = 0; i < DOWN; i++) x_summed[i] = 0;
    if (id < ROWS / M) x_exponents[id] = 0;
#endif
    float w_next[W_PARTS][8];
    int start = W_WIDE ? LEAST_EXPONENT : 0, w_used[W_PARTS], w_summed[ACROSS];
    [[unroll]] for (uint i = 0; i < W_PARTS; i++) w_used[i] = start;
    [[unroll]] for (uint i = 0; i < ACROSS; i++) w_summed[i] = start;
    if (id < COLUMNS / N) w_exponents[id] = start;
    [[unroll]] for (uint i = 0; i < X_PARTS; i++) x_places[i] = locate_x(top + (id + i * SIZE) / PARTS);
    barrier();

    uint part = id % PARTS * 8; // of all that this invocation loads: SIZE is a multiple of PARTS
    for (uint k = 0; k < product_depth() + DEPTH; k += DEPTH) {
        // Step k / DEPTH loads for itself and computes the step before.
        if (k < product_depth()) {
#ifdef X_HALVES
            [[unroll]] for (uint i = 0; i < X_PARTS; i++) x_next[i] = load_x(x_places[i], k, part);
#else
            [[unroll]] for (uint i = 0; i < X_PARTS; i++) load_x(x_places[i], k, part, x_next[i]);
#endif
            [[unroll]] for (uint i = 0; i < W_PARTS; i++)
                load_w(left + (id + i * SIZE) / PARTS, k, part, w_next[i]);
        }
        if (k > 0)
            [[unroll]] for (uint n = 0; n < DEPTH / K; n++) {
                coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> x[DOWN];
                coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> w;
                [[unroll]] for (uint a = 0; a < DOWN; a++)
                    coopMatLoad(x[a], x_tile, (wave_top + a * M) * STRIDE + n * K / 8, STRIDE,
                                gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint b = 0; b < ACROSS; b++) {
                    coopMatLoad(w, w_tile, (wave_left + b * N) * STRIDE + n * K / 8, STRIDE,
                                gl_CooperativeMatrixLayoutColumnMajor);
                    [[unroll]] for (uint a = 0; a < DOWN; a++)
                        sums[a * ACROSS + b] = coopMatMulAdd(x[a], w, sums[a * ACROSS + b]);
                }
            }
        if (k >= product_depth()) break;
#ifndef X_HALVES
        [[unroll]] for (uint i = 0; i < X_PARTS; i++) {
            uint bits = greatest_bits(x_next[i]);
            if (passes(bits, x_used[i]))
                atomicMax(x_exponents[(id + i * SIZE) / PARTS / M], exponent_of(bits));
        }
#endif
        if (W_WIDE)
            [[unroll]] for (uint i = 0; i < W_PARTS; i++) {
                uint bits = greatest_bits(w_next[i]);
                if (passes(bits, w_used[i]))
                    atomicMax(w_exponents[(id + i * SIZE) / PARTS / N], exponent_of(bits));
            }
        barrier(); // now the exponents are known, and the tiles are not needed any more
        [[unroll]] for (uint i = 0; i < X_PARTS; i++) {
            uint row = (id + i * SIZE) / PARTS;
#ifdef X_HALVES
            x_tile[row * STRIDE + part / 8] = x_next[i];
#else
            x_used[i] = x_exponents[row / M];
            x_tile[row * STRIDE + part / 8] = pack(x_next[i], x_used[i]);
#endif
        }
        [[unroll]] for (uint i = 0; i < W_PARTS; i++) {
            uint row = (id + i * SIZE) / PARTS;
            if (W_WIDE) w_used[i] = w_exponents[row / N];
            w_tile[row * STRIDE + part / 8] = pack(w_next[i], w_used[i]);
        }
#ifndef X_HALVES
        [[unroll]] for (uint a = 0; a < DOWN; a++) {
            int e = x_exponents[wave_top / M + a];
            if (e != x_summed[a])
                [[unroll]] for (uint b = 0; b < ACROSS; b++)
                    sums[a * ACROSS + b] = sums[a * ACROSS + b] * scale_by(1.0, x_summed[a] - e);
            x_summed[a] = e;
        }
#endif
        if (W_WIDE)
            [[unroll]] for (uint b = 0; b < ACROSS; b++) {
                int e = w_exponents[wave_left / N + b];
                if (e != w_summed[b])
                    [[unroll]] for (uint a = 0; a < DOWN; a++)
                        sums[a * ACROSS + b] = sums[a * ACROSS + b] * scale_by(1.0, w_summed[b] - e);
                w_summed[b] = e;
            }
        barrier();
    }

    [[unroll]] for (uint a = 0; a < DOWN; a++)
        [[unroll]] for (uint b = 0; b < ACROSS; b++) {
            order_shared();
            coopMatStore(sums[a * ACROSS + b], results, gl_SubgroupID * M * N, N,
                         gl_CooperativeMatrixLayoutRowMajor);
            order_shared();
            for (uint i = gl_SubgroupInvocationID; i < M * N; i += gl_SubgroupSize) {
                uint row = top + wave_top + a * M + i / N, column = left + wave_left + b * N + i % N;
                if (row >= product_rows() || column >= product_columns()) continue;
#ifdef X_HALVES
                int e = x_exponent_of(row) + w_summed[b];
#else
                int e = x_summed[a] + w_summed[b];
#endif
                store_result(row, column, scale_by(results[gl_SubgroupID * M * N + i], e));
            }
        }
}
