// y [T, N] = x [T, K] w^T + bias with cooperative matrices. x is f16, as narrow.comp makes it.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "weights.glsl"

layout(push_constant, scalar) uniform Push {
    Weight w;
    uvec2 x, exponents, bias, y; // x [T, padded] f16, padded a multiple of 32
    uint T, padded;
} p;

uint product_rows() {
    return p.T;
}

uint product_columns() {
    return p.w.rows;
}

uint product_depth() {
    return p.padded;
}

int x_exponent_of(uint row) {
    return Ints(p.exponents).at[row];
}

// Where the row begins, in quads. Those behind the last row read that one.
ivec2 locate_x(uint row) {
    return ivec2(min(row, p.T - 1) * (p.padded / 8), 0);
}

#define X_HALVES
uvec4 load_x(ivec2 place, uint k, uint part) {
    return Quads(p.x).at[place.x + (k + part) / 8];
}

void load_w(uint row, uint k, uint part, out float v[8]) {
    load_weights(p.w, row, k + part, v);
}

void store_result(uint row, uint column, float value) {
    float bias = load_optional(p.bias, column, p.y);
    Floats(p.y).at[row * p.w.rows + column] = value * load_factor(p.w, column) + bias;
}

#include "matrix.glsl"
