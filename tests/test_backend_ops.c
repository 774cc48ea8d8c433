/* Every operation of every backend, against loops in double precision or the portable kernels.
 *
 * Environment: ZI_TEST_BACKEND=NAME runs one backend alone, which must be there; ZI_TEST_OPS=TEXT
 * only checks whose names contain the text; ZI_TEST_SEED=NUMBER takes other random numbers. */
#include "device.h"
#include "fixture.h"
#include "ops.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    void (*run)(zi_rig *rig);
} checks[] = {
    {"linear", zi_ops_linear},
    {"linear rows", zi_ops_linear_rows},
    {"linear range", zi_ops_linear_range},
    {"linear codes", zi_ops_linear_codes},
    {"linear model", zi_ops_linear_model},
    {"embed", zi_ops_embed},
    {"attention", zi_ops_attention},
    {"fast attention", zi_ops_attention_fast},
    {"norm", zi_ops_norm},
    {"rope", zi_ops_rope},
    {"elementwise", zi_ops_elementwise},
    {"permute", zi_ops_permute},
    {"copy_rows", zi_ops_copy_rows},
    {"write and read", zi_ops_write_and_read},
    {"conv3x3", zi_ops_conv3x3},
    {"conv3x3 model", zi_ops_conv3x3_model},
    {"conv3x3 bands", zi_ops_conv3x3_bands},
    {"group norm", zi_ops_group_norm},
    {"check_finite", zi_ops_check_finite},
    {"check_moments", zi_ops_check_moments},
    {"values that are not finite", zi_ops_not_finite},
    {"sessions", zi_ops_sessions},
    {"submissions", zi_ops_submissions},
    {"unsubmitted operations", zi_ops_unsubmitted},
    {"order", zi_ops_order},
    {"repeated sequences", zi_ops_repeated},
    {"transformer layers", zi_ops_transformer_layers},
    {"decoder layers", zi_ops_decoder_layers},
};

static const zi_test_backend *row; /* the one that is tested */
static uint64_t seed = 1;
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

static void open_rig(void)
{
    zi_error error = {0};
    CHECK_OK(zi_rig_open(&rig, row, seed, &error), error);
}

static void close_rig(void)
{
    zi_rig_close(&rig);
}

/* Runs a test whose name begins with the backend's. */
static void run(const char *what, void (*test)(void))
{
    char name[80];
    snprintf(name, sizeof name, "%s: %s", row->name, what);
    zi_test_run(name, test);
}

/* Runs all checks on the backend of this row. */
static void run_backend(void)
{
    const char *only = getenv("ZI_TEST_OPS");
    run("open", open_rig);
    if (!rig.backend) return;
    for (current = 0; current < sizeof checks / sizeof *checks; current++) {
        if (only && !strstr(checks[current].name, only)) continue;
        rig.worst = 0;
        run(checks[current].name, run_current);
        if (rig.worst > 0) printf("     largest error: %.2g of what is allowed\n", rig.worst);
    }
    if (!only && strcmp(row->name, "test device") == 0) run("all operations", all_operations_ran);
    run("close", close_rig);
}

int main(void)
{
    const char *name = getenv("ZI_TEST_BACKEND"), *number = getenv("ZI_TEST_SEED");
    if (number) seed = strtoull(number, NULL, 10);
    printf("seed %llu\n", (unsigned long long)seed);
    if (name && !zi_test_backend_find(name)) {
        printf("no backend is called %s\n", name);
        return 1;
    }
    if (name && zi_test_backend_find(name)->apart) zi_test_need_gpu();
    for (row = zi_test_backends; row->name; row++)
        if (name ? !strcmp(name, row->name) : !row->apart) run_backend();
    zi_test_backends_end();
    return zi_test_result();
}
