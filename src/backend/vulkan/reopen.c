/* Opens a device anew that the driver has reset.
 *
 * A driver resets a device whose work takes too long or goes astray, or when it is replaced. All
 * that the device held is lost then, and every call fails. Sessions that were open fail; when the
 * last of them has ended, the next one finds the device opened anew. Weights come to it when they
 * are used, as to any device. */
#include "backend/vulkan/internal.h"

/* Opens the device anew. False, with *error set: that failed; it is still lost. */
static bool reopen(gpu_backend *gpu, zi_error *error)
{
    gpu_weights_drop(gpu);
    gpu_close(gpu);
    atomic_store(&gpu->lost, false);
    if (gpu_open(gpu, error)) return true;
    atomic_store(&gpu->lost, true);
    return false;
}

bool gpu_enter(gpu_backend *gpu, zi_error *error)
{
    pthread_mutex_lock(&gpu->state_mutex);
    bool ok = !atomic_load(&gpu->lost);
    if (!ok)
        ok = gpu->users ? gpu_error(gpu, error, VK_ERROR_DEVICE_LOST, "it cannot be used now")
                        : reopen(gpu, error);
    if (ok) gpu->users++;
    pthread_mutex_unlock(&gpu->state_mutex);
    return ok;
}

void gpu_leave(gpu_backend *gpu)
{
    pthread_mutex_lock(&gpu->state_mutex);
    gpu->users--;
    pthread_mutex_unlock(&gpu->state_mutex);
}
