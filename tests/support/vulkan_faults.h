/* Faults that are planted in Vulkan's functions, for tests of the Vulkan backend: calls that fail,
 * devices that lack something, shaders that compute wrong values. For one thread and one backend at
 * a time. */
#ifndef ZI_TEST_VULKAN_FAULTS_H
#define ZI_TEST_VULKAN_FAULTS_H

#include "backend/vulkan/internal.h"

typedef struct {
    /* The call number `call`, from 1, of this function, and `more` calls after it, end with this
     * result instead of being made. After VK_ERROR_DEVICE_LOST submissions and waits fail, too,
     * until a device is opened. */
    const char *function; /* without vk; NULL: none */
    int call, more;
    VkResult result;
    /* The driver has VK_EXT_memory_budget and says these numbers of bytes: what the process may
     * take of each heap, and what it has taken. 0: the driver says what it says itself. */
    uint64_t budget, usage;
    bool fast_dots;      /* the driver says that integer dot products are fast */
    bool no_halves;      /* the device lacks storageBuffer16BitAccess */
    const char *missing; /* the driver lacks this function; NULL: none */
    int wrong_shader;    /* number of a shader that computes wrong values, plus 1; 0: none */
    bool long_copies;    /* copies go past the end of the buffer */

    int calls; /* of `function`, so far */
    bool lost;
    int submissions, recordings; /* so far */
    size_t pipeline_data;        /* bytes that the last cache of pipelines was made with */
} zi_vulkan_faults;

/* What is planted now; set it to zeros for none. */
extern zi_vulkan_faults zi_faults;

/* For zi_vulkan_options.intercept. */
void zi_faults_plant(void *user, struct gpu_functions *functions);

/* The names of the functions that can fail, without vk; the last one is NULL. */
extern const char *const zi_fallible_functions[];

#endif
