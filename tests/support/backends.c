#include "backends.h"
#include "device.h"
#include "harness.h"

#include "backend/cpu/cpu.h"
#include "backend/vulkan/vulkan.h"

#include <string.h>

static zi_pool *threads, *one_thread;

static bool open_tier(const char *tier, size_t count, zi_pool **pool, zi_backend **out,
                      zi_error *error)
{
    zi_kernels kernels;
    return zi_kernels_select(tier, &kernels, error) &&
           (*pool || zi_pool_create(count, pool, error)) &&
           zi_cpu_backend_create(&kernels, *pool, NULL, out, error);
}

static bool open_reference(zi_backend **out, zi_error *error)
{
    return open_tier("ref", 1, &one_thread, out, error);
}

static bool open_cpu(zi_backend **out, zi_error *error)
{
    return open_tier(NULL, 3, &threads, out, error);
}

static bool open_device(zi_backend **out, zi_error *error)
{
    zi_backend *cpu = NULL;
    if (!open_cpu(&cpu, error)) return false;
    *out = zi_test_device_create(cpu, false);
    return true;
}

/* A message of the validation layer is a failed check. */
static void fail_for(void *user, const char *text)
{
    (void)user;
    CHECK_MSG(false, "validation layer: %s", text);
}

/* So is a shader that is found wrong: another one would be tested in its place. */
static void fail_for_remark(void *user, const char *text)
{
    (void)user;
    CHECK_MSG(false, "%s", text);
}

static bool open_vulkan(zi_backend **out, zi_error *error)
{
    return zi_vulkan_backend_create(
        &(zi_vulkan_options){.validation = true, .messages = fail_for, .remarks = fail_for_remark},
        out, error);
}

/* With products of fast sessions as a device computes them that has integer dot products only. */
static bool open_vulkan_dots(zi_backend **out, zi_error *error)
{
    return zi_vulkan_backend_create(&(zi_vulkan_options){.validation = true,
                                                         .messages = fail_for,
                                                         .remarks = fail_for_remark,
                                                         .no_matrices = true,
                                                         .slow_dots = true},
                                    out, error);
}

const zi_test_backend zi_test_backends[] = {
    {"cpu", open_cpu, 1, 0, false},
    {"test device", open_device, 1, 0, false},
    {"vulkan", open_vulkan, 4, 0x1p-12, true}, /* both operands as f16 */
    {"vulkan dots", open_vulkan_dots, 4, 0, true},
    {0},
};

const zi_test_backend zi_test_reference = {"reference", open_reference, 1, 0, false};

const zi_test_backend *zi_test_backend_find(const char *name)
{
    for (const zi_test_backend *row = zi_test_backends; row->name; row++)
        if (strcmp(row->name, name) == 0) return row;
    return NULL;
}

void zi_test_backends_end(void)
{
    zi_pool_free(threads);
    zi_pool_free(one_thread);
    threads = one_thread = NULL;
}
