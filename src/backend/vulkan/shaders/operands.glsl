// Operands of cooperative matrices, which are f16: see range.glsl.

// As the device converts: drivers that round packHalf2x16 to zero are known, and none that round this.
uint to_halves(vec2 v) {
    return packFloat2x16(f16vec2(v));
}

// Eight values, divided by 2^e, as f16.
uvec4 pack(float v[8], int e) {
    return uvec4(to_halves(scale_by(vec2(v[0], v[1]), -e)),
                 to_halves(scale_by(vec2(v[2], v[3]), -e)),
                 to_halves(scale_by(vec2(v[4], v[5]), -e)),
                 to_halves(scale_by(vec2(v[6], v[7]), -e)));
}

uint greatest_bits(float v[8]) {
    uint bits = 0;
    [[unroll]] for (uint i = 0; i < 8; i++) bits = max(bits, floatBitsToUint(v[i]) & 0x7fffffff);
    return bits;
}

// Whether the greatest of the values, divided by 2^e, is too great.
bool passes(uint bits, int e) {
    return int(bits >> 23) - 127 - e > TOP + ROOM;
}
