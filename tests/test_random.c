/* torch's CPU random numbers against golden draws of torch itself. */
#include "golden.h"
#include "base/random.h"

#include <stdlib.h>

/* Measured in torch: its AVX2 and its plain path differ by 2e-6 among themselves. */
#define TOLERANCE 4e-6

static const char *const seeds[] = {
    "0", "1", "42", "123456789", "2147483648", "4294967295", "4294967301", "9223372036854775807"};
enum { SEEDS = sizeof seeds / sizeof *seeds };

static void compare(const zi_checkpoint *golden, const char *name, const float *values, size_t n)
{
    zi_golden_compare(golden, name, values, n, 0, TOLERANCE);
}

static void single_draws(void)
{
    static const size_t counts[] = {1, 5, 15, 16, 17, 33};
    zi_checkpoint golden = zi_golden_open("randn.safetensors");
    for (int s = 0; s < SEEDS; s++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            float values[64];
            char name[64];
            zi_random random;
            zi_random_seed(&random, strtoull(seeds[s], NULL, 10));
            zi_random_normal(&random, values, counts[i]);
            snprintf(name, sizeof name, "s%s.n%zu", seeds[s], counts[i]);
            compare(&golden, name, values, counts[i]);
        }
    zi_checkpoint_close(&golden);
}

/* Latents of whole images: ends, and the sum over all. */
static void large_draws(void)
{
    static const struct {
        const char *shape;
        size_t count;
    } shapes[] = {{"1x16x16x16", 4096}, {"1x16x64x64", 65536}};
    zi_checkpoint golden = zi_golden_open("randn.safetensors");
    static float values[65536];
    for (int s = 0; s < SEEDS; s++)
        for (int i = 0; i < 2; i++) {
            char name[64];
            size_t n = shapes[i].count;
            zi_random random;
            zi_random_seed(&random, strtoull(seeds[s], NULL, 10));
            zi_random_normal(&random, values, n);
            snprintf(name, sizeof name, "s%s.n%s.first64", seeds[s], shapes[i].shape);
            compare(&golden, name, values, 64);
            snprintf(name, sizeof name, "s%s.n%s.last64", seeds[s], shapes[i].shape);
            compare(&golden, name, values + n - 64, 64);
            double sum = 0, wanted;
            for (size_t j = 0; j < n; j++) sum += values[j];
            snprintf(name, sizeof name, "s%s.n%s.sum_f64", seeds[s], shapes[i].shape);
            memcpy(&wanted, zi_golden_tensor(&golden, "%s", name)->data, sizeof wanted);
            CHECK_MSG(sum - wanted < 1e-2 && wanted - sum < 1e-2, "%s: %g, not %g", name, sum,
                      wanted);
        }
    zi_checkpoint_close(&golden);
}

/* Consecutive draws of one generator: the spare of a small draw survives large ones. */
static void sequences(void)
{
    static const struct {
        char name;
        size_t counts[5];
    } rows[] = {{'a', {5, 17, 33}},   {'b', {1, 1, 1, 1}}, {'c', {16, 16}},
                {'d', {3, 16, 3, 1}}, {'e', {15, 1, 64}},  {'f', {1, 1024, 1}}};
    zi_checkpoint golden = zi_golden_open("randn.safetensors");
    for (int s = 0; s < 5; s++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            zi_random random;
            zi_random_seed(&random, strtoull(seeds[s], NULL, 10));
            for (int i = 0; rows[r].counts[i]; i++) {
                float values[1024];
                char name[64];
                zi_random_normal(&random, values, rows[r].counts[i]);
                snprintf(name, sizeof name, "s%s.seq_%c.%d_n%zu", seeds[s], rows[r].name, i,
                         rows[r].counts[i]);
                compare(&golden, name, values, rows[r].counts[i]);
            }
        }
    zi_checkpoint_close(&golden);
}

static void pairs_and_uniforms(void)
{
    zi_checkpoint golden = zi_golden_open("randn.safetensors");
    for (int s = 0; s < 4; s++) {
        float values[384];
        char name[64];
        zi_random random;
        zi_random_seed(&random, strtoull(seeds[s], NULL, 10));
        zi_random_normal(&random, values, 384);
        snprintf(name, sizeof name, "s%s.pair.first", seeds[s]);
        compare(&golden, name, values, 384);
        zi_random_normal(&random, values, 384);
        snprintf(name, sizeof name, "s%s.pair.second", seeds[s]);
        compare(&golden, name, values, 384);
        zi_random_seed(&random, strtoull(seeds[s], NULL, 10));
        zi_random_uniform(&random, values, 20);
        snprintf(name, sizeof name, "s%s.rand_n20", seeds[s]);
        zi_golden_compare(&golden, name, values, 20, 0, 1e-9);
    }
    zi_checkpoint_close(&golden);
}

int main(void)
{
    RUN(single_draws);
    RUN(large_draws);
    RUN(sequences);
    RUN(pairs_and_uniforms);
    return zi_test_result();
}
