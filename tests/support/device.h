/* A second backend for tests, as unlike the CPU's as one may be. Its memory is filled with NaN, and
 * the host does not see it; operations are recorded, and happen when somebody waits or a later
 * submission pushes them out; what was not submitted is discarded in the end. The CPU backend
 * computes, so that results have its bits. Views that an operation must not be given are failed
 * checks. */
#ifndef ZI_TEST_DEVICE_H
#define ZI_TEST_DEVICE_H

#include "backend/backend.h"

typedef enum {
    ZI_DEVICE_LINEAR,
    ZI_DEVICE_EMBED,
    ZI_DEVICE_ATTENTION,
    ZI_DEVICE_NORM,
    ZI_DEVICE_ROPE,
    ZI_DEVICE_ELEMENTWISE,
    ZI_DEVICE_PERMUTE,
    ZI_DEVICE_CONV3X3,
    ZI_DEVICE_MOMENTS,
    ZI_DEVICE_GROUP_NORM,
    ZI_DEVICE_CHECK_FINITE,
    ZI_DEVICE_CHECK_MOMENTS,
    ZI_DEVICE_WRITE,
    ZI_DEVICE_CALLS
} zi_device_call;

typedef struct {
    size_t calls[ZI_DEVICE_CALLS]; /* that were recorded */
    size_t submits, waits;         /* a read waits, too */
    size_t buffers;                /* that are there now */
} zi_device_counts;

/* Takes the CPU backend over. unified: the host sees memory that was allocated, but as with a real
 * device it must not look before it has waited. */
zi_backend *zi_test_device_create(zi_backend *cpu, bool unified);
const zi_device_counts *zi_test_device_counts(const zi_backend *device);

#endif
