// y [T, N] = x [T, K] w^T + bias with dot products of packed bytes. x is codes and scales, as
// quantize.comp makes them. A workgroup computes TILE x TILE results, from a run of 32 values of x and
// of w at a time, which it keeps in shared memory as codes; those of the next run are on their way
// meanwhile. An invocation computes EACH x EACH results, in blocks of 4 x 4. The products of a run
// are added as integers, and times both scales to sums in f32.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#include "weights.glsl"
#include "codes.glsl"

// OpSDotKHR. 6019: DotProduct, 6018: of words with four bytes, which is what `format` 0 says.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int dot_of_bytes(int a, int b, spirv_literal int format);

layout(local_size_x = 256) in;
layout(constant_id = 6) const uint EACH = 4; // 4 or 8

layout(push_constant, scalar) uniform Push {
    Weight w;
    uvec2 x, scales, bias, y;
    uint T, padded;
} p;

const uint TILE = 16 * EACH, RUN = 32, WORDS = RUN / 4, QUADS = EACH / 4;
const uint PARTS = RUN / 8, LOADS = TILE * PARTS / 256; // eight codes each; of an invocation
const uint PAD = TILE / 4 + 1; // from one word of all rows to the next, in vectors of four
shared ivec4 xs[WORDS * PAD], ws[WORDS * PAD];
shared vec2 x_terms[TILE], w_terms[TILE];

void load_input(uint row, uint k, out uvec2 words, out vec2 terms) {
    words = uvec2(0);
    terms = vec2(0);
    if (row >= p.T) return;
    uint at = row * p.padded + k;
    words = Pairs(p.x).at[at / 8];
    uvec2 bits = Pairs(p.scales).at[at / RUN];
    terms = vec2(uintBitsToFloat(bits.x), uintBitsToFloat(bits.y));
}

void main() {
    uint id = gl_LocalInvocationIndex, left = gl_WorkGroupID.x * TILE, top = gl_WorkGroupID.y * TILE;
    uint row = id / PARTS, part = id % PARTS * 8, i = id / 16, j = id % 16;
    const uint down = 256 / PARTS; // rows from one load of an invocation to the next
    float sums[EACH][EACH];
    uvec2 x_next[LOADS], w_next[LOADS];
    vec2 x_next_terms[LOADS], w_next_terms[LOADS];
    [[unroll]] for (uint a = 0; a < EACH; a++)
        [[unroll]] for (uint b = 0; b < EACH; b++) sums[a][b] = 0;
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        load_input(top + row + n * down, part, x_next[n], x_next_terms[n]);
        load_codes(p.w, left + row + n * down, part, w_next[n], w_next_terms[n]);
    }
    for (uint k = 0; k < p.padded; k += RUN) {
        [[unroll]] for (uint n = 0; n < LOADS; n++) {
            uint r = row + n * down;
            [[unroll]] for (uint word = 0; word < 2; word++) {
                xs[(part / 4 + word) * PAD + r / 4][r % 4] = int(x_next[n][word]);
                ws[(part / 4 + word) * PAD + r / 4][r % 4] = int(w_next[n][word]);
            }
            if (part == 0) {
                x_terms[r] = x_next_terms[n];
                w_terms[r] = w_next_terms[n];
            }
        }
        barrier();
        if (k + RUN < p.padded)
            [[unroll]] for (uint n = 0; n < LOADS; n++) {
                load_input(top + row + n * down, k + RUN + part, x_next[n], x_next_terms[n]);
                load_codes(p.w, left + row + n * down, k + RUN + part, w_next[n], w_next_terms[n]);
            }
        [[unroll]] for (uint q = 0; q < QUADS; q++) { // one by one, for fewer registers
            int dots[4][EACH];
            [[unroll]] for (uint a = 0; a < 4; a++)
                [[unroll]] for (uint b = 0; b < EACH; b++) dots[a][b] = 0;
            [[unroll]] for (uint n = 0; n < WORDS; n++) {
                ivec4 x = xs[n * PAD + q * 16 + i], w[QUADS];
                [[unroll]] for (uint b = 0; b < QUADS; b++) w[b] = ws[n * PAD + b * 16 + j];
                [[unroll]] for (uint a = 0; a < 4; a++)
                    [[unroll]] for (uint b = 0; b < EACH; b++)
                        dots[a][b] += dot_of_bytes(x[a], w[b / 4][b % 4], 0);
            }
            [[unroll]] for (uint a = 0; a < 4; a++) {
                vec2 x = x_terms[q * 64 + i * 4 + a];
                [[unroll]] for (uint b = 0; b < EACH; b++) {
                    vec2 w = w_terms[b / 4 * 64 + j * 4 + b % 4];
                    float sum = fma(float(dots[a][b]), x.x * w.x, sums[q * 4 + a][b]);
                    sums[q * 4 + a][b] = has_minima() ? fma(x.y, w.y, sum) : sum;
                }
            }
        }
        barrier();
    }
    [[unroll]] for (uint b = 0; b < EACH; b++) {
        uint column = left + b / 4 * 64 + j * 4 + b % 4;
        if (column >= p.w.rows) continue;
        float factor = load_factor(p.w, column);
        float bias = load_optional(p.bias, column, p.y);
        [[unroll]] for (uint a = 0; a < EACH; a++) {
            uint t = top + a / 4 * 64 + i * 4 + a % 4;
            if (t < p.T) Floats(p.y).at[t * p.w.rows + column] = sums[a][b] * factor + bias;
        }
    }
}
