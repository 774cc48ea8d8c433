/* The Vulkan backend: GPUs of any maker, by the driver that the system has. */
#ifndef ZI_BACKEND_VULKAN_VULKAN_H
#define ZI_BACKEND_VULKAN_VULKAN_H

#include "backend/backend.h"

typedef enum {
    ZI_VULKAN_OTHER,
    ZI_VULKAN_INTEGRATED,
    ZI_VULKAN_DISCRETE,
    ZI_VULKAN_VIRTUAL,
    ZI_VULKAN_SOFTWARE /* runs on the processor, as lavapipe does */
} zi_vulkan_kind;

/* What is known of a device without opening it. */
typedef struct {
    char name[256];
    char driver[512];  /* name and version */
    char missing[256]; /* what it lacks that the backend needs; empty: nothing */
    zi_vulkan_kind kind;
    uint64_t memory; /* bytes of its largest heap of its own */
} zi_vulkan_device;

/* Lists the devices, in the loader's order, which gives them their numbers; free(*out). False, with
 * *error set and *out unchanged: there is no loader or no device (ZI_ERROR_NOT_FOUND), the build
 * has no Vulkan (ZI_ERROR_UNSUPPORTED), or a driver failed. */
bool zi_vulkan_list(zi_vulkan_device **out, size_t *count, zi_error *error) ZI_CHECKED;

typedef struct {
    size_t device;    /* its number in zi_vulkan_list */
    bool staging;     /* for tests: copy weights as if device memory were not visible to the host */
    bool no_matrices; /* for tests: as if the device had no cooperative matrices */
    bool validation;  /* for tests: with the validation layer, whose messages go to messages */
    void (*messages)(void *user, const char *text); /* from any thread */
    void *user;
} zi_vulkan_options;

/* Opens a device. False, with *error set and *out unchanged: as zi_vulkan_list, there is no device
 * of that number, or it lacks something (ZI_ERROR_UNSUPPORTED). */
bool zi_vulkan_backend_create(const zi_vulkan_options *options, zi_backend **out,
                              zi_error *error) ZI_CHECKED;

#endif
