// Values of a stored weight, eight at a time: see zi_weight in backend.h and, for the types of
// blocks, base/blocks.c.
#include "memory.glsl"

// As zi_dtype numbers them.
const uint F32 = 0, F16 = 1, BF16 = 2, F8_E4M3 = 4, F8_E5M2 = 5, F8_E8M0 = 6, I8 = 7;
const uint Q4_0 = 16, Q4_1 = 17, Q5_0 = 18, Q5_1 = 19, Q8_0 = 20, Q2_K = 21, Q3_K = 22, Q4_K = 23,
           Q5_K = 24, Q6_K = 25, IQ4_NL = 26, IQ4_XS = 27;
// As zi_codes numbers them.
const uint CODES_INTEGER = 0, CODES_E2M1 = 1, CODES_E2M1_HIGH = 2, CODES_E4M3 = 3;

layout(constant_id = 0) const uint TYPE = 0;       // of plain weights and blocks
layout(constant_id = 1) const uint BITS = 0;       // 0: not in groups
layout(constant_id = 2) const uint CODES = 0;
layout(constant_id = 3) const uint GROUP = 32;
layout(constant_id = 4) const uint SCALE_TYPE = 0;
layout(constant_id = 5) const uint FLAGS = 0;
const uint HAS_BIASES = 1, SWIZZLED = 2, ONE_FACTOR = 4, ROW_FACTORS = 8;
const uint ALIGNED = 16; // rows begin at multiples of eight bytes, and have whole runs of eight

struct Weight {
    uvec2 data, scales, biases, factors; // addresses
    uint rows, columns;                  // elements
    uint row_bytes;                      // from one row in memory to the next
    uint groups;                         // of a row
    uint first_row;                      // among swizzled scales
    uint unused;
};

// ---- numbers ----

float from_bf16(uint bits) {
    return uintBitsToFloat(bits << 16);
}

float from_f16(uint bits) {
    return unpackHalf2x16(bits).x;
}

float from_e4m3(uint code) {
    float value = uintBitsToFloat((code & 0x7f) << 20) * uintBitsToFloat(0x7b800000); // 2^120
    if ((code & 0x78) == 0) value = float(code & 7) * (1.0 / 512); // 2^-9: no subnormal floats
    if ((code & 0x7f) == 0x7f) value = uintBitsToFloat(0x7fc00000);
    return (code & 0x80) != 0 ? -value : value;
}

float from_e8m0(uint code) {
    if (code == 255) return uintBitsToFloat(0x7fc00000);
    return code == 0 ? uintBitsToFloat(0x00400000) : uintBitsToFloat(code << 23);
}

float from_e2m1(uint code) {
    uint m = code & 7;
    float value = m < 5 ? float(m) * 0.5 : float(m) - 2.0;
    if (m == 7) value = 6;
    return (code & 8) != 0 ? -value : value;
}

float iq4_value(uint code) {
    const float values[16] = float[](-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69,
                                     89, 113);
    return values[code];
}

// ---- bytes ----

uint load_byte(uvec2 data, uint at) {
    return uint(Bytes(data).at[at]);
}

uint load_half(uvec2 data, uint at) { // at: even
    return uint(Halves(data).at[at >> 1]);
}

float load_f16(uvec2 data, uint at) { // at: even
    return from_f16(load_half(data, at));
}

// Eight bytes from an even place.
uvec2 load_eight(uvec2 data, uint at) {
    return uvec2(load_half(data, at) | load_half(data, at + 2) << 16,
                 load_half(data, at + 4) | load_half(data, at + 6) << 16);
}

uint byte_of(uvec2 eight, uint i) {
    return (i < 4 ? eight.x >> 8 * i : eight.y >> 8 * (i - 4)) & 0xff;
}

int signed_byte(uint code) {
    return int(code << 24) >> 24;
}

// ---- blocks ----

struct Run { // eight values (q - zero) * scale + minimum
    uint q[8];
    float scale, minimum;
};

// Four bits of each of eight bytes.
void load_nibbles(uvec2 data, uint at, uint shift, inout Run run) {
    uvec2 eight = load_eight(data, at);
    [[unroll]] for (uint i = 0; i < 8; i++) run.q[i] = byte_of(eight, i) >> shift & 15;
}

void add_fifth_bits(uint bits, inout Run run) {
    [[unroll]] for (uint i = 0; i < 8; i++) run.q[i] |= (bits >> i & 1) << 4;
}

// Blocks of 32 that begin at `block`; j: the first value's number in the block.
void load_block_of_32(uvec2 data, uint block, uint j, out Run run) {
    run.minimum = 0;
    run.scale = load_f16(data, block);
    if (TYPE == Q8_0) {
        uvec2 eight = load_eight(data, block + 2 + j);
        [[unroll]] for (uint i = 0; i < 8; i++) run.q[i] = byte_of(eight, i) ^ 0x80;
        return;
    }
    bool has_minimum = TYPE == Q4_1 || TYPE == Q5_1, has_fifth = TYPE == Q5_0 || TYPE == Q5_1;
    uint at = block + 2;
    if (has_minimum) {
        run.minimum = load_f16(data, at);
        at += 2;
    }
    uint fifth = has_fifth ? load_half(data, at + j / 16 * 2) >> j % 16 : 0;
    if (has_fifth) at += 4;
    load_nibbles(data, at + j % 16, j / 16 * 4, run);
    if (has_fifth) add_fifth_bits(fifth, run);
}

// Two bits of each of eight bytes: numbers 16 g + j on of a block of 256.
void load_2bit_codes(uvec2 data, uint at, uint g, uint j, inout Run run) {
    uvec2 eight = load_eight(data, at + g / 8 * 32 + g % 2 * 16 + j);
    [[unroll]] for (uint i = 0; i < 8; i++) run.q[i] = byte_of(eight, i) >> g % 8 / 2 * 2 & 3;
}

void load_6bit_scales(uvec2 data, uint block, uint g, inout Run run) {
    uint s = block + 4;
    uint scale = g < 4 ? load_byte(data, s + g) & 63
                       : load_byte(data, s + g + 4) & 15 | load_byte(data, s + g - 4) >> 6 << 4;
    uint minimum = g < 4 ? load_byte(data, s + g + 4) & 63
                         : load_byte(data, s + g + 4) >> 4 | load_byte(data, s + g) >> 6 << 4;
    run.scale = load_f16(data, block) * float(scale);
    run.minimum = -(load_f16(data, block + 2) * float(minimum));
}

void load_q2_k(uvec2 data, uint block, uint g, uint j, inout Run run) {
    uint scales = load_byte(data, block + g);
    run.scale = load_f16(data, block + 80) * float(scales & 15);
    run.minimum = -(load_f16(data, block + 82) * float(scales >> 4));
    load_2bit_codes(data, block + 16, g, j, run);
}

void load_q3_k(uvec2 data, uint block, uint g, uint j, inout Run run) {
    uint low = load_byte(data, block + 96 + g % 8) >> g / 8 * 4 & 15;
    uint high = load_byte(data, block + 104 + g % 4) >> g / 4 * 2 & 3;
    run.scale = load_f16(data, block + 108) * float(int(low | high << 4) - 32);
    load_2bit_codes(data, block + 32, g, j, run);
    uvec2 third = load_eight(data, block + g % 2 * 16 + j);
    [[unroll]] for (uint i = 0; i < 8; i++) run.q[i] |= (byte_of(third, i) >> g / 2 & 1) << 2;
}

void load_q6_k(uvec2 data, uint block, uint g, uint j, inout Run run) {
    run.scale = load_f16(data, block + 208) * float(signed_byte(load_byte(data, block + 192 + g)));
    load_2bit_codes(data, block + 128, g, j, run);
    uvec2 low = load_eight(data, block + g / 8 * 64 + g % 4 * 16 + j);
    [[unroll]] for (uint i = 0; i < 8; i++)
        run.q[i] = run.q[i] << 4 | byte_of(low, i) >> g % 8 / 4 * 4 & 15;
}

void load_iq4_xs(uvec2 data, uint block, uint g, uint j, inout Run run) {
    uint low = load_byte(data, block + 4 + g / 2) >> g % 2 * 4 & 15;
    uint high = load_byte(data, block + 2 + g / 4) >> g % 4 * 2 & 3;
    run.scale = load_f16(data, block) * float(int(low | high << 4) - 32);
    load_nibbles(data, block + 8 + 16 * g + j % 16, j / 16 * 4, run);
}

// Blocks of 256 that begin at `block`; k: the first value's number in the block.
void load_block_of_256(uvec2 data, uint block, uint k, out Run run) {
    run.minimum = 0;
    if (TYPE == Q2_K) load_q2_k(data, block, k / 16, k % 16, run);
    if (TYPE == Q3_K) load_q3_k(data, block, k / 16, k % 16, run);
    if (TYPE == Q6_K) load_q6_k(data, block, k / 16, k % 16, run);
    if (TYPE == IQ4_XS) load_iq4_xs(data, block, k / 32, k % 32, run);
    if (TYPE == Q4_K || TYPE == Q5_K) {
        uint g = k / 32, j = k % 32;
        load_6bit_scales(data, block, g, run);
        load_nibbles(data, block + (TYPE == Q5_K ? 48 : 16) + g / 2 * 32 + j, g % 2 * 4, run);
        if (TYPE == Q5_K) {
            uvec2 fifth = load_eight(data, block + 16 + j);
            [[unroll]] for (uint i = 0; i < 8; i++) run.q[i] |= (byte_of(fifth, i) >> g & 1) << 4;
        }
    }
}

uint block_bytes() {
    switch (TYPE) {
    case Q4_0: case IQ4_NL: return 18;
    case Q4_1: return 20;
    case Q5_0: return 22;
    case Q5_1: return 24;
    case Q8_0: return 34;
    case Q2_K: return 84;
    case Q3_K: return 110;
    case Q4_K: return 144;
    case Q5_K: return 176;
    case Q6_K: return 210;
    default: return 136; // IQ4_XS
    }
}

int block_zero() {
    switch (TYPE) {
    case Q4_0: return 8;
    case Q5_0: return 16;
    case Q8_0: return 128;
    case Q3_K: return 4;
    case Q6_K: return 32;
    default: return 0;
    }
}

void load_run(Weight w, uint row, uint k, out Run run) {
    uint from = row * w.row_bytes;
    if (TYPE >= Q2_K && TYPE != IQ4_NL)
        load_block_of_256(w.data, from + k / 256 * block_bytes(), k % 256, run);
    else
        load_block_of_32(w.data, from + k / 32 * block_bytes(), k % 32, run);
}

void load_blocks(Weight w, uint row, uint k, out float v[8]) {
    Run run;
    load_run(w, row, k, run);
    bool table = TYPE == IQ4_NL || TYPE == IQ4_XS;
    [[unroll]] for (uint i = 0; i < 8; i++)
        v[i] = (table ? iq4_value(run.q[i]) : float(int(run.q[i]) - block_zero())) * run.scale +
               run.minimum;
}

// ---- groups ----

float load_scalar(uvec2 data, uint i) {
    switch (SCALE_TYPE) {
    case F32: return Floats(data).at[i];
    case F16: return from_f16(uint(Halves(data).at[i]));
    case BF16: return from_bf16(uint(Halves(data).at[i]));
    case F8_E4M3: return from_e4m3(uint(Bytes(data).at[i]));
    default: { // F8_E8M0
        uint code = uint(Bytes(data).at[i]);
        return (FLAGS & SWIZZLED) != 0 && code == 0 ? 0.0 : from_e8m0(code);
    }
    }
}

// See zi_swizzled_index.
uint swizzled_index(uint row, uint group, uint groups) {
    uint tile = row / 128 * ((groups + 3) / 4) + group / 4;
    return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + group % 4;
}

// What the codes of value k's group are to be multiplied by, and what to add then.
void load_terms(Weight w, uint row, uint k, out float scale, out float bias) {
    uint g = k / GROUP;
    uint index = (FLAGS & SWIZZLED) != 0 ? swizzled_index(w.first_row + row, g, w.groups)
                                         : row * w.groups + g;
    scale = load_scalar(w.scales, index);
    if ((FLAGS & (ONE_FACTOR | ROW_FACTORS)) != 0) scale *= Floats(w.factors).at[0];
    bias = (FLAGS & HAS_BIASES) != 0 ? load_scalar(w.biases, index) : 0.0;
}

void load_group_codes(Weight w, uint row, uint k, out uint codes[8]) {
    uint at = row * w.row_bytes + k / 8 * BITS;
    uint bytes[8];
    if ((FLAGS & ALIGNED) != 0 && (BITS == 4 || BITS == 8)) {
        uvec2 eight = BITS == 8 ? Pairs(w.data).at[at / 8] : uvec2(Words(w.data).at[at / 4], 0);
        [[unroll]] for (uint i = 0; i < BITS; i++) bytes[i] = byte_of(eight, i);
    } else {
        [[unroll]] for (uint i = 0; i < BITS; i++) bytes[i] = load_byte(w.data, at + i);
    }
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint bit = i * BITS, code = bytes[bit / 8] >> bit % 8;
        if (bit % 8 + BITS > 8) code |= bytes[bit / 8 + 1] << (8 - bit % 8);
        codes[i] = code & (1 << BITS) - 1;
        if (CODES == CODES_E2M1_HIGH) codes[i] = bytes[i / 2] >> (4 - i % 2 * 4) & 15;
    }
}

void load_groups(Weight w, uint row, uint k, out float v[8]) {
    float scale, bias;
    uint codes[8];
    load_terms(w, row, k, scale, bias);
    load_group_codes(w, row, k, codes);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        float value = CODES == CODES_INTEGER ? float(codes[i])
                      : CODES == CODES_E4M3  ? from_e4m3(codes[i])
                                             : from_e2m1(codes[i]);
        v[i] = value * scale + bias;
    }
}

// ---- all of them ----

float load_plain(Weight w, uint row, uint k) {
    switch (TYPE) {
    case F32: return Floats(w.data).at[row * w.columns + k];
    case F16: return from_f16(uint(Halves(w.data).at[row * w.columns + k]));
    case BF16: return from_bf16(uint(Halves(w.data).at[row * w.columns + k]));
    case F8_E4M3: return from_e4m3(uint(Bytes(w.data).at[row * w.columns + k]));
    case F8_E5M2: return from_f16(uint(Bytes(w.data).at[row * w.columns + k]) << 8);
    default: return float(signed_byte(uint(Bytes(w.data).at[row * w.columns + k]))); // I8
    }
}

// Eight values of a row whose place allows it, with as few loads as can be.
void load_aligned(Weight w, uint row, uint k, out float v[8]) {
    uint at = row * w.columns + k;
    if (TYPE == F32) {
        [[unroll]] for (uint i = 0; i < 8; i += 2) {
            uvec2 two = Pairs(w.data).at[(at + i) / 2];
            v[i] = uintBitsToFloat(two.x);
            v[i + 1] = uintBitsToFloat(two.y);
        }
    } else if (TYPE == F16 || TYPE == BF16) {
        [[unroll]] for (uint i = 0; i < 8; i += 4) {
            uvec2 four = Pairs(w.data).at[(at + i) / 4];
            [[unroll]] for (uint j = 0; j < 4; j++) {
                uint bits = four[j / 2] >> 16 * (j % 2) & 0xffff;
                v[i + j] = TYPE == F16 ? from_f16(bits) : from_bf16(bits);
            }
        }
    } else {
        uvec2 eight = Pairs(w.data).at[at / 8];
        [[unroll]] for (uint i = 0; i < 8; i++) {
            uint code = byte_of(eight, i);
            v[i] = TYPE == F8_E4M3   ? from_e4m3(code)
                   : TYPE == F8_E5M2 ? from_f16(code << 8)
                                     : float(signed_byte(code)); // I8
        }
    }
}

// Values k to k + 7 of a row, k a multiple of eight: zeros behind the last column or row. Without
// the row's factor, where load_factor says so.
void load_weights(Weight w, uint row, uint k, out float v[8]) {
    [[unroll]] for (uint i = 0; i < 8; i++) v[i] = 0;
    if (row >= w.rows || k >= w.columns) return;
    if (BITS != 0)
        load_groups(w, row, k, v);
    else if (TYPE >= Q4_0)
        load_blocks(w, row, k, v);
    else if ((FLAGS & ALIGNED) != 0)
        load_aligned(w, row, k, v);
    else
        [[unroll]] for (uint i = 0; i < 8; i++)
            if (k + i < w.columns) v[i] = load_plain(w, row, k + i);
    [[unroll]] for (uint i = 0; i < 8; i++) // what fills a group up may be anything
        if (k + i >= w.columns) v[i] = 0;
}

// The factor of a row of a plain weight, which is the last thing to be multiplied by.
float load_factor(Weight w, uint row) {
    if (BITS != 0 || (FLAGS & (ONE_FACTOR | ROW_FACTORS)) == 0) return 1;
    return Floats(w.factors).at[(FLAGS & ROW_FACTORS) != 0 ? row : 0];
}
