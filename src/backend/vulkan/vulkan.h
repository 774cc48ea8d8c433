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
    char driver[512];   /* name and version */
    char missing[256];  /* what it lacks that the backend needs; empty: nothing */
    char features[256]; /* that matter for speed; empty: none */
    zi_vulkan_kind kind;
    uint64_t memory; /* bytes of its largest heap of its own */
} zi_vulkan_device;

/* Lists the devices, in the loader's order, which gives them their numbers; free(*out). False, with
 * *error set and *out unchanged: there is no loader or no device (ZI_ERROR_NOT_FOUND), the build
 * has no Vulkan (ZI_ERROR_UNSUPPORTED), or a driver failed. */
bool zi_vulkan_list(zi_vulkan_device **out, size_t *count, zi_error *error) ZI_CHECKED;

/* Whether there may be a GPU: whether the system shows one, which costs next to nothing to find
 * out, other than starting Vulkan. */
bool zi_vulkan_plausible(void);

struct gpu_functions; /* functions.h */

typedef struct {
    size_t device; /* its number in zi_vulkan_list */
    uint64_t vram; /* bytes of device memory to use at most; 0: what the driver allows */
    /* A folder, made if need be, for what is worth keeping of a device and its driver: compiled
     * pipelines and the results of self-checks. Copied; NULL: nothing is kept. */
    const char *cache;
    /* Gets a line when a shader computes wrong values on this device and is not used; from any
     * thread; NULL: nobody does. */
    void (*remarks)(void *user, const char *text);
    void *user; /* for all functions of these options */

    /* For tests: */
    bool staging;     /* copy weights as if device memory were not visible to the host */
    bool no_matrices; /* as if the device had no cooperative matrices */
    bool slow_dots;  /* use integer dot products even where the driver does not say they are fast */
    bool validation; /* with the validation layer, whose messages go to messages */
    void (*messages)(void *user, const char *text); /* from any thread */
    uint64_t submission; /* most work of a submission, see pieces.c; 0: by the device's speed */
    /* May replace Vulkan's functions: called when those of the loader, of the instance and of the
     * device are found, with all that are known by then. */
    void (*intercept)(void *user, struct gpu_functions *functions);
} zi_vulkan_options;

/* Opens a device. False, with *error set and *out unchanged: as zi_vulkan_list, there is no device
 * of that number, or it lacks something (ZI_ERROR_UNSUPPORTED). */
bool zi_vulkan_backend_create(const zi_vulkan_options *options, zi_backend **out,
                              zi_error *error) ZI_CHECKED;

/* Sets another limit of device memory, as in zi_vulkan_options; also while sessions compute. */
void zi_vulkan_limit_memory(zi_backend *backend, uint64_t vram);

/* Where the weights are, in bytes. */
typedef struct {
    uint64_t limit;    /* of device memory */
    uint64_t sessions; /* of it, what images are computed in */
    uint64_t spilled;  /* what images are computed in, in the host's memory */
    uint64_t weights;  /* in all */
    uint64_t resident; /* those that are in device memory */
    uint64_t streamed; /* those that were used last from a copy for one use, as in every step */
    uint64_t buffers;  /* device memory for such copies */
    char text[320];    /* the same in words */
} zi_vulkan_memory;

/* Says what was chosen so far: weights come to the device when they are used first. It does not
 * wait while that is being changed: then the text says so, and all numbers are 0. backend: of
 * zi_vulkan_backend_create. */
void zi_vulkan_memory_report(zi_backend *backend, zi_vulkan_memory *out);

#endif
