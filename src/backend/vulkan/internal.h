/* What the files of the Vulkan backend share.
 *
 * Shaders get the addresses of their data as push constants (buffer device addresses): there are no
 * descriptors, and no limit of a binding's size is met. All pipelines share one layout. */
#ifndef ZI_BACKEND_VULKAN_INTERNAL_H
#define ZI_BACKEND_VULKAN_INTERNAL_H

#include "backend/arena.h"
#include "backend/vulkan/instance.h"
#include "backend/vulkan/shaders.h"

#include <pthread.h>

enum { GPU_MAX_PUSH = 128 }; /* bytes of push constants that every device has */

typedef struct gpu_pipeline gpu_pipeline;
typedef struct gpu_block gpu_block;

typedef struct {
    zi_backend base;
    gpu_instance instance;
    gpu_functions vk;
    gpu_capabilities capabilities;
    VkDevice device;
    VkQueue queue;
    VkPipelineLayout layout;
    char variant[800];
    zi_vulkan_options options;
    pthread_mutex_t queue_mutex;    /* for submissions */
    pthread_mutex_t memory_mutex;   /* for blocks */
    pthread_mutex_t pipeline_mutex; /* for pipelines */
    gpu_block *blocks;              /* memory that weights share */
    gpu_pipeline *pipelines;
} gpu_backend;

static inline gpu_backend *gpu_of(zi_backend *backend)
{
    return (gpu_backend *)backend;
}

/* Fills *error, if it is not NULL, for a Vulkan call that failed; `what` it was to do. Returns
 * false. */
bool gpu_error(const gpu_backend *gpu, zi_error *error, VkResult result, const char *what);

/* ---- memory.c ---- */

/* A VkBuffer with memory of its own. */
typedef struct {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceAddress address;
    VkDeviceSize size;
    unsigned char *host; /* NULL: not mapped */
} gpu_memory;

typedef enum {
    GPU_DEVICE_MEMORY,  /* fast for the device; not mapped */
    GPU_VISIBLE_MEMORY, /* of the device, mapped if its memory is visible to the host as a whole */
    GPU_HOST_MEMORY,    /* mapped, for copies to the device */
    GPU_CACHED_MEMORY   /* mapped, for copies from the device */
} gpu_memory_kind;

/* Allocates memory for any use. False, with *error set and *out unchanged. */
bool gpu_memory_alloc(gpu_backend *gpu, gpu_memory_kind kind, VkDeviceSize size, gpu_memory *out,
                      zi_error *error) ZI_CHECKED;
void gpu_memory_free(gpu_backend *gpu, gpu_memory *memory);

typedef struct {
    zi_buffer base;
    VkBuffer handle;
    VkDeviceAddress address;
    VkDeviceSize offset; /* in the VkBuffer */
    gpu_memory memory;   /* of its own; or none, and a place in a block */
    gpu_block *block;
} gpu_buffer;

/* As zi_backend_ops has them. */
bool gpu_alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error);
bool gpu_import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                zi_error *error);
void gpu_release(zi_buffer *buffer);

/* The device address of a view; 0: it has no buffer. */
static inline uint64_t gpu_address(zi_view view)
{
    return view.buffer ? ((gpu_buffer *)view.buffer)->address + view.offset : 0;
}

/* Bytes from a view's first element to the next address that is a multiple of GPU_ALIGNMENT, for
 * shaders that load vectors. */
enum { GPU_ALIGNMENT = 16 };
static inline size_t gpu_gap(zi_view view)
{
    return (size_t)(-gpu_address(view) % GPU_ALIGNMENT);
}

static inline uint64_t gpu_vector(const zi_weight *weight)
{
    return weight ? gpu_address(weight->data) : 0;
}

/* ---- pipelines.c ---- */

/* A compute pipeline, a shader with its specialization constants. */
enum { GPU_MAX_CONSTANTS = 16 };
struct gpu_pipeline {
    VkPipeline handle;
    gpu_shader shader;
    uint32_t constants[GPU_MAX_CONSTANTS];
    gpu_pipeline *next;
};

/* Returns the pipeline of a shader with these constants (as many as it has), which the backend
 * keeps, and makes it first if need be; NULL, with *error set: it cannot be made. */
const gpu_pipeline *gpu_pipeline_find(gpu_backend *gpu, gpu_shader shader,
                                      const uint32_t *constants, size_t count, zi_error *error);
void gpu_pipelines_free(gpu_backend *gpu);

/* ---- products.c ---- */

/* What the choice of a shader for a product depends on. */
typedef struct {
    size_t rows, columns; /* of the result */
    bool matrices;        /* f16 operands will do, and the depth suits them */
} gpu_product;

/* How a product is computed: workgroups compute tiles of this size. */
typedef struct {
    bool matrices;
    uint32_t rows, columns, tiles;
} gpu_tiling;

/* Chooses how a product of many rows is computed on a device, by a table. */
gpu_tiling gpu_tiling_choose(const gpu_capabilities *capabilities, const gpu_product *product);

/* Fills in the constants that shaders/matrix.glsl has for such a tiling. wide: the second operand
 * may have values that f16 does not have. */
enum { GPU_MATRIX_FIRST = 6, GPU_MATRIX_CONSTANTS = 14 };
void gpu_matrix_constants(const gpu_capabilities *capabilities, const gpu_tiling *tiling, bool wide,
                          uint32_t constants[GPU_MATRIX_CONSTANTS]);

/* ---- record.c ---- */

/* A stretch of memory that a command reads or writes. */
typedef struct {
    uint64_t begin, end;
    bool write;
} gpu_range;

/* The stretches of a view from its first element to its last; an empty one for no view. */
gpu_range gpu_reads(zi_view view);
gpu_range gpu_writes(zi_view view);

/* A finished recording of commands, to be compared with later ones. */
typedef struct {
    unsigned char *log;
    size_t size;
    VkCommandBuffer commands;
    uint64_t last; /* number of the latest submission that used it */
} gpu_recording;

/* Host memory whose contents commands copy to the device, for one of the submissions that are under
 * way. */
typedef struct {
    gpu_memory *chunks;
    size_t count, chunk, used; /* chunk: the one in use, with `used` bytes taken */
} gpu_staging;

enum {
    GPU_SLOTS = 3,        /* submissions: two under way and one that is recorded */
    GPU_MAX_RANGES = 32,  /* kept since the last barrier */
    GPU_RECORDINGS = 512, /* kept for being submitted again */
    GPU_MAX_CHECKS = 256, /* names of checks */
    GPU_MOMENT_PARTS = 64 /* parts of a feature map whose moments are computed apart */
};

/* A session. Operations append commands to a log; submitting turns the log into a command buffer,
 * or finds one that was made of the same log before. */
typedef struct {
    zi_exec base;
    gpu_backend *gpu;
    zi_error failure; /* sticky */
    unsigned char *log;
    size_t log_size, log_capacity;
    gpu_range ranges[GPU_MAX_RANGES];
    size_t range_count;
    VkCommandPool pool;
    VkSemaphore timeline;
    uint64_t submitted; /* the number of submissions */
    gpu_staging staging[GPU_SLOTS];
    gpu_recording *recordings; /* [GPU_RECORDINGS] */
    size_t recording_count;
    gpu_memory flags; /* a uint32_t for each check: not 0 if it failed */
    gpu_memory readback;
    char (*checks)[256]; /* [GPU_MAX_CHECKS] names */
    size_t check_count;
    zi_view rotated, partials; /* scratch memory */
    zi_view halves, exponents; /* rows of x as f16; no buffer: without cooperative matrices */
    gpu_range narrowed;        /* the view of f32 that lies in halves; empty: none */
    size_t narrowed_columns;
} gpu_exec;

static inline gpu_exec *gpu_exec_of(zi_exec *exec)
{
    return (gpu_exec *)exec;
}

/* What a dispatch needs beside its pipeline. */
typedef struct {
    const void *push;
    size_t push_size;
    uint32_t groups[3];
    const gpu_range *ranges; /* of what sessions write to; weights need none */
    size_t range_count;
} gpu_work;

/* Appends a dispatch, after a barrier if it needs results of what came before. Errors are kept in
 * the session. */
void gpu_dispatch(gpu_exec *exec, gpu_shader shader, const uint32_t *constants,
                  size_t constant_count, const gpu_work *work);

/* Copies bytes to memory that commands recorded next can read, and returns where that is: the
 * device address, or 0 when memory is short (kept in the session). memory: if not NULL, the buffer
 * and the offset in it. */
uint64_t gpu_stage(gpu_exec *exec, const void *data, size_t size, VkBuffer *buffer,
                   VkDeviceSize *offset);

bool gpu_begin(zi_backend *backend, bool fast, zi_exec **out, zi_error *error);
void gpu_end(zi_exec *exec);
void gpu_write(zi_exec *exec, zi_view to, const void *from);
bool gpu_read(zi_exec *exec, zi_view from, void *to, zi_error *error);
bool gpu_submit(zi_exec *exec, zi_error *error);
bool gpu_wait(zi_exec *exec, zi_error *error);

/* Splits n workgroups, one for each row or so, over two dimensions, each within what devices
 * allow; there may be more than n. */
static inline void gpu_spread(size_t n, uint32_t groups[3])
{
    const size_t max = 32768;
    groups[0] = (uint32_t)(n < max ? n : max);
    groups[1] = (uint32_t)((n + max - 1) / max);
    groups[2] = 1;
}

static inline size_t gpu_div_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* ---- operations, as zi_backend_ops has them ---- */

void gpu_plan(zi_exec *exec, zi_arena *arena, zi_exec_limits limits);
void gpu_linear(zi_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias, zi_view y);
void gpu_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n, zi_view y);
void gpu_attention(zi_exec *exec, const zi_attention_args *args);
void gpu_norm(zi_exec *exec, const zi_norm_args *args);
void gpu_rope(zi_exec *exec, const zi_rope_args *args);
void gpu_elementwise(zi_exec *exec, zi_elementwise_kind kind, zi_view x, zi_view y, float a,
                     float b);
void gpu_permute(zi_exec *exec, const zi_permute_args *args);
void gpu_conv3x3(zi_exec *exec, const zi_conv3x3_args *args);
size_t gpu_conv3x3_workspace(const zi_exec *exec, const zi_conv3x3_args *args);
void gpu_moments(zi_exec *exec, const zi_feature_map *map, zi_view moments);
void gpu_group_norm(zi_exec *exec, const zi_group_norm *norm, zi_view moments,
                    const zi_feature_map *map, zi_view y);
void gpu_check_finite(zi_exec *exec, zi_view x, const char *name);
void gpu_check_moments(zi_exec *exec, zi_view moments, size_t channels, const char *name);

/* The rows of a weight from its device memory: push constants and specialization constants that
 * shaders/weights.glsl has. */
typedef struct {
    uint64_t data, scales, biases, factors;
    uint32_t rows, columns, row_bytes, groups, first_row, unused;
} gpu_weight_push;
enum { GPU_WEIGHT_CONSTANTS = 6 };
void gpu_describe_weight(const zi_weight *w, gpu_weight_push *push,
                         uint32_t constants[GPU_WEIGHT_CONSTANTS]);

#endif
