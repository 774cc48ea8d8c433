/* Every operation of every backend, against loops in double precision or the portable kernels.
 *
 * Environment: ZI_TEST_BACKEND=NAME runs one backend alone, which must be there; ZI_TEST_OPS=TEXT
 * only checks whose names contain the text; ZI_TEST_SEED=NUMBER takes other random numbers. */
#include "device.h"
#include "ops.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    void (*run)(zi_rig *rig);
} checks[] = {
    {"linear", zi_ops_linear},
    {"linear rows", zi_ops_linear_rows},
    {"linear model", zi_ops_linear_model},
    {"embed", zi_ops_embed},
};

static zi_rig rig;
static size_t current; /* in checks */

static void run_current(void)
{
    checks[current].run(&rig);
}

/* The mock counts calls: none of the operations was left out. */
static void all_operations_ran(void)
{
    const zi_device_counts *counts = zi_test_device_counts(rig.backend);
    for (int call = 0; call < ZI_DEVICE_CALLS; call++)
        CHECK_MSG(counts->calls[call] > 0, "operation %d was never called", call);
}

/* Runs all checks on a backend. required: it must be there. */
static void run_backend(const zi_test_backend *row, uint64_t seed, bool required)
{
    const char *only = getenv("ZI_TEST_OPS");
    zi_error error = {0};
    if (!zi_rig_open(&rig, row, seed, &error)) {
        if (required)
            CHECK_MSG(false, "%s: %s", row->name, error.text);
        else
            printf("SKIP %s: %s\n", row->name, error.text);
        return;
    }
    for (current = 0; current < sizeof checks / sizeof *checks; current++) {
        char name[80];
        if (only && !strstr(checks[current].name, only)) continue;
        snprintf(name, sizeof name, "%s: %s", row->name, checks[current].name);
        zi_test_run(name, run_current);
    }
    if (!only && strcmp(row->name, "test device") == 0) RUN(all_operations_ran);
    zi_rig_close(&rig);
}

static const zi_test_backend *row;
static uint64_t seed = 1;
static bool required;

static void backend(void)
{
    run_backend(row, seed, required);
}

int main(void)
{
    const char *name = getenv("ZI_TEST_BACKEND"), *number = getenv("ZI_TEST_SEED");
    if (number) seed = strtoull(number, NULL, 10);
    printf("seed %llu\n", (unsigned long long)seed);
    required = name != NULL;
    if (name && !zi_test_backend_find(name)) {
        printf("no backend is called %s\n", name);
        return 1;
    }
    for (row = zi_test_backends; row->name; row++)
        if (!name || strcmp(name, row->name) == 0) zi_test_run(row->name, backend);
    zi_test_backends_end();
    return zi_test_result();
}
