// The moments (mean, and m2, the sum of squared deviations from it) of 32 channels of some rows of a
// feature map. Eight invocations share a channel.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Push {
    uvec2 x, partials; // partials [parts, 3, channels]: pixels, mean, m2
    uint height, width, channels, stride, rows; // rows: of a part
} p;

const uint CHANNELS = 32, LANES = 8;
shared float pixels[256], means[256], m2s[256];

void main() {
    uint id = gl_LocalInvocationIndex, lane = id / CHANNELS, part = gl_WorkGroupID.y;
    uint channel = gl_WorkGroupID.x * CHANNELS + id % CHANNELS, first = part * p.rows;
    uint rows = min(p.rows, p.height - first);
    float n = 0, sum = 0, mean = 0, m2 = 0;
    if (channel < p.channels) {
        for (uint i = lane; i < rows * p.width; i += LANES) {
            sum += Floats(p.x).at[(first + i / p.width) * p.stride + i % p.width * p.channels + channel];
            n++;
        }
        mean = n > 0 ? sum / n : 0;
        for (uint i = lane; i < rows * p.width; i += LANES) {
            float d = Floats(p.x).at[(first + i / p.width) * p.stride + i % p.width * p.channels +
                                     channel] - mean;
            m2 = fma(d, d, m2);
        }
    }
    pixels[id] = n;
    means[id] = mean;
    m2s[id] = m2;
    for (uint lanes = LANES / 2; lanes > 0; lanes /= 2) { // after Chan et al. 1979
        barrier();
        uint other = id + lanes * CHANNELS;
        if (lane < lanes && pixels[other] > 0) {
            float count = pixels[id] + pixels[other], d = means[other] - means[id];
            m2s[id] += m2s[other] + d * d * pixels[id] * (pixels[other] / count);
            means[id] += d * (pixels[other] / count);
            pixels[id] = count;
        }
    }
    if (lane != 0 || channel >= p.channels) return;
    uint at = part * 3 * p.channels + channel;
    Floats(p.partials).at[at] = pixels[id];
    Floats(p.partials).at[at + p.channels] = means[id];
    Floats(p.partials).at[at + 2 * p.channels] = m2s[id];
}
