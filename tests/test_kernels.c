/* Every kernel of every tier that this machine has, against what it must do. Without options all
 * checks; the seed that is printed repeats a run. */
#include "engine.h"
#include "harness.h"
#include "kernel_checks.h"
#include "planted.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t seed;
static bool quick, bench;
static zi_kernels kernels;

/* Whether every word of the table is a slot with a check or a size. */
static void every_slot_has_a_check(void)
{
    bool known[sizeof(zi_kernels) / sizeof(void *)] = {0};
    static const size_t sizes[] = {
        offsetof(zi_kernels, tier),   offsetof(zi_kernels, mr),
        offsetof(zi_kernels, nr),     offsetof(zi_kernels, qmr),
        offsetof(zi_kernels, qnr),    offsetof(zi_kernels, q_sums_limited),
        offsetof(zi_kernels, q_step), offsetof(zi_kernels, q_width),
        offsetof(zi_kernels, q_zero)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        known[sizes[i] / sizeof(void *)] = true;
    for (size_t i = 0; i < kernel_check_count; i++)
        known[kernel_checks[i].offset / sizeof(void *)] = true;
    for (size_t i = 0; i < sizeof known; i++)
        CHECK_MSG(known[i], "the slot at byte %zu of zi_kernels has no check", i * sizeof(void *));
}

static void sizes_are_sane(void)
{
    const zi_kernels *k = &kernels;
    CHECK(k->mr > 0 && k->mr <= ZI_MAX_MR && k->nr > 0 && k->nr <= ZI_MAX_NR);
    CHECK(k->qmr > 0 && k->qmr <= ZI_MAX_MR && k->qnr > 0 && k->qnr <= ZI_MAX_NR);
    CHECK(k->q_zero == 0 || k->q_zero == 128);
    CHECK(k->q_step > 0 && 32 % k->q_step == 0 && (k->q_width == 1 || k->q_width == 2));
}

static void kernels_are_right(void)
{
    char why[256];
    for (size_t i = 0; i < kernel_check_count; i++) {
        bool right = kernel_check_run(&kernel_checks[i], &kernels, seed + i, quick, why);
        CHECK_MSG(right, "%s", why);
    }
}

static const kernel_check *check_of(size_t slot)
{
    for (size_t i = 0; i < kernel_check_count; i++)
        if (kernel_checks[i].offset == slot) return &kernel_checks[i];
    return NULL;
}

static void planted_bugs_are_found(void)
{
    char why[256];
    zi_kernels ref;
    zi_kernels_ref(&ref);
    for (size_t i = 0; i < planted_bug_count; i++) {
        const kernel_check *check = check_of(planted_bugs[i].slot);
        zi_kernels wrong = plant(&planted_bugs[i], &ref);
        CHECK_MSG(check && !kernel_check_run(check, &wrong, seed, true, why), "not found: %s",
                  planted_bugs[i].what);
    }
    for (size_t i = 0; i < kernel_check_count; i++) {
        bool tried = false;
        for (size_t j = 0; j < planted_bug_count; j++)
            tried |= planted_bugs[j].slot == kernel_checks[i].offset;
        CHECK_MSG(tried, "no bug was planted in %s", kernel_checks[i].name);
    }
}

/* ---- timing ---- */

/* A real model's rows are 3840 numbers. Tiles do multiply-adds, which the machine has a peak of. */
static void time_kernels(void)
{
    enum { REAL = 3840, TILES = 2 };
    const struct {
        size_t slot, peak_slot, products, per_round;
    } tiles[TILES] = {{offsetof(zi_kernels, tile), offsetof(zi_kernels, peak_f32),
                       kernels.mr * kernels.nr, kernels.peak_f32(1)},
                      {offsetof(zi_kernels, qtile), offsetof(zi_kernels, peak_integer),
                       kernels.qmr * kernels.qnr, kernels.peak_integer(1)}};
    for (size_t i = 0; i < TILES; i++) {
        const kernel_check *check = check_of(tiles[i].slot);
        double speed = kernel_check_time(check, &kernels, REAL / check->unit);
        double peak = kernel_check_time(check_of(tiles[i].peak_slot), &kernels, REAL);
        CHECK_MSG(speed > 0 && peak > 0, "%s is wrong", check->name);
        speed *= (double)tiles[i].products;
        peak *= (double)tiles[i].per_round;
        printf("  %-12s %7.2f G multiply-adds/s, %.0f %% of the peak of %.2f G\n", check->name,
               speed * 1e-9, 100 * speed / peak, peak * 1e-9);
    }
    for (size_t i = 0; i < kernel_check_count; i++) {
        const kernel_check *check = &kernel_checks[i];
        bool listed = false;
        for (size_t j = 0; j < TILES; j++)
            listed |= check->offset == tiles[j].slot || check->offset == tiles[j].peak_slot;
        if (listed) continue;
        size_t k = check->offset == offsetof(zi_kernels, pack_group) ? 64 : REAL / check->unit;
        double speed = kernel_check_time(check, &kernels, k);
        CHECK_MSG(speed > 0, "%s is wrong", check->name);
        printf("  %-12s %7.2f G numbers/s\n", check->name, speed * 1e-9);
    }
}

static void usage(void)
{
    printf("usage: test_kernels [--seed N] [--quick] [--bench]\n"
           "  --seed N  the random numbers to use (from the clock unless given)\n"
           "  --quick   no long rows, for slow machines\n"
           "  --bench   time the kernels as well\n");
    exit(2);
}

int main(int argc, char **argv)
{
    seed = (uint64_t)time(NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            quick = true;
        else if (strcmp(argv[i], "--bench") == 0)
            bench = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else
            usage();
    }
    printf("seed %llu\n", (unsigned long long)seed);
    RUN(every_slot_has_a_check);
    RUN(planted_bugs_are_found);
    const char *tier;
    for (size_t i = 0; (tier = zi_next_tier(&i));) {
        zi_error error = {0};
        CHECK_OK(zi_kernels_select(tier, &kernels, &error), error);
        RUN(sizes_are_sane);
        RUN(kernels_are_right);
        if (bench) RUN(time_kernels);
    }
    return zi_test_result();
}
