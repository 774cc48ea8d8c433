// Memory by address, as arrays of each type. An address comes as a push constant of one of these
// types, and is taken for another one where that is needed: Words(address).
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Ints { int at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Pairs { uvec2 at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Quads { uvec4 at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 2) readonly buffer Halves { uint16_t at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 1) readonly buffer Bytes { uint8_t at[]; };

bool is_null(uvec2 address) {
    return address == uvec2(0);
}

// Element i of a vector, 0 if there is none. Compilers may move loads before the test, so that there
// is one from the address `other`, of anything, if there is no vector.
float load_optional(uvec2 data, uint i, uvec2 other) {
    bool none = is_null(data);
    float value = Floats(none ? other : data).at[none ? 0 : i];
    return none ? 0.0 : value;
}

// Tests bits, since compilers may take floats for finite ones.
bool is_finite(float x) {
    return (floatBitsToUint(x) & 0x7f800000) != 0x7f800000;
}

float not_a_number() {
    return uintBitsToFloat(0x7fc00000);
}
