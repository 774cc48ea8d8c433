/* The functions of Vulkan that the backend calls, in the order of need: found by name in a loader
 * that is opened at run time, so that zimage starts where there is none. */
#ifndef ZI_BACKEND_VULKAN_FUNCTIONS_H
#define ZI_BACKEND_VULKAN_FUNCTIONS_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#define GPU_LOADER_FUNCTIONS(F) F(CreateInstance) F(EnumerateInstanceExtensionProperties)

#define GPU_INSTANCE_FUNCTIONS(F)                                                                  \
    F(DestroyInstance)                                                                             \
    F(EnumeratePhysicalDevices)                                                                    \
    F(GetPhysicalDeviceProperties2)                                                                \
    F(GetPhysicalDeviceFeatures2)                                                                  \
    F(GetPhysicalDeviceMemoryProperties)                                                           \
    F(GetPhysicalDeviceMemoryProperties2)                                                          \
    F(GetPhysicalDeviceQueueFamilyProperties)                                                      \
    F(EnumerateDeviceExtensionProperties)                                                          \
    F(CreateDevice)                                                                                \
    F(GetDeviceProcAddr)

#define GPU_DEVICE_FUNCTIONS(F)                                                                    \
    F(DestroyDevice)                                                                               \
    F(GetDeviceQueue)                                                                              \
    F(DeviceWaitIdle)                                                                              \
    F(AllocateMemory)                                                                              \
    F(FreeMemory)                                                                                  \
    F(MapMemory)                                                                                   \
    F(CreateBuffer)                                                                                \
    F(DestroyBuffer)                                                                               \
    F(GetBufferMemoryRequirements)                                                                 \
    F(BindBufferMemory)                                                                            \
    F(GetBufferDeviceAddress)                                                                      \
    F(CreateShaderModule)                                                                          \
    F(DestroyShaderModule)                                                                         \
    F(CreatePipelineLayout)                                                                        \
    F(DestroyPipelineLayout)                                                                       \
    F(CreatePipelineCache)                                                                         \
    F(DestroyPipelineCache)                                                                        \
    F(GetPipelineCacheData)                                                                        \
    F(CreateComputePipelines)                                                                      \
    F(DestroyPipeline)                                                                             \
    F(CreateCommandPool)                                                                           \
    F(DestroyCommandPool)                                                                          \
    F(AllocateCommandBuffers)                                                                      \
    F(BeginCommandBuffer)                                                                          \
    F(EndCommandBuffer)                                                                            \
    F(CmdBindPipeline)                                                                             \
    F(CmdPushConstants)                                                                            \
    F(CmdDispatchBase)                                                                             \
    F(CmdCopyBuffer)                                                                               \
    F(CmdPipelineBarrier)                                                                          \
    F(QueueSubmit)                                                                                 \
    F(CreateSemaphore)                                                                             \
    F(DestroySemaphore)                                                                            \
    F(GetSemaphoreCounterValue)                                                                    \
    F(WaitSemaphores)

typedef struct gpu_functions {
#define GPU_MEMBER(name) PFN_vk##name name;
    GPU_LOADER_FUNCTIONS(GPU_MEMBER)
    GPU_INSTANCE_FUNCTIONS(GPU_MEMBER)
    GPU_DEVICE_FUNCTIONS(GPU_MEMBER)
#undef GPU_MEMBER
} gpu_functions;

#endif
