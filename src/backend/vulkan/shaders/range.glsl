// Powers of two that bring f32 values into the range of f16.
//
// Values are divided by 2^e before they become f16, where e is such that the greatest of them is
// about 2^10: then five binary places are left above, for greater values that come later, and what
// f16 loses below is 2^-34 of the greatest value. Results are multiplied by 2^e.

const int TOP = 10; // 2^TOP to 2^(TOP + 1): where the greatest value is
const int ROOM = 4; // values up to 2^(TOP + ROOM + 1) are within f16's range
const int LEAST_EXPONENT = -120; // so that two of them can be added for scale_by

// 2^e for -126 <= e <= 127.
float power_of_two(int e) {
    return uintBitsToFloat(uint(e + 127) << 23);
}

// x 2^e for -252 <= e <= 254, in two steps that go the same way: what overflows or underflows does so
// because the result does. (A subnormal result may be zero.)
vec2 scale_by(vec2 x, int e) {
    int first = e / 2;
    return x * power_of_two(first) * power_of_two(e - first);
}

float scale_by(float x, int e) {
    int first = e / 2;
    return x * power_of_two(first) * power_of_two(e - first);
}

// The exponent to divide values by, of which the greatest has these bits (without its sign).
int exponent_of(uint bits) {
    return max(int(bits >> 23) - 127 - TOP, LEAST_EXPONENT);
}
