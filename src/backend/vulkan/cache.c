/* What is kept on disk of a device and its driver, in a folder: compiled pipelines in
 * pipelines-KEY.bin, as the driver gives them, behind a header with their size and hash; results of
 * self-checks in checked-KEY.txt. Both are written as a whole. A file that is damaged, or is not of
 * this device and driver, counts as none. Processes that write at the same time replace each
 * other's files; what gets lost so is made again. */
#include "backend/vulkan/internal.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_FILE = 256 << 20 };
static const double INTERVAL = 60; /* seconds between two times that it is saved */

/* What a file of pipelines begins with. */
typedef struct {
    char magic[16];
    uint64_t size, hash; /* of what follows */
} file_header;
static const char MAGIC[16] = "zi pipelines 1\n";

/* Continues an FNV-1a hash with `size` bytes of data; returns the new hash. */
static uint64_t fnv1a(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

static const uint64_t FNV_START = 0xcbf29ce484222325;

/* Hashes what tells a device and its driver from others. */
static uint64_t device_key(const gpu_backend *gpu)
{
    const VkPhysicalDeviceProperties *p = &gpu->capabilities.properties;
    const zi_vulkan_device *d = &gpu->capabilities.summary;
    const uint32_t numbers[] = {p->vendorID, p->deviceID, p->driverVersion, p->apiVersion};
    uint64_t key = fnv1a(FNV_START, numbers, sizeof numbers);
    key = fnv1a(key, p->pipelineCacheUUID, sizeof p->pipelineCacheUUID);
    key = fnv1a(key, d->name, strlen(d->name));
    return fnv1a(key, d->driver, strlen(d->driver));
}

uint64_t gpu_cache_key(gpu_shader shader, const uint32_t *constants)
{
    uint64_t key = fnv1a(FNV_START, gpu_shaders[shader].words, gpu_shaders[shader].size);
    return fnv1a(key, constants, GPU_MAX_CONSTANTS * sizeof *constants);
}

/* Returns the path of a file of the open device, to be freed; NULL: there is no folder, or memory
 * is short. */
static char *path_of(const gpu_backend *gpu, const char *kind, const char *extension)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%016" PRIx64 "%s", kind, gpu->cache.key, extension);
    return gpu->cache.folder ? zi_path_join(gpu->cache.folder, name) : NULL;
}

/* Reads a file of the open device; *data is to be freed. False: there is none. */
static bool read_file(const gpu_backend *gpu, const char *kind, const char *extension, char **data,
                      size_t *size)
{
    char *path = path_of(gpu, kind, extension);
    bool ok = path && zi_is_file(path) && zi_file_read(path, MAX_FILE, data, size, NULL);
    free(path);
    return ok;
}

/* Writes a file of the open device in two parts. What goes wrong is ignored: it is only a cache. */
static void write_file(const gpu_backend *gpu, const char *kind, const char *extension,
                       const void *head, size_t head_size, const void *data, size_t size)
{
    zi_output output = {0};
    char *path = path_of(gpu, kind, extension);
    bool ok = path && zi_make_parent_folders(path, NULL) &&
              zi_output_open_private(&output, path, NULL) &&
              zi_output_write(&output, head, head_size, NULL) &&
              zi_output_write(&output, data, size, NULL) && zi_output_commit(&output, NULL);
    if (!ok) zi_output_discard(&output);
    free(path);
}

/* ---- pipelines ---- */

/* Whether a file's contents are whole, and what this device and driver have given. Drivers check
 * little of that themselves. */
static bool is_right(const gpu_backend *gpu, const char *data, size_t size)
{
    const VkPhysicalDeviceProperties *p = &gpu->capabilities.properties;
    VkPipelineCacheHeaderVersionOne driver;
    file_header file;
    if (size < sizeof file + sizeof driver) return false;
    memcpy(&file, data, sizeof file);
    memcpy(&driver, data + sizeof file, sizeof driver);
    return !memcmp(file.magic, MAGIC, sizeof MAGIC) && file.size == size - sizeof file &&
           file.hash == fnv1a(FNV_START, data + sizeof file, size - sizeof file) &&
           driver.headerSize >= sizeof driver &&
           driver.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           driver.vendorID == p->vendorID && driver.deviceID == p->deviceID &&
           !memcmp(driver.pipelineCacheUUID, p->pipelineCacheUUID, VK_UUID_SIZE);
}

/* Makes the driver's cache of pipelines with what the file has. Without one, pipelines are made all
 * the same. */
static void open_pipelines(gpu_backend *gpu)
{
    char *data = NULL;
    size_t size = 0;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    if (read_file(gpu, "pipelines", ".bin", &data, &size) && is_right(gpu, data, size)) {
        info.initialDataSize = size - sizeof(file_header);
        info.pInitialData = data + sizeof(file_header);
    }
    VkResult result = gpu->vk.CreatePipelineCache(gpu->device, &info, NULL, &gpu->cache.pipelines);
    if (result != VK_SUCCESS && info.initialDataSize) {
        info.initialDataSize = 0;
        result = gpu->vk.CreatePipelineCache(gpu->device, &info, NULL, &gpu->cache.pipelines);
    }
    if (result != VK_SUCCESS) gpu->cache.pipelines = VK_NULL_HANDLE;
    free(data);
}

static void save_pipelines(gpu_backend *gpu)
{
    const gpu_functions *vk = &gpu->vk;
    size_t size = 0;
    void *data = NULL;
    if (!gpu->cache.pipelines) return;
    VkResult result = vk->GetPipelineCacheData(gpu->device, gpu->cache.pipelines, &size, NULL);
    /* A driver without data of its own (lavapipe of Mesa 26) says that it needs less than the
     * header that it writes all the same. */
    size_t room = size < sizeof(VkPipelineCacheHeaderVersionOne) ? 4096 : size;
    if (result == VK_SUCCESS && size && (data = malloc(room)))
        result = vk->GetPipelineCacheData(gpu->device, gpu->cache.pipelines, &size, data);
    if (data && result == VK_SUCCESS && size >= sizeof(VkPipelineCacheHeaderVersionOne)) {
        file_header head = {.size = size, .hash = fnv1a(FNV_START, data, size)};
        memcpy(head.magic, MAGIC, sizeof MAGIC);
        write_file(gpu, "pipelines", ".bin", &head, sizeof head, data, size);
    }
    free(data);
}

/* ---- results of self-checks ---- */

/* The first line of a file of them, which names the device and the driver for a reader. */
static void first_line(const gpu_backend *gpu, char *line, size_t size)
{
    const zi_vulkan_device *d = &gpu->capabilities.summary;
    snprintf(line, size, "zimage self-checks 1: %s, %s\n", d->name, d->driver);
    for (char *c = line; *c && c[1]; c++)
        if (*c == '\n') *c = ' ';
}

static void open_checked(gpu_backend *gpu)
{
    char *data = NULL, line[1024], result[8];
    size_t size;
    uint64_t key;
    first_line(gpu, line, sizeof line);
    if (read_file(gpu, "checked", ".txt", &data, &size) && !strncmp(data, line, strlen(line)))
        for (char *at = data + strlen(line); at; at = strchr(at, '\n')) {
            at += *at == '\n';
            if (sscanf(at, "%16" SCNx64 " %7s", &key, result) == 2 &&
                (!strcmp(result, "right") || !strcmp(result, "wrong")))
                gpu_cache_add(gpu, key, *result == 'r');
        }
    free(data);
}

static void save_checked(gpu_backend *gpu)
{
    const gpu_cache *cache = &gpu->cache;
    char line[1024], *text = malloc(cache->checked_count * 24 + 1), *at = text;
    if (!text) return;
    first_line(gpu, line, sizeof line);
    for (size_t i = 0; i < cache->checked_count; i++)
        at += sprintf(at, "%016" PRIx64 " %s\n", cache->checked[i].key,
                      cache->checked[i].right ? "right" : "wrong");
    write_file(gpu, "checked", ".txt", line, strlen(line), text, (size_t)(at - text));
    free(text);
}

const struct gpu_checked *gpu_cache_find(const gpu_backend *gpu, uint64_t key)
{
    for (size_t i = 0; i < gpu->cache.checked_count; i++)
        if (gpu->cache.checked[i].key == key) return &gpu->cache.checked[i];
    return NULL;
}

void gpu_cache_add(gpu_backend *gpu, uint64_t key, bool right)
{
    gpu_cache *cache = &gpu->cache;
    struct gpu_checked *grown =
        gpu_cache_find(gpu, key)
            ? NULL
            : realloc(cache->checked, (cache->checked_count + 1) * sizeof *grown);
    if (!grown) return;
    cache->checked = grown;
    cache->checked[cache->checked_count++] = (struct gpu_checked){key, right};
    cache->changed = true;
}

/* ---- both ---- */

void gpu_cache_open(gpu_backend *gpu)
{
    gpu->cache.key = device_key(gpu);
    open_pipelines(gpu);
    open_checked(gpu);
    gpu->cache.changed = false;
    gpu->cache.saved = zi_monotonic_seconds();
}

/* Saves the cache if it has changed. */
static void save(gpu_backend *gpu)
{
    if (gpu->cache.changed && gpu->cache.folder && !atomic_load(&gpu->lost)) {
        save_pipelines(gpu);
        save_checked(gpu);
    }
    gpu->cache.changed = false;
    gpu->cache.saved = zi_monotonic_seconds();
}

void gpu_cache_save(gpu_backend *gpu)
{
    if (zi_monotonic_seconds() - gpu->cache.saved > INTERVAL) save(gpu);
}

void gpu_cache_close(gpu_backend *gpu)
{
    save(gpu);
    gpu->vk.DestroyPipelineCache(gpu->device, gpu->cache.pipelines, NULL);
    free(gpu->cache.checked);
    gpu->cache = (gpu_cache){.folder = gpu->cache.folder};
}
