/* What a build without Vulkan's headers and shader compiler has in place of the backend. */
#include "backend/vulkan/vulkan.h"

/* Fills *error, if it is not NULL. Returns false. */
static bool refuse(zi_error *error)
{
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, "device",
                        "this zimage was built without Vulkan; CONTRIBUTING.md says what the build "
                        "needs for it");
}

bool zi_vulkan_list(zi_vulkan_device **out, size_t *count, zi_error *error)
{
    (void)out;
    (void)count;
    return refuse(error);
}

bool zi_vulkan_backend_create(const zi_vulkan_options *options, zi_backend **out, zi_error *error)
{
    (void)options;
    (void)out;
    return refuse(error);
}

bool zi_vulkan_plausible(void)
{
    return false;
}

void zi_vulkan_limit_memory(zi_backend *backend, uint64_t vram)
{
    (void)backend;
    (void)vram;
}

void zi_vulkan_memory_report(zi_backend *backend, zi_vulkan_memory *out)
{
    (void)backend;
    *out = (zi_vulkan_memory){0};
}
