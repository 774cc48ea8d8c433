#include "vulkan_faults.h"

#include <stdlib.h>
#include <string.h>

zi_vulkan_faults zi_faults;
static gpu_functions real;

/* Counts a call of a function. Returns true if it is to fail, with *result set. */
static bool fails(const char *name, VkResult *result)
{
    if (!zi_faults.function || strcmp(zi_faults.function, name) != 0) return false;
    int past = ++zi_faults.calls - zi_faults.call;
    if (past < 0 || past > zi_faults.more) return false;
    *result = zi_faults.result;
    zi_faults.lost = *result == VK_ERROR_DEVICE_LOST;
    return true;
}

/* Functions that only fail: parameters, and the arguments for the real one. */
#define FALLIBLE(F)                                                                                \
    F(CreateInstance,                                                                              \
      (const VkInstanceCreateInfo *a, const VkAllocationCallbacks *b, VkInstance *c), (a, b, c))   \
    F(EnumeratePhysicalDevices, (VkInstance a, uint32_t * b, VkPhysicalDevice * c), (a, b, c))     \
    F(AllocateMemory,                                                                              \
      (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c,                  \
       VkDeviceMemory *d),                                                                         \
      (a, b, c, d))                                                                                \
    F(MapMemory,                                                                                   \
      (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e,           \
       void **f),                                                                                  \
      (a, b, c, d, e, f))                                                                          \
    F(CreateBuffer,                                                                                \
      (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d),      \
      (a, b, c, d))                                                                                \
    F(BindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d), (a, b, c, d))  \
    F(CreatePipelineLayout,                                                                        \
      (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c,            \
       VkPipelineLayout *d),                                                                       \
      (a, b, c, d))                                                                                \
    F(GetPipelineCacheData, (VkDevice a, VkPipelineCache b, size_t * c, void *d), (a, b, c, d))    \
    F(CreateComputePipelines,                                                                      \
      (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d,            \
       const VkAllocationCallbacks *e, VkPipeline *f),                                             \
      (a, b, c, d, e, f))                                                                          \
    F(CreateCommandPool,                                                                           \
      (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c,               \
       VkCommandPool *d),                                                                          \
      (a, b, c, d))                                                                                \
    F(AllocateCommandBuffers,                                                                      \
      (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c), (a, b, c))           \
    F(EndCommandBuffer, (VkCommandBuffer a), (a))                                                  \
    F(CreateSemaphore,                                                                             \
      (VkDevice a, const VkSemaphoreCreateInfo *b, const VkAllocationCallbacks *c,                 \
       VkSemaphore *d),                                                                            \
      (a, b, c, d))

#define WRAP(name, parameters, arguments)                                                          \
    static VKAPI_ATTR VkResult VKAPI_CALL wrap_##name parameters                                   \
    {                                                                                              \
        VkResult result;                                                                           \
        return fails(#name, &result) ? result : real.name arguments;                               \
    }
FALLIBLE(WRAP)
#undef WRAP

/* ---- functions that do more ---- */

static VKAPI_ATTR VkResult VKAPI_CALL wrap_CreateDevice(VkPhysicalDevice device,
                                                        const VkDeviceCreateInfo *info,
                                                        const VkAllocationCallbacks *allocation,
                                                        VkDevice *out)
{
    VkResult result;
    if (fails("CreateDevice", &result)) return result;
    zi_faults.lost = false;
    return real.CreateDevice(device, info, allocation, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL
wrap_CreatePipelineCache(VkDevice device, const VkPipelineCacheCreateInfo *info,
                         const VkAllocationCallbacks *allocation, VkPipelineCache *out)
{
    VkResult result;
    zi_faults.pipeline_data = info->initialDataSize;
    if (fails("CreatePipelineCache", &result)) return result;
    return real.CreatePipelineCache(device, info, allocation, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL wrap_BeginCommandBuffer(VkCommandBuffer commands,
                                                              const VkCommandBufferBeginInfo *info)
{
    VkResult result;
    zi_faults.recordings++;
    return fails("BeginCommandBuffer", &result) ? result : real.BeginCommandBuffer(commands, info);
}

static VKAPI_ATTR VkResult VKAPI_CALL wrap_QueueSubmit(VkQueue queue, uint32_t count,
                                                       const VkSubmitInfo *infos, VkFence fence)
{
    VkResult result;
    zi_faults.submissions++;
    if (fails("QueueSubmit", &result)) return result;
    return zi_faults.lost ? VK_ERROR_DEVICE_LOST : real.QueueSubmit(queue, count, infos, fence);
}

/* A device that is lost does not work on: wait until this one has ended, too. */
static VKAPI_ATTR VkResult VKAPI_CALL wrap_WaitSemaphores(VkDevice device,
                                                          const VkSemaphoreWaitInfo *info,
                                                          uint64_t time)
{
    VkResult result;
    if (fails("WaitSemaphores", &result)) return result;
    if (!zi_faults.lost) return real.WaitSemaphores(device, info, time);
    real.DeviceWaitIdle(device);
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL wrap_DeviceWaitIdle(VkDevice device)
{
    VkResult result;
    if (fails("DeviceWaitIdle", &result)) return result;
    result = real.DeviceWaitIdle(device);
    return zi_faults.lost ? VK_ERROR_DEVICE_LOST : result;
}

static VKAPI_ATTR void VKAPI_CALL wrap_GetPhysicalDeviceFeatures2(VkPhysicalDevice device,
                                                                  VkPhysicalDeviceFeatures2 *out)
{
    real.GetPhysicalDeviceFeatures2(device, out);
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext)
        if (zi_faults.no_halves &&
            s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES)
            ((VkPhysicalDeviceVulkan11Features *)s)->storageBuffer16BitAccess = VK_FALSE;
}

static VKAPI_ATTR void VKAPI_CALL
wrap_GetPhysicalDeviceProperties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *out)
{
    real.GetPhysicalDeviceProperties2(device, out);
#ifdef VK_KHR_shader_integer_dot_product
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext)
        if (zi_faults.fast_dots &&
            s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR)
            ((VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR *)s)
                ->integerDotProduct4x8BitPackedSignedAccelerated = VK_TRUE;
#endif
}

/* Adds VK_EXT_memory_budget if there is a budget. */
static VKAPI_ATTR VkResult VKAPI_CALL wrap_EnumerateDeviceExtensionProperties(
    VkPhysicalDevice device, const char *layer, uint32_t *count, VkExtensionProperties *out)
{
    const VkExtensionProperties budget = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, 1};
    uint32_t room = *count;
    if (zi_faults.budget && out && room) *count = room - 1;
    VkResult result = real.EnumerateDeviceExtensionProperties(device, layer, count, out);
    if (!zi_faults.budget || layer || (out && *count == room)) return result;
    if (out) out[*count] = budget;
    ++*count;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL wrap_GetPhysicalDeviceMemoryProperties2(
    VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2 *out)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *said = out->pNext;
    if (!zi_faults.budget) {
        real.GetPhysicalDeviceMemoryProperties2(device, out);
        return;
    }
    out->pNext = NULL; /* the driver need not know the extension */
    real.GetPhysicalDeviceMemoryProperties2(device, out);
    out->pNext = said;
    for (size_t i = 0; said && i < VK_MAX_MEMORY_HEAPS; i++) {
        said->heapBudget[i] = zi_faults.budget;
        said->heapUsage[i] = zi_faults.usage;
    }
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL wrap_GetDeviceProcAddr(VkDevice device,
                                                                       const char *name)
{
    if (zi_faults.missing && !strcmp(name + 2, zi_faults.missing)) return NULL;
    return real.GetDeviceProcAddr(device, name);
}

static VKAPI_ATTR void VKAPI_CALL wrap_CmdCopyBuffer(VkCommandBuffer commands, VkBuffer from,
                                                     VkBuffer to, uint32_t count,
                                                     const VkBufferCopy *regions)
{
    VkBufferCopy region = *regions;
    if (zi_faults.long_copies) region.size += (uint64_t)1 << 30;
    real.CmdCopyBuffer(commands, from, to, count, &region);
}

/* Makes a shader's code compute wrong values, within the same memory. */
static void make_wrong(uint32_t *words, size_t count)
{
    enum { IADD = 128, FADD = 129, FSUB = 131, IMUL = 132, FMUL = 133, EQUAL = 170, UNEQUAL = 171 };
    size_t changed = 0;
    for (int pass = 0; pass < 2 && !changed; pass++) /* floats, else whatever there is */
        for (size_t i = 5; i < count; i += words[i] >> 16) {
            uint32_t op = words[i] & 0xffff, other = op;
            if (op == FADD) other = FSUB;
            if (op == FMUL) other = FADD;
            if (pass && op == IMUL) other = IADD;
            if (pass && op == EQUAL) other = UNEQUAL;
            changed += other != op;
            words[i] = (words[i] & 0xffff0000) | other;
        }
}

static VKAPI_ATTR VkResult VKAPI_CALL
wrap_CreateShaderModule(VkDevice device, const VkShaderModuleCreateInfo *info,
                        const VkAllocationCallbacks *allocation, VkShaderModule *out)
{
    VkResult result;
    if (fails("CreateShaderModule", &result)) return result;
    if (!zi_faults.wrong_shader || info->pCode != gpu_shaders[zi_faults.wrong_shader - 1].words)
        return real.CreateShaderModule(device, info, allocation, out);
    VkShaderModuleCreateInfo wrong = *info;
    uint32_t *words = malloc(info->codeSize);
    memcpy(words, info->pCode, info->codeSize);
    make_wrong(words, info->codeSize / sizeof *words);
    wrong.pCode = words;
    result = real.CreateShaderModule(device, &wrong, allocation, out);
    free(words);
    return result;
}

/* ---- planting ---- */

#define OTHERS(F)                                                                                  \
    F(CreateDevice, , )                                                                            \
    F(CreatePipelineCache, , )                                                                     \
    F(BeginCommandBuffer, , )                                                                      \
    F(QueueSubmit, , )                                                                             \
    F(WaitSemaphores, , )                                                                          \
    F(DeviceWaitIdle, , )                                                                          \
    F(CreateShaderModule, , )
#define INFALLIBLE(F)                                                                              \
    F(GetPhysicalDeviceProperties2, , )                                                            \
    F(GetPhysicalDeviceFeatures2, , )                                                              \
    F(EnumerateDeviceExtensionProperties, , )                                                      \
    F(GetPhysicalDeviceMemoryProperties2, , )                                                      \
    F(GetDeviceProcAddr, , )                                                                       \
    F(CmdCopyBuffer, , )

#define NAME(name, parameters, arguments) #name,
const char *const zi_fallible_functions[] = {FALLIBLE(NAME) OTHERS(NAME) NULL};

void zi_faults_plant(void *user, struct gpu_functions *functions)
{
    (void)user;
#define PLANT(name, parameters, arguments)                                                         \
    if (functions->name && functions->name != wrap_##name) {                                       \
        real.name = functions->name;                                                               \
        functions->name = wrap_##name;                                                             \
    }
    FALLIBLE(PLANT) OTHERS(PLANT) INFALLIBLE(PLANT)
#undef PLANT
}
