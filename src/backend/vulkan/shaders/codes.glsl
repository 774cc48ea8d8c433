// Eight values of a stored weight as signed codes of eight bits, for integer dot products: those of
// 32 values, a run, share two terms, and stand for code * terms.x + terms.y.

// Whether terms.y may be other than zero.
bool has_minima() {
    if (BITS != 0) return BITS == 8 || (FLAGS & HAS_BIASES) != 0;
    return TYPE == Q4_1 || TYPE == Q5_1 || TYPE == Q4_K || TYPE == Q5_K;
}

uvec2 pack_codes(int codes[8]) {
    uvec2 words = uvec2(0);
    [[unroll]] for (uint i = 0; i < 8; i++) words[i / 4] |= (uint(codes[i]) & 0xff) << i % 4 * 8;
    return words;
}

void load_codes_in_groups(Weight w, uint row, uint k, out uvec2 words, out vec2 terms) {
    load_terms(w, row, k, terms.x, terms.y);
    if (BITS == 8 && (FLAGS & ALIGNED) != 0) {
        words = Pairs(w.data).at[(row * w.row_bytes + k) / 8] ^ 0x80808080;
    } else {
        uint codes[8];
        int less[8];
        load_group_codes(w, row, k, codes);
        [[unroll]] for (uint i = 0; i < 8; i++) less[i] = int(codes[i]) - (BITS == 8 ? 128 : 0);
        words = pack_codes(less);
    }
    if (BITS == 8) terms.y += 128 * terms.x;
}

void load_codes_of_blocks(Weight w, uint row, uint k, out uvec2 words, out vec2 terms) {
    if (TYPE == Q8_0) {
        uint block = row * w.row_bytes + k / 32 * 34;
        words = load_eight(w.data, block + 2 + k % 32);
        terms = vec2(load_f16(w.data, block), 0);
        return;
    }
    Run run;
    int codes[8];
    load_run(w, row, k, run);
    bool table = TYPE == IQ4_NL || TYPE == IQ4_XS;
    [[unroll]] for (uint i = 0; i < 8; i++)
        codes[i] = table ? int(iq4_value(run.q[i])) : int(run.q[i]) - block_zero();
    words = pack_codes(codes);
    terms = vec2(run.scale, run.minimum);
}

// Codes k to k + 7 of a row, k a multiple of eight: zeros behind the last row. Those behind the last
// column may be anything. Without the row's factor, where load_factor says so.
void load_codes(Weight w, uint row, uint k, out uvec2 words, out vec2 terms) {
    words = uvec2(0);
    terms = vec2(0);
    if (row >= w.rows || k >= w.columns) return;
    if (BITS != 0) {
        load_codes_in_groups(w, row, k, words, terms);
    } else if (TYPE >= Q4_0) {
        load_codes_of_blocks(w, row, k, words, terms);
    } else { // I8
        uint at = row * w.columns + k;
        terms.x = 1;
        if ((FLAGS & ALIGNED) != 0)
            words = Pairs(w.data).at[at / 8];
        else
            [[unroll]] for (uint i = 0; i < 8; i++)
                if (k + i < w.columns) words[i / 4] |= load_byte(w.data, at + i) << i % 4 * 8;
    }
}
