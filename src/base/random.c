#include "base/random.h"

#include <math.h>

enum { WORDS = 624, SHIFT = 397 };

void zi_random_seed(zi_random *random, uint64_t seed)
{
    random->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < WORDS; i++) {
        uint32_t before = random->state[i - 1];
        random->state[i] = 1812433253u * (before ^ (before >> 30)) + i;
    }
    random->used = WORDS;
    random->has_spare = false;
}

/* Computes the next 624 words of MT19937's state, in place, and sets random->used to 0. */
static void refill_state(zi_random *random)
{
    uint32_t *s = random->state;
    for (int i = 0; i < WORDS; i++) {
        uint32_t mix = (s[i] & 0x80000000u) | (s[(i + 1) % WORDS] & 0x7fffffffu);
        s[i] = s[(i + SHIFT) % WORDS] ^ (mix >> 1) ^ (mix & 1 ? 0x9908b0dfu : 0);
    }
    random->used = 0;
}

/* Returns the next 32-bit output of MT19937. */
static uint32_t next32(zi_random *random)
{
    if (random->used == WORDS) refill_state(random);
    uint32_t y = random->state[random->used++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* Returns a uniform number from 0 to below 1 with 24 random bits; takes one word. */
static float uniform24(zi_random *random)
{
    return (float)(next32(random) & 0xffffff) * 0x1p-24f;
}

/* Returns a uniform number from 0 to below 1 with 53 random bits; takes two words. */
static double uniform53(zi_random *random)
{
    uint64_t high = next32(random);
    uint64_t low = next32(random);
    return (double)((high << 32 | low) & ((1ull << 53) - 1)) * 0x1p-53;
}

void zi_random_uniform(zi_random *random, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = uniform24(random);
}

/* Makes 16 standard normals of 16 uniforms u in [0, 1), in place (Box-Muller, with log(1 - u)): the
 * cosines are the first eight, the sines the last eight. */
static void normal16(float *u)
{
    for (int j = 0; j < 8; j++) {
        float radius = sqrtf(-2.0f * logf(1.0f - u[j]));
        float angle = 6.2831853071795864769f * u[j + 8];
        u[j] = radius * cosf(angle);
        u[j + 8] = radius * sinf(angle);
    }
}

/* Returns one standard normal for a draw of fewer than 16 values, where torch takes another way: in
 * double precision and in pairs, whose second value is kept in random->spare for the next call. */
static float normal_small(zi_random *random)
{
    if (random->has_spare) {
        random->has_spare = false;
        return (float)random->spare;
    }
    double u1 = uniform53(random);
    double u2 = uniform53(random);
    double radius = sqrt(-2.0 * log1p(-u2));
    double angle = 2.0 * 3.14159265358979323846 * u1;
    random->spare = radius * sin(angle);
    random->has_spare = true;
    return (float)(radius * cos(angle));
}

void zi_random_normal(zi_random *random, float *out, size_t n)
{
    if (n < 16) {
        for (size_t i = 0; i < n; i++) out[i] = normal_small(random);
        return;
    }
    zi_random_uniform(random, out, n);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) normal16(out + i);
    if (i < n) { /* the last 16 are drawn again as a block of their own */
        zi_random_uniform(random, out + n - 16, 16);
        normal16(out + n - 16);
    }
}
