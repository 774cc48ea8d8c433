/* Which device computes: names of devices, and the choice among them. */
#ifndef ZI_DEVICES_H
#define ZI_DEVICES_H

#include "backend/cpu/cpu.h"
#include "zimage.h"

/* Opens the backend of options->device. kernels and pool are for the CPU backend, as in
 * zi_cpu_backend_create; *out is for its destroy operation. False, with *error set and *out
 * unchanged: the device is not known (ZI_ERROR_INVALID_ARGUMENT, the subject "device"), there is no
 * such one (ZI_ERROR_NOT_FOUND, likewise), or it failed. */
bool zi_device_open(const zi_engine_options *options, const zi_kernels *kernels, zi_pool *pool,
                    zi_backend **out, zi_error *error) ZI_CHECKED;

#endif
