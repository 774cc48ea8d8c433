/* A mock of an asynchronous GPU backend. New memory is filled with NaN and cannot be read by the
 * host. Operations are recorded; they run at the next wait or the submission after the next, on the
 * CPU backend, so that results have the same bits. What was not submitted is discarded. Views that
 * violate the rules of backend.h are failed checks. */
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
    size_t calls[ZI_DEVICE_CALLS]; /* recorded, by kind */
    size_t submits, waits;         /* reads count as waits */
    size_t buffers;                /* allocated now */
} zi_device_counts;

/* Creates the mock on a CPU backend, which it owns from then on. unified: allocated memory is
 * visible to the host, as on a GPU with unified memory, but valid only after a wait. */
zi_backend *zi_test_device_create(zi_backend *cpu, bool unified);

/* From now on, sessions of the device that are fast compute with f16, and find that their check of
 * this number, from 1 on, is not finite. 0: as before. */
void zi_test_device_overflow(zi_backend *device, size_t check);

/* Statistics; valid as long as the device. */
const zi_device_counts *zi_test_device_counts(const zi_backend *device);

#endif
